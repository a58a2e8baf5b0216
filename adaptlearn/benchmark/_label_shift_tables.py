"""Tables of the label-shift benchmark: methods by sets for each shift, then by shift over the sets.

Differences are paired by (pair, seed): each seed draws other class proportions. Over several sets
they are the mean of the sets' differences, every set counting alike.
"""

import math

import numpy as np

from ._results import grid, means, paired_difference

REFERENCE = "default"
FIGURES = (
    ('accuracy under prior="target"', "accuracy"),
    ('balanced accuracy under prior="uniform"', "balanced_accuracy"),
)
MORE = (
    ("accuracy as it predicts", "plain_accuracy"),
    ("balanced accuracy as it predicts", "plain_balanced_accuracy"),
    ("total variation between the estimated and the true class proportions", "prior_error"),
    ("seconds", "seconds"),
)


def _mean_cell(records, field, n_pairs):
    """Cell of a table of means; an asterisk where a pair or a set is missing."""
    pairs = means([record for record in records if field in record], field)

    def cell(method, sets):
        found = {name: pairs[name, method] for name in sets if (name, method) in pairs}
        if not found:
            return "-"
        value = np.mean([np.mean(list(of.values())) for of in found.values()])
        whole = all(len(found.get(name, ())) >= n_pairs[name] for name in sets)
        return f"{value:.3f}" + "*" * (not whole)

    return cell


def _lead_cell(records, field):
    """Cell of a table of differences: what the reference is ahead by, with its standard error."""
    runs = means(records, field, unit=("pair", "seed"))

    def cell(method, sets):
        both = [
            paired_difference(runs[name, REFERENCE], runs[name, method])
            for name in sets
            if method != REFERENCE and (name, method) in runs and (name, REFERENCE) in runs
        ]
        both = np.array([found for found in both if not math.isnan(found[0])]).reshape(-1, 2)
        if not len(both):
            return "-"
        difference = 100 * both[:, 0].mean()
        error = 100 * np.sqrt(np.square(both[:, 1]).sum()) / len(both)
        return f"{difference:+.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")

    return cell


def _table(title, methods, columns, cell):
    """One table; `columns` are heading -> sets, `cell(method, sets)` is text, "-" for nothing."""
    lines = [[method, *(cell(method, sets) for sets in columns.values())] for method in methods]
    lines = [line for line in lines if set(line[1:]) != {"-"}]
    return [title + "\n" + grid(["method", *columns], lines)] if lines else []


def format_tables(records, sets, methods, n_pairs):
    """The tables as text, the most detailed first.

    Parameters
    ----------
    records : list of dict
    sets : list of str
        "name/shift".
    methods : list of str
        What to show, in this order.
    n_pairs : dict
        Planned pairs by set.

    Returns
    -------
    text : str
    """
    present = {record["set"] for record in records}
    shifts = {}
    for set_ in sets:
        if set_ in present:
            shifts.setdefault(set_.split("/")[1], []).append(set_)
    ahead = f"{REFERENCE} minus the method in points, ± standard error"
    parts = []

    def both(heading, field, where, columns):
        cell = _mean_cell(records, field, n_pairs)
        parts.extend(_table(f"{heading}, {where}", methods, columns, cell))
        cell = _lead_cell(records, field)
        parts.extend(_table(f"{heading}, {where}: {ahead}", methods, columns, cell))

    for shift, members in shifts.items():
        columns = {set_.split("/")[0]: [set_] for set_ in members}
        if len(members) > 1:
            columns["mean"] = members
        for heading, field in FIGURES:
            both(heading, field, f"shift {shift}", columns)
    for heading, field in FIGURES:
        both(heading, field, "mean over the sets by shift", shifts)
    for heading, field in MORE:
        cell = _mean_cell(records, field, n_pairs)
        parts.extend(_table(f"{heading}, mean over the sets by shift", methods, shifts, cell))
    if any("*" in part for part in parts):
        parts.append("* some sets or pairs are missing.")
    return "\n\n".join(parts)
