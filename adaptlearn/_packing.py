"""Both domains in one ``X, y``, and apart again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._containers import as_domains, as_parts, known_row_ndim, n_rows, stack_rows, take_rows
from ._domains import DomainIndex, is_unlabelled, read_domains, read_sample_domain
from ._labels import is_table, join_labels, to_array
from ._task_labels import read_task_labels


class Unpacked(NamedTuple):
    """What `unpack` returns; lists where a side has several domains."""

    X_source: object
    y_source: object
    X_target: object
    y_target: object


def pack(Xs, ys, Xt, *, y_target=None, sample_weight=None, regression=None):
    """Put source and target rows into one ``X, y, sample_domain``, as scikit-learn tools take them.

    Domains are interleaved deterministically, in proportion to their sizes, so that plain
    unshuffled folds hold every domain; the order within a domain is kept.

    Parameters
    ----------
    Xs, Xt : array-like, sparse matrix or frame, or list of them
        Source and target rows. A list of two-dimensional containers is a list of domains: sources
        become 0, 1, ..., targets -1, -2, .... Arrays of three dimensions with one label each in
        `ys` are images, and such a list is one domain.
    ys : array-like or list of them
        Labels of the source rows. Must not hold the mask. Of shape (n_rows, n_tasks) for
        `MultiTaskClassifier`; then each row must have a label, and others may be missing.
    y_target : array-like or list of them, optional
        Labels of target rows, for evaluation or ``target_labels="use"``. Masked when None. With
        it, hand `sample_domain` to ``fit``: nothing else tells the two sides apart.
    sample_weight : array-like or list of them, optional
        Weights of the source rows; target rows get 1.
    regression : bool or list of bool, optional
        Whether the labels are numbers to regress on, so that the mask is NaN; a list has an entry
        for each column. When None, labels with fractions are; say True for numbers that happen to
        be whole.

    Returns
    -------
    X, y, sample_domain : of n_source + n_target rows
        `y` holds the mask on unlabelled rows: -1, "-1", or NaN in regression. A frame
        comes back as a frame with a fresh index. Columns of different kinds in an array come back
        as an array of objects.
    sample_weight : ndarray
        Only when `sample_weight` was given.

    Raises
    ------
    ValueError
        If labels contain the mask (recode them), or lengths differ.

    See Also
    --------
    unpack : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import pack
    >>> X, y, sample_domain = pack(np.zeros((2, 3)), [0, 1], np.ones((4, 3)))
    >>> y
    array([-1,  0, -1, -1,  1, -1])
    >>> sample_domain
    array([-1,  0, -1, -1,  0, -1])
    """
    for given, name, what in (
        (Xs, "Xs", "the source rows"),
        (ys, "ys", "the labels of the source rows"),
        (Xt, "Xt", "the target rows"),
    ):
        if given is None:
            raise ValueError(f"{name} is None; give {what}.")
    row_ndim = known_row_ndim(Xs, ys)
    sources, targets = as_domains(Xs, row_ndim), as_domains(Xt, row_ndim)
    n_sources, n_targets = len(sources), len(targets)
    labels = as_parts(ys, n_sources, "ys")
    labels += [None] * n_targets if y_target is None else as_parts(y_target, n_targets, "y_target")
    lengths = [n_rows(block) for block in sources + targets]
    names = ["ys"] * n_sources + ["y_target"] * n_targets
    y = join_labels(labels, names, lengths, n_sources, regression)
    domain = np.repeat([*range(n_sources), *range(-1, -1 - n_targets, -1)], lengths)
    # A row's key is its relative place in its own domain: domains interleave in proportion.
    place = np.concatenate([(np.arange(n) + 0.5) / n for n in lengths])
    order = np.argsort(place, kind="stable")
    packed = take_rows(stack_rows(sources + targets), order), take_rows(y, order), domain[order]
    if sample_weight is None:
        return packed
    weights = as_parts(sample_weight, n_sources, "sample_weight")
    weights = [np.asarray(w, dtype=np.float64) for w in weights] + [
        np.ones(n) for n in lengths[n_sources:]
    ]
    if [len(w) for w in weights] != lengths:
        raise ValueError(
            f"sample_weight has {[len(w) for w in weights[:n_sources]]} entries for "
            f"{lengths[:n_sources]} source rows; give one per source row."
        )
    return *packed, np.concatenate(weights)[order]


def unpack(X, y, sample_domain=None):
    """Split packed data into its sides: the inverse of `pack`.

    Parameters
    ----------
    X, y, sample_domain
        As returned by `pack`. Without `sample_domain`, unlabelled rows are the target.

    Returns
    -------
    Unpacked
        Named tuple ``(X_source, y_source, X_target, y_target)``. A side with several domains is a
        list, in the order of the domain numbers (0, 1, ... and -1, -2, ...); ``y_target`` is None
        where no target row is labelled.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import pack, unpack
    >>> packed = pack(np.zeros((2, 3)), [0, 1], np.ones((4, 3)))
    >>> unpack(*packed).y_source
    array([0, 1])
    """
    if is_table(y):
        labels = y if hasattr(y, "shape") else np.array(y, dtype=object)
        domain_given = sample_domain is not None
        labelled = ~np.isnan(read_task_labels(y, domain_given=domain_given).any_known())
    else:
        labels = to_array(y)
        labelled = ~is_unlabelled(labels)
    domain = np.where(labelled, 0, -1)
    if sample_domain is not None:
        domain = read_sample_domain(sample_domain, len(labels))
        if not is_table(y):
            labelled = read_domains(labels, domain)[1]
    index, sides = DomainIndex.of(domain), []
    for ids in (index.sources, index.targets):
        rows = [np.flatnonzero(domain == i) for i in ids]
        Xs = [take_rows(X, r) for r in rows]
        ys = [take_rows(labels, r) if labelled[r].any() else None for r in rows]
        if len(ids) == 1:
            Xs, ys = Xs[0], ys[0]
        elif all(part is None for part in ys):
            ys = None
        sides += [Xs, ys]
    return Unpacked(*sides)
