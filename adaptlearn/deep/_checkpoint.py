"""Checkpoints: resume an interrupted fit from its last whole epoch."""

from __future__ import annotations

import hashlib
import inspect
import os
import uuid
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from ..extractors._fingerprint import describe
from ._raw import is_raw
from ._rows import chunks

# Parameters that do not change what a fit ends with.
_IRRELEVANT = ("verbose", "checkpoint", "callbacks", "device", "random_state", "compile")

_KEYS = {"seed", "epoch", "network", "objective", "optimizer", "history", "stopping"}


def fingerprint(estimator, seed, epochs, parts, fit_rows, start=None):
    """Hex digest of everything that decides a fit: class, parameters, seed, data, first weights.

    Parameters
    ----------
    estimator : estimator
    seed : int or None
    epochs : int
        Planned epochs of this fit.
    parts : list of arrays or CSR matrices
    fit_rows : FitRows
    start : list, optional
        What this fit goes on from: the network, and what a regularisation learned of earlier calls.
    """
    digest = hashlib.blake2b(digest_size=12)
    params = estimator.get_params(deep=False)
    described = {k: _described(v) for k, v in sorted(params.items()) if k not in _IRRELEVANT}
    digest.update(repr((type(estimator).__qualname__, described, seed, epochs)).encode())
    for part in parts:
        if is_raw(part):
            for block in part.digests():
                digest.update(block)
            continue
        digest.update(repr((part.shape, str(part.dtype))).encode())
        if sp.issparse(part):
            blocks = [part.data, part.indices, part.indptr]
        else:
            blocks = (part[rows] for rows in chunks(part))
        for block in blocks:
            digest.update(np.ascontiguousarray(block).data)
    for column in fit_rows:
        if column is not None:
            digest.update(np.ascontiguousarray(column).astype(column.dtype.str).tobytes())
    if start is not None:
        digest.update(_described(start).encode())
    return digest.hexdigest()


def _described(value):
    """Text that is the same in another process if and only if the parameter is the same."""
    if isinstance(value, torch.nn.Module):  # its repr does not show the weights
        digest = hashlib.blake2b(digest_size=12)
        for name, tensor in value.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return f"{value!r} {digest.hexdigest()}"
    if isinstance(value, (list, tuple)):
        return repr([_described(v) for v in value])
    if isinstance(value, dict):
        return repr({repr(k): _described(v) for k, v in value.items()})
    if hasattr(value, "get_params") and not inspect.isclass(value):  # its repr may be abridged
        return f"{type(value).__qualname__}({_described(value.get_params(deep=False))})"
    if callable(value) or isinstance(value, torch.Tensor):  # its repr holds an address, or not all
        return describe(value)
    return repr(value)


class Checkpoint:
    """One file in a directory, replaced as a whole after each epoch.

    Parameters
    ----------
    directory : path-like
        Made if missing. Each different call has a file of its own, so that the fits of a search
        may share a directory.
    name : str
        Fingerprint of the call.
    """

    def __init__(self, directory, name):
        self.path = Path(directory) / f"{name}.ckpt"

    def load(self):
        """State saved last, or None."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            complete = _KEYS <= state.keys()
        except Exception as error:  # torch's own text advises to load it unsafely
            raise ValueError(self._complaint()) from error
        if not complete:
            raise ValueError(self._complaint())
        return state

    def _complaint(self):
        return (
            f"checkpoint {self.path} cannot be read: it is damaged, or not written by this "
            "package. Delete it to train from the start."
        )

    def save(self, state):
        """Write beside the file and move into place: a reader sees the old or the new state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{uuid.uuid4().hex}.tmp")
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
