"""Scores that look at the rare classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from .._labels import read_weight

__all__ = ["ShotAccuracy", "shot_accuracy", "worst_class_recall"]


def check_same_kind(y_true, y_pred):
    """Raise where labels are strings on one side alone: none would ever be right."""
    kinds = [{isinstance(label, str) for label in np.unique(y).tolist()} for y in (y_true, y_pred)]
    if len(set.union(*kinds)) > 1:
        names = ["strings" if True in kind else "numbers" for kind in kinds]
        raise TypeError(
            f"y_true holds {names[0]} and y_pred {names[1]}; a label and a prediction would never "
            "be equal. Convert one of them, for example with y_true.astype(y_pred.dtype)."
        )


def class_recalls(y_true, y_pred, sample_weight=None):
    """Labels in `y_true` that have weight, in order, and the recall of each."""
    y_true, y_pred = column_or_1d(y_true), column_or_1d(y_pred)
    check_consistent_length(y_true, y_pred)
    if not len(y_true):
        raise ValueError("y_true is empty; give at least one labelled row.")
    check_same_kind(y_true, y_pred)
    weight = read_weight(sample_weight, len(y_true), np.ones(len(y_true), dtype=bool))
    weight = np.ones(len(y_true)) if weight is None else weight
    labels, codes = np.unique(y_true, return_inverse=True)
    support = np.bincount(codes, weights=weight)
    hits = np.bincount(codes, weights=weight * (y_true == y_pred))
    present = support > 0
    return labels[present], hits[present] / support[present]


def worst_class_recall(y_true, y_pred, *, sample_weight=None):
    r"""Recall of the class that is recognised worst.

    .. math:: \min_k \frac{\sum_i w_i [y_i = k][\hat y_i = k]}{\sum_i w_i [y_i = k]}

    over the classes k that occur in `y_true`.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_rows,)
    sample_weight : array-like of shape (n_rows,), optional
        Not negative. A class of weight 0 does not count.

    Returns
    -------
    recall : float
        Between 0 and 1.

    See Also
    --------
    adaptlearn.LabelledScorer : ``LabelledScorer("worst_class_recall")`` is this as a scorer.

    Examples
    --------
    >>> from adaptlearn.metrics import worst_class_recall
    >>> worst_class_recall(["a", "a", "a", "b", "b"], ["a", "a", "a", "a", "b"])
    0.5
    """
    return float(class_recalls(y_true, y_pred, sample_weight)[1].min())


class ShotAccuracy(NamedTuple):
    """What `shot_accuracy` returns; NaN for a group without a class."""

    many: float
    medium: float
    few: float


def shot_accuracy(
    y_true, y_pred, train_counts, *, many=100, few=20, group=None, sample_weight=None
):
    """Accuracy on the classes with many, some and few training rows.

    The recalls of the classes of a group are averaged, so that a class counts once however many
    test rows it has.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_rows,)
    train_counts : mapping of label to int
        Training rows of each class, for example ``collections.Counter(y_train)``. A class that it
        does not name had none.
    many : int, default=100
        Classes with more training rows than this are the many-shot group.
    few : int, default=20
        Classes with fewer training rows than this are the few-shot group, <= `many`.
    group : {"many", "medium", "few"}, optional
        Return the accuracy of this group alone.
    sample_weight : array-like of shape (n_rows,), optional
        Weights of the rows in the recall of their class, not negative.

    Returns
    -------
    ShotAccuracy or float
        Named tuple ``(many, medium, few)``; NaN where no class of `y_true` is in the group.

    Notes
    -----
    As a scorer: ``LabelledScorer(make_scorer(shot_accuracy, train_counts=counts, group="few"))``.

    References
    ----------
    Liu et al., "Large-scale long-tailed recognition in an open world", 2019.

    Examples
    --------
    >>> from adaptlearn.metrics import shot_accuracy
    >>> counts = {"cat": 500, "dog": 50, "lynx": 3}
    >>> shot_accuracy(["cat", "dog", "dog", "lynx"], ["cat", "dog", "cat", "cat"], counts)
    ShotAccuracy(many=1.0, medium=0.5, few=0.0)
    """
    if not 0 <= few <= many:
        raise ValueError(f"few={few!r} and many={many!r} must satisfy 0 <= few <= many.")
    if not hasattr(train_counts, "get"):
        raise TypeError(
            "train_counts must map each label to its number of training rows, got "
            f"{type(train_counts).__name__}. Give collections.Counter(y_train)."
        )
    if group not in (None, *ShotAccuracy._fields):
        raise ValueError(f"group={group!r} must be None, 'many', 'medium' or 'few'.")
    labels, recalls = class_recalls(y_true, y_pred, sample_weight)
    counts = np.array([train_counts.get(label, 0) for label in labels.tolist()])
    groups = counts > many, (counts >= few) & (counts <= many), counts < few
    means = [float(recalls[those].mean()) if those.any() else float("nan") for those in groups]
    accuracy = ShotAccuracy(*means)
    return accuracy if group is None else getattr(accuracy, group)
