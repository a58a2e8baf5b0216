"""Seconds and bytes beside a hand-written torch loop: ``python -m adaptlearn.benchmark speed``.

Everything is a ratio within one run: repetitions of the two sides alternate, and the figure is the
median of the ratios of neighbours. An epoch is what lies between the ends of two epochs of one
fit; "fit" is the whole call, with checks, input statistics and conversion on both sides. What
"mcc" and "coral" compare: labelled source and unlabelled target rows in one forward pass, inputs
(and batch norm, where the network has it) with the statistics of each side. Predicting compares
``predict`` with a loop that standardises, passes forward and takes the largest score of slices.
Samplers and SMOTE are in seconds as well: see `_speed_samplers`. Extractors beside loops over
Pillow and torch: see `_speed_extractors`.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial

import numpy as np
import torch

from . import _peers, _speed_memory, _speed_samplers
from ._runner import positive
from ._speed_loops import (
    NETS,
    alternate,
    fit_hand,
    fit_ours,
    fit_skada,
    fit_skorch,
    make_task,
    predict_hand,
    torch_threads,
)

MIB = _speed_memory.MIB
TASKS = ("none", "mcc", "coral")
ALIGNMENTS = ("coral", "mmd", "jmmd", "dann", "cdan", "mcc")
PREDICT_ROWS = 20_000


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repetitions")
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--threads", type=positive, default=1, help="torch threads (default: 1)")
    parser.add_argument("--batch-size", type=positive, default=128, help="default: 128")
    parser.add_argument("--samplers", action="store_true",
                        help="only class-balanced index plans and SMOTE")  # fmt: skip
    parser.add_argument("--extractors", action="store_true",
                        help="only extractors, resizing and ranking (needs Pillow)")  # fmt: skip
    parser.add_argument("--memmap", action="store_true",
                        help="only the memory of a fit on a memory map of 1M x 256")  # fmt: skip


# --- epochs and fits ------------------------------------------------------------------------


def _timed_fit(fit, task, n_epochs):
    started = time.perf_counter()
    _, epochs = fit(task, n_epochs)
    return float(np.median(epochs)), time.perf_counter() - started


def compare_fits(task, n_epochs, repetitions):
    """Medians of seconds and of ratios to the hand-written loop, of epochs and of whole fits."""
    runs = {fit_ours: [], fit_hand: []}
    for k in range(repetitions + 1):
        for fit in (fit_ours, fit_hand) if k % 2 else (fit_hand, fit_ours):
            runs[fit].append(_timed_fit(fit, task, n_epochs))
    ours, hand = (np.array(runs[fit][1:]) for fit in (fit_ours, fit_hand))  # the first warms up
    low, middle, high = np.quantile(ours[:, 0] / hand[:, 0], [0.25, 0.5, 0.75])
    return {
        "epoch": float(np.median(ours[:, 0])),
        "hand_epoch": float(np.median(hand[:, 0])),
        "ratio": float(middle),
        "quartiles": [float(low), float(high)],
        "fit_ratio": float(np.median(ours[:, 1] / hand[:, 1])),
    }


def _peer_ratio(fit, task, n_epochs, hand_epoch):
    return _timed_fit(fit, task, n_epochs)[0] / hand_epoch


def epoch_table(quick, batch_size, say):
    """Records of every network, task and number of rows."""
    # Epochs of a fit and repetitions: enough to see through noise, few enough to end.
    sizes = {1_000: (8, 8), 10_000: (4, 8), 100_000: (2, 2)}
    records = []
    header = ("network", "task", "rows", "ms/epoch", "by hand", "ratio", "(quartiles)", "fit",
              "skorch", "skada")  # fmt: skip
    say.row(header, head=True)
    for name, net in NETS.items():
        for n_rows, (n_epochs, repetitions) in sizes.items():
            if quick and (n_rows == 100_000 or (name == "larger" and n_rows > 1_000)):
                continue
            longest = name == "larger" and n_rows == 100_000
            for alignment in TASKS[:2] if quick or longest else TASKS:
                task = make_task(net, alignment, n_rows, batch_size)
                record = compare_fits(task, n_epochs, repetitions)
                record |= {"network": str(net), "task": alignment, "rows": n_rows}
                # The peers' cost per row is the one at fewer rows: not worth their minutes here.
                with_peers = not longest
                if with_peers and alignment == "none":
                    record["skorch"] = _peer_ratio(fit_skorch, task, 3, record["hand_epoch"])
                elif with_peers and _peers.skada_available():
                    record["skada"] = _peer_ratio(fit_skada, task, 3, record["hand_epoch"])
                records.append(record)
                low, high = record["quartiles"]
                say.row((
                    str(net), "source only" if alignment == "none" else alignment, n_rows,
                    f"{1e3 * record['epoch']:.1f}", f"{1e3 * record['hand_epoch']:.1f}",
                    f"{record['ratio']:.2f}", f"({low:.2f} {high:.2f})",
                    f"{record['fit_ratio']:.2f}", _ratio(record, "skorch"),
                    _ratio(record, "skada"),
                ))  # fmt: skip
    return records


def _ratio(record, key):
    return f"{record[key]:.2f}" if key in record else ""


def growth(records):
    """Exponent of the epoch's seconds in the number of rows, per network and task."""
    found = {}
    for record in records:
        key = record["network"], record["task"]
        found.setdefault(key, []).append((record["rows"], record["epoch"], record["hand_epoch"]))
    return {
        key: [float(np.polyfit(np.log(n), np.log(t), 1)[0]) for t in (ours, hand)]
        for key, rows in found.items()
        if len(rows) > 1
        for n, ours, hand in [np.array(rows).T]
    }


# --- predicting -----------------------------------------------------------------------------


def predict_table(quick, batch_size, say):
    """Records of microseconds per predicted row."""
    records = []
    say.row(("network", "task", "rows", "us/row", "by hand", "ratio", "(quartiles)", "skorch"),
            head=True)  # fmt: skip
    for net in NETS.values():
        for alignment in ("none", "mcc"):
            task = make_task(net, alignment, 2_000, batch_size)
            X = make_task(net, "none", PREDICT_ROWS, batch_size).X
            clf, by_hand = fit_ours(task, 2)[0], fit_hand(task, 2)[0]
            calls = [
                partial(clf.predict, X),
                partial(predict_hand, by_hand, X, by_domain=alignment != "none"),
            ]
            if alignment == "none":
                calls.append(partial(fit_skorch(task, 2)[0].predict, X))
            seconds = alternate(calls, 10 if quick else 25)
            low, middle, high = np.quantile(seconds[:, 0] / seconds[:, 1], [0.25, 0.5, 0.75])
            per_row = 1e6 * np.median(seconds, axis=0) / PREDICT_ROWS
            record = {"network": str(net), "task": alignment, "rows": PREDICT_ROWS}
            record |= {"us_per_row": per_row[0], "hand_us_per_row": per_row[1], "ratio": middle}
            record["quartiles"] = [low, high]
            if alignment == "none":
                record["skorch"] = np.median(seconds[:, 2] / seconds[:, 1])
            records.append(record)
            say.row((
                str(net), "source only" if alignment == "none" else alignment, PREDICT_ROWS,
                f"{per_row[0]:.2f}", f"{per_row[1]:.2f}", f"{middle:.2f}",
                f"({low:.2f} {high:.2f})", _ratio(record, "skorch"),
            ))  # fmt: skip
    return records


# --- alignments -----------------------------------------------------------------------------


def alignment_cost(name, n_rows, n_features, repetitions=5):
    """Seconds of forward and backward, and peak bytes beyond the batch, of one alignment.

    Parameters
    ----------
    name : str
    n_rows : int
        Rows of each side.
    n_features : int
    """
    from .._components import resolve
    from ..alignment.base import Domain, Step

    n_classes, alignment = 10, resolve("alignment", name)
    generator = torch.Generator().manual_seed(0)
    net = alignment.build(n_features, n_classes, None, (1, 1), generator)
    head = torch.nn.Linear(n_features, n_classes)
    features = torch.randn(2 * n_rows, n_features, generator=generator, requires_grad=True)
    rows, ones = torch.arange(n_rows), torch.ones(n_rows)

    def step():
        f, z = features.split(n_rows), head(features).split(n_rows)
        sides = [
            Domain(f[k], y, f[k], z[k], torch.full_like(rows, k), rows, ones)
            for k, y in enumerate((rows % n_classes, None))
        ]
        alignment.loss(*sides, Step(head, 0.5, 1.0), net).backward()
        features.grad = None

    step()
    with _speed_memory.TensorPeak() as memory:
        step()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    middle = float(np.median(seconds)) if seconds else None
    sizes = {"alignment": name, "rows": n_rows, "features": n_features}
    return sizes | {"seconds": middle, "bytes": memory.peak}


def alignment_table(quick, say):
    """Cost of each alignment at several numbers of rows and features."""
    rows, columns = ((64, 256, 1024), (256, 2048)) if quick else (
        (64, 128, 256, 512, 1024), (256, 512, 1024, 2048))  # fmt: skip
    say.row(("rows x features", *(f"{name:>12}" for name in ALIGNMENTS)), head=True)
    records = []
    for d in columns:
        for n in rows:
            costs = [alignment_cost(name, n, d, 3 if quick else 5) for name in ALIGNMENTS]
            cells = [f"{1e3 * c['seconds']:.1f} {c['bytes'] / MIB:5.1f}" for c in costs]
            say.row((f"{n} x {d}", *(f"{cell:>12}" for cell in cells)))
            records += costs
    return records


# --- memory map -----------------------------------------------------------------------------


def memmap_record(n_rows, n_columns=256):
    """Record of `_speed_memory.measure_in_child`."""
    return {"rows": n_rows, "columns": n_columns, **_speed_memory.measure_in_child(
        n_rows, n_columns)}  # fmt: skip


class _Say:
    """Rows of aligned columns, printed as they come."""

    def __init__(self):
        self.widths = []

    def title(self, text):
        print(f"\n{text}\n", flush=True)

    def row(self, cells, head=False):
        if head:
            self.widths = [max(len(str(cell)), 7) for cell in cells]
            self.widths[0] = max(self.widths[0], max(len(str(net)) for net in NETS.values()))
            if "task" in cells:
                self.widths[1] = len("source only")
        cells = [str(c).ljust(w) if k < 2 else str(c).rjust(w)
                 for k, (c, w) in enumerate(zip(cells, self.widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip(), flush=True)


def _networks(args, say, out):
    print(f"torch {torch.__version__}, {args.threads} thread(s), batch {args.batch_size}")
    if not _peers.skada_available():
        print("skada's column is empty: pip install 'adaptlearn[peers]' adds it.")
    say.title("Epochs: ratios are to the loop written by hand, of one epoch and whole fit")
    out["epochs"] = epoch_table(args.quick, args.batch_size, say)
    say.title("Growth: exponent of an epoch's time in the rows (1 is linear)")
    exponents = growth(out["epochs"])
    say.row(("network", "task", "adaptlearn", "by hand"), head=True)
    for key, values in exponents.items():
        say.row((*key, *(f"{value:.2f}" for value in values)))
    out["growth"] = [[*key, *values] for key, values in exponents.items()]
    say.title("Predicting")
    out["predict"] = predict_table(args.quick, args.batch_size, say)
    say.title("Alignments: forward and backward in ms, peak of tensors in MB (rows of a side)")
    out["alignments"] = alignment_table(args.quick, say)


def _samplers(args, say, out):
    goal = f"{_speed_samplers.GOAL_ROWS:,} rows set up in under {_speed_samplers.GOAL_SECONDS} s"
    say.title("Samplers: set-up and one epoch of draws, balanced classes; ratios of their sums")
    out["samplers"] = _speed_samplers.sampler_table(args.quick, say)
    for record in out["samplers"]:
        if "goal_met" in record:
            print(f"\nGoal, {goal}: {'met' if record['goal_met'] else 'NOT met'}.")
    print("weighted: torch's WeightedRandomSampler, which fails above 2**24 rows. by row: the")
    print("ImbalancedDatasetSampler pattern; above 1M rows its tensor objects take gigabytes.")
    say.title("SMOTE, 100 to 1: seconds of an epoch, in the batch and over materialised rows")
    out["smote"] = _speed_samplers.smote_table(args.quick, say)


def _extractors(args, say, out):
    from . import _speed_extractors as table

    out["extractors"] = found = table.extractor_tables(args.quick, say)
    most = max(record["ratio"] for record in found["resize"])
    least = min(record["ratio"] for record in found["loops"])
    times = min(min(record["ratio"], record["deep_ratio"]) for record in found["ranking"])
    for goal, met in (
        (f"resizing in a third of Pillow's time (at most {most:.2f})", most <= table.GOAL_RESIZE),
        (f"extraction at {table.GOAL_LOOP} of the loop (at least {least:.2f})",
         least >= table.GOAL_LOOP),
        (f"ranking quicker than training heads (at least {times:.1f} times)", times > 1),
    ):  # fmt: skip
        print(f"\nGoal, {goal}: {'met' if met else 'NOT met'}.")


def _memmap(args, say, out):
    say.title("Memory map: peak of RssAnon above the import, MB, and seconds")
    out["memmap"] = record = memmap_record(1_000_000)
    say.row(("rows", "columns", "fit MB", "predict MB", "fit s", "predict s"), head=True)
    megabytes = [f"{record[key] / MIB:.0f}" for key in ("fit", "predict")]
    seconds = [f"{record[key]:.0f}" for key in ("fit_seconds", "predict_seconds")]
    say.row((record["rows"], record["columns"], *megabytes, *seconds))


def run(args):
    """Run the benchmark as the arguments say and print its tables; return an exit code."""
    say, out, started = _Say(), {"threads": args.threads}, time.perf_counter()
    everything = not (args.samplers or args.extractors or args.memmap)
    with torch_threads(args.threads):
        if everything:
            _networks(args, say, out)
        if everything or args.samplers:
            _samplers(args, say, out)
        if args.extractors:
            _extractors(args, say, out)
        if args.memmap or (everything and not args.quick):
            _memmap(args, say, out)
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(out, file, indent=1, default=float)
    return 0
