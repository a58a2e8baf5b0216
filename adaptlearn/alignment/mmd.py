"""MMD and joint MMD: match distributions through kernels."""

from __future__ import annotations

import torch

from .._components import register
from .base import POSITIVE, Alignment, attached_zero, pair_mass, shares


def squared_distances(x):
    """Pairwise squared Euclidean distances of the rows of `x`, (n, n) memory.

    Rows are centred first: the expanded square of raw features loses all digits far from zero.
    """
    x = x - x.detach().mean(0)
    norms = x.square().sum(1)
    return (norms[:, None] + norms[None, :] - 2 * (x @ x.T)).clamp_min(0)


class _KernelSum(torch.autograd.Function):
    """Sum of exp(-2^i d / (2 widest)), i from 0 to 4, that keeps one matrix for its gradient.

    Each kernel is the square of the next wider one, so that a single exponential is taken; left to
    autograd, every one of them would be kept.
    """

    @staticmethod
    def forward(ctx, distances, widest):
        kernel = torch.exp(distances / (-2.0 * widest))
        total, slope = kernel.clone(), kernel.clone()
        for i in range(1, 5):
            kernel.square_()
            total += kernel
            slope.add_(kernel, alpha=2.0**i)
        ctx.save_for_backward(slope.div_(-2.0 * widest))
        return total

    @staticmethod
    def backward(ctx, gradient):
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


def multi_kernel(distances, bandwidth=1.0):
    r"""Sum of Gaussian kernels with :math:`\sigma_j^2 = 2^j b \bar d`, j from -3 to 1."""
    n = len(distances)
    mean = distances.detach().sum() / (n * n - n)
    # Collapsed features: a bandwidth below rounding error would blow the gradient up.
    widest = 2.0 * bandwidth * mean.clamp_min(torch.finfo(mean.dtype).eps)
    return _KernelSum.apply(distances, widest)


def weighted_mmd(kernel, source_weight, target_weight):
    r"""Unbiased squared MMD from the kernel of stacked source and target rows.

    Within-domain terms leave out the diagonal and divide by :math:`\sum_{i \ne j} w_i w_j`.
    """
    n = len(source_weight)
    w, v = shares(source_weight), shares(target_weight)
    # One product with both sides' shares: sums over blocks would each leave a full gradient.
    sums = kernel @ torch.block_diag(w[:, None], v[:, None])
    diagonal = kernel.detach().diagonal()  # a row's distance to itself has no gradient
    within = 0.0
    for share, column, own in ((w, sums[:n, 0], diagonal[:n]), (v, sums[n:, 1], diagonal[n:])):
        within = within + (share @ column - share.square() @ own) / pair_mass(share)
    return within - 2 * (w @ sums[:n, 1])


class _KernelAlignment(Alignment):
    """Weighted unbiased MMD of a kernel over stacked rows."""

    def _kernel(self, source, target):
        return multi_kernel(
            squared_distances(torch.cat([source.features, target.features])), self.bandwidth
        )

    def loss(self, source, target, step, net):
        """Unbiased squared MMD of the batch; zero with fewer than two rows on a side."""
        if min(len(source.features), len(target.features)) < 2:
            return attached_zero(source.features, target.features)
        return weighted_mmd(self._kernel(source, target), source.weight, target.weight)


@register("alignment", "mmd")
class MMD(_KernelAlignment):
    r"""Multi-kernel maximum mean discrepancy of the features (DAN).

    .. math::
        \ell = E[k(s, s')] + E[k(t, t')] - 2 E[k(s, t)], \qquad
        k(a, b) = \sum_{j=-3}^{1} \exp\!\left(-\frac{\lVert a - b\rVert^2}{2 \sigma_j^2}\right)

    with :math:`\sigma_j^2 = 2^j b\, \bar d`, :math:`\bar d` the mean squared distance over pooled
    source and target rows of the batch (detached). The within-domain expectations are unbiased
    (i != j); with row weights they divide by :math:`\sum_{i \ne j} w_i w_j`.

    Parameters
    ----------
    bandwidth : float, default=1.0
        Factor b on the squared bandwidths, > 0.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    Memory is O(n²) in the rows of a batch, whatever the number of features. Differs from the
    paper: kernel weights are equal, not learned.

    References
    ----------
    Long et al., "Learning transferable features with deep adaptation networks", 2015, eq. 1-4;
    Gretton et al., "A kernel two-sample test", 2012, eq. 3.

    Examples
    --------
    >>> from adaptlearn import DomainAdaptationClassifier
    >>> clf = DomainAdaptationClassifier().set_params(alignment="mmd", alignment__bandwidth=0.5)
    >>> clf.alignment
    MMD(bandwidth=0.5)
    """

    _parameter_constraints = {**Alignment._parameter_constraints, "bandwidth": POSITIVE}

    def __init__(self, bandwidth=1.0, weight=1.0):
        self.bandwidth = bandwidth
        self.weight = weight


@register("alignment", "jmmd")
class JMMD(_KernelAlignment):
    r"""Joint MMD of features and predicted classes (JAN).

    The kernel is the product of the multi-kernel of `MMD` on features and one Gaussian on the
    class probabilities p:

    .. math::
        k = k_{\text{MMD}}(f, f')\, \exp\!\left(-\frac{\lVert p - p'\rVert^2}{2 \sigma^2}\right)

    Parameters
    ----------
    bandwidth : float, default=1.0
        Factor on the squared bandwidths of the feature kernel, > 0.
    softmax_bandwidth : float, default=0.92
        :math:`\sigma` of the kernel on probabilities, > 0.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    Differs from the paper: unbiased quadratic estimate instead of the linear one.

    References
    ----------
    Long et al., "Deep transfer learning with joint adaptation networks", 2017, eq. 6-9.

    Examples
    --------
    >>> from adaptlearn import JMMD
    >>> JMMD(weight=0.5)
    JMMD(weight=0.5)
    """

    needs_classes = True

    _parameter_constraints = {**MMD._parameter_constraints, "softmax_bandwidth": POSITIVE}

    def __init__(self, bandwidth=1.0, softmax_bandwidth=0.92, weight=1.0):
        self.bandwidth = bandwidth
        self.softmax_bandwidth = softmax_bandwidth
        self.weight = weight

    def _kernel(self, source, target):
        p = torch.cat([source.logits, target.logits]).softmax(1)
        joint = torch.exp(squared_distances(p) / (-2.0 * self.softmax_bandwidth**2))
        return super()._kernel(source, target) * joint
