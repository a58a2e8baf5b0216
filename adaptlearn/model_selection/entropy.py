"""Entropy of target predictions as a score."""

from __future__ import annotations

import numpy as np
from sklearn.base import is_classifier

from ..metrics import collapse_penalty, prediction_entropy
from ._scorer import DomainScorer, Side


def source_prior(side, scorer):
    """Class shares of the labelled source rows, in the order of the estimator's classes."""
    if side.classes is None or not is_classifier(side.estimator):
        raise TypeError(
            f"{type(scorer).__name__} needs a fitted classifier, got "
            f"{type(side.estimator).__name__}. For regression use LabelledScorer."
        )
    known = ~side.rows.is_target & side.rows.labelled & np.isin(side.rows.labels, side.classes)
    if not known.any():
        return None
    codes = np.searchsorted(side.classes, side.rows.labels[known])
    return np.bincount(codes, weights=side.weight[known], minlength=len(side.classes))


class EntropyScorer(DomainScorer):
    r"""Confidence of the target predictions, less a penalty for a collapsed predictor.

    .. math:: -\frac{H(p)}{\log K} - \frac{g}{2} \sum_k |q_k - \pi_k|

    H is the mean entropy of the predicted probabilities on the target rows of the fold, q their
    predicted class histogram, :math:`\pi` that of the labels of its source rows. No target label is
    read, so target rows are scored without them.

    Parameters
    ----------
    guard : float, default=1.0
        Weight g of the penalty, >= 0. With 0, a model that predicts one class with certainty gets
        the best score.

    Notes
    -----
    Scores lie between -1 - g and 0. Without a labelled source row in the fold the histogram is
    compared with equal shares.

    References
    ----------
    Morerio et al., "Minimal-entropy correlation alignment for unsupervised deep domain
    adaptation", 2018; the guard is this package's own.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from adaptlearn import EntropyScorer
    >>> X, y = np.array([[0.0], [1.0], [-90.0], [90.0]]), np.array([0, 1, -1, -1])
    >>> clf = LogisticRegression().fit(X[:2], y[:2])
    >>> round(EntropyScorer()(clf, X, y), 6)
    -0.0
    """

    def __init__(self, guard=1.0):
        self.guard = guard

    def score(self, estimator, X, y, *, sample_domain=None, sample_weight=None):
        """Score a fitted classifier on the target rows.

        Parameters
        ----------
        estimator : fitted classifier with ``predict_proba``
        X : array-like of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
            Labels, with masks on unlabelled rows.
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
        sample_weight : array-like of shape (n_rows,), optional

        Returns
        -------
        score : float
            Higher is better.

        Raises
        ------
        ValueError
            If there is no target row.
        """
        side = Side(estimator, X, y, sample_domain, sample_weight)
        prior = source_prior(side, self)
        target = side.target(self)
        proba, weight = side.respond("predict_proba", target), side.weight[target]
        n_classes = len(side.classes)
        if prior is None:
            prior = np.ones(n_classes)
        entropy = prediction_entropy(proba, sample_weight=weight) / np.log(max(n_classes, 2))
        return float(-entropy - self.guard * collapse_penalty(proba, prior, sample_weight=weight))
