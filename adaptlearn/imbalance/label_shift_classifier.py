"""Any scikit-learn classifier, corrected for the class proportions of the target."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from .._containers import as_container, n_rows, take_rows
from .._domains import MASK_HELP, DomainIndex, read_fit
from .._scored import read_scored
from .._wrapping import Wrapper
from ._calibration import fit_calibration
from ._label_shift_result import prior_ratio, read_prior, reweight
from ._out_of_fold import fit_clone, predict_out_of_fold
from ._wrapper import check_predicts_proba
from .label_shift import check_parameters, estimate_label_shift


class LabelShiftClassifier(Wrapper):
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
    calibration : {"auto", "bcts", "vector"} or None, default="auto"
        Calibration on the held-out rows, for "auto" and "mlls"; see the same.
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
    >>> clf.label_shift_.target_prior.round(1)
    array([0.9, 0.1, 0. ])
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
        calibration="auto",
        prior="target",
        cv=5,
        n_bootstrap=0,
        confidence=0.9,
        n_jobs=None,
        random_state=None,
    ):
        self.estimator = estimator
        self.method = method
        self.calibration = calibration
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
        X, X_target = as_container(X), as_container(X_target)
        n_target = None if X_target is None else n_rows(X_target)
        rows = read_fit(
            y, n_rows(X), n_target=n_target, sample_domain=sample_domain,
            sample_weight=sample_weight,
        )  # fmt: skip
        source, target = np.flatnonzero(rows.labelled), np.flatnonzero(rows.domain < 0)
        if X_target is None and len(target):
            X_target = take_rows(X, target)
        if len(source) < n_rows(X):
            X = take_rows(X, source)
        y, weight = rows.y[source], None if rows.weight is None else rows.weight[source]
        classes, codes = np.unique(y, return_inverse=True)
        read_prior(self.prior, len(classes))
        fitted = fit_clone(self.estimator, X, y, weight)
        label_shift = calibration = None
        if X_target is not None or self._corrects_without_target():
            label_shift, calibration = self._estimate(X, y, codes, classes, weight, X_target)
        elif isinstance(self.prior, str) and self.prior == "target":
            warnings.warn(
                "LabelShiftClassifier: no target rows, so predictions stay those of the estimator. "
                "Give X_target=, or mask the target's labels in y (see adaptlearn.pack), or mark "
                "target rows with sample_domain < 0. " + MASK_HELP,
                UserWarning,
                stacklevel=2,
            )
        self.estimator_, self.classes_, self.label_shift_ = fitted, classes, label_shift
        counts = np.bincount(codes, weight)
        self._source_prior, self._calibration = counts / counts.sum(), calibration
        self._domain_index = DomainIndex.of(rows.domain)
        return self

    def _estimate(self, X, y, codes, classes, weight, X_target):
        """The estimate (None without target rows) and the calibration (None without it)."""
        held_out = predict_out_of_fold(
            self.estimator, X, y, classes, weight, X_target, self.cv, self.n_jobs
        )
        if held_out is None:
            warnings.warn(
                "LabelShiftClassifier: no class has two source rows, so none can be held out and "
                "class proportions cannot be estimated; predictions stay those of the estimator.",
                UserWarning,
                stacklevel=3,
            )
            return None, None
        codes, weight = codes[held_out.rows], None if weight is None else weight[held_out.rows]
        if held_out.target is None:
            if self.method not in ("auto", "mlls") or self.calibration is None:
                return None, None
            return None, fit_calibration(held_out.source, codes, weight, self.calibration)
        label_shift = estimate_label_shift(
            held_out.source, codes, held_out.target, method=self.method,
            calibration=self.calibration, n_bootstrap=self.n_bootstrap,
            confidence=self.confidence, sample_weight=weight, classes=classes,
            random_state=self.random_state,
        )  # fmt: skip
        return label_shift, label_shift.calibration

    def predict_proba(self, X, *, sample_domain=None):
        """Class probabilities, corrected as `prior` says.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
            Side of the rows; default target rows. With ``prior="target"`` source rows are answered
            as by the estimator itself.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
        """
        check_is_fitted(self)
        return self._correct(self.estimator_.predict_proba(X), sample_domain)

    def predict(self, X, *, sample_domain=None):
        """Predict the most probable class; parameters as in ``predict_proba``.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        check_is_fitted(self)
        X = as_container(X)
        proba = self.estimator_.predict_proba(X)
        corrected = self._correct(proba, sample_domain)
        same = np.flatnonzero((corrected == proba).all(1))
        if len(same) == len(proba):
            return self.estimator_.predict(X)
        predicted = self.classes_[corrected.argmax(1)]
        if len(same):  # not every classifier predicts its most probable class
            predicted[same] = self.estimator_.predict(take_rows(X, same))
        return predicted

    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Accuracy on the labelled rows.

        When `y` holds masks, its labelled rows are source rows and are predicted as such; when it
        holds none, all rows are target rows. A label unseen in ``fit`` counts as wrong.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : int or array-like of shape (n_rows,), optional

        Returns
        -------
        float
        """
        check_is_fitted(self)
        scored = read_scored(y, sample_domain, self.classes_, sample_weight)
        predicted = self.predict(
            take_rows(as_container(X), scored.rows), sample_domain=scored.domain
        )
        return accuracy_score(scored.y, predicted, sample_weight=scored.weight)

    def _correct(self, proba, sample_domain):
        """Corrected probabilities; `proba` itself where there is nothing to correct."""
        index, prior = self._domain_index, read_prior(self.prior, len(self.classes_))
        slots = index.read(sample_domain, len(proba))
        is_target = (slots >= len(index.sources)) & (slots != index.pooled_slot("source"))
        if isinstance(prior, str) and prior == "target":
            if not is_target.any():
                return proba
            if not is_target.all():
                return np.where(is_target[:, None], self._correct(proba, "target"), proba)
        if self.label_shift_ is not None:
            return self.label_shift_.correct(proba, prior)
        if isinstance(prior, str) and prior in ("source", "target"):
            return proba
        return reweight(proba, prior_ratio(prior, self._source_prior), self._calibration)

    def _check_parameters(self):
        if isinstance(self.estimator, type) or not is_classifier(self.estimator):
            raise TypeError(
                f"estimator={self.estimator!r:.80} is not a classifier; give one, such as "
                "LogisticRegression()."
            )
        check_predicts_proba(self.estimator, "proportions are estimated from probabilities")
        check_parameters(self.method, self.calibration, False, self.n_bootstrap, self.confidence)
        if isinstance(self.cv, (int, np.integer)) and (isinstance(self.cv, bool) or self.cv < 2):
            raise ValueError(
                f"cv={self.cv!r} must be at least 2 folds, or a splitter such as StratifiedKFold."
            )

    def _corrects_without_target(self):
        return not (isinstance(self.prior, str) and self.prior in ("source", "target"))
