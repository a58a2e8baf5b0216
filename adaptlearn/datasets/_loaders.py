"""Loaders of public domain adaptation benchmarks from files in a data home."""

from itertools import pairwise

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from ._home import read_archive

_RETURNS = """
    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that holds {file}. ``None`` reads the environment variable ``ADAPTLEARN_DATA``.

    Returns
    -------
    data : sklearn.utils.Bunch
        ``X`` {X}; ``y`` {y}; ``domain`` (n_samples,) index into ``domains``;
        ``domains`` names; ``classes`` names, in the order of the sorted values of ``y``;
        ``DESCR``.{more}

    Raises
    ------
    FileNotFoundError
        If the file is not there; says where it was looked for.
    ValueError
        If the file is damaged or holds pickled objects.

"""


def _documented(file, X, y, more=""):
    """Put the sections that all loaders share in front of a loader's references."""
    shared = _RETURNS.format(file=file, X=X, y=y, more="\n        Also " + more if more else "")

    def decorate(function):
        summary, mark, references = function.__doc__.partition("    References\n")
        function.__doc__ = summary.rstrip() + "\n" + shared + mark + references
        return function

    return decorate


def _bunch(X, y, domain, domains, classes, descr, **more):
    return Bunch(
        X=X,
        y=np.asarray(y),
        domain=np.asarray(domain, dtype=np.int64),
        domains=[str(name) for name in domains],
        classes=[str(name) for name in classes],
        DESCR=descr,
        **more,
    )


def _texts(characters, offsets):
    raw = characters.tobytes()
    return [raw[a:b].decode("utf-8") for a, b in pairwise(offsets)]


def domain_pair(data, source, target):
    """Take one source -> target pair out of a multi-domain data set.

    Parameters
    ----------
    data : Bunch
        With ``X``, ``y``, ``domain`` and ``domains``, as the loaders return.
    source, target : str or list of str
        Names out of ``data.domains``; several names are pooled.

    Returns
    -------
    X_source, y_source, X_target, y_target : arrays
        Rows in the order of the data set. ``y_target`` is for evaluation.

    Raises
    ------
    ValueError
        If a name is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.utils import Bunch
    >>> from adaptlearn.datasets import domain_pair
    >>> data = Bunch(X=np.arange(4)[:, None], y=np.array([0, 1, 0, 1]),
    ...              domain=np.array([0, 0, 1, 1]), domains=["a", "b"])
    >>> domain_pair(data, "b", "a")[0].ravel()
    array([2, 3])
    """
    parts = []
    for role, names in (("source", source), ("target", target)):
        names = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in names if name not in data.domains]
        if unknown:
            raise ValueError(
                f"{role}={unknown[0]!r} is not a domain of this data set; it has {data.domains}."
            )
        rows = np.isin(data.domain, [data.domains.index(name) for name in names])
        parts += [data.X[rows], data.y[rows]]
    return tuple(parts)


@_documented(
    "gas_drift_8batches.npz", "(6697, 128) float32", "1 to 6", "``concentration`` in ppmv."
)
def load_gas_drift(*, data_home=None):
    """Load the gas sensor array drift data: 6 gases, 8 batches recorded over three years.

    References
    ----------
    Vergara et al., Sensors and Actuators B, 2012.
    """
    raw = read_archive("gas_drift_8batches.npz", data_home)
    return _bunch(
        raw["X"],
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        raw["classes"][1:],
        "Gas sensor array drift: 16 sensors x 8 features, 6 gases, batches 1-6, 8, 9 over 36 "
        "months. Class 6 is absent from batches 3, 4 and 5.",
        concentration=raw["concentration"],
    )


@_documented("office_caltech10_surf.npz", "(2533, 800) float32 counts", "1 to 10")
def load_office_caltech_surf(*, data_home=None):
    """Load Office-Caltech10: bags of SURF visual words of 10 objects in four domains.

    References
    ----------
    Gong et al., CVPR 2012; Saenko et al., ECCV 2010.
    """
    raw = read_archive("office_caltech10_surf.npz", data_home)
    return _bunch(
        raw["X"].astype(np.float32),
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        raw["classes"],
        "Office-Caltech10, 800 SURF visual word counts; amazon, caltech, dslr, webcam.",
    )


@_documented("office31_mnv2_feat.npz", "(4110, 1280) float32", "0 to 30")
def load_office31_features(*, data_home=None):
    """Load Office-31 as pooled ImageNet MobileNetV2 features: 31 objects in three domains.

    References
    ----------
    Saenko et al., ECCV 2010.
    """
    raw = read_archive("office31_mnv2_feat.npz", data_home)
    return _bunch(
        raw["X"].astype(np.float32) * np.float32(raw["scale"]),
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        raw["classes"],
        "Office-31, 1280 pooled MobileNetV2 features an image; amazon, dslr, webcam.",
    )


@_documented(
    "office31_jpeg112_dslr_webcam.npz",
    "(1293,) array of bytes, one JPEG file of 112 x 112 pixels each",
    "0 to 30",
)
def load_office31_images(*, data_home=None):
    """Load Office-31 as small pictures: 31 objects, photographed by two cameras.

    ``X`` is what :class:`adaptlearn.ImageExtractor` takes. The domain amazon is not there.

    References
    ----------
    Saenko et al., ECCV 2010.
    """
    raw = read_archive("office31_jpeg112_dslr_webcam.npz", data_home)
    jpeg = raw["jpeg"].tobytes()
    images = np.array([jpeg[a:b] for a, b in pairwise(raw["off"])], dtype=object)
    names = [str(name) for name in raw["domains"]]
    return _bunch(
        images,
        raw["y"].astype(np.int64),
        np.unique(raw["domain"], return_inverse=True)[1],
        [names[number] for number in np.unique(raw["domain"])],
        raw["classes"],
        "Office-31, JPEG files of 112 x 112 pixels; dslr, webcam.",
    )


@_documented(
    "amazon_dann_bow5000.npz",
    "(27677, 5000) CSR float32 counts",
    "-1 or 1",
    "``split`` (0: the balanced 2000 rows a domain, 1: the rest).",
)
def load_amazon_bow(*, data_home=None):
    """Load Amazon reviews as bags of 5000 words: negative or positive, four product groups.

    References
    ----------
    Blitzer et al., ACL 2007; Ganin et al., JMLR 2016.
    """
    raw = read_archive("amazon_dann_bow5000.npz", data_home)
    X = sparse.csr_matrix(
        (
            raw["data"].astype(np.float32),
            raw["indices"].astype(np.int32),
            raw["indptr"].astype(np.int32),
        ),
        shape=tuple(int(side) for side in raw["shape"]),
    )
    return _bunch(
        X,
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        ["negative", "positive"],
        "Amazon reviews, counts of the 5000 most frequent uni- and bigrams; books, dvd, "
        "electronics, kitchen.",
        split=raw["split"].astype(np.int64),
    )


@_documented(
    "amazon_raw_text.npz", "list of 8000 str", "0 or 1", "``title`` (list of str) and ``rating``."
)
def load_amazon_reviews(*, data_home=None):
    """Load Amazon reviews as text: negative or positive, four product groups.

    References
    ----------
    Blitzer et al., ACL 2007.
    """
    raw = read_archive("amazon_raw_text.npz", data_home)
    return _bunch(
        np.array(_texts(raw["text"], raw["text_off"]), dtype=object),
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        ["negative", "positive"],
        "Amazon reviews, 2000 texts a domain; books, dvd, electronics, kitchen.",
        title=_texts(raw["title"], raw["title_off"]),
        rating=raw["rating"].astype(np.int64),
    )


@_documented("spam_youtube_sms.npz", "(7530,) array of str", "0 or 1 (spam)")
def load_spam(*, data_home=None):
    """Load spam texts: the comments of five YouTube videos and SMS messages.

    References
    ----------
    Alberto et al., ICMLA 2015; Almeida et al., DocEng 2011.
    """
    raw = read_archive("spam_youtube_sms.npz", data_home)
    return _bunch(
        np.array(_texts(raw["text"], raw["text_off"]), dtype=object),
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        ["ham", "spam"],
        "Spam in YouTube comments (five videos) and SMS.",
    )


def _resize(images, side):
    """Shrink square images by exact area averaging."""
    size = images.shape[-1]
    edges = np.linspace(0, size, side + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None, :]
    overlap = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    weights = (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights @ images @ weights.T


@_documented(
    "digits_mnist_t10k.npz and digits_usps.npz",
    "(19298, 256) float32 in [0, 1]",
    "0 to 9",
    "``images`` (19298, 16, 16).",
)
def load_digits_domains(*, data_home=None):
    """Load MNIST (its 10000 test rows) and USPS, both at 16 x 16 pixels.

    MNIST is shrunk from 28 x 28 by area averaging; nothing is cropped.

    References
    ----------
    LeCun et al., 1998; Hull, 1994.
    """
    mnist = read_archive("digits_mnist_t10k.npz", data_home)
    usps = read_archive("digits_usps.npz", data_home)
    images = np.concatenate(
        [_resize(mnist["X"].astype(np.float32) / 255, 16), usps["X"].astype(np.float32) / 255]
    )
    return _bunch(
        images.reshape(len(images), -1),
        np.concatenate([mnist["y"], usps["y"]]).astype(np.int64),
        np.repeat([0, 1], [len(mnist["y"]), len(usps["y"])]),
        ["mnist", "usps"],
        range(10),
        "Handwritten digits, 16 x 16 grey values in [0, 1]; mnist (test rows) and usps.",
        images=images,
    )


@_documented(
    "heart4.npz",
    "(920, 13) float32 with NaN",
    "0 or 1 (disease)",
    "``severity`` (0 to 4) and ``feature_names``.",
)
def load_heart(*, data_home=None):
    """Load heart disease records of four hospitals: disease yes or no.

    Most rows outside Cleveland miss a value; a cholesterol of 0 (all of Switzerland) is a missing
    value and is returned as NaN.

    References
    ----------
    Detrano et al., 1989.
    """
    raw = read_archive("heart4.npz", data_home)
    names = [str(name) for name in raw["features"]]
    X = raw["X"].astype(np.float32)
    if "chol" in names:
        column = names.index("chol")
        X[X[:, column] == 0, column] = np.nan
    return _bunch(
        X,
        (raw["y"] > 0).astype(np.int64),
        raw["domain"],
        raw["domains"],
        ["healthy", "disease"],
        "Heart disease, 13 clinical variables; cleveland, hungarian, switzerland, va.",
        severity=raw["y"].astype(np.int64),
        feature_names=names,
    )


@_documented(
    "fsdd_logmel40x50.npz",
    "(3000, 2000) float32, dB",
    "0 to 9",
    "``take`` (which recording) and ``spectrograms`` (3000, 40, 50).",
)
def load_spoken_digits(*, data_home=None):
    """Load the free spoken digit data as log-mel spectrograms: ten digits, six speakers.

    References
    ----------
    Jackson et al., Free Spoken Digit Dataset.
    """
    raw = read_archive("fsdd_logmel40x50.npz", data_home)
    spectrograms = raw["X"].astype(np.float32) * np.float32(100 / 255) - 80
    return _bunch(
        spectrograms.reshape(len(spectrograms), -1),
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        range(10),
        "Spoken digits, 40 mel bands x 50 frames in decibel; one domain a speaker.",
        take=raw["take"].astype(np.int64),
        spectrograms=spectrograms,
    )


@_documented("wine_red_white.npz", "(6497, 11) float32", "3 to 9", "``feature_names``.")
def load_wine_quality(*, data_home=None):
    """Load wine quality: grades of red and of white wines (ordinal; also a regression task).

    References
    ----------
    Cortez et al., Decision Support Systems, 2009.
    """
    raw = read_archive("wine_red_white.npz", data_home)
    return _bunch(
        raw["X"],
        raw["y"].astype(np.int64),
        raw["domain"],
        raw["domains"],
        range(3, 10),
        "Wine quality, 11 physicochemical variables; red and white.",
        feature_names=[str(name) for name in raw["features"]],
    )
