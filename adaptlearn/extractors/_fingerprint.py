"""Text that is the same, in any process, if and only if a model computes the same.

Where content cannot be seen, the answer is one that never comes again: a row is then computed
anew, rather than found under a key that does not know of a difference.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import pickle
import types
import uuid
from hashlib import blake2b

import numpy as np
import torch

# Of other frameworks, or about the model: they do not change what torch computes.
_OTHER_FILES = (
    ".md",
    ".h5",
    ".msgpack",
    ".onnx",
    ".ot",
    ".gguf",
    ".gitattributes",
    ".lock",
    ".png",
)
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(...), np.generic)
# What torch keeps in every module. Parameters, buffers, hooks and children are looked at by name.
_INTERNAL = {*vars(torch.nn.Module()), "training"}


def digest(*parts):
    """Digest of texts and bytes, 16 bytes; the boundaries between them count."""
    state = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.digest()


def signature(directory):
    """What tells, without reading them, that the files of a directory are as they were."""
    stats = [(str(p.relative_to(directory)), p.stat()) for p in model_files(directory)]
    return tuple((n, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for n, s in stats)


def model_files(directory):
    """Files that decide what a model computes, in order, and its pooling settings."""
    files = [*directory.iterdir(), *directory.glob("*_Pooling/config.json")]
    return sorted(p for p in files if p.is_file() and not p.name.endswith(_OTHER_FILES))


@functools.lru_cache(maxsize=64)
def directory_fingerprint(directory, signature):
    """Digest of the content of a model directory, read again when its signature changes."""
    state = blake2b(digest_size=16)
    for path in model_files(directory):
        state.update(f"{path.relative_to(directory)}\0{path.stat().st_size}\0".encode())
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                state.update(block)
    return state.hexdigest()


@functools.lru_cache(maxsize=64)
def file_fingerprint(path, signature):
    """Digest of the content of one file, read again when its signature changes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, functools.partial(blake2b, digest_size=16)).hexdigest()


def file_signature(path):
    """What tells, without reading it, that a file is as it was."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def module_fingerprint(module):
    """Digest of a module: code and settings of its parts, parameters, buffers and hooks."""
    state, code = blake2b(digest_size=16), {}
    for name, part in module.named_modules():
        kind = type(part)
        if kind not in code:
            code[kind] = _class_code(kind)
        hooks = [list(part._forward_pre_hooks.values()), list(part._forward_hooks.values())]
        settings = {k: v for k, v in vars(part).items() if k not in _INTERNAL}
        text = f"{name}:{kind.__qualname__}:{code[kind]}:{describe([settings, hooks])}"
        state.update(text.encode("utf-8", "surrogatepass"))
        # Of the dictionaries themselves: buffers that are not saved count, too.
        for key, tensor in {**part._parameters, **part._buffers}.items():
            if tensor is not None:
                state.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                state.update(_tensor_bytes(tensor))
    return state.hexdigest()


def describe(value, _above=()):
    """Text for a parameter: its content, never its address."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if id(value) in _above:
        return f"cycle {len(_above) - _above.index(id(value))}"
    inner = functools.partial(describe, _above=(*_above, id(value)))
    if isinstance(value, torch.Tensor):
        return _array(value, _tensor_bytes(value))
    if isinstance(value, np.ndarray):
        has_objects = value.dtype.hasobject
        return _array(value, inner(value.tolist()).encode() if has_objects else value.tobytes())
    if isinstance(value, types.ModuleType):  # its content is a whole package
        return value.__name__
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__qualname__}({module_fingerprint(value)})"
    if isinstance(value, functools.partial):
        return f"partial{inner([value.func, value.args, value.keywords])}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{inner(k)}: {inner(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(inner, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"set({', '.join(sorted(map(inner, value)))})"
    if isinstance(value, types.CodeType):
        return f"{value.co_code.hex()} {value.co_names} {inner(value.co_consts)}"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{inner(value.__func__)}"
    if isinstance(value, types.FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return f"{value.__qualname__} {inner(value.__code__)} {inner([cells, value.__defaults__])}"
    if inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "backend_tokenizer"):
        return _tokenizer(value, inner)
    if hasattr(value, "__dict__"):
        own = type(value).__getstate__ is not object.__getstate__
        state = value.__getstate__() if own else vars(value)
        return f"{type(value).__qualname__} {_class_code(type(value))} {inner(state)}"
    try:  # written in another language: what it would be made from again
        return f"{type(value).__qualname__} {digest(pickle.dumps(value)).hex()}"
    except Exception:  # any, from any package
        return uuid.uuid4().hex


def _class_code(kind):
    """Code of all methods that a class does not have from Python or torch."""
    ours = [c for c in kind.__mro__ if c.__module__.split(".")[0] not in ("builtins", "torch")]
    codes = [
        f"{name}: {describe(function.__code__)}"
        for cls in ours
        for name, function in sorted(vars(cls).items())
        if isinstance(function, types.FunctionType)
    ]
    return digest(*codes).hex()


def _tokenizer(tokenizer, inner):
    """A fast tokenizer of transformers: most of its state lies outside Python."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for changed_by_calls in ("truncation", "padding"):
        state.pop(changed_by_calls, None)
    settings = [tokenizer.model_max_length, tokenizer.special_tokens_map]
    return f"tokenizer({digest(json.dumps(state), inner(settings)).hex()})"


def _array(value, data):
    return f"array({value.dtype}, {tuple(value.shape)}, {digest(bytes(data)).hex()})"


def _tensor_bytes(tensor):
    tensor = tensor.detach().cpu().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
