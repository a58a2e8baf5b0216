"""Which rows an epoch visits: index plans, drawn once per epoch."""

from __future__ import annotations

import torch


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

    def draw(self, n_draws, generator):
        """Row numbers of one epoch, int64 of shape (n_draws,)."""
        return repeat_permutations(self.n_rows, n_draws, generator)


class BalancedSampler:
    """Every class equally often: first the class, then a row of it, with replacement.

    Parameters
    ----------
    codes : Tensor of shape (n_rows,), int64
        Class code of each row.
    """

    def __init__(self, codes):
        self.order = torch.argsort(codes, stable=True)
        _, self.counts = torch.unique(codes, return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def draw(self, n_draws, generator):
        """Row numbers of one epoch, int64 of shape (n_draws,)."""
        classes = repeat_permutations(len(self.counts), n_draws, generator)
        # float64: float32 fractions cannot address more than 2**24 rows of one class
        place = torch.rand(n_draws, generator=generator, dtype=torch.float64)
        within = (place * self.counts[classes]).long()
        return self.order[self.starts[classes] + within]


def make_sampler(name, codes, n_rows):
    """Sampler for ``sampling=name``; `codes` are class codes, None in regression."""
    if name == "instance":
        return InstanceSampler(n_rows)
    return BalancedSampler(codes)
