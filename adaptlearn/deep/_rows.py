"""Input rows: checked, standardised by domain, handed out as tensors in batches."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
import torch

# Above this many bytes as dense float32, rows stay where they are and are converted batch by batch.
_EAGER_BYTES, _EAGER_SPARSE_BYTES = 2**30, 2**28
_CHUNK_BYTES = 2**24
_FORWARD_ROWS = 4096


def is_lazy(X):
    """Whether rows of `X` should be read batch by batch: memory maps, very large blocks."""
    base = X
    while base is not None and not sp.issparse(X):
        if isinstance(base, np.memmap):
            return True
        base = getattr(base, "base", None)
    n_bytes = 4 * math.prod(X.shape)
    return n_bytes > (_EAGER_SPARSE_BYTES if sp.issparse(X) else _EAGER_BYTES)


def dense(X, rows):
    """Dense array of some rows (a slice or an index array)."""
    block = X[rows]
    return block.toarray() if sp.issparse(block) else block


def rows_of(parts, rows):
    """Dense block of some rows (an index array) of blocks that stand one after the other."""
    if len(parts) == 1:
        return dense(parts[0], rows)
    starts = np.cumsum([0] + [part.shape[0] for part in parts])
    out = np.empty((len(rows), *parts[0].shape[1:]), np.result_type(*(p.dtype for p in parts)))
    owner = np.searchsorted(starts, rows, side="right") - 1
    for k, part in enumerate(parts):
        out[owner == k] = dense(part, rows[owner == k] - starts[k])
    return out


def chunks(X):
    """Slices of consecutive rows of about 16 MiB in float64."""
    step = max(1, _CHUNK_BYTES // (8 * max(1, int(np.prod(X.shape[1:])))))
    return [slice(a, min(a + step, X.shape[0])) for a in range(0, X.shape[0], step)]


def check_finite(X, feature_names=None):
    """Raise a ValueError that names the first column holding NaN or infinity."""
    if not sp.issparse(X) and X.dtype.kind not in "fc":
        return
    for rows in chunks(X):
        block = X[rows].data if sp.issparse(X) else X[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.sum()):  # one pass without a temporary; exact check only if not
                continue
        block = dense(X, rows)
        if np.isfinite(block).all():
            continue
        place = np.argwhere(~np.isfinite(block))[0]
        value = "NaN" if np.isnan(block[tuple(place)]) else "infinity"
        column = (
            f"column {place[1]}" if block.ndim == 2 else f"position {tuple(map(int, place[1:]))}"
        )
        if feature_names is not None and block.ndim == 2:
            column += f" ({feature_names[place[1]]!r})"
        raise ValueError(
            f"Input X contains {value} in {column}, row {rows.start + place[0]}. Impute or drop "
            "such rows first, for example with sklearn.impute.SimpleImputer in a Pipeline."
        )


class Rows:
    """Training rows as tensors.

    Rows that fit are converted once, standardised; memory maps, large sparse matrices and very
    large arrays are converted batch by batch.

    Parameters
    ----------
    parts : list of arrays or CSR matrices
        Row blocks, one after the other.
    slots : ndarray of shape (n_rows,)
        Row of the scaler's tables for each row.
    scaler : DomainScaler or None
    dtype : torch.dtype
    device : torch.device
    """

    def __init__(self, parts, slots, scaler, dtype, device):
        self.parts, self.slots, self.scaler = parts, slots, scaler
        self.dtype, self.device = dtype, device
        self.starts = np.cumsum([0] + [p.shape[0] for p in parts])
        self.tensor = None
        if not any(is_lazy(p) for p in parts):
            blocks = [self._convert(p, start) for p, start in zip(parts, self.starts)]  # noqa: B905
            self.tensor = (blocks[0] if len(blocks) == 1 else torch.cat(blocks)).to(device)

    def __len__(self):
        return int(self.starts[-1])

    @property
    def n_columns(self):
        """Standardised columns; 0 when rows are left as they came."""
        return 0 if self.scaler is None else self.parts[0].shape[1]

    def _convert(self, part, start):
        out = torch.empty(part.shape, dtype=self.dtype)
        for rows in chunks(part):
            slots = self.slots[start + rows.start : start + rows.stop]
            out[rows] = to_tensor(dense(part, rows), slots, self.scaler, self.dtype)
        return out

    def take(self, index):
        """Rows at the positions of an int64 tensor."""
        if self.tensor is not None:
            return self.tensor.index_select(0, index)
        index = index.cpu().numpy()
        block = rows_of(self.parts, index)
        return to_tensor(block, self.slots[index], self.scaler, self.dtype).to(self.device)

    def blocks(self, index):
        """Positions in `index`, in groups for one forward pass each."""
        return torch.arange(len(index), device=index.device).split(_FORWARD_ROWS)


def to_tensor(block, slots, scaler, dtype):
    """Fresh tensor of a dense block, standardised."""
    numpy_dtype = {torch.float64: np.float64}.get(dtype, np.float32)
    if scaler is not None:
        block = scaler.apply(block, slots)
    # Without a scaler the block may be a view of the caller's (possibly read-only) array.
    convert = np.array if scaler is None else np.asarray
    return torch.from_numpy(convert(block, dtype=numpy_dtype))
