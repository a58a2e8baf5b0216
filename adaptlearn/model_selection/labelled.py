"""scikit-learn's own scores on the labelled rows of packed data."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names, make_scorer
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from .. import metrics
from .._components import did_you_mean
from .._containers import take_rows
from .._labels import is_table
from .._prediction import has_method
from ._one_task import one_task
from ._scorer import DomainScorer, Side


def _neg_calibration_error(estimator, X, y, sample_weight=None):
    proba, classes = estimator.predict_proba(X), estimator.classes_  # a fold may miss a class
    return -metrics.calibration_error(y, proba, classes=classes, sample_weight=sample_weight)


# Our names beside scikit-learn's.
_OWN_SCORES = {
    "worst_class_recall": lambda: make_scorer(metrics.worst_class_recall),
    "geometric_mean": lambda: make_scorer(metrics.geometric_mean_score),  # loads imbalanced-learn
    "neg_calibration_error": lambda: _neg_calibration_error,
}


def _find_scorer(scoring):
    if isinstance(scoring, str) and scoring in _OWN_SCORES:
        return _OWN_SCORES[scoring]()
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        known = [*_OWN_SCORES, *get_scorer_names()]
        raise ValueError(f"scoring={scoring!r} is not known; {did_you_mean(scoring, known)}")
    return get_scorer(scoring)


def _inner_has(name):
    return available_if(lambda self: has_method(self._side.estimator, name))


class _OnRows:
    """The estimator as a scikit-learn scorer sees it: it predicts a fixed set of rows.

    Classes that `y` holds and the estimator does not know get probability zero.
    """

    def __init__(self, side, rows, unseen):
        self._side, self._rows, self._unseen = side, rows, unseen
        if side.classes is not None:
            self.classes_ = side.classes
            if len(unseen):
                self.classes_ = np.unique(np.concatenate([side.classes, unseen]))

    def _respond(self, method, X):
        return self._side.respond(method, self._rows)

    def predict(self, X):
        return self._respond("predict", X)

    @_inner_has("predict_proba")
    def predict_proba(self, X):
        proba = self._respond("predict_proba", X)
        if not len(self._unseen):
            return proba
        padded = np.zeros((len(proba), len(self.classes_)), dtype=proba.dtype)
        padded[:, np.searchsorted(self.classes_, self._side.classes)] = proba
        return padded

    @_inner_has("decision_function")
    def decision_function(self, X):
        return self._respond("decision_function", X)

    def __sklearn_tags__(self):
        return get_tags(self._side.estimator)

    def __sklearn_is_fitted__(self):
        return True


class LabelledScorer(DomainScorer):
    """A scikit-learn score on the labelled rows alone, each predicted as a row of its own side.

    With ``scoring="accuracy"`` scikit-learn counts every row without a label as an error and
    predicts source rows as target rows. Wrap the scorer: ``LabelledScorer("accuracy")``.

    Parameters
    ----------
    scoring : str or callable, default="accuracy"
        Name of a scikit-learn score, ``"worst_class_recall"``, ``"neg_calibration_error"`` (minus
        `adaptlearn.metrics.calibration_error`) or ``"geometric_mean"`` (of the recalls,
        `imblearn.metrics.geometric_mean_score`), or a scorer ``scoring(estimator, X, y)``.
    task : object, optional
        Which task of an estimator with several is meant: the name of the column of y, or its number
        when y is an array. The labelled rows are then those with a label of this task.

    Notes
    -----
    When `y` holds masks, as in a validation fold of packed data, its labelled rows are source rows.
    When it holds none, they are target rows. ``sample_domain``, requested by default under metadata
    routing, says it row by row. A high score on source rows is no promise for the target: see
    `ImportanceWeightedScorer`.

    A label unseen in ``fit`` counts as wrong, with a warning. A fold without a label raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from adaptlearn import LabelledScorer
    >>> X, y = np.array([[0.0], [1.0], [9.0]]), np.array([0, 1, -1])
    >>> clf = LogisticRegression().fit(X[:2], y[:2])
    >>> LabelledScorer("accuracy")(clf, X, y)
    1.0
    """

    def __init__(self, scoring="accuracy", task=None):
        self.scoring = scoring
        self.task = task

    def score(self, estimator, X, y, *, sample_domain=None, sample_weight=None):
        """Score a fitted estimator on the labelled rows.

        Parameters
        ----------
        estimator : fitted estimator
        X : array-like of shape (n_rows, ...)
        y : array-like of shape (n_rows,), or (n_rows, n_tasks) with a `task`
            Labels, with masks on unlabelled rows.
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
        sample_weight : array-like of shape (n_rows,), optional
            Handed to the wrapped scorer.

        Returns
        -------
        score : float

        Raises
        ------
        ValueError
            If no row has a label.
        """
        if self.task is not None:
            estimator, y, sample_domain = one_task(estimator, y, self.task, sample_domain)
        elif is_table(y) and np.shape(y)[1] > 1:
            raise ValueError(
                f"y has {np.shape(y)[1]} columns. Say which task is meant, LabelledScorer("
                "scoring, task=name), or use scoring=None: the estimator's own mean over tasks."
            )
        side = Side(estimator, X, y, sample_domain, sample_weight)
        rows = np.flatnonzero(side.rows.labelled)
        if not len(rows):
            raise ValueError(
                f"LabelledScorer found no label in this fold of {len(side.rows.labels)} rows. "
                "Split with DomainStratifiedKFold, which puts labelled rows into every fold."
            )
        if not (callable(self.scoring) or isinstance(self.scoring, str)):
            raise TypeError(
                f"scoring={self.scoring!r} must be the name of a scikit-learn score or a callable "
                "scorer(estimator, X, y)."
            )
        asked = _OnRows(side, rows, side.warn_unseen(rows))
        weight = {} if sample_weight is None else {"sample_weight": side.weight[rows]}
        X, y = take_rows(X, rows), side.rows.labels[rows]
        return _find_scorer(self.scoring)(asked, X, y, **weight)
