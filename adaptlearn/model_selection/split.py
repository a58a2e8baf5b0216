"""Folds that hold every domain and every class in proportion."""

from __future__ import annotations

import numbers
import warnings

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from .._containers import n_rows
from .._labels import is_continuous, is_table
from ._rows import read_rows, read_table


class DomainStratifiedKFold(BaseCrossValidator):
    """K folds that hold every domain, and every class within it, in proportion.

    Labelled rows are split by class within their domain, unlabelled rows evenly within their
    domain; continuous labels by quantiles. Each domain, each class within it and each whole fold
    are of equal size up to one row. Every training part therefore holds source and target rows.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, >= 2.
    shuffle : bool, default=False
        Shuffle the rows of each class before splitting. Without it, the rows of one class in a
        test part are consecutive, as in `sklearn.model_selection.StratifiedKFold`.
    random_state : int, RandomState instance or None, default=None
        Order of the shuffle; only with ``shuffle=True``.

    Notes
    -----
    `y` follows the package's data convention: rows without a label are the target. With
    `sample_domain` (given by hand, or requested by default under metadata routing) several domains
    are told apart. `y` without a mask and without `sample_domain` is one domain.

    Of a `y` with several columns, rows with the same labels, and labels of the same tasks, are
    spread over the folds.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import DomainStratifiedKFold
    >>> y = np.array([0, 0, 1, 1, -1, -1, -1, -1])
    >>> for train, test in DomainStratifiedKFold(2).split(np.zeros((8, 1)), y):
    ...     print(train, test)
    [1 3 6 7] [0 2 4 5]
    [0 2 4 5] [1 3 6 7]
    """

    # What sklearn's routing reads: the metadata that `split` asks for by itself.
    __metadata_request__split = {"sample_domain": True}

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        if not isinstance(n_splits, numbers.Integral) or n_splits < 2:
            raise ValueError(f"n_splits={n_splits!r} must be an integer of at least 2.")
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(f"shuffle={shuffle!r} must be True or False.")
        if not shuffle and random_state is not None:
            raise ValueError(
                f"random_state={random_state!r} has no effect without shuffle=True. Leave "
                "random_state at None, or set shuffle=True."
            )
        self.n_splits = int(n_splits)
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None, *, sample_domain=None):
        """Number of folds.

        Parameters
        ----------
        X, y, groups, sample_domain : object
            Not used.

        Returns
        -------
        n_splits : int
        """
        return self.n_splits

    def split(self, X, y, groups=None, *, sample_domain=None):
        """Row numbers of the training and test part of each fold.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Only its length is used.
        y : array-like of shape (n_rows,) or (n_rows, n_tasks)
            Labels, with masks on unlabelled rows.
        groups : object
            Not used; warns when given.
        sample_domain : int or array-like of shape (n_rows,), optional
            >= 0 a source domain, < 0 a target domain.

        Yields
        ------
        train, test : ndarrays of int

        Raises
        ------
        ValueError
            If a side has fewer rows than folds, or every class has.
        """
        if groups is not None:
            warnings.warn(
                "DomainStratifiedKFold does not use groups; give the domains as sample_domain.",
                UserWarning,
                stacklevel=2,
            )
        fold = self._fold_of_rows(X, y, sample_domain)
        for k in range(self.n_splits):
            yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)

    def _fold_of_rows(self, X, y, sample_domain):
        if y is None:
            raise ValueError(
                "y is None, but DomainStratifiedKFold needs the labels: which rows have one says "
                "which side they are on. Give y with masks, as pack returns it."
            )
        several = is_table(y)
        read = read_table if several else read_rows
        labels, labelled, is_target, domain = read(y, sample_domain)
        domain = np.where(is_target, -1, 0) if domain is None else domain
        if n_rows(X) != len(labels):
            raise ValueError(f"X has {n_rows(X)} rows, y has {len(labels)}.")
        strata = self._strata(labels, labelled)
        self._check_counts(strata, labelled, domain, several)
        rng = check_random_state(self.random_state)
        fold, start = np.empty(len(labels), dtype=np.int64), 0
        for number in np.unique(domain):
            for stratum in np.unique(strata[domain == number]):
                rows = np.flatnonzero((domain == number) & (strata == stratum))
                # Dealing all strata round one table keeps every total even up to one row;
                # within a stratum the same counts go to consecutive rows.
                dealt = np.sort((start + np.arange(len(rows))) % self.n_splits)
                start += len(rows)
                fold[rows] = rng.permutation(dealt) if self.shuffle else dealt
        return fold

    def _strata(self, labels, labelled):
        """Stratum of each row: its class or quantile, -1 for unlabelled rows."""
        strata = np.full(len(labels), -1)
        known = labels[labelled]
        if not len(known):
            raise ValueError("y holds no label at all; the source rows need labels.")
        if is_continuous(known):
            n_bins = int(np.clip(len(known) // (2 * self.n_splits), 1, 10))
            order = np.argsort(np.argsort(known, kind="stable"), kind="stable")
            strata[labelled] = order * n_bins // len(known)
        else:
            strata[labelled] = np.unique(known, return_inverse=True)[1].ravel()
        return strata

    def _check_counts(self, strata, labelled, domain, several):
        for side, rows in (("source", domain >= 0), ("target", domain < 0)):
            if 0 < rows.sum() < self.n_splits:
                raise ValueError(
                    f"n_splits={self.n_splits} is larger than the {rows.sum()} {side} rows, so "
                    f"some folds would hold no {side} row. Use fewer folds."
                )
        if several:  # few rows agree in all of their labels, and need not
            return
        counts = np.bincount(strata[labelled])
        counts = counts[counts > 0]
        if counts.max() < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits} is larger than the number of members of every class "
                f"(the largest has {counts.max()}). Use fewer folds."
            )
        if counts.min() < self.n_splits:
            warnings.warn(
                f"the least populated class in y has only {counts.min()} members, fewer than "
                f"n_splits={self.n_splits}: some folds hold none of it.",
                UserWarning,
                stacklevel=4,
            )
