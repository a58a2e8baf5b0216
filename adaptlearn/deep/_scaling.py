"""Standardisation of input columns with the statistics of each domain."""

from __future__ import annotations

import numpy as np

from ..imbalance.target_prior import estimate_target_prior
from ._rows import chunks, dense, rows_of

# Rows of each side, and cells of each block, that the target's class proportions are found from.
_PRIOR_ROWS, _PRIOR_CELLS = 1000, 5_000_000
_FEW_ROWS = 20
_FLOOR = 1e-3
# Rows of a domain that tell which values a column holds; v of columns that mostly hold one.
_SAMPLE_ROWS, _SPARSE_WEIGHT = 1000, 0.25
# Discrete columns: at most so many values, met in other domains by so many of each domain's rows.
_FEW_VALUES, _COVER = 10, 0.9


def target_class_ratio(parts, fit_rows, slots, codes, n_classes, clip, seed):
    """Target over source share of each class, by domain slot: weights of the source rows.

    Under these weights the source has the target's class proportions. A target standardised by
    its own statistics then matches the source standardised by its own, and an alignment compares
    like with like; otherwise a change of proportions would pass for a shift of the inputs.

    Returns
    -------
    ndarray of shape (n_domains, n_classes)
        1 for target domains, and everywhere when there are too few rows to tell.
    """
    source = np.flatnonzero(fit_rows.labelled & (fit_rows.domain >= 0))
    target = np.flatnonzero(fit_rows.domain < 0)
    table = np.ones((slots.max() + 1, n_classes))
    limit = min(_PRIOR_ROWS, _PRIOR_CELLS // parts[0].shape[1])
    if min(len(source), len(target), limit) < _FEW_ROWS:
        return table
    # With as many columns as rows every direction separates the classes, and none of them means
    # anything on the target: estimates were further from the truth than the source's proportions.
    if 2 * parts[0].shape[1] >= min(len(source), limit):
        return table
    rng = np.random.default_rng(seed)
    some_s, some_t = (
        np.sort(rng.permutation(side)[:n]) for side, n in ((source, limit), (target, limit // 2))
    )
    prior = estimate_target_prior(
        rows_of(parts, some_s), codes[some_s], rows_of(parts, some_t), n_classes, clip=clip
    )
    for slot in np.unique(slots[source]):
        members = source[slots[source] == slot]
        row_weight = None if fit_rows.weight is None else fit_rows.weight[members]
        counts = np.bincount(codes[members], weights=row_weight, minlength=n_classes)
        share = counts / counts.sum()
        ratio = np.divide(prior, share, out=np.zeros(n_classes), where=share > 0)
        # A domain that lacks the target's classes altogether keeps its own statistics.
        if ratio.any():
            table[slot] = ratio
    return table


def matched_weight(class_ratio, fit_rows, slots, codes):
    """Row weights times the class ratio of labelled rows; None when all are one."""
    if class_ratio is None:
        return fit_rows.weight
    known = fit_rows.labelled
    ratio = np.where(known, class_ratio[slots, np.where(known, codes, 0)], 1.0)
    return ratio if fit_rows.weight is None else fit_rows.weight * ratio


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
            samples = _samples(parts, slots, n_domains, weight)
            discrete = _discrete(samples)
            pooled_mean, pooled_var = _pool(mass, means, var)
            mean[:, discrete] = pooled_mean[discrete]
            scale[:, discrete] = np.sqrt(pooled_var[discrete])
            scale = scale / _column_weight(samples)
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


def _samples(parts, slots, n_domains, weight):
    """Evenly spaced rows of each domain that has any, with their shares of its weight."""
    samples = []
    for k in range(n_domains):
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
    rows, value = rows[:, few], ordered[0, few]
    cover = np.zeros((len(samples), few.sum()))
    for _ in range(limit):
        share = np.array([w @ (block[:, few] == value) for block, w in samples])
        cover += np.where((share > 0).sum(axis=0) > 1, share, 0.0)
        value = np.where(rows > value, rows, np.inf).min(axis=0)
    few[few] = cover.min(axis=0) >= _COVER - 1e-9
    return few


def _column_weight(samples):
    """Square root of v / mean(v), see `DomainScaler`."""
    differ = []
    for block, w in samples:
        order = np.argsort(block, axis=0)
        middle = (np.cumsum(w[order], axis=0) >= 0.5 - 1e-9).argmax(axis=0)
        median = np.take_along_axis(block, np.take_along_axis(order, middle[None], 0), 0)
        differ.append(w @ (block != median))
    v = np.maximum(np.mean(differ, axis=0), _SPARSE_WEIGHT)
    return np.sqrt(v / v.mean())


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
