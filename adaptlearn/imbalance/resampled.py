"""Estimators that resample inside ``fit`` and nowhere else."""

from __future__ import annotations

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.metaestimators import available_if

from .._containers import as_container, n_rows, take_rows
from .._domains import read_sample_domain
from .._labels import read_weight, read_y
from ._wrapper import (
    ClassifierWrapper,
    EstimatorWrapper,
    InnerFit,
    inner_has,
    is_per_row,
    is_weight,
    read_rows,
    rows_to_learn,
)
from .resampling import (
    DomainResampler,
    check_sampler,
    check_two_classes,
    resample,
    resampled_weight,
)

__all__ = ["ResampledClassifier", "ResampledRegressor"]


class _Resampled(EstimatorWrapper):
    """What the two estimators share."""

    def fit(self, X, y, *, sample_domain=None, sample_weight=None, **fit_params):
        """Resample the labelled rows of each domain, then fit a clone of the estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame, list} of shape (n_rows, ...)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows,)
            Labels; the mask (-1, "-1" or NaN) on unlabelled rows, which are never resampled.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain. Without it, unlabelled rows are the
            target. Handed on, resampled, to an estimator that takes it.
        sample_weight : array-like of shape (n_rows,), optional
            Handed on, resampled. A row made up by the sampler gets the mean weight of its class in
            its domain. Weights have no part in what is resampled.
        **fit_params : dict
            Further arguments of the estimator's ``fit``. Those with one entry per row are
            resampled along; for a row made up there is no value, and that is an error.

        Returns
        -------
        self : object
        """
        sampler, target_labels = self.sampler, self.target_labels
        if isinstance(sampler, DomainResampler):
            sampler, target_labels = sampler.sampler, sampler.target_labels
        check_sampler(sampler)
        X, y = as_container(X), as_container(y)
        n = n_rows(X)
        values, labelled, domain = self._read(y, n, sample_domain)
        eligible = rows_to_learn(labelled, domain, target_labels)
        weight = read_weight(sample_weight, n, eligible)
        inner = InnerFit(self, domain, weight, fit_params)
        strata = self._strata(values, eligible)
        if sampler is not None:
            self._check_strata(strata[eligible])
        new = resample(sampler, X, strata, domain, eligible)
        self._check_new(new)
        rows = new.label_row
        seen = np.arange(len(rows)) if inner.adaptive else np.flatnonzero(eligible[rows])
        params = {
            name: take_rows(_follow(name, value, new, domain, strata, eligible), seen)
            if is_per_row(name, value, n)
            else value
            for name, value in inner.params.items()
        }
        rows = rows[seen]
        X = new.X if inner.adaptive else take_rows(new.X, seen)
        y = take_rows(y, rows) if inner.adaptive else values[rows]
        self.estimator_ = inner.fit(X, y, domain[rows], params)
        self.sampling_strategy_ = new.strategy
        return self

    def _check_strata(self, strata):
        """Raise where a sampler has nothing to balance."""

    def _check_new(self, new):
        """Raise for rows that cannot be used."""

    @available_if(inner_has("transform"))
    def transform(self, X, *, sample_domain=None):
        """Features of the fitted estimator; parameters as in ``predict``."""
        return self._respond("transform", X, sample_domain)


def _follow(name, value, new, domain, strata, eligible):
    """A per-row argument of ``fit``, for the rows after resampling."""
    if name.rpartition("__")[2] == "sample_domain":
        return domain[new.label_row]
    made_up = new.origin < 0
    if not made_up.any():
        return take_rows(value, new.origin)
    if not is_weight(name):
        raise ValueError(
            f"{name} holds one entry per row, but the sampler made up {made_up.sum()} rows, for "
            "which there is none. Take a sampler that repeats or drops rows (RandomOverSampler, "
            f"RandomUnderSampler), or leave {name} out."
        )
    weight = np.asarray(value, dtype=np.float64)
    return resampled_weight(weight, new, domain, strata, eligible)


class ResampledClassifier(_Resampled, ClassifierWrapper):
    """Classifier that is fitted on resampled rows.

    The labelled rows of each domain are resampled by themselves (`DomainResampler`); rows without
    a label stay as they are. Everything with one entry per row follows: `sample_domain`,
    `sample_weight` and any other argument of ``fit``. Since resampling is part of ``fit``, plain
    scikit-learn pipelines and searches work, and validation folds are never resampled.

    Parameters
    ----------
    estimator : classifier
        Any scikit-learn classifier, or a pipeline that ends in one. One whose ``fit`` takes
        `sample_domain` sees all rows. Any other would take the mask for a class, so it sees the
        labelled rows alone.
    sampler : imbalanced-learn sampler, DomainResampler or None, default=None
        None resamples nothing. A DomainResampler brings its own `target_labels`.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labelled target rows (``sample_domain < 0``) are resampled as well.

    Attributes
    ----------
    estimator_ : classifier
        Fitted on the resampled rows.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    sampling_strategy_ : dict
        For each resampled domain, the ``sampling_strategy_`` of its sampler.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the features, when X is a frame with string names.

    See Also
    --------
    DomainResampler : The same as a step of an imbalanced-learn pipeline, without the alignment.

    Notes
    -----
    Resampling changes the class proportions that the classifier learns, on purpose: its
    probabilities are those under the resampled proportions.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.over_sampling import SMOTE
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.metrics import recall_score
    >>> from adaptlearn import ResampledClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], [95, 5])
    >>> X = rng.normal(size=(100, 2)) + y[:, None]
    >>> plain = LogisticRegression().fit(X, y)
    >>> clf = ResampledClassifier(LogisticRegression(), SMOTE(k_neighbors=3, random_state=0))
    >>> recall_score(y, plain.predict(X)), recall_score(y, clf.fit(X, y).predict(X))
    (0.0, 0.6)
    """

    def __init__(self, estimator, sampler=None, *, target_labels="ignore"):
        self.estimator = estimator
        self.sampler = sampler
        self.target_labels = target_labels

    def _read(self, y, n, sample_domain):
        self._check_inner()
        return read_rows(y, n, sample_domain)

    def _strata(self, labels, eligible):
        return labels

    def _check_strata(self, strata):
        check_two_classes(strata)

    @available_if(inner_has("decision_function"))
    def decision_function(self, X, *, sample_domain=None):
        """Decision values of the fitted estimator; parameters as in ``predict``."""
        return self._respond("decision_function", X, sample_domain)


class ResampledRegressor(_Resampled):
    """Regressor that is fitted on rows resampled by the density of the target values.

    The labels are sorted into bins, the bins are the classes that the sampler balances, and the
    labels themselves stay as they are. Everything with one entry per row follows.

    Parameters
    ----------
    estimator : regressor
        Any scikit-learn regressor, or a pipeline that ends in one. One whose ``fit`` takes
        `sample_domain` sees all rows, any other the labelled rows alone.
    sampler : imbalanced-learn sampler, DomainResampler or None, default=None
        One that repeats or drops rows, such as ``RandomOverSampler()`` or
        ``RandomUnderSampler()``: a row that is made up would have no label.
    bins : int or array-like of shape (n_bins - 1,), default=10
        Number of equally wide bins between the smallest and the largest label, >= 2, or the
        increasing edges between bins. Empty bins do not matter. Quantiles as edges would leave
        nothing to balance: each bin holds the same number of rows then.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labelled target rows (``sample_domain < 0``) are resampled as well.

    Attributes
    ----------
    estimator_ : regressor
        Fitted on the resampled rows.
    bin_edges_ : ndarray of shape (n_bins - 1,)
        Edges between bins; bin k holds ``bin_edges_[k - 1] <= y < bin_edges_[k]``.
    sampling_strategy_ : dict
        For each resampled domain, the ``sampling_strategy_`` of its sampler; classes are bins.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the features, when X is a frame with string names.

    References
    ----------
    Torgo et al., "Resampling strategies for regression", 2015; Yang et al., "Delving into deep
    imbalanced regression", 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.over_sampling import RandomOverSampler
    >>> from sklearn.dummy import DummyRegressor
    >>> from adaptlearn import ResampledRegressor
    >>> X, y = np.zeros((10, 1)), np.array([0.0] * 8 + [1.0] * 2)
    >>> mean = DummyRegressor().fit(X, y).predict(X[:1])
    >>> balanced = ResampledRegressor(DummyRegressor(), RandomOverSampler(random_state=0), bins=2)
    >>> mean, balanced.fit(X, y).predict(X[:1])
    (array([0.2]), array([0.5]))
    """

    def __init__(self, estimator, sampler=None, *, bins=10, target_labels="ignore"):
        self.estimator = estimator
        self.sampler = sampler
        self.bins = bins
        self.target_labels = target_labels

    def _read(self, y, n, sample_domain):
        if not is_regressor(self.estimator):
            raise TypeError(
                f"estimator={self.estimator!r} is not a regressor; use ResampledClassifier for "
                "classification."
            )
        values, null = read_y(y, n, regression=True)
        domain = np.where(null, -1, 0)
        if sample_domain is not None:
            domain = read_sample_domain(sample_domain, n)
        return values, ~null, domain

    def _strata(self, values, eligible):
        self.bin_edges_ = _bin_edges(self.bins, values[eligible])
        return np.searchsorted(self.bin_edges_, values, side="right")

    def _check_new(self, new):
        if (new.origin < 0).any():
            raise ValueError(
                f"sampler={self.sampler!r} makes up {np.sum(new.origin < 0)} rows, which have no "
                "number to regress on. Take one that repeats or drops rows: RandomOverSampler(), "
                "RandomUnderSampler()."
            )


def _bin_edges(bins, values):
    """Inner edges of the bins."""
    if np.ndim(bins) == 0:
        if not (isinstance(bins, (int, np.integer)) and bins >= 2):
            raise ValueError(f"bins={bins!r} must be an integer, at least 2, or increasing edges.")
        return np.linspace(values.min(), values.max(), bins + 1)[1:-1]
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or not len(edges) or not (np.diff(edges) > 0).all():
        raise ValueError(f"bins={bins!r} must be an integer, at least 2, or increasing edges.")
    return edges
