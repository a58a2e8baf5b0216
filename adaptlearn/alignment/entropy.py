"""Entropy minimisation: decision boundaries that avoid target rows."""

from __future__ import annotations

from .._components import register
from .base import Alignment, ramp


@register("alignment", "entropy")
class Entropy(Alignment):
    r"""Entropy of the predictions on target rows.

    .. math::
        \ell = \lambda(p)\, \frac{1}{n_t} \sum_i H(p_i), \qquad
        H(p) = -\sum_k p_k \log p_k, \quad \lambda(p) = \frac{2}{1 + e^{-10 p}} - 1

    with progress p from 0 to 1 and H in nats. Alone it can end in a model that predicts one class;
    it is meant as a small addition to others.

    Parameters
    ----------
    weight : float, default=0.1
        Weight of the loss, >= 0.

    Notes
    -----
    Differs from the paper: the weight grows with progress, so that the early, wrong predictions
    are not made surer.

    References
    ----------
    Grandvalet & Bengio, "Semi-supervised learning by entropy minimization", 2004, eq. 6.

    Examples
    --------
    >>> from adaptlearn import Entropy
    >>> Entropy(weight=0.05)
    Entropy(weight=0.05)
    """

    needs_classes = True

    def __init__(self, weight=0.1):
        self.weight = weight

    def loss(self, source, target, step, net):
        """Mean entropy of target predictions."""
        log_p = target.logits.log_softmax(1)  # finite gradient where a probability underflows
        values = -(log_p.exp() * log_p).sum(1)
        return ramp(step.progress) * (values @ target.weight) / target.weight.sum()
