"""Batch normalisation with statistics per domain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class DomainContext:
    """Which rows of the current batch belong to which domain; shared by the layers of a network.

    Attributes
    ----------
    segments : list of (slot, start, stop)
        Consecutive rows of one domain.
    """

    def __init__(self):
        self.segments = []


class DomainBatchNorm(nn.Module):
    """Batch norm whose statistics belong to a domain and whose scale and shift are shared.

    Slots follow `DomainIndex`: domains, pooled sources, pooled targets.

    References
    ----------
    Li et al., "Adaptive batch normalization for practical domain adaptation", 2018;
    Chang et al., "Domain-specific batch normalization", 2019.
    """

    def __init__(
        self, n_columns, n_sources, n_targets, context, eps=1e-5, momentum=0.1, affine=True
    ):
        super().__init__()
        n_slots = n_sources + n_targets + 2
        self.n_sources, self.n_targets = n_sources, n_targets
        self.eps, self.momentum, self.context = eps, momentum, context
        self.weight = nn.Parameter(torch.ones(n_columns)) if affine else None
        self.bias = nn.Parameter(torch.zeros(n_columns)) if affine else None
        self.register_buffer("running_mean", torch.zeros(n_slots, n_columns))
        self.register_buffer("running_var", torch.ones(n_slots, n_columns))
        self.register_buffer("rows_seen", torch.zeros(n_slots))

    @classmethod
    def from_batch_norm(cls, layer, n_sources, n_targets, context):
        """Copy of an ordinary batch norm layer; every domain starts from its statistics."""
        momentum = 0.1 if layer.momentum is None else layer.momentum
        new = cls(
            layer.num_features, n_sources, n_targets, context, layer.eps, momentum, layer.affine
        )
        if layer.affine:
            new.weight.data.copy_(layer.weight.data)
            new.bias.data.copy_(layer.bias.data)
        if layer.track_running_stats:
            new.running_mean.copy_(layer.running_mean.expand_as(new.running_mean))
            new.running_var.copy_(layer.running_var.expand_as(new.running_var))
        return new

    def forward(self, x):
        """Normalise each segment of the batch with the statistics of its domain."""
        segments = self.context.segments
        if len(segments) == 1:
            return self._normalise(x, segments[0][0])
        # One split, not slices: its backward writes the gradient once.
        parts = x.split([stop - start for _, start, stop in segments])
        slots = [slot for slot, _, _ in segments]
        return torch.cat([self._normalise(p, s) for p, s in zip(parts, slots, strict=True)])

    def _normalise(self, x, slot):
        # A single value per column has no variance: such a segment uses what was seen so far.
        training = self.training and x.numel() > x.shape[1]
        return F.batch_norm(
            x, self.running_mean[slot], self.running_var[slot], self.weight, self.bias,
            training, self.momentum, self.eps,
        )  # fmt: skip

    def count_rows(self, rows_by_slot):
        """Add the rows of an epoch: counting in every forward pass would cost a kernel each."""
        for slot, n_rows in rows_by_slot.items():
            self.rows_seen[slot] += n_rows

    @torch.no_grad()
    def pool_statistics(self):
        """Refresh the two pooled slots from those of the domains."""
        domains = self.n_sources + self.n_targets
        sides = [slice(0, self.n_sources), slice(self.n_sources, domains)]
        if not self.n_targets:
            sides[1] = sides[0]
        for place, side in enumerate(sides):
            seen = self.rows_seen[side]
            share = seen / seen.sum() if seen.sum() > 0 else torch.full_like(seen, 1 / len(seen))
            share = share.to(self.running_mean.dtype)
            mean, var = self.running_mean[side], self.running_var[side]
            pooled = share @ mean
            self.running_mean[domains + place] = pooled
            self.running_var[domains + place] = share @ (var + (mean - pooled).square())


def convert_batch_norm(module, n_sources, n_targets, context):
    """Replace every batch norm inside `module` (our copy of it) by a `DomainBatchNorm`."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    for name, child in module.named_children():
        if isinstance(child, kinds):
            new = DomainBatchNorm.from_batch_norm(child, n_sources, n_targets, context)
            setattr(module, name, new)
        else:
            convert_batch_norm(child, n_sources, n_targets, context)
    return module
