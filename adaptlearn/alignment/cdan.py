"""CDAN: a domain discriminator on features jointly with predicted classes."""

from __future__ import annotations

import math
from numbers import Integral

import torch
from torch import nn

from .._compat import Interval
from .._components import register
from .base import WIDTH, Alignment, discriminator, ramp, reverse_gradient
from .dann import domain_loss


def entropy(p):
    """Shannon entropy of each row of probabilities, in nats; 0 log 0 = 0."""
    return torch.special.entr(p).sum(1)


class _Conditioning(nn.Module):
    """vec(p ⊗ f), or its random projection when that is too wide, and a discriminator on it."""

    def __init__(self, n_features, n_classes, hidden, random_dim, max_dim, generator):
        super().__init__()
        self.random = n_features * n_classes > max_dim
        width = random_dim if self.random else n_features * n_classes
        if self.random:
            # Buffers: drawn once from the estimator's generator, saved and moved with the model.
            feature_map = torch.randn(n_features, random_dim, generator=generator)
            class_map = torch.randn(n_classes, random_dim, generator=generator)
            self.register_buffer("feature_map", feature_map)
            self.register_buffer("class_map", class_map)
        self.critic = discriminator(width, hidden)

    def forward(self, features, p):
        if self.random:
            joint = (features @ self.feature_map) * (p @ self.class_map)
            return self.critic(joint / math.sqrt(joint.shape[1]))
        return self.critic((p[:, :, None] * features[:, None, :]).flatten(1))


@register("alignment", "cdan")
class CDAN(Alignment):
    r"""Conditional domain-adversarial training, with entropy weights (CDAN+E).

    As `DANN`, but the discriminator sees :math:`\mathrm{vec}(p \otimes f)`, class probabilities p
    (detached) times features f. When that has more than `max_dim` columns it is replaced by the
    random map :math:`(R_f f \odot R_p p) / \sqrt{D}`. Rows that the classifier is sure about count
    more: weight :math:`1 + e^{-H(p)}` (detached), normalised within each domain.

    Parameters
    ----------
    hidden : int, default=256
        Width of the discriminator's two hidden layers.
    entropy_weight : bool, default=True
        Whether confident rows count more (the "+E").
    random_dim : int, default=1024
        Width D of the random map.
    max_dim : int, default=4096
        Largest number of classes times features without the random map.
    weight : float, default=1.0
        Weight on the reversed gradient, >= 0.

    References
    ----------
    Long et al., "Conditional adversarial domain adaptation", 2018, eq. 5-9.

    Examples
    --------
    >>> from adaptlearn import CDAN
    >>> CDAN(entropy_weight=False)
    CDAN(entropy_weight=False)
    """

    adversarial = True
    needs_classes = True

    _parameter_constraints = {
        **Alignment._parameter_constraints,
        "hidden": WIDTH,
        "entropy_weight": ["boolean"],
        "random_dim": WIDTH,
        "max_dim": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, hidden=256, entropy_weight=True, random_dim=1024, max_dim=4096, weight=1.0):
        self.hidden = hidden
        self.entropy_weight = entropy_weight
        self.random_dim = random_dim
        self.max_dim = max_dim
        self.weight = weight

    def build(self, n_features, n_classes, class_counts, n_domains, generator):
        """Conditioning map and discriminator."""
        return _Conditioning(
            n_features, n_classes, self.hidden, self.random_dim, self.max_dim, generator
        )

    def loss(self, source, target, step, net):
        """Discriminator loss; features get its gradient reversed times lambda."""
        scale = step.weight * ramp(step.progress)
        logits, weights = [], []
        for side in (source, target):
            p = side.logits.detach().softmax(1)
            sure = 1 + torch.exp(-entropy(p)) if self.entropy_weight else torch.ones_like(p[:, 0])
            logits.append(net(reverse_gradient(side.features, scale), p))
            weights.append(side.weight * sure)
        return domain_loss(*logits, *weights)
