"""Checkpoints: resume an interrupted fit from its last whole epoch."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch

from ._rows import chunks

# Parameters that do not change what a fit ends with.
_IRRELEVANT = ("verbose", "checkpoint", "callbacks", "device", "random_state", "compile")


def fingerprint(estimator, seed, parts, fit_rows):
    """Hex digest of everything that decides a fit: class, parameters, seed, data."""
    digest = hashlib.blake2b(digest_size=12)
    params = estimator.get_params(deep=False)
    described = {k: repr(v) for k, v in sorted(params.items()) if k not in _IRRELEVANT}
    digest.update(repr((type(estimator).__qualname__, described, seed)).encode())
    for part in parts:
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
    return digest.hexdigest()


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
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"checkpoint {self.path} cannot be read ({error}). Delete it to train from the "
                "start."
            ) from error

    def save(self, state):
        """Write beside the file and move into place: a reader sees the old or the new state."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
