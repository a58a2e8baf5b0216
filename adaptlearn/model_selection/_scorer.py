"""What our scorers have in common."""

from __future__ import annotations

import warnings
from abc import abstractmethod

import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils.metadata_routing import UNUSED

from .._containers import take_rows
from .._prediction import respond
from ._rows import read_rows


class DomainScorer(BaseEstimator):
    """Callable ``scorer(estimator, X, y)`` that knows the two sides.

    Parameters live in attributes as in any estimator, so that scorers clone, pickle and print.
    """

    # What sklearn's routing reads. `estimator` and `y_true` are arguments, not metadata.
    __metadata_request__score = {"sample_domain": True, "estimator": UNUSED}

    def __call__(self, estimator, X, y, *, sample_domain=None, sample_weight=None):
        """Score a fitted estimator; the same as `score`."""
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self.score(estimator, X, y, sample_domain=sample_domain, **weight)

    @abstractmethod
    def score(self, estimator, X, y, *, sample_domain=None, sample_weight=None):
        """Score a fitted estimator."""

    def _accept_sample_weight(self):
        # sklearn's searches ask every scorer this when they are given weights.
        return True


class Side:
    """Rows of one fold and the predictions of one estimator on its sides."""

    def __init__(self, estimator, X, y, sample_domain, sample_weight):
        self.estimator, self.X = estimator, X
        self.classes = None if is_regressor(estimator) else getattr(estimator, "classes_", None)
        known = () if is_regressor(estimator) else self.classes
        self.rows = read_rows(y, sample_domain, classes=known)
        n_rows = len(self.rows.labels)
        self.weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, float)
        if self.weight.shape != (n_rows,):
            raise ValueError(f"sample_weight has shape {self.weight.shape} for {n_rows} rows.")

    def respond(self, method, rows):
        """Predictions for the row numbers `rows`, which are all on one side unless numbered."""
        if self.rows.domain is not None:
            sample_domain = self.rows.domain[rows]
        else:
            sample_domain = "target" if self.rows.is_target[rows[0]] else "source"
        return respond(self.estimator, method, take_rows(self.X, rows), sample_domain)

    def labelled_source(self, scorer):
        """Row numbers of the labelled source rows."""
        rows = np.flatnonzero(self.rows.labelled & ~self.rows.is_target)
        if not len(rows):
            raise ValueError(
                f"{type(scorer).__name__} found no labelled source row in this fold of "
                f"{len(self.rows.labels)} rows. {NO_SIDE_HELP}"
            )
        return rows

    def target(self, scorer):
        """Row numbers of the target rows."""
        rows = np.flatnonzero(self.rows.is_target)
        if not len(rows):
            raise ValueError(
                f"{type(scorer).__name__} found no target row in this fold of "
                f"{len(self.rows.labels)} rows. {NO_SIDE_HELP}"
            )
        return rows

    def warn_unseen(self, rows):
        """Labels among `rows` that the estimator has not seen in fit; warns if there are any."""
        if self.classes is None:
            return np.array([])
        unseen = np.setdiff1d(self.rows.labels[rows], self.classes)
        if len(unseen):
            warnings.warn(
                f"y holds labels unseen in fit: {unseen.tolist()}. Their rows count as wrong.",
                UserWarning,
                stacklevel=4,
            )
        return unseen


NO_SIDE_HELP = (
    "Rows without a label (masked in y) are the target and the others the source; when no row is "
    "masked, all are target rows. Give data from pack, split it with DomainStratifiedKFold, or "
    "hand on sample_domain with metadata routing switched on."
)
