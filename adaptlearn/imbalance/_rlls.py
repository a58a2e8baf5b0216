"""Regularised learning under label shift."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

# Of the bound on the noise in C, the share that the authors' experiments use.
_SHARE = 0.01
_FAILURE_PROBABILITY = 0.05
_BISECTIONS = 40


def rlls(joint, marginal, n_source):
    r"""Class ratios from the confusion matrix, held towards w = 1.

    .. math::
        \hat\theta = \arg\min_{\theta \ge -1} \|C \theta - (\mu - C \mathbf 1)\|
        + \rho \|\theta\|, \qquad \hat w = 1 + \hat\theta,

        \rho = 0.01 \cdot 3 \left( \frac{2 \log(2K/\delta)}{3 n_S}
        + \sqrt{\frac{2 \log(2K/\delta)}{n_S}} \right), \quad \delta = 0.05

    :math:`C \mathbf 1` is the *predicted* source marginal, with which no shift gives
    :math:`\theta = 0` however wrong the classifier is. The norms are not squared. The solution is
    that of the ridge regression with :math:`\lambda = \rho \|C\theta - b\| / \|\theta\|`, which is
    found by bisection.

    Parameters
    ----------
    joint, marginal : as in `bbse`
    n_source : float
        Held-out source rows behind C.

    Returns
    -------
    ndarray of shape (n_classes,)

    References
    ----------
    Azizzadenesheli, Liu, Yang, Anandkumar, "Regularized learning for domain adaptation under label
    shifts", ICLR 2019, eq. 4. The constants are those of the authors' code.
    """
    n_classes = len(marginal)
    log_term = 2 * np.log(2 * n_classes / _FAILURE_PROBABILITY) / n_source
    rho = _SHARE * 3 * (log_term / 3 + np.sqrt(log_term))

    def ridge(strength):
        """Ratio of the ridge regression, and whether the strength is at least the one sought."""
        root = np.sqrt(strength) * np.eye(n_classes)
        ratio = nnls(np.vstack([joint, root]), np.concatenate([marginal, root.sum(0)]))[0]
        residual, theta = np.linalg.norm(joint @ ratio - marginal), np.linalg.norm(ratio - 1)
        return ratio, strength * theta >= rho * residual

    low, high = -24.0, 4.0  # powers of ten; outside, the ridge is nothing or everything
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if ridge(10.0**middle)[1] else (middle, high)
    return ridge(10.0**high)[0] if high < 3.9 else np.ones(n_classes)
