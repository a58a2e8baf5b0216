"""Remix: mixup whose labels lean to the rarer class."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.special import betainc

from .._compat import Interval
from .._components import register
from .criterion import POSITIVE, Buffers
from .mixing import Mixed, Mixing, draw_partners, mix_pairs, symmetric_beta


@register("mixing", "remix")
class Remix(Mixing):
    r"""Mixup in which a much rarer class takes the label.

    Features are mixed as :math:`\lambda f_i + (1 - \lambda) f_j` with :math:`\lambda \sim
    \mathrm{Beta}(\alpha, \alpha)`, and losses with

    .. math::
        \lambda_y = \begin{cases}
            0 & n_i / n_j \ge \kappa, \; \lambda < \tau \\
            1 & n_i / n_j \le 1 / \kappa, \; 1 - \lambda < \tau \\
            \lambda & \text{otherwise}
        \end{cases}

    where :math:`n_i` counts the training rows of the class of row i. The boundary between a
    frequent and a rare class so moves towards the frequent one. The partner j is any labelled row
    of the batch.

    Parameters
    ----------
    alpha : float, default=1.0
        :math:`\alpha > 0`; 1 draws :math:`\lambda` evenly.
    kappa : float, default=3.0
        :math:`\kappa > 1`: how many times more frequent the other class is.
    tau : float, default=0.5
        :math:`\tau` in [0, 1]: the frequent class's share of the features below which it loses
        the label. 0 is plain mixup.

    Notes
    -----
    A row counts by its own weight, and partners are drawn in proportion to theirs.

    It leans to rare classes much less than `FeatureSMOTE` or balanced batches: two rows of frequent
    classes, most pairs, are mixed as ever. In short trainings it may do no better than none.

    References
    ----------
    Chou et al., "Remix: rebalanced mixup", 2020, eq. 5-7. Differs from the paper: features are
    mixed instead of inputs, and each row has a :math:`\lambda` of its own.

    Examples
    --------
    >>> from adaptlearn import Remix
    >>> Remix(tau=0.7)
    Remix(tau=0.7)
    """

    rebalances = True

    _parameter_constraints = {
        "alpha": POSITIVE,
        "kappa": [Interval(Real, 1, None, closed="neither")],
        "tau": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, alpha=1.0, kappa=3.0, tau=0.5):
        self.alpha = alpha
        self.kappa = kappa
        self.tau = tau

    def build(self, class_counts):
        """Rows of each class."""
        return Buffers(counts=class_counts.double())

    def mix(self, features, y, weight, net):
        """Every row with its partner."""
        partner = draw_partners(y, weight, balanced=False)
        share = symmetric_beta(self.alpha, y)
        label_share = self._label_share(share, net.counts[y] / net.counts[y[partner]])
        return Mixed(mix_pairs(features, partner, share), y, y[partner], label_share, weight)

    def _label_share(self, share, ratio):
        """Share of the first label, from that of the features and n_i / n_j."""
        gives_up = (ratio >= self.kappa) & (share < self.tau)
        takes_all = (ratio <= 1 / self.kappa) & (1 - share < self.tau)
        return share.masked_fill(gives_up, 0.0).masked_fill(takes_all, 1.0)

    def sampled_prior(self, sampled, class_counts, batch_size):
        r"""Twice :math:`s_c \sum_k s_k E[\lambda_y]`, over pairs of the classes c and k."""
        counts = np.asarray(class_counts, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = counts[:, None] / counts
        # What a frequent class keeps: the part of the mean of Beta above tau.
        kept = (1 - betainc(self.alpha + 1, self.alpha, self.tau)) / 2
        share = np.where(ratio >= self.kappa, kept, 0.5)
        share = np.where(ratio <= 1 / self.kappa, 1 - kept, share)
        return 2 * sampled * (share @ sampled)
