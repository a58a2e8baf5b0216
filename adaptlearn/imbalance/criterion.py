"""Task losses on labelled rows."""

from __future__ import annotations

from numbers import Real

import torch.nn.functional as F
from sklearn.base import BaseEstimator

from .._compat import Interval
from .._components import register


class Criterion(BaseEstimator):
    """Base class of task losses; subclass it and write ``loss``.

    Class attributes
    ----------------
    regression : bool
        Whether y holds numbers (shape (n, 1) like the output) instead of class codes.
    """

    regression = False

    def build(self, class_counts):
        """Make buffers of one fit from the labelled rows per class; None when there are none."""
        return None

    def loss(self, logits, y, net):
        """Loss of each row, unreduced, shape (n,).

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes) or (n, 1)
        y : Tensor of shape (n,)
            int64 class codes, or floats in regression.
        net : nn.Module or None
            What ``build`` returned.
        """
        raise TypeError(f"{type(self).__name__} must define loss(logits, y, net).")


@register("criterion", "cross_entropy")
class CrossEntropy(Criterion):
    r"""Cross-entropy of the softmax, :math:`-\sum_k q_k \log p_k`.

    Parameters
    ----------
    label_smoothing : float, default=0.1
        :math:`\epsilon` in [0, 1): the target is :math:`q = (1 - \epsilon)\, e_y + \epsilon / K`.

    Examples
    --------
    >>> from adaptlearn.imbalance import CrossEntropy
    >>> CrossEntropy(label_smoothing=0.2)
    CrossEntropy(label_smoothing=0.2)
    """

    _parameter_constraints = {"label_smoothing": [Interval(Real, 0, 1, closed="left")]}

    def __init__(self, label_smoothing=0.1):
        self.label_smoothing = label_smoothing

    def loss(self, logits, y, net):
        """Cross-entropy of each row."""
        return F.cross_entropy(logits, y, label_smoothing=self.label_smoothing, reduction="none")


@register("criterion", "mse")
class MeanSquaredError(Criterion):
    r"""Squared error :math:`(z - y)^2` of the standardised target value.

    Examples
    --------
    >>> from adaptlearn.imbalance import MeanSquaredError
    >>> MeanSquaredError()
    MeanSquaredError()
    """

    regression = True

    def loss(self, logits, y, net):
        """Squared error of each row."""
        return (logits.squeeze(1) - y).square()


@register("criterion", "huber")
class Huber(Criterion):
    r"""Huber loss: :math:`r^2 / 2` up to :math:`\delta`, :math:`\delta(|r| - \delta / 2)` beyond.

    Parameters
    ----------
    delta : float, default=1.0
        Turning point, > 0, in standard deviations of the source's y.

    Examples
    --------
    >>> from adaptlearn.imbalance import Huber
    >>> Huber(delta=1.35)
    Huber(delta=1.35)
    """

    regression = True

    _parameter_constraints = {"delta": [Interval(Real, 0, None, closed="neither")]}

    def __init__(self, delta=1.0):
        self.delta = delta

    def loss(self, logits, y, net):
        """Huber loss of each row."""
        return F.huber_loss(logits.squeeze(1), y, delta=self.delta, reduction="none")
