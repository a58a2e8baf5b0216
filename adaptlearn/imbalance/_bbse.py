"""Black-box shift estimation."""

from __future__ import annotations

import numpy as np


def bbse(joint, marginal):
    r"""Class ratios that turn the source's predicted marginal into the target's.

    .. math:: \hat w = \max(0, C^{-1} \mu)

    with :math:`C_{ij} = p_S(\hat y = i, y = j)` and :math:`\mu_i = p_T(\hat y = i)`. Where C is
    singular, the solution nearest to w = 1 is taken: classes that the classifier cannot tell apart
    keep a common ratio.

    Parameters
    ----------
    joint : ndarray of shape (n_classes, n_classes)
        C, from held-out source rows.
    marginal : ndarray of shape (n_classes,)
        :math:`\mu`, from target rows.

    Returns
    -------
    ndarray of shape (n_classes,)

    References
    ----------
    Lipton, Wang, Smola, "Detecting and correcting for label shift with black box predictors",
    ICML 2018.
    """
    ones = np.ones(len(marginal))
    moved = np.linalg.lstsq(joint, marginal - joint @ ones, rcond=1e-10)[0]
    return np.maximum(ones + moved, 0.0)
