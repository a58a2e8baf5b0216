"""MCC: classes that the classifier does not confuse on the target."""

from __future__ import annotations

import torch

from .._components import register
from .base import POSITIVE, Alignment, shares
from .cdan import entropy


@register("alignment", "mcc")
class MCC(Alignment):
    r"""Minimum class confusion on target rows.

    .. math::
        p = \mathrm{softmax}(z / T), \quad
        C = p^\top \mathrm{diag}(w)\, p, \quad
        \ell = \frac{1}{K} \sum_{j} \frac{\sum_{k \ne j} C_{jk}}{\sum_k C_{jk}}

    with entropy weights :math:`w_i \propto 1 + e^{-H(p_i)}`, mean 1 and detached. No adversary and
    no source rows enter, so it is stable and works with any number of rows.

    Parameters
    ----------
    temperature : float, default=2.5
        T > 0; softens probabilities so that the confusion shows.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    References
    ----------
    Jin et al., "Minimum class confusion for versatile domain adaptation", 2020, eq. 2-6.

    Examples
    --------
    >>> from adaptlearn import MCC
    >>> MCC(weight=0.5)
    MCC(weight=0.5)
    """

    needs_classes = True

    _parameter_constraints = {**Alignment._parameter_constraints, "temperature": POSITIVE}

    def __init__(self, temperature=2.5, weight=1.0):
        self.temperature = temperature
        self.weight = weight

    def loss(self, source, target, step, net):
        """Share of class confusion, averaged over classes."""
        p = (target.logits / self.temperature).softmax(1)
        w = shares(target.weight * (1 + torch.exp(-entropy(p.detach()))))  # their scale cancels
        confusion = (p * w[:, None]).T @ p
        # A class whose probability underflows in every row has no confusion, not NaN.
        confusion = confusion / confusion.sum(1, keepdim=True).clamp_min(1e-12)
        return (confusion.sum() - confusion.trace()) / len(confusion)
