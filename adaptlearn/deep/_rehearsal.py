"""A few rows of earlier calls, to be trained on again."""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np

from .._containers import as_container, n_rows, stack_rows, take_rows
from .._domains import is_unlabelled, read_sample_domain
from .._labels import read_labels, read_weight, to_array
from ._trainer import draw_seed


class RehearsalBuffer(NamedTuple):
    """Labelled source rows of earlier calls, as they were given.

    Every row that was ever seen draws a random key, and of each group the rows with the smallest
    keys stay: a uniform sample of all rows of the group, whichever call they came in.
    """

    X: object  # rows in the user's container; None while empty
    y: np.ndarray
    domain: np.ndarray
    weight: np.ndarray
    key: np.ndarray
    seed: int
    n_calls: int

    @classmethod
    def empty(cls, random_state):
        """Buffer that keeps nothing yet."""
        none = np.zeros(0)
        # A copy, so that the estimator draws the same numbers with and without a buffer.
        seed = draw_seed(copy.deepcopy(random_state))
        return cls(None, none, none.astype(np.int64), none, none, seed, 0)

    def join(self, X, y, sample_domain, X_target, sample_weight, classes, raw):
        """What ``fit`` was given, with the kept rows after its own.

        Parameters
        ----------
        X, y, sample_domain, X_target, sample_weight
            As in ``fit``.
        classes : array-like
            Classes known before this call; empty in regression.
        raw : bool
            Whether an extractor reads the rows, which may then differ in shape.
        """
        X, labels = as_container(X), None if y is None else to_array(y)
        wrong = X is None or labels is None or len(labels) != n_rows(X)
        if wrong or not (raw or _alike(X, self.X)):
            return X, y, sample_domain, X_target, sample_weight  # the fit says what is wrong
        n = n_rows(X)
        try:
            rows = stack_rows([X, self.X])
        except TypeError:
            raise TypeError(
                f"X is a {type(X).__name__}, and the rows that rehearsal keeps of earlier calls "
                f"are in a {type(self.X).__name__}. Give the same kind each time."
            ) from None
        except ValueError:
            raise ValueError(
                "X does not go with the rows that rehearsal keeps of earlier calls. Give the same "
                "column each time, and rows of several shapes as lists: list(X)."
            ) from None
        if sample_domain is not None:
            domain = read_sample_domain(sample_domain, n)
        elif X_target is not None:
            domain = np.zeros(n, dtype=np.int64)
        else:
            domain = np.where(is_unlabelled(labels, classes), -1, 0)
        weight = sample_weight
        if weight is not None or (self.weight != 1).any():
            weight = read_weight(1.0 if weight is None else weight, n, slice(None))
            weight = np.concatenate([weight, self.weight])
        return (
            rows,
            np.concatenate([labels, self.y]),
            np.concatenate([domain, self.domain]),
            X_target,
            weight,
        )

    def with_rows(self, X, y, domain, sample_weight, size, by_class):
        """A buffer of at most `size` rows out of these and the source rows of a call.

        Parameters
        ----------
        X, y, sample_weight
            As ``fit`` was given them.
        domain : ndarray of shape (n_rows,)
            Domain of each row; those of the target have no part in it.
        size : int
        by_class : bool
            Whether the rows of a domain are balanced by class.
        """
        X, rows = as_container(X), np.flatnonzero(domain >= 0)
        labels = to_array(y)[rows]
        weight = np.ones(len(domain)) if sample_weight is None else sample_weight
        weight = np.broadcast_to(np.asarray(weight, np.float64), len(domain))[rows]
        key = np.random.default_rng([self.seed, self.n_calls]).random(len(rows))
        old = len(self.key)
        if old:
            labels = np.concatenate([self.y, labels])
        columns = [(self.domain, domain[rows]), (self.weight, weight), (self.key, key)]
        domain, weight, key = (np.concatenate(pair) for pair in columns)
        groups = np.unique(domain, return_inverse=True)[1]
        if by_class:
            codes = np.unique(read_labels(labels)[0], return_inverse=True)[1]
            groups = groups * (codes.max() + 1) + codes
        kept = balanced_choice(groups, key, size)
        parts = [take_rows(self.X, kept[kept < old])] if old else []
        parts.append(take_rows(X, rows[kept[kept >= old] - old]))
        parts = [part for part in parts if n_rows(part)]
        return RehearsalBuffer(
            stack_rows(parts), labels[kept], domain[kept], weight[kept], key[kept],
            self.seed, self.n_calls + 1,
        )  # fmt: skip


def _alike(X, other):
    """Whether rows of two containers have the same columns, as far as that can be told."""
    if hasattr(X, "columns") and hasattr(other, "columns"):
        return set(X.columns) == set(other.columns)
    shapes = getattr(X, "shape", None), getattr(other, "shape", None)
    return None in shapes or shapes[0][1:] == shapes[1][1:]


def balanced_choice(groups, key, size):
    """Rows to keep: as many of each group as possible, of a group those with the smallest keys.

    Parameters
    ----------
    groups : ndarray of int, shape (n_rows,)
    key : ndarray of shape (n_rows,)
    size : int
        Rows to keep, at most.

    Returns
    -------
    ndarray of int
        Row numbers, ascending.
    """
    order = np.lexsort((key, groups))
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) != 0])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    # First all best rows of the groups, then all second ones, ...
    chosen = order[np.lexsort((key[order], place))][:size]
    return np.sort(chosen)
