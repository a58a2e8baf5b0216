"""Task losses for numbers, one of them for numbers that are rare in places."""

from __future__ import annotations

from numbers import Integral, Real

import torch
import torch.nn.functional as F

from .._compat import Interval
from .._components import register
from .criterion import POSITIVE, Buffers, Criterion


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

    def loss(self, logits, y, progress, net):
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

    _parameter_constraints = {"delta": POSITIVE}

    def __init__(self, delta=1.0):
        self.delta = delta

    def loss(self, logits, y, progress, net):
        """Huber loss of each row."""
        return F.huber_loss(logits.squeeze(1), y, delta=self.delta, reduction="none")


@register("criterion", "density_weighted")
class DensityWeighted(Criterion):
    r"""Squared error weighted by how rare the row's value is.

    .. math::
        \ell = w(y)\, (z - y)^2, \quad w(y) \propto \tilde p(y)^{-\alpha},
        \quad \frac1n \sum_i w(y_i) = 1

    where :math:`\tilde p` is a histogram of the labelled values, smoothed with a Gaussian kernel:
    values near a frequent one are learned with it, though they are rare themselves.

    Parameters
    ----------
    power : float, default=0.5
        :math:`\alpha` in [0, 1]. 0 is the plain loss, 1 gives all parts of the range
        the same weight, which lets a few far values rule.
    n_bins : int, default=100
        Bins from the smallest to the largest value, >= 1.
    bandwidth : float, default=2.0
        Standard deviation of the kernel in bins, > 0.
    delta : float or None, default=None
        Turning point, > 0, of a `Huber` loss in place of the squared error.

    References
    ----------
    Yang et al., "Delving into deep imbalanced regression", 2021 (label distribution smoothing,
    eq. 1). Differs from the paper: bins divide the range of the values (there one per year of
    age), the kernel is not cut off after two bins, and weights are not clipped.

    Examples
    --------
    >>> from adaptlearn.imbalance import DensityWeighted
    >>> DensityWeighted(power=1.0)
    DensityWeighted(power=1.0)
    """

    regression = True
    rebalances = True

    _parameter_constraints = {
        "power": [Interval(Real, 0, 1, closed="both")],
        "n_bins": [Interval(Integral, 1, None, closed="left")],
        "bandwidth": POSITIVE,
        "delta": [None, *POSITIVE],
    }

    def __init__(self, power=0.5, n_bins=100, bandwidth=2.0, delta=None):
        self.power = power
        self.n_bins = n_bins
        self.bandwidth = bandwidth
        self.delta = delta

    def build(self, values):
        """Weight of each bin, from the standardised labelled values."""
        low = high = values.new_zeros(())
        if len(values):
            low, high = values.aminmax()
        # Equal values leave a range of 0: then they all lie in bin 0.
        width = torch.where(high > low, (high - low) / self.n_bins, 1.0)
        net = Buffers(low=low, width=width, weight=values.new_ones(self.n_bins))
        counts = torch.bincount(_bins(values, net), minlength=self.n_bins).to(values.dtype)
        place = torch.arange(self.n_bins, dtype=values.dtype)
        kernel = torch.exp(-((place[:, None] - place) / self.bandwidth).square() / 2)
        density = kernel @ counts
        seen = counts > 0
        # Values beyond the kernel's reach of all rows only come up in held-out rows.
        density = density.clamp_min(density[seen].min() if seen.any() else 1.0)
        weight = density**-self.power
        if seen.any():
            weight = weight * counts.sum() / (counts @ weight)
        net.weight = weight
        return net

    def loss(self, logits, y, progress, net):
        """Weighted loss of each row."""
        z = logits.squeeze(1)
        if self.delta is None:
            values = (z - y).square()
        else:
            values = F.huber_loss(z, y, delta=self.delta, reduction="none")
        return net.weight[_bins(y, net)] * values


def _bins(y, net):
    """Bin of each value; those outside the range belong to the first and the last one."""
    return ((y - net.low) / net.width).long().clamp(0, len(net.weight) - 1)
