"""Standardisation of input columns with the statistics of each domain."""

from __future__ import annotations

import numpy as np

from ..imbalance.target_prior import estimate_target_prior
from ._rows import chunks, dense, rows_of

# Rows of each side, and cells of each block, that the target's class proportions are found from.
_PRIOR_ROWS, _PRIOR_CELLS = 1000, 5_000_000
_FEW_ROWS = 20
_FLOOR = 1e-3


def target_class_weight(parts, fit_rows, codes, n_classes, clip, seed):
    """Weight of each source row under which the source has the target's class proportions.

    A target standardised by its own statistics matches a source standardised by statistics of the
    same class proportions; with the source's own, a change of proportions would pass for a shift
    of the inputs. Target rows have weight 1, and so have all rows when there are too few to tell.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    source = np.flatnonzero(fit_rows.labelled & (fit_rows.domain >= 0))
    target = np.flatnonzero(fit_rows.domain < 0)
    weight = np.ones(len(codes))
    limit = min(_PRIOR_ROWS, _PRIOR_CELLS // parts[0].shape[1])
    if min(len(source), len(target), limit) < _FEW_ROWS:
        return weight
    # With as many columns as rows every direction separates the classes, and none of them means
    # anything on the target: estimates were further from the truth than the source's proportions.
    if 2 * parts[0].shape[1] >= min(len(source), limit):
        return weight
    rng = np.random.default_rng(seed)
    some_s, some_t = (
        np.sort(rng.permutation(side)[:n]) for side, n in ((source, limit), (target, limit // 2))
    )
    prior = estimate_target_prior(
        rows_of(parts, some_s), codes[some_s], rows_of(parts, some_t), n_classes, clip=clip
    )
    for domain in np.unique(fit_rows.domain[source]):
        members = source[fit_rows.domain[source] == domain]
        row_weight = None if fit_rows.weight is None else fit_rows.weight[members]
        counts = np.bincount(codes[members], weights=row_weight, minlength=n_classes)
        share = counts / counts.sum()
        ratio = np.divide(prior, share, out=np.zeros(n_classes), where=share > 0)
        matched = ratio[codes[members]]
        # A domain that lacks the target's classes altogether keeps its own statistics.
        weight[members] = matched if matched.any() else 1.0
    return weight


class DomainScaler:
    """Mean and scale of each column, one row per domain slot.

    Attributes
    ----------
    mean, scale : ndarrays of shape (n_slots, n_columns), float64
    clip : float or None
        Standardised values are clipped to [-clip, clip].
    """

    def __init__(self, mean, scale, clip=None):
        self.mean, self.scale, self.clip = mean, scale, clip

    @classmethod
    def fit(cls, parts, slots, index, *, by_domain, weight=None, clip=None):
        """Statistics of the rows of `parts`.

        Parameters
        ----------
        parts : list of two-dimensional arrays or CSR matrices
        slots : ndarray of shape (n_rows,)
        index : DomainIndex
        by_domain : bool
            Each domain has its own statistics; otherwise all have those of the pooled sources.
        weight : ndarray of shape (n_rows,), optional
        clip : float, optional
        """
        n_domains, n_sources = len(index.ids), len(index.sources)
        mass, mean, var = _moments(parts, slots, n_domains, weight)
        is_source = np.arange(n_domains) < n_sources
        members = [np.arange(n_domains) == k for k in range(n_domains)]
        members += [is_source, ~is_source if n_sources < n_domains else is_source]
        if not by_domain:
            members = [is_source] * index.n_slots
        # A column that is constant in one domain must not blow up there (sensor off, missing = 0).
        floor = _FLOOR * np.sqrt(mass @ var / mass.sum()) if by_domain else 0.0
        tables = [_pool(mass * m, mean, var) for m in members]
        mean = np.array([m for m, _ in tables])
        scale = np.sqrt([v for _, v in tables])
        scale = np.maximum(scale, floor)
        return cls(mean, np.where(scale > 0, scale, 1.0), clip)

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
        return out if self.clip is None else np.clip(out, -self.clip, self.clip, out=out)


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
