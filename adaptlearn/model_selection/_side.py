"""Tell source rows from target rows by their numbers."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def is_numeric(X):
    """Whether rows are numbers without a gap; text and images as files are not."""
    try:
        values = X.data if sp.issparse(X) else np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return bool(np.isfinite(values).all())


def _with_squares(X):
    """Columns and their squares: two sides may differ in spread alone."""
    if sp.issparse(X):
        return sp.hstack([X, X.multiply(X)], format="csr")
    X = np.asarray(X)
    X = X.reshape(len(X), -1).astype(np.float64)
    return np.hstack([X, X**2])


class SideOfRows:
    """Classifier of rows into source and target, fitted on numeric rows of both."""

    # Held-out balanced accuracy below which the sides count as one.
    CHANCE = 0.75

    def fit(self, X, is_target):
        """Fit on rows `X` with their sides; returns self."""
        X = _with_squares(X)
        classifier = make_pipeline(
            StandardScaler(with_mean=not sp.issparse(X)),
            LogisticRegression(C=0.1, class_weight="balanced", max_iter=200),
        )
        n_folds = min(3, *np.bincount(is_target, minlength=2))
        self.classifier_ = None
        if n_folds >= 2:
            # params: scikit-learn 1.6 with metadata routing fails on the default.
            held_out = cross_val_predict(classifier, X, is_target, cv=n_folds, params={})
            found = [np.mean(held_out[is_target == side] == side) for side in (False, True)]
            if np.mean(found) > self.CHANCE:
                self.classifier_ = classifier.fit(X, is_target)
        return self

    def domain(self, X):
        """0 for rows that look like the source, -1 for the others."""
        if self.classifier_ is None:
            return "target"
        return -self.classifier_.predict(_with_squares(X)).astype(np.int64)
