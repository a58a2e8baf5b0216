"""DANN: features that a domain discriminator cannot tell apart."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from .._compat import StrOptions
from .._components import register
from .base import (
    WIDTH,
    Alignment,
    attached_zero,
    discriminator,
    ramp,
    reverse_gradient,
    shares,
)


def domain_loss(source_logit, target_logit, source_weight, target_weight):
    """Binary cross-entropy of source (1) against target (0); each side counts one half."""
    source = F.softplus(-source_logit).squeeze(1) @ shares(source_weight)
    target = F.softplus(target_logit).squeeze(1) @ shares(target_weight)
    return (source + target) / 2


@register("alignment", "dann")
class DANN(Alignment):
    r"""Domain-adversarial training through gradient reversal.

    A discriminator D learns to tell source from target features; the network below receives its
    gradient reversed and multiplied by

    .. math:: \lambda = w \left(\frac{2}{1 + e^{-10 p}} - 1\right)

    with progress p of this fit from 0 to 1 and weight w. The discriminator itself learns with its
    full gradient. The loss is the binary cross-entropy, source and target counting one half each
    whatever their numbers of rows.

    Parameters
    ----------
    hidden : int, default=256
        Width of the discriminator's two hidden layers.
    domains : {"pooled", "each"}, default="pooled"
        "pooled": one discriminator, all sources against all targets. "each": one for every
        pair of a source and a target domain, averaged.
    weight : float, default=1.0
        Weight on the reversed gradient, >= 0.

    References
    ----------
    Ganin et al., "Domain-adversarial training of neural networks", 2016, eq. 13-18;
    Zhao et al., "Adversarial multiple source domain adaptation", 2018 (``domains="each"``).

    Examples
    --------
    >>> from adaptlearn import DANN
    >>> DANN(hidden=64, domains="each")
    DANN(domains='each', hidden=64)
    """

    adversarial = True

    _parameter_constraints = {
        **Alignment._parameter_constraints,
        "hidden": WIDTH,
        "domains": [StrOptions({"pooled", "each"})],
    }

    def __init__(self, hidden=256, domains="pooled", weight=1.0):
        self.hidden = hidden
        self.domains = domains
        self.weight = weight

    def build(self, n_features, n_classes, class_counts, n_domains, generator):
        """One discriminator, or one for each pair of domains."""
        n_pairs = 1 if self.domains == "pooled" else n_domains[0] * n_domains[1]
        nets = nn.ModuleList(discriminator(n_features, self.hidden) for _ in range(n_pairs))
        nets.n_sources = n_domains[0]
        return nets

    def loss(self, source, target, step, net):
        """Discriminator loss; features get its gradient reversed times lambda."""
        scale = step.weight * ramp(step.progress)
        fs = reverse_gradient(source.features, scale)
        ft = reverse_gradient(target.features, scale)
        if self.domains == "pooled":
            return domain_loss(net[0](fs), net[0](ft), source.weight, target.weight)
        losses = []
        for k, critic in enumerate(net):
            s = source.domain == k % net.n_sources
            t = target.domain == net.n_sources + k // net.n_sources
            if s.any() and t.any():
                losses.append(
                    domain_loss(critic(fs[s]), critic(ft[t]), source.weight[s], target.weight[t])
                )
        return sum(losses) / len(losses) if losses else attached_zero(fs, ft)
