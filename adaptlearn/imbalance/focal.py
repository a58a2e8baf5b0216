"""Focal loss: rows that are already right count less."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .._components import register
from .criterion import NON_NEGATIVE, Criterion


@register("criterion", "focal")
class Focal(Criterion):
    r"""Focal loss :math:`-(1 - p_y)^\gamma \log p_y`.

    A row that is predicted with confidence counts less, so that the many easy rows of frequent
    classes do not drown the rest. :math:`p_y` is the plain softmax: weights of classes or rows
    multiply the loss of a row and never enter its focus.

    The loss does not rebalance: it knows of no class proportions. Its probabilities belong to the
    drawn proportions as those of cross-entropy do, but are less sure: it is flat near certainty.

    Parameters
    ----------
    gamma : float, default=2.0
        :math:`\gamma \ge 0`; 0 is cross-entropy. There is no label smoothing: the focus keeps
        the network from certainty already, and the paper has none.

    References
    ----------
    Lin et al., "Focal loss for dense object detection", 2017, eq. 4. Differs from the paper: the
    softmax of K classes stands for the sigmoid of two.

    Examples
    --------
    >>> from adaptlearn.imbalance import Focal
    >>> Focal(gamma=1.0)
    Focal(gamma=1.0)
    """

    _parameter_constraints = {"gamma": NON_NEGATIVE}

    def __init__(self, gamma=2.0):
        self.gamma = gamma

    def loss(self, logits, y, progress, net):
        """Focal loss of each row."""
        focus = (self.gamma * log_rest(logits, y)).exp()
        return focus * F.cross_entropy(logits, y, reduction="none")


def log_rest(logits, y):
    r""":math:`\log(1 - p_y)` of each row, shape (n,).

    Taken from the other logits: :math:`1 - p_y` itself rounds to 0 for a sure row, where the
    gradient of a power below 1 is infinite.
    """
    others = logits.scatter(1, y[:, None], float("-inf"))
    return torch.logsumexp(others, 1) - torch.logsumexp(logits, 1)
