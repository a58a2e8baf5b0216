"""Long-tailed source, balanced target: ``python -m adaptlearn.benchmark imbalance``.

Source classes keep so many rows that their counts fall geometrically, from the most frequent class
to one with 1/10, 1/50 or 1/100 of its rows (at least two); which class is rare is drawn with the
seed. The target keeps equally many rows of every class. Inputs move between the domains as well:
these are pairs of the accuracy benchmark, and red and white wine.

Every loss, every sampler and some of both are run inside the default estimator, beside
imbalanced-learn on the source alone. Target labels are read for the score and nowhere else.
"""

import time
import warnings
from functools import lru_cache, partial

import numpy as np
from sklearn.metrics import accuracy_score, recall_score
from sklearn.preprocessing import StandardScaler

from .. import datasets
from . import _protocol, _runner
from ._methods import Method, fit_logistic

RESULTS = "adaptlearn-imbalance.jsonl"
RATIOS = (10, 50, 100)
PAIRS = {
    "digits": ("mnist->usps", "usps->mnist"),
    "office31": ("amazon->webcam", "webcam->amazon"),
    "gas": ("batch1->batch3", "batch1->batch9"),
    "wine": ("red->white", "white->red"),
}
QUICK = {"digits": 1, "gas": 1, "wine": 1}
SETS = tuple(f"{name}/{ratio}" for name in PAIRS for ratio in RATIOS)
FIGURES = (
    ("balanced accuracy", "balanced_accuracy"),
    ("worst-class recall", "worst_class_recall"),
)
VERSION = 1  # part of every result's fingerprint: raise it when rows or scaling change

_BALANCED = {"sampling": "balanced"}
_BOTH = {**_BALANCED, "target_sampling": "pseudo_balanced"}
_SOURCE_ONLY = {"alignment": None, "normalize": "source"}
OURS = {
    "source_only": _SOURCE_ONLY,
    "source_only, logit_adjusted": {**_SOURCE_ONLY, "criterion": "logit_adjusted"},
    "source_only, balanced": {**_SOURCE_ONLY, **_BALANCED},
    "default": {},
    "focal": {"criterion": "focal"},
    "asymmetric": {"criterion": "asymmetric"},
    "class_balanced": {"criterion": "class_balanced"},
    "ldam": {"criterion": "ldam"},
    "logit_adjusted": {"criterion": "logit_adjusted"},
    "class_weight": {"class_weight": "balanced"},
    "sqrt": {"sampling": "sqrt"},
    "balanced": _BALANCED,
    "progressive": {"sampling": "progressive"},
    "both_balanced": _BOTH,
    "focal, balanced": {"criterion": "focal", **_BALANCED},
    "asymmetric, balanced": {"criterion": "asymmetric", **_BALANCED},
    "logit_adjusted, pseudo_balanced": {
        "criterion": "logit_adjusted", "target_sampling": "pseudo_balanced",
    },
}  # fmt: skip
"""Name -> what differs from ``DomainAdaptationClassifier()``."""


# --- methods --------------------------------------------------------------------------------


def _ours(parameters):
    def predict(task, seed):
        from .. import DomainAdaptationClassifier

        model = DomainAdaptationClassifier(**parameters, random_state=seed)
        model.fit(task.X_source, task.y_source, X_target=task.X_target)
        return model.predict(task.X_target)

    def config():
        from .. import DomainAdaptationClassifier

        model = DomainAdaptationClassifier(**parameters)
        return {name: repr(value) for name, value in model.get_params().items()}

    return predict, config


def _smote_logistic(task, seed):
    from imblearn.over_sampling import SMOTE

    # A class of n rows has n - 1 neighbours; two rows are the fewest there are.
    k = min(5, np.bincount(task.y_source)[np.unique(task.y_source)].min() - 1)
    X, y = SMOTE(k_neighbors=k, random_state=seed).fit_resample(task.X_source, task.y_source)
    return fit_logistic(X, y, task.C_grid).predict(task.X_target)


def _balanced_forest(task, seed):
    from imblearn.ensemble import BalancedRandomForestClassifier

    forest = BalancedRandomForestClassifier(n_estimators=200, random_state=seed)
    return forest.fit(task.X_source, task.y_source).predict(task.X_target)


def _logistic(task, seed):
    return fit_logistic(task.X_source, task.y_source, task.C_grid).predict(task.X_target)


METHODS = {
    method.name: method
    for method in (
        Method("logistic", _logistic, lambda: "logistic", False),
        Method("smote_logistic", _smote_logistic, lambda: "smote", False),
        Method("balanced_forest", _balanced_forest, lambda: "forest", False),
        *(Method(name, *_ours(parameters), False) for name, parameters in OURS.items()),
    )
}


# --- rows -----------------------------------------------------------------------------------


def long_tail(y, ratio, rng):
    """Row numbers whose class counts fall geometrically by `ratio` in all.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    ratio : float
        Rows of the most frequent class over those of the rarest, > 1.
    rng : numpy.random.Generator
        Draws the order of the classes and their rows.
    """
    classes, available = np.unique(y, return_counts=True)
    share = ratio ** (-rng.permutation(len(classes)) / (len(classes) - 1))
    counts = np.minimum(available, np.maximum(2, np.floor(share * (available / share).min())))
    return _take(y, classes, counts.astype(int), rng)


def balanced(y, rng):
    """Row numbers with equally many rows of every class."""
    classes, available = np.unique(y, return_counts=True)
    return _take(y, classes, np.full(len(classes), available.min()), rng)


def _take(y, classes, counts, rng):
    order = rng.permutation(len(y))
    rows = [order[y[order] == c][:n] for c, n in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(rows))


@lru_cache(maxsize=4)
def _pair(name, pair, data_home):
    if name != "wine":
        return _protocol.make_task(name, pair, data_home)
    data = datasets.load_wine_quality(data_home=data_home)
    y = np.clip(data.y, 4, 7) - 4  # grades up to 4, 5, 6, from 7: the others are too rare
    source, target = (data.domain == data.domains.index(side) for side in pair.split("->"))
    scaler = StandardScaler().fit(data.X[source])
    X_source, X_target = (scaler.transform(data.X[s]).astype(np.float32) for s in (source, target))
    return _protocol.Task(name, pair, X_source, y[source], X_target, y[target], (0.1, 1.0))


def make_task(set_, pair, seed, data_home=None):
    """Long-tailed source and balanced target of one pair; `set_` is "name/ratio"."""
    name, ratio = set_.split("/")
    task = _pair(name, pair, None if data_home is None else str(data_home))
    rng = np.random.default_rng([seed, int(ratio)])
    source, target = long_tail(task.y_source, float(ratio), rng), balanced(task.y_target, rng)
    return task._replace(
        X_source=task.X_source[source],
        y_source=task.y_source[source],
        X_target=task.X_target[target],
        y_target=task.y_target[target],
    )


# --- runs -----------------------------------------------------------------------------------


def plan(sets, methods, seeds, quick=False):
    """List the runs of these sets and methods."""
    chosen = {name: METHODS[name] for name in methods}
    return _runner.plan(sets, chosen, seeds, partial(_pairs, quick=quick), VERSION)


def _pairs(set_, quick):
    name, ratio = set_.split("/")
    if not quick:
        return PAIRS[name]
    return PAIRS[name][: QUICK.get(name, 0)] if int(ratio) == RATIOS[1] else ()


def work(run, data_home=None):
    """Do one run on one thread and return its record, with ``error`` where it failed."""
    import torch

    torch.set_num_threads(1)
    task = make_task(run["set"], run["pair"], run["seed"], data_home)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = METHODS[run["method"]].predict(task, run["seed"])
    except Exception as error:  # one failing method must not end hours of the others
        return {**run, "error": f"{type(error).__name__}: {error}"}
    labels = np.unique(task.y_target)
    recall = recall_score(task.y_target, predicted, labels=labels, average=None, zero_division=0)
    return {
        **run,
        "accuracy": round(float(accuracy_score(task.y_target, predicted)), 6),
        "balanced_accuracy": round(float(recall.mean()), 6),
        "worst_class_recall": round(float(recall.min()), 6),
        "seconds": round(time.perf_counter() - started, 3),
    }


def _available(set_, data_home=None):
    name = set_.split("/")[0]
    try:
        _pair(name, PAIRS[name][0], None if data_home is None else str(data_home))
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, SETS, METHODS, RESULTS)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""

    def n_pairs(set_, quick):
        return len(_pairs(set_, quick))

    bench = _runner.Bench(SETS, METHODS, plan, work, n_pairs, _available, FIGURES, "logistic")
    return _runner.run(args, bench)
