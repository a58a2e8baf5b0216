"""Mixup, by default with partners from all classes alike."""

from __future__ import annotations

import torch

from .._components import register
from .criterion import POSITIVE
from .mixing import Mixed, Mixing, draw_partners, even_in_batches, mix_pairs, symmetric_beta


@register("mixing", "mixup")
class Mixup(Mixing):
    r"""Each row is mixed with a partner, and so are their losses.

    .. math::
        \tilde f = (1 - \lambda) f_i + \lambda f_j, \quad
        \ell = (1 - \lambda)\, \ell(\tilde f, y_i) + \lambda\, \ell(\tilde f, y_j)

    The partner j is drawn from the labelled rows of the batch: if `balanced`, first a class of
    those that occur, then a row of it, and :math:`\lambda \sim \mathrm{Beta}(\alpha, 1)`, of mean
    :math:`\alpha / (1 + \alpha)`. The rows as drawn keep the batch, and rare classes are mixed in.
    Otherwise any row may be the partner, and :math:`\lambda` is the smaller part of
    :math:`\mathrm{Beta}(\alpha, \alpha)`.

    Parameters
    ----------
    alpha : float, default=1.0
        :math:`\alpha > 0`; more mixes more, and with `balanced` favours rare classes more: at 1
        half of each label, on average, is even. Galdran et al. use .1 to .3, in longer trainings.
    balanced : bool, default=True
        Whether partners come from all classes of the batch alike. Then it rebalances; without, it
        smooths only.

    Notes
    -----
    A row counts by its own weight, and partners are drawn in proportion to theirs.

    References
    ----------
    Galdran et al., "Balanced-MixUp for highly imbalanced medical image classification", 2021.
    Zhang et al., "mixup: beyond empirical risk minimization", 2018. Verma et al., "Manifold
    mixup", 2019. Differs from the papers: features are mixed instead of inputs (Verma et al. mix
    at a random layer, here it is always the last one), partners come from the batch, and each row
    has a :math:`\lambda` of its own.

    Examples
    --------
    >>> from adaptlearn import DomainAdaptationClassifier, Mixup
    >>> Mixup(balanced=False)
    Mixup(balanced=False)
    >>> DomainAdaptationClassifier(mixing="mixup").set_params(mixing__alpha=0.4).mixing
    Mixup(alpha=0.4)
    """

    _parameter_constraints = {"alpha": POSITIVE, "balanced": ["boolean"]}

    def __init__(self, alpha=1.0, balanced=True):
        self.alpha = alpha
        self.balanced = balanced

    @property
    def rebalances(self):
        """Whether rare classes count more."""
        return bool(self.balanced)

    def mix(self, features, y, weight, net):
        """Every row with its partner."""
        partner = draw_partners(y, weight, self.balanced)
        if self.balanced:  # the inverse of Beta's distribution function, x ** alpha
            share = 1 - torch.rand(len(y), device=y.device) ** (1 / self.alpha)
        else:
            share = symmetric_beta(self.alpha, y)
            share = torch.maximum(share, 1 - share)
        mixed = mix_pairs(features, partner, share)
        return Mixed(mixed, y, y[partner], share, weight)

    def sampled_prior(self, sampled, class_counts, batch_size):
        r"""A share :math:`\alpha / (1 + \alpha)` of what is even within batches."""
        if not self.balanced:
            return sampled
        part = self.alpha / (1 + self.alpha)
        return (1 - part) * sampled + part * even_in_batches(sampled, batch_size)
