"""Where a network comes from: a local directory, a hub id, a module, or a factory."""

from __future__ import annotations

import copy
import random
import re
import threading
from collections import OrderedDict
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")

_KEPT = 8  # models and tokenizers that stay loaded: enough for a table of texts and images
_LOADED = OrderedDict()
_MUTEX = threading.RLock()


def once_per_process(key, load):
    """What `load` returned for this key, loaded again only if it was dropped meanwhile."""
    with _MUTEX:
        if key not in _LOADED:
            _LOADED[key] = load()
        _LOADED.move_to_end(key)
        while len(_LOADED) > _KEPT:
            _LOADED.popitem(last=False)
        return _LOADED[key]


def torch_randomness(device):
    """Leave torch's global generators as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def own_randomness():
    """Leave every global generator as it was: models are made with random weights first."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch_randomness(torch.device("cpu")):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def first_line(error):
    """What an error says, without the advice that may follow on further lines."""
    return next(iter(str(error).strip().splitlines()), "no reason given")


def pick_device(device):
    """torch.device for a ``device=`` parameter."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({first_line(error)}); use 'auto' or 'cpu'."
        ) from error
    return chosen


def prepared(module, device):
    """A copy of the module on a device, in evaluation mode, that wants no gradients."""
    with torch.no_grad():  # the parts of a TorchScript copy would be results of an operation
        return _frozen(copy.deepcopy(module).to(device).eval())


def _frozen(module):
    for parameter in module.parameters():  # TorchScript modules have no requires_grad_ of their own
        parameter.requires_grad_(False)
    return module


def need_transformers(extractor):
    """Say which extra to install where transformers is missing."""
    if find_spec("transformers") is None:
        raise ImportError(
            f"{extractor} loads models by name through the package transformers, which is not "
            "installed. Install the extra: pip install 'adaptlearn[pretrained]'. (A torch module "
            "or a factory needs no extra.)"
        )


def is_factory(model):
    """Whether a string names a callable rather than a model."""
    return _FACTORY.fullmatch(model) is not None and not Path(model).exists()


def call_factory(name):
    """What the callable ``"package.module:callable"`` returns; call it under `own_randomness`."""
    module_name, _, path = name.partition(":")
    try:
        target = import_module(module_name)
        for part in path.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"model={name!r} names a factory that cannot be imported ({error}). It must be "
            "'package.module:callable', importable from here."
        ) from error
    made = target() if not isinstance(target, torch.nn.Module) else target
    module, companion = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"model={name!r}: the factory returned {type(module).__name__}; it must return a "
            "torch.nn.Module, or a pair of a module and its tokenizer or feature extractor."
        )
    return module, companion


def load_file(path, device):
    """The network in a file that torch.jit.save or torch.export.save wrote."""
    try:
        if path.suffix == ".pt2":  # is in the mode in which it was exported
            return _frozen(torch.export.load(path).module().to(device))
        return _frozen(torch.jit.load(path, map_location=device).eval())
    except Exception as error:
        raise ValueError(
            f"model={str(path)!r} holds no network of torch.jit.save (.pt) or torch.export.save "
            f"(.pt2) ({first_line(error)}). What torch.save writes is a pickle, which may run any "
            "code when it is read: if you trust it, read it with torch.load and give the module "
            "(for a dictionary of weights, make the module and call load_state_dict)."
        ) from error


def find_directory(name):
    """Directory that holds a model's files: a local one, or the hub's local copy.

    The network is used only for a hub id of which there is no local copy.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(
                f"model={str(name)!r} is a directory without config.json. Give the directory that "
                "save_pretrained wrote (or one checked out from the hub)."
            )
        return path.resolve()
    if not _HUB_ID.fullmatch(str(name)):
        raise FileNotFoundError(
            f"model={str(name)!r}: there is no such directory. Give an existing directory, a hub "
            "id such as 'organisation/model', a torch.nn.Module, or a factory "
            "'package.module:callable'."
        )
    return _hub_directory(str(name))


def _hub_directory(name):
    import huggingface_hub as hub

    found = hub.try_to_load_from_cache(name, "config.json")
    if isinstance(found, str) and weight_files(Path(found).parent):
        return Path(found).parent
    try:
        common = ["*.json", "*.txt", "*.model"]
        skip = ["onnx/*", "openvino/*", "*/onnx/*"]
        for weights in _WEIGHTS:  # the second form only where the first is not offered
            place = hub.snapshot_download(
                name, allow_patterns=[*common, weights], ignore_patterns=skip
            )
            if weight_files(Path(place)):
                return Path(place)
        reason = "the repository holds no weights for PyTorch"
    except Exception as error:  # many kinds: offline, unknown, private, no connection
        reason = f"{type(error).__name__}: {first_line(error)}"
        cause = error
    else:
        cause = None
    raise OSError(
        f"model={name!r} is no local directory, is not in the local cache of the Hugging Face hub "
        f"({hub.constants.HF_HUB_CACHE}), and could not be downloaded ({reason}). Check the name. "
        f"Without network: run `hf download {name} --local-dir DIR` on a machine that has one, "
        "copy DIR here, and give model='DIR'."
    ) from cause


def weight_files(directory):
    """The files that the weights are loaded from; none if there are none for PyTorch."""
    found = (sorted(directory.glob(pattern)) for pattern in _WEIGHTS)
    return next(filter(None, found), [])


def load_pretrained(directory, name):
    """The bare network of a directory, in float32.

    Returns
    -------
    module : torch.nn.Module
    has_random_pooler : bool
        Whether the checkpoint lacks the pooler's weights: a head on random features.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it reports the head's weights as unused, as they should be
    logging.disable_progress_bar()
    try:
        module, report = AutoModel.from_pretrained(
            directory, local_files_only=True, output_loading_info=True
        )
    except Exception as error:
        raise ValueError(
            f"model={str(name)!r}: transformers cannot load the files in {directory} "
            f"({first_line(error)})."
        ) from error
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
    missing = sorted(map(str, report["missing_keys"]))
    # Of two halves only the encoder is used, and some checkpoints hold it alone.
    two_halves = {"encoder", "decoder"} <= dict(module.named_children()).keys()
    # Speech models hide frames while they are trained, behind a vector that many files leave out.
    unused = ("decoder.", "masked_spec_embed") if two_halves else ("masked_spec_embed",)
    random_parts = [k for k in missing if "pooler." not in k and not k.startswith(unused)]
    if random_parts:
        raise ValueError(
            f"model={str(name)!r}: the files in {directory} hold no weights for "
            f"{len(random_parts)} parameters ({', '.join(random_parts[:3])}, ...), which would be "
            "random. Is it the checkpoint of another architecture?"
        )
    if two_halves:
        module = module.encoder
    return module.float(), any("pooler." in key for key in missing)
