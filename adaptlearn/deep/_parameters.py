"""Checks of a deep estimator's parameters, before anything is trained."""

from __future__ import annotations

import os
from numbers import Integral, Real

import torch
from torch import nn

from .._compat import HasMethods, Interval, StrOptions, validate_parameter_constraints
from .._components import registered, resolve
from ..alignment.base import Alignment
from ..augmentation import make_augmentation
from ..extractors.base import Extractor
from ..imbalance.criterion import Criterion
from ..imbalance.sampling import SAMPLING
from ._mixing import check_mixing
from ._trainer import SCHEDULES
from .finetune import settled_mode

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

_CONSTRAINTS = {
    "backbone": [None, callable, nn.Module, Extractor],
    "augment": [None, callable, str, list, tuple],
    "bottleneck": [None, Interval(Integral, 1, None, closed="left")],
    "alignment_weight": [Interval(Real, 0, None, closed="left")],
    "normalize": [None, StrOptions({"domain", "source", "batch"})],
    "sampling": [StrOptions({"auto", *SAMPLING})],
    "target_sampling": [StrOptions({"uniform", "pseudo_balanced"})],
    "label_shift": [None, StrOptions({"auto", "bbse", "rlls", "mlls"})],
    "prior": [None, StrOptions({"source", "uniform", "target"}), "array-like"],
    "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "schedule": [StrOptions(set(SCHEDULES)), callable],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "max_epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "target_labels": [StrOptions({"ignore", "use"})],
    "early_stopping": ["boolean", StrOptions({"source", "target", "auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "precision": [StrOptions({"float32", "float64", "bfloat16"})],
    "compile": ["boolean"],
    "warm_start": ["boolean"],
    "callbacks": [None, list],
    "net_params": [None, dict],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
    "criterion": [str, HasMethods("loss")],
    "class_weight": [None, dict, StrOptions({"balanced"})],
    "device": [str, torch.device],
    "checkpoint": [None, str, os.PathLike],
    "rehearsal": [Interval(Integral, 0, None, closed="left")],
}


def check_parameters(estimator, alignment, *, regression):
    """Fresh components of a fit.

    Parameters
    ----------
    estimator : DeepEstimator
    alignment : None, str, Alignment or list of these
        The estimator's alignment, with "auto" spelled out.
    regression : bool

    Returns
    -------
    alignments : list of Alignment
    criterion : Criterion

    Raises
    ------
    ValueError, TypeError
        Naming the parameter, what came, and what is allowed.
    """
    params = check_values(estimator)
    if regression and estimator.sampling != "instance":
        raise ValueError(
            f"sampling={estimator.sampling!r} needs classes; use 'instance' in regression."
        )
    criterion = _criterion(estimator.criterion, regression)
    _check_rebalancing(criterion, params)
    _check_prior(params)
    check_mixing(params.get("mixing"), criterion, params.get("class_weight"))
    if params.get("resampler") is not None:
        from ._resampling import check_resampler  # imports imbalanced-learn

        check_resampler(params["resampler"], criterion)
    return make_alignments(alignment, regression), criterion


def check_values(estimator, **constraints):
    """Check the parameters that all deep estimators share; returns all parameters.

    Parameters
    ----------
    estimator : DeepEstimator
    **constraints : list
        Constraints of further parameters, or other ones of these.
    """
    params = estimator.get_params(deep=False)
    constraints = {k: v for k, v in (_CONSTRAINTS | constraints).items() if k in params}
    validate_parameter_constraints(constraints, params, caller_name=type(estimator).__name__)
    make_augmentation(estimator.augment)
    settled_mode(estimator)
    _check_widths(estimator.hidden_layer_sizes)
    for key in estimator.net_params or {}:
        if not key.startswith(("optimizer__", "callbacks__")):
            raise ValueError(
                f"net_params key {key!r} is not allowed; keys start with 'optimizer__' or "
                "'callbacks__'. Other settings are parameters of the estimator."
            )
    return params


def _check_widths(sizes):
    valid = isinstance(sizes, (list, tuple)) and all(
        isinstance(width, Integral) and width >= 1 for width in sizes
    )
    if not valid:
        raise ValueError(
            f"hidden_layer_sizes={sizes!r} must be a tuple of integers >= 1; () is a linear model."
        )


def make_alignments(spec, regression):
    """Fresh alignments out of what the user gave, with "auto" spelled out."""
    members = [] if spec is None else list(spec) if isinstance(spec, (list, tuple)) else [spec]
    alignments = [resolve("alignment", member) for member in members]
    for member in alignments:
        if not isinstance(member, Alignment):
            raise TypeError(
                f"alignment holds {member!r} of type {type(member).__name__}; members must be "
                "names or Alignment objects (subclass adaptlearn.Alignment to write your own)."
            )
        if not isinstance(member.weight, Real) or not member.weight >= 0:
            raise ValueError(f"alignment {member!r}: weight must be a number >= 0.")
        if member.needs_classes and regression:
            raise ValueError(
                f"alignment={member!r} reads class scores and cannot be used for regression; use "
                "'coral', 'mmd' or 'dann'."
            )
    return alignments


def _criterion(spec, regression):
    criterion = resolve("criterion", spec)
    if not isinstance(criterion, Criterion) or criterion.regression != regression:
        known = sorted(registered("criterion").items())
        fitting = [n for n, cls in known if getattr(cls, "regression", None) == regression]
        task = "regression" if regression else "classification"
        raise ValueError(
            f"criterion={spec!r} does not fit this task ({task}); use one of {fitting}, or an "
            "object of such a class."
        )
    return criterion


def _check_rebalancing(criterion, params):
    """Imbalance is countered once: by the loss, the batches or the weights."""
    sampling, class_weight = params["sampling"], params.get("class_weight")
    by_batches = sampling not in ("auto", "instance")
    if by_batches and not criterion.rebalances and isinstance(class_weight, str):
        raise ValueError(
            f"sampling={sampling!r} counters imbalance, and class_weight={class_weight!r} would do "
            "so a second time. Set sampling='instance', or class_weight=None; a dict of weights is "
            "taken as it is."
        )
    if not criterion.rebalances or not (by_batches or class_weight is not None):
        return
    if by_batches:
        given, way_out = f"sampling={sampling!r}", "sampling='instance'"
    else:
        given, way_out = f"class_weight={class_weight!r}", "class_weight=None"
    raise ValueError(
        f"criterion={criterion!r} counters imbalance itself, and {given} would do so a second "
        f"time. Set {way_out}, or a criterion that does not: 'cross_entropy', 'focal' or "
        "'asymmetric'."
    )


def _check_prior(params):
    """Target proportions are not asked for where none are estimated."""
    prior = params.get("prior")
    if isinstance(prior, str) and prior == "target" and params["label_shift"] is None:
        raise ValueError(
            "prior='target' needs an estimate of the target's class proportions. Set "
            "label_shift='auto', or give proportions that you know as an array."
        )
