"""The rows that a score is about: labelled ones, each predicted as a row of its own side."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from ._domains import read_domains, read_sample_domain, read_weight
from ._labels import read_labels, to_array


class Scored(NamedTuple):
    """The labelled rows of what a score was asked for."""

    rows: np.ndarray  # row numbers
    y: np.ndarray
    domain: object  # what to hand to ``predict(sample_domain=)``
    weight: np.ndarray | None


def read_scored(y, sample_domain=None, classes=None, sample_weight=None):
    """Labelled rows and the side they are predicted as, for ``score`` and scorers.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    sample_domain : int or array-like of shape (n_rows,), optional
        Without it: when `y` holds masks, its labelled rows are source rows; when it holds none,
        they are target rows.
    classes : array-like, optional
        Classes of the fitted estimator; ``()`` for a regressor.
    sample_weight : array-like of shape (n_rows,), optional

    Returns
    -------
    Scored

    Raises
    ------
    ValueError
        If no row carries a label.

    Warns
    -----
    UserWarning
        If a label was not seen in ``fit``; it counts as wrong.
    """
    is_target, labelled = read_domains(y, sample_domain, classes)
    rows = np.flatnonzero(labelled)
    if not len(rows):
        raise ValueError(
            f"y carries no label among its {len(labelled)} rows, so there is nothing to score. "
            "Use folds that hold labelled rows (DomainStratifiedKFold) or give labels."
        )
    y = read_labels(to_array(y)[rows])[0]
    if classes is not None and len(classes):
        known = set(np.asarray(classes).tolist())  # 1.0 and True are in {1}, "1" is not
        unseen = [label for label in np.unique(y).tolist() if label not in known]
        if unseen:
            warnings.warn(
                f"y holds labels unseen in fit, {unseen}: they count as wrong.", stacklevel=3
            )
    if sample_domain is None:
        domain = "target" if is_target[rows[0]] else "source"
    elif isinstance(sample_domain, str):
        domain = sample_domain
    else:
        domain = read_sample_domain(sample_domain, len(labelled))[rows]
    weight = read_weight(sample_weight, len(labelled), labelled)
    return Scored(rows, y, domain, None if weight is None else weight[rows])
