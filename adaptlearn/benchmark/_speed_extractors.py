"""Extractors beside the loop that people write in their place, with the same network and batch.

Images: files are decoded, resized and normalised by Pillow and NumPy in one loop, by
`ImageExtractor` in the other. Texts: the loop pads batches in the order of the rows,
`TextExtractor` sorts them by length first. Networks have random weights (what they compute costs
the same), and nothing is cached. Ratios above 1 say that the extractor is quicker.

Ranking: `rank_extractors` on embeddings that are at hand, so that no network has a part in it,
beside training a head on each: logistic regression with a search over the penalties and folds that
``LogisticRegressionCV`` has by default, and the default `DomainAdaptationClassifier`.
"""

from __future__ import annotations

import io
import time
from itertools import pairwise

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from ..deep import DomainAdaptationClassifier
from ..extractors import ImageExtractor, TextExtractor, rank_extractors
from ..extractors._pixels import to_tensor
from ..extractors._preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from ._speed_loops import SEED, alternate, torch_threads

GOAL_LOOP, GOAL_RESIZE = 0.95, 1 / 3
MODES = {"bilinear": 2, "bicubic": 3}  # and Pillow's numbers for them
SIZES = ((480, 640), (1080, 1920), (300, 300), (112, 112))
RANKED = ((400, 256), (1000, 384))  # rows of a side, features of a candidate
PENALTIES = np.logspace(-4, 4, 10)
SIDE = 224
BATCH = 16


def photographs(n, height, width):
    """Waves of colour with noise, uint8, shape (n, height, width, 3)."""
    rng = np.random.default_rng(SEED)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = rng.uniform(0, 6, (n, 1, 1, 3))
    wave = 128 + 90 * np.sin(4 * (x[:, :, None] * np.cos(angle) + y[:, :, None]) + angle)
    return (wave + rng.normal(0, 12, wave.shape)).clip(0, 255).astype(np.uint8)


def resize_cost(height, width, mode, repetitions=15, n=BATCH):
    """Seconds an image of Pillow and of adaptlearn to resize to 224 x 224 and normalise.

    Pillow has one thread, so that torch gets one as well.

    Returns
    -------
    dict
        ``size``, ``mode``, ``pillow`` and ``ours`` (seconds), ``ratio`` (ours / Pillow's),
        ``largest`` difference of the resized images in steps of 1/255, and ``share`` of values that
        differ by more than one step.
    """
    from PIL import Image

    from ..extractors.image import _batch

    arrays = photographs(n, height, width)
    images = [Image.fromarray(array) for array in arrays]
    steps = Preprocessing((SIDE, SIDE), None, mode, 1 / 255, IMAGENET_MEAN, IMAGENET_STD, False)
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)

    def resized():
        return np.stack([np.asarray(im.resize((SIDE, SIDE), MODES[mode])) for im in images])

    def pillow():
        block = resized().astype(np.float32)
        block *= 1 / 255
        block -= mean
        block /= std
        return block

    def ours():
        return _batch([(i, steps.resize(to_tensor(a))) for i, a in enumerate(arrays)], steps)

    with torch_threads(1):
        seconds = alternate([pillow, ours], repetitions) / n
    block = torch.stack([steps.resize(to_tensor(a)) for a in arrays]).permute(0, 2, 3, 1)
    off = np.abs(block.numpy().astype(int) - resized())
    middle = np.median(seconds, axis=0)
    return {
        "size": (height, width),
        "mode": mode,
        "pillow": middle[0],
        "ours": middle[1],
        "ratio": np.median(seconds[:, 1] / seconds[:, 0]),
        "largest": int(off.max()),
        "share": float((off > 1).mean()),
    }


class Convolutions(nn.Module):
    """A small network of images: five steps of depthwise and pointwise convolutions."""

    def __init__(self, widths=(16, 32, 64, 128, 256)):
        super().__init__()
        layers = [nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.ReLU6()]
        for before, after in pairwise(widths):
            depthwise = nn.Conv2d(before, before, 3, 2, 1, groups=before, bias=False)
            layers += [depthwise, nn.ReLU6(), nn.Conv2d(before, after, 1, bias=False), nn.ReLU6()]
        self.layers = nn.Sequential(*layers)
        for parameter in self.parameters():  # so that features of different images differ
            nn.init.kaiming_normal_(parameter)

    def forward(self, images):
        return self.layers(images).mean((2, 3))


class Attention(nn.Module):
    """A small encoder of token ids."""

    def __init__(self, width=128, n_layers=2):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)

    def forward(self, input_ids, attention_mask):
        return self.layers(self.embed(input_ids), src_key_padding_mask=attention_mask == 0)


def _seeded(make):
    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        return make().eval().requires_grad_(False)


def image_loops(n=160):
    """The loop written by hand and the extractor, both JPEG files to features."""
    from PIL import Image

    network, files = _seeded(Convolutions), []
    for array in photographs(n, 240, 320):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "JPEG")
        files.append(file.getvalue())
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)

    def read(data):
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), MODES["bilinear"])
        return np.asarray(image)

    def by_hand():
        found = []
        with torch.inference_mode():
            for at in range(0, n, BATCH):
                block = np.stack([read(data) for data in files[at : at + BATCH]])
                block = (block.astype(np.float32) / 255 - mean) / std
                found.append(network(torch.from_numpy(block).permute(0, 3, 1, 2)))
        return torch.cat(found).numpy()

    one = ImageExtractor(network, image_size=(SIDE, SIDE), batch_size=BATCH, cache=None).fit(files)
    return by_hand, lambda: one.transform(files)


def letters(texts):
    """A tokenizer: one id for each byte."""
    return [list(text.encode()) or [0] for text in texts]


def text_loops(n=256):
    """The loop written by hand and the extractor, texts of 2 to 200 tokens."""
    network, rng = _seeded(Attention), np.random.default_rng(SEED)
    lengths = rng.lognormal(3.6, 0.8, n).clip(2, 200).astype(int)
    texts = ["".join(map(chr, rng.integers(97, 123, length))) for length in lengths]

    def by_hand():
        found = []
        with torch.inference_mode():
            for at in range(0, n, BATCH):
                ids = [torch.tensor(row) for row in letters(texts[at : at + BATCH])]
                block = nn.utils.rnn.pad_sequence(ids, batch_first=True)
                mask = (block > 0).float()
                hidden = network(block, mask) * mask[:, :, None]
                found.append(hidden.sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(found).numpy()

    params = {"tokenizer": letters, "batch_size": BATCH, "cache": None}
    one = TextExtractor(network, **params).fit(texts)
    return by_hand, lambda: one.transform(texts)


LOOPS = {"images": image_loops, "texts": text_loops}


def loop_cost(what, repetitions=7):
    """Seconds of the two loops of `LOOPS`, their ratio, and how far their features are apart."""
    by_hand, ours = LOOPS[what]()
    seconds = alternate([by_hand, ours], repetitions)
    theirs = by_hand()
    return {
        "rows": what,
        "by_hand": float(np.median(seconds[:, 0])),
        "ours": float(np.median(seconds[:, 1])),
        "ratio": float(np.median(seconds[:, 0] / seconds[:, 1])),
        "apart": float(np.abs(theirs - ours()).max() / np.abs(theirs).max()),
    }


def embeddings(n_rows, n_features, n_candidates):
    """Candidates that tell five classes apart less and less, and the labels.

    Returns
    -------
    dict of str to ndarray of shape (2 * n_rows, n_features)
        Labelled rows, then as many of a target that moved.
    ndarray of shape (n_rows,)
    """
    rng = np.random.default_rng(SEED)
    y, moved = np.arange(2 * n_rows) % 5, np.arange(2 * n_rows)[:, None] >= n_rows
    table = {}
    for k in range(n_candidates):
        noise, offset = rng.normal(size=(len(y), n_features)), rng.normal(size=n_features)
        center = rng.normal(size=(5, n_features)) * 4 / (1 + k) / np.sqrt(n_features)
        table[str(k)] = (noise + center[y] + offset * moved).astype(np.float32)
    return table, y[:n_rows]


def _seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def ranking_cost(n_rows, n_features, n_candidates=2, **params):
    """Seconds to rank candidates whose embeddings are at hand, and to train heads on each.

    Parameters
    ----------
    n_rows, n_features : int
        Rows of each side.
    n_candidates : int, default=2
    **params : dict
        Of the `DomainAdaptationClassifier`.

    Returns
    -------
    dict
        ``rows``, ``features``, ``candidates``, ``ranking``, ``logistic`` and ``deep`` (seconds of
        all candidates), ``ratio`` (logistic / ranking) and ``deep_ratio``.
    """
    table, y = embeddings(n_rows, n_features, n_candidates)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head = GridSearchCV(linear, {"logisticregression__C": PENALTIES}, cv=5)
    model = DomainAdaptationClassifier(device="cpu", random_state=SEED, **params)

    def rank():
        rank_extractors(table, None, y, n_rows)

    def fit_heads():
        for rows in table.values():
            head.fit(rows[:n_rows], y)

    def fit_deep():
        for rows in table.values():
            model.fit(rows[:n_rows], y, X_target=rows[n_rows:])

    rank()  # warms up
    ranking, logistic, trained = (_seconds(call) for call in (rank, fit_heads, fit_deep))
    return {
        "rows": n_rows, "features": n_features, "candidates": n_candidates, "ranking": ranking,
        "logistic": logistic, "deep": trained, "ratio": logistic / ranking,
        "deep_ratio": trained / ranking,
    }  # fmt: skip


def ranking_table(quick, say):
    """Records of `ranking_cost` at several sizes."""
    say.title("Ranking embeddings: seconds of all candidates, heads trained on each / ranking")
    say.row(("rows x features", "models", "ranking", "logistic", "deep", "ratio", "deep ratio"),
            head=True)  # fmt: skip
    records = []
    for size in RANKED[:1] if quick else RANKED:
        records.append(record := ranking_cost(*size))
        say.row((
            f"{size[0]} x {size[1]}", record["candidates"],
            *(f"{record[key]:.2f}" for key in ("ranking", "logistic", "deep")),
            f"{record['ratio']:.1f}", f"{record['deep_ratio']:.1f}",
        ))  # fmt: skip
    return records


def extractor_tables(quick, say):
    """Records of `resize_cost`, `loop_cost` and `ranking_cost`, printed as they come."""
    repetitions, out = 3 if quick else 9, {"resize": [], "loops": []}
    say.title("Resizing to 224 x 224 and normalising uint8 images: ms an image, ours / Pillow's")
    say.row(("size", "filter", "Pillow", "ours", "ratio", "off by", "by > 1"), head=True)
    for mode in MODES:
        for size in SIZES:
            record = resize_cost(*size, mode, 3 * repetitions)
            say.row((
                f"{size[0]} x {size[1]}", mode, f"{1e3 * record['pillow']:.2f}",
                f"{1e3 * record['ours']:.2f}", f"{record['ratio']:.2f}", record["largest"],
                f"{record['share']:.0e}",
            ))  # fmt: skip
            out["resize"].append(record)
    say.title("Extraction: seconds, loop written by hand / ours, largest relative difference")
    say.row(("rows", "", "by hand", "ours", "ratio", "apart"), head=True)
    for what in LOOPS:
        record = loop_cost(what, repetitions)
        say.row((
            what, "", f"{record['by_hand']:.2f}", f"{record['ours']:.2f}",
            f"{record['ratio']:.2f}", f"{record['apart']:.0e}",
        ))  # fmt: skip
        out["loops"].append(record)
    return out | {"ranking": ranking_table(quick, say)}
