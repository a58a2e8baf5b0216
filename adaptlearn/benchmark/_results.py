"""Results as JSON lines, what is still to run, and the tables made of them."""

import hashlib
import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

KEY = ("set", "pair", "method", "seed", "fingerprint")


def fingerprint(config):
    """Short stable hash of a method's configuration (any nesting of plain values).

    Examples
    --------
    >>> from adaptlearn.benchmark._results import fingerprint
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    >>> len(fingerprint({"a": 1}))
    8
    """
    text = json.dumps(config, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class ResultStore:
    """Append-only file of one JSON record a line.

    Parameters
    ----------
    path : str or path-like
        The file; it need not exist. A last line cut off by an interruption is dropped, so that
        its run is done again.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.records = {}
        if not self.path.exists():
            return
        text = self.path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            try:
                record = json.loads(line)
                self.records[self._key(record)] = record
            except (ValueError, KeyError, TypeError) as error:
                if number < len(text.splitlines()) or text.endswith("\n"):
                    raise ValueError(
                        f"Line {number} of the results file {str(self.path)!r} is not a benchmark "
                        "record. Give another file with --results, or remove that line."
                    ) from error
                # Rewritten without the cut-off line: an append would otherwise glue onto it.
                self.path.write_text(text[: -len(line)], encoding="utf-8")
            else:
                if number == len(text.splitlines()) and not text.endswith("\n"):
                    self.path.write_text(text + "\n", encoding="utf-8")

    @staticmethod
    def _key(record):
        return tuple(record[name] for name in KEY)

    def __contains__(self, run):
        return self._key(run) in self.records

    def append(self, record):
        """Keep a record; it is on disk when this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.records[self._key(record)] = record

    def select(self, runs):
        """The records of the given runs that exist, in the order of the runs."""
        return [self.records[self._key(run)] for run in runs if run in self]


def means(records, field, unit=("pair",)):
    """{(set, method): {unit: mean of the field over its records}}; a unit is a tuple."""
    values = defaultdict(lambda: defaultdict(list))
    for record in records:
        key = tuple(record[name] for name in unit)
        values[record["set"], record["method"]][key].append(record[field])
    return {
        key: {one: float(np.mean(of)) for one, of in units.items()} for key, units in values.items()
    }


def paired_difference(values, reference):
    """Mean difference to a reference over the units both have, and its standard error.

    The unit is mostly the pair: seeds are averaged first, because runs on one pair share its rows.
    The standard error is the standard deviation of the differences (n - 1) over sqrt(n); NaN with
    fewer than two units.

    Parameters
    ----------
    values, reference : dict
        Accuracy by unit.

    Returns
    -------
    difference, standard_error : float

    Examples
    --------
    >>> from adaptlearn.benchmark._results import paired_difference
    >>> d, se = paired_difference({"a": 0.5, "b": 0.75}, {"a": 0.25, "b": 0.25})
    >>> d, round(se, 3)
    (0.375, 0.125)
    """
    common = [unit for unit in values if unit in reference]
    differences = np.array([values[unit] - reference[unit] for unit in common])
    if len(differences) == 0:
        return math.nan, math.nan
    if len(differences) == 1:
        return float(differences[0]), math.nan
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    return float(differences.mean()), float(error)


def summarise(records, reference="logistic", fields=("accuracy", "balanced_accuracy")):
    """One row for every set and method that has a result.

    Returns
    -------
    rows : list of dict
        ``set``, ``method``, the ``fields``, ``difference`` of the first field to the reference,
        ``standard_error``, ``seconds``, ``pairs``, ``runs``; in the order of first appearance.
    """
    by_field = {field: means(records, field) for field in (*fields, "seconds")}
    main = by_field[fields[0]]
    counts = defaultdict(int)
    for record in records:
        counts[record["set"], record["method"]] += 1
    rows = []
    for (name, method), pairs in main.items():
        difference, error = paired_difference(pairs, main.get((name, reference), {}))
        rows.append(
            {
                "set": name,
                "method": method,
                **{f: float(np.mean(list(m[name, method].values()))) for f, m in by_field.items()},
                "difference": difference,
                "standard_error": error,
                "pairs": len(pairs),
                "runs": counts[name, method],
            }
        )
    return rows


def _number(value, form):
    return "-" if math.isnan(value) else format(value, form)


def grid(header, lines):
    """Text of a table: first column to the left, the others to the right."""
    table = [header, *lines]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]

    def text(line):
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join(cells).rstrip()

    return "\n".join([text(header), "-" * len(text(header)), *map(text, lines)])


def format_tables(
    records, sets, methods, n_pairs, reference="logistic",
    figures=(("accuracy", "accuracy"), ("balanced", "balanced_accuracy")),
):  # fmt: skip
    """The tables as text: one a set, then one of methods x sets for each figure.

    Parameters
    ----------
    records : list of dict
    sets, methods : list of str
        What to show, in this order.
    n_pairs : dict
        Planned pairs by set; a mean over fewer is marked with an asterisk.
    reference : str, default="logistic"
        The method that differences are taken to.
    figures : tuple of (str, str)
        Heading and field of the figures; differences are of the first.

    Returns
    -------
    text : str
    """
    rows = summarise(records, reference, tuple(field for _, field in figures))
    cells = {(row["set"], row["method"]): row for row in rows}
    parts = []
    for name in sets:
        rows = [cells[name, method] for method in methods if (name, method) in cells]
        if not rows:
            continue
        title = f"{name}: mean over {n_pairs[name]} pair{'s' * (n_pairs[name] != 1)}"
        headings = [heading for heading, _ in figures]
        header = ["method", *headings, f"vs {reference}", "s.e.", "seconds", "runs"]
        lines = [
            [
                row["method"] + "*" * (row["pairs"] < n_pairs[name]),
                *(_number(row[field], ".3f") for _, field in figures),
                "-" if row["method"] == reference else _number(row["difference"], "+.3f"),
                "-" if row["method"] == reference else _number(row["standard_error"], ".3f"),
                _number(row["seconds"], ".2f"),
                str(row["runs"]),
            ]
            for row in rows
        ]
        parts.append(title + "\n" + grid(header, lines))
    shown = [name for name in sets if any((name, method) in cells for method in methods)]
    present = [m for m in methods if any((name, m) in cells for name in shown)]
    for heading, field in figures if present else ():
        lines = []
        for method in present:
            line = [method]
            for name in shown:
                row = cells.get((name, method))
                mark = "*" * (row is not None and row["pairs"] < n_pairs[name])
                line.append("-" if row is None else _number(row[field], ".3f") + mark)
            lines.append(line)
        parts.append(f"{heading} on the target\n" + grid(["method", *shown], lines))
    if any(row["pairs"] < n_pairs[row["set"]] for row in cells.values() if row["set"] in n_pairs):
        parts.append("* some pairs are missing: differences are over the pairs that are there.")
    return "\n\n".join(parts)
