"""The trained objective: task loss plus alignments, as one module (skorch's criterion)."""

from __future__ import annotations

import torch
from torch import nn

from .._components import member_name
from ..alignment.base import Alignment, Domain, Step
from ._mixing import mix_inputs


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
    labels : Tensor
        Argument of ``Criterion.build`` and ``Mixing.build``.
    mixing : Mixing, optional
    """

    def __init__(self, criterion, alignments, alignment_weight, sizes, labels, mixing=None):
        super().__init__()
        self.criterion, self.alignments = criterion, alignments
        self.alignment_weight = alignment_weight
        self.criterion_net = criterion.build(labels)
        self.mixing = mixing
        self.mixing_net = None if mixing is None else mixing.build(labels)
        self.nets = nn.ModuleList(_module_or_empty(a.build(**sizes)) for a in alignments)
        self.names = [member_name("alignment", a) for a in alignments]
        self.updating = [_overrides(a, "update") for a in alignments]
        self.refreshing = [_overrides(a, "refresh") for a in alignments]

    def mix_inputs(self, batch):
        """What of a batch goes through the network: inputs, segments, `Mixed` inputs or None."""
        if self.mixing is None or self.mixing.on != "inputs":
            return batch.x, batch.segments, None
        return mix_inputs(self.mixing, self.mixing_net, batch, keep=self._aligns(batch))

    def take_mixed(self, output, batch, mixed):
        """Outputs of the batch's own rows, and mixed rows with features in place of inputs."""
        if mixed is None:
            return output, None
        n, total = batch.n_labelled, len(batch.index)
        start = total if self._aligns(batch) else 0
        mixed = mixed._replace(features=output[0][start : start + n])
        return tuple(part[:total] for part in output), mixed

    def _aligns(self, batch):
        return len(self.alignments) > 0 and len(batch.index) > batch.n_labelled

    def forward(self, output, batch, head, progress, mixed=None):
        """Total loss and its parts, a dict of detached tensors.

        Rows that were mixed as inputs come as `mixed`.
        """
        (features, logits), n = output, batch.n_labelled
        both = len(logits) > n
        aligned = both and len(self.alignments) > 0
        if aligned:
            source, target = split_sides(output, batch)
            features, logits = source.features, source.logits
        elif both:
            features, logits = features[:n], logits[:n]
        total = self._task_loss(features, logits, batch, head, progress, mixed)
        parts = {"task": total.detach()}
        if aligned:
            for alignment, net, name in zip(self.alignments, self.nets, self.names, strict=True):
                weight = self.alignment_weight * alignment.weight
                step = Step(head, progress, weight)
                value = alignment.loss(source, target, step, _empty_to_none(net))
                parts[name] = value.detach()
                total = total + (value if alignment.adversarial else weight * value)
        return total, parts

    def _task_loss(self, features, logits, batch, head, progress, mixed):
        """Weighted mean of the criterion over the labelled rows, or what they are mixed to."""

        def losses(logits, y):
            return self.criterion.loss(logits, y, progress, self.criterion_net)

        if self.mixing is None:
            values, weight = losses(logits, batch.y), batch.task_weight
        else:
            if mixed is None:
                mixed = self.mixing.mix(features, batch.y, batch.task_weight, self.mixing_net)
            logits, weight = head(mixed.features), mixed.weight
            values = losses(logits, mixed.y)
            if mixed.other_y is not None:
                values = torch.lerp(losses(logits, mixed.other_y), values, mixed.share.to(values))
        return values.mean() if weight is None else (values * weight).mean()

    def held_out_loss(self, logits, y, weight):
        """Weighted task loss of held-out rows, as it is at the end of training."""
        # Progress 1: all epochs are measured by the loss that training ends with.
        losses = self.criterion.loss(logits, y, 1.0, self.criterion_net)
        if weight is not None and weight.any():
            losses = losses * weight / weight.mean()
        return losses.mean()

    @torch.no_grad()
    def update(self, output, batch):
        """Let the alignments that ask for it follow the optimiser step."""
        if any(self.updating) and len(output[1]) > batch.n_labelled:
            self._each("update", self.updating, *split_sides(output, batch))

    @torch.no_grad()
    def refresh(self, source, target, head, progress):
        """Hand whole-set features to the alignments that ask for them."""
        step = Step(head, progress, self.alignment_weight)
        self._each("refresh", self.refreshing, source, target, step)

    @property
    def refresh_features(self):
        """Whether any ``refresh`` reads features."""
        return self._any_refresh("refresh_features")

    @property
    def refresh_inputs(self):
        """Whether any ``refresh`` reads inputs."""
        return self._any_refresh("refresh_inputs")

    def _any_refresh(self, reads):
        members = zip(self.alignments, self.refreshing, strict=True)
        return any(asks and getattr(alignment, reads) for alignment, asks in members)

    def _each(self, method, wanted, *arguments):
        for alignment, net, asks in zip(self.alignments, self.nets, wanted, strict=True):
            if asks:
                getattr(alignment, method)(*arguments, _empty_to_none(net))


def split_sides(output, batch):
    """Source and target `Domain` of a batch and its network output."""
    # One split, not two slices: its backward writes each gradient once.
    n = batch.n_labelled
    sizes = [n, len(batch.index) - n]
    xs, xt = _split_inputs(batch.x, sizes)
    columns = (*output, batch.domain, batch.index, batch.weight)
    (fs, ft), (zs, zt), (ds, dt), (rs, rt), (ws, wt) = (c.split(sizes) for c in columns)
    return Domain(xs, batch.y, fs, zs, ds, rs, ws), Domain(xt, None, ft, zt, dt, rt, wt)


def _split_inputs(x, sizes):
    if not isinstance(x, dict):
        return x.split(sizes)
    parts = {name: tensor.split(sizes) for name, tensor in x.items()}
    return tuple({name: part[side] for name, part in parts.items()} for side in (0, 1))


def _module_or_empty(module):
    return nn.Identity() if module is None else module


def _empty_to_none(module):
    return None if type(module) is nn.Identity else module


def _overrides(alignment, method):
    return getattr(type(alignment), method) is not getattr(Alignment, method)
