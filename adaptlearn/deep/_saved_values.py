"""Parameters in a file: their JSON form and back; nothing in it is ever executed."""

from __future__ import annotations

import inspect
import os

import numpy as np
import torch

from .. import extractors
from .._components import did_you_mean, registered, resolve
from ..alignment.base import Alignment
from ..augmentation import Augmentation
from ..imbalance.criterion import Criterion
from ..imbalance.mixing import Mixing
from ..regularization.base import Regularization
from ._task_weighting import TaskWeighting
from .finetune import FineTuning

_SLOT_BASES = {
    "alignment": Alignment,
    "augment": Augmentation,
    "criterion": Criterion,
    "mixing": Mixing,
    "regularization": Regularization,
    "task_weighting": TaskWeighting,
}


# Parameters that say which tensors a network and its losses have.
_SHAPING = ("backbone", "finetune", "hidden_layer_sizes", "bottleneck", "normalize", "criterion")
_SHAPING += ("alignment", "alignment_tasks", "tasks", "task_weighting")


class UnknownComponent(Exception):
    """A file needs what is not registered."""


def shaping_forms(estimator):
    """JSON forms of the parameters that shape a network; without those that have none."""
    forms = {}
    for name in _SHAPING:
        try:
            forms[name] = encode(getattr(estimator, name, None), f"{name}=")
        except ValueError:  # save says so
            continue
    return forms


def encode(value, place):
    """JSON form of a parameter; raises ValueError for what has none."""
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, (float, np.floating, np.integer, np.bool_)):
        value = value.item() if isinstance(value, np.generic) else value
        return {"float": value.hex()} if isinstance(value, float) else value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU" and value.ndim == 1:
        return {"array": [encode(v, place) for v in value.tolist()], "dtype": value.dtype.str}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [encode(v, place) for v in value]}
    if isinstance(value, dict):
        pairs = [[encode(k, place), encode(v, place)] for k, v in value.items()]
        return {"dict": pairs}
    for slot, base in _SLOT_BASES.items():
        if isinstance(value, base):
            params = {k: encode(v, place) for k, v in value.get_params(deep=False).items()}
            for name, cls in registered(slot).items():
                if type(value) is cls:
                    return {"component": [slot, name], "params": params}
            return {"external": type(value).__name__, "params": params}
    if isinstance(value, FineTuning):
        return {"finetuning": {k: encode(v, place) for k, v in value.get_params().items()}}
    if isinstance(value, extractors.EmbeddingCache):
        return {"cache": [encode(value.directory, place), value.max_bytes]}
    if isinstance(value, extractors.Extractor):
        name = type(value).__name__
        form = "extractor" if getattr(extractors, name, None) is type(value) else "external"
        params = {k: encode(v, place) for k, v in value.get_params(deep=False).items()}
        return {form: name, "params": params}
    if hasattr(value, "fit_resample") and not inspect.isclass(value):
        name = type(value).__name__
        form = "sampler" if _samplers().get(name) is type(value) else "external"
        params = {k: encode(v, place) for k, v in value.get_params(deep=False).items()}
        return {form: name, "params": params}
    if inspect.isclass(value) and value is getattr(torch.optim, value.__name__, None):
        return {"torch.optim": value.__name__}
    named = type(value) if isinstance(value, torch.nn.Module) else value
    if place in ("backbone=", "augment=") and "<" not in getattr(named, "__qualname__", "<"):
        return {"external": named.__name__}
    raise ValueError(
        f"{place}{value!r} cannot be saved: a {type(value).__name__} has no representation without "
        "pickle. Use a name, a number, or a registered component."
    )


def decode(value, components):
    """Parameter that `encode` wrote; `components` maps names that are not registered."""
    if isinstance(value, list) or not isinstance(value, dict):
        if isinstance(value, list):
            raise ValueError("a bare list is not a parameter")
        return value
    if "float" in value:
        return float.fromhex(value["float"])
    if "list" in value:
        return [decode(v, components) for v in value["list"]]
    if "array" in value:
        return np.array([decode(v, components) for v in value["array"]], np.dtype(value["dtype"]))
    if "tuple" in value:
        return tuple(decode(v, components) for v in value["tuple"])
    if "dict" in value:
        return {decode(k, components): decode(v, components) for k, v in value["dict"]}
    if "torch.optim" in value:
        cls = getattr(torch.optim, value["torch.optim"], None)
        if not (inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)):
            raise ValueError(f"{value['torch.optim']!r} is not an optimiser of torch")
        return cls
    if "finetuning" in value:
        return FineTuning(**{k: decode(v, components) for k, v in value["finetuning"].items()})
    if "cache" in value:
        return extractors.EmbeddingCache(*value["cache"])
    params = {k: decode(v, components) for k, v in value.get("params", {}).items()}
    if "extractor" in value:
        known = {name: getattr(extractors, name) for name in extractors.__all__}
        cls = find_component(value["extractor"], known, ())
        if callable(params["model"]) and not isinstance(params["model"], torch.nn.Module):
            params["model"] = params["model"]()  # a class, or what makes the module
        return cls(**params)
    if "sampler" in value:
        known = _samplers()
        made = known.get(value["sampler"]) or find_component(value["sampler"], components, known)
        return made(**params)
    if "component" in value:
        slot, name = value["component"]
        known = registered(slot) if slot in _SLOT_BASES else {}
        cls = known[name] if name in known else find_component(name, components, known)
        return resolve(slot, cls(**params))
    if "external" in value:
        made = find_component(value["external"], components, ())
        return made(**params) if "params" in value else made
    raise ValueError(f"unknown parameter form {sorted(value)}")


def find_component(name, components, known):
    """What the caller of ``load`` says stands behind a name; `known` names are for the error."""
    if name not in components:
        known = sorted([*known, *components])
        allowed = f"; {did_you_mean(name, known)} Import" if known else ". Import"
        raise UnknownComponent(
            f"the file needs {name!r}, which is not registered{allowed} the module that registers "
            f"it, or pass components={{{name!r}: ...}}."
        )
    return components[name]


def _samplers():
    """Samplers that a file may name, imbalanced-learn's and our own."""
    from imblearn import combine, over_sampling, under_sampling  # only who resamples needs it

    from ..imbalance.resampling import DomainResampler

    packages = over_sampling, under_sampling, combine
    known = {name: getattr(package, name) for package in packages for name in package.__all__}
    return known | {"DomainResampler": DomainResampler}
