"""Runs of a benchmark, one after the other in some processes, kept as they end; and its options."""

import argparse
import os
import sys
import time
import warnings
from collections import namedtuple
from functools import partial

from joblib import Parallel, delayed

from . import _peers, _protocol
from ._results import ResultStore, fingerprint

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Bench = namedtuple(
    "Bench", "sets methods plan work tables available", defaults=[_protocol.available]
)
Bench.__doc__ = """What tells one benchmark from another.

``sets`` and ``methods`` are all names; ``plan(sets, methods, seeds, quick)`` lists the runs;
``work(run, data_home)`` does one and returns its record; ``tables(records, sets, methods,
n_pairs)`` is the text of the tables, ``n_pairs`` the planned pairs by set; ``available(set,
data_home)`` says what a set lacks to be run, if anything.
"""


def one_of(allowed):
    """Type of an option that must be one of the names."""

    def parse(text):
        if text not in allowed:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(allowed)}")
        return text

    return parse


def positive(text):
    """Type of an option that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def add_arguments(parser, sets, methods, results):
    """Declare the options that every benchmark on data has."""
    parser.add_argument("--data-home", help="folder of the benchmark files (or ADAPTLEARN_DATA)")
    parser.add_argument("--quick", action="store_true", help="few pairs, one seed: 5 minutes")
    parser.add_argument("--sets", nargs="+", type=one_of(sets), metavar="SET",
                        help=f"out of: {', '.join(sets)}")  # fmt: skip
    parser.add_argument("--methods", nargs="+", type=one_of(methods), metavar="METHOD",
                        help=f"out of: {', '.join(methods)}")  # fmt: skip
    parser.add_argument("--results", default=results, help="results file (default: %(default)s)")
    parser.add_argument("--n-jobs", type=positive, default=2, help="processes (default: 2)")
    parser.add_argument("--seeds", type=positive, default=5, help="seeds 0..N-1 (default: 5)")
    parser.add_argument("--tables", action="store_true", help="show what is there, run nothing")


def plan(sets, methods, seeds, pairs, version):
    """List the runs in the order they are done: seed, then set, pair, method.

    Seeds are outermost, so that an interrupted benchmark has every cell of its tables.

    Parameters
    ----------
    sets : list of str
    methods : dict of str to Method
    seeds : int
    pairs : callable
        ``pairs(set)`` lists the pairs of a set.
    version : int
        Part of every fingerprint.
    """
    prints = {name: fingerprint([version, method.config()]) for name, method in methods.items()}
    return [
        {"set": set_, "pair": pair, "method": name, "seed": seed, "fingerprint": prints[name]}
        for seed in range(seeds)
        for set_ in sets
        for pair in pairs(set_)
        for name, method in methods.items()
        if seed == 0 or not method.deterministic
    ]


def attempt(run, figures):
    """Record of one run, on one thread: what ``figures()`` returns, by name, and its seconds.

    Where it fails, the record has ``error`` instead: one failing method must not end hours of
    the others.
    """
    import torch

    torch.set_num_threads(1)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = {name: round(float(value), 6) for name, value in figures().items()}
    except Exception as error:
        return {**run, "error": f"{type(error).__name__}: {error}"}
    return {**run, **found, "seconds": round(time.perf_counter() - started, 3)}


def _minutes(seconds):
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def execute(runs, store, work, *, n_jobs=2, stream=None):
    """Do the runs that the store lacks; return how many failed.

    Parameters
    ----------
    runs : list of dict
    store : ResultStore
        Gets each record as soon as it is known.
    work : callable
        ``work(run)`` returns the record, with ``error`` where there is no score.
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
    jobs = (delayed(work)(run) for run in missing)
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


def _runnable(sets, methods, data_home, available):
    """Sets whose files are there, methods that can run, and why the others cannot."""
    problems = {name: available(name, data_home) for name in sets}
    notes = [f"set {name} is not run: {text}" for name, text in problems.items() if text]
    can_run = list(methods)
    if not _peers.skada_available() and any(name in _peers.NAMES for name in methods):
        can_run = [name for name in methods if name not in _peers.NAMES]
        notes.append("skada's methods are not run: pip install 'adaptlearn[peers]' adds them.")
    return [name for name in sets if not problems[name]], can_run, notes


def run(args, bench):
    """Run a benchmark as the arguments say and print its tables; return an exit code."""
    sets, methods = args.sets or list(bench.sets), args.methods or list(bench.methods)
    try:
        store = ResultStore(args.results)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    # Tables show every result there is, also of a method that cannot run here and now.
    runs = bench.plan(sets, methods, 1 if args.quick else args.seeds, args.quick)
    code = 0
    if not args.tables:
        sets_here, methods_here, notes = _runnable(sets, methods, args.data_home, bench.available)
        for note in notes:
            print(note, file=sys.stderr)
        todo = [run for run in runs if run["set"] in sets_here and run["method"] in methods_here]
        if not todo:
            print("Nothing to run.", file=sys.stderr)
            return 2
        try:
            work = partial(bench.work, data_home=args.data_home)
            failed = execute(todo, store, work, n_jobs=args.n_jobs)
            code = int(failed > 0)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on from here.", file=sys.stderr)
            code = 130
    pairs = {(run["set"], run["pair"]) for run in runs}
    n_pairs = {name: sum(set_ == name for set_, _ in pairs) for name in sets}
    records = store.select(runs)
    print(bench.tables(records, sets, methods, n_pairs))
    return code
