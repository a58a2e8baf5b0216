"""Hand an adaptive estimator to tools that know only labelled rows."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.utils import check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._containers import n_rows, take_rows
from .._fit_names import weight_name
from .._labels import read_weight
from .._packing import pack
from .._prediction import inputs_of, last_step, takes_sample_domain
from .._wrapping import Wrapper
from ._rows import read_rows
from ._side import SideOfRows, is_numeric


def _inner_has(name):
    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


class WithTarget(Wrapper):
    """Estimator that carries its target rows with it, so that ``fit`` needs labelled rows only.

    Voting, stacking, bagging, one-vs-rest and calibration encode `y` before they fit, and a row
    without a label would silently become a class. Inside them, this estimator takes labelled source
    rows alone, encodes their labels itself, packs them with `X_target` and fits a clone of
    `estimator` on the result.

    Parameters
    ----------
    estimator : estimator
        One that reads unlabelled rows as the target, or a pipeline that ends in one.
    X_target : array-like, sparse matrix, frame, or list of them, default=None
        Target rows, or one container for each target domain. Shared, not copied, by
        `sklearn.base.clone`. None fits the estimator on the labelled rows alone.
    predict_as : {"nearest", "target"}, default="nearest"
        Side of the rows in ``predict`` and its like. Stacking and calibration predict held-out
        source rows to fit on the answers, and later target rows. ``"nearest"`` takes each row for
        the side that it looks like (a logistic regression on the inputs of the last step and their
        squares; all are target rows where the sides cannot be told apart). ``"target"`` takes all
        for target rows, which is as well in voting, bagging and one-vs-rest.

    Attributes
    ----------
    estimator_ : estimator
        The fitted clone. Its classes are the codes 0, 1, ....
    classes_ : ndarray of shape (n_classes,)
        Labels as given; only for classifiers.
    n_features_in_ : int
        As seen by `estimator_`, where it says so.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.ensemble import BaggingClassifier
    >>> from adaptlearn import DomainAdaptationClassifier, WithTarget
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(60, 2)), np.repeat([-1, 1], 30)
    >>> X[y == 1] += 4
    >>> clf = WithTarget(DomainAdaptationClassifier(max_epochs=5, random_state=0), X + 10)
    >>> bagged = BaggingClassifier(clf, n_estimators=2, random_state=0).fit(X, y)
    >>> bagged.predict(X[[0, -1]] + 10)
    array([-1,  1])
    """

    # What sklearn's routing reads: the metadata that each method asks for by itself.
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    def __init__(self, estimator, X_target=None, predict_as="nearest"):
        self.estimator = estimator
        self.X_target = X_target
        self.predict_as = predict_as

    def fit(self, X, y, sample_weight=None):
        """Fit a clone of the estimator on these labelled rows and the target rows.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
            Source rows.
        y : array-like of shape (n_rows,)
            Their labels; every value is a class, -1 too. Numbers for a regressor.
        sample_weight : array-like of shape (n_rows,), optional
            Weights; rows of weight 0 are left out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If the estimator takes no `sample_weight` but one is given, or it read the mask as a
            class.
        """
        if y is None:
            raise ValueError(
                "This estimator requires y to be passed, but the target y is None: give the labels "
                "of the source rows."
            )
        if self.predict_as not in ("nearest", "target"):
            raise ValueError(f"predict_as={self.predict_as!r} must be 'nearest' or 'target'.")
        check_consistent_length(X, y, sample_weight)
        classify = is_classifier(self.estimator)
        # -1 is a class here, whatever the other labels are.
        labels = read_rows(y, "source", classes=(-1,) if classify else ())
        if not labels.labelled.all():
            raise ValueError(
                f"y has no label on {np.sum(~labels.labelled)} rows; WithTarget takes labelled "
                "source rows. Give rows without a label as X_target."
            )
        y, weight = labels.labels, sample_weight
        if classify:
            check_classification_targets(y)
            self.classes_, y = np.unique(y, return_inverse=True)
        if weight is not None:
            weight = read_weight(weight, len(y), np.ones(len(y), dtype=bool))
            kept = np.flatnonzero(weight != 0)
            if len(kept) < len(weight):
                X, y, weight = take_rows(X, kept), y[kept], weight[kept]
            if classify:  # a class may have lost all its rows
                present, y = np.unique(y, return_inverse=True)
                self.classes_ = self.classes_[present]
        self.estimator_ = clone(self.estimator)
        self._fit(X, y, weight, mask=-1 if classify else np.nan)
        if classify and len(self.estimator_.classes_) != len(self.classes_):
            raise ValueError(
                f"{type(self.estimator).__name__} took rows without a label (-1) for a class. "
                "WithTarget needs an estimator that reads them as the target, such as "
                "DomainAdaptationClassifier; give X_target=None for any other."
            )
        return self

    def _fit(self, X, y, weight, mask):
        self._side = domain = None
        if self.X_target is not None:
            row = np.arange(n_rows(X))
            # The row numbers travel as labels, so that any y can be put in their place.
            X, row, domain = pack(X, row, self.X_target)
            source = domain >= 0
            packed = np.full(len(row), mask, dtype=np.result_type(y, type(mask)))
            packed[source] = y[row[source]]
            if weight is not None:
                weight = np.where(source, weight[row], 1.0)
            y = packed
        if weight is None:
            self.estimator_.fit(X, y)
        else:
            self.estimator_.fit(X, y, **{weight_name(self.estimator_): weight})
        if domain is not None and self.predict_as == "nearest":
            self._learn_sides(X, domain < 0)

    def _learn_sides(self, X, is_target):
        if not takes_sample_domain(self.estimator_, "predict"):
            return
        rows = np.sort(np.concatenate([np.flatnonzero(is_target == s)[:2000] for s in (0, 1)]))
        inputs = inputs_of(self.estimator_, take_rows(X, rows))
        if is_numeric(inputs):
            self._side = SideOfRows().fit(inputs, is_target[rows])

    def _call(self, method, X, sample_domain):
        check_is_fitted(self)
        estimator, given = self.estimator_, {}
        if sample_domain is None and self._side is not None:
            estimator, X = last_step(estimator, X)
            sample_domain = self._side.domain(X)
        if sample_domain is not None:
            given["sample_domain"] = sample_domain
        return getattr(estimator, method)(X, **given)

    @available_if(_inner_has("predict"))
    def predict(self, X, *, sample_domain=None):
        """Predict with the fitted estimator, in the labels given to ``fit``.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
            Handed on when given. None: target rows.

        Returns
        -------
        y : ndarray of shape (n_rows,)
        """
        predicted = self._call("predict", X, sample_domain)
        return self.classes_[predicted] if is_classifier(self) else predicted

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X, *, sample_domain=None):
        """Class probabilities of shape (n_rows, n_classes); parameters as in ``predict``."""
        return self._call("predict_proba", X, sample_domain)

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X, *, sample_domain=None):
        """Decision values of the fitted estimator; parameters as in ``predict``."""
        return self._call("decision_function", X, sample_domain)

    @available_if(_inner_has("transform"))
    def transform(self, X, *, sample_domain=None):
        """Features of the fitted estimator; parameters as in ``predict``."""
        return self._call("transform", X, sample_domain)

    @available_if(_inner_has("transform"))
    def fit_transform(self, X, y, sample_weight=None):
        """Fit and transform the same rows; parameters as in ``fit``."""
        return self.fit(X, y, sample_weight).transform(X)

    @available_if(_inner_has("score"))
    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Score of the fitted estimator on labelled rows.

        Parameters
        ----------
        X : array-like, sparse matrix or frame of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : as in ``predict``

        Returns
        -------
        score : float
            A label unseen in ``fit`` counts as wrong.
        """
        check_is_fitted(self)
        if is_classifier(self):
            rows = read_rows(y, classes=self.classes_)
            codes = np.searchsorted(self.classes_, rows.labels).clip(max=len(self.classes_) - 1)
            known = self.classes_[codes] == rows.labels
            y = np.where(rows.labelled, np.where(known, codes, len(self.classes_)), -1)
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        estimator = self.estimator_
        if sample_domain is None and self._side is not None:
            estimator, X = last_step(estimator, X)
            sample_domain = self._side.domain(X)
        if sample_domain is not None:
            given["sample_domain"] = sample_domain
        return estimator.score(X, y, **given)

    @available_if(_inner_has("get_feature_names_out"))
    def get_feature_names_out(self, input_features=None):
        """Names of the columns of ``transform``."""
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    @available_if(_inner_has("set_output"))
    def set_output(self, *, transform=None):
        """Choose the container that ``transform`` returns."""
        self.estimator.set_output(transform=transform)
        if hasattr(self, "estimator_"):
            self.estimator_.set_output(transform=transform)
        return self

    def __sklearn_clone__(self):
        copy = type(self)(clone(self.estimator), self.X_target, self.predict_as)
        if hasattr(self, "_metadata_request"):
            copy._metadata_request = clone(self._metadata_request, safe=False)
        return copy
