"""Fingerprints: equal exactly if what is computed is equal, in any process."""

import copy
import functools
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from adaptlearn.extractors._fingerprint import describe, digest, module_fingerprint


class Holder:
    def __init__(self, **values):
        vars(self).update(values)


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a


class Unpicklable:
    __slots__ = ()

    def __reduce__(self):
        raise TypeError("no")


def times(n):
    return lambda x: x * n


def looped(n):
    value = [n]
    value.append(value)
    return value


class Body(nn.Module):
    def __init__(self, scale=1.0, hidden=None):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        with torch.no_grad():
            for p in self.parameters():
                p.fill_(0.5)
        self.scale, self._hidden = scale, hidden
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)

    def forward(self, x):
        return self.helper(x)

    def helper(self, x):
        return self.layer(x) * self.scale


class BodyWithOtherHelper(Body):
    def helper(self, x):
        return self.layer(x) + self.scale


PAIRS = [
    (1, 2), (1, 1.0), (1, True), ("1", 1), ("a", b"a"), (None, ...), ([1, 2], [2, 1]), ([1], [[1]]),
    ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (np.zeros(2), np.zeros(3)), (np.zeros(2), np.ones(2)),
    (np.zeros(2), np.zeros(2, "f4")), (torch.zeros(2), torch.ones(2)),
    (np.array([1, "a"], object), np.array([1, "b"], object)),
    (times(2), times(3)), (times(2), lambda x: x * 2), (functools.partial(max, 1), max),
    (functools.partial(max, 1), functools.partial(max, 2)), (Holder(a=1), Holder(a=2)),
    (Holder(a=Holder(b=[1])), Holder(a=Holder(b=[2]))), (Slotted(1), Slotted(2)),
    (re.compile("a"), re.compile("b")), (Holder(a=1).__init__, Holder(a=2).__init__), (len, max),
    (looped(1), looped(2)), (nn.ReLU(), nn.Tanh()), (Body(), Body(2.0)),
    (torch.float32, torch.half), (Holder, Slotted), (slice(1), slice(2)), (range(3), range(4)),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=range(len(PAIRS)))
def test_different_values_have_different_texts(one, two):
    assert describe(one) != describe(two)
    for value in (one, two):
        assert describe(value) == describe(value)
        assert "0x" not in describe(value)
        assert describe(copy.deepcopy(value)) == describe(value)


def test_what_cannot_be_seen_is_never_the_same():
    value = Unpicklable()
    assert describe(value) != describe(value)
    assert describe(Holder(a=value)) != describe(Holder(a=value))


def test_a_module_of_python_is_known_by_its_name():
    """Its content is a whole package: a function may well hold one."""

    def holding(package):
        return lambda x: package.abs(x)

    assert describe(np) == "numpy"
    assert describe(holding(np)) != describe(holding(torch))
    assert len(describe(holding(np))) < 1000


def test_boundaries_count():
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")


def changed(name, value):
    model = Body()
    with torch.no_grad():
        functools.reduce(getattr, name.split("."), model)[0] = value
    return model


def hooked():
    model = Body()
    model.layer.register_forward_hook(times(2))
    return model


@pytest.mark.parametrize(
    "other",
    [
        lambda: changed("layer.weight", 1.0),
        lambda: changed("layer.bias", 0.5 + 2.0**-24),
        lambda: changed("unsaved", 1.0),
        lambda: Body(scale=2.0),
        lambda: Body(hidden=3),
        lambda: Body(hidden=Holder(a=1)),
        lambda: Body().double(),
        lambda: BodyWithOtherHelper(),
        lambda: nn.Sequential(Body()),
        hooked,
    ],
)
def test_different_modules(other):
    assert module_fingerprint(other()) != module_fingerprint(Body())


def test_equal_modules():
    first = module_fingerprint(Body(hidden=Holder(a={"x", "y"})))
    again = Body(hidden=Holder(a={"y", "x"}))
    assert module_fingerprint(again) == first
    assert module_fingerprint(again.eval().requires_grad_(False)) == first
    assert module_fingerprint(copy.deepcopy(again)) == first
    assert module_fingerprint(pickle.loads(pickle.dumps(again))) == first
    again(torch.zeros(1, 3))
    assert module_fingerprint(again) == first


def test_the_same_in_another_process():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "from test_fingerprint import *;"
        "print(module_fingerprint(Body(hidden=Holder(a={'x', 'y', 'z'}, b=times(3)))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = module_fingerprint(Body(hidden=Holder(a={"x", "y", "z"}, b=times(3))))
    assert done.stdout.strip() == here
