"""How the losses of several tasks become one: fixed weights, learned variances, GradNorm."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn

from .._components import register
from ..imbalance.criterion import NON_NEGATIVE, POSITIVE, Buffers

# Adam moves a parameter by about the learning rate a step, whatever its gradient. Log variances
# have further to go than network weights.
_SPEED = 30.0


class TaskWeighting(BaseEstimator):
    """Base class of task weightings. Subclass it and write ``total``.

    Class attributes
    ----------------
    balances_gradients : bool
        Whether ``balance`` is to be called with gradient norms in each step.
    """

    balances_gradients = False

    def build(self, regression, initial):
        """Make the parameters and buffers of one fit.

        Parameters
        ----------
        regression : list of bool
            Kind of each task.
        initial : Tensor of shape (n_tasks,)
            Losses of a network that knows nothing: equal class probabilities, mean of y.

        Returns
        -------
        nn.Module or None
            Trained, moved and saved with the estimator; handed to the other methods as `net`.
        """
        return None

    def total(self, losses, net):
        """Scalar to minimise.

        Parameters
        ----------
        losses : Tensor of shape (n_tasks,)
        net : nn.Module or None

        Returns
        -------
        Tensor of shape ()
        """
        raise TypeError(f"{type(self).__name__} must define total(losses, net).")

    def current(self, net, n_tasks):
        """Weight of each task at the moment, an ndarray of shape (n_tasks,)."""
        return np.ones(n_tasks)

    def balance(self, losses, norms, present, net):
        """Follow a step; without gradient.

        Parameters
        ----------
        losses, norms : Tensors of shape (n_tasks,)
            Losses of the batch and norms of their gradients at the last shared layer.
        present : Tensor of shape (n_tasks,), bool
            Whether the batch has labels of the task.
        net : nn.Module or None
        """


@register("task_weighting", "uniform")
class FixedWeights(TaskWeighting):
    r"""Weights that stay: :math:`\ell = \sum_i w_i L_i / \sum_i w_i`.

    Parameters
    ----------
    weights : array-like of shape (n_tasks,), optional
        :math:`w_i \ge 0`, not all 0; default all alike.

    Examples
    --------
    >>> from adaptlearn.deep import FixedWeights
    >>> FixedWeights([1, 0.5])
    FixedWeights(weights=[1, 0.5])
    """

    _parameter_constraints = {"weights": [None, "array-like"]}

    def __init__(self, weights=None):
        self.weights = weights

    def build(self, regression, initial):
        """The weights, scaled to mean 1."""
        if self.weights is None:
            return None
        try:
            weight = np.asarray(self.weights, dtype=np.float64)
        except (TypeError, ValueError):
            weight = np.empty(0)
        fits = weight.shape == (len(regression),)
        if not fits or not (np.isfinite(weight) & (weight >= 0)).all() or not weight.any():
            raise ValueError(
                f"task_weighting={self.weights!r} must hold one number >= 0 for each of the "
                f"{len(regression)} tasks, not all 0."
            )
        return Buffers(weight=torch.from_numpy(weight / weight.mean()))

    def total(self, losses, net):
        """Weighted mean."""
        return losses.mean() if net is None else (net.weight * losses).mean()

    def current(self, net, n_tasks):
        """The weights, mean 1."""
        return np.ones(n_tasks) if net is None else _array(net.weight)


class _LogVariances(nn.Module):
    """Log variances of the tasks and the factor on each task's precision."""

    def __init__(self, factor):
        super().__init__()
        self.raw = nn.Parameter(torch.zeros(len(factor)))
        self.register_buffer("factor", factor)

    @property
    def log_variance(self):
        return _SPEED * self.raw


@register("task_weighting", "uncertainty")
class UncertaintyWeighting(TaskWeighting):
    r"""Weights by the noise of each task, learned with the network.

    .. math::
        \ell = \frac1T \sum_i \frac{L_i}{c_i \sigma_i^2} + \log \sigma_i, \qquad
        c_i = 2 \text{ in regression}, \; 1 \text{ in classification}

    A task whose loss stays high counts less; :math:`\log \sigma_i` keeps the variances from growing
    without end. What is learned is :math:`\log \sigma_i^2`, from 0 on, thirty times as fast as
    the weights of the network: at their pace it would hardly move in a short fit.

    References
    ----------
    Kendall et al., "Multi-task learning using uncertainty to weigh losses for scene geometry and
    semantics", 2018, eq. 7 and 10. Differs from the paper: the mean over tasks in place of the
    sum, so that one task weighs against an alignment as many do.

    Examples
    --------
    >>> from adaptlearn.deep import UncertaintyWeighting
    >>> UncertaintyWeighting()
    UncertaintyWeighting()
    """

    def build(self, regression, initial):
        """Log variances, all 0."""
        return _LogVariances(torch.where(torch.tensor(regression), 0.5, 1.0))

    def total(self, losses, net):
        """Losses over their variances, plus what keeps these small."""
        s = net.log_variance
        return (net.factor * torch.exp(-s) * losses + s / 2).mean()

    def current(self, net, n_tasks):
        """Factor on each loss."""
        return _array(net.factor * torch.exp(-net.log_variance))


@register("task_weighting", "gradnorm")
class GradNorm(TaskWeighting):
    r"""Weights that let all tasks train at like rates.

    With :math:`G_i = w_i \lVert \nabla L_i \rVert` the size of a task's weighted gradient at the
    last shared layer, and :math:`r_i` the loss left, :math:`L_i / L_i(0)`, over its mean,
    each step moves the logarithms of the weights against the gradient of

    .. math::
        \sum_i \lvert G_i - \bar G r_i^\alpha \rvert, \qquad
        \log w_i \leftarrow
        \log w_i - \eta \, \mathrm{sign}(G_i - \bar G r_i^\alpha) \, G_i / \bar G

    (:math:`\bar G r_i^\alpha` held fixed) and scales the weights to mean 1. A task without a label
    in the batch takes no part. The network learns from :math:`\frac1T \sum_i w_i L_i`.

    Parameters
    ----------
    alpha : float, default=1.5
        :math:`\alpha \ge 0`: how strongly a task that lags behind is pulled up; 0 makes all
        gradients the same size.
    rate : float, default=0.025
        :math:`\eta > 0`.

    Notes
    -----
    One more backward pass per task through the head and the last shared layer. Differs from the
    paper: logarithms move, relative to :math:`\bar G`, so that weights stay positive and the scale
    of a loss does not decide the size of the steps; and :math:`L_i(0)` is the loss of a network
    that knows nothing (:math:`\log K` for cross-entropy), which the paper gives as the choice where
    the first loss is unstable.

    References
    ----------
    Chen et al., "GradNorm: gradient normalization for adaptive loss balancing in deep multitask
    networks", 2018, eq. 1-2 and algorithm 1.

    Examples
    --------
    >>> from adaptlearn.deep import GradNorm
    >>> GradNorm(alpha=0.5)
    GradNorm(alpha=0.5)
    """

    balances_gradients = True

    _parameter_constraints = {"alpha": NON_NEGATIVE, "rate": POSITIVE}

    def __init__(self, alpha=1.5, rate=0.025):
        self.alpha = alpha
        self.rate = rate

    def build(self, regression, initial):
        """Weights, all 1, and the losses of a network that knows nothing."""
        tiny = torch.finfo(initial.dtype).tiny
        return Buffers(weight=torch.ones(len(regression)), initial=initial.clamp_min(tiny))

    def total(self, losses, net):
        """Weighted mean, with the weights as they are before ``balance``."""
        return (net.weight.clone() * losses).mean()

    def current(self, net, n_tasks):
        """The weights, mean 1."""
        return _array(net.weight)

    def balance(self, losses, norms, present, net):
        """One step of the weights."""
        size = net.weight * norms
        tiny = torch.finfo(size.dtype).tiny
        n_present = present.sum().clamp_min(1)
        mean = (size * present).sum() / n_present
        left = losses / net.initial
        left = left / ((left * present).sum() / n_present).clamp_min(tiny)
        slope = torch.sign(size - mean * left**self.alpha) * size / mean.clamp_min(tiny)
        weight = net.weight * torch.exp(-self.rate * slope * present)
        net.weight.copy_(weight * len(weight) / weight.sum())


def _array(tensor):
    return tensor.detach().double().cpu().numpy()
