"""Pretrained models, frozen and fine-tuned: ``python -m adaptlearn.benchmark pretrained``.

The sets are described in `_pretrained_tasks`. The methods:

===============================  =================================================================
logistic                         Logistic regression on columns without a pretrained model: tf-idf
                                 of words and pairs of words, pixels, cells of a spectrogram.
frozen                           The pretrained model's features and logistic regression.
frozen_aligned                   ``DomainAdaptationClassifier(backbone=extractor)``: the same
                                 features, domain by domain, alignment on top.
..., target prior                Answers for the estimated class proportions of the target.
..., balanced                    Batches with equally many rows of each class, by their labels on
                                 the source and by the network's own answers on the target.
fine_tuned                       ``FineTuneClassifier(extractor)``: the model is trained on the
                                 source.
fine_tuned_aligned               ``DomainAdaptationClassifier(backbone=extractor, finetune=...)``.
===============================  =================================================================

Seconds of what is frozen are with the embeddings at hand; a table of its own says how long those
take. Embeddings are kept in a directory, so that every method and a later run share them. On large
sets fine-tuning takes hours without a GPU: it is left out there unless ``--full`` is given.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np

from . import _methods, _protocol, _runner
from ._methods import Method
from ._pretrained_tasks import GRIDS, MODELS, SETS, SETTINGS, available, make_task
from ._results import fingerprint, format_tables, grid, means

RESULTS = "adaptlearn-pretrained.jsonl"
CACHE = "adaptlearn-embeddings"
VERSION = 1  # part of every result's fingerprint: raise it when rows or columns change
TIMED_ROWS = 48  # embedded without a cache, to know how long all would take

QUICK = {"spam/400": 1, "office31": 1, "fsdd": 1}
"""Pairs that ``--quick`` keeps."""

_BALANCED = {"sampling": "balanced", "target_sampling": "pseudo_balanced"}
_ALIGNED = {"alignment": "mcc"}
FROZEN = {
    "frozen_aligned": {},
    "frozen_aligned, target prior": {"prior": "target"},
    "frozen_aligned, balanced": _BALANCED,
}
"""Name -> what differs from ``DomainAdaptationClassifier(backbone=extractor)``."""
FINE_TUNED = {
    "fine_tuned": {},
    "fine_tuned_aligned": _ALIGNED,
    "fine_tuned_aligned, balanced": {**_ALIGNED, **_BALANCED},
}
"""Name -> parameters: of ``FineTuneClassifier`` for the first, of the other for the rest."""
DETERMINISTIC = ("logistic", "frozen")


# --- methods --------------------------------------------------------------------------------


def _logistic(task, seed):
    X_source, X_target = task.columns(task.X_source, task.X_target)
    return _methods.fit_logistic(X_source, task.y_source, task.C_grid).predict(X_target)


def _frozen(task, seed):
    extractor = task.extractor.fit(task.X_source)
    sides = extractor.transform(task.X_source), extractor.transform(task.X_target)
    X_source, X_target = _protocol.zscored(*sides)
    model = _methods.fit_logistic(X_source, task.y_source, _protocol.WIDE_GRID)
    return model.predict(X_target)


def _ours(name, parameters, settings):
    """``predict`` of our estimator; `settings` are those that a set has for fine-tuning."""

    def predict(task, seed):
        chosen = {"backbone": task.extractor, **(task.settings if settings else {}), **parameters}
        model = _estimator(name)(**chosen, random_state=seed)
        target = {} if name == "fine_tuned" else {"X_target": task.X_target}
        return model.fit(task.X_source, task.y_source, **target).predict(task.X_target)

    return predict


def _estimator(name):
    from .. import DomainAdaptationClassifier, FineTuneClassifier

    return FineTuneClassifier if name == "fine_tuned" else DomainAdaptationClassifier


def _config(name, parameters):
    def config():
        return _methods.config_of(_estimator(name)(**parameters))

    return config


def _all_methods():
    beside = [
        Method("logistic", _logistic, lambda: _methods.LOGISTIC_CONFIG, False),
        Method("frozen", _frozen, lambda: _methods.LOGISTIC_CONFIG, False),
    ]
    ours = [
        Method(name, _ours(name, parameters, some is FINE_TUNED), _config(name, parameters), False)
        for some in (FROZEN, FINE_TUNED)
        for name, parameters in some.items()
    ]
    return {method.name: method for method in [*beside, *ours]}


METHODS = _all_methods()


# --- runs -----------------------------------------------------------------------------------


def _pairs(set_, quick):
    return SETS[set_].pairs[: QUICK.get(set_, 0)] if quick else SETS[set_].pairs


def plan(sets, methods, seeds, quick=False, full=False):
    """List the runs of these sets and methods."""
    chosen = {name: METHODS[name] for name in methods}
    runs = _runner.plan(sets, chosen, seeds, partial(_pairs, quick=quick), VERSION)
    return [_with_its_set(run) for run in runs if _is_planned(run, quick, full)]


def _with_its_set(run):
    """The run, its fingerprint also one of what the set decides for this method."""
    kind, method = SETS[run["set"]].kind, run["method"]
    if method == "logistic":
        decided = GRIDS[kind]
    else:
        decided = [MODELS.get(kind), SETTINGS[kind] if method in FINE_TUNED else None]
    return {**run, "fingerprint": fingerprint([run["fingerprint"], decided])}


def _is_planned(run, quick, full):
    method, chosen = run["method"], SETS[run["set"]]
    if method in FINE_TUNED and (chosen.slow or (quick and chosen.kind == "text")) and not full:
        return False
    # Where the rows are drawn with the seed, nothing is the same under another one.
    return run["seed"] == 0 or method not in DETERMINISTIC or chosen.rows is not None


def embed(task):
    """Embed the rows of both sides, those that are not in the cache."""
    extractor = task.extractor.fit(task.X_source)
    for X in (task.X_source, task.X_target):
        extractor.transform(X)


def seconds_to_embed(task):
    """How long the rows of both sides take without a cache, by the time of some of them."""
    extractor = task.make_extractor(None).fit(task.X_source)
    n_rows = len(task.X_source) + len(task.X_target)
    every = max(1, n_rows // TIMED_ROWS)
    sides = [X[::every] for X in (task.X_source, task.X_target)]
    extractor.transform(sides[0][:1])  # load the model
    started = time.perf_counter()
    for X in sides:
        extractor.transform(X)
    return (time.perf_counter() - started) * n_rows / sum(map(len, sides))


def work(run, data_home=None, cache=None):
    """Do one run and return its record, with ``error`` where it failed."""
    name, beside = run["method"], 0.0

    def figures():
        nonlocal beside
        task, found = make_task(run["set"], run["pair"], run["seed"], data_home, cache), {}
        started = time.perf_counter()
        if name == "frozen":
            found["embedding_seconds"] = seconds_to_embed(task)
        if name == "frozen" or name in FROZEN:
            embed(task)
        beside = time.perf_counter() - started
        predicted = METHODS[name].predict(task, run["seed"])
        return {**_protocol.scores(task.y_target, np.asarray(predicted)), **found}

    record = _runner.attempt(run, figures)
    if "seconds" in record:
        record["seconds"] = round(record["seconds"] - beside, 3)
    return record


# --- tables and command ---------------------------------------------------------------------


def tables(records, sets, methods, n_pairs):
    """The tables as text: one a set, one for each figure, and the seconds of the embeddings."""
    parts = [format_tables(records, sets, methods, n_pairs, reference="frozen")]
    timed = [record for record in records if "embedding_seconds" in record]
    found = means(timed, "embedding_seconds")
    lines = [
        [name, f"{np.mean(list(found[name, 'frozen'].values())):.1f}"]
        for name in sets
        if (name, "frozen") in found
    ]
    if lines:
        parts.append("embedding both sides of a pair\n" + grid(["set", "seconds"], lines))
    return "\n\n".join(parts)


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    _runner.add_arguments(parser, SETS, METHODS, RESULTS)
    text = "fine-tune on the large sets as well: hours without a GPU"
    parser.add_argument("--full", action="store_true", help=text)
    text = "directory of the embeddings (default: %(default)s)"
    parser.add_argument("--cache", default=CACHE, help=text)


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    here = partial(plan, full=args.full)
    doing = partial(work, cache=args.cache)
    return _runner.run(args, _runner.Bench(SETS, METHODS, here, doing, tables, available))
