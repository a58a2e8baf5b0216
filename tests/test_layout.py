"""The package's levels: imports only go down, never sideways between packages of one level."""

import ast
import importlib
from pathlib import Path

import pytest

import adaptlearn

ROOT = Path(adaptlearn.__file__).parent

# A module or package directly under adaptlearn/ -> its level. A new one needs a place here.
LEVELS = {
    "benchmark": 5,
    "__main__": 5,
    "model_selection": 4,
    "inspection": 4,
    "deep": 3,
    "extractors": 2,
    "alignment": 1,
    "augmentation": 1,
    "imbalance": 1,
    "regularization": 1,
    "adapters": 1,
    "datasets": 1,
    "metrics": 0,
    "_domains": 0,
    "_labels": 0,
    "_packing": 0,
    "_task_labels": 0,
    "_containers": 0,
    "_scored": 0,
    "_tables": 0,
    "_prediction": 0,
    "_pseudo_labels": 0,
    "_fit_names": 0,
    "_wrapping": 0,
    "_components": 0,
    "_compat": 0,
}
FILES = sorted(ROOT.rglob("*.py"))


def module_parts(path):
    return path.relative_to(ROOT).with_suffix("").parts


def imports(path):
    """Absolute names, inside adaptlearn, of what a file imports anywhere in it."""
    package = ["adaptlearn", *module_parts(path)[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            # `from . import x` may name a module; `from .x import y` names x
            names = [f"{name}.{alias.name}" for alias in node.names] if not node.module else [name]
            if name == "adaptlearn":
                names = [f"{name}.{alias.name}" for alias in node.names]
            yield from names


def unit_of(name):
    """The level-bearing part of an absolute name; None outside the package."""
    parts = name.split(".")
    if parts[0] != "adaptlearn":
        return None
    if len(parts) == 1:
        return "__init__"
    if parts[1] in adaptlearn._PUBLIC:  # a flat public name
        return adaptlearn._PUBLIC[parts[1]]
    return parts[1]


def test_every_module_has_a_level():
    units = {module_parts(path)[0] for path in FILES} - {"__init__"}
    assert units <= LEVELS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(module_parts(p)))
def test_imports_go_down(path):
    own = module_parts(path)[0]
    if own == "__init__":
        assert not [n for n in imports(path) if n.startswith("adaptlearn.")], "must stay lazy"
        return
    for name in imports(path):
        other = unit_of(name)
        if other is None or other == own:
            continue
        if other == "__init__":
            assert LEVELS[own] == 5, f"{own} imports the top package"
            continue
        # The private modules at the bottom know each other, and metrics knows them.
        sideways_at_the_bottom = LEVELS[own] == LEVELS[other] == 0 and other.startswith("_")
        assert LEVELS[other] < LEVELS[own] or sideways_at_the_bottom, f"{own} imports {other}"


def test_model_selection_does_not_need_deep():
    for path in (ROOT / "model_selection").glob("*.py"):
        assert "deep" not in {unit_of(name) for name in imports(path)}


def test_private_imports_stand_in_one_file():
    """Underscored modules of other packages are reached through _compat alone."""
    for path in FILES:
        if module_parts(path) == ("_compat",):
            continue
        for name in imports(path):
            parts = name.split(".")
            private = [p for p in parts[1:] if p.startswith("_")]
            assert parts[0] not in ("sklearn", "skorch", "imblearn") or not private, (path, name)


def test_flat_names_resolve():
    for name, module in adaptlearn._PUBLIC.items():
        home = importlib.import_module(f"adaptlearn.{module}")
        assert getattr(adaptlearn, name) is getattr(home, name)
        assert module.startswith("_") or name in home.__all__
    for name in adaptlearn._SUBPACKAGES:
        assert getattr(adaptlearn, name).__name__ == f"adaptlearn.{name}"
    with pytest.raises(AttributeError, match="no_such_name"):
        adaptlearn.no_such_name  # noqa: B018


def test_packages_export_what_they_say():
    for package in adaptlearn._SUBPACKAGES:
        module = importlib.import_module(f"adaptlearn.{package}")
        for name in module.__all__:
            assert hasattr(module, name)
            assert not name.startswith("_")


def test_files_stay_short():
    long = {str(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_nothing_unfinished():
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    for path in FILES:
        text = path.read_text()
        assert not [w for w in words if w in text], path
