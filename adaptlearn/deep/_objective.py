"""The trained objective: task loss plus alignments, as one module (skorch's criterion)."""

from __future__ import annotations

import torch
from torch import nn

from .._components import member_name
from ..alignment.base import Alignment, Domain, Step


class Objective(nn.Module):
    """Task loss on labelled rows plus the alignment losses of a batch.

    What the components' ``build`` returned are submodules, so that their parameters reach the
    optimiser, the device and the checkpoint by themselves.

    Parameters
    ----------
    criterion : Criterion
    alignments : list of Alignment
    alignment_weight : float
        Multiplies every alignment's own weight.
    sizes : dict
        Arguments of ``Alignment.build``.
    """

    def __init__(self, criterion, alignments, alignment_weight, sizes):
        super().__init__()
        self.criterion, self.alignments = criterion, alignments
        self.alignment_weight = alignment_weight
        self.criterion_net = criterion.build(sizes["class_counts"])
        self.nets = nn.ModuleList(_module_or_empty(a.build(**sizes)) for a in alignments)
        self.names = [member_name("alignment", a) for a in alignments]
        self.updating = [_overrides(a, "update") for a in alignments]
        self.refreshing = [_overrides(a, "refresh") for a in alignments]

    def forward(self, output, batch, head, progress):
        """Total loss and its parts, a dict of detached tensors."""
        features, logits = output
        n = batch.n_labelled
        values = self.criterion.loss(logits[:n], batch.y, self.criterion_net)
        total = values.mean() if batch.task_weight is None else (values * batch.task_weight).mean()
        parts = {"task": total.detach()}
        if self.alignments and len(logits) > n:
            source, target = split_sides(output, batch)
            for alignment, net, name in zip(self.alignments, self.nets, self.names, strict=True):
                weight = self.alignment_weight * alignment.weight
                step = Step(head, progress, weight)
                value = alignment.loss(source, target, step, _empty_to_none(net))
                parts[name] = value.detach()
                total = total + (value if alignment.adversarial else weight * value)
        return total, parts

    @torch.no_grad()
    def update(self, output, batch):
        """Let the alignments that ask for it follow the optimiser step."""
        if any(self.updating) and len(output[1]) > batch.n_labelled:
            self._each("update", self.updating, *split_sides(output, batch))

    @torch.no_grad()
    def refresh(self, source, target):
        """Hand whole-set features to the alignments that ask for them."""
        self._each("refresh", self.refreshing, source, target)

    def _each(self, method, wanted, source, target):
        for alignment, net, asks in zip(self.alignments, self.nets, wanted, strict=True):
            if asks:
                getattr(alignment, method)(source, target, _empty_to_none(net))


def split_sides(output, batch):
    """Source and target `Domain` of a batch and its network output."""
    features, logits = output
    n = batch.n_labelled

    def side(rows, y):
        return Domain(
            batch.x[rows], y, features[rows], logits[rows],
            batch.domain[rows], batch.index[rows], batch.weight[rows],
        )  # fmt: skip

    return side(slice(None, n), batch.y), side(slice(n, None), None)


def _module_or_empty(module):
    return nn.Identity() if module is None else module


def _empty_to_none(module):
    return None if type(module) is nn.Identity else module


def _overrides(alignment, method):
    return getattr(type(alignment), method) is not getattr(Alignment, method)
