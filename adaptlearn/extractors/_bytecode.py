"""What a function reads from around it, and what it only writes down there, such as a count."""

from __future__ import annotations

import dis
import functools
import types
from itertools import pairwise

_GLOBALS = {"LOAD_GLOBAL", "LOAD_NAME"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_LOADS = {*_GLOBALS, *_ATTRIBUTES, "LOAD_DEREF", "LOAD_CLASSDEREF"}
_IGNORED = {"CACHE", "EXTENDED_ARG", "NOP", "PUSH_NULL"}
_WRITING = {
    "add", "append", "appendleft", "clear", "extend", "insert", "put", "update", "write",
}  # fmt: skip


def global_names(code):
    """Names that a function reads from its module, those of functions inside it as well."""
    return sorted({step.argval for step in _steps(code) if step.opname in _GLOBALS})


@functools.lru_cache(maxsize=1024)
def names_written(code):
    """Names of what a function changes: a list it appends to, a number it counts up.

    What it makes of its arguments does not depend on these, or they would not be counts, and a
    fingerprint that took them in would be another after each call. These forms are known:
    ``name += 1`` (global or nonlocal), ``name[key] += 1``, ``x.name += 1``, ``name.x = 1``,
    ``name.append(1)`` and the like, each with assignments instead.
    """
    steps = _steps(code)
    found = {s.argval for s in steps if s.opname in ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR")}
    for step, following in pairwise(steps):
        if step.opname in _LOADS:
            calls = following.opname in _ATTRIBUTES and following.argval in _WRITING
            if calls or following.opname in ("COPY", "STORE_ATTR"):
                found.add(step.argval)
    for step, after in zip(steps, steps[2:], strict=False):  # between them is the key
        if step.opname in _LOADS and after.opname in ("COPY", "STORE_SUBSCR"):
            found.add(step.argval)
    return frozenset(found)


def _steps(code):
    steps = [step for step in dis.get_instructions(code) if step.opname not in _IGNORED]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            steps += _steps(inner)
    return steps
