"""Ask a fitted estimator about one side, whatever it is wrapped in."""

from __future__ import annotations

import inspect

from sklearn.pipeline import Pipeline


def _out_of_search(estimator):
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def final_estimator(estimator):
    """What answers in the end: the last step, the best estimator, the one inside `WithTarget`."""
    while True:
        estimator = _out_of_search(estimator)
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "X_target"):
            estimator = estimator.estimator_
        else:
            return estimator


def last_step(estimator, X):
    """Last step of a fitted pipeline, out of any search, and `X` as that step takes it."""
    estimator = _out_of_search(estimator)
    if not isinstance(estimator, Pipeline):
        return estimator, X
    if len(estimator.steps) > 1:
        X = estimator[:-1].transform(X)
    return last_step(estimator.steps[-1][1], X)


def inputs_of(estimator, X):
    """`X` as the last step of a fitted pipeline takes it, also inside `WithTarget`."""
    estimator, X = last_step(estimator, X)
    return inputs_of(estimator.estimator_, X) if hasattr(estimator, "X_target") else X


def takes_sample_domain(estimator, method):
    """Whether what answers in the end knows about sides."""
    final = getattr(final_estimator(estimator), method, None)
    return final is not None and "sample_domain" in inspect.signature(final).parameters


def respond(estimator, method, X, sample_domain):
    """Call `method` with `sample_domain` where it is taken, and without it elsewhere."""
    if not takes_sample_domain(estimator, method):
        return getattr(estimator, method)(X)
    # Not through the wrappers: a search hands no argument on to the estimator it found, and a
    # pipeline none to `transform` unless metadata routing is on.
    estimator, X = last_step(estimator, X)
    return getattr(estimator, method)(X, sample_domain=sample_domain)


def has_method(estimator, method):
    """Whether the estimator, out of its search, has this method."""
    return hasattr(_out_of_search(estimator), method)
