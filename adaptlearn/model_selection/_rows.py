"""What splitters and scorers know about the rows they are given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._domains import read_domains, read_sample_domain
from .._labels import read_labels
from .._task_labels import read_task_labels


class Rows(NamedTuple):
    """Labels and sides of the rows of one split, all of shape (n_rows,)."""

    labels: np.ndarray  # in a plain dtype; what stands in unlabelled rows has no meaning
    labelled: np.ndarray  # bool
    is_target: np.ndarray  # bool
    domain: np.ndarray | None  # the numbers given as sample_domain


def read_rows(y, sample_domain=None, classes=None):
    """Read `y` and `sample_domain` under the package's data convention.

    Parameters
    ----------
    y : array-like of shape (n_rows,)
    sample_domain : int, array-like of shape (n_rows,), "source" or "target", optional
    classes : array-like, optional
        Classes of the fitted estimator; ``()`` for a regressor.

    Returns
    -------
    Rows
    """
    labels, _ = read_labels(y)
    is_target, labelled = read_domains(y, sample_domain, classes)
    if sample_domain is None or isinstance(sample_domain, str):
        return Rows(labels, labelled, is_target, None)
    return Rows(labels, labelled, is_target, read_sample_domain(sample_domain, len(labels)))


def read_table(y, sample_domain=None):
    """As `read_rows`, for a `y` with several columns; rows with the same labels get one label.

    Of a regression task it counts whether there is a label.
    """
    table = read_task_labels(y, domain_given=sample_domain is not None)
    known = ~np.isnan(table.values)
    numbers = [k for k, kind in enumerate(table.kinds) if kind == "regression"]
    strata = np.where(known, table.values, -1)
    strata[:, numbers] = known[:, numbers]
    rows = read_rows(table.any_known(), sample_domain, classes=())
    return rows._replace(labels=np.unique(strata, axis=0, return_inverse=True)[1].ravel())
