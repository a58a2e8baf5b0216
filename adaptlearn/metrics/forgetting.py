"""How much a model forgets while it learns one domain after the other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring
from sklearn.utils import check_array

from .._domains import is_unlabelled
from .._labels import is_table, read_labels
from .._prediction import takes_sample_domain
from .._tables import html_table, text_table

__all__ = ["ForgettingReport", "forgetting_matrix", "forgetting_report"]


class ForgettingReport(NamedTuple):
    """What `forgetting_report` returns: prints as a table, renders as HTML in a notebook."""

    matrix: np.ndarray  # (T, T): row i after learning domain i, column j on domain j
    names: tuple  # T names of the domains
    average: float  # accuracy over all domains at the end
    forgetting: float  # best earlier accuracy less the last one; 0 or less: nothing was forgotten
    backward_transfer: float  # what later domains added to earlier ones; below 0: forgetting
    forward_transfer: float  # what earlier domains gave to those to come; NaN without a baseline

    def _table(self):
        titles = ["after", *(f"on {name}" for name in self.names)]
        cells = [
            [str(name), *(f"{value:.3f}" for value in row)]
            for name, row in zip(self.names, self.matrix, strict=True)
        ]
        return titles, cells

    def _summary(self):
        better = {"average": "higher", "forgetting": "lower", "backward_transfer": "higher"}
        better["forward_transfer"] = "higher"
        values = [(name, getattr(self, name), side) for name, side in better.items()]
        return [
            (name.replace("_", " "), f"{v:.3f}", f"{side} is better")
            for name, v, side in values
            if not np.isnan(v)
        ]

    def __repr__(self):
        rows = [f"{name:<17} {v:>7}  ({side})" for name, v, side in self._summary()]
        return "\n".join([text_table(*self._table()), "", *rows])

    __str__ = __repr__

    def _repr_html_(self):
        summary = "; ".join(f"{name} {v} ({side})" for name, v, side in self._summary())
        return html_table(*self._table(), caption=summary)


def forgetting_report(matrix, *, baseline=None, names=None):
    r"""Average accuracy, forgetting, and transfer of a model that learned domains in turn.

    With :math:`R_{ij}` the accuracy on domain j after learning domain i, of T domains,

    .. math::
        \text{average} &= \frac{1}{T} \sum_j R_{Tj} \\
        \text{forgetting} &= \frac{1}{T - 1} \sum_{j < T} (\max_{i < T} R_{ij} - R_{Tj}) \\
        \text{backward transfer} &= \frac{1}{T - 1} \sum_{j < T} (R_{Tj} - R_{jj}) \\
        \text{forward transfer} &= \frac{1}{T - 1} \sum_{j > 1} (R_{j - 1, j} - b_j)

    Parameters
    ----------
    matrix : array-like of shape (n_domains, n_domains)
        Row i: scores after learning domain i; column j: on domain j. Any score of which more is
        better; see `forgetting_matrix`.
    baseline : float or array-like of shape (n_domains,), optional
        Score b on each domain of a model that has learned nothing, for example 1 / n_classes. The
        forward transfer is NaN without it.
    names : list of str, optional
        Names of the domains; default 1, 2, ...

    Returns
    -------
    ForgettingReport
        Named tuple ``(matrix, names, average, forgetting, backward_transfer, forward_transfer)``.
        With a single domain, forgetting and both transfers are 0.

    References
    ----------
    Chaudhry et al., "Riemannian walk for incremental learning: understanding forgetting and
    intransigence", 2018, eq. 3; Lopez-Paz & Ranzato, "Gradient episodic memory for continual
    learning", 2017, eq. 2-4.

    Examples
    --------
    >>> from adaptlearn.metrics import forgetting_report
    >>> forgetting_report([[0.9, 0.4], [0.7, 0.8]], baseline=0.25, names=["day", "night"])
    after  on day  on night
    day     0.900     0.400
    night   0.700     0.800
    <BLANKLINE>
    average             0.750  (higher is better)
    forgetting          0.200  (lower is better)
    backward transfer  -0.200  (higher is better)
    forward transfer    0.150  (higher is better)
    """
    matrix = check_array(matrix, dtype=np.float64, input_name="matrix")
    n = len(matrix)
    if matrix.shape != (n, n):
        raise ValueError(
            f"matrix has shape {matrix.shape}; it needs one row and one column for each domain. "
            "forgetting_matrix makes it."
        )
    names = tuple(range(1, n + 1)) if names is None else tuple(names)
    if len(names) != n:
        raise ValueError(f"names has {len(names)} entries for {n} domains; give one for each.")
    last, before, itself = matrix[-1], matrix[:-1, :-1], np.diag(matrix)
    forward = np.nan
    if baseline is not None:
        try:
            start = np.broadcast_to(np.asarray(baseline, np.float64), (n,))
        except ValueError:
            raise ValueError(
                f"baseline has shape {np.shape(baseline)}; give one number, or one for each of the "
                f"{n} domains."
            ) from None
        forward = _mean(np.diag(matrix, 1) - start[1:])
    return ForgettingReport(
        matrix,
        names,
        float(last.mean()),
        _mean(before.max(axis=0, initial=-np.inf) - last[:-1]),
        _mean(last[:-1] - itself[:-1]),
        forward,
    )


def _mean(differences):
    return float(differences.mean()) if len(differences) else 0.0


def forgetting_matrix(
    estimator, domains, *, test_domains=None, classes=None, n_calls=1, scoring=None
):
    """Scores on every domain after learning each: what `forgetting_report` reads.

    The estimator learns the domains one after the other. It is a clone; yours stays as it is. One
    with ``warm_start=True`` is fitted on each domain in turn; any other learns by ``partial_fit``,
    which is also the way for domains that bring new classes.

    Parameters
    ----------
    estimator : estimator
        With ``warm_start=True``, or with ``partial_fit``.
    domains : list of tuples (X, y)
        Training rows of each domain, in the order of learning.
    test_domains : list of tuples (X, y), optional
        Rows to score on, of the same domains; default the training rows, which says how well they
        are remembered.
    classes : array-like, optional
        All classes, for the first ``partial_fit``; default those of all domains, for classifiers of
        one column of labels. Masks (-1) are none to estimators that read them.
    n_calls : int, default=1
        Calls of ``partial_fit`` for each domain.
    scoring : str, callable or None, default=None
        As in scikit-learn; None is the estimator's ``score``.

    Returns
    -------
    matrix : ndarray of shape (n_domains, n_domains)
        Row i: scores after learning domain i; column j: on domain j.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDClassifier
    >>> from adaptlearn.metrics import forgetting_matrix
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> domains = [(X, X[:, 0] > 0), (X, X[:, 0] < 0)]  # the second says the opposite
    >>> forgetting_matrix(SGDClassifier(random_state=0), domains, n_calls=20).round(1)
    array([[1., 0.],
           [0., 1.]])
    """
    domains = _pairs(domains, "domains")
    tests = domains if test_domains is None else _pairs(test_domains, "test_domains")
    if len(tests) != len(domains):
        raise ValueError(
            f"test_domains has {len(tests)} entries and domains {len(domains)}; give the test rows "
            "of each domain, in the same order."
        )
    warm = getattr(estimator, "warm_start", False)
    if not warm and not hasattr(estimator, "partial_fit"):
        raise TypeError(
            f"estimator={estimator!r} cannot learn one domain after the other: it has neither "
            "partial_fit nor warm_start=True."
        )
    scorer, estimator = check_scoring(estimator, scoring), clone(estimator)
    if classes is None and not warm and is_classifier(estimator):
        classes = _classes(estimator, [y for _, y in domains])
    first = {} if classes is None else {"classes": classes}
    matrix = np.empty((len(domains), len(domains)))
    for i, (X, y) in enumerate(domains):
        for _ in range(1 if warm else n_calls):
            if warm:
                estimator.fit(X, y)
            else:
                estimator.partial_fit(X, y, **first)
            first = {}
        matrix[i] = [scorer(estimator, X_test, y_test) for X_test, y_test in tests]
    return matrix


def _classes(estimator, ys):
    """Labels that occur; None where rows have several."""
    if any(is_table(y) for y in ys):
        return None
    masks = takes_sample_domain(estimator, "predict")
    known = [read_labels(y)[0][~is_unlabelled(y)] if masks else np.asarray(y) for y in ys]
    return np.unique(np.concatenate(known))


def _pairs(domains, name):
    domains = list(domains)
    if not domains or any(not isinstance(d, (tuple, list)) or len(d) != 2 for d in domains):
        raise ValueError(f"{name} must be a list of pairs (X, y), one for each domain.")
    return domains
