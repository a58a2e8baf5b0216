"""Class ratios of maximum likelihood, and their noise."""

from __future__ import annotations

import numpy as np

from ._calibration import together

_MAX_STEPS = 2000
_TOLERANCE = 1e-7
_AT_BOUND = 1e-4


def em_step(ratio, proba, prior, weight):
    r"""One step of expectation maximisation for the target's class proportions.

    .. math::
        q_y \leftarrow \sum_i \omega_i
        \frac{w_y\, p_S(y \mid x_i)}{\sum_k w_k\, p_S(k \mid x_i)}, \qquad w_y = q_y / p_S(y)

    Parameters
    ----------
    ratio : ndarray of shape (n_classes,)
        w, the current ratios.
    proba : ndarray of shape (n_target, n_classes)
        Calibrated predictions under the source prior.
    prior : ndarray of shape (n_classes,)
        Source prior.
    weight : ndarray of shape (n_target,)
        Weights of the rows, sum 1.

    Returns
    -------
    ndarray of shape (n_classes,)
        New ratios; ``weight @ log(proba @ ratio)`` never falls.
    """
    return ratio * ((weight / (proba @ ratio)) @ proba) / prior


def mlls(proba, prior, weight):
    r"""Class ratios under which the target rows are most likely.

    .. math::
        \max_w \sum_i \omega_i \log \sum_y w_y\, p_S(y \mid x_i)
        \quad \text{with} \quad w \ge 0,\; p_S^\top w = 1

    solved by expectation maximisation from w = 1. Every second step is extrapolated (SQUAREM) where
    that does not lower the likelihood.

    Parameters
    ----------
    proba, prior, weight : as in `em_step`

    Returns
    -------
    ndarray of shape (n_classes,)

    References
    ----------
    Saerens, Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure", Neural Computation 2002. Varadhan, Roland, "Simple and
    globally convergent methods for accelerating the convergence of any EM algorithm", 2008.
    """
    ratio = np.ones(len(prior))
    for _ in range(_MAX_STEPS):
        once = em_step(ratio, proba, prior, weight)
        twice = em_step(once, proba, prior, weight)
        first, second = once - ratio, twice - 2 * once + ratio
        if np.abs(twice - once).max() < _TOLERANCE:
            return twice
        length = max(1.0, np.linalg.norm(first) / max(np.linalg.norm(second), 1e-300))
        leap = ratio + 2 * length * first + length**2 * second
        leap = np.maximum(leap, 0.01 * twice)  # EM never leaves a ratio of 0
        leap = em_step(leap / (leap @ prior), proba, prior, weight)
        better = weight @ np.log(proba @ leap) >= weight @ np.log(proba @ twice)
        ratio = leap if better else twice
    return ratio


def mlls_covariance(
    ratio, log_source, source, codes, source_weight, log_target, target, *, kind="bcts"
):
    r"""Covariance of the ratios of calibrated maximum likelihood, for many rows.

    With :math:`r_i = p(\cdot \mid x_i) / \sum_k w_k p(k \mid x_i)`, the ratios solve
    :math:`\overline{r} = p_S` over target rows. Calibration and source prior are themselves
    estimates from the source, so that

    .. math::
        \hat w - w \approx H^{-1} \big( \overline{r - p_S}
        - \overline{J A^{-1} \psi} - \overline{(e_y - p_S)} \big), \quad
        H = \overline{r r^\top}

    where :math:`\psi` and A are gradient and mean Hessian of the calibration loss in (a, b), and J
    is the derivative of :math:`\overline{r}` in the same (M-estimation).

    Parameters
    ----------
    ratio : ndarray of shape (n_classes,)
    log_source, log_target : ndarrays of shape (n_rows, n_classes)
        Logarithms of the predictions before calibration.
    source, target : ndarrays of shape (n_rows, n_classes)
        Calibrated predictions.
    codes, source_weight : ndarrays of shape (n_source,)
        Weights have sum 1.
    kind : {"bcts", "vector"}, default="bcts"
        How the predictions were calibrated.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
    """
    n_target, n_classes = target.shape
    r = target / (target @ ratio)[:, None]
    identity = np.eye(n_classes)
    label = identity[codes]
    from_source = -(label - source_weight @ label)
    # Gradient and Hessian with one scale a class; columns: scales, then biases.
    error, both = source - label, [source * log_source, source]
    psi = np.hstack([error * log_source, error])
    outer = np.hstack(both)
    hessian = -outer.T @ (outer * source_weight[:, None])
    posterior, target_columns = r * ratio, [log_target, np.ones_like(target)]
    jacobian = [
        np.diag((r * column).mean(0)) - r.T @ (posterior * column) / n_target
        for column in target_columns
    ]
    jacobian = np.hstack(jacobian)
    scales, biases = np.arange(n_classes), np.arange(n_classes) + n_classes
    hessian[scales, scales] += source_weight @ (both[0] * log_source)
    hessian[biases, biases] += source_weight @ source
    hessian[scales, biases] += source_weight @ both[0]
    hessian[biases, scales] += source_weight @ both[0]
    if kind == "vector":
        hessian[:n_classes, :n_classes] += together(source_weight) * (identity - 1 / n_classes)
    else:  # all classes have the one scale
        common = np.zeros((2 * n_classes, n_classes + 1))
        common[scales, 0] = common[biases, 1 + scales] = 1.0
        psi, jacobian = psi @ common, jacobian @ common
        hessian = common.T @ hessian @ common
    # The bias is known up to a constant, hence the pseudo-inverse.
    from_source = from_source - psi @ np.linalg.pinv(hessian, rcond=1e-10).T @ jacobian.T
    from_source = from_source * source_weight[:, None]
    from_target = (r - r.mean(0)) / n_target
    spread = from_source.T @ from_source + from_target.T @ from_target
    # A ratio of zero is at its bound, and the others are as if its class were not there.
    free = ratio > _AT_BOUND
    curvature = (r.T @ r / n_target)[np.ix_(free, free)]
    # The ridge keeps directions that the data do not settle very uncertain, not certain.
    curvature[np.diag_indices(len(curvature))] += 1e-9 * np.trace(curvature)
    inverse = np.linalg.inv(curvature)
    covariance = np.zeros((n_classes, n_classes))
    covariance[np.ix_(free, free)] = inverse @ spread[np.ix_(free, free)] @ inverse
    return covariance
