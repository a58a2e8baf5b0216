"""Class-balanced batches and SMOTE beside what people use in their place.

Index plans of one epoch, as many draws as rows, each as its maker hands it out: adaptlearn's
`ClassSampler` a tensor, torch's ``WeightedRandomSampler`` an iterator of integers, and the
pattern known as ImbalancedDatasetSampler one index after the other from a generator.
"""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from torch.utils.data import WeightedRandomSampler

from ..imbalance.sampling import ClassSampler
from . import _speed_memory
from ._speed_loops import N_CLASSES, SEED, EpochEnds, alternate

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
# torch.multinomial takes no more categories; both peers draw with it.
MOST_WEIGHTS = 2**24
# The pattern makes a tensor object of every row at once: 630 bytes each, 6 GB for 10M rows.
MOST_BY_ROW = 1_000_000
SMOTE_SIZES = ((10_000, 64), (100_000, 64), (100_000, 256))
IMBALANCE = 100
GOAL_ROWS, GOAL_SECONDS = 1_000_000, 0.2


def _seeded():
    return torch.Generator().manual_seed(SEED)


class ByRow:
    """The pattern: labels counted one by one, a weight per row, a generator of indices."""

    def __init__(self, labels):
        self.indices = list(range(len(labels)))
        count = {}
        for index in self.indices:
            label = int(labels[index])
            count[label] = count.get(label, 0) + 1
        weights = [1.0 / count[int(labels[index])] for index in self.indices]
        self.weights = torch.tensor(weights, dtype=torch.float64)
        self.generator = _seeded()

    def __iter__(self):
        drawn = torch.multinomial(
            self.weights, len(self.indices), replacement=True, generator=self.generator
        )
        return (self.indices[k] for k in drawn)


def weighted(codes):
    """WeightedRandomSampler with the weights that balance the classes."""
    weights = 1.0 / torch.bincount(codes).double()
    return WeightedRandomSampler(weights[codes], len(codes), generator=_seeded())


def long_tail(n_rows):
    """Class codes, int64: shares fall geometrically, the last class has 1/100 of the first."""
    share = np.geomspace(1, 1 / IMBALANCE, N_CLASSES)
    rng = np.random.default_rng(SEED)
    return torch.from_numpy(rng.choice(N_CLASSES, n_rows, p=share / share.sum()))


def sampler_cost(n_rows, repetitions=3):
    """Seconds of set-up and of one epoch's draw of each sampler, and peak bytes of ours.

    Parameters
    ----------
    n_rows : int
    repetitions : int, default=3
        0 measures bytes alone.

    Returns
    -------
    dict
        ``rows``, ``bytes`` (tensors of `ClassSampler` that were alive at once, set-up and draw),
        and the seconds ``(set-up, draw)`` of ``ours``, ``weighted`` and ``by_row``, where it
        was run.
    """
    codes, generator = long_tail(n_rows), _seeded()
    with _speed_memory.TensorPeak() as memory:
        ClassSampler(codes).draw(n_rows, generator)
    record = {"rows": n_rows, "bytes": memory.peak}
    if not repetitions:
        return record
    makers = {"ours": partial(ClassSampler, codes)}
    if n_rows <= MOST_WEIGHTS:
        makers["weighted"] = partial(weighted, codes)
    if n_rows <= MOST_BY_ROW:
        makers["by_row"] = partial(ByRow, codes.numpy())
    made = {name: make() for name, make in makers.items()}
    draws = [
        partial(made["ours"].draw, n_rows, generator),
        *(partial(_exhaust, made[name]) for name in makers if name != "ours"),
    ]
    setup, draw = (
        np.median(alternate(calls, repetitions), axis=0) for calls in (list(makers.values()), draws)
    )
    return record | {name: [setup[k], draw[k]] for k, name in enumerate(makers)}


def _exhaust(sampler):
    for _ in sampler:
        pass


def sampler_table(quick, say):
    """Records of `sampler_cost` for growing numbers of rows."""
    say.row(("rows", "set-up s", "draw s", "bytes/row", "weighted s", "ratio", "by row s", "ratio"),
            head=True)  # fmt: skip
    records = []
    for n_rows in SIZES[:3] if quick else SIZES:
        record = sampler_cost(n_rows, 3 if n_rows <= 1_000_000 else 1)
        setup, draw = record["ours"]
        cells = [f"{setup:.4f}", f"{draw:.4f}", f"{record['bytes'] / n_rows:.0f}"]
        for peer in ("weighted", "by_row"):
            total = sum(record[peer]) if peer in record else None
            cells += (
                ["", ""] if total is None else [f"{total:.4f}", f"{total / (setup + draw):.0f}"]
            )
        say.row((n_rows, *cells))
        if n_rows == GOAL_ROWS:
            record["goal_met"] = setup < GOAL_SECONDS
        records.append(record)
    return records


# --- SMOTE ----------------------------------------------------------------------------------


def smote_task(n_rows, n_features):
    """Two classes of noise, one row of the second to 100 of the first, as float32."""
    rng = np.random.default_rng(SEED)
    y = (np.arange(n_rows) % (IMBALANCE + 1) == 0).astype(np.int64)
    X = rng.normal(size=(n_rows, n_features)).astype(np.float32) + y[:, None].astype(np.float32)
    return X, y


def _fit(X, y, n_epochs, **mixing):
    from ..deep import DomainAdaptationClassifier

    clf = DomainAdaptationClassifier(
        alignment=None, normalize="source", max_epochs=n_epochs, device="cpu",
        callbacks=[EpochEnds()], random_state=SEED, **mixing,
    )  # fmt: skip
    started = time.perf_counter()
    clf.fit(X, y)
    ((_, clock),) = clf.net_.callbacks_
    return SimpleNamespace(
        fit=time.perf_counter() - started, epoch=float(np.median(np.diff(clock.ends_)))
    )


def smote_cost(n_rows, n_features, n_epochs=3):
    """Seconds of an epoch with SMOTE in the batch, and over rows that imbalanced-learn made.

    Parameters
    ----------
    n_rows, n_features : int
        Imbalance is 100 to 1.
    n_epochs : int, default=3
        Of each fit, >= 2; the first of each is not in the median.

    Returns
    -------
    dict
        ``rows``, ``features``, ``resampling`` (seconds of ``SMOTE().fit_resample``),
        ``resampled_rows``, ``extra_bytes`` of those rows, and the seconds ``resampled_epoch``,
        ``resampled_fit``, ``plain_epoch``, ``mixed_epoch`` and ``mixed_fit``.
    """
    from imblearn.over_sampling import SMOTE

    X, y = smote_task(n_rows, n_features)
    record = {"rows": n_rows, "features": n_features, "plain_epoch": _fit(X, y, n_epochs).epoch}
    mixed = _fit(X, y, n_epochs, mixing="smote")
    record |= {"mixed_epoch": mixed.epoch, "mixed_fit": mixed.fit}
    started = time.perf_counter()
    X_more, y_more = SMOTE(random_state=SEED).fit_resample(X, y)
    resampling = time.perf_counter() - started
    over = _fit(X_more, y_more, n_epochs)
    return record | {
        "resampling": resampling,
        "resampled_rows": len(X_more),
        "extra_bytes": X_more.nbytes - X.nbytes,
        "resampled_epoch": over.epoch,
        "resampled_fit": resampling + over.fit,
    }


def smote_table(quick, say):
    """Records of `smote_cost` at several sizes."""
    say.row(("rows x features", "plain epoch", "in batch", "materialised", "SMOTE s", "extra MB",
             "ratio epoch", "ratio fit"), head=True)  # fmt: skip
    records = []
    for n_rows, n_features in SMOTE_SIZES[:2] if quick else SMOTE_SIZES:
        record = smote_cost(n_rows, n_features)
        mixed = "mixed_epoch" in record
        say.row((
            f"{n_rows} x {n_features}",
            f"{record['plain_epoch']:.3f}",
            f"{record['mixed_epoch']:.3f}" if mixed else "",
            f"{record['resampled_epoch']:.3f}",
            f"{record['resampling']:.2f}",
            f"{record['extra_bytes'] / _speed_memory.MIB:.0f}",
            f"{record['resampled_epoch'] / record['mixed_epoch']:.2f}" if mixed else "",
            f"{record['resampled_fit'] / record['mixed_fit']:.2f}" if mixed else "",
        ))  # fmt: skip
        records.append(record)
    return records
