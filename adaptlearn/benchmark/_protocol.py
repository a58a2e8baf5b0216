"""The fixed protocol of every benchmark set: pairs, rows, scaling, C grid, evaluation rows.

Every method gets the same rows. Scaling is learned on source rows only; all unlabelled target
rows of a pair are given to ``fit`` and the same rows are scored afterwards (transductive, as in
the papers). Target labels are read for that score and nowhere else.

=========  =====================================================================================
set        protocol
=========  =====================================================================================
office31   6 pairs, MobileNetV2 features, all rows, z-scored by the source.
gas        batch 1 -> the seven others, all rows, z-scored by the source. C = 0.01 is fixed, as in
           the reference: within one batch every C scores near 1, so cross-validation is blind.
surf       12 pairs, all rows; each row divided by its sum, then z-scored by the source.
amazon     12 pairs, ``split`` 0 -> ``split`` 0 (2000 rows each), raw counts, sparse.
digits     MNIST <-> USPS at 16 x 16, 2000 rows each drawn once (seed 0); one mean and one
           standard deviation over all source pixels.
heart      7 pairs, disease yes or no; medians of the source fill gaps, z-scored by the source.
fsdd       4 speaker pairs, log-mel spectrograms; one mean and one standard deviation over all
           source cells.
wine       red <-> white, grades up to 4, 5, 6 and from 7 (the others are too rare), z-scored by
           the source.
spam       YouTube comments (five videos as one domain) -> SMS. The 1000 most frequent words of
           the source that are in two of its texts, sublinear tf-idf, 100 components of a
           truncated SVD fitted on the source, z-scored by the source: dense columns that every
           method takes.
=========  =====================================================================================
"""

from collections import namedtuple
from functools import lru_cache

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.metrics import accuracy_score, recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from .. import datasets

Task = namedtuple("Task", "set pair X_source y_source X_target y_target C_grid")
Task.__doc__ = """One source -> target problem as every method receives it.

``C_grid`` are the values of C for linear methods, picked by 5-fold stratified cross-validation on
the source.
"""

VERSION = 1  # part of every result's fingerprint: raise it when rows or scaling change
WIDE_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
DIGITS_ROWS = 2000


def _ordered(names):
    return tuple((a, b) for a in names for b in names if a != b)


_GAS = tuple(f"batch{i}" for i in (2, 3, 4, 5, 6, 8, 9))

PAIRS = {
    "office31": _ordered(("amazon", "dslr", "webcam")),
    "gas": tuple(("batch1", batch) for batch in _GAS),
    "surf": _ordered(("amazon", "caltech", "dslr", "webcam")),
    "amazon": _ordered(("books", "dvd", "electronics", "kitchen")),
    "digits": _ordered(("mnist", "usps")),
    "heart": (
        ("cleveland", "hungarian"),
        ("cleveland", "switzerland"),
        ("cleveland", "va"),
        ("hungarian", "cleveland"),
        ("hungarian", "switzerland"),
        ("hungarian", "va"),
        ("va", "cleveland"),
    ),
    "fsdd": (
        ("george", "jackson"),
        ("jackson", "lucas"),
        ("nicolas", "theo"),
        ("theo", "yweweler"),
    ),
    "wine": _ordered(("red", "white")),
    "spam": (("youtube", "sms"),),
}
"""Source and target domain of every pair, by set."""

QUICK_PAIRS = {"office31": (1, 4), "gas": (1, 2), "surf": (0, 5), "amazon": (1,), "digits": (0,),
               "heart": (0,), "fsdd": (0,)}  # fmt: skip
"""Which pairs ``--quick`` keeps."""

SETS = tuple(QUICK_PAIRS)
"""The sets of the accuracy benchmark."""


def _load_wine(data_home=None):
    data = datasets.load_wine_quality(data_home=data_home)
    return Bunch(**{**data, "y": np.clip(data.y, 4, 7)})


def load_spam(data_home=None):
    """Spam texts with two domains: the comments of all videos, and SMS."""
    data = datasets.load_spam(data_home=data_home)
    domain = (data.domain == data.domains.index("SMS")).astype(int)
    return Bunch(**{**data, "domain": domain, "domains": ["youtube", "sms"]})


_LOADERS = {
    "office31": datasets.load_office31_features,
    "gas": datasets.load_gas_drift,
    "surf": datasets.load_office_caltech_surf,
    "amazon": datasets.load_amazon_bow,
    "digits": datasets.load_digits_domains,
    "heart": datasets.load_heart,
    "fsdd": datasets.load_spoken_digits,
    "wine": _load_wine,
    "spam": load_spam,
}


@lru_cache(maxsize=4)
def _load(name, data_home):
    return _LOADERS[name](data_home=data_home)


def available(name, data_home=None):
    """Return None when the files of a set are readable, else the loader's message.

    ``name`` may go on after a slash ("gas/50"), which tells a variant of the same files.
    """
    try:
        _load(name.split("/")[0], None if data_home is None else str(data_home))
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None


def pair_names(name, quick=False):
    """Names ("source->target") of the pairs of a set, in the order they are run."""
    pairs = PAIRS[name]
    chosen = QUICK_PAIRS[name] if quick else range(len(pairs))
    return [f"{pairs[i][0]}->{pairs[i][1]}" for i in chosen]


def _identity(X_source, X_target):
    return X_source, X_target


def zscored(X_source, X_target):
    """Both sides, each column with the source's mean and standard deviation."""
    scaler = StandardScaler().fit(X_source)
    return scaler.transform(X_source), scaler.transform(X_target)


def _row_sum_zscore(X_source, X_target):
    # A descriptor count depends on the image size: frequencies, not counts, are comparable.
    shares = [X / np.maximum(X.sum(axis=1, keepdims=True), 1) for X in (X_source, X_target)]
    return zscored(*shares)


def _pixels(X_source, X_target):
    # One scalar for all pixels: z-scoring each would blow up constant border pixels.
    mean, scale = X_source.mean(), X_source.std()
    return (X_source - mean) / scale, (X_target - mean) / scale


def _impute_zscore(X_source, X_target):
    prepare = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(X_source)
    return prepare.transform(X_source), prepare.transform(X_target)


def _text_components(X_source, X_target):
    prepare = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2, max_features=1000),
        TruncatedSVD(100, random_state=0),
        StandardScaler(),
    ).fit(X_source)
    return prepare.transform(X_source), prepare.transform(X_target)


_SCALING = {
    "office31": zscored,
    "gas": zscored,
    "surf": _row_sum_zscore,
    "amazon": _identity,
    "digits": _pixels,
    "heart": _impute_zscore,
    "fsdd": _pixels,
    "wine": zscored,
    "spam": _text_components,
}
_GRIDS = {"gas": (1e-2,), "amazon": (0.01, 0.03, 0.1, 0.3, 1.0), "heart": (1e-1, 1.0),
          "wine": (1e-1, 1.0)}  # fmt: skip


def _rows(name, data, domain):
    """Rows of a domain that take part, fixed for every method and seed."""
    rows = np.flatnonzero(data.domain == data.domains.index(domain))
    if name == "amazon":
        rows = rows[data.split[rows] == 0]
    if name == "digits":
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:DIGITS_ROWS])
    return rows


@lru_cache(maxsize=4)
def make_task(name, pair, data_home=None):
    """Build one pair of one set; the last few are kept, so do not write into them.

    Parameters
    ----------
    name : str
        A key of ``PAIRS``.
    pair : str
        ``"source->target"``, one of ``pair_names(name)``.
    data_home : str or path-like, default=None
        Where the files are; see :func:`adaptlearn.datasets.get_data_home`.

    Returns
    -------
    task : Task
        Dense float32 arrays, CSR for ``amazon``; labels are integers 0 to K - 1.
    """
    source, target = pair.split("->")
    if (source, target) not in PAIRS[name]:
        raise ValueError(f"pair={pair!r} is not part of set {name!r}; it has {pair_names(name)}.")
    data = _load(name, None if data_home is None else str(data_home))
    source_rows, target_rows = _rows(name, data, source), _rows(name, data, target)
    X_source, X_target = _SCALING[name](data.X[source_rows], data.X[target_rows])
    # Contiguous 0..K-1 over all domains: some peers accept nothing else, and -1 is their mask.
    _, codes = np.unique(data.y, return_inverse=True)
    return Task(
        name,
        pair,
        X_source.astype(np.float32),
        codes[source_rows],
        X_target.astype(np.float32),
        codes[target_rows],
        _GRIDS.get(name, WIDE_GRID),
    )


def with_rows(task, source, target):
    """The task with some rows of each side: row numbers or slices."""
    return task._replace(
        X_source=task.X_source[source],
        y_source=task.y_source[source],
        X_target=task.X_target[target],
        y_target=task.y_target[target],
    )


def scores(y_true, predicted):
    """Accuracy, balanced accuracy and worst-class recall, by name.

    Recall is over the classes that the target has: predictions of an absent class are errors of
    the rows they hit, not a class of their own.
    """
    labels = np.unique(y_true)
    recall = recall_score(y_true, predicted, labels=labels, average=None, zero_division=0)
    return {
        "accuracy": accuracy_score(y_true, predicted),
        "balanced_accuracy": recall.mean(),
        "worst_class_recall": recall.min(),
    }
