"""Ask a fitted estimator about one side, whatever it is wrapped in."""

from __future__ import annotations

import inspect

from sklearn.pipeline import Pipeline

from .with_target import WithTarget


def unwrap(estimator, X):
    """Estimator inside a fitted search, and `X` as that estimator takes it.

    A search hands no argument on to the estimator it found, so it must be asked directly.
    """
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif isinstance(estimator, Pipeline) and hasattr(estimator.steps[-1][1], "best_estimator_"):
            if len(estimator.steps) > 1:
                X = estimator[:-1].transform(X)
            estimator = estimator.steps[-1][1]
        else:
            return estimator, X


def final_estimator(estimator):
    """What answers in the end: the last step, the best estimator, the one inside `WithTarget`."""
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif isinstance(estimator, WithTarget):
            estimator = estimator.estimator_
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def respond(estimator, method, X, sample_domain):
    """Call `method` with `sample_domain` where it is taken, and without it elsewhere."""
    estimator, X = unwrap(estimator, X)
    answer = getattr(estimator, method)
    final = getattr(final_estimator(estimator), method, None)
    if final is not None and "sample_domain" in inspect.signature(final).parameters:
        return answer(X, sample_domain=sample_domain)
    return answer(X)


def has_method(estimator, method):
    """Whether the estimator, out of its search, has this method."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return hasattr(estimator, method)


def inputs_of(estimator, X):
    """`X` as the last step of a fitted pipeline sees it."""
    estimator, X = unwrap(estimator, X)
    if isinstance(estimator, WithTarget):
        return inputs_of(estimator.estimator_, X)
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        return inputs_of(estimator.steps[-1][1], estimator[:-1].transform(X))
    return X
