"""Names, objects, lists and nested parameters in component slots."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone

from adaptlearn import CDAN, CORAL, MCC, MMD, Alignment, register
from adaptlearn._components import (
    ComponentParamsMixin,
    component_class,
    did_you_mean,
    member_name,
    registered,
    resolve,
)

SLOTS = ("alignment", "augment", "criterion", "mixing", "regularization")
ALL = [(slot, name) for slot in SLOTS for name in sorted(registered(slot))]


class Gap(Alignment):
    """A user's alignment without parameters."""

    def loss(self, source, target, step, net):
        return (source.features.mean(0) - target.features.mean(0)).square().sum()


class Nested(Alignment):
    """A user's alignment that holds another component."""

    def __init__(self, inner=None, weight=1.0):
        self.inner = inner
        self.weight = weight


class Estimator(ComponentParamsMixin, BaseEstimator):
    _slots = SLOTS

    def __init__(self, alignment="auto", criterion="cross_entropy", backbone=None, epochs=1):
        self.alignment = alignment
        self.criterion = criterion
        self.backbone = backbone
        self.epochs = epochs

    def _expand_slot(self, slot, spec):
        return ["mcc", CORAL(weight=3.0)] if spec == "auto" else spec


# --- contract of every registered component -------------------------------------------------


@pytest.mark.parametrize(("slot", "name"), ALL)
def test_component_contract(slot, name):
    cls = component_class(slot, name)
    component = cls()
    assert cls.__init__ is object.__init__ or set(component.get_params()) == set(vars(component))
    for twin in (clone(component), pickle.loads(pickle.dumps(component)), copy.deepcopy(component)):
        assert type(twin) is cls and twin is not component
        assert repr(twin.get_params()) == repr(component.get_params())
    assert repr(component) == f"{cls.__name__}()"
    assert cls.__doc__ and ">>>" in cls.__doc__
    assert not isinstance(component, torch.nn.Module)
    assert member_name(slot, component) == name
    for parameter, value in component.get_params().items():
        assert component.set_params(**{parameter: value}) is component
    assert type(resolve(slot, name)) is cls


@pytest.mark.parametrize(
    ("slot", "spec", "message"),
    [
        (
            "alignment",
            MMD(bandwidth=0),
            "'bandwidth' parameter of MMD must be a float in the range",
        ),
        ("alignment", MMD(weight=-1), "'weight' parameter of MMD"),
        ("alignment", MCC(temperature=0.0), "'temperature' parameter of MCC"),
        ("alignment", CDAN(hidden=0), "'hidden' parameter of CDAN"),
        ("alignment", CDAN(entropy_weight="yes"), "'entropy_weight' parameter of CDAN"),
        ("alignment", component_class("alignment", "dann")(domains="all"), "'domains' .*'each'"),
        ("criterion", component_class("criterion", "huber")(delta=0), "'delta' parameter of Huber"),
        ("criterion", component_class("criterion", "cross_entropy")(1.0), "'label_smoothing'"),
    ],
)
def test_bad_parameters_raise_when_resolved(slot, spec, message):
    with pytest.raises(ValueError, match=message):
        resolve(slot, spec)


# --- names ----------------------------------------------------------------------------------


def test_unknown_name_says_which_one_was_meant():
    with pytest.raises(ValueError, match=r"alignment='corall' is not known; .*mean 'coral'\?"):
        resolve("alignment", "corall")
    with pytest.raises(ValueError, match=r"criterion='cross-entropy' .*mean 'cross_entropy'\?"):
        resolve("criterion", "cross-entropy")
    with pytest.raises(ValueError, match=r"allowed are 'cdan', 'coral', 'dann', [^?]*$"):
        resolve("alignment", "zzzz")
    assert did_you_mean("b", ["bb", "c"]) == "allowed are 'bb', 'c'. Did you mean 'bb'?"


def test_resolve_makes_fresh_objects():
    mine = CORAL(weight=2)
    fresh = resolve("alignment", mine)
    assert fresh is not mine and fresh.weight == 2
    assert resolve("alignment", "mcc") is not resolve("alignment", "mcc")
    assert type(resolve("alignment", Gap())) is Gap
    with pytest.raises(TypeError, match=r"alignment=CORAL is a class; give an object \(CORAL\(\)"):
        resolve("alignment", CORAL)
    for wrong in (5, object(), torch.nn.Linear(1, 1)):
        with pytest.raises(TypeError, match=r"is not a component; give an object or a name: allow"):
            resolve("alignment", wrong)


def test_register():
    assert register("alignment", "gap")(Gap) is Gap
    assert member_name("alignment", Gap()) == "gap"
    assert isinstance(resolve("alignment", "gap"), Gap)
    assert Estimator().set_params(alignment="gap").alignment == "gap"
    register("alignment", "gap")(Gap)  # a notebook cell run twice
    again = type("Gap", (Alignment,), {"__module__": Gap.__module__, "__qualname__": "Gap"})
    register("alignment", "gap")(again)
    assert component_class("alignment", "gap") is again


def test_register_refuses():
    with pytest.raises(ValueError, match="alignment name 'coral' is taken by CORAL; choose"):
        register("alignment", "coral")(Gap)
    impostor = type("CORAL", (Alignment,), {})  # same class name from another module
    with pytest.raises(ValueError, match="is taken by CORAL"):
        register("alignment", "coral")(impostor)
    assert component_class("alignment", "coral") is CORAL
    with pytest.raises(
        ValueError,
        match=r"slot='loss' is not known; .*'alignment', 'augment', 'criterion', 'mixing'",
    ):
        register("loss", "x")
    for name in ("a__b", "two words", ""):
        with pytest.raises(ValueError, match="cannot be used in nested parameters"):
            register("alignment", name)


def test_unregistered_class_is_called_by_its_own_name():
    assert member_name("alignment", Gap()) == "gap"
    assert member_name("alignment", type("Child", (CORAL,), {})()) == "child"


def test_alignment_without_loss_says_so():
    with pytest.raises(TypeError, match=r"Nested must define loss\(source, target, step, net\)"):
        Nested().loss(None, None, None, None)
    assert Nested().build(3, 2, None, (1, 1), None) is None


# --- nested parameters ----------------------------------------------------------------------


def test_nested_parameters_from_a_name():
    est = Estimator().set_params(alignment="mmd", alignment__bandwidth=0.5, epochs=3)
    assert repr(est.alignment) == "MMD(bandwidth=0.5)" and est.epochs == 3
    est = Estimator(alignment="mmd").set_params(alignment__bandwidth=2.0)
    assert est.alignment.bandwidth == 2.0
    assert est.get_params()["alignment__bandwidth"] == 2.0
    assert clone(est).alignment.bandwidth == 2.0
    est.set_params(criterion__label_smoothing=0.1)
    assert est.criterion.label_smoothing == 0.1


def test_nested_parameters_of_an_object_leave_it_alone():
    mine = MMD()
    est = Estimator(alignment=mine).set_params(alignment__weight=7)
    assert est.alignment.weight == 7 and mine.weight == 1.0
    broken = Estimator(alignment=MMD(bandwidth=-1)).set_params(alignment__bandwidth=1)
    assert broken.alignment.bandwidth == 1


def test_nested_parameters_of_a_list():
    mine = MCC()
    est = Estimator(alignment=["cdan", mine])
    est.set_params(alignment__cdan__hidden=8, alignment__mcc__weight=0.1)
    assert repr(est.alignment) == "[CDAN(hidden=8), MCC(weight=0.1)]"
    assert mine.weight == 1.0
    est = Estimator(alignment=("coral", Gap())).set_params(alignment__coral__weight=5)
    assert est.alignment[0].weight == 5 and type(est.alignment[1]) is Gap


def test_nested_parameters_of_the_default():
    est = Estimator().set_params(alignment__mcc__temperature=1.5)
    assert est.alignment[0].temperature == 1.5 and est.alignment[1].weight == 3.0


def test_nested_parameters_two_levels_down():
    est = Estimator(alignment=Nested(inner=MMD())).set_params(alignment__inner__bandwidth=3.0)
    assert est.alignment.inner.bandwidth == 3.0


@pytest.mark.parametrize(
    ("start", "params", "message"),
    [
        ("mmd", {"alignmnt": None}, r"'alignmnt' for estimator Estimator; .*mean 'alignment'\?"),
        ("mmd", {"alignment__bandwith": 1}, r"'bandwith' of alignment MMD; .*mean 'bandwidth'\?"),
        (None, {"alignment__weight": 1}, r"alignment=None has no parameters, got \['weight'\]"),
        ("mdm", {"alignment__weight": 1}, r"alignment='mdm' is not known; .*mean 'mmd'\?"),
        (["mcc"], {"alignment__cdan__weight": 1}, r"alignment__cdan__weight; .*'mcc__<parameter>'"),
        (["mcc"], {"alignment__weight": 1}, "Invalid parameter alignment__weight"),
        (["mcc"], {"alignment__mcc__wait": 1}, r"'wait' of alignment MCC; .*mean 'weight'\?"),
        (["mcc", MCC()], {"alignment__mcc__weight": 1}, "2 members named 'mcc'"),
        ("mmd", {"epochs__x": 1}, r"epochs=9 has no parameters, got \['x'\]"),
        ("mmd", {"backbone__bandwith": 1}, "'bandwith' of backbone MMD"),
    ],
)
def test_a_bad_key_changes_nothing(start, params, message):
    est = Estimator(alignment=start, backbone=MMD())
    before = repr(est.get_params())
    with pytest.raises(ValueError, match=message):
        est.set_params(epochs=9, criterion=None, backbone__weight=4, **params)
    assert repr(est.get_params()) == before


def test_plain_nested_parameters_still_work():
    est = Estimator(backbone=MMD()).set_params(backbone__weight=4)
    assert est.backbone.weight == 4
    assert Estimator().set_params() is not None


def test_parameters_of_a_numpy_scalar():
    est = Estimator(alignment="coral").set_params(alignment__weight=np.float64(0.5))
    assert resolve("alignment", est.alignment).weight == 0.5
