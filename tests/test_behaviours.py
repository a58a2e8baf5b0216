"""Kinds of labels, and bad input: one clear error before any training, nothing half-done."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from adaptlearn import (
    CORAL,
    DANN,
    MMD,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    FineTuning,
    pack,
)
from adaptlearn.deep._trainer import Trainer
from adaptlearn.imbalance import CrossEntropy, Huber

SMALL = {
    "max_epochs": 12, "hidden_layer_sizes": (16,), "bottleneck": 8, "dropout": 0.0,
    "learning_rate": 0.05, "random_state": 0,
}  # fmt: skip


def small(cls=DomainAdaptationClassifier, **params):
    return cls(**(SMALL | params))


def toy(n_source=60, n_target=40, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    code = np.arange(n_source + n_target) % n_classes
    X = rng.normal(size=(len(code), 3)) + 4 * np.eye(3)[code]
    X[n_source:] = 2 * X[n_source:] + 3
    return X[:n_source], code[:n_source], X[n_source:], code[n_source:]


# --- labels -----------------------------------------------------------------------------------

LABELS = {
    "strings": np.array(["no", "yes"]),
    "object strings": np.array(["no", "yes"], dtype=object),
    "-1 and 1": np.array([-1, 1]),
    "20 and 40": np.array([20, 40]),
    "bool": np.array([False, True]),
    "int32": np.array([0, 1], dtype=np.int32),
    "uint8": np.array([3, 200], dtype=np.uint8),
    "float integers": np.array([1.0, 2.0]),
    "object ints": np.array([7, 9], dtype=object),
    "large ints": np.array([2**53, 2**53 + 1]),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("way", ["X_target", "sample_domain", "masks"])
def test_kinds_of_labels(kind, way):
    labels = LABELS[kind]
    X, code, Xt, code_t = toy()
    y = labels[code]
    if way == "X_target":
        model = small().fit(X, y, X_target=Xt)
    elif way == "sample_domain":
        both = np.concatenate([X, Xt]), np.concatenate([y, labels[code_t]])
        model = small().fit(*both, sample_domain=np.repeat([0, -1], [60, 40]))
    elif kind == "-1 and 1":
        with pytest.raises(ValueError, match="mask"):
            pack(X, y, Xt)
        return
    else:
        model = small().fit(*pack(X, y, Xt)[:2])
    classes = model.classes_.tolist()
    assert classes == sorted(labels.tolist())
    assert way == "X_target" or kind == "-1 and 1" or not {-1, "-1"} & set(classes)
    predicted = model.predict(Xt)
    assert set(predicted.tolist()) <= set(classes)
    assert np.mean(predicted == labels[code_t]) > 0.8
    proba = model.predict_proba(Xt)
    assert proba.shape == (40, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[proba.argmax(1)], predicted)
    decision = model.decision_function(Xt)
    assert decision.shape == (40,)
    np.testing.assert_array_equal(decision > 0, predicted == classes[1])
    assert model.score(Xt, labels[code_t]) == np.mean(predicted == labels[code_t])


@pytest.mark.parametrize(
    "mask", [-1, None, np.nan, "-1", "NA"], ids=["-1", "None", "nan", "string", "pandas"]
)
def test_masks(mask):
    X, code, Xt, _ = toy()
    text = mask == "-1" or mask is None
    y = np.array(["a", "b"])[code].tolist() if text else code.tolist()
    y = y + [mask] * 40
    if mask == "NA":
        pandas = pytest.importorskip("pandas")
        y = pandas.Series(code.tolist() + [pandas.NA] * 40, dtype="Int64")
    model = small().fit(np.concatenate([X, Xt]), y)
    assert model.classes_.tolist() == (["a", "b"] if text else [0, 1])
    reference = small().fit(X, code, X_target=Xt)
    np.testing.assert_allclose(model.predict_proba(Xt), reference.predict_proba(Xt), atol=1e-6)


def test_minus_one_and_one_alone_are_two_classes():
    X, code, _, _ = toy()
    with pytest.warns(UserWarning, match=r"exactly \{-1, 1\}"):
        model = small().fit(X, 2 * code - 1)
    assert model.classes_.tolist() == [-1, 1]


def test_score_reads_masks():
    X, code, Xt, code_t = toy(n_classes=3)
    model = small().fit(X, code, X_target=Xt)
    packed, y, domain = pack(X, code, Xt)
    source = model.score(X, code, sample_domain="source")
    assert model.score(packed, y) == model.score(packed, y, sample_domain=domain) == source
    assert model.score(Xt, code_t) == np.mean(model.predict(Xt) == code_t)
    with pytest.raises(ValueError, match="no label"):
        model.score(Xt, np.full(40, -1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the same labels in another dtype are not unseen
        assert model.score(X, code.astype(float), sample_domain="source") == source
        assert model.score(packed, np.where(y < 0, np.nan, y)) == source
    with pytest.warns(UserWarning, match=r"unseen in fit, \[9\]"):
        score = model.score(Xt, np.where(code_t == 0, 9, code_t))
    assert score == np.mean((model.predict(Xt) == code_t) & (code_t != 0))


def test_rows_in_are_rows_out_in_order():
    X, code, Xt, _ = toy()
    model = small().fit(X, code, X_target=Xt)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_allclose(
        model.predict_proba(Xt[order]), model.predict_proba(Xt)[order], atol=1e-6
    )


# --- bad input --------------------------------------------------------------------------------


@pytest.fixture
def untrained(monkeypatch):
    """Fails when any training starts."""

    def train(*args, **kwargs):
        raise AssertionError("training started")

    monkeypatch.setattr(Trainer, "train", train)


X, Y, XT, _ = toy()
BOTH = np.concatenate([X, XT])
MASKED = np.concatenate([Y, np.full(40, -1)])
DOMAIN = np.repeat([0, -1], [60, 40])


def spoilt(value, row=3, column=1):
    out = X.copy()
    out[row, column] = value
    return out


BAD_DATA = {
    "NaN": (spoilt(np.nan), Y, {"X_target": XT}, "NaN in column 1, row 3.*Impute"),
    "infinity": (spoilt(np.inf), Y, {"X_target": XT}, "infinity in column 1, row 3"),
    "NaN in the target": (X, Y, {"X_target": spoilt(np.nan)}, "X.*NaN in column 1"),
    "sparse NaN": (sp.csr_matrix(spoilt(np.nan)), Y, {}, "NaN in column 1"),
    "one class": (X, np.zeros(60, int), {"X_target": XT}, "one class"),
    "one class, masked": (BOTH, np.where(MASKED < 0, -1, 3), {}, "one class"),
    "all masked": (X, np.full(60, -1), {}, "no source row"),
    "no source domain": (BOTH, MASKED, {"sample_domain": -1}, "no source row"),
    "masked source": (BOTH, np.where(MASKED < 0, np.nan, MASKED), {"sample_domain": 0},
        "no label on 40 rows.*sample_domain"),
    "y too short": (X, Y[:-1], {"X_target": XT}, "60 rows.*59"),
    "y of both sides with X_target": (X, MASKED, {"X_target": XT}, "60 rows.*100.*X_target"),
    "sample_domain too short": (BOTH, MASKED, {"sample_domain": DOMAIN[:-1]},
        "sample_domain.*99.*100"),
    "sample_weight too short": (X, Y, {"X_target": XT, "sample_weight": np.ones(59)},
        "sample_weight.*59.*60"),
    "negative weight": (X, Y, {"X_target": XT, "sample_weight": -np.ones(60)},
        "sample_weight.*negative"),
    "NaN weight": (X, Y, {"X_target": XT, "sample_weight": np.full(60, np.nan)},
        "sample_weight.*finite"),
    "zero weights": (X, Y, {"X_target": XT, "sample_weight": np.zeros(60)}, "sample_weight.*zero"),
    "weight matrix": (X, Y, {"X_target": XT, "sample_weight": np.ones((60, 2))},
        "sample_weight.*1D"),
    "columns of the target": (X, Y, {"X_target": XT[:, :2]}, "2 features.*3 features|X_target"),
    "target given twice": (BOTH, MASKED, {"sample_domain": DOMAIN, "X_target": XT},
        "X_target.*one way"),
    "mask with X_target": (X, np.r_[-5.0, np.nan, Y[2:]], {"X_target": XT}, "no label.*X_target"),
    "a domain of one row": (BOTH, MASKED, {"sample_domain": np.r_[3, DOMAIN[1:]]},
        "two rows|one row"),
    "a target of one row": (X, Y, {"X_target": XT[:1]}, "two rows|one row"),
    "fractions as domains": (BOTH, MASKED, {"sample_domain": DOMAIN + 0.5},
        "sample_domain.*integers"),
    "text as domains": (BOTH, MASKED, {"sample_domain": DOMAIN.astype(str)}, "sample_domain"),
    "complex": (X + 1j, Y, {"X_target": XT}, "[Cc]omplex"),
    "objects": (np.array([[object(), 1]] * 60, dtype=object), Y, {}, "float|number"),
    "text": (["some text"] * 60, Y, {}, "X holds strings.*TextExtractor"),
    "text in the target": (X, Y, {"X_target": ["text"] * 5}, "X_target holds strings"),
    "one column as a vector": (X[:, 0], Y, {"X_target": XT}, "2D array"),
    "images without a backbone": (np.zeros((60, 1, 8, 8)), Y, {}, "backbone|dim"),
    "no rows": (X[:0], Y[:0], {"X_target": XT}, "0 sample"),
    "no columns": (X[:, :0], Y, {}, "0 feature"),
    "no y": (X, None, {"X_target": XT}, "requires y"),
    "y of two columns": (X, np.c_[Y, Y], {"X_target": XT}, "1d|multi"),
    "continuous y": (X, Y + 0.5 * np.arange(60) / 60, {"X_target": XT},
        "continuous|Unknown label"),
    "mixed labels": (X, ["a", 1] * 30, {"X_target": XT}, "types int, str"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case, untrained):
    X, y, given, match = BAD_DATA[case]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no target rows")
        with pytest.raises((ValueError, TypeError), match=f"(?s){match}") as caught:
            small().fit(X, y, **given)
    assert len(str(caught.value)) < 1000 or case == "complex"  # scikit-learn prints the array
    assert caught.traceback[-1].path.name != "_trainer.py"


@pytest.mark.parametrize(
    "y, match",
    [
        (np.where(Y == 0, np.inf, 1.0), "infinity"),
        (np.array(["a", "b"])[Y], "numbers"),
        (np.full(60, np.nan), "no source row|no label"),
    ],
)
def test_bad_regression_targets(y, match, untrained):
    with pytest.raises((ValueError, TypeError), match=match):
        small(DomainAdaptationRegressor).fit(X, y)


BAD_PARAMETERS = {
    "alignment": ["corral", 3, CORAL, nn.Linear(2, 2), ["dann", "corral"], CrossEntropy(), [None]],
    "criterion": ["crossentropy", "mse", CORAL(), Huber(), 5, CrossEntropy],
    "normalize": ["domains", True],
    "sampling": ["balance", None],
    "target_sampling": ["balanced", None],
    "mixing": ["mix-up", 3, CORAL(), CrossEntropy(), ["mixup"], True],
    "resampler": ["smote", 3, CORAL(), True],
    "label_shift": ["em", True],
    "prior": ["targets", 0.5, [0.1] * 9, [-1.0, 2.0], [0.0, 0.0]],
    "optimizer": ["sdg", None],
    "schedule": ["cos", 3],
    "learning_rate": [0, -1.0, "fast"],
    "batch_size": [0, 1.5, "all"],
    "max_epochs": [0, 2.5, "many"],
    "weight_decay": [-1],
    "dropout": [1, -0.1],
    "alignment_weight": [-1, "1"],
    "hidden_layer_sizes": [(0,), (2.5,), 100, "8"],
    "bottleneck": [0, 2.5],
    "backbone": ["resnet", 3],
    "finetune": ["frzen", "last:0", "last", "full", None, 3, CORAL(), FineTuning],
    "augment": ["no_such", 3, CORAL(), ["flip_crop", "no_such"]],
    "regularization": ["l2sp", 3, CORAL(), ["l2_sp"]],
    "rehearsal": [-1, 2.5, "all"],
    "class_weight": ["equal", 5],
    "target_labels": ["all", True],
    "early_stopping": ["yes", "both"],
    "validation_fraction": [0, 1, 2],
    "n_iter_no_change": [0],
    "device": ["gpu", 3],
    "precision": ["half", 32],
    "callbacks": [5],
    "net_params": [5, {"module__x": 3}, {"lr": 3}],
    "random_state": ["seed"],
    "verbose": ["yes"],
    "checkpoint": [5],
    "warm_start": ["yes"],
}


@pytest.mark.parametrize(
    "name, value", [(n, v) for n, values in BAD_PARAMETERS.items() for v in values], ids=str
)
def test_bad_parameters(name, value, untrained):
    model = small(**{name: value})  # nothing is checked before fit
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(X, Y, X_target=XT)
    assert not hasattr(model, "net_")


def test_every_parameter_is_tried():
    assert set(DomainAdaptationClassifier().get_params()) - set(BAD_PARAMETERS) <= {"compile"}


@pytest.mark.parametrize(
    "alignment, hint",
    [("coral_", "'coral'"), ("DANN", "dann"), ("mmmd", "'mmd'"), (["mcc", "cdna"], "'cdan'")],
    ids=str,
)
def test_misspelt_names(alignment, hint, untrained):
    with pytest.raises(ValueError, match=f"allowed are .*{hint}"):
        small(alignment=alignment).fit(X, Y, X_target=XT)


@pytest.mark.parametrize(
    "component", [MMD(bandwidth=0), DANN(hidden=0), DANN(domains="all"), CORAL(weight=-1)], ids=str
)
def test_bad_parameters_of_a_component(component, untrained):
    with pytest.raises(ValueError, match=r"bandwidth|hidden|domains|weight"):
        small(alignment=component).fit(X, Y, X_target=XT)


def test_regression_refuses_what_needs_classes(untrained):
    y = Y + 0.5
    for params, match in (
        ({"alignment": "mcc"}, "regression.*coral"),
        ({"alignment": ["coral", "cdan"]}, "regression"),
        ({"criterion": "cross_entropy"}, "regression.*'huber', 'mse'"),
        ({"sampling": "balanced"}, "balanced"),
    ):
        with pytest.raises(ValueError, match=match):
            small(DomainAdaptationRegressor, **params).fit(X, y, X_target=XT)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function", "transform"])
def test_bad_input_at_predict(method):
    model = small(max_epochs=1).fit(X, Y, X_target=XT)
    call = getattr(model, method)
    for bad, match in (
        ((spoilt(np.nan), None), "NaN in column 1"),
        ((X[:, :2], None), "2 features"),
        ((X, 5), "not seen in fit"),
        ((X, "targets"), "'source', 'target'"),
        ((X, DOMAIN), "100 entries for 60"),
        ((X, 0.5), "integers|fractions"),
        ((X[:0], None), "0 sample"),
        ((["text"], None), "strings"),
    ):
        with pytest.raises((ValueError, TypeError), match=match):
            call(bad[0], sample_domain=bad[1])


def test_names_of_bad_columns(untrained):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(spoilt(np.nan), columns=["age", "price", "size"])
    with pytest.raises(ValueError, match=r"NaN in column 1 .*'price'"):
        small().fit(frame, Y, X_target=frame)


class Picture:
    """Looks like a PIL image."""

    def convert(self, mode):
        return self

    def getbands(self):
        return ("L",)


def test_raw_images_name_what_to_do(untrained):
    with pytest.raises(ValueError, match=r"X holds PIL images.*backbone"):
        small().fit([Picture()] * 60, Y)


# --- nothing half-done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    ["NaN", "one class", "all masked", "y too short", "a target of one row", "negative weight"],
)
def test_a_refused_fit_leaves_the_model_as_it_was(case):
    model = small().fit(X, np.array(["a", "b"])[Y], X_target=XT)
    before, state = model.predict_proba(XT), copy.deepcopy(model.net_.module_.state_dict())
    bad_X, bad_y, given, _ = BAD_DATA[case]
    with pytest.raises(ValueError):
        model.fit(bad_X, bad_y, **given)
    np.testing.assert_array_equal(model.predict_proba(XT), before)
    assert model.predict(XT).tolist() == np.array(["a", "b"])[before.argmax(1)].tolist()
    after = model.net_.module_.state_dict()
    assert all(torch.equal(after[k], v) for k, v in state.items())


class Picky(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layer = nn.Linear(n_features, 4)

    def forward(self, x):
        if self.training:
            raise ZeroDivisionError("my own mistake")
        return self.layer(x)


def test_a_module_that_raises_keeps_its_own_error():
    with pytest.raises(ZeroDivisionError, match=r"^my own mistake$") as caught:
        small(backbone=Picky).fit(X, Y, X_target=XT)
    assert caught.value.__cause__ is None
    assert caught.traceback[-1].name == "forward"


@pytest.mark.parametrize(
    "backbone, match",
    [(lambda n: "no module", "torch.nn.Module"), (lambda n: nn.Flatten(0), "n_rows, n_features")],
)
def test_a_bad_backbone(backbone, match, untrained):
    with pytest.raises((TypeError, ValueError), match=match):
        small(backbone=backbone).fit(X, Y, X_target=XT)


def test_unfitted():
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        with pytest.raises(ValueError, match="not fitted"):
            getattr(small(), method)(X)
    with pytest.raises(ValueError, match="not fitted"):
        small().score(X, Y)
