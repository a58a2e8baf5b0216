"""LwF: answer on the new rows as the old network would."""

from __future__ import annotations

from numbers import Real

import torch

from .._compat import Interval
from .._components import register
from .base import Regularization, forget, frozen_copy


@register("regularization", "lwf")
class LwF(Regularization):
    r"""Learning without forgetting: distil the outputs of the network that training began from.

    .. math::
        -\frac{1}{n} \sum_i \sum_k \hat p_{ik} \log p_{ik}, \qquad
        p = \mathrm{softmax}(z / T), \quad \hat p = \mathrm{softmax}(z^0 / T)

    with z the logits and :math:`z^0` those of the old network on the same rows, labelled or not. In
    regression :math:`\frac{1}{n} \sum_i (z_i - z^0_i)^2`. No row of an earlier domain is needed.

    Parameters
    ----------
    temperature : float, default=2.0
        T > 0; above 1, small probabilities count for more.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    It acts from the second call on: in a first fit the head is new and has nothing to say. Differs
    from the paper: the old outputs are computed in each step, not once, which costs a forward pass
    and fits rows that are mixed or augmented.

    References
    ----------
    Li & Hoiem, "Learning without forgetting", 2017, eq. 2-4.

    Examples
    --------
    >>> from adaptlearn import LwF
    >>> LwF(temperature=1.0)
    LwF(temperature=1.0)
    """

    needs_earlier_call = True

    _parameter_constraints = {
        **Regularization._parameter_constraints,
        "temperature": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(self, temperature=2.0, weight=1.0):
        self.temperature = temperature
        self.weight = weight

    def start(self, network, batches=None, loss_fn=None, shared=None):
        """Copy the network."""
        self.old_ = frozen_copy(network)

    def loss(self, network, outputs):
        """Cross-entropy between the softened old and new outputs."""
        with torch.no_grad():
            old = outputs.run(self.old_)[1]
        new = outputs.logits
        if new.shape[1] == 1:
            return self.weight * (new - old).square().mean()
        p = (old / self.temperature).softmax(1)
        return -self.weight * (p * (new / self.temperature).log_softmax(1)).sum(1).mean()

    def finish(self, network, batches=None, loss_fn=None):
        """Drop the copy."""
        forget(self, "old_")
