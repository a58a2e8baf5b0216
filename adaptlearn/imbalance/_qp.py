"""Constrained least squares for class ratios."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

# Weight of the row that holds the sum of the target prior at 1.
_PENALTY = 1e3


def qp(joint, marginal):
    r"""Class ratios from the confusion matrix, as a quadratic program.

    .. math:: \min_w \|C w - \mu\|^2 \quad \text{with} \quad w \ge 0,\; p_S^\top w = 1

    The source prior :math:`p_S` is the column sums of C.

    Parameters
    ----------
    joint, marginal : as in `bbse`

    Returns
    -------
    ndarray of shape (n_classes,)
    """
    prior = joint.sum(0)
    # A trace of a ridge towards w = 1 chooses among solutions where C is singular.
    ridge = 1e-8 * np.eye(len(prior))
    matrix = np.vstack([joint, _PENALTY * prior, ridge])
    ratio = nnls(matrix, np.concatenate([marginal, [_PENALTY], ridge.sum(0)]))[0]
    return ratio / (ratio @ prior)
