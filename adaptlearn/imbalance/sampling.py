"""Which rows an epoch visits: index plans, drawn once per epoch."""

from __future__ import annotations

import numpy as np
import torch

# Power of the class counts that classes are drawn with; None goes from 1 to 0 over the training.
POWERS = {"sqrt": 0.5, "balanced": 0.0, "progressive": None, "domain_balanced": 0.0}
SAMPLING = ("instance", *POWERS)

# Fractions of multiples of the golden ratio leave no gaps, wherever one starts and stops.
_GOLDEN = (5**0.5 - 1) / 2


def repeat_permutations(n_rows, n_draws, generator):
    """`n_draws` row numbers below `n_rows`: whole permutations one after the other."""
    if n_draws <= n_rows:
        return torch.randperm(n_rows, generator=generator)[:n_draws]
    # One sort instead of a loop: with two classes there are half as many rounds as draws.
    keys = torch.rand(-(-n_draws // n_rows), n_rows, generator=generator)
    return keys.argsort(1).flatten()[:n_draws]


class InstanceSampler:
    """Every row equally often: permutations without replacement.

    Parameters
    ----------
    n_rows : int
    """

    def __init__(self, n_rows):
        self.n_rows = n_rows

    def draw(self, n_draws, generator, progress=0.0):
        """Row numbers of one epoch, int64 of shape (n_draws,)."""
        return repeat_permutations(self.n_rows, n_draws, generator)

    def rate(self, progress=0.0):
        """How often each row is drawn, mean 1 over the rows; None: all equally often."""
        return None


class ClassSampler:
    r"""First a class, then a row of it with replacement.

    Class c, with :math:`n_c` rows, is drawn with probability

    .. math::
        p_c = n_c^q \Big/ \sum_k n_k^q

    so q = 0 draws every class equally often, 1/2 is square-root sampling, and "progressive" goes
    from 1 to 0 over the training. With domains, every domain is drawn equally often and the
    formula holds within it.

    Among any consecutive draws each class has its share, up to about one row: batches are as
    balanced as epochs. Set-up sorts the rows once; a draw costs the logarithm of the number of
    classes.

    Parameters
    ----------
    codes : Tensor of shape (n_rows,), int64
        Class code of each row.
    power : float or None, default=0.0
        q, in [0, 1]; None is progressive.
    domains : Tensor of shape (n_rows,), int64, optional
        Domain of each row, numbered from 0.

    References
    ----------
    Kang et al., "Decoupling representation and classifier for long-tailed recognition", 2020.
    """

    def __init__(self, codes, power=0.0, domains=None):
        self.power = power
        n_classes = int(codes.max()) + 1
        self.groups = codes if domains is None else domains * n_classes + codes
        n_domains = 1 if domains is None else int(domains.max()) + 1
        self.counts = torch.bincount(self.groups, minlength=n_domains * n_classes)
        self.shape = n_domains, n_classes
        # Short integers sort several times faster; there are rarely more groups than they hold.
        short = torch.int16 if len(self.counts) < 2**15 else torch.int64
        self.order = torch.argsort(self.groups.to(short), stable=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def share(self, progress=0.0):
        """Probability of each group, a class or a class of one domain; sums to 1."""
        power = 1 - progress if self.power is None else self.power
        counts = self.counts.double().view(self.shape)
        share = torch.where(counts > 0, counts**power, 0.0)
        share = share / share.sum(1, keepdim=True).clamp_min(1e-300)
        return share.flatten() / share.sum()

    def draw(self, n_draws, generator, progress=0.0):
        """Row numbers of one epoch, int64 of shape (n_draws,)."""
        # float64: float32 fractions cannot address more than 2**24 rows of one class
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        place = torch.arange(n_draws, dtype=torch.float64).mul_(_GOLDEN).add_(start).frac_()
        share = self.share(progress)
        group = torch.searchsorted(share.cumsum(0), place, right=True)
        group.clamp_(max=int(torch.nonzero(share)[-1]))  # the shares may sum to less than a place
        fraction = torch.rand(n_draws, generator=generator, dtype=torch.float64)
        row = fraction.mul_(self.counts[group]).long().add_(self.starts[group])
        return self.order[row]

    def rate(self, progress=0.0):
        """How often each row is drawn, mean 1 over the rows."""
        share = self.share(progress) / self.counts.clamp_min(1)
        return share[self.groups] * len(self.groups)


def nearest_sampling(class_counts, prior):
    """Out of "instance", "sqrt" and "balanced", what draws classes most like `prior`.

    Parameters
    ----------
    class_counts : ndarray of shape (n_classes,)
    prior : ndarray of shape (n_classes,)
        Class proportions; sums to 1.

    Returns
    -------
    str
        The nearest in total variation; the first of equals.
    """
    powers = {"instance": 1.0, "sqrt": POWERS["sqrt"], "balanced": POWERS["balanced"]}
    known = class_counts > 0

    def distance(name):
        drawn = np.where(known, np.maximum(class_counts, 1.0) ** powers[name], 0.0)
        return np.abs(drawn / drawn.sum() - prior).sum()

    return min(powers, key=distance)


def make_sampler(name, codes, n_rows, domains=None):
    """Sampler for ``sampling=name``; `codes` are class codes, None in regression."""
    if name == "instance":
        return InstanceSampler(n_rows)
    return ClassSampler(codes, POWERS[name], domains if name == "domain_balanced" else None)
