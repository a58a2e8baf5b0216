"""Row numbers of a domain whose classes are to stand in given proportions.

Labels are class codes from 0; a class may be absent.
"""

import numpy as np

FEWEST = 200
"""Rows that `in_proportions` keeps at least, or half of them where there are fewer than twice as
many: a class that is scarce would otherwise leave next to nothing of the others."""


def long_tail(y, ratio, rng, rank=None):
    """Row numbers whose class counts fall geometrically by `ratio` in all.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    ratio : float
        Rows of the most frequent class over those of the rarest, > 1. Every class keeps at least
        two rows.
    rng : numpy.random.Generator
        Draws the rows, and the order of the classes where it is not given.
    rank : ndarray of shape (n_classes,), default=None
        Place of each class in the order: 0 for the most frequent, n_classes - 1 for the rarest.
    """
    rank = rng.permutation(int(y.max()) + 1) if rank is None else rank
    classes, available = np.unique(y, return_counts=True)
    share = tail_shares(rank, ratio)[classes]
    counts = np.minimum(available, np.maximum(2, np.floor(share * (available / share).min())))
    return _take(y, classes, counts.astype(int), rng)


def tail_shares(rank, ratio):
    """Class frequencies relative to that of the class of rank 0."""
    return ratio ** (-rank / (len(rank) - 1))


def balanced(y, rng):
    """Row numbers with equally many rows of every class."""
    classes, available = np.unique(y, return_counts=True)
    return _take(y, classes, np.full(len(classes), available.min()), rng)


def _take(y, classes, counts, rng):
    order = rng.permutation(len(y))
    rows = [order[y[order] == c][:n] for c, n in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(rows))


def in_proportions(y, q, rng):
    """As many row numbers as there are with the class proportions `q`, but not too few.

    Where fewer than `FEWEST` rows, or half of them, have these proportions, so many are asked for
    and scarce classes give what they have. At least two rows of the most frequent class are kept.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    q : ndarray
        Proportions of the classes that occur in `y`, in their order; sums to 1.
    rng : numpy.random.Generator
    """
    classes, available = np.unique(y, return_counts=True)
    n_rows = min(len(y), int((available / np.maximum(q, 1e-9)).min()))
    n_rows = max(n_rows, min(len(y) // 2, FEWEST))
    counts = np.minimum(available, np.round(q * n_rows).astype(int))
    counts[q.argmax()] = max(counts[q.argmax()], 2)
    rows = [
        rng.permutation(np.flatnonzero(y == c))[:n] for c, n in zip(classes, counts, strict=True)
    ]
    return np.sort(np.concatenate(rows))
