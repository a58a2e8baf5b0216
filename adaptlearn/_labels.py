"""Labels of any container as a plain array: which are missing, how a missing one is written."""

from __future__ import annotations

import sys

import numpy as np
import scipy.sparse as sp
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets


def to_array(y):
    """1-D array of `y`; lists and nullable columns become object arrays."""
    if isinstance(y, (list, tuple)):
        y = np.array(y, dtype=object)  # as they are: NumPy would turn ["a", nan] into "nan"
    elif hasattr(y, "to_numpy"):
        nullable = hasattr(getattr(y, "dtype", None), "na_value")
        y = y.to_numpy(dtype=object) if nullable else y.to_numpy()
    y = column_or_1d(y, warn=True)
    return y.astype(object) if y.dtype.kind == "T" else y


def is_table(y):
    """Whether `y` has a dimension for tasks."""
    if isinstance(y, (list, tuple)):
        return len(y) > 0 and np.ndim(y[0]) == 1 and not isinstance(y[0], str)
    return hasattr(y, "columns") or getattr(y, "ndim", 1) > 1


def columns_of(y):
    """Names and arrays of the columns of `y`; a one-dimensional one is a single column."""
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None: give one column of "
            "labels per task."
        )
    if sp.issparse(y):
        raise TypeError("y is a sparse matrix; give an array or a frame: y.toarray().")
    if hasattr(y, "columns"):
        names = list(y.columns)
        if len(set(names)) < len(names):
            raise ValueError(f"y has columns of the same name: {names}. Rename them.")
        return names, [to_array(y[name]) for name in names]
    if isinstance(y, (list, tuple)):
        y = np.array(y, dtype=object)
    elif not hasattr(y, "to_numpy"):
        y = np.asarray(y)
    if y.ndim == 1:
        return [0], [to_array(y)]
    if y.ndim != 2 or y.shape[1] == 0:
        raise ValueError(
            f"y has shape {y.shape}; give (n_rows, n_tasks), one column of labels per task."
        )
    return list(range(y.shape[1])), [to_array(column) for column in y.T]


def is_null(y):
    """Bool mask of None, NaN and pd.NA in an array."""
    if y.dtype.kind == "f":
        return np.isnan(y)
    if y.dtype.kind != "O":
        return np.zeros(len(y), dtype=bool)
    if "pandas" in sys.modules:
        return np.asarray(sys.modules["pandas"].isna(y), dtype=bool)
    return np.array([v is None or v != v for v in y], dtype=bool)


def is_mask(y):
    """Bool mask of -1 among numbers and "-1" among strings; none among continuous values."""
    if y.dtype.kind == "U":
        return y == "-1"
    if y.dtype.kind == "i" or (y.dtype.kind == "f" and not is_continuous(y)):
        return y == -1
    return np.zeros(len(y), dtype=bool)


def is_continuous(y):
    """Whether a float array holds fractions; NaN is not one."""
    return y.dtype.kind == "f" and bool((np.isfinite(y) & (y != np.round(y))).any())


def is_plus_minus_one(y):
    """Whether the labels are exactly {-1, 1}, as numbers or strings."""
    return set(np.unique(y).tolist()) in ({-1, 1}, {"-1", "1"})


def read_labels(y):
    """Class labels in a plain dtype, and a bool mask of the null ones.

    Null entries of the returned array hold some other label. Unsigned integers are widened, so
    that -1 can stand among them.
    """
    y = to_array(y)
    null = is_null(y)
    known = y[~null]
    if y.dtype.kind == "O":
        known = _plain(known)
    if known.dtype.kind == "u":
        known = known.astype(np.int64)
    if not null.any():
        return known, null
    filled = np.full(len(y), known[0] if len(known) else 0, dtype=known.dtype)
    filled[~null] = known
    return filled, null


def _plain(values):
    """Array of numbers or of strings from an array of objects."""
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    types = {type(v).__name__: isinstance(v, str) for v in values}
    plain = np.array(values.tolist()) if len(set(types.values())) == 1 else values
    if plain.dtype.kind not in "biufU" or plain.ndim != 1:
        raise TypeError(
            f"y holds labels of types {', '.join(sorted(types))}; labels must be all numbers or "
            "all strings (then the mask is the string '-1'). Convert y first, for example with "
            "[str(label) for label in y]."
        )
    return plain


def read_y(y, n_rows, regression):
    """Labels (null ones replaced) and which are null; checks length and kind."""
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None: give the labels of "
            "the source rows, and the mask on rows without a label (see adaptlearn.pack)."
        )
    if regression:
        y = to_array(y)
        null = is_null(y)
        try:
            y = np.where(null, 0.0, y).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"y must hold numbers (NaN: no label) for a regressor: {error}"
            ) from None
        if np.isinf(y).any():
            raise ValueError(
                "y contains infinity; regression targets must be finite. Drop such rows."
            )
    else:
        y, null = read_labels(y)
        if not null.all():
            check_classification_targets(y[~null])
    if len(y) != n_rows:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: X has {n_rows} rows, "
            f"y has {len(y)}. Give one label per row (with X_target=, of X alone)."
        )
    return y, null


def read_weight(sample_weight, n_rows, labelled):
    """Weight of each row, float64 (None when there is none); checks them."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n_rows, weight)
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight has shape {weight.shape}. Sample weights must be 1D array or scalar."
        )
    if len(weight) != n_rows:
        raise ValueError(
            f"sample_weight has {len(weight)} entries for {n_rows} rows of X; give one per row."
        )
    if not (np.isfinite(weight) & (weight >= 0)).all() or not weight[labelled].any():
        raise ValueError(
            "sample_weight must be finite, not negative, and not all zero on labelled rows. Check "
            "for NaN and negative weights; drop rows that should not count."
        )
    return weight


def join_labels(parts, names, lengths, n_sources, regression=None, some_missing=False):
    """Labels of domains, one after the other, with the right mask where there is none.

    Parameters
    ----------
    parts : list of array-like or None
        Labels of each domain; None where there are none.
    names : list of str
        What the user calls each part.
    lengths : list of int
        Rows of each domain.
    n_sources : int
        The first parts are sources and must hold no mask.
    regression : bool or None
        Whether the mask is NaN; None: when some label is a fraction.
    some_missing : bool
        Whether labels of source rows may be missing.

    Returns
    -------
    ndarray of shape (sum of lengths,)
        Or a table with as many rows, when the parts are tables: a frame if they are.
    """
    if any(part is not None and is_table(part) for part in parts):
        return _join_tables(parts, names, lengths, n_sources, regression)
    read = [None if part is None else read_labels(part) for part in parts]
    known = [entry[0][~entry[1]] for entry in read if entry is not None]
    if regression is None:
        regression = any(is_continuous(values) for values in known)
    text = {values.dtype.kind == "U" for values in known if len(values)}
    if len(text) > 1 or (regression and True in text):
        raise TypeError(
            "ys and y_target mix strings and numbers (or are strings with regression=True); "
            "convert them to one kind, for example with y.astype(str)."
        )
    mask, dtype = (np.nan, np.float64) if regression else (-1, np.int8)
    if True in text:
        mask, dtype = "-1", "U2"
    dtype = np.result_type(dtype, *[values.dtype for values in known if len(values)])
    out = np.full(sum(lengths), mask, dtype=dtype)
    stops = np.cumsum(lengths)
    for k, (entry, name, stop) in enumerate(zip(read, names, stops, strict=True)):
        if entry is None:
            continue
        values, null = entry
        if len(values) != lengths[k]:
            raise ValueError(f"{name} has {len(values)} labels for {lengths[k]} rows of X.")
        masked = null.any() or (not regression and is_mask(values).any())
        if k < n_sources and masked and not some_missing:
            raise ValueError(
                f"{name} holds the mask (-1, '-1', NaN, None or NA), which marks rows without a "
                "label in packed data. Drop rows without a label; recode a class -1 first, for "
                "example y = np.where(y == -1, 0, y), or fit with X_target= instead of pack."
            )
        out[stop - lengths[k] : stop][~null] = values[~null]
    return out


def _join_tables(parts, names, lengths, n_sources, regression):
    """`join_labels` column by column; each source row must have some label."""
    tables = [None if part is None else columns_of(part) for part in parts]
    heads = [table[0] for table in tables if table is not None]
    if any(head != heads[0] for head in heads):
        raise ValueError(
            f"the tables of labels have different columns: {heads}. Give one column per task, in "
            "the same order in every domain."
        )
    for table, name in zip(tables[:n_sources], names[:n_sources], strict=True):
        if table is not None and _no_label(table[1]).any():
            raise ValueError(
                f"{name} has {_no_label(table[1]).sum()} rows without a label of any task, and "
                "such rows stand for the target in packed data. Drop them, or hand them in Xt."
            )
    flags = regression if np.ndim(regression) else [regression] * len(heads[0])
    if len(flags) != len(heads[0]):
        raise ValueError(f"regression has {len(flags)} entries for {len(heads[0])} columns of ys.")
    columns = []
    for k, flag in enumerate(flags):
        column = [None if table is None else table[1][k] for table in tables]
        columns.append(join_labels(column, names, lengths, n_sources, flag, some_missing=True))
    frame = next(part for part in parts if part is not None)
    if hasattr(frame, "columns"):
        return type(frame)(dict(zip(heads[0], columns, strict=True)))
    if len({column.dtype.kind == "U" for column in columns}) > 1:
        columns = [column.astype(object) for column in columns]
    return np.stack(columns, axis=1)


def _no_label(columns):
    """Rows that have no label in any column."""
    missing = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        values, null = read_labels(column)
        missing &= null | is_mask(values)
    return missing
