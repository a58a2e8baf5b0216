"""``resampler=``: labelled rows are resampled by domain before training."""

from __future__ import annotations

import numpy as np
from imblearn.under_sampling.base import BaseCleaningSampler
from sklearn.base import clone

from .._domains import FitRows
from ..imbalance._wrapper import rows_to_learn
from ..imbalance.resampling import DomainResampler, check_sampler, resample, resampled_weight


def check_resampler(resampler, criterion):
    """Raise for what is no sampler, and where imbalance would be countered twice."""
    sampler = _sampler(resampler)
    if criterion.rebalances and not isinstance(sampler, (BaseCleaningSampler, type(None))):
        raise ValueError(
            f"criterion={criterion!r} counters imbalance itself, and resampler={resampler!r} would "
            "do so a second time. Set resampler=None, or a criterion that does not: "
            "'cross_entropy', 'focal' or 'asymmetric'."
        )


def _sampler(resampler):
    check_sampler(resampler, "resampler")
    if isinstance(resampler, DomainResampler):
        check_sampler(resampler.sampler, "resampler.sampler")
        return resampler.sampler
    return resampler


def resample_rows(estimator, parts, fit_rows, slots, seed):
    """Resample the labelled rows of each domain; the others stay.

    Input statistics are not for these rows but for the given ones: rows that were made up lie
    between others and would make the domain look narrower than it is.

    Parameters
    ----------
    estimator : DeepEstimator
        With a ``resampler``, of which a clone is used; what is random in it follows `seed` unless
        it has a ``random_state``.
    parts : list of arrays or CSR matrices
        Row blocks; the labelled rows lie in the first.
    fit_rows : FitRows
    slots : ndarray of shape (n_rows,)
        Domain slot of each row.
    seed : int

    Returns
    -------
    parts, fit_rows, slots
        Of the new rows.
    """
    X, resampler = parts[0], estimator.resampler
    if len(X.shape) != 2:
        raise ValueError(
            f"resampler={resampler!r} needs rows of numbers, X has shape {X.shape}. For images and "
            "other input of a backbone use mixing='smote', which makes rows among the features, or "
            "sampling='balanced'."
        )
    n, sampler = X.shape[0], _sampler(resampler)
    if sampler is not None and "random_state" in sampler.get_params():
        sampler = clone(sampler)
        if sampler.random_state is None:
            sampler.set_params(random_state=seed)
    y, known, domain, weight = (c if c is None else c[:n] for c in fit_rows)
    if isinstance(resampler, DomainResampler):
        known = rows_to_learn(known, domain, resampler.target_labels)
    new = resample(sampler, X, y, domain, known)
    held_out = estimator.early_stopping not in (False, "auto")
    if held_out and len(np.unique(new.origin[new.origin >= 0])) < len(new.origin):
        raise ValueError(
            f"early_stopping={estimator.early_stopping!r} holds out rows, and with "
            f"resampler={resampler!r} copies of them would be trained on. Use sampling='balanced' "
            "or a mixing instead, a sampler that only drops rows, or early_stopping=False."
        )
    rows = np.concatenate([new.label_row, np.arange(n, len(slots))])
    after = FitRows(*(c if c is None else c[rows] for c in fit_rows))
    if weight is not None:
        after.weight[: len(new.origin)] = resampled_weight(weight, new, domain, y, known)
    return [new.X, *parts[1:]], after, slots[rows]
