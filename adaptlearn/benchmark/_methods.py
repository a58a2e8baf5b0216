"""What the benchmarks run: one entry a method, all with the same signature."""

from collections import namedtuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from . import _peers

Method = namedtuple("Method", "name predict config deterministic")
Method.__doc__ = """A method of the benchmark.

``predict(task, seed)`` returns predictions for ``task.X_target`` and reads no target label;
``config()`` returns what identifies the configuration; a deterministic method is run once.
"""

OURS = {
    "source_only": {"alignment": None, "normalize": "source", "label_shift": None},
    "domain_norm": {"alignment": None},
    "coral": {"alignment": "coral"},
    "mmd": {"alignment": "mmd"},
    "jmmd": {"alignment": "jmmd"},
    "dann": {"alignment": "dann"},
    "cdan": {"alignment": "cdan"},
    "mcc": {"alignment": "mcc"},
    "default": {},
}
"""Name -> what differs from ``DomainAdaptationClassifier()``."""

LOGISTIC = {"max_iter": 1000}
LOGISTIC_CONFIG = {**LOGISTIC, "folds": 5, "shuffle": False}


def fit_logistic(X, y, C_grid):
    """Logistic regression on source rows, C by 5-fold stratified cross-validation."""
    if len(C_grid) == 1:
        return LogisticRegression(C=C_grid[0], **LOGISTIC).fit(X, y)
    folds = StratifiedKFold(5)
    return GridSearchCV(LogisticRegression(**LOGISTIC), {"C": list(C_grid)}, cv=folds).fit(X, y)


def _logistic(task, seed):
    return fit_logistic(task.X_source, task.y_source, task.C_grid).predict(task.X_target)


def classifier(parameters, seed=None):
    """``DomainAdaptationClassifier`` with these parameters."""
    from .. import DomainAdaptationClassifier

    return DomainAdaptationClassifier(**parameters, random_state=seed)


def fitted(parameters, task, seed):
    """The same, fitted on both sides of the task."""
    model = classifier(parameters, seed)
    return model.fit(task.X_source, task.y_source, X_target=task.X_target)


def ours(parameters):
    """``predict`` of a :class:`Method` that is our estimator with these parameters."""

    def predict(task, seed):
        return np.asarray(fitted(parameters, task, seed).predict(task.X_target))

    return predict


def ours_config(parameters):
    """Its ``config``."""

    def config():
        return config_of(classifier(parameters))

    return config


def config_of(model):
    """What identifies the configuration of one of our estimators, not fitted."""
    from .._components import registered

    values = {name: repr(value) for name, value in model.get_params().items()}
    recipe = model.alignment
    if isinstance(recipe, str) and recipe == "auto":
        settled = (model._auto_settled or {}).values()
        recipe = [*np.atleast_1d(model._auto_alignment), *(n for names in settled for n in names)]
    # A component's own defaults decide the result as much as the estimator's.
    known = registered("alignment")
    parts = list(recipe) if isinstance(recipe, (list, tuple)) else [recipe]
    values["components"] = [
        repr(known[part]().get_params()) if part in known else repr(part)
        for part in parts
        if part is None or isinstance(part, str)
    ] + [repr(part.get_params()) for part in parts if hasattr(part, "get_params")]
    values["recipe"] = repr(recipe)
    return values


def _all_methods():
    logistic = Method("logistic", _logistic, lambda: LOGISTIC_CONFIG, deterministic=True)
    mine = [Method(name, ours(p), ours_config(p), False) for name, p in OURS.items()]
    peers = [
        Method(name, predict, config, deterministic)
        for name, predict, config, deterministic in _peers.methods(fit_logistic, LOGISTIC_CONFIG)
    ]
    return {method.name: method for method in [logistic, *mine, *peers]}


METHODS = _all_methods()
"""Name -> :class:`Method`, in the order of the tables."""
