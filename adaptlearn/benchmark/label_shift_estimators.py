"""Estimators of label shift beside each other: ``... label-shift-estimators``.

Predictions are generated (`adaptlearn.datasets.make_label_shift`), so that the true ratios are
known. The error of an estimate is the mean over classes of the squared error of the ratio.
"""

import time
import warnings

import numpy as np

from adaptlearn.datasets import make_label_shift
from adaptlearn.imbalance import estimate_label_shift

from ._runner import positive

# Column of the table -> arguments of make_label_shift on top of 5 classes, 1000 and 2000 rows.
SETTINGS = {
    "exact": {"calibration": "exact"},
    "overconfident": {"calibration": "overconfident"},
    "distorted": {"calibration": "distorted"},
    "no shift": {"calibration": "overconfident", "alpha": None},
    "alpha 3": {"calibration": "overconfident", "alpha": 3.0},
    "long tail": {
        "calibration": "overconfident",
        "source_prior": [0.48, 0.27, 0.15, 0.07, 0.03],
        "alpha": 3.0,
    },
    "200 rows": {"calibration": "overconfident", "n_source": 200, "n_target": 200},
    "10 classes": {"calibration": "overconfident", "n_classes": 10},
}
ESTIMATORS = {
    "bbse": {"method": "bbse"},
    "bbse, soft": {"method": "bbse", "soft": True},
    "qp": {"method": "qp"},
    "rlls": {"method": "rlls"},
    "mlls, not calibrated": {"method": "mlls", "calibration": None},
    "mlls": {"method": "mlls"},
    "mlls, bcts": {"method": "mlls", "calibration": "bcts"},
    "mlls, vector": {"method": "mlls", "calibration": "vector"},
    "auto": {"method": "auto"},
}
WITH_INTERVALS = ("bbse", "mlls")
LEVEL = 0.9


def add_arguments(parser):
    """Declare the options of the subcommand on an ``argparse`` parser."""
    parser.add_argument("--quick", action="store_true", help="20 shifts: 20 seconds")
    for name, default, text in (
        ("--shifts", 200, "random shifts"),
        ("--interval-shifts", 20, "how many of them get intervals"),
        ("--bootstrap", 100, "resamples behind an interval"),
    ):
        text += " (default: %(default)s)"
        parser.add_argument(name, type=positive, default=default, metavar="N", help=text)


def squared_errors(setting, n_shifts):
    """Mean squared error of the ratio, estimator by shift, over `n_shifts` random shifts."""
    errors = {name: np.empty(n_shifts) for name in ESTIMATORS}
    for seed in range(n_shifts):
        data = make_label_shift(**SETTINGS[setting], random_state=seed)
        for name, params in ESTIMATORS.items():
            found = estimate_label_shift(*data[:3], **params)
            errors[name][seed] = np.mean((found.ratio - data.ratio) ** 2)
    return errors


def coverage(setting, n_shifts, n_bootstrap):
    """For each method and shift, the share of classes whose interval holds the true proportion."""
    covered = {name: np.empty(n_shifts) for name in WITH_INTERVALS}
    for seed in range(n_shifts):
        data = make_label_shift(**SETTINGS[setting], random_state=seed)
        for name in WITH_INTERVALS:
            low, high = estimate_label_shift(
                *data[:3], **ESTIMATORS[name], n_bootstrap=n_bootstrap, confidence=LEVEL,
                random_state=seed,
            ).interval  # fmt: skip
            inside = (low <= data.target_prior) & (data.target_prior <= high)
            covered[name][seed] = inside.mean()
    return covered


def format_table(title, columns):
    """Markdown table of means with standard errors: ``{column: {row: values}}``."""
    rows = list(next(iter(columns.values())))
    lines = [title, "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [_mean(column[row]) for column in columns.values()]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values):
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):.4f} ± {error:.4f}"


def run(args):
    """Run the benchmark as the arguments say and print its tables."""
    n_shifts = min(20, args.shifts) if args.quick else args.shifts
    n_intervals = min(5, args.interval_shifts) if args.quick else args.interval_shifts
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few rows and the like: part of some settings
        errors = {setting: squared_errors(setting, n_shifts) for setting in SETTINGS}
        inside = {s: coverage(s, n_intervals, args.bootstrap) for s in SETTINGS}
    print(
        format_table(f"Squared error of w, mean over {n_shifts} random shifts", errors), end="\n\n"
    )
    paired = {
        setting: {name: values - of["mlls"] for name, values in of.items() if name != "mlls"}
        for setting, of in errors.items()
    }
    print(format_table("The same, less that of mlls on the same shift", paired), end="\n\n")
    title = f"Share of classes inside their {LEVEL:.0%} interval ({n_intervals} shifts)"
    print(format_table(title, inside), end="\n\n")
    print(f"{time.perf_counter() - started:.0f} s")
