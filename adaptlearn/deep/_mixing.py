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
        given = f"criterion={criterion!r} counters it as well. Set mixing=None,"
        rest = "or a criterion that does not: 'cross_entropy', 'focal' or 'asymmetric'."
    elif class_weight is not None:
        given, rest = f"class_weight={class_weight!r} would do so again. Set", "class_weight=None."
    else:
        return
    raise ValueError(
        f"mixing={spec!r} counters imbalance, and {given} mixing=Mixup(balanced=False), {rest}"
    )
