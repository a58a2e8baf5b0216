"""Decision thresholds for any number of classes."""

from __future__ import annotations

import inspect
import numbers

import numpy as np
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils.metaestimators import available_if

from .._components import did_you_mean
from .._containers import as_container, n_rows, take_rows
from .._labels import read_weight
from .._prediction import respond
from ._offsets import METRICS, Objective, tune_offsets
from ._wrapper import (
    ClassifierWrapper,
    InnerFit,
    check_predicts_proba,
    inner_has,
    is_per_row,
    read_rows,
    rows_to_learn,
)

__all__ = ["TunedThresholdsClassifier"]

_FLOOR = 1e-12  # of a probability under the logarithm


class TunedThresholdsClassifier(ClassifierWrapper):
    r"""Classifier with one decision offset per class, tuned by cross-validation on the source.

    .. math:: \hat y(x) = \arg\max_k\ \log p_k(x) + b_k

    scikit-learn's ``TunedThresholdClassifierCV`` is for two classes; this is for any number. The
    offsets are found on held-out predictions of the labelled rows, by a coordinate search that
    starts from b = 0 and from :math:`b_k = -\log \pi_k` (the correction to equal class
    proportions), and draws no random number. On those predictions the result is never worse than
    b = 0.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``
        Any scikit-learn classifier, or a pipeline that ends in one. One whose ``fit`` takes
        `sample_domain` sees all rows, the unlabelled ones in every fold; any other would take the
        mask for a class, so it sees the labelled rows alone.
    scoring : str or callable, default="balanced_accuracy"
        ``"balanced_accuracy"``, ``"worst_class_recall"``, ``"geometric_mean"`` (of the recalls),
        ``"f1_macro"``, or a function ``metric(y_true, y_pred) -> float``, higher is better.
    cv : int, splitter or iterable, default=5
        Folds of the labelled rows alone, which a splitter sees numbered 0, 1, .... An integer
        stands for stratified folds without shuffling, no more than the largest class has rows. The
        estimator is fitted once per fold, and once on all rows.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labelled target rows (``sample_domain < 0``) are tuned on as well.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on all rows.
    offsets_ : ndarray of shape (n_classes,)
        b, in the order of `classes_`; their mean is 0.
    base_score_ : float
        Score of the held-out predictions with b = 0.
    best_score_ : float
        Score of the held-out predictions with `offsets_`; optimistic, as the best of many.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the features, when X is a frame with string names.

    Notes
    -----
    ``predict_proba`` gives :math:`p_k e^{b_k} / \sum_j p_j e^{b_j}`: probabilities under class
    proportions changed by :math:`e^{b_k}`, whose largest is what ``predict`` answers.

    With a `sample_weight`, a function given as `scoring` is called with ``sample_weight=``.

    References
    ----------
    Collell et al., "A simple plug-in bagging ensemble based on threshold-moving for classifying
    binary and multiclass imbalanced data", 2018 (threshold moving); Menon et al., "Long-tail
    learning via logit adjustment", 2021 (the start :math:`-\log \pi`).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from adaptlearn import TunedThresholdsClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1, 2], [400, 40, 10])
    >>> X = rng.normal(size=(450, 2)) + 2 * np.eye(3)[y][:, 1:]
    >>> clf = TunedThresholdsClassifier(LogisticRegression()).fit(X, y)
    >>> print(f"{clf.base_score_:.2f} {clf.best_score_:.2f}")
    0.49 0.83
    """

    def __init__(self, estimator, scoring="balanced_accuracy", *, cv=5, target_labels="ignore"):
        self.estimator = estimator
        self.scoring = scoring
        self.cv = cv
        self.target_labels = target_labels

    def fit(self, X, y, *, sample_domain=None, sample_weight=None, **fit_params):
        """Tune the offsets on held-out predictions, then fit the estimator on all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame, list} of shape (n_rows, ...)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows,)
            Labels; the mask (-1, "-1", None or NaN) on unlabelled rows.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain. Without it, unlabelled rows are the
            target. Handed on to an estimator that takes it.
        sample_weight : array-like of shape (n_rows,), optional
            Handed on, and weight of the rows in the score that is tuned.
        **fit_params : dict
            Further arguments of the estimator's ``fit``; those with one entry per row are cut to
            the rows of each fold.

        Returns
        -------
        self : object
        """
        self._check_inner()
        check_predicts_proba(self.estimator, "thresholds are set on probabilities")
        _check_scoring(self.scoring)
        if isinstance(self.cv, numbers.Integral) and (isinstance(self.cv, bool) or self.cv < 2):
            raise ValueError(
                f"cv={self.cv!r} must be at least 2 folds, or a splitter such as StratifiedKFold."
            )
        X, y = as_container(X), as_container(y)
        n = n_rows(X)
        labels, labelled, domain = read_rows(y, n, sample_domain)
        learn = rows_to_learn(labelled, domain, self.target_labels)
        weight = read_weight(sample_weight, n, learn)
        inner = InnerFit(self, domain, weight, fit_params)
        tuned = np.flatnonzero(learn)
        always = np.flatnonzero(~learn) if inner.adaptive else tuned[:0]

        def fit_on(rows):
            """The estimator, fitted on some of the tuned rows and on all other rows it may see."""
            rows = np.sort(np.concatenate([rows, always]))
            params = {
                name: take_rows(value, rows) if is_per_row(name, value, n) else value
                for name, value in inner.params.items()
            }
            y_fit = take_rows(y, rows) if inner.adaptive else labels[rows]
            return inner.fit(take_rows(X, rows), y_fit, domain[rows], params)

        counting = tuned if weight is None else tuned[weight[tuned] > 0]
        classes, codes = np.unique(labels[counting], return_inverse=True)
        several = len(classes) > 1
        scores = np.full((n, len(classes)), np.log(_FLOOR))
        for train, test in self._folds(labels[tuned]) if several else ():
            fitted, rows = fit_on(tuned[train]), tuned[test]
            proba = respond(fitted, "predict_proba", take_rows(X, rows), domain[rows])
            known = np.isin(fitted.classes_, classes)
            columns = np.searchsorted(classes, fitted.classes_[known])
            scores[np.ix_(rows, columns)] = np.log(np.maximum(proba[:, known], _FLOOR))
        scores = scores[counting]
        weight = None if weight is None else weight[counting]
        objective = Objective(self.scoring, codes, classes, weight)
        offsets = tune_offsets(scores, objective) if several else np.zeros(1)
        self.estimator_ = fit_on(tuned)
        self.base_score_ = objective.score(scores.argmax(axis=1))
        self.best_score_ = objective.score((scores + offsets).argmax(axis=1))
        # A class whose rows all have weight 0 is known to the estimator and not tuned.
        table = dict(zip(classes.tolist(), offsets, strict=True))
        self.offsets_ = np.array([table.get(c, 0.0) for c in self.classes_.tolist()])
        return self

    def _folds(self, labels):
        """Pairs of positions among the rows with these labels: to fit on, to predict."""
        cv = self.cv
        if isinstance(cv, numbers.Integral):
            largest = int(np.unique(labels, return_counts=True)[1].max())
            if largest < 2:
                raise ValueError(
                    "every class in y has a single labelled row, so nothing can be held out to "
                    "tune thresholds on. Give more rows."
                )
            cv = StratifiedKFold(min(int(cv), largest))
        return check_cv(cv, labels, classifier=True).split(np.zeros((len(labels), 1)), labels)

    def _adjusted(self, X, sample_domain):
        """Logarithms of the probabilities plus the offsets."""
        proba = self._respond("predict_proba", X, sample_domain)
        return np.log(np.maximum(proba, _FLOOR)) + self.offsets_

    @available_if(inner_has("predict_proba"))
    def predict(self, X, *, sample_domain=None):
        """Predict under the tuned offsets.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_rows, ...)
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
            Handed on to an estimator that takes it. None: target rows.

        Returns
        -------
        y : ndarray of shape (n_rows,)
        """
        best = self._adjusted(X, sample_domain).argmax(axis=1)
        return self.classes_[best]

    @available_if(inner_has("predict_proba"))
    def predict_proba(self, X, *, sample_domain=None):
        """Class probabilities under the tuned offsets; parameters as in ``predict``."""
        z = self._adjusted(X, sample_domain)
        proba = np.exp(z - z.max(axis=1, keepdims=True))
        return proba / proba.sum(axis=1, keepdims=True)


def _check_scoring(scoring):
    if not callable(scoring):
        if scoring not in METRICS:
            raise ValueError(
                f"scoring={scoring!r} is not known; a function metric(y_true, y_pred) or a "
                f"name: {did_you_mean(scoring, sorted(METRICS))}"
            )
    elif "estimator" in inspect.signature(scoring).parameters:
        raise TypeError(
            f"scoring={scoring!r} is a scorer, which is called with an estimator. Give the metric "
            "itself, metric(y_true, y_pred): for example balanced_accuracy_score, or "
            "functools.partial(fbeta_score, beta=2, average='macro')."
        )
