"""Row operations on whatever container a user has: arrays, sparse matrices, frames, lists."""

from __future__ import annotations

import numbers
import sys

import numpy as np
import scipy.sparse as sp


def n_rows(X):
    """Number of rows of any container."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def as_domains(X, row_ndim=0):
    """List of the domains in `X`; a container of rows is one domain.

    A list of arrays is a list of domains, unless they have no more dimensions than a row.
    """
    if isinstance(X, (list, tuple)) and len(X) and _holds_rows(X[0], row_ndim):
        return list(X)
    return [X]


def known_row_ndim(X, y):
    """Dimensions of a row of `X` where they tell rows in a list from domains, else 0.

    Arrays of three dimensions, each with a label of its own, are images and not domains.
    """
    if isinstance(X, np.ndarray) and X.ndim > 3:
        return X.ndim - 1
    if not isinstance(X, (list, tuple)) or len(X) != n_rows(y) or not len(X):
        return 0
    ndim = len(getattr(X[0], "shape", ()))
    one_label_each = np.ndim(y[0]) == 0 if isinstance(y, (list, tuple)) else np.ndim(y) == 1
    return ndim if ndim >= 3 and one_label_each else 0


def _holds_rows(item, row_ndim):
    """Whether a list's element is a container of rows and not a row."""
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and not isinstance(item[0], numbers.Number)
    if hasattr(item, "to_numpy"):  # frames, and columns of text
        return True
    kind = getattr(getattr(item, "dtype", None), "kind", "")
    ndim = len(getattr(item, "shape", ()))
    return ndim >= (1 if kind and kind in "OUT" else 2) and ndim > row_ndim


def as_parts(values, n_domains, name):
    """One array per domain out of what the user gave as `name`."""
    single = n_domains == 1 and not (
        isinstance(values, (list, tuple)) and len(values) == 1 and np.ndim(values[0]) == 1
    )
    parts = [values] if single else list(values)
    if len(parts) != n_domains or any(p is not None and np.ndim(p) == 0 for p in parts):
        raise ValueError(
            f"{name} must hold one array per domain: there are {n_domains} domains, got "
            f"{len(parts)} entries. Give a list of {n_domains} arrays."
        )
    return parts


def stack_rows(blocks, names="Xs and Xt"):
    """One container of the rows of all `blocks`: array, sparse matrix, frame or list.

    `names` are what the caller's parameters are called, for messages.
    """
    first, kinds = blocks[0], {_kind(block) for block in blocks}
    if "sparse" in kinds:
        kinds.discard("array")
    if len(kinds) > 1:
        raise TypeError(
            f"{names} are containers of different kinds ({', '.join(sorted(kinds))}); "
            "convert them to one kind first."
        )
    (kind,) = kinds
    if kind == "list" or _are_ragged(blocks):
        return [row for block in blocks for row in block]
    if hasattr(first, "columns"):
        for block in blocks:
            if set(block.columns) != set(first.columns):  # would be filled with NaN
                odd = sorted(map(str, set(block.columns) ^ set(first.columns)))
                raise ValueError(
                    f"domains have different columns: {odd} are not in all of them. "
                    f"Give {names} the same columns."
                )
    if kind == "pandas":
        return sys.modules["pandas"].concat(blocks, ignore_index=True)
    if kind == "polars":
        blocks = [block.select(first.columns) for block in blocks]
        return sys.modules["polars"].concat(blocks, how="vertical_relaxed")
    if kind == "array":
        blocks = [np.asarray(block) for block in blocks]
    if len({block.shape[1:] for block in blocks}) > 1:
        raise ValueError(
            "domains have different numbers of features: rows have shapes "
            f"{', '.join(str(block.shape[1:]) for block in blocks)}. {names} need the same."
        )
    if kind == "sparse":
        blocks = [b if sp.issparse(b) else sp.csr_matrix(b) for b in blocks]
        return sp.vstack(blocks, format="csr")
    return np.concatenate(blocks)


def _kind(block):
    if sp.issparse(block):
        return "sparse"
    if hasattr(block, "iloc"):
        return "pandas"
    if hasattr(block, "columns"):
        return "polars"
    if isinstance(block, (list, tuple)) and len(block):
        row = block[0]
        nested = hasattr(row, "shape") or isinstance(row, (list, tuple, numbers.Number))
        return "array" if nested else "list"  # list: of strings, paths or images
    return "array"


def _are_ragged(blocks):
    """Whether rows in lists, such as sounds of many lengths, differ in shape from others here."""
    lists = [block for block in blocks if isinstance(block, (list, tuple))]
    shapes = {getattr(row, "shape", None) for block in lists for row in block}
    if shapes and None not in shapes:
        shapes |= {block.shape[1:] for block in blocks if isinstance(block, np.ndarray)}
    return len(shapes) > 1


def take_rows(X, rows):
    """Rows of any container, in the order of the index array `rows`."""
    if hasattr(X, "iloc"):
        return X.iloc[rows].reset_index(drop=True)
    if isinstance(X, (list, tuple)):
        return [X[i] for i in rows]
    if sp.issparse(X) and X.format != "csr":
        X = X.tocsr()
    return X[rows]


def as_container(X):
    """`X`, or an array of what only knows how to become one."""
    known = X is None or hasattr(X, "shape") or hasattr(X, "__len__")
    return X if known else np.asarray(X)
