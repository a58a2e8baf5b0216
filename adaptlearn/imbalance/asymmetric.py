"""Asymmetric loss, the form for one label per row."""

from __future__ import annotations

from .._components import register
from .criterion import NON_NEGATIVE, SMOOTHING, Criterion
from .focal import log_rest


@register("criterion", "asymmetric")
class Asymmetric(Criterion):
    r"""Asymmetric loss of the softmax, one label per row.

    .. math::
        \ell = -q_y (1 - p_y)^{\gamma_+} \log p_y
               - \sum_{k \ne y} q_k\, p_k^{\gamma_-} \log p_k,
        \quad q = (1 - \epsilon)\, e_y + \epsilon / K

    The term of the label and those of the other classes have a focus of their own (see `Focal`).
    With the defaults the label counts as in cross-entropy, and the smoothing pulls only at wrong
    classes that hold much probability. It does not rebalance: it knows of no class proportions.

    Parameters
    ----------
    gamma_pos : float, default=0.0
        :math:`\gamma_+ \ge 0`, focus of the label's term.
    gamma_neg : float, default=4.0
        :math:`\gamma_- \ge 0`, focus of the other terms. They carry the smoothed mass alone, so
        it has no effect with ``label_smoothing=0``.
    label_smoothing : float, default=0.1
        :math:`\epsilon` in [0, 1), the authors' value.

    References
    ----------
    Ridnik et al., "Asymmetric loss for multi-label classification", 2021, with the single-label
    form of the authors' code (``ASLSingleLabel``). Differs from that code: nothing in value; its
    gradient is finite also for exponents below 1.

    Examples
    --------
    >>> from adaptlearn.imbalance import Asymmetric
    >>> Asymmetric(gamma_neg=2.0)
    Asymmetric(gamma_neg=2.0)
    """

    _parameter_constraints = {
        "gamma_pos": NON_NEGATIVE,
        "gamma_neg": NON_NEGATIVE,
        "label_smoothing": SMOOTHING,
    }

    def __init__(self, gamma_pos=0.0, gamma_neg=4.0, label_smoothing=0.1):
        self.gamma_pos = gamma_pos
        self.gamma_neg = gamma_neg
        self.label_smoothing = label_smoothing

    def loss(self, logits, y, progress, net):
        """Asymmetric loss of each row."""
        label = y[:, None]
        log_p = logits.log_softmax(1)
        own = log_p.gather(1, label).squeeze(1)
        terms = (self.gamma_neg * log_p).exp() * log_p
        others = terms.scatter(1, label, 0.0).sum(1)
        share = self.label_smoothing / logits.shape[1]
        focus = (self.gamma_pos * log_rest(logits, y)).exp()
        return -(1 - self.label_smoothing + share) * focus * own - share * others
