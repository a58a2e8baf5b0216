"""Labels of several tasks: one column of `y` each, any of them missing in any row.

The data convention of `_domains`, column by column: -1 (or "-1" among strings), NaN, None and
``pd.NA`` say that the row has no label for the task; in a column of numbers to regress on, only
NaN, None and ``pd.NA`` do. A row without any label is a target row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._components import did_you_mean
from ._domains import read_fit
from ._labels import (
    columns_of,
    is_continuous,
    is_mask,
    is_null,
    is_plus_minus_one,
    is_table,
    read_labels,
)

KINDS = ("auto", "classification", "regression")


class TaskLabels(NamedTuple):
    """A table of labels; lists have one entry per task."""

    names: list  # column names, or 0, 1, ...
    kinds: list  # "classification" or "regression"
    classes: list  # labels that codes stand for; None in regression
    values: np.ndarray  # (n_rows, n_tasks) float64: class codes or numbers, NaN where missing
    one_column: bool  # y had one dimension

    def any_known(self):
        """0 in rows with a label of any task, NaN in the others."""
        return np.where(np.isnan(self.values).all(axis=1), np.nan, 0.0)


def read_task_labels(y, tasks="auto", *, known=None, given_classes=None, domain_given=False):
    """Read a table of labels.

    Parameters
    ----------
    y : array-like of shape (n_rows, n_tasks) or (n_rows,)
    tasks : "auto", "classification", "regression", or list or dict of these
    known : TaskLabels, optional
        What an earlier fit settled: names, kinds and classes.
    given_classes : list of ndarray or None, optional
        All classes of each task, sorted.
    domain_given : bool
        Whether sides are told apart by `sample_domain` or `X_target`. If not, and all class labels
        are exactly {-1, 1}, -1 is a class.

    Returns
    -------
    TaskLabels
        Classes hold all labels that occur, those of `known` and `given_classes` first.
    """
    one_column = not is_table(y)
    names, columns = columns_of(y)
    if known is not None:
        _check_columns(names, known)
        kinds = known.kinds
    else:
        kinds = _kinds(tasks, names, columns, one_column)
    labels = [
        read_labels(column) if kind == "classification" else _numbers(column, name)
        for name, kind, column in zip(names, kinds, columns, strict=True)
    ]
    settled = [None] * len(names) if known is None else known.classes
    if given_classes is not None:
        _check_given(given_classes, kinds)
        settled = given_classes
    nominal = [part for part, kind in zip(labels, kinds, strict=True) if kind == "classification"]
    plus_minus = not domain_given and all(is_plus_minus_one(y[~null]) for y, null in nominal)
    classes, values = [], []
    for k, (column, null) in enumerate(labels):
        if kinds[k] == "regression":
            classes.append(None)
            values.append(np.where(null, np.nan, column))
            continue
        is_class = plus_minus if settled[k] is None else is_mask(settled[k]).any()
        missing = null if is_class else null | is_mask(column)
        codes, all_classes = _codes(column, missing, settled[k])
        classes.append(all_classes)
        values.append(codes)
    values = np.stack(values, axis=1) if len(names) else np.empty((0, 0))
    return TaskLabels(names, list(kinds), classes, values, one_column)


def read_fit_tasks(labels, n_rows, **given):
    """`adaptlearn._domains.read_fit` for `TaskLabels`: ``y`` has one column per task.

    Returns
    -------
    FitRows
        ``labelled`` rows have a label of any task; in their ``y`` NaN stands for missing ones.
    """
    rows = read_fit(labels.any_known(), n_rows, regression=True, **given)
    y = np.full((len(rows.y), labels.values.shape[1]), np.nan)
    y[:n_rows] = labels.values
    y[~rows.labelled] = np.nan
    return rows._replace(y=y)


def _check_columns(names, known):
    if names == known.names:
        return
    if len(names) != len(known.names):
        raise ValueError(
            f"y has {len(names)} columns, fit saw {len(known.names)} tasks: {known.names}. Give "
            "one column per task, all missing (-1 or NaN) where there is no label."
        )
    # An array may follow a frame, and the other way round; two frames must agree.
    numbers = list(range(len(names)))
    if numbers not in (names, known.names):
        raise ValueError(f"y has the columns {names}, fit saw {known.names} in this order.")


def _kinds(tasks, names, columns, one_column):
    """Kind of each task, "auto" settled by the labels."""
    if isinstance(tasks, dict):
        unknown = [name for name in tasks if name not in names]
        if unknown:
            raise ValueError(f"tasks has the key {unknown[0]!r}; {did_you_mean(unknown[0], names)}")
        wanted = [tasks.get(name, "auto") for name in names]
    elif isinstance(tasks, str):
        wanted = [tasks] * len(names)
    else:
        wanted = list(tasks)
    if len(wanted) != len(names):
        raise ValueError(f"tasks has {len(wanted)} entries for the {len(names)} columns of y.")
    kinds = []
    for kind, name, column in zip(wanted, names, columns, strict=True):
        if kind not in KINDS:
            raise ValueError(f"tasks holds {kind!r} for task {name!r}; {did_you_mean(kind, KINDS)}")
        if kind == "auto":
            labels, null = read_labels(column)
            kind = "regression" if is_continuous(labels[~null]) else "classification"
            if kind == "regression" and one_column:
                raise ValueError(
                    "Unknown label type: continuous. y is one column of numbers with fractions; "
                    "say tasks='regression', or use DomainAdaptationRegressor."
                )
        kinds.append(kind)
    return kinds


def _numbers(column, name):
    null = is_null(column)
    try:
        column = np.where(null, 0.0, column).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must hold numbers (NaN: no label) in the regression task {name!r}: {error}"
        ) from None
    if np.isinf(column).any():
        raise ValueError(f"y contains infinity in task {name!r}; drop such rows or labels.")
    return column, null


def _check_given(classes, kinds):
    if len(classes) != len(kinds):
        raise ValueError(
            f"classes has {len(classes)} entries for {len(kinds)} tasks; give a list with the "
            "classes of each task, None for regression."
        )
    for kind, of_task in zip(kinds, classes, strict=True):
        if (of_task is None) != (kind == "regression"):
            raise ValueError(
                f"classes={classes!r} does not fit the tasks {kinds}: give the classes of each "
                "classification task, None for regression."
            )


def _codes(column, missing, settled):
    """Float codes with NaN where missing, and the classes they stand for."""
    seen, inverse = np.unique(column[~missing], return_inverse=True)
    if settled is None:
        classes, place = seen, np.arange(len(seen))
    else:
        table = {label: code for code, label in enumerate(settled.tolist())}
        new = [label for label in seen.tolist() if label not in table]
        table |= {label: len(settled) + k for k, label in enumerate(new)}
        place = np.array([table[label] for label in seen.tolist()], dtype=np.int64)
        # As objects: NumPy would turn a number beside strings into a string.
        classes = np.concatenate([settled.astype(object), new]) if new else settled
    codes = np.full(len(column), np.nan)
    codes[~missing] = place[inverse.ravel()]
    return codes, classes
