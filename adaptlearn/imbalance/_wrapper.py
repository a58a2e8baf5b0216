"""What estimators have in common that fit another one on rows of their own choice."""

from __future__ import annotations

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metadata_routing import (
    UNUSED,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._containers import n_rows, take_rows
from .._domains import read_domains, read_sample_domain
from .._fit_names import fit_name, weight_name
from .._labels import read_y
from .._prediction import respond
from .._scored import read_scored
from .._wrapping import Wrapper


def read_rows(y, n, sample_domain):
    """Plain labels, which rows have one, and the domain of each row."""
    if np.ndim(y) == 2 and np.shape(y)[1] == 1:
        y = column_or_1d(np.asarray(y), warn=True)
    labels, _ = read_y(y, n, regression=False)
    labelled = read_domains(y, sample_domain)[1]
    if sample_domain is None:
        return labels, labelled, np.where(labelled, 0, -1)
    return labels, labelled, read_sample_domain(sample_domain, n)


def rows_to_learn(labelled, domain, target_labels):
    """Bool mask of the rows whose labels count."""
    if target_labels not in ("ignore", "use"):
        raise ValueError(f"target_labels={target_labels!r} must be 'ignore' or 'use'.")
    eligible = labelled if target_labels == "use" else labelled & (domain >= 0)
    if not eligible.any():
        raise ValueError(
            "there is no labelled row to learn from: every row is unlabelled or a target row "
            "(sample_domain < 0). Give labelled source rows, or target_labels='use'."
        )
    return eligible


def inner_has(name):
    """Check, for `available_if`, that the wrapped estimator has this method."""

    def check(self):
        getattr(getattr(self, "estimator_", self.estimator), name)
        return True

    return check


def check_predicts_proba(estimator, why):
    """Raise for a classifier without ``predict_proba``, saying what the probabilities are for."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"estimator={estimator!r:.80} has no predict_proba, and {why}. Wrap it: "
            "CalibratedClassifierCV(estimator)."
        )


def is_per_row(name, value, n):
    """Whether a fit argument holds one entry for each of the n rows."""
    if name.rpartition("__")[2] == "X_target":  # rows of the other side, however many they are
        return False
    rows = (hasattr(value, "shape") and len(value.shape)) or isinstance(value, (list, tuple))
    return bool(rows) and n_rows(value) == n


def is_weight(name):
    """Whether a fit argument, or one of a pipeline's step, is `sample_weight`."""
    return name.rpartition("__")[2] == "sample_weight"


class InnerFit:
    """Arguments of the inner estimator's ``fit``, and which rows it is to see.

    An estimator whose ``fit`` takes `sample_domain` reads masks and sees all rows. Any other would
    take the mask for a class: it sees labelled rows alone.
    """

    def __init__(self, wrapper, domain, sample_weight, fit_params):
        self.estimator = wrapper.estimator
        if get_config()["enable_metadata_routing"]:
            fit_params = {"sample_weight": sample_weight, **fit_params}
            routed = process_routing(wrapper, "fit", sample_domain=domain, **fit_params)
            self.params = dict(routed.estimator.fit)
            self.domain_name = "sample_domain" if "sample_domain" in self.params else None
        else:
            self.params = dict(fit_params)
            self.domain_name = fit_name(self.estimator, "sample_domain")
            if sample_weight is not None:
                self.params[weight_name(self.estimator)] = sample_weight
        self.params.pop(self.domain_name, None)

    @property
    def adaptive(self):
        """Whether the inner estimator knows about domains and masks."""
        return self.domain_name is not None

    def fit(self, X, y, domain, params):
        """A fitted clone."""
        given = {self.domain_name: domain} if self.adaptive else {}
        return clone(self.estimator).fit(X, y, **params, **given)


class EstimatorWrapper(Wrapper):
    """Base of meta-estimators that predict with ``estimator_``; not public."""

    # What sklearn's routing reads: the metadata that each method asks for by itself.
    # Whether `fit` wants weights is for the wrapped estimator to say.
    __metadata_request__fit = {"sample_domain": True, "sample_weight": UNUSED}
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__predict_log_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    def get_metadata_routing(self):
        """Which metadata this estimator and the wrapped one ask for."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self.__class__.__name__).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _respond(self, method, X, sample_domain):
        check_is_fitted(self)
        return respond(self.estimator_, method, X, sample_domain)

    @available_if(inner_has("predict"))
    def predict(self, X, *, sample_domain=None):
        """Predict with the fitted estimator.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_rows, ...)
        sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
            Handed on to an estimator that takes it. None: target rows.

        Returns
        -------
        y : ndarray of shape (n_rows,)
        """
        return self._respond("predict", X, sample_domain)

    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Accuracy, or R² of a regressor, on the labelled rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame} of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
            Rows with a mask are left out. When there are any, the labelled rows are predicted as
            source rows, otherwise as target rows.
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : as in ``predict``

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        classes = getattr(self, "classes_", ())
        scored = read_scored(y, sample_domain, classes, sample_weight)
        X = take_rows(X, scored.rows) if len(scored.rows) < n_rows(X) else X
        predicted = self.predict(X, sample_domain=scored.domain)
        metric = accuracy_score if len(classes) else r2_score
        return float(metric(scored.y, predicted, sample_weight=scored.weight))


class ClassifierWrapper(EstimatorWrapper):
    """Base of meta-estimators around a classifier; not public."""

    def _check_inner(self):
        if not is_classifier(self.estimator):
            raise TypeError(
                f"estimator={self.estimator!r} is not a classifier, which {type(self).__name__} "
                "needs."
            )

    @property
    def classes_(self):
        """Class labels."""
        return self._fitted().classes_

    @available_if(inner_has("predict_proba"))
    def predict_proba(self, X, *, sample_domain=None):
        """Class probabilities of shape (n_rows, n_classes); parameters as in ``predict``."""
        return self._respond("predict_proba", X, sample_domain)

    @available_if(inner_has("predict_proba"))
    def predict_log_proba(self, X, *, sample_domain=None):
        """Logarithms of ``predict_proba``."""
        return np.log(self.predict_proba(X, sample_domain=sample_domain))


def group_means(values, groups):
    """Mean of `values` over the rows of each group, for every row."""
    _, codes = np.unique(groups, axis=0, return_inverse=True)
    codes = codes.ravel()
    return (np.bincount(codes, weights=values) / np.bincount(codes))[codes]
