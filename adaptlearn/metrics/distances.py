"""How far two domains are apart, and weights that make one look like the other."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state

__all__ = ["importance_weights", "mmd", "proxy_a_distance"]


def _check_sides(X_source, X_target):
    """Both sides as 2-D float matrices with the same number of columns."""
    sides = []
    for name, X in (("X_source", X_source), ("X_target", X_target)):
        if not sp.issparse(X) and np.ndim(X) > 2:  # images: one row of numbers each
            X = np.asarray(X).reshape(len(X), -1)
        dtype = [np.float64, np.float32]
        sides.append(
            check_array(X, accept_sparse="csr", dtype=dtype, ensure_min_samples=2, input_name=name)
        )
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(
            f"X_source has {sides[0].shape[1]} columns and X_target {sides[1].shape[1]}; give "
            "both sides in the same features."
        )
    return sides


def _stack(sides):
    return sp.vstack(sides, format="csr") if any(map(sp.issparse, sides)) else np.concatenate(sides)


def _target_probability(sides, regularization, cv, max_samples, random_state):
    """Held-out probability of being a target row, both sides having prior 1/2."""
    rng = check_random_state(random_state)
    kept = [np.sort(rng.permutation(side.shape[0])[:max_samples]) for side in sides]
    X = _stack([side[rows] for side, rows in zip(sides, kept, strict=True)])
    side_of = np.repeat([0, 1], [len(rows) for rows in kept])
    classifier = make_pipeline(
        StandardScaler(with_mean=not sp.issparse(X)),
        LogisticRegression(C=regularization, class_weight="balanced", max_iter=200),
    )
    folds = StratifiedKFold(min(cv, *np.bincount(side_of)), shuffle=True, random_state=rng)
    # params: scikit-learn 1.6 with metadata routing fails on the default.
    shared = {"cv": folds, "method": "predict_proba", "params": {}}
    proba = cross_val_predict(classifier, X, side_of, **shared)[:, 1]
    out = [proba[side_of == 0], proba[side_of == 1]]
    for k, (side, rows) in enumerate(zip(sides, kept, strict=True)):
        if side.shape[0] > len(out[k]):  # rows left out of the classifier are held out anyway
            full = classifier.fit(X, side_of).predict_proba(side)[:, 1]
            full[rows] = out[k]
            out[k] = full
    return out


def importance_weights(
    X_source, X_target, *, clip=10.0, regularization=0.1, cv=5, max_samples=2000, random_state=0
):
    r"""Weights that make the source rows look like the target: estimated density ratios.

    A logistic regression tells target from source rows, both sides counting the same in total.
    With its held-out probability :math:`d(x)` of "target",

    .. math:: w(x) = \frac{p_T(x)}{p_S(x)} = \frac{d(x)}{1 - d(x)},

    clipped from above and then scaled to mean 1.

    Parameters
    ----------
    X_source, X_target : array-like or sparse matrix of shape (n_rows, n_features)
        Numeric rows of both sides. Arrays of more dimensions are flattened.
    clip : float, default=10.0
        Largest raw ratio, >= 1. Small values trade variance for bias.
    regularization : float, default=0.1
        ``C`` of the logistic regression on standardised columns, > 0.
    cv : int, default=5
        Folds of the cross-fitting, >= 2.
    max_samples : int or None, default=2000
        Rows of each side used to fit the classifier. None uses all.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    weights : ndarray of shape (n_source,)
        Not negative, mean 1.

    References
    ----------
    Bickel et al., "Discriminative learning under covariate shift", 2009; Sugiyama et al.,
    "Covariate shift adaptation by importance weighted cross validation", 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.metrics import importance_weights
    >>> rng = np.random.default_rng(0)
    >>> X_source, X_target = rng.normal(0, 1, (500, 1)), rng.normal(1, 1, (500, 1))
    >>> weights = importance_weights(X_source, X_target)
    >>> print(round(weights.mean(), 6), round(np.average(X_source[:, 0], weights=weights), 1))
    1.0 0.9
    """
    if not clip >= 1:
        raise ValueError(f"clip={clip!r} must be at least 1: it bounds a ratio of densities.")
    proba, _ = _target_probability(
        _check_sides(X_source, X_target), regularization, cv, max_samples, random_state
    )
    ratio = proba / np.maximum(1 - proba, np.finfo(proba.dtype).tiny)
    ratio = np.minimum(ratio, clip).astype(np.float64)
    mean = ratio.mean()
    return ratio / mean if mean > 0 else np.ones_like(ratio)


def proxy_a_distance(X_source, X_target, *, cv=5, max_samples=2000, random_state=0):
    r"""How well a linear classifier tells the two sides apart, from 0 (not at all) to 2.

    .. math:: \hat d_A = \max(0,\ 2 (1 - 2 \epsilon))

    with :math:`\epsilon` the held-out error of the classifier, both sides counting the same.

    Parameters
    ----------
    X_source, X_target, cv, max_samples, random_state
        As in `importance_weights`; rows beyond `max_samples` are scored only.

    Returns
    -------
    distance : float
        Between 0 and 2.

    References
    ----------
    Ben-David et al., "Analysis of representations for domain adaptation", 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.metrics import proxy_a_distance
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> proxy_a_distance(X, X + 100)
    2.0
    """
    sides = _check_sides(X_source, X_target)
    source, target = _target_probability(sides, 0.1, cv, max_samples, random_state)
    error = (np.mean(source > 0.5) + np.mean(target <= 0.5)) / 2
    return float(max(0.0, 2 * (1 - 2 * error)))


def _kernel_sum(A, B, widths, block):
    """Sum over all pairs of the multi-kernel, `block` rows of `A` at a time."""
    norms = np.einsum("ij,ij->i", B, B)
    total = 0.0
    for start in range(0, len(A), block):
        part = A[start : start + block]
        squared = np.einsum("ij,ij->i", part, part)[:, None] + norms - 2 * part @ B.T
        np.maximum(squared, 0, out=squared)
        for width in widths:
            total += np.exp(squared / (-2 * width)).sum()
    return total


def mmd(X_source, X_target, *, bandwidth=1.0, block_size=1024):
    r"""Squared maximum mean discrepancy of the two sides, unbiased, with five Gaussian kernels.

    .. math::
        \frac{\sum_{i \ne j} k(s_i, s_j)}{n_s (n_s - 1)} + \frac{\sum_{i \ne j} k(t_i, t_j)}
        {n_t (n_t - 1)} - \frac{2 \sum_{i, j} k(s_i, t_j)}{n_s n_t}, \qquad
        k(a, b) = \sum_{j=-3}^{1} \exp\!\left(-\frac{\lVert a - b\rVert^2}{2 \sigma_j^2}\right)

    with :math:`\sigma_j^2 = 2^j b\, \bar d`, :math:`\bar d` the mean squared distance of two
    different rows, both sides pooled.

    Parameters
    ----------
    X_source, X_target : array-like of shape (n_rows, n_features)
        Numeric rows of both sides, at least two each.
    bandwidth : float, default=1.0
        Factor b on the squared bandwidths, > 0.
    block_size : int, default=1024
        Rows whose distances are held at once: memory is O(block_size · n).

    Returns
    -------
    value : float
        Near 0, also below it, when the sides have one distribution.

    References
    ----------
    Gretton et al., "A kernel two-sample test", 2012, eq. 3; Long et al., "Learning transferable
    features with deep adaptation networks", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.metrics import mmd
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> print(f"{mmd(X[:150], X[150:]):.2f} {mmd(X[:150], X[150:] + 3):.2f}")
    0.01 4.20
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth={bandwidth!r} must be greater than 0.")
    sides = _check_sides(X_source, X_target)
    sides = [s.toarray() if sp.issparse(s) else s.astype(np.float64, copy=False) for s in sides]
    # Far from the origin the expanded square loses all its digits.
    center = np.concatenate(sides).mean(axis=0)
    S, T = (side - center for side in sides)
    n_s, n_t = len(S), len(T)
    n = n_s + n_t
    mean = 2 * (np.square(S).sum() + np.square(T).sum()) / (n - 1)
    widths = 2.0 ** np.arange(-3, 2) * bandwidth * max(mean, np.finfo(float).tiny)
    within_s = (_kernel_sum(S, S, widths, block_size) - n_s * len(widths)) / (n_s * (n_s - 1))
    within_t = (_kernel_sum(T, T, widths, block_size) - n_t * len(widths)) / (n_t * (n_t - 1))
    return float(within_s + within_t - 2 * _kernel_sum(S, T, widths, block_size) / (n_s * n_t))
