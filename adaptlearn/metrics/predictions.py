"""Scores of predictions that need no target label."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_array, check_consistent_length

__all__ = [
    "collapse_penalty",
    "guarded_entropy",
    "importance_weighted_score",
    "prediction_entropy",
]


def importance_weighted_score(y_true, y_pred, weights, *, metric="accuracy", classes=None):
    r"""Score of source predictions under importance weights.

    * accuracy: :math:`\sum_i w_i [\hat y_i = y_i] / \sum_i w_i`
    * balanced_accuracy: the mean over classes of the same, within each class
    * neg_log_loss: :math:`\sum_i w_i \log p_i(y_i) / \sum_i w_i`

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
    y_pred : array-like of shape (n_rows,) or (n_rows, n_classes)
        Predicted labels; class probabilities for ``"neg_log_loss"``.
    weights : array-like of shape (n_rows,)
        Not negative, with a positive sum.
    metric : {"accuracy", "balanced_accuracy", "neg_log_loss"}, default="accuracy"
    classes : array-like of shape (n_classes,), optional
        Label of each probability column. Needed for ``"neg_log_loss"``. A label of `y_true` that
        is not among them has probability 0.

    Returns
    -------
    score : float
        Higher is better; at most 1, or 0 for ``"neg_log_loss"``.

    Examples
    --------
    >>> from adaptlearn.metrics import importance_weighted_score
    >>> importance_weighted_score([0, 0, 1], [0, 1, 1], [1.0, 3.0, 4.0])
    0.625
    """
    y_true, y_pred, weights = (np.asarray(a) for a in (y_true, y_pred, weights))
    check_consistent_length(y_true, y_pred, weights)
    if (weights < 0).any() or not weights.sum() > 0:
        raise ValueError("weights must not be negative and must have a positive sum.")
    if metric == "neg_log_loss":
        if classes is None or y_pred.ndim != 2 or y_pred.shape[1] != len(classes):
            raise ValueError(
                "metric='neg_log_loss' needs y_pred of shape (n_rows, n_classes) and classes= "
                f"with the label of each column; y_pred has shape {y_pred.shape}."
            )
        hit = y_true[:, None] == np.asarray(classes)[None, :]
        p = np.where(hit, y_pred, 0).sum(axis=1)
        value = np.log(np.clip(p, np.finfo(np.result_type(p, np.float32)).eps, 1))
    elif metric in ("accuracy", "balanced_accuracy"):
        value = (y_true == y_pred).astype(np.float64)
    else:
        raise ValueError(
            f"metric={metric!r} is not known; allowed are 'accuracy', 'balanced_accuracy' and "
            "'neg_log_loss'."
        )
    if metric != "balanced_accuracy":
        return float(np.average(value, weights=weights))
    recalls = []
    for label in np.unique(y_true):
        rows = y_true == label
        if weights[rows].sum() > 0:
            recalls.append(np.average(value[rows], weights=weights[rows]))
    return float(np.mean(recalls))


def _check_proba(proba):
    proba = check_array(proba, dtype=[np.float64, np.float32], input_name="proba")
    if (proba < -1e-6).any() or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
        raise ValueError("proba must hold class probabilities: not negative, rows summing to 1.")
    return np.clip(proba.astype(np.float64), 0, 1)


def prediction_entropy(proba, *, sample_weight=None):
    r"""Mean Shannon entropy of predicted class probabilities, in nats.

    .. math:: -\frac{1}{n} \sum_i \sum_k p_{ik} \log p_{ik}

    On its own it rewards a collapsed model, sure of one class: see `guarded_entropy`.

    Parameters
    ----------
    proba : array-like of shape (n_rows, n_classes)
    sample_weight : array-like of shape (n_rows,), optional

    Returns
    -------
    entropy : float
        Between 0 and log n_classes.

    Examples
    --------
    >>> from adaptlearn.metrics import prediction_entropy
    >>> round(prediction_entropy([[0.5, 0.5]]), 4)
    0.6931
    """
    proba = _check_proba(proba)
    # log of 1 in place of log of 0: p log p tends to 0.
    entropy = -(proba * np.log(np.where(proba > 0, proba, 1))).sum(axis=1)
    return float(np.average(entropy, weights=sample_weight)) + 0.0


def collapse_penalty(proba, prior, *, tolerance=4.0, sample_weight=None):
    r"""How far predicted class shares fall below what a class prior lets expect.

    .. math:: \sum_k \max(0,\ \pi_k - \tau q_k), \qquad
        q_k = \frac{1}{n} \sum_i [\arg\max_j p_{ij} = k]

    A model that predicts class k only has :math:`1 - \pi_k`. The tolerance leaves room for honest
    differences of the class shares; with 1 this is the total variation distance.

    Parameters
    ----------
    proba : array-like of shape (n_rows, n_classes)
        Predictions on the target.
    prior : array-like of shape (n_classes,)
        Expected class shares, for example those of the source. Scaled to sum 1.
    tolerance : float, default=4.0
        :math:`\tau`, >= 1: the factor by which a class may be rarer than expected at no cost.
    sample_weight : array-like of shape (n_rows,), optional

    Returns
    -------
    penalty : float
        Between 0 and 1.

    Examples
    --------
    >>> from adaptlearn.metrics import collapse_penalty
    >>> collapse_penalty([[0.9, 0.1], [0.2, 0.8]], prior=[0.5, 0.5])
    0.0
    >>> collapse_penalty([[0.9, 0.1], [0.8, 0.2]], prior=[0.5, 0.5])
    0.5
    """
    proba = _check_proba(proba)
    prior = np.asarray(prior, dtype=np.float64)
    if prior.shape != (proba.shape[1],) or (prior < 0).any() or not prior.sum() > 0:
        raise ValueError(
            f"prior must hold one share, not negative, for each of the {proba.shape[1]} classes; "
            f"got {prior.tolist()!r}."
        )
    if not tolerance >= 1:
        raise ValueError(f"tolerance={tolerance!r} must be at least 1.")
    predicted = np.bincount(proba.argmax(axis=1), weights=sample_weight, minlength=len(prior))
    missing = prior / prior.sum() - tolerance * predicted / predicted.sum()
    return float(np.maximum(missing, 0).sum())


def guarded_entropy(proba, prior, *, guard=2.0, tolerance=4.0, sample_weight=None):
    r"""Entropy of target predictions plus a penalty for a collapsed predictor; lower is better.

    .. math:: \frac{H(p)}{\log K} + g \sum_k \max(0,\ \pi_k - \tau q_k)

    that is `prediction_entropy` as a share of its largest value, plus `collapse_penalty`.

    Parameters
    ----------
    proba, prior, tolerance, sample_weight
        As in `collapse_penalty`.
    guard : float, default=2.0
        Weight g of the penalty, >= 0.

    Returns
    -------
    value : float
        Between 0 (certain predictions of all classes) and 1 + guard.

    Examples
    --------
    >>> from adaptlearn.metrics import guarded_entropy
    >>> guarded_entropy([[1.0, 0.0], [0.0, 1.0]], prior=[0.5, 0.5])
    0.0
    >>> guarded_entropy([[1.0, 0.0], [1.0, 0.0]], prior=[0.5, 0.5])
    1.0
    """
    penalty = collapse_penalty(proba, prior, tolerance=tolerance, sample_weight=sample_weight)
    entropy = prediction_entropy(proba, sample_weight=sample_weight)
    scale = np.log(max(np.shape(proba)[1], 2))  # one class: the entropy is 0 anyway
    return float(entropy / scale + guard * penalty)
