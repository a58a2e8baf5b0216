"""Class proportions of the target: estimated before training, used in it and at predict."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from ..imbalance._label_shift_result import prior_ratio, read_prior, reweight
from ..imbalance._out_of_fold import predict_out_of_fold
from ..imbalance.label_shift import estimate_label_shift
from ..imbalance.target_prior import (
    Sample,
    counts_changed,
    match_target,
    moved_share,
    plainly_moved_share,
)
from ._rows import rows_of
from ._scaling import column_kinds

# Rows of each side that "auto" reads, fewer of many columns; and those that predictions are for.
_SAMPLE_ROWS, _SAMPLE_CELLS, _PREDICTED_ROWS = 600, 1_500_000, 20_000
_FEW_ROWS = 20
_FOLDS = 3
# Pseudo-labels go wrong where classes are all but gone: their share of the source from which on
# class proportions count as changed.
_HALVED_SHARE = 0.25


class Shift(NamedTuple):
    """What was found out about the target before training."""

    source_prior: np.ndarray  # (n_classes,) class proportions of the labelled source rows
    target_prior: np.ndarray  # (n_classes,) estimated
    # (n_columns,) see `moved_share` and `plainly_moved_share`; None where rows are no vectors.
    moved: np.ndarray | None
    changed: bool  # whether class proportions look so different that pseudo-labels or MMD suffer


def estimate_shift(estimator, parts, fit_rows, slots, codes, seed):
    """Class proportions of the target, and which columns moved besides.

    Returns
    -------
    Shift or None
        None without label-shift correction, without target rows, and where "auto" cannot tell:
        fewer than 20 rows on a side, rows that are no vectors.
    """
    method = estimator.label_shift
    source = np.flatnonzero(fit_rows.labelled & (fit_rows.domain >= 0))
    target = np.flatnonzero(fit_rows.domain < 0)
    if method is None or not len(target):
        return None
    if fit_rows.weight is not None:  # rows of no weight are not read
        source, target = (side[fit_rows.weight[side] > 0] for side in (source, target))
    rng = np.random.default_rng(seed)
    vectors = len(parts[0].shape) == 2
    prior, sample, evidence = None, None, 1.0
    if vectors:
        limit = min(_SAMPLE_ROWS, _SAMPLE_CELLS // parts[0].shape[1])
        if min(len(source), len(target), limit) >= _FEW_ROWS:
            some = [np.sort(rng.permutation(side)[:limit]) for side in (source, target)]
            blocks = [rows_of(parts, rows).astype(np.float64) for rows in some]
            sample = Sample(blocks[0], codes[some[0]], blocks[1], estimator._n_outputs)
            fixed, column_weight = column_kinds(parts, slots, fit_rows.weight)
    if method != "auto":
        prior = _from_predictions(estimator, parts, fit_rows, codes, source, target, rng)
    elif sample is not None:
        prior, evidence = match_target(sample, fixed=fixed, column_weight=column_weight)
    if prior is None:
        return None
    source_prior = class_share(fit_rows, codes, len(prior), source)
    if method == "auto" and sample.n_classes == 2:
        moved = plainly_moved_share(sample, fixed)
        changed = counts_changed(sample, moved, column_weight=column_weight)
        return Shift(source_prior, source_prior, moved, changed)
    moved = None
    if sample is not None:
        # Without evidence of other proportions the target's statistics are its own. Doubt counts
        # twice: the source is weighted to these proportions, and they explain what did not move.
        moved = 1 - evidence**2 * (1 - moved_share(sample, prior, fixed))
    # Without evidence the proportions are those of all source rows, not of the sample.
    prior = prior if evidence else source_prior
    return Shift(source_prior, prior, moved, halved_share(source_prior, prior) >= _HALVED_SHARE)


def _from_predictions(estimator, parts, fit_rows, codes, source, target, rng):
    """Estimate from held-out predictions of the same network without alignment."""
    source, target = (np.sort(rng.permutation(side)[:_PREDICTED_ROWS]) for side in (source, target))
    weight = None if fit_rows.weight is None else fit_rows.weight[source]
    X, X_target = rows_of(parts, source), rows_of(parts, target)
    classes = np.arange(estimator._n_outputs)
    model = estimator._unaligned(int(rng.integers(2**31)))
    held_out = predict_out_of_fold(
        model, X, codes[source], classes, weight, X_target, _FOLDS, n_jobs=None
    )
    if held_out is None:
        warnings.warn(
            f"label_shift={estimator.label_shift!r}: too few rows in each class for held-out "
            "predictions; the target is taken to have the source's class proportions.",
            UserWarning,
            stacklevel=8,
        )
        return None
    return estimate_label_shift(
        held_out.source,
        codes[source][held_out.rows],
        held_out.target,
        method=estimator.label_shift,
        sample_weight=None if weight is None else weight[held_out.rows],
        classes=estimator.classes_,
    ).target_prior


def class_ratio(prior, fit_rows, slots, codes):
    """Target over source share of each class, by domain slot: weights of the source rows.

    Under these weights the source has the target's class proportions. A target standardised by
    its own statistics then matches the source standardised by its own, and an alignment compares
    like with like; otherwise a change of proportions would pass for a shift of the inputs.

    Returns
    -------
    ndarray of shape (n_domains, n_classes)
        1 for target domains.
    """
    n_classes = len(prior)
    table = np.ones((slots.max() + 1, n_classes))
    source = np.flatnonzero(fit_rows.labelled & (fit_rows.domain >= 0))
    for slot in np.unique(slots[source]):
        share = class_share(fit_rows, codes, n_classes, source[slots[source] == slot])
        ratio = np.divide(prior, share, out=np.zeros(n_classes), where=share > 0)
        # A domain that lacks the target's classes altogether keeps its own statistics.
        if ratio.any():
            table[slot] = ratio
    return table


def class_share(fit_rows, codes, n_classes, members):
    """Class proportions, by weight, of some labelled rows."""
    weight = None if fit_rows.weight is None else fit_rows.weight[members]
    counts = np.bincount(codes[members], weights=weight, minlength=n_classes)
    return counts / counts.sum()


def halved_share(source_prior, target_prior):
    """Share of the source in classes whose share on the target is less than half of it."""
    return source_prior[2 * target_prior < source_prior].sum()


def matched_weight(class_ratio, fit_rows, slots, codes):
    """Row weights times the class ratio of labelled rows; None when all are one."""
    if class_ratio is None:
        return fit_rows.weight
    known = fit_rows.labelled
    ratio = np.where(known, class_ratio[slots, np.where(known, codes, 0)], 1.0)
    return ratio if fit_rows.weight is None else fit_rows.weight * ratio


class Priors(NamedTuple):
    """Class proportions that a fitted classifier knows of, each of shape (n_classes,)."""

    source: np.ndarray  # of the labelled source rows
    trained: np.ndarray  # that its probabilities stand for
    target: np.ndarray | None  # estimated
    smoothed: bool = True  # whether the task loss, with its smoothing, trained the head

    @classmethod
    def of(cls, shift, fit_rows, codes, data, objective, class_counts, batch_size):
        """Priors of a fit to `fit_rows` that trains on the `TrainingSet` `data`."""
        n_classes = len(class_counts)
        source = np.flatnonzero(fit_rows.labelled & (fit_rows.domain >= 0))
        y = data.y[data.labelled].cpu()
        drawn = np.ones(len(y))
        rate = data.sampler.rate(1.0)
        if rate is not None:
            drawn = drawn * rate.numpy()
        if data.task_weight is not None:
            drawn = drawn * data.task_weight[data.labelled].double().cpu().numpy()
        sampled = np.bincount(y.numpy(), weights=drawn, minlength=n_classes)
        sampled, class_counts = sampled / sampled.sum(), class_counts.numpy()
        if objective.mixing is not None:
            sampled = objective.mixing.sampled_prior(sampled, class_counts, batch_size)
        return cls(
            class_share(fit_rows, codes, n_classes, source),
            objective.criterion.trained_prior(sampled, class_counts),
            None if shift is None else shift.target_prior,
        )


def corrected(estimator, proba, slots):
    """Class probabilities under the class proportions that ``prior=`` asks for."""
    prior, priors = read_prior(estimator.prior, proba.shape[1]), estimator._priors
    if priors.smoothed:
        criterion = estimator.net_.criterion_.criterion
        proba = criterion.posterior(proba, estimator._class_counts.numpy())
    if isinstance(prior, str) and prior == "source":
        return reweight(proba, prior_ratio(priors.source, priors.trained))
    if isinstance(prior, str) and prior == "target":
        refuse_unknown_target(priors.target)
        index = estimator._domain_index
        # Slots of the source: its domains and the pooled sources.
        of_target = (slots >= len(index.sources)) & (slots != len(index.ids))
        ratio = [prior_ratio(known, priors.trained) for known in (priors.source, priors.target)]
        return reweight(proba, np.stack(ratio)[of_target.astype(int)])
    return reweight(proba, prior_ratio(prior, priors.trained))


def refuse_unknown_target(estimate):
    """Raise where ``prior="target"`` has nothing to go by."""
    if estimate is None:
        raise ValueError(
            "prior='target' needs the target's class proportions; this fit estimated none. That "
            "takes target rows, and label_shift='auto' (columns of numbers, at least 20 rows on "
            "each side) or 'mlls'. Or give the proportions that you know as an array."
        )
