"""Long-tailed source, balanced target: ``python -m adaptlearn.benchmark imbalance``.

Source classes keep so many rows that their counts fall geometrically, from the most frequent class
to one with 1/10, 1/50 or 1/100 of its rows (at least two); which class is rare is drawn with the
seed. The target keeps equally many rows of every class. Inputs move between the domains as well:
these are pairs of the accuracy benchmark, and red and white wine.

Every loss, every sampler and some of both are run inside the default estimator, beside
imbalanced-learn on the source alone. Target labels are read for the score and nowhere else.
"""

from functools import partial

import numpy as np

from . import _protocol, _runner
from ._draws import balanced, long_tail
from ._methods import Method, classifier, fit_logistic, ours
from ._results import format_tables

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
_SOURCE_ONLY = {"alignment": None, "normalize": "source", "label_shift": None}
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


def _ours_config(parameters):
    def config():
        return {name: repr(value) for name, value in classifier(parameters).get_params().items()}

    return config


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
        *(Method(name, ours(p), _ours_config(p), False) for name, p in OURS.items()),
    )
}


# --- rows -----------------------------------------------------------------------------------


def make_task(set_, pair, seed, data_home=None):
    """Long-tailed source and balanced target of one pair; `set_` is "name/ratio"."""
    name, ratio = set_.split("/")
    task = _protocol.make_task(name, pair, data_home)
    rng = np.random.default_rng([seed, int(ratio)])
    source, target = long_tail(task.y_source, float(ratio), rng), balanced(task.y_target, rng)
    return _protocol.with_rows(task, source, target)


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
    """Do one run and return its record, with ``error`` where it failed."""
    task = make_task(run["set"], run["pair"], run["seed"], data_home)

    def figures():
        return _protocol.scores(task.y_target, METHODS[run["method"]].predict(task, run["seed"]))

    return _runner.attempt(run, figures)


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, SETS, METHODS, RESULTS)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    tables = partial(format_tables, figures=FIGURES)
    return _runner.run(args, _runner.Bench(SETS, METHODS, plan, work, tables))
