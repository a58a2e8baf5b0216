"""Text that is the same, in any process, if and only if a model computes the same."""

from __future__ import annotations

import functools
import inspect
import json
import types
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


def module_fingerprint(module):
    """Digest of a module: code and settings of its parts, parameters and buffers."""
    state = blake2b(digest_size=16)
    for name, part in module.named_modules():
        state.update(f"{name}:{_code_of(type(part).forward)}:{type(part).__qualname__}".encode())
        settings = {k: v for k, v in vars(part).items() if not k.startswith("_")}
        settings.pop("training", None)
        state.update(describe(settings).encode("utf-8", "surrogatepass"))
        for hooks in (part._forward_hooks, part._forward_pre_hooks):
            state.update(describe(list(hooks.values())).encode("utf-8", "surrogatepass"))
        tensors = {**part._parameters, **part._buffers}
        for key, tensor in tensors.items():  # buffers that are not saved count, too
            if tensor is not None:
                state.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                state.update(_bytes_of(tensor))
    return state.hexdigest()


def _bytes_of(tensor):
    tensor = tensor.detach().cpu().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""


def _code_of(function):
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    constants = [c if not hasattr(c, "co_code") else c.co_code for c in code.co_consts]
    return f"{code.co_code.hex()}{constants!r}{code.co_names!r}"


def describe(value, depth=8):
    """Text for a parameter: content, never an address."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        tensor = torch.as_tensor(value) if isinstance(value, torch.Tensor) else value
        data = _bytes_of(tensor) if isinstance(value, torch.Tensor) else _array_bytes(value)
        return f"array({value.dtype}, {tuple(value.shape)}, {digest(bytes(data)).hex()})"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__qualname__}({module_fingerprint(value)})"
    if isinstance(value, functools.partial):
        return f"partial{describe([value.func, value.args, value.keywords], depth)}"
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, dict):
        pairs = [f"{describe(k, depth - 1)}: {describe(v, depth - 1)}" for k, v in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(describe(v, depth - 1) for v in value)}]"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(describe(v, depth - 1) for v in value))}}}"
    if isinstance(value, types.MethodType):
        return f"{describe(value.__self__, depth - 1)}.{describe(value.__func__, depth - 1)}"
    if inspect.isclass(value):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(value) and hasattr(value, "__code__"):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        inner = describe([cells, value.__defaults__, value.__kwdefaults__], depth - 1)
        return f"{value.__module__}.{value.__qualname__}{_code_of(value)}{inner}"
    if hasattr(value, "backend_tokenizer"):  # a fast tokenizer: its state lies outside Python
        state = json.loads(value.backend_tokenizer.to_str())
        for changed_by_calls in ("truncation", "padding"):
            state.pop(changed_by_calls, None)
        return f"tokenizer({digest(json.dumps(state)).hex()})"
    if hasattr(value, "__dict__"):
        call = _code_of(inspect.getattr_static(type(value), "__call__", None))
        return f"{type(value).__qualname__}{call}{describe(vars(value), depth - 1)}"
    return repr(value) if "__repr__" in vars(type(value)) else type(value).__qualname__


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _array_bytes(array):
    if array.dtype.hasobject:
        return describe(array.tolist()).encode()
    return np.ascontiguousarray(array).tobytes()
