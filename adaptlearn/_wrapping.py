"""What meta-estimators have in common: they answer with ``estimator_``, a fitted clone."""

from __future__ import annotations

from sklearn.base import BaseEstimator, MetaEstimatorMixin
from sklearn.utils import get_tags


class Wrapper(MetaEstimatorMixin, BaseEstimator):
    """Base of meta-estimators: attributes and tags of the estimator inside; not public."""

    @property
    def n_features_in_(self):
        """Number of features seen in ``fit``."""
        return self._fitted().n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the features seen in ``fit``."""
        return self._fitted().feature_names_in_

    def _fitted(self):
        if "estimator_" not in self.__dict__:  # hasattr must answer False before fit
            raise AttributeError(f"{type(self).__name__} is not fitted yet.")
        return self.estimator_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self):
        tags = get_tags(self.estimator)
        tags.target_tags.required = True
        tags.target_tags.multi_output = False  # a mask is one value
        return tags
