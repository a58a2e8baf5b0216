"""Recall, support and predicted share of every class in every domain."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from .._domains import read_domains, read_sample_domain
from .._labels import read_labels
from .._tables import html_table, text_table
from .by_class import check_same_kind

__all__ = ["DomainReport", "domain_report"]


class DomainReport(NamedTuple):
    """What `domain_report` returns: prints as a table, renders as HTML in a notebook."""

    domains: tuple  # D domain numbers, sources first
    classes: tuple  # K labels
    support: np.ndarray  # (D, K): labelled rows
    recall: np.ndarray  # (D, K): NaN without a labelled row
    predicted_share: np.ndarray  # (D, K): share of all rows of the domain, labelled or not

    def rows(self):
        """One tuple ``(domain, class, support, recall, true share, predicted share)`` per cell."""
        with np.errstate(invalid="ignore"):
            share = self.support / self.support.sum(axis=1, keepdims=True)
        return [
            (d, k, int(self.support[i, j]), self.recall[i, j], share[i, j], predicted)
            for i, d in enumerate(self.domains)
            for j, k in enumerate(self.classes)
            for predicted in [self.predicted_share[i, j]]
        ]

    def _table(self):
        """Column titles and cells, as text."""
        titles = ["domain", "class", "support", "recall", "share", "predicted share"]
        cells, before = [], None
        for domain, label, support, *values in self.rows():
            side = f"{'source' if domain >= 0 else 'target'} {domain}"
            shown = ["-" if np.isnan(v) else f"{v:.3f}" for v in values]
            cells.append(["" if domain == before else side, str(label), str(support), *shown])
            before = domain
        return titles, cells

    def __repr__(self):
        titles, cells = self._table()
        return text_table(titles, cells, n_left=2, gaps=True)

    __str__ = __repr__

    def _repr_html_(self):
        return html_table(*self._table())


def domain_report(y_true, y_pred, sample_domain=None):
    """How well each class is recognised in each domain, and how often it is predicted.

    Parameters
    ----------
    y_true : array-like of shape (n_rows,)
        Labels. Rows with a mask (-1, "-1", NaN) have no part in support and recall; their
        predictions count in the predicted shares.
    y_pred : array-like of shape (n_rows,)
    sample_domain : int or array-like of shape (n_rows,), optional
        ``>= 0`` a source domain, ``< 0`` a target domain. Without it, when `y_true` holds masks
        its labelled rows are source rows and the others target rows; when it holds none, all are
        target rows.

    Returns
    -------
    DomainReport
        Named tuple ``(domains, classes, support, recall, predicted_share)``. ``print`` gives a
        table, a notebook shows it as HTML, ``rows()`` is one tuple per domain and class.

    Notes
    -----
    A predicted share far from the class's share among the labels is the sign of a class that the
    model prefers or gives up; on a target without labels, of a collapsed model or of label shift.

    Examples
    --------
    >>> from adaptlearn.metrics import domain_report
    >>> domain_report(["a", "a", "b", "a", "b"], ["a", "b", "b", "a", "a"], [0, 0, 0, -1, -1])
    domain     class  support  recall  share  predicted share
    <BLANKLINE>
    source 0   a            2   0.500  0.667            0.333
               b            1   1.000  0.333            0.667
    <BLANKLINE>
    target -1  a            1   1.000  0.500            1.000
               b            1   0.000  0.500            0.000
    """
    labels, _ = read_labels(y_true)
    y_pred = read_labels(column_or_1d(y_pred))[0]
    check_consistent_length(labels, y_pred)
    is_target, labelled = read_domains(y_true, sample_domain)
    check_same_kind(labels[labelled], y_pred)
    domain = np.where(is_target, -1, 0)
    if sample_domain is not None and not isinstance(sample_domain, str):
        domain = read_sample_domain(sample_domain, len(labels))
    classes = np.unique(np.concatenate([labels[labelled], y_pred]))
    ids = np.unique(domain)
    ids = np.concatenate([ids[ids >= 0], ids[ids < 0][::-1]])
    support, hits, predicted = (np.zeros((len(ids), len(classes))) for _ in range(3))
    for i, d in enumerate(ids):
        for rows, out, values in (
            (domain == d, predicted, y_pred),
            ((domain == d) & labelled, support, labels),
            ((domain == d) & labelled & (labels == y_pred), hits, labels),
        ):
            codes = np.searchsorted(classes, values[rows])
            out[i] = np.bincount(codes, minlength=len(classes))
    with np.errstate(invalid="ignore"):
        recall = hits / support
    return DomainReport(
        tuple(ids.tolist()),
        tuple(classes.tolist()),
        support.astype(np.int64),
        recall,
        predicted / predicted.sum(axis=1, keepdims=True),
    )
