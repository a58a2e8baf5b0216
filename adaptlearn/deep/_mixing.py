"""The mixing of a fit, and what it does not go with."""

from __future__ import annotations

import torch

from .._components import registered, resolve
from ..imbalance.mixing import Mixed, Mixing


def make_mixing(spec, row_shape=None):
    """Fresh mixing out of what the user gave as ``mixing=``, or None.

    Raises where it is known that rows of `row_shape` cannot be mixed: the shape of one row, or a
    dict of them by name, where the network has several inputs.
    """
    if spec is None:
        return None
    mixing = resolve("mixing", spec)
    if not isinstance(mixing, Mixing):
        raise TypeError(
            f"mixing={spec!r} of type {type(spec).__name__} must be None, one of "
            f"{sorted(registered('mixing'))}, or a Mixing object (subclass adaptlearn.Mixing to "
            "write your own)."
        )
    if mixing.on not in ("features", "inputs"):
        raise ValueError(f"on={mixing.on!r} of {mixing!r} must be 'features' or 'inputs'.")
    if mixing.on == "inputs" and row_shape:
        mixing.check_rows(_mixed_input(mixing, row_shape))
    return mixing


def check_mixing(spec, criterion, class_weight):
    """Raise for what is no mixing, and where imbalance would be countered twice."""
    mixing = make_mixing(spec)
    if mixing is None or not mixing.rebalances:
        return
    if criterion.rebalances:
        again = f"criterion={criterion!r}"
        way_out = "a criterion that does not: 'cross_entropy', 'focal' or 'asymmetric'"
    elif class_weight is not None:
        again, way_out = f"class_weight={class_weight!r}", "class_weight=None"
    else:
        return
    raise ValueError(
        f"mixing={spec!r} counters imbalance, and {again} would do so a second time. Set "
        f"mixing=None, mixing=Mixup(balanced=False), or {way_out}."
    )


def mix_inputs(mixing, net, batch, keep):
    """Inputs with mixed rows, for a mixing on inputs.

    Each domain is mixed by itself, so that every row is normalised as what it was made of.

    Parameters
    ----------
    mixing : Mixing
    net : nn.Module or None
        What its ``build`` returned.
    batch : Batch
    keep : bool
        Whether the labelled rows go through the network, too; mixed rows then stand at the end.

    Returns
    -------
    x : Tensor or dict of Tensor
    segments : list of (slot, start, stop)
    mixed : Mixed
        Its `features` are inputs.
    """
    n, several = batch.n_labelled, isinstance(batch.x, dict)
    rows = _mixed_input(mixing, batch.x)
    segments = [segment for segment in batch.segments if segment[1] < n]
    parts = []
    for _, start, stop in segments:
        weight = None if batch.task_weight is None else batch.task_weight[start:stop]
        parts.append(mixing.mix(rows[start:stop], batch.y[start:stop], weight, net))
    mixed = Mixed(*(None if c[0] is None else torch.cat(c) for c in zip(*parts, strict=True)))
    if len(mixed.features) != n:
        raise ValueError(
            f"mixing={mixing!r} made {len(mixed.features)} rows of {n}; a mixing on inputs must "
            "return as many rows as it gets."
        )
    x = {mixing.applies_to: _with_mixed(rows, mixed.features, keep)}
    if several and keep:
        x = {name: torch.cat([value, value[:n]]) for name, value in batch.x.items()} | x
    elif several:
        x = batch.x | x
    shifted = []
    if keep:
        total = len(batch.index)
        shifted = [(slot, start + total, stop + total) for slot, start, stop in segments]
    return x if several else x[mixing.applies_to], [*batch.segments, *shifted], mixed


def _mixed_input(mixing, inputs):
    """Of a dict, what `mixing` applies to; anything else as it is."""
    if not isinstance(inputs, dict):
        return inputs
    if mixing.applies_to not in inputs:
        raise ValueError(
            f"mixing={mixing!r} combines {mixing.applies_to!r}, and the network's inputs are "
            f"{', '.join(map(repr, inputs))}. Take mixing='mixup', which combines features."
        )
    return inputs[mixing.applies_to]


def _with_mixed(rows, mixed, keep):
    return torch.cat([rows, mixed] if keep else [mixed, rows[len(mixed) :]])
