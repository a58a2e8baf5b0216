"""Target accuracy of every method on public data: ``python -m adaptlearn.benchmark accuracy``.

Each run is one (set, pair, method, seed). Its result is one line of the results file as soon as
it is known, so the same command after an interruption does only what is missing. A result counts
for the configuration it was made with: after a change of defaults those methods run again.
"""

import argparse
import os
import sys
import time
import warnings
from functools import lru_cache

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import accuracy_score, recall_score

from . import _peers, _protocol
from ._methods import METHODS
from ._results import ResultStore, fingerprint, format_tables

RESULTS = "adaptlearn-accuracy.jsonl"
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _names(allowed):
    def parse(text):
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return parse


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    parser.add_argument("--data-home", help="folder of the benchmark files (or ADAPTLEARN_DATA)")
    parser.add_argument("--quick", action="store_true", help="few pairs, one seed: 5 minutes")
    parser.add_argument("--sets", nargs="+", type=_names(_protocol.SETS), metavar="SET",
                        help=f"out of: {', '.join(_protocol.SETS)}")  # fmt: skip
    parser.add_argument("--methods", nargs="+", type=_names(METHODS), metavar="METHOD",
                        help=f"out of: {', '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--results", default=RESULTS, help="results file (default: %(default)s)")
    parser.add_argument("--n-jobs", type=_positive, default=2, help="processes (default: 2)")
    parser.add_argument("--seeds", type=_positive, default=5, help="seeds 0..N-1 (default: 5)")
    parser.add_argument("--tables", action="store_true", help="show what is there, run nothing")


def plan_runs(sets, methods, seeds, quick=False):
    """List the runs in the order they are done: seed, then set, pair, method.

    Seeds are outermost, so that an interrupted benchmark has every cell of its tables.
    """
    prints = {name: fingerprint([_protocol.VERSION, METHODS[name].config()]) for name in methods}
    return [
        {"set": set_, "pair": pair, "method": name, "seed": seed, "fingerprint": prints[name]}
        for seed in range(seeds)
        for set_ in sets
        for pair in _protocol.pair_names(set_, quick)
        for name in methods
        if seed == 0 or not METHODS[name].deterministic
    ]


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


def _worker(run, data_home):
    if run["method"] != "logistic":  # which needs no torch
        import torch

        torch.set_num_threads(1)
    return run_one(run, data_home)


def _minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def execute(runs, store, *, data_home=None, n_jobs=2, stream=None):
    """Do the runs that the store lacks; return how many failed.

    Parameters
    ----------
    runs : list of dict
        From :func:`plan_runs`.
    store : ResultStore
        Gets each record as soon as it is known.
    data_home : str, default=None
    n_jobs : int, default=2
        Processes, one thread each.
    stream : file, default=None
        Where progress goes; ``None`` is stderr.

    Returns
    -------
    failed : int
    """
    stream = sys.stderr if stream is None else stream
    missing = [run for run in runs if run not in store]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there.", file=stream, flush=True)
    if not missing:
        return 0
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, "1")
    jobs = (delayed(_worker)(run, data_home) for run in missing)
    parallel = Parallel(n_jobs=min(n_jobs, len(missing)), return_as="generator_unordered")
    started = shown = time.monotonic()
    failed = 0
    for done, record in enumerate(parallel(jobs), 1):
        if "error" in record:
            failed += 1
            where = f"{record['set']} {record['pair']} {record['method']} seed {record['seed']}"
            print(f"failed: {where}: {record['error']}", file=stream, flush=True)
        else:
            store.append(record)
        now = time.monotonic()
        if now - shown > 10 or done == len(missing):
            shown = now
            left = (now - started) / done * (len(missing) - done)
            text = f"{done}/{len(missing)} runs, {_minutes(now - started)}, left {_minutes(left)}"
            print(text, file=stream, flush=True)
    return failed


def _runnable(sets, methods, data_home):
    """Sets whose files are there, methods that can run, and why the others cannot."""
    problems = {name: _protocol.available(name, data_home) for name in sets}
    notes = [f"set {name} is not run: {text}" for name, text in problems.items() if text]
    can_run = list(methods)
    if not _peers.skada_available() and any(name in _peers.NAMES for name in methods):
        can_run = [name for name in methods if name not in _peers.NAMES]
        notes.append("skada's methods are not run: pip install 'adaptlearn[peers]' adds them.")
    return [name for name in sets if not problems[name]], can_run, notes


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    sets, methods = args.sets or list(_protocol.SETS), args.methods or list(METHODS)
    try:
        store = ResultStore(args.results)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    # Tables show every result there is, also of a method that cannot run here and now.
    runs = plan_runs(sets, methods, 1 if args.quick else args.seeds, args.quick)
    code = 0
    if not args.tables:
        sets_here, methods_here, notes = _runnable(sets, methods, args.data_home)
        for note in notes:
            print(note, file=sys.stderr)
        todo = [run for run in runs if run["set"] in sets_here and run["method"] in methods_here]
        if not todo:
            print("Nothing to run.", file=sys.stderr)
            return 2
        try:
            failed = execute(todo, store, data_home=args.data_home, n_jobs=args.n_jobs)
            code = int(failed > 0)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from here.", file=sys.stderr)
            code = 130
    n_pairs = {name: len(_protocol.pair_names(name, args.quick)) for name in sets}
    print(format_tables(store.select(runs), sets, methods, n_pairs))
    return code
