"""Standardisation of input columns with the statistics of each domain."""

from __future__ import annotations

import numpy as np

from ._rows import chunks, dense


class DomainScaler:
    """Mean and scale of each column, one row per domain slot.

    Attributes
    ----------
    mean, scale : ndarrays of shape (n_slots, n_columns), float64
    """

    def __init__(self, mean, scale):
        self.mean, self.scale = mean, scale

    @classmethod
    def fit(cls, parts, slots, index, *, by_domain, weight=None):
        """Statistics of the rows of `parts`.

        Parameters
        ----------
        parts : list of two-dimensional arrays or CSR matrices
        slots : ndarray of shape (n_rows,)
        index : DomainIndex
        by_domain : bool
            Each domain has its own statistics; otherwise all have those of the pooled sources.
        weight : ndarray of shape (n_rows,), optional
        """
        n_domains, n_sources = len(index.ids), len(index.sources)
        mass, mean, var = _moments(parts, slots, n_domains, weight)
        is_source = np.arange(n_domains) < n_sources
        members = [np.arange(n_domains) == k for k in range(n_domains)]
        members += [is_source, ~is_source if n_sources < n_domains else is_source]
        if not by_domain:
            members = [is_source] * index.n_slots
        # A column that is constant in one domain must not blow up there (sensor off, missing = 0).
        floor = 1e-3 * np.sqrt(_pool(mass, mean, var)[1])
        tables = [_pool(mass * m, mean, var) for m in members]
        mean = np.array([m for m, _ in tables])
        scale = np.sqrt([v for _, v in tables])
        scale = np.maximum(scale, floor)
        return cls(mean, np.where(scale > 0, scale, 1.0))

    def apply(self, block, slots):
        """Standardised block of rows that lie in the given slots."""
        if len(slots) == 0 or (slots == slots[0]).all():
            mean, scale = self.mean[slots[:1]], self.scale[slots[:1]]
        else:
            mean, scale = self.mean[slots], self.scale[slots]
        if block.dtype == np.float32:  # a float32 column has no digits beyond float32
            mean, scale = mean.astype(np.float32), scale.astype(np.float32)
        out = np.subtract(block, mean)
        out /= scale
        return out


def _moments(parts, slots, n_domains, weight):
    """Weight, mean and variance of the columns by domain, in two passes."""
    n_columns = parts[0].shape[1]
    mass = np.bincount(slots, weights=weight, minlength=n_domains).astype(np.float64)
    safe = np.where(mass > 0, mass, 1.0)[:, None]
    mean = np.zeros((n_domains, n_columns))
    var = np.zeros((n_domains, n_columns))
    for block, s, w in _blocks(parts, slots, weight):
        for k in np.unique(s):
            mean[k] += w[s == k] @ block[s == k]
    mean /= safe
    for block, s, w in _blocks(parts, slots, weight):
        for k in np.unique(s):
            gap = block[s == k] - mean[k]
            var[k] += w[s == k] @ np.square(gap, out=gap)
    return mass, mean, var / safe


def _blocks(parts, slots, weight):
    start = 0
    for part in parts:
        for rows in chunks(part):
            place = slice(start + rows.start, start + rows.stop)
            block = dense(part, rows).astype(np.float64)
            w = np.ones(len(block)) if weight is None else weight[place]
            yield block, slots[place], w
        start += part.shape[0]


def _pool(mass, mean, var):
    """Mean and variance of a mixture of domains."""
    share = mass / mass.sum()
    pooled = share @ mean
    return pooled, share @ (var + np.square(mean - pooled))
