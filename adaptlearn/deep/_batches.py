"""Batches of both sides, cut as slices of an index plan that is drawn once per epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..imbalance.sampling import ClassSampler, InstanceSampler


class Batch(NamedTuple):
    """Labelled rows first, then target rows."""

    x: torch.Tensor
    y: torch.Tensor
    task_weight: torch.Tensor | None
    n_labelled: int
    segments: list
    domain: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor


class TrainingSet(NamedTuple):
    """Everything a fit trains on; tensors on the device."""

    rows: object  # Rows
    slots: torch.Tensor  # (n_rows,) domain slot, int64
    labelled: torch.Tensor  # row numbers that carry a label
    target: torch.Tensor  # row numbers of the target side; empty when it is not needed
    y: torch.Tensor  # (n_rows,) codes or values
    task_weight: torch.Tensor | None  # (n_rows,) mean 1 over labelled rows
    weight: torch.Tensor  # (n_rows,) alignment weight
    sampler: object  # over the labelled rows
    matched: bool = False  # whether `weight` gives the source the target's class proportions
    pseudo_balanced: bool = False  # whether target batches are balanced by pseudo-label


class BatchIterator:
    """One pass over the longer side; the shorter side is repeated.

    Parameters
    ----------
    data : TrainingSet
    batch_size : int
        Rows of each side in a batch. Chunks of one epoch differ by at most one row, so that no
        tiny last batch upsets batch statistics.
    """

    def __init__(self, data, batch_size):
        self.data, self.batch_size = data, batch_size
        n_longest = max(len(data.labelled), len(data.target))
        self.n_batches = max(1, -(-n_longest // batch_size))
        self.n_longest = n_longest

    def __len__(self):
        return self.n_batches

    def _plan(self, members, sampler, generator, progress):
        """Row numbers of the epoch, chunk sizes, and the (slot, length) segments of each chunk."""
        # A side smaller than a batch is not repeated within one.
        n_draws = min(self.n_longest, self.n_batches * len(members))
        drawn = sampler.draw(n_draws, generator, progress)
        order = members[drawn.to(members.device)]
        borders = np.linspace(0, n_draws, self.n_batches + 1).round().astype(np.int64)
        sizes = np.diff(borders).tolist()
        slots = self.data.slots[order]
        unique = torch.unique(slots).tolist()
        if len(unique) == 1:
            return order, sizes, [[(unique[0], size)] for size in sizes]
        # Rows of one domain stand together within a chunk, so that a domain is a slice.
        n_slots = unique[-1] + 1
        chunk = torch.from_numpy(np.repeat(np.arange(self.n_batches), sizes))
        key = chunk.to(slots.device) * n_slots + slots
        place = torch.argsort(key, stable=True)
        counts = torch.bincount(key, minlength=self.n_batches * n_slots).view(-1, n_slots).tolist()
        segments = [[(s, n) for s, n in enumerate(row) if n] for row in counts]
        return order[place], sizes, segments

    def _drawn_weight(self, pseudo_labels, progress):
        """Alignment weights times q_T(y) / q_S(y), with q the class shares of what is drawn."""
        data = self.data
        if pseudo_labels is None and not data.matched:
            return data.weight
        rate = data.sampler.rate(progress)
        weight = data.weight.clone()
        if pseudo_labels is not None:
            ratio = self._even_ratio(pseudo_labels)
            weight[data.labelled] *= ratio[data.slots[data.labelled], data.y[data.labelled]]
        if rate is not None:
            weight[data.labelled] /= rate.to(weight)
        return weight

    def _even_ratio(self, pseudo_labels):
        """Ratio to a target in which every class that occurs is equally frequent."""
        data = self.data
        slots, y = data.slots[data.labelled], data.y[data.labelled]
        shape = int(data.slots.max()) + 1, max(int(y.max()), int(pseudo_labels.max())) + 1
        counts = torch.bincount(slots * shape[1] + y, minlength=shape[0] * shape[1]).view(shape)
        occurs = torch.bincount(pseudo_labels, minlength=shape[1]) > 0
        shared = (occurs & (counts > 0)).to(data.weight)
        ratio = shared * counts.sum(1, keepdim=True) / counts.clamp_min(1)
        ratio = ratio / shared.sum(1, keepdim=True).clamp_min(1)
        # A domain that has none of the target's classes keeps its rows.
        return torch.where(shared.any(1, keepdim=True), ratio, torch.ones_like(ratio))

    def batches(self, generator, progress=0.0, pseudo_labels=None):
        """Batches of one epoch.

        Parameters
        ----------
        generator : torch.Generator
        progress : float, default=0.0
            Of the training, at the middle of this epoch.
        pseudo_labels : Tensor of shape (n_target,), optional
            Classes that target batches are balanced by.
        """
        data = self.data
        weight = self._drawn_weight(pseudo_labels, progress)
        index, sizes, segments = self._plan(data.labelled, data.sampler, generator, progress)
        n_labelled = sizes
        y = data.y[index].split(sizes)
        task_weight = [None] * len(sizes)
        if data.task_weight is not None:
            task_weight = data.task_weight[index].split(sizes)
        if len(data.target):
            if pseudo_labels is None:
                sampler = InstanceSampler(len(data.target))
            else:
                sampler = ClassSampler(pseudo_labels.cpu())
            t_index, t_sizes, t_segments = self._plan(data.target, sampler, generator, progress)
            sides = zip(index.split(sizes), t_index.split(t_sizes), strict=True)
            index = torch.cat([part for pair in sides for part in pair])
            sizes = [a + b for a, b in zip(sizes, t_sizes, strict=True)]
            segments = [a + b for a, b in zip(segments, t_segments, strict=True)]
        # Everything but the rows themselves is gathered once an epoch and cut into views.
        domain, weight = data.slots[index].split(sizes), weight[index].split(sizes)
        for k, rows in enumerate(index.split(sizes)):
            yield Batch(
                data.rows.take(rows),
                y[k],
                task_weight[k],
                n_labelled[k],
                _places(segments[k]),
                domain[k],
                rows,
                weight[k],
            )


def _places(parts):
    """Turn (slot, length) pairs into (slot, start, stop)."""
    out, start = [], 0
    for slot, length in parts:
        out.append((slot, start, start + length))
        start += length
    return out
