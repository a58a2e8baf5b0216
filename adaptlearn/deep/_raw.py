"""Texts, images and other raw rows: an extractor's network as a backbone, and its batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..extractors._models import torch_randomness
from ..extractors.base import Extractor


class ExtractorBackbone(nn.Module):
    """Trainable copy of an extractor's network, and how raw rows become its input.

    Parameters
    ----------
    reader : Extractor
        Without weights.
    network : adaptlearn.extractors.base.Network
    """

    def __init__(self, reader, network):
        super().__init__()
        self.module = network.module
        self.reader, self._origin = reader, network._replace(module=None, directory=None)

    @classmethod
    def of(cls, extractor):
        """Backbone that starts from the weights of an open extractor."""
        return cls(extractor._reader(), extractor._network_for_training())

    @property
    def origin(self):
        """The `Network` that `reader` works with."""
        return self._origin._replace(module=self.module, directory=self.reader._place())

    def forward(self, inputs):
        """Features of a dict of tensors."""
        features = self.reader._trained_features(self.origin, inputs)
        # Pooling gives float32, whatever the precision of the layers that follow.
        return features.to(next(self.module.parameters(), features).dtype)

    def example(self):
        """Input of two rows."""
        rows, device = [self.reader._example()] * 2, torch.device("cpu")
        prepared = self.reader._prepare(rows, self.origin, keep=False)
        return self.reader._tensors(prepared, self.origin, device)

    def read_parameters(self):
        """Names of the parameters that the features depend on: not all, with ``layer=``."""
        named = {n: p for n, p in self.named_parameters() if p.requires_grad}
        if getattr(self.reader, "layer", -1) == -1:
            return set(named)
        with torch_randomness(torch.device("cpu")), torch.enable_grad():
            features = self(self.example())
            found = torch.autograd.grad(features.sum(), list(named.values()), allow_unused=True)
        return {name for name, gradient in zip(named, found, strict=True) if gradient is not None}

    def known(self):
        """What an augmentation may want to know of the inputs."""
        return self.reader._known(self.origin)


class RawRows:
    """Rows that an `ExtractorBackbone` reads, in place of an array of columns.

    Parameters
    ----------
    backbone : ExtractorBackbone
    X : container of rows
    keep : bool
        Whether rows are wanted more than once.
    """

    def __init__(self, backbone, X, keep):
        self.backbone = backbone
        self.rows = _some(backbone.reader._read_rows(X))
        self.shape = (len(self.rows),)
        self.prepared = backbone.reader._prepare(self.rows, backbone.origin, keep)

    def digests(self):
        """Bytes that differ where rows or the network differ."""
        yield self.backbone.origin.fingerprint.encode()
        for digest in self.backbone.reader._digests(self.rows):
            yield digest or b"?"


class RawBatches:
    """Training rows of an `ExtractorBackbone`, with the interface of `_rows.Rows`.

    Parameters
    ----------
    parts : list of RawRows
    dtype : torch.dtype
        Of the inputs that are no integers.
    device : torch.device
    """

    n_columns = 0  # none that are standardised

    def __init__(self, parts, dtype, device):
        self.backbone = parts[0].backbone
        self.prepared = [row for part in parts for row in part.prepared]
        self.lengths = self.backbone.reader._lengths(self.prepared)
        self.dtype, self.device = dtype, device

    def __len__(self):
        return len(self.prepared)

    def take(self, index):
        """Inputs of the network for the rows at the positions of an int64 tensor."""
        some = [self.prepared[i] for i in index.tolist()]
        inputs = self.backbone.reader._tensors(some, self.backbone.origin, self.device)
        return {name: self._moved(x) for name, x in inputs.items()}

    def _moved(self, x):
        dtype = self.dtype if x.is_floating_point() else x.dtype
        return x.to(self.device, dtype, non_blocking=True)

    def blocks(self, index):
        """Positions in `index`, in groups for one forward pass each; the longest rows first."""
        reader, device = self.backbone.reader, self.device
        order = torch.arange(len(index))
        if self.lengths is None:
            yield from order.to(index.device).split(reader._rows_at_once(1, device))
            return
        lengths = self.lengths[index.cpu().numpy()]
        order, at = torch.from_numpy(np.argsort(-lengths, kind="stable")), 0
        while at < len(order):
            size = reader._rows_at_once(int(lengths[order[at]]), device)
            yield order[at : at + size].to(index.device)
            at += size


def _some(rows):
    if len(rows) == 0:
        raise ValueError("X holds no rows (0 samples); give at least one.")
    return rows


def is_raw(X):
    """Whether these are raw rows."""
    return isinstance(X, RawRows)


def embedded(extractor, X, name):
    """Rows as columns of numbers: the features of a frozen extractor."""
    columns = _some(np.asarray(extractor.transform(X), np.float32))
    missing = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if len(missing):
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"{name} holds rows without a finite embedding (rows "
            f"{', '.join(map(str, missing[:5]))}{more}): they could not be read, or the model's "
            "answer is not finite. Training and predicting need every row: leave them out of X, "
            "with their labels."
        )
    return columns


def is_extractor(backbone):
    """Whether a ``backbone=`` reads raw rows."""
    return isinstance(backbone, Extractor)
