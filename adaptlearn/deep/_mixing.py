"""The mixing of a fit, and what it does not go with."""

from __future__ import annotations

from .._components import registered, resolve
from ..imbalance.mixing import Mixing


def make_mixing(spec):
    """Fresh mixing out of what the user gave as ``mixing=``, or None."""
    if spec is None:
        return None
    mixing = resolve("mixing", spec)
    if not isinstance(mixing, Mixing):
        raise TypeError(
            f"mixing={spec!r} of type {type(spec).__name__} must be None, one of "
            f"{sorted(registered('mixing'))}, or a Mixing object (subclass adaptlearn.Mixing to "
            "write your own)."
        )
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
