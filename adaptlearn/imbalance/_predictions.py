"""Held-out source predictions and target predictions, as all label-shift estimators read them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._labels import read_weight

# Log-probabilities are floored here: a prediction of exactly 0 is one of rounding.
_TINY = 1e-12


class Predictions(NamedTuple):
    """Predictions on both sides, over the classes that have source rows.

    `source` and `target` have one column for each class of `present` that is True. Weights sum
    to 1 on each side.
    """

    source: np.ndarray  # (n_source, n_present)
    codes: np.ndarray  # (n_source,), in 0 .. n_present - 1
    target: np.ndarray  # (n_target, n_present)
    source_weight: np.ndarray
    target_weight: np.ndarray
    present: np.ndarray  # (n_classes,) bool

    @property
    def prior(self):
        """Class proportions of the source rows."""
        return np.bincount(self.codes, self.source_weight, self.source.shape[1])

    @property
    def effective_rows(self):
        """Number of source rows of equal weight that carry as much information (Kish)."""
        return 1.0 / np.square(self.source_weight).sum()

    def moments(self, soft=False):
        """Joint confusion matrix p(predicted, true) on the source, predicted target marginal.

        Parameters
        ----------
        soft : bool, default=False
            Probabilities in place of the most probable class.

        Returns
        -------
        joint : ndarray of shape (n_classes, n_classes)
            Row: predicted class; column: true class. Sums to 1.
        marginal : ndarray of shape (n_classes,)
        """
        n_classes = self.source.shape[1]
        if soft:
            weighted = self.source * self.source_weight[:, None]
            joint = [np.bincount(self.codes, column, n_classes) for column in weighted.T]
            return np.array(joint), self.target_weight @ self.target
        cell = self.source.argmax(1) * n_classes + self.codes
        joint = np.bincount(cell, self.source_weight, n_classes**2)
        marginal = np.bincount(self.target.argmax(1), self.target_weight, n_classes)
        return joint.reshape(n_classes, n_classes), marginal


def read_predictions(proba_source, codes, proba_target, sample_weight=None):
    """Check what the user gave and keep the classes and rows that count.

    Raises
    ------
    ValueError
        If an array has another shape than the others ask for, or rows are no probabilities.
    """
    source = _check_proba("proba_source", proba_source)
    target = _check_proba("proba_target", proba_target)
    n_classes = source.shape[1]
    if target.shape[1] != n_classes:
        raise ValueError(
            f"proba_target has {target.shape[1]} columns and proba_source has {n_classes}; give "
            "predictions of one classifier, one column for each class."
        )
    codes = read_codes(codes, len(source), n_classes, "proba_source", "the columns of proba_source")
    weight = read_weight(sample_weight, len(codes), np.ones(len(codes), dtype=bool))
    if weight is None:
        weight = np.ones(len(codes))
    elif (weight == 0).any():
        source, codes, weight = source[weight > 0], codes[weight > 0], weight[weight > 0]
    present = np.bincount(codes, minlength=n_classes) > 0
    return Predictions(
        _restrict(source, present),
        (np.cumsum(present) - 1)[codes],
        _restrict(target, present),
        weight / weight.sum(),
        np.full(len(target), 1.0 / len(target)),
        present,
    )


def read_codes(codes, n_rows, n_classes, rows_of, allowed):
    """Class codes as int64; errors say which rows they belong to, and what allows no others."""
    codes = np.asarray(codes)
    if codes.shape != (n_rows,) or codes.dtype.kind not in "iub":
        raise ValueError(
            f"codes must hold one integer for each of the {n_rows} rows of {rows_of}, got "
            f"shape {codes.shape} and dtype {codes.dtype}. Encode labels first, for example with "
            "np.searchsorted(classes, y)."
        )
    codes = codes.astype(np.int64)
    if codes.min() < 0 or codes.max() >= n_classes:
        raise ValueError(
            f"codes must lie in 0 .. {n_classes - 1}, {allowed}; got "
            f"{codes.min()} .. {codes.max()}. Leave out rows without a label."
        )
    return codes


def log_proba(proba):
    """Logarithms of probabilities, floored, so that they can serve as logits."""
    return np.log(np.maximum(proba, _TINY))


def _restrict(proba, present):
    proba = np.maximum(proba[:, present], _TINY)
    return proba / proba.sum(1, keepdims=True)


def _check_proba(name, proba):
    proba = np.asarray(proba, dtype=np.float64)
    if proba.ndim != 2 or not proba.size:
        raise ValueError(
            f"{name} must have shape (n_rows, n_classes) and at least one row, got shape "
            f"{proba.shape}. Give what predict_proba returns."
        )
    valid = np.isfinite(proba).all() and (proba >= -1e-6).all()
    if not (valid and np.allclose(proba.sum(1), 1.0, atol=1e-3)):
        raise ValueError(
            f"{name} must hold probabilities: not negative, finite, each row with sum 1. Give what "
            "predict_proba returns; for logits take scipy.special.softmax(logits, axis=1) first."
        )
    return proba
