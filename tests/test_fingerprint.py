"""Fingerprints: equal exactly if what is computed is equal, in any process."""

import copy
import functools
import pickle
import re
import subprocess
import sys
import types
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


SCALE = 2.0


def scaled(x):
    return x * SCALE


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


# --- code that is not in the methods themselves -----------------------------------------------

USERS_CODE = """
import functools, torch
from torch import nn
VOCABULARY = {"cat": 1}
def scale(x, *, by=2.0):
    return x * by
def words(texts):
    return [[VOCABULARY.get(w, 0) for w in t.split()] for t in texts]
def made(n):
    class Inner(nn.Module):
        def forward(self, x):
            return x * n
    return Inner()
class Decorated(nn.Module):
    SHARE = 0.5
    @torch.no_grad()
    def forward(self, x):
        return self.twice(x) + self.third
    @staticmethod
    def twice(x):
        return scale(x) * 2
    @property
    def third(self):
        return 3
    @functools.cached_property
    def fourth(self):
        return 4
net, inner = Decorated(), made(5)
"""
CHANGES = [
    ("words", '"cat": 1', '"cat": 7'),  # a table in a global
    ("net", "self.twice(x) + self", "self.twice(x) - self"),  # under a decorator
    ("net", "x * by", "x + by"),  # a function that a method calls
    ("net", "by=2.0", "by=3.0"),  # its keyword's default
    ("net", "scale(x) * 2", "scale(x) * 5"),  # a static method
    ("net", "return 3", "return 6"),  # a property
    ("net", "return 4", "return 8"),
    ("net", "SHARE = 0.5", "SHARE = 0.25"),  # an attribute of the class
    ("inner", "made(5)", "made(6)"),  # what a class was made with
]


def users(code, **given):
    """Names that a user's file defines."""
    names = {"__name__": "users_file", **given}
    exec(code, names)
    return names


@pytest.mark.parametrize(("name", "before", "after"), CHANGES)
def test_code_that_a_user_changes_anywhere_is_another_fingerprint(name, before, after):
    assert USERS_CODE.count(before) == 1
    mark = module_fingerprint if name != "words" else describe
    first, same, other = (
        mark(users(code)[name])
        for code in (USERS_CODE, USERS_CODE, USERS_CODE.replace(before, after))
    )
    assert first == same != other


def test_a_file_that_a_user_imports(tmp_path):
    helpers = types.ModuleType("helpers")
    helpers.__file__ = str(tmp_path / "helpers.py")
    (tmp_path / "helpers.py").write_text("LIMIT = 2")
    read = users("def read(x): return x[: helpers.LIMIT]", helpers=helpers)["read"]
    before = describe(read)
    assert describe(read) == before
    (tmp_path / "helpers.py").write_text("LIMIT = 3")
    assert describe(read) != before


COUNTING = """
rows, counts, n = [], {"n": 0}, 0
def total():
    m, k = 0, []
    def inner(x):
        nonlocal m
        m += 1
        k.append(x)
        return x
    return inner
inner = total()
class Net:
    calls, seen, kept = 0, [], 1.0
    def __call__(self, x):
        global n
        rows.append(len(x))
        counts["n"] += len(x)
        n += 1
        Net.calls += 1
        type(self).seen.append(x)
        return inner(x), self.kept
def words(texts):
    found = {}
    for place, text in enumerate(texts):
        found[place] = table[text]
    return found
net, table = Net(), {}
"""


def test_what_is_only_counted_does_not_count():
    """Else no embedding would be found again after the first call."""
    names = users(COUNTING)
    before = describe(names["net"])
    names["net"]("ab")
    assert names["rows"] == [2] and names["counts"]["n"] == 2 and names["n"] == names["net"].calls
    assert describe(names["net"]) == before
    names["Net"].kept = 2.0
    assert describe(names["net"]) != before
    before = describe(names["words"])
    names["table"]["a"] = 1
    assert describe(names["words"]) != before


READING = """
scale, table, seen = 2.0, {}, 0
class Net:
    SCALE = 1.0
    def change(self, value):
        self.SCALE = value
    def __call__(self, x):
        return x * self.SCALE
def chained(x):
    a = b = abs(scale)
    return a * b * x
def grows(texts):
    for text in texts:
        if text not in table:
            table[text] = len(table)
    return [table[text] for text in texts]
def stops(x):
    global seen
    seen += 1
    return x if seen < 3 else 0
net = Net()
"""


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("net", "Net.SCALE = 2.0"),
        ("chained", "scale = 3.0"),
        ("grows", "table['a'] = 5"),
        ("stops", "seen = 9"),
    ],
)
def test_what_is_read_besides_counts(name, change):
    names = users(READING)
    before = describe(names[name])
    assert describe(users(READING)[name]) == before
    exec(change, names)
    assert describe(names[name]) != before


def test_functions_that_call_each_other_end():
    code = "def f(x): return g(x)\ndef g(x): return f(x) + h(x)\ndef h(x): return g(x)"
    one, other = users(code), users(code)
    assert describe(one["f"]) == describe(other["f"]) != describe(one["g"])


def test_what_a_function_does_not_read_does_not_count(monkeypatch):
    before = describe(scaled)
    monkeypatch.setattr(sys.modules[__name__], "looped", None)
    assert describe(scaled) == before
    monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
    assert describe(scaled) != before


def test_parts_that_know_their_parent():
    def make(weight):
        root = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        for part in root:
            part.parent, part.others = [root], list(root)
            nn.init.constant_(part.weight, weight)
            nn.init.constant_(part.bias, 0)
        return root

    assert module_fingerprint(make(1.0)) == module_fingerprint(make(1.0))
    assert module_fingerprint(make(1.0)) != module_fingerprint(make(2.0))


def test_traced_graphs():
    """What feature extractors of torchvision are."""

    def traced(scale):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *[nn.Identity()] * 300)
        graph = torch.fx.symbolic_trace(net)
        if scale:
            node = next(n for n in graph.graph.nodes if n.op == "output")
            with graph.graph.inserting_before(node):
                node.args = (graph.graph.call_function(torch.mul, (node.args[0], scale)),)
            graph.recompile()
        return graph

    marks = [module_fingerprint(traced(scale)) for scale in (0, 0, 2, 3)]
    assert marks[0] == marks[1] and len(set(marks)) == 3


def test_depth_without_end_is_another_each_time():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    assert describe(deep) != describe(deep)


def test_the_side_that_a_tokenizer_cuts_off():
    pytest.importorskip("transformers")
    from tiny_models import tokenizer

    left, right = tokenizer(), tokenizer()
    assert describe(left) == describe(right)
    left.truncation_side = "left"
    assert describe(left) != describe(right)
