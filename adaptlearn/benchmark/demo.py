"""``python -m adaptlearn demo``: labels in one place, predictions needed in another.

By default on scikit-learn's handwritten digits: clean scans are the source; other rows, as another
scanner with other class proportions would give them, are the target
(`adaptlearn.datasets.load_scanned_digits`). A second table makes the proportions differ much more.
No target label is used for training; they serve for the tables alone. With
``--data NAME --data-home DIR`` it runs on a pair of a benchmark set, and shows the first table.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from .. import DomainAdaptationClassifier
from ..datasets import load_scanned_digits
from . import _protocol

SOURCE_ONLY = {"alignment": None, "normalize": "source", "label_shift": None}
METHODS = {
    "source only": SOURCE_ONLY,
    "CORAL": {"alignment": "coral"},
    "MMD": {"alignment": "mmd"},
    "DANN": {"alignment": "dann"},
    "CDAN": {"alignment": "cdan"},
    "MCC": {"alignment": "mcc"},
    "default": {},
}
CEILING = "trained on target labels"
LINEAR = "logistic regression"
JOINT = {
    "source only": SOURCE_ONLY,
    "MMD alone": {"alignment": "mmd", "normalize": None, "label_shift": None},
    "MCC alone": {"alignment": "mcc", "normalize": None, "label_shift": None},
    "default": {},
}
"""Methods of the second table. "alone" means on inputs as they are, blind to class proportions."""
JOINT_RATIO, JOINT_DRAWS = 10, 6


def main(argv=None):
    """Run the demo; returns the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m adaptlearn demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sets = ("digits-scanner", *_protocol.SETS)
    parser.add_argument("--data", choices=sets, default=sets[0], help="data set")
    parser.add_argument("--pair", type=int, default=0, help="which pair of a benchmark set")
    parser.add_argument("--data-home", help="folder of the benchmark data (or ADAPTLEARN_DATA)")
    parser.add_argument("--output", type=Path, default=Path("adaptlearn_demo.png"), help="picture")
    parser.add_argument("--seed", type=int, default=0, help="random_state of the methods")
    arguments = parser.parse_args(argv)
    began = time.perf_counter()
    title, data = load_data(arguments)
    X_source, _, X_target, _ = data
    print(f"{title}\n{X_source.shape[0]} labelled source rows, {X_target.shape[0]} target rows ")
    print("without labels (their labels are read for this table alone).\n")
    models, rows = run(*data, seed=arguments.seed)
    print(format_table(rows, breaks=(1, len(rows) - 1)))
    if arguments.data == sets[0]:
        print(f"\nThe same scanner, some digits up to {JOINT_RATIO} times as frequent as others.")
        print(f"Means of {JOINT_DRAWS} draws of the proportions; the source has all alike.\n")
        print(format_table(run_joint(arguments.seed), breaks=(2, len(JOINT))))
    picture = draw(models, data, rows, arguments.output)
    print(f"\n{picture}\n{time.perf_counter() - began:.0f} s in all")
    return 0


def load_data(arguments):
    """Title and ``(X_source, y_source, X_target, y_target)``."""
    if arguments.data == "digits-scanner":
        return "Handwritten digits, from one scanner to another", load_scanned_digits()
    pairs = _protocol.PAIRS[arguments.data]
    if not 0 <= arguments.pair < len(pairs):
        raise SystemExit(f"--pair must be in 0..{len(pairs) - 1} for {arguments.data}.")
    task = _protocol.make_task(arguments.data, pairs[arguments.pair], arguments.data_home)
    title = f"{arguments.data}: {' to '.join(pairs[arguments.pair])}"
    return title, [task.X_source, task.y_source, task.X_target, task.y_target]


def run(X_source, y_source, X_target, y_target, seed=0):
    """Fit every method; returns the fitted models and a table row for each."""
    import torch

    # Networks this small gain nothing from more threads, and lose much when the cores are busy.
    torch.set_num_threads(1)
    models, rows = {}, []
    with tqdm(total=len(METHODS) + 1, unit="method", file=sys.stderr) as bar:
        for name, parameters in METHODS.items():
            bar.set_description(name)
            began = time.perf_counter()
            model = DomainAdaptationClassifier(**parameters, random_state=seed)
            models[name] = model.fit(X_source, y_source, X_target=X_target)
            seconds = time.perf_counter() - began
            rows.append(score(name, y_target, model.predict(X_target), seconds))
            bar.update()
        bar.set_description(CEILING)
        began = time.perf_counter()
        ceiling = DomainAdaptationClassifier(**SOURCE_ONLY, random_state=seed)
        smallest = np.unique(y_target, return_counts=True)[1].min()
        folds = StratifiedKFold(int(np.clip(smallest, 2, 3)), shuffle=True, random_state=seed)
        predicted = cross_val_predict(ceiling, X_target, y_target, cv=folds)
        rows.append(score(CEILING, y_target, predicted, time.perf_counter() - began))
        bar.update()
    return models, rows


def run_joint(seed=0):
    """Table rows where inputs and class proportions moved, means over random proportions."""
    tail = np.geomspace(1, JOINT_RATIO, 10)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    methods = {LINEAR: linear} | {
        name: DomainAdaptationClassifier(**parameters, random_state=seed)
        for name, parameters in JOINT.items()
    }
    found = {name: [] for name in methods}
    with tqdm(total=JOINT_DRAWS * len(methods), unit="fit", file=sys.stderr) as bar:
        for draw in range(JOINT_DRAWS):
            weights = np.random.default_rng(draw).permutation(tail)
            X_source, y_source, X_target, y_target = load_scanned_digits(target_weights=weights)
            for name, method in methods.items():
                bar.set_description(name)
                side = {} if name == LINEAR else {"X_target": X_target}
                began = time.perf_counter()
                model = clone(method).fit(X_source, y_source, **side)
                seconds = time.perf_counter() - began
                found[name].append(score(name, y_target, model.predict(X_target), seconds)[1:])
                bar.update()
    return [(name, *np.mean(values, axis=0)) for name, values in found.items()]


def score(name, y, predicted, seconds):
    """One row of the table."""
    return name, accuracy_score(y, predicted), balanced_accuracy_score(y, predicted), seconds


def format_table(rows, breaks):
    """Table of the rows, with a line above those at the places `breaks`."""
    head = f"{'method':<26}{'accuracy':>10}{'balanced':>10}{'seconds':>9}"
    rule = "-" * len(head)
    lines = [head]
    for k, (name, accuracy, balanced, seconds) in enumerate(rows):
        if k == 0 or k in breaks:
            lines.append(rule)
        lines.append(f"{name:<26}{accuracy:>10.3f}{balanced:>10.3f}{seconds:>9.1f}")
    return "\n".join(lines)


def draw(models, data, rows, path):
    """Write the picture, if matplotlib is there; returns a line that says so."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "No picture: matplotlib is not installed (pip install 'adaptlearn[plot]')."
    X_source, _, X_target, _ = data
    figure = Figure(figsize=(13, 4), layout="constrained")
    before, after, bars = figure.subplots(1, 3)
    for axes, name, title in (
        (before, "source only", "before: source only"),
        (after, "default", "after: default"),
    ):
        features = [
            models[name].transform(X_source, sample_domain="source"),
            models[name].transform(X_target),
        ]
        draw_embedding(axes, features, data, title)
    before.legend(loc="best", fontsize=8)
    names, accuracy = [r[0] for r in rows], [r[1] for r in rows]
    colours = ["0.6"] + ["C0"] * (len(rows) - 2) + ["C2"]
    bars.barh(names[::-1], accuracy[::-1], color=colours[::-1])
    for place, value in enumerate(accuracy[::-1]):
        bars.text(value, place, f" {value:.2f}", va="center", fontsize=8)
    bars.set(title="target accuracy", xlim=(0, 1.1))
    bars.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    return f"Picture: {path}"


def draw_embedding(axes, features, data, title):
    """Both sides in the two leading discriminant directions of the source, coloured by class."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    _, y_source, _, y_target = data
    plane = LinearDiscriminantAnalysis(n_components=min(2, len(np.unique(y_source)) - 1))
    plane.fit(features[0], y_source)
    codes = {label: code for code, label in enumerate(np.unique(y_source))}
    for block, y, marker, label in (
        (features[0], y_source, "o", "source"),
        (features[1], y_target, "x", "target"),
    ):
        points = plane.transform(block)
        points = points if points.shape[1] > 1 else np.column_stack([points, 0 * points])
        colours = [codes.get(v, -1) for v in np.asarray(y).tolist()]
        axes.scatter(
            points[:, 0], points[:, 1], c=colours, cmap="tab10", marker=marker, s=12, alpha=0.5,
            linewidths=0.8, label=label,
        )  # fmt: skip
    axes.set(title=title, xticks=[], yticks=[])
