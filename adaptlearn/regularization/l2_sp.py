"""L2-SP: stay close to the weights that training began from."""

from __future__ import annotations

from .._components import register
from .base import NOT_NEGATIVE, Regularization, forget, parameters_of


@register("regularization", "l2_sp")
class L2SP(Regularization):
    r"""Squared distance to the starting point, in place of the distance to zero.

    .. math:: \frac{\alpha}{2} \lVert w - w^0 \rVert^2 + \frac{\beta}{2} \lVert w' \rVert^2

    with w the weights that hold earlier knowledge, :math:`w^0` what they were, and w' those that
    begin at random (the head, in a first fit on a pretrained backbone).

    Parameters
    ----------
    weight : float, default=0.1
        :math:`\alpha`, >= 0. Plain SGD needs a learning rate below 2 / weight.
    head_weight : float, default=0.01
        :math:`\beta`, >= 0.

    References
    ----------
    Li, Grandvalet & Davoine, "Explicit inductive bias for transfer learning with convolutional
    networks", 2018, eq. 2.

    Examples
    --------
    >>> from adaptlearn import DomainAdaptationClassifier, L2SP
    >>> DomainAdaptationClassifier(regularization=L2SP(weight=1.0)).regularization
    L2SP(weight=1.0)
    """

    _parameter_constraints = {**Regularization._parameter_constraints, "head_weight": NOT_NEGATIVE}

    def __init__(self, weight=0.1, head_weight=0.01):
        self.weight = weight
        self.head_weight = head_weight

    def start(self, network, batches=None, loss_fn=None, shared=None):
        """Copy the weights."""
        held = parameters_of(network, shared)
        self.reference_ = {name: p.detach().clone() for name, p in held.items()}

    def loss(self, network, outputs):
        """Half the squared distances, weighted."""
        moved, size = [], []
        for name, p in network.named_parameters():
            if name in self.reference_:
                moved.append((p - self.reference_[name]).square().sum())
            else:
                size.append(p.square().sum())
        return self.weight / 2 * sum(moved) + self.head_weight / 2 * sum(size)

    def finish(self, network, batches=None, loss_fn=None):
        """Drop the copy."""
        forget(self, "reference_")
