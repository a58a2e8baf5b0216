"""Domain shift and other class proportions at once: ``python -m adaptlearn.benchmark label-shift``.

Pairs of the accuracy benchmark and YouTube -> SMS spam. Of Amazon's twelve pairs four are run, with
every domain once on each side; of heart's, Cleveland -> Switzerland. A set is "name/shift":

==============  ================================================================================
shift           rows, out of those of the pair, which were scaled before
==============  ================================================================================
none            all
3, 1, 0.5, 0.3  target rows are dropped until its classes have proportions drawn from a Dirichlet
                distribution with this parameter: the smaller, the fewer classes have most rows
reversed        the source is a long tail, 10 rows of the most frequent class to one of the
                rarest, in an order drawn; the target is the same tail in the opposite order
==============  ================================================================================

One fit is scored twice: accuracy under ``prior="target"``, balanced accuracy under
``prior="uniform"``. A model without an estimate of the target's proportions has its accuracy as it
predicts; logistic regression and skada's methods, which know no prior, have both so. Target labels
draw the rows and are read for the scores, and nowhere else.
"""

from collections import namedtuple
from functools import partial

import joblib
import numpy as np

from .._components import registered
from . import _methods, _peers, _protocol, _runner
from ._draws import in_proportions, long_tail, tail_shares
from ._label_shift_tables import format_tables
from ._methods import Method

RESULTS = "adaptlearn-label-shift.jsonl"
SHIFTS = ("none", "3", "1", "0.5", "0.3", "reversed")
RATIO = 10
PAIRS = {
    "office31": _protocol.pair_names("office31"),
    "gas": _protocol.pair_names("gas"),
    "digits": _protocol.pair_names("digits"),
    "amazon": ["books->dvd", "dvd->electronics", "electronics->kitchen", "kitchen->books"],
    "heart": ["cleveland->switzerland"],
    "spam": ["youtube->sms"],
}
QUICK = [f"{name}/0.5" for name in PAIRS if name != "amazon"]  # where a fit takes ten seconds
SETS = tuple(f"{name}/{shift}" for name in PAIRS for shift in SHIFTS)
VERSION = 1  # part of every result's fingerprint: raise it when rows or scaling change

_PLAIN = {"label_shift": None, "sampling": "instance"}


def _ours():
    """Name -> what differs from ``DomainAdaptationClassifier()``; every alignment twice."""
    known = registered("alignment").items()
    alignments = sorted(
        name for name, cls in known if cls.__module__.startswith("adaptlearn.alignment.")
    )
    return {
        "source_only": {"alignment": None, "normalize": "source", **_PLAIN},
        **{f"{a}_bare": {"alignment": a, "normalize": None, **_PLAIN} for a in alignments},
        **{a: {"alignment": a} for a in alignments},
        "default_plain": _PLAIN,
        "default": {},
    }


OURS = _ours()


# --- methods --------------------------------------------------------------------------------

Answers = namedtuple("Answers", "plain target uniform prior", defaults=(None,))
Answers.__doc__ = """Predictions of one fitted model, which is what ``predict`` of a method returns.

``plain`` are as it predicts, ``target`` and ``uniform`` for these class proportions; ``prior`` is
its estimate of the target's, by class code, or None.
"""


def _our_answers(parameters):
    def predict(task, seed):
        model = _methods.fitted(parameters, task, seed)
        plain = model.predict(task.X_target)
        uniform = model.set_params(prior="uniform").predict(task.X_target)
        if model.target_prior_ is None:
            return Answers(plain, plain, uniform)
        prior = np.zeros(max(model.classes_) + 1)
        prior[model.classes_] = model.target_prior_
        target = model.set_params(prior="target").predict(task.X_target)
        return Answers(plain, target, uniform, prior)

    return predict


def _same_answer(predict):
    def answers(task, seed):
        return Answers(*[predict(task, seed)] * 3)

    return answers


_searched = {}


def _logistic(task, seed):
    # Most shifts leave the source as it is: one search for C (20 s on office31) serves them all.
    # The seconds of the others are those of the prediction.
    key = joblib.hash((task.X_source, task.y_source))
    if key not in _searched:
        _searched[key] = _methods.fit_logistic(task.X_source, task.y_source, task.C_grid)
    return _searched[key].predict(task.X_target)


_BESIDE = {
    "logistic": _logistic,
    **{name: _methods.METHODS[name].predict for name in _peers.NAMES},
}
METHODS = {
    **{
        name: Method(name, _same_answer(predict), _methods.METHODS[name].config, False)
        for name, predict in _BESIDE.items()
    },
    **{
        name: Method(name, _our_answers(parameters), _methods.ours_config(parameters), False)
        for name, parameters in OURS.items()
    },
}


# --- rows -----------------------------------------------------------------------------------


def dirichlet_rows(y, alpha, seed):
    """Row numbers of a target whose class proportions are drawn from Dirichlet(alpha)."""
    rng = np.random.default_rng([seed, int(alpha * 100)])
    q = rng.dirichlet(np.full(len(np.unique(y)), alpha))
    return in_proportions(y, q, rng)


def reversed_rows(y_source, y_target, seed):
    """Row numbers of both sides, long tails in opposite orders of the classes."""
    rng = np.random.default_rng([seed, RATIO])
    rank = rng.permutation(max(y_source.max(), y_target.max()) + 1)
    q = tail_shares(len(rank) - 1 - rank, RATIO)[np.unique(y_target)]
    source = long_tail(y_source, RATIO, rng, rank)
    return source, in_proportions(y_target, q / q.sum(), rng)


def make_task(set_, pair, seed, data_home=None):
    """One pair with the rows that a shift leaves; `set_` is "name/shift"."""
    name, shift = set_.split("/")
    task = _protocol.make_task(name, pair, data_home)
    source, target = slice(None), slice(None)
    if shift == "reversed":
        source, target = reversed_rows(task.y_source, task.y_target, seed)
    elif shift != "none":
        target = dirichlet_rows(task.y_target, float(shift), seed)
    return _protocol.with_rows(task, source, target)


# --- runs -----------------------------------------------------------------------------------


def plan(sets, methods, seeds, quick=False):
    """List the runs of these sets and methods."""
    chosen = {name: METHODS[name] for name in methods}
    return _runner.plan(sets, chosen, seeds, partial(_pairs, quick=quick), VERSION)


def _pairs(set_, quick):
    pairs = PAIRS[set_.split("/")[0]]
    return pairs[: int(set_ in QUICK)] if quick else pairs


def total_variation(prior, y):
    """Half the sum of the differences between `prior` and the proportions in `y`, class codes."""
    n_classes = max(len(prior), y.max() + 1)
    true = np.bincount(y, minlength=n_classes) / len(y)
    return np.abs(np.pad(prior, (0, n_classes - len(prior))) - true).sum() / 2


def work(run, data_home=None):
    """Do one run and return its record, with ``error`` where it failed."""
    task = make_task(run["set"], run["pair"], run["seed"], data_home)

    def figures():
        answers = METHODS[run["method"]].predict(task, run["seed"])
        plain, target, uniform = (_protocol.scores(task.y_target, p) for p in answers[:3])
        found = {
            "accuracy": target["accuracy"],
            "balanced_accuracy": uniform["balanced_accuracy"],
            "plain_accuracy": plain["accuracy"],
            "plain_balanced_accuracy": plain["balanced_accuracy"],
        }
        if answers.prior is not None:
            found["prior_error"] = total_variation(answers.prior, task.y_target)
        return found

    return _runner.attempt(run, figures)


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, SETS, METHODS, RESULTS)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    return _runner.run(args, _runner.Bench(SETS, METHODS, plan, work, format_tables))
