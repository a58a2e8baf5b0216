"""DELTA: keep the features that matter as they were."""

from __future__ import annotations

from numbers import Integral, Real

import torch

from .._compat import Interval
from .._components import register
from .base import Regularization, evaluating, forget, frozen_copy


@register("regularization", "delta")
class Delta(Regularization):
    r"""Behavioural distance: features stay what they were, those that tell the classes above all.

    .. math::
        \frac{1}{n} \sum_i \sum_j a_j (f_{ij} - f^0_{ij})^2, \qquad
        a = d\; \mathrm{softmax}(e / \mathrm{std}(e)), \qquad
        e_j = (\operatorname{var}(f^0_j) + 2 \rho)\, \lVert b_j \rVert^2

    with f the d features that the head sees and :math:`f^0` those of the network that training
    began from, on the same rows. :math:`e_j` is how much the squared error of a ridge regression b
    (with penalty :math:`\rho`) from :math:`f^0` to the labels grows when feature j is replaced by
    its mean. Weights may move as long as these features do not.

    Parameters
    ----------
    ridge : float, default=0.1
        Penalty > 0 of that regression, in units of the mean variance of a feature.
    max_samples : int, default=2000
        Rows that it is fitted on, at most, >= 2.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    A first fit on a pretrained backbone needs ``bottleneck=None``: features behind a new layer have
    no past.

    Differs from the paper: the features before the head in place of the feature maps of several
    layers; their importance from one ridge regression, in closed form, in place of a trained
    classifier that is run with each channel set to zero; no penalty on the head (the estimator's
    ``weight_decay`` is one).

    References
    ----------
    Li et al., "DELTA: deep learning transfer using feature map with attention for convolutional
    networks", 2019, eq. 4-7.

    Examples
    --------
    >>> from adaptlearn import Delta
    >>> Delta(weight=10.0)
    Delta(weight=10.0)
    """

    _parameter_constraints = {
        **Regularization._parameter_constraints,
        "ridge": [Interval(Real, 0, None, closed="neither")],
        "max_samples": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(self, ridge=0.1, max_samples=2000, weight=1.0):
        self.ridge = ridge
        self.max_samples = max_samples
        self.weight = weight

    def start(self, network, batches=None, loss_fn=None, shared=None):
        """Copy the network and weigh its features."""
        self.old_ = frozen_copy(network)
        features, labels, n = [], [], 0
        with torch.no_grad(), evaluating(network):
            for batch in batches:
                features.append(network(batch.x, batch.segments)[0])
                labels.append(batch.y)
                n += len(batch.y)
                if n >= self.max_samples:
                    break
        self.attention_ = attention(torch.cat(features), torch.cat(labels), self.ridge)

    def loss(self, network, outputs):
        """Weighted squared distance of the features, averaged over the rows."""
        with torch.no_grad():
            old = outputs.run(self.old_)[0]
        distance = (outputs.features - old).square() @ self.attention_.to(old)
        return self.weight * distance.mean()

    def finish(self, network, batches=None, loss_fn=None):
        """Drop the copy."""
        forget(self, "old_", "attention_")


def attention(features, y, ridge):
    """Weight of each feature in the distance, with mean 1."""
    f = features.double() - features.double().mean(0)
    target = y.double()[:, None]
    if not y.is_floating_point():
        target = torch.nn.functional.one_hot(y).double()
    target = target - target.mean(0)
    variance = f.square().mean(0)
    penalty = ridge * variance.mean().clamp_min(torch.finfo(f.dtype).eps)
    covariance = f.T @ f / len(f) + penalty * torch.eye(f.shape[1], dtype=f.dtype, device=f.device)
    coefficients = torch.linalg.solve(covariance, f.T @ target / len(f))
    # The residuals are correlated with feature j by the penalty alone: hence its second part.
    growth = (variance + 2 * penalty) * coefficients.square().sum(1)
    spread = growth.std(correction=0).clamp_min(torch.finfo(f.dtype).tiny)
    return f.shape[1] * (growth / spread).softmax(0)
