"""Any scikit-learn classifier, corrected for the class proportions of the target."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from .._containers import n_rows, take_rows
from .._domains import MASK_HELP, read_domains, read_fit, read_sample_domain
from .._fit_weight import weight_name
from .._scored import read_scored
from ._label_shift_result import read_prior
from .label_shift import METHODS, estimate_label_shift


class LabelShiftClassifier(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Classifier whose predictions are corrected for other class proportions on the target.

    It fits a scikit-learn classifier on the labelled source rows, estimates the class proportions
    of the unlabelled target rows from predictions on held-out source rows and on target rows, and
    corrects predicted probabilities,

    .. math:: p(y \mid x) \propto p_S(y \mid x) \, \pi(y) / p_S(y).

    The held-out predictions are out of fold. Target rows are dealt out to the classifiers of the
    folds, so that both sides are predicted by the same classifiers, none of which saw the row.

    Parameters
    ----------
    estimator : classifier with ``predict_proba``, or a pipeline that ends in one
    method : {"auto", "mlls", "rlls", "bbse", "qp"}, default="auto"
        How the proportions are estimated: see `adaptlearn.imbalance.estimate_label_shift`. "auto"
        changes nothing where there is no evidence of a shift, or where the inputs moved as well.
    prior : {"target", "uniform", "source"} or array-like of shape (n_classes,), default="target"
        Class proportions :math:`\pi` that predictions are for. "target": the estimated ones; most
        accurate on the target. "uniform": every class counts the same; for balanced accuracy.
        "source": the classifier as it is. An array: proportions that you know, in the order of
        `classes_`. Rows that ``predict`` takes for source rows keep the source's proportions under
        "target"; "uniform" and an array apply to all rows.
    cv : int or splitter, default=5
        Folds of source rows for held-out predictions; an integer means stratified folds.
    n_bootstrap : int, default=0
        Resamples for the intervals of the target's proportions; 0: none.
    confidence : float, default=0.9
        Level of the intervals, in (0, 1).
    n_jobs : int or None, default=None
        Processes that fit the folds.
    random_state : int, RandomState or None, default=None
        Draws the bootstrap.

    Attributes
    ----------
    estimator_ : classifier
        The clone fitted on all labelled source rows.
    label_shift_ : LabelShift or None
        The estimate; None without target rows, when no correction was asked for that needs it.
    classes_ : ndarray of shape (n_classes,)
        Class labels; never contains the mask.
    n_features_in_ : int
        As seen by `estimator_`, where it says so.
    feature_names_in_ : ndarray of str
        As seen by `estimator_`, where it says so.

    See Also
    --------
    adaptlearn.imbalance.estimate_label_shift : The estimate alone, from arrays of predictions.
    adaptlearn.pack : Source and target rows in one ``X, y``, for pipelines and searches.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from adaptlearn import LabelShiftClassifier
    >>> from adaptlearn.datasets import make_shifted_blobs
    >>> Xs, ys, Xt, yt = make_shifted_blobs(
    ...     500, 500, shift=0, class_sep=1, target_priors=[0.9, 0.05, 0.05], random_state=0
    ... )
    >>> clf = LabelShiftClassifier(LogisticRegression()).fit(Xs, ys, X_target=Xt)
    >>> clf.label_shift_
    LabelShift(method='auto', n_source=500, n_target=500, shrinkage=0.98)
    class  source  target  ratio
        0   0.334   0.900   2.70
        1   0.334   0.060   0.18
        2   0.332   0.040   0.12
    >>> clf.score(Xt, yt) > clf.estimator_.score(Xt, yt)
    True
    """

    # What sklearn's routing reads; X_target is for direct fits.
    __metadata_request__fit = {"sample_domain": True, "X_target": False}
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    def __init__(
        self,
        estimator,
        *,
        method="auto",
        prior="target",
        cv=5,
        n_bootstrap=0,
        confidence=0.9,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.method = method
        self.prior = prior
        self.cv = cv
        self.n_bootstrap = n_bootstrap
        self.confidence = confidence
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X, y, *, X_target=None, sample_domain=None, sample_weight=None):
        """Fit the classifier on the labelled source rows, and estimate the shift.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows,)
            Labels; the mask (-1 or "-1") on unlabelled rows. Labels of target rows are not used.
        X_target : array-like, sparse matrix or frame of shape (n_target, n_features), optional
            Target rows, for direct fits; all rows of X are source rows then.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` source, ``< 0`` target. Without it, unlabelled rows are the target.
        sample_weight : array-like of shape (n_rows,), optional
            Weights of source rows, in the classifier and in the estimate.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter is unknown, or `estimator` takes no weights but some are given.
        TypeError
            If `estimator` predicts no probabilities.
        """
        self._check_parameters()
        n_target = None if X_target is None else n_rows(X_target)
        rows = read_fit(
            y, n_rows(X), n_target=n_target, sample_domain=sample_domain,
            sample_weight=sample_weight,
        )  # fmt: skip
        source, target = np.flatnonzero(rows.labelled), np.flatnonzero(rows.domain < 0)
        if X_target is None and len(target):
            X_target = take_rows(X, target)
        weight = None if rows.weight is None else rows.weight[source]
        X, y = (X if len(source) == n_rows(X) else take_rows(X, source)), rows.y[source]
        classes, codes = np.unique(y, return_inverse=True)
        prior = read_prior(self.prior, len(classes))
        estimator = _fit_clone(self.estimator, X, y, weight)
        label_shift = None
        if X_target is None and isinstance(prior, str) and prior == "target":
            warnings.warn(
                "LabelShiftClassifier: no target rows, so predictions stay those of the estimator. "
                "Give X_target=, or mask the target's labels in y (see adaptlearn.pack), or mark "
                "target rows with sample_domain < 0. " + MASK_HELP,
                UserWarning,
                stacklevel=2,
            )
        elif len(classes) > 1 and (X_target is not None or not isinstance(prior, str)):
            label_shift = self._estimate(X, y, codes, classes, weight, X_target)
        self.estimator_, self.classes_, self.label_shift_ = estimator, classes, label_shift
        self._source_prior = np.bincount(codes, weight) / len(codes if weight is None else [])
        return self
