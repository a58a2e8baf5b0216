"""Target accuracy of every method on public data: ``python -m adaptlearn.benchmark accuracy``.

Each run is one (set, pair, method, seed). Its result is one line of the results file as soon as
it is known, so the same command after an interruption does only what is missing. A result counts
for the configuration it was made with: after a change of defaults those methods run again.
"""

import time
import warnings
from functools import lru_cache, partial

import numpy as np
from sklearn.metrics import accuracy_score, recall_score

from . import _protocol, _runner
from ._methods import METHODS

RESULTS = "adaptlearn-accuracy.jsonl"
FIGURES = (("accuracy", "accuracy"), ("balanced", "balanced_accuracy"))


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, _protocol.SETS, METHODS, RESULTS)


def plan_runs(sets, methods, seeds, quick=False):
    """List the runs of these sets and methods."""
    pairs = partial(_protocol.pair_names, quick=quick)
    chosen = {name: METHODS[name] for name in methods}
    return _runner.plan(sets, chosen, seeds, pairs, _protocol.VERSION)


@lru_cache(maxsize=2)
def _task(name, pair, data_home):
    return _protocol.make_task(name, pair, data_home)


def run_one(run, data_home=None):
    """Do one run and return its record; on failure the record has ``error`` and no score."""
    task = _task(run["set"], run["pair"], data_home)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = METHODS[run["method"]].predict(task, run["seed"])
    except Exception as error:  # one failing method must not end hours of the others
        return {**run, "error": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - started
    # Mean recall over the classes the target has: predictions of an absent class are errors of
    # the rows they hit, not a class of their own.
    present = np.unique(task.y_target)
    balanced = recall_score(
        task.y_target, predicted, labels=present, average="macro", zero_division=0
    )
    return {
        **run,
        "accuracy": round(float(accuracy_score(task.y_target, predicted)), 6),
        "balanced_accuracy": round(float(balanced), 6),
        "seconds": round(seconds, 3),
    }


def work(run, data_home=None):
    """Do one run on one thread."""
    if run["method"] != "logistic":  # which needs no torch
        import torch

        torch.set_num_threads(1)
    return run_one(run, data_home)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    bench = _runner.Bench(
        _protocol.SETS, METHODS, plan_runs, work, _n_pairs, _protocol.available, FIGURES, "logistic"
    )
    return _runner.run(args, bench)


def _n_pairs(name, quick):
    return len(_protocol.pair_names(name, quick))
