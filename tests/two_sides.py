"""A small estimator that adapts to an offset, and two sides that differ by one."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from adaptlearn._domains import is_unlabelled


class PerSide(ClassifierMixin, BaseEstimator):
    """Nearest class mean after centring each side by its own mean: adapts to a plain offset."""

    __metadata_request__fit = {"sample_domain": True}
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}

    def __init__(self, adapt=True, sharpness=1.0):
        self.adapt = adapt
        self.sharpness = sharpness

    def fit(self, X, y, *, sample_domain=None, sample_weight=None):
        X, y = np.asarray(X), np.asarray(y)
        masked = is_unlabelled(y)
        target = masked if sample_domain is None else np.asarray(sample_domain) < 0
        weight = np.ones(len(X)) if sample_weight is None else sample_weight
        self.weight_sum_ = weight[~target].sum()
        self.classes_ = np.unique(y[~target])
        self.center_ = {"source": X[~target].mean(0)}
        moved = target.any() and self.adapt
        self.center_["target"] = X[target].mean(0) if moved else self.center_["source"]
        centred = X[~target] - self.center_["source"]
        self.means_ = np.array([centred[y[~target] == c].mean(0) for c in self.classes_])
        return self

    def transform(self, X, *, sample_domain=None):
        X, side = np.asarray(X), "target" if sample_domain is None else sample_domain
        if isinstance(side, str):
            return X - self.center_[side]
        centers = np.array([self.center_["source"], self.center_["target"]])
        return X - centers[(np.asarray(side) < 0).astype(int)]

    def predict_proba(self, X, *, sample_domain=None):
        Z = self.transform(X, sample_domain=sample_domain)
        logits = -self.sharpness * ((Z[:, None] - self.means_) ** 2).sum(2)
        proba = np.exp(logits - logits.max(1, keepdims=True))
        return proba / proba.sum(1, keepdims=True)

    def predict(self, X, *, sample_domain=None):
        return self.classes_[self.predict_proba(X, sample_domain=sample_domain).argmax(1)]

    def score(self, X, y, sample_weight=None):
        raise AssertionError("our scorers never call score")


CENTERS = np.array([[0, 0], [5, 0], [0, 5]])


def make_sides(labels=(0, 1, 2), n_source=120, n_target=90, seed=0):
    rng = np.random.default_rng(seed)
    ys, yt = rng.integers(0, 3, n_source), rng.integers(0, 3, n_target)
    Xs = CENTERS[ys] + rng.normal(size=(n_source, 2))
    Xt = CENTERS[yt] + rng.normal(size=(n_target, 2)) + [12, -9]
    return Xs, np.array(labels)[ys], Xt, np.array(labels)[yt]
