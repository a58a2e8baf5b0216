"""Predictions of both sides by classifiers that saw none of the predicted rows."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed

from .._containers import n_rows, take_rows
from .._fit_names import weight_name


class OutOfFold(NamedTuple):
    """Predictions of the classifiers of all folds; columns in the order of the classes."""

    rows: np.ndarray  # row numbers of the held-out source rows
    source: np.ndarray  # (len(rows), n_classes)
    target: np.ndarray | None  # (n_target, n_classes)


def fit_clone(estimator, X, y, weight):
    """Fit a clone of a classifier, or of a pipeline that ends in one."""
    estimator = clone(estimator)
    if weight is None:
        return estimator.fit(X, y)
    return estimator.fit(X, y, **{weight_name(estimator): weight})


def predict_out_of_fold(estimator, X, y, classes, weight, X_target, cv, n_jobs):
    """Fit a clone on each fold; predict its held-out rows and its share of the target.

    The target rows are dealt out to the folds. So each side is a sample of one and the same mixture
    of classifiers, which predictions by a classifier of all source rows would not be.

    Returns
    -------
    OutOfFold, or None where the classes have too few rows for two folds
    """
    if isinstance(cv, (int, np.integer)):
        # No more folds than the largest class has rows; smaller classes miss in some folds.
        cv = min(int(cv), np.unique(y, return_counts=True)[1].max())
        if cv < 2:
            return None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        folds = list(check_cv(cv, y, classifier=True).split(X, y))
    n_target = 0 if X_target is None else n_rows(X_target)
    dealt = [np.arange(fold, n_target, len(folds)) for fold in range(len(folds))]
    predicted = Parallel(n_jobs=n_jobs)(
        delayed(_one_fold)(estimator, X, y, classes, weight, train, test, X_target, of_target)
        for (train, test), of_target in zip(folds, dealt, strict=True)
    )
    source, target = zip(*predicted, strict=True)
    in_order = np.argsort(np.concatenate(dealt))
    return OutOfFold(
        np.concatenate([test for _, test in folds]),
        np.concatenate(source),
        np.concatenate(target)[in_order] if n_target else None,
    )


def _one_fold(estimator, X, y, classes, weight, train, test, X_target, of_target):
    seen = np.unique(y[train])
    if len(seen) > 1:
        of_fold = None if weight is None else weight[train]
        fitted = fit_clone(estimator, take_rows(X, train), y[train], of_fold)
    blocks = []
    for block, rows in ((X, test), (X_target, of_target)):
        proba = np.zeros((len(rows), len(classes)))
        if len(seen) == 1:
            proba[:, np.searchsorted(classes, seen)] = 1.0
        elif len(rows):
            columns = np.searchsorted(classes, fitted.classes_)
            proba[:, columns] = fitted.predict_proba(take_rows(block, rows))
        blocks.append(proba)
    return blocks
