"""LDAM: larger margins for rarer classes, re-weighted late."""

from __future__ import annotations

from numbers import Real

import torch.nn.functional as F

from .._compat import Interval
from .._components import register
from .class_balanced import BETA, effective_number_weights, reweighted
from .criterion import NON_NEGATIVE, POSITIVE, Buffers, Criterion


@register("criterion", "ldam")
class LDAM(Criterion):
    r"""Label-distribution-aware margin loss with deferred re-weighting.

    .. math::
        \ell = v_y \, \mathrm{CE}(s\,(\cos\theta - \Delta_y e_y),\, y), \quad
        \Delta_c \propto n_c^{-1/4}, \quad \max_c \Delta_c = m

    where :math:`\cos\theta` are the cosines between the features and the weights of each class.
    The weights :math:`v` are 1 at first. From the share ``reweight_from`` of the training on they
    are those of `ClassBalanced`, scaled to mean 1 over the training rows, so that the loss does
    not shrink against the alignments when they set in.

    The network gets a cosine head: its logits are :math:`s \cos\theta`, without a bias. The scale
    is part of the head, the margin of the loss alone. So ``predict_proba`` is the softmax of
    :math:`s \cos\theta`, and alignments read the same logits.

    Parameters
    ----------
    scale : float, default=30.0
        s > 0, on the cosines.
    max_margin : float, default=0.5
        m >= 0, margin of the rarest class, in units of the cosine.
    reweight_from : float, default=0.8
        Share of the training, in [0, 1], after which classes are re-weighted; 1 never does. Each
        ``partial_fit`` is a training of its own.
    beta : float, default=0.99
        :math:`\beta` of `ClassBalanced`, in [0, 1).

    Notes
    -----
    There is no label smoothing, as in the paper: smoothing works against the margin.

    References
    ----------
    Cao et al., "Learning imbalanced datasets with label-distribution-aware margin loss", 2019,
    eq. 10, 13 and algorithm 1. Differs from the paper: re-weighting starts at a share of the
    training, and beta is .99 (.9999 in the authors' code, for larger data).

    Examples
    --------
    >>> from adaptlearn.imbalance import LDAM
    >>> LDAM(max_margin=0.3)
    LDAM(max_margin=0.3)
    """

    rebalances = True
    cosine_head = True

    _parameter_constraints = {
        "scale": POSITIVE,
        "max_margin": NON_NEGATIVE,
        "reweight_from": [Interval(Real, 0, 1, closed="both")],
        "beta": BETA,
    }

    def __init__(self, scale=30.0, max_margin=0.5, reweight_from=0.8, beta=0.99):
        self.scale = scale
        self.max_margin = max_margin
        self.reweight_from = reweight_from
        self.beta = beta

    def build(self, class_counts):
        """Margins and late weights of one fit."""
        counts = class_counts.double()
        rarest = counts[counts > 0].min()
        margin = self.max_margin * (counts.clamp_min(rarest) / rarest) ** -0.25
        weight = effective_number_weights(class_counts, self.beta)
        return Buffers(margin=margin, weight=weight * counts.sum() / (weight @ counts))

    def loss(self, logits, y, progress, net):
        """Margin loss of each row."""
        margin = self.scale * net.margin[y].to(logits.dtype)
        values = F.cross_entropy(
            logits.scatter_add(1, y[:, None], -margin[:, None]), y, reduction="none"
        )
        return values * net.weight[y] if self._reweights(progress) else values

    def trained_prior(self, sampled, class_counts):
        """Proportions of the drawn rows times the late weights of their classes."""
        if not self._reweights(1.0):
            return sampled
        return reweighted(sampled, effective_number_weights(class_counts, self.beta).numpy())

    def _reweights(self, progress):
        return self.reweight_from < 1 and progress >= self.reweight_from
