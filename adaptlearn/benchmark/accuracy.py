"""Target accuracy of every method on public data: ``python -m adaptlearn.benchmark accuracy``.

Each run is one (set, pair, method, seed). Its result is one line of the results file as soon as
it is known, so the same command after an interruption does only what is missing. A result counts
for the configuration it was made with: after a change of defaults those methods run again.
"""

from functools import partial

from . import _protocol, _runner
from ._methods import METHODS
from ._results import format_tables

RESULTS = "adaptlearn-accuracy.jsonl"


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, _protocol.SETS, METHODS, RESULTS)


def plan_runs(sets, methods, seeds, quick=False):
    """List the runs of these sets and methods."""
    pairs = partial(_protocol.pair_names, quick=quick)
    chosen = {name: METHODS[name] for name in methods}
    return _runner.plan(sets, chosen, seeds, pairs, _protocol.VERSION)


def work(run, data_home=None):
    """Do one run and return its record, with ``error`` where it failed."""
    task = _protocol.make_task(run["set"], run["pair"], data_home)

    def figures():
        return _protocol.scores(task.y_target, METHODS[run["method"]].predict(task, run["seed"]))

    return _runner.attempt(run, figures)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    return _runner.run(args, _runner.Bench(_protocol.SETS, METHODS, plan_runs, work, format_tables))
