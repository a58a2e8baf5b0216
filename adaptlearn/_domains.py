"""The data convention: which rows are source, which are target, which carry a label.

This is the only module that reads signs of ``sample_domain`` and decides what is a mask in ``y``;
`_task_labels` does so for a ``y`` with several columns. `_labels` and `_containers` know the
containers.

* ``sample_domain``: one int per row, ``>= 0`` a source domain, ``< 0`` a target domain.
* mask (no label): ``-1`` among numeric class labels, ``"-1"`` among strings, NaN in a regression
  ``y``; ``None``, NaN and ``pd.NA`` are read as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._labels import (
    is_mask,
    is_null,
    is_plus_minus_one,
    read_labels,
    read_weight,
    read_y,
    to_array,
)

MASK_HELP = (
    "-1 (or '-1' among strings, NaN in regression) marks a row without a label. Labels that are "
    "exactly {-1, 1} with no domain given are read as two classes; give sample_domain= or "
    "X_target= to say which rows are the target."
)


class FitRows(NamedTuple):
    """Rows of one ``fit`` call, all of shape (n_rows,)."""

    y: np.ndarray  # labels; what stands in unlabelled rows has no meaning
    labelled: np.ndarray  # bool: the row's label may be used for training
    domain: np.ndarray  # int: >= 0 source, < 0 target
    weight: np.ndarray | None  # float64


# --- labels ---------------------------------------------------------------------------------


def _masked(y, null, *, domain=None, classes=None):
    """Bool mask of the rows that carry -1 as "no label": here alone -1 becomes a class or not."""
    mask = is_mask(y) & ~null
    if classes is not None:
        is_class = is_mask(read_labels(classes)[0]).any()
    elif domain is not None:
        is_class = mask[domain >= 0].any()
    else:
        is_class = is_plus_minus_one(y[~null])
    return np.zeros_like(mask) if is_class else mask


def is_unlabelled(y, classes=None):
    """Which entries of `y` say "no label".

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    classes : array-like, optional
        Classes of a fitted estimator: the mask is a class if it is among them. Without it, labels
        that are exactly {-1, 1} are two classes. Pass ``()`` for a regression `y` (only NaN
        counts).

    Returns
    -------
    ndarray of bool, shape (n_rows,)
    """
    if classes is not None and len(classes) == 0:
        return is_null(to_array(y))
    y, null = read_labels(y)
    return null | _masked(y, null, classes=classes)


def read_domains(y, sample_domain=None, classes=None):
    """Side and label of each row, for splitters and scorers.

    Parameters
    ----------
    y, classes : as in `is_unlabelled`
    sample_domain : int, array-like, "source" or "target", optional

    Returns
    -------
    is_target, labelled : ndarrays of bool, shape (n_rows,)
        Without `sample_domain`: when `y` holds masks, its labelled rows are source rows; when it
        holds none, all rows are target rows.
    """
    if sample_domain is None:
        unlabelled = is_unlabelled(y, classes)
        return (unlabelled if unlabelled.any() else ~unlabelled), ~unlabelled
    if isinstance(sample_domain, str):
        sample_domain = {"source": 0, "target": -1}.get(sample_domain, sample_domain)
    if classes is not None and len(classes) == 0:
        unlabelled = is_unlabelled(y, classes)
        return read_sample_domain(sample_domain, len(unlabelled)) < 0, ~unlabelled
    y, null = read_labels(y)
    domain = read_sample_domain(sample_domain, len(y))
    return domain < 0, ~(null | _masked(y, null, domain=domain, classes=classes))


# --- domains --------------------------------------------------------------------------------


def read_sample_domain(sample_domain, n_rows):
    """Domain number of each row, int64."""
    domain = np.asarray(sample_domain)
    if domain.dtype.kind == "O":  # nullable columns
        domain = np.array(domain.tolist())
    if domain.ndim > 1 or domain.dtype.kind not in "iuf":
        raise TypeError(
            "sample_domain must be one integer or hold one per row (>= 0 source, < 0 target), got "
            f"{sample_domain!r:.80} (dtype {domain.dtype}, shape {domain.shape}). Number the "
            "domains 0, 1, ... (sources) and -1, -2, ... (targets)."
        )
    if not (np.isfinite(domain) & (domain == np.round(domain))).all():
        raise ValueError(
            "sample_domain holds fractions, NaN or infinity; give integers, < 0 for a target."
        )
    if domain.ndim and len(domain) != n_rows:
        raise ValueError(
            f"sample_domain has {len(domain)} entries for {n_rows} rows; give one integer per row, "
            "or one for all. An imbalanced-learn Pipeline resamples X and y alone: let its last "
            "step be ResampledClassifier(estimator, sampler), which resamples all, by domain."
        )
    return np.full(n_rows, domain, dtype=np.int64) if domain.ndim == 0 else domain.astype(np.int64)


class DomainIndex(NamedTuple):
    """Domains seen in ``fit`` and the row of the statistics tables ("slot") each one owns.

    Slots are: every source, every target, the pooled sources, the pooled targets.
    """

    sources: tuple
    targets: tuple

    @classmethod
    def of(cls, domain):
        """Index of the domains in an array of domain numbers."""
        ids = np.unique(domain)
        return cls(tuple(int(i) for i in ids[ids >= 0]), tuple(int(i) for i in ids[ids < 0][::-1]))

    @property
    def ids(self):
        """All domain numbers, in slot order."""
        return self.sources + self.targets

    @property
    def n_slots(self):
        """Number of rows in a table of statistics."""
        return len(self.ids) + 2

    def pooled_slot(self, side):
        """Slot of a whole side; without target rows the target is taken for the source."""
        members = self.sources if side == "source" or not self.targets else self.targets
        if len(members) == 1:
            return self.ids.index(members[0])
        return len(self.ids) + (members is self.targets)

    def slots(self, domain, training=False):
        """Slot of each entry of `domain`, an int array of domains seen in fit."""
        table = {d: s for s, d in enumerate(self.ids)}
        unique, inverse = np.unique(domain, return_inverse=True)
        unseen = [int(d) for d in unique if int(d) not in table]
        if unseen:
            advice = (
                "Training goes on with the domains of the first call: give new source rows one of "
                "its numbers >= 0, new target rows one < 0, or leave sample_domain out in every "
                "call. New domains of their own need a fresh fit with rows of all."
                if training
                else "Use a domain seen in fit, 'source' or 'target' for a whole side, or fit "
                "again with rows of that domain."
            )
            raise ValueError(
                f"sample_domain holds {unseen}, not seen in fit (seen: {list(self.ids)}). {advice}"
            )
        return np.array([table[int(d)] for d in unique], dtype=np.int64)[inverse]

    def read(self, sample_domain, n_rows):
        """Slot per row at predict time: None is the target, a string names a whole side."""
        if sample_domain is None:
            sample_domain = "target"
        if isinstance(sample_domain, str):
            if sample_domain not in ("source", "target"):
                raise ValueError(
                    f"sample_domain={sample_domain!r} is not known; allowed are 'source', "
                    "'target', an integer, or one integer per row."
                )
            return np.full(n_rows, self.pooled_slot(sample_domain))
        return self.slots(read_sample_domain(sample_domain, n_rows))


def read_fit(
    y, n_rows, *, n_target=None, sample_domain=None, sample_weight=None, target_labels="ignore",
    regression=False, classes=None,
):  # fmt: skip
    """Read what ``fit`` was given besides X into `FitRows` (rows of `X_target` come last).

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    n_rows : int
        Rows of X.
    n_target : int, optional
        Rows of `X_target`; None when it was not given.
    sample_domain, sample_weight : as in ``fit``
    target_labels : {"ignore", "use"}
    regression : bool
    classes : array-like, optional
        Classes known before this call (``partial_fit``, ``warm_start``): -1 is a mask if it is not
        among them.

    Returns
    -------
    FitRows
    """
    y, null = read_y(y, n_rows, regression)
    domain = None if sample_domain is None else read_sample_domain(sample_domain, n_rows)
    if n_target is not None:
        if domain is None:
            domain = np.zeros(n_rows, dtype=np.int64)
        if (domain < 0).any():
            raise ValueError(
                "sample_domain holds negative numbers (target rows) and X_target was given too; "
                "with X_target all rows of X are source rows. Give the target in one way only."
            )
    masked = np.zeros(n_rows, dtype=bool)
    if not regression:
        masked = _masked(y, null, domain=domain, classes=classes)
    labelled = ~(null | masked)
    if domain is None:
        domain = np.where(labelled, 0, -1)
    source = domain >= 0
    if not source.any():
        raise ValueError(
            "y and sample_domain leave no source row: every row is unlabelled or marked as target "
            "(sample_domain < 0). Give labelled source rows. " + MASK_HELP
        )
    if not labelled[source].all():
        n_missing, who = np.sum(source & ~labelled), "sample_domain marks as source (>= 0)"
        if n_target is not None:
            who = "are source rows, as all rows of X are when X_target is given"
        raise ValueError(
            f"y has no label on {n_missing} rows that {who}. Give labels, drop these rows, or make "
            "them target rows (sample_domain < 0, or rows of X_target)."
        )
    if target_labels == "ignore":
        labelled = source
    weight = read_weight(sample_weight, n_rows, labelled)
    if n_target is not None:
        y = np.concatenate([y, np.repeat(y[:1], n_target)])
        labelled = np.concatenate([labelled, np.zeros(n_target, dtype=bool)])
        domain = np.concatenate([domain, np.full(n_target, -1)])
        if weight is not None:
            weight = np.concatenate([weight, np.ones(n_target)])
    _check_domain_sizes(domain)
    return FitRows(y, labelled, domain, weight)


def _check_domain_sizes(domain):
    ids, counts = np.unique(domain, return_counts=True)
    if (counts < 2).any():
        raise ValueError(
            f"domain {ids[counts < 2].tolist()} has only 1 sample (n_samples=1); each domain needs "
            "at least two rows for its statistics. Add rows, or merge domains in sample_domain."
        )
