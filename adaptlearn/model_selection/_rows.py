"""What splitters and scorers know about the rows they are given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .._domains import read_domains, read_sample_domain
from .._labels import read_labels


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
