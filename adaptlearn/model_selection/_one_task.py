"""One task of an estimator with several, for scorers."""

from __future__ import annotations

import numpy as np
from sklearn.utils import get_tags

from .._components import did_you_mean
from .._domains import read_domains
from .._labels import columns_of
from .._prediction import final_estimator, respond
from .._task_labels import TaskLabels, read_task_labels


class OneTask:
    """A fitted estimator with several tasks, as an estimator of one of them."""

    def __init__(self, estimator, place, kind, classes):
        self._estimator, self._place, self._kind = estimator, place, kind
        if kind == "classification":
            self.classes_ = classes

    def predict(self, X, *, sample_domain=None):
        column = respond(self._estimator, "predict", X, sample_domain)[:, self._place]
        dtype = np.float64 if self._kind == "regression" else self.classes_.dtype
        return column.astype(dtype)

    def predict_proba(self, X, *, sample_domain=None):
        return respond(self._estimator, "predict_proba", X, sample_domain)[self._place]

    def __sklearn_tags__(self):
        tags = get_tags(final_estimator(self._estimator))
        if self._kind == "regression":
            tags.estimator_type, tags.classifier_tags = "regressor", None
        return tags

    def __sklearn_is_fitted__(self):
        return True


def one_task(estimator, y, task, sample_domain):
    """Estimator and labels of one task, and the side of the rows.

    Returns
    -------
    estimator : OneTask
    y : ndarray of shape (n_rows,)
        Of objects, None where the label is missing; numbers in regression.
    sample_domain : int, array-like or str
        As given. Otherwise by the rows without any label: one that lacks a label of this task alone
        says nothing about sides.
    """
    final = final_estimator(estimator)
    names = getattr(final, "task_names_", None)
    if names is None or not isinstance(final.classes_, list):
        raise ValueError(
            f"task={task!r}, but {type(final).__name__} was not fitted with several columns of "
            "labels. Leave task=None."
        )
    if task not in names:
        raise ValueError(f"task={task!r} is not known; {did_you_mean(task, names)}")
    k = names.index(task)
    known = TaskLabels(names, final.tasks_, final.classes_, None, False)
    table = read_task_labels(y, known=known)
    missing = np.isnan(table.values[:, k])
    if sample_domain is None:
        is_target, labelled = read_domains(table.any_known(), classes=())
        sample_domain = "target" if is_target[labelled].any() else "source"
    if final.tasks_[k] == "regression":
        column = table.values[:, k]
    else:
        column = columns_of(y)[1][k].astype(object)
        column[missing] = None
    return OneTask(estimator, k, final.tasks_[k], final.classes_[k]), column, sample_domain
