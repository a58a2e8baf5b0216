"""Logit adjustment: the class proportions stand in the loss, not in the logits."""

from __future__ import annotations

import torch

from .._components import register
from .class_balanced import reweighted
from .criterion import NON_NEGATIVE, SMOOTHING, Buffers, Criterion, unsmoothed


def log_proportions(class_counts):
    r""":math:`\log \pi_c`, with a class without rows put beside the most frequent one.

    No row speaks for a class without rows, so it shall never be favoured: it is adjusted least.

    Parameters
    ----------
    class_counts : array-like of shape (n_classes,)

    Returns
    -------
    Tensor of shape (n_classes,), float64
    """
    counts = torch.as_tensor(class_counts).double()
    return (torch.where(counts > 0, counts, counts.max()) / counts.sum()).log()


@register("criterion", "logit_adjusted")
class LogitAdjusted(Criterion):
    r"""Cross-entropy of logits that are shifted by the class proportions.

    .. math::
        \ell = \mathrm{CE}(z + \tau \log \pi,\, y)

    with :math:`\pi` the class proportions of the labelled rows. The shift explains the
    imbalance, so that z need not: at :math:`\tau = 1` ("balanced softmax") the softmax of z is a
    posterior under uniform proportions. The adjustment takes place in the loss alone; predictions
    are the plain argmax of z.

    Parameters
    ----------
    tau : float, default=1.0
        :math:`\tau \ge 0`; 0 is cross-entropy.
    label_smoothing : float, default=0.1
        :math:`\epsilon` in [0, 1): the target is
        :math:`(1 - \epsilon)\, e_y + \epsilon\, \pi^\tau / \sum_c \pi_c^\tau`. For equal
        proportions this is `CrossEntropy`. Smoothing evenly would be wrong here: a rare class
        would have to fill a share :math:`\epsilon / K` far above its :math:`\pi`, and the rows of
        frequent classes would be pushed into it.

    References
    ----------
    Menon et al., "Long-tail learning via logit adjustment", 2021, eq. 10. Ren et al., "Balanced
    meta-softmax for long-tailed visual recognition", 2020, eq. 4. Differs from the papers: label
    smoothing; none with ``label_smoothing=0``.

    Examples
    --------
    >>> from adaptlearn.imbalance import LogitAdjusted
    >>> LogitAdjusted(tau=1.5)
    LogitAdjusted(tau=1.5)
    """

    rebalances = True

    _parameter_constraints = {"tau": NON_NEGATIVE, "label_smoothing": SMOOTHING}

    def __init__(self, tau=1.0, label_smoothing=0.1):
        self.tau = tau
        self.label_smoothing = label_smoothing

    def build(self, class_counts):
        """Shifts of the logits of one fit."""
        return Buffers(shift=self.tau * log_proportions(class_counts))

    def loss(self, logits, y, progress, net):
        """Adjusted cross-entropy of each row."""
        log_p = (logits + net.shift).log_softmax(1)
        values = -log_p.gather(1, y[:, None]).squeeze(1)
        if self.label_smoothing == 0:
            return values
        spread = -log_p @ net.shift.softmax(0)
        return (1 - self.label_smoothing) * values + self.label_smoothing * spread

    def trained_prior(self, sampled, class_counts):
        r"""Proportions of the drawn rows over :math:`\pi^\tau`, which the loss took out."""
        shift = self.tau * log_proportions(class_counts)
        return reweighted(sampled, (shift.min() - shift).exp().numpy())

    def posterior(self, proba, class_counts):
        """Probabilities with label smoothing undone."""
        spread = (self.tau * log_proportions(class_counts)).softmax(0).numpy()
        return unsmoothed(proba, self.label_smoothing, spread)
