"""Standardisation of input columns with the statistics of each domain."""

from __future__ import annotations

import numpy as np

from ..imbalance.target_prior import move_statistics
from ._rows import chunks, dense, rows_of

_FLOOR = 1e-3
# Rows of a domain that tell which values a column holds; v of columns that mostly hold one.
_SAMPLE_ROWS, _SPARSE_WEIGHT = 1000, 0.25
# Discrete columns: at most so many values, met in other domains by so many of each domain's rows.
_FEW_VALUES, _COVER = 10, 0.9


def column_kinds(parts, slots, weight=None):
    """Discrete columns and the factor on each standardised column, see `DomainScaler`.

    Returns
    -------
    discrete : ndarray of shape (n_columns,), bool
    column_weight : ndarray of shape (n_columns,)
    """
    samples = _samples(parts, slots, weight)
    return _discrete(samples), _column_weight(samples)


class DomainScaler:
    r"""Mean and scale of each column, one row per domain slot.

    The scale of column j in domain k is its standard deviation there over a weight that all
    domains share:

    .. math::
        s_{kj} = \sigma_{kj} \Big/ \sqrt{v_j / \bar v}, \qquad v_j = \max(a_j, 1/4)

    with :math:`a_j` the share of rows that differ from the column's median in their domain, mean
    over domains. A column that mostly holds one value (a border pixel, a rare word) would get huge
    values where it does not, and count as much as one that always varies; here it counts down to
    half as much. Without such columns this is plain standardisation.

    A discrete column (an indicator, a code, a small count: at most ten values, which the domains
    share) has one mean and standard deviation for all domains. Its numbers mean the same
    everywhere, so another share of ones is no offset or gain to undo; undone, it would give one
    value two meanings and hide from an alignment what only one domain has.

    With class labels, target statistics go from the source's to their own as far as the column
    moved beyond what class proportions explain (`adaptlearn.imbalance.target_prior.moved_share`).

    Attributes
    ----------
    mean, scale : ndarrays of shape (n_slots, n_columns), float64
    clip : float or None
        Standardised values are clipped to [-clip, clip].
    """

    def __init__(self, mean, scale, clip=None):
        self.mean, self.scale, self.clip = mean, scale, clip

    @classmethod
    def fit(cls, parts, slots, index, *, by_domain, weight=None, moved=None, clip=None):
        """Statistics of the rows of `parts`.

        Parameters
        ----------
        parts : list of two-dimensional arrays or CSR matrices
        slots : ndarray of shape (n_rows,)
        index : DomainIndex
        by_domain : bool
            Each domain has its own statistics; otherwise all have those of the pooled sources.
        weight : ndarray of shape (n_rows,), optional
        moved : ndarray of shape (n_columns,), optional
            How far target statistics go from the source's, 0, to their own, 1; default 1.
        clip : float, optional
        """
        n_domains, n_sources = len(index.ids), len(index.sources)
        mass, means, var = _moments(parts, slots, n_domains, weight)
        is_source = np.arange(n_domains) < n_sources
        members = [np.arange(n_domains) == k for k in range(n_domains)]
        members += [is_source, ~is_source if n_sources < n_domains else is_source]
        if not by_domain:
            members = [is_source] * index.n_slots
        # A column that is constant in one domain must not blow up there (sensor off, missing = 0).
        floor = _FLOOR * np.sqrt(mass @ var / mass.sum()) if by_domain else 0.0
        tables = [_pool(mass * m, means, var) for m in members]
        mean = np.array([m for m, _ in tables])
        scale = np.maximum(np.sqrt([v for _, v in tables]), floor)
        if by_domain:
            if moved is not None and n_sources < n_domains:
                of_target = np.r_[~is_source, False, True]
                of_source = mean[n_domains], scale[n_domains]
                own = mean[of_target], scale[of_target]
                mean[of_target], scale[of_target] = move_statistics(of_source, own, moved)
            discrete, column_weight = column_kinds(parts, slots, weight)
            pooled_mean, pooled_var = _pool(mass, means, var)
            mean[:, discrete] = pooled_mean[discrete]
            scale[:, discrete] = np.sqrt(pooled_var[discrete])
            scale = scale / column_weight
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


def _samples(parts, slots, weight):
    """Evenly spaced rows of each domain that has any, with their shares of its weight."""
    samples = []
    for k in np.unique(slots):
        members = np.flatnonzero(slots == k if weight is None else (slots == k) & (weight > 0))
        if not len(members):
            continue
        spaced = np.linspace(0, len(members) - 1, min(len(members), _SAMPLE_ROWS)).astype(int)
        members = members[spaced]
        w = np.ones(len(members)) if weight is None else weight[members]
        samples.append((rows_of(parts, members), w / w.sum()))
    return samples


def _discrete(samples):
    """Whether a column has few values and the domains share them, see `DomainScaler`.

    Few is also at most a tenth of the rows. A column that is constant in each domain, or coded
    from 0 in one and from 1 in another, is not shared.
    """
    rows = np.concatenate([block for block, _ in samples])
    limit = min(_FEW_VALUES, len(rows) // 10)
    ordered = np.sort(rows, axis=0)
    few = 1 + np.count_nonzero(ordered[1:] != ordered[:-1], axis=0) <= limit
    cover = np.zeros((len(samples), len(few)))
    left = np.flatnonzero(few)  # columns with values that are not counted yet, the next of them
    value = ordered[0, left]
    while len(left):
        share = np.array([w @ (block[:, left] == value) for block, w in samples])
        cover[:, left] += np.where((share > 0).sum(axis=0) > 1, share, 0.0)
        some = rows[:, left]
        value = np.where(some > value, some, np.inf).min(axis=0)
        left, value = left[value < np.inf], value[value < np.inf]
    return few & (cover.min(axis=0) >= _COVER - 1e-9)


def _column_weight(samples):
    """Square root of v / mean(v), see `DomainScaler`."""
    differ = [w @ (block != _lower_median(block, w)) for block, w in samples]
    v = np.maximum(np.mean(differ, axis=0), _SPARSE_WEIGHT)
    return np.sqrt(v / v.mean())


def _lower_median(block, w):
    """Smallest value of each column up to which half of the weight `w`, of sum 1, lies."""
    if (w == w[0]).all():  # no need to sort
        middle = (len(w) - 1) // 2
        return np.partition(block, middle, axis=0)[middle]
    order = np.argsort(block, axis=0)
    middle = (np.cumsum(w[order], axis=0) >= 0.5 - 1e-9).argmax(axis=0)
    return np.take_along_axis(block, np.take_along_axis(order, middle[None], 0), 0)[0]


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
