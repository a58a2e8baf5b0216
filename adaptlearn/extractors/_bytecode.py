"""What a function reads from around it, and what it only writes down there, such as a count."""

from __future__ import annotations

import dis
import functools
import types
from collections import Counter

_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_LOADS = {*_GLOBALS, *_ATTRIBUTES, "LOAD_DEREF", "LOAD_CLASSDEREF"}
_STORES = {"STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"}
_IGNORED = {"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL"}
_WRITING = {
    "add", "append", "appendleft", "clear", "extend", "insert", "put", "update", "write",
}  # fmt: skip


def global_names(code):
    """Names that a function reads from its module, those of functions inside it as well."""
    return sorted({step.argval for step in _steps(code) if step.opname in _GLOBALS})


@functools.lru_cache(maxsize=1024)
def names_written(code):
    """Names that a function only changes: a list it appends to, a number it counts up.

    A fingerprint that took these in would be another after each call. These forms are known:
    ``name += 1`` (global, nonlocal, or an attribute), ``name[key] += 1``, ``name.x += 1``,
    ``name.append(1)`` and the like. A name that is read besides, anywhere in the function, is none.
    """
    steps, stored, uses, writing = _steps(code), Counter(), Counter(), Counter()
    for at, step in enumerate(steps):
        name, (one, two, three, four) = step.argval, _following(steps, at)
        if step.opname in _STORES:
            stored[name] += 1
        elif step.opname in _LOADS:
            uses[name] += 1
            calls = one.opname in _ATTRIBUTES and one.argval in _WRITING
            counts = one.opname == "COPY" and two.opname in _ATTRIBUTES
            is_key = one.opname.startswith("LOAD_") and one.opname not in _ATTRIBUTES
            entry = two.opname == three.opname == "COPY" and four.opname.startswith("BINARY_")
            writing[name] += calls or counts or (is_key and (entry or two.opname == "STORE_SUBSCR"))
    return frozenset(
        name for name in uses | stored if uses[name] <= max(writing[name], stored[name])
    )


def names_read(code):
    """Names that a function loads other than to change them."""
    loaded = {step.argval for step in _steps(code) if step.opname in _LOADS}
    return loaded - names_written(code)


def _following(steps, at):
    some = steps[at + 1 : at + 5]
    return [*some, *[steps[-1]] * (4 - len(some))]  # the last one returns


def _steps(code):
    steps = [step for step in dis.get_instructions(code) if step.opname not in _IGNORED]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            steps += _steps(inner)
    return steps
