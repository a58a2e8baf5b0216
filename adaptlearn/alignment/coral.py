"""CORAL: match the covariances of source and target features."""

from __future__ import annotations

from .._components import register
from .base import Alignment, attached_zero, pair_mass, shares


def covariance_root(x, weight):
    """Rows r of which r.T @ r is the unbiased covariance of `x` under reliability weights."""
    w = shares(weight)
    return (x - w @ x) * (w / pair_mass(w)).sqrt()[:, None]


@register("alignment", "coral")
class CORAL(Alignment):
    r"""Deep CORAL: distance between the feature covariances of the two sides.

    .. math:: \ell = \frac{1}{4 d^2} \lVert C_s - C_t \rVert_F^2

    with unbiased covariances :math:`C` of the d features. It moves second moments only; means are
    left to domain normalisation.

    Parameters
    ----------
    weight : float, default=100.0
        Weight of the loss, >= 0. The division by :math:`4 d^2` makes the loss tiny; with weight 1
        it does nothing at d = 256.

    Notes
    -----
    Fewer than two rows on a side give zero. Differs from the paper: the default weight (the paper
    tunes it so that both losses end about equal), and rows may carry weights.

    References
    ----------
    Sun & Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", 2016, eq. 1-3.

    Examples
    --------
    >>> from adaptlearn import CORAL, DomainAdaptationClassifier
    >>> DomainAdaptationClassifier(alignment=CORAL(weight=10)).alignment
    CORAL(weight=10)
    """

    def __init__(self, weight=100.0):
        self.weight = weight

    def loss(self, source, target, step, net):
        """Squared Frobenius distance of the covariances, over 4 d²."""
        if min(len(source.features), len(target.features)) < 2:
            return attached_zero(source.features, target.features)
        s = covariance_root(source.features, source.weight)
        t = covariance_root(target.features, target.weight)
        if len(s) + len(t) < s.shape[1]:  # the same norm from inner products, with fewer of them
            norm = (s @ s.T).square().sum() + (t @ t.T).square().sum()
            norm = norm - 2 * (s @ t.T).square().sum()
        else:
            norm = (s.T @ s - t.T @ t).square().sum()
        return norm / (4 * s.shape[1] ** 2)
