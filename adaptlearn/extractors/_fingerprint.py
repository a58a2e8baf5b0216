"""Text that is the same, in any process, if and only if a model computes the same.

Where content cannot be seen, the answer is one that never comes again: a row is then computed
anew, rather than found under a key that does not know of a difference.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import logging
import pickle
import sys
import types
import uuid
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch

from ._bytecode import global_names, names_read, names_written

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
_BY_NAME = (
    types.BuiltinFunctionType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
_PACKAGES = {"site-packages", "dist-packages"}  # folders of what is installed
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
    try:
        return _Description().of_module(module)
    except RecursionError:
        return uuid.uuid4().hex


def describe(value):
    """Text for a parameter: its content, never its address."""
    try:
        return _Description().of(value)
    except RecursionError:
        return uuid.uuid4().hex


class _Description:
    """Text of one value and of all that it leads to, each function, class and module once."""

    def __init__(self):
        self.above = []  # ids of the containers around a value
        self.met = {}  # id -> number and object: alive, so that its id stays its own

    def of(self, value):
        if isinstance(value, _PLAIN):
            return repr(value)
        if id(value) in self.above:
            return f"cycle {len(self.above) - self.above.index(id(value))}"
        if id(value) in self.met:
            return f"number {self.met[id(value)][0]}"
        self.above.append(id(value))
        try:
            return self._of_new(value)
        finally:
            self.above.pop()

    def _of_new(self, value):
        if isinstance(value, torch.Tensor):
            return _array(value, _tensor_bytes(value))
        if isinstance(value, np.ndarray):
            objects = value.dtype.hasobject
            return _array(value, self.of(value.tolist()).encode() if objects else value.tobytes())
        if isinstance(value, torch.nn.Module):
            return f"{type(value).__qualname__}({self.of_module(value)})"
        if isinstance(value, functools.partial):
            return f"partial{self.of([value.func, value.args, value.keywords])}"
        if isinstance(value, dict):
            items = (f"{self.of(k)}: {self.of(v)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(map(self.of, value))}]"
        if isinstance(value, (set, frozenset)):
            return f"set({', '.join(sorted(map(describe, value)))})"  # numbers depend on the order
        if isinstance(value, types.CodeType):
            return f"{value.co_code.hex()} {value.co_names} {self.of(value.co_consts)}"
        if isinstance(value, types.MethodType):
            return f"{self.of(value.__self__)}.{self.of(value.__func__)}"
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, types.ModuleType):
            return self._of_import(value)
        if inspect.isclass(value):
            name = f"{value.__module__}.{value.__qualname__}"
            return name if is_installed(value.__module__) else f"{name} {self._of_class(value)}"
        if isinstance(value, _BY_NAME):
            return f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', value)}"
        if hasattr(value, "backend_tokenizer"):
            return self._of_tokenizer(value)
        return self._of_object(value)

    def _of_object(self, value):
        kind = type(value).__qualname__
        if isinstance(value, (staticmethod, classmethod)):
            return f"{kind} {self.of(value.__func__)}"
        if isinstance(value, property):
            return f"{kind} {self.of([value.fget, value.fset, value.fdel])}"
        if isinstance(value, functools.cached_property):
            return f"{kind} {self.of(value.func)}"
        if isinstance(value, logging.Logger):
            return f"{kind} {value.name}"
        if hasattr(value, "__dict__"):
            own = type(value).__getstate__ is not object.__getstate__
            state = value.__getstate__() if own else vars(value)
            return f"{kind} {self._of_class(type(value))} {self.of(state)}"
        try:  # written in another language: what it would be made from again
            return f"{kind} {digest(pickle.dumps(value)).hex()}"
        except Exception:  # any, from any package
            return uuid.uuid4().hex

    def _of_function(self, function):
        """Code, default arguments and closure; of a user's function what it reads besides."""
        self._number(function)
        code, known = function.__code__, function.__globals__
        written, around = names_written(code), [function.__defaults__, function.__kwdefaults__]
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            around.append([name, None if name in written else _content(cell)])
        if not is_installed(known.get("__name__")):
            read = [name for name in global_names(code) if name in known and name not in written]
            around.append({name: known[name] for name in read})
        return f"{function.__qualname__} {self.of(code)} {self.of(around)}"

    def _of_class(self, kind):
        """Code of the methods that a class does not have from Python or torch.

        Of a user's class also what decorates them and its attributes.
        """
        if id(kind) in self.met:
            return f"number {self.met[id(kind)][0]}"
        self._number(kind)
        parts = []
        for cls in kind.__mro__:
            if cls.__module__.split(".")[0] in ("builtins", "torch"):
                continue
            users, members = not is_installed(cls.__module__), sorted(vars(cls).items())
            written = _written_by(v for _, v in members) if users else ()
            for name, value in members:
                if isinstance(value, types.FunctionType):
                    parts.append(f"{name}: {self.of(value if users else value.__code__)}")
                elif users and not name.startswith(("__", "_abc_")) and name not in written:
                    parts.append(f"{name}: {self.of(value)}")
        return digest(*parts).hex()

    def _of_import(self, module):
        """An installed package is its name; a user's file may change."""
        if is_installed(module.__name__) or not getattr(module, "__file__", None):
            return module.__name__
        try:
            with open(module.__file__, "rb") as file:
                return f"{module.__name__} {digest(file.read()).hex()}"
        except OSError:
            return module.__name__

    def _of_tokenizer(self, tokenizer):
        """A fast tokenizer of transformers: most of its state lies outside Python."""
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        for changed_by_calls in ("truncation", "padding"):
            state.pop(changed_by_calls, None)
        side = getattr(tokenizer, "truncation_side", None)
        settings = [tokenizer.model_max_length, tokenizer.special_tokens_map, side]
        return f"tokenizer({digest(json.dumps(state), self.of(settings)).hex()})"

    def of_module(self, module):
        """Digest of a module; its parts are numbered, so that one may refer to another."""
        for part in module.modules():
            self._number(part)
        state = blake2b(digest_size=16)
        for name, part in module.named_modules():
            kind = type(part)
            hooks = [list(part._forward_pre_hooks.values()), list(part._forward_hooks.values())]
            if isinstance(part, torch.fx.GraphModule):  # its graph is a ring, written out as code
                settings = part.code
            else:
                settings = {k: v for k, v in vars(part).items() if k not in _INTERNAL}
            about = self.of([settings, hooks])
            text = f"{name}:{kind.__qualname__}:{self._of_class(kind)}:{about}"
            state.update(text.encode("utf-8", "surrogatepass"))
            # Of the dictionaries themselves: buffers that are not saved count, too.
            for key, tensor in {**part._parameters, **part._buffers}.items():
                if tensor is not None:
                    state.update(f"{key}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
                    state.update(_tensor_bytes(tensor))
        return state.hexdigest()

    def _number(self, value):
        self.met.setdefault(id(value), (len(self.met), value))


def _written_by(members):
    """Attributes that methods of a class only count in."""
    methods = [value for value in members if isinstance(value, types.FunctionType)]
    read = set().union(*(names_read(method.__code__) for method in methods))
    return set().union(*(names_written(method.__code__) for method in methods)) - read


def is_installed(name):
    """Whether a module is part of Python or of an installed package, and not of a user's code."""
    top = (name or "__main__").split(".")[0]
    if top == "adaptlearn" or top in sys.stdlib_module_names:
        return top != "__main__"
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is not None and not _PACKAGES.isdisjoint(Path(file).parts)


def _array(value, data):
    return f"array({value.dtype}, {tuple(value.shape)}, {digest(bytes(data)).hex()})"


def _tensor_bytes(tensor):
    tensor = tensor.detach().cpu().contiguous()
    try:
        return tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    except RuntimeError:  # a subclass that holds no numbers
        return uuid.uuid4().bytes


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
