"""How far predicted probabilities are from observed frequencies, class by class."""

from __future__ import annotations

import numpy as np
from sklearn.utils import column_or_1d

from .._labels import read_weight
from .predictions import _check_proba

__all__ = ["calibration_error"]


def calibration_error(
    y_true, proba, *, classes=None, n_bins=15, per_class=False, sample_weight=None
):
    r"""Classwise expected calibration error.

    .. math::
        \mathrm{ECE}_k = \sum_{b} \frac{|B_{bk}|}{n}
        \left| \frac{1}{|B_{bk}|} \sum_{i \in B_{bk}} [y_i = k]
        - \frac{1}{|B_{bk}|} \sum_{i \in B_{bk}} p_{ik} \right|

    where :math:`B_{bk}` are the rows whose probability of class k lies in the b-th of equally wide
    bins. The error of a rare class is small when its probabilities are small throughout: read it
    beside the class's share.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
    proba : array-like of shape (n_rows, n_classes)
        Predicted probabilities, rows summing to 1.
    classes : array-like of shape (n_classes,), optional
        Label of each column, as in ``estimator.classes_``. None: the sorted labels of `y_true`,
        which must then be as many as columns. A label of `y_true` outside of it counts as none of
        the classes.
    n_bins : int, default=15
        Bins, >= 1.
    per_class : bool, default=False
        Whether to return one error for each class instead of their mean.
    sample_weight : array-like of shape (n_rows,), optional
        Not negative; means and shares of rows then count weights.

    Returns
    -------
    error : float or ndarray of shape (n_classes,)
        Between 0 and 1.

    See Also
    --------
    adaptlearn.LabelledScorer : ``LabelledScorer("neg_calibration_error")`` is this as a scorer.

    References
    ----------
    Kull et al., "Beyond temperature scaling: obtaining well-calibrated multi-class probabilities
    with Dirichlet calibration", 2019, eq. 3.

    Examples
    --------
    >>> from adaptlearn.metrics import calibration_error
    >>> calibration_error([0, 0, 0, 1], [[0.75, 0.25]] * 4)
    0.0
    >>> calibration_error([0, 0, 1, 1], [[0.75, 0.25]] * 4, per_class=True)
    array([0.25, 0.25])
    """
    proba, y_true = _check_proba(proba), column_or_1d(y_true)
    if len(y_true) != len(proba):
        raise ValueError(f"y_true has {len(y_true)} rows and proba {len(proba)}.")
    classes = np.unique(y_true) if classes is None else np.asarray(classes)
    if len(classes) != proba.shape[1]:
        raise ValueError(
            f"proba has {proba.shape[1]} columns for {len(classes)} classes "
            f"{classes.tolist()!r}. Give classes= with the label of each column."
        )
    if not (isinstance(n_bins, (int, np.integer)) and n_bins >= 1):
        raise ValueError(f"n_bins={n_bins!r} must be an integer, at least 1.")
    n_rows, n_classes = proba.shape
    weight = read_weight(sample_weight, n_rows, np.ones(n_rows, dtype=bool))
    weight = np.ones(n_rows) if weight is None else weight
    # A probability on an edge belongs to the bin below it, as 1 belongs to the last.
    bins = np.clip(np.ceil(proba * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
    cell = bins + n_bins * np.arange(n_classes)
    gap = ((y_true[:, None] == classes[None, :]) - proba) * weight[:, None]
    sums = np.bincount(cell.ravel(), weights=gap.ravel(), minlength=n_bins * n_classes)
    errors = np.abs(sums).reshape(n_classes, n_bins).sum(axis=1) / weight.sum()
    return errors if per_class else float(errors.mean())
