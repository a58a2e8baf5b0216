"""One column of raw rows, whatever container a user has it in."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np


def column(X, what):
    """Rows of a list, Series, one-column frame or array, as a list.

    Parameters
    ----------
    X : container
    what : str
        What a row is, for the error message.
    """
    if isinstance(X, (str, bytes)) or X is None or not hasattr(X, "__len__"):
        raise TypeError(
            f"X must hold {what} row by row (a list, a Series, an array or one column of a frame), "
            f"got {type(X).__name__}. A single row is a list of one: [row]."
        )
    shape = getattr(X, "shape", None)
    if hasattr(X, "columns"):  # a frame
        if shape[1] != 1:
            raise ValueError(
                f"X has {shape[1]} columns ({', '.join(map(str, list(X.columns)[:5]))}); an "
                f"extractor takes one column of {what}. Choose it with a ColumnTransformer."
            )
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X[X.columns[0]]
    elif shape is not None and len(shape) == 2 and shape[1] == 1:
        X = X[:, 0]
    elif shape is not None and len(shape) != 1:
        raise ValueError(
            f"X has shape {tuple(shape)}; an extractor takes one column of {what}, shape "
            "(n_rows,) or (n_rows, 1)."
        )
    if hasattr(X, "to_list"):  # pandas and polars: plain Python objects
        return X.to_list()
    return X.tolist() if isinstance(X, np.ndarray) else list(X)


def is_missing(row):
    """Whether there is no row here: None, NaN, or what pandas has for them."""
    if isinstance(row, (float, np.floating)):
        return bool(row != row)
    return row is None or type(row).__name__ in ("NAType", "NaTType")


def opened(row):
    """A file to read, given its path or its bytes."""
    if is_missing(row):
        raise ValueError(f"it is missing ({row})")
    return io.BytesIO(row) if isinstance(row, bytes) else open(Path(row).expanduser(), "rb")
