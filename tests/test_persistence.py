"""Saving without pickle: equal predictions, and files that are refused instead of believed."""

import json
import os
import pickle

import numpy as np
import pytest
import torch
from imblearn.combine import SMOTEENN
from imblearn.over_sampling import SMOTE
from safetensors import safe_open
from safetensors.torch import save_file
from skorch.callbacks import Callback
from torch import nn

import adaptlearn
from adaptlearn import (
    CDAN,
    CORAL,
    Alignment,
    CDANClassifier,
    DANNClassifier,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    DomainResampler,
    Remix,
    load,
)
from adaptlearn.deep import persistence
from adaptlearn.imbalance import CrossEntropy, Huber

SMALL = {
    "max_epochs": 2,
    "hidden_layer_sizes": (12,),
    "bottleneck": 6,
    "dropout": 0.0,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 4)) + 2 * np.eye(4)[y]
    return X[:40], y[:40], 2 * X[40:] + 3


class Backbone(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_features, 7), nn.BatchNorm1d(7), nn.Tanh())

    def forward(self, x):
        return self.layers(x)


class MeanGap(Alignment):
    def __init__(self, weight=1.0, power=2):
        self.weight = weight
        self.power = power

    def loss(self, source, target, step, net):
        gap = source.features.mean(0) - target.features.mean(0)
        return gap.abs().pow(self.power).sum()


class MyClassifier(DomainAdaptationClassifier):
    """A user's subclass."""


def linear(n_features):
    return nn.Linear(n_features, 5)


def fitted(data, cls=DomainAdaptationClassifier, **params):
    X, y, Xt = data
    return cls(**(SMALL | params)).fit(X, y, X_target=Xt)


def same(a, b, X):
    assert type(a) is type(b)
    for side in ("source", "target", 0, -1):
        for method in ("predict", "predict_proba", "decision_function", "transform"):
            if hasattr(a, method):
                one = getattr(a, method)(X, sample_domain=side)
                two = getattr(b, method)(X, sample_domain=side)
                np.testing.assert_array_equal(one, two)
                assert one.dtype == two.dtype


@pytest.mark.parametrize("name", adaptlearn.deep.__all__)
def test_every_class_comes_back_equal(name, data, tmp_path):
    cls = getattr(adaptlearn.deep, name)
    if not hasattr(cls, "save"):
        return
    model = fitted(data, cls)
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    same(model, again, data[2])
    assert again.get_params()["hidden_layer_sizes"] == (12,)
    assert repr(again) == repr(model)
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(
    "params",
    [
        {"alignment": None},
        {"alignment": ["dann", CORAL(weight=3), "mcc"]},
        {"alignment": CDAN(hidden=8, random_dim=16, max_dim=0)},
        {"normalize": None, "hidden_layer_sizes": ()},
        {"normalize": "batch", "bottleneck": None},
        {"normalize": "source", "precision": "float64"},
        {"criterion": CrossEntropy(label_smoothing=0.1), "class_weight": {0: 1.0, 1: 2.5, 2: 0.1}},
        {"optimizer": torch.optim.RMSprop, "schedule": "cosine", "learning_rate": 1e-3},
        {"early_stopping": True, "max_epochs": np.int64(3), "dropout": np.float32(0.5)},
        {"net_params": {"optimizer__eps": 1e-6}, "verbose": 0, "random_state": None},
        {"hidden_layer_sizes": [8, 8], "class_weight": "balanced", "compile": False},
        {"mixing": "mixup"},
        {"mixing": Remix(kappa=2.0)},
        {"resampler": SMOTE(k_neighbors=2)},
        {"resampler": DomainResampler(SMOTEENN(smote=SMOTE(k_neighbors=1)), target_labels="use")},
    ],
    ids=str,
)
def test_parameters_come_back(params, data, tmp_path):
    model = fitted(data, **params)
    path = tmp_path / "model"
    model.save(str(path))
    again = load(str(path))
    same(model, again, data[2])
    for name, value in model.get_params(deep=False).items():
        loaded = getattr(again, name)  # components have no ==, and NumPy's numbers become plain
        assert repr(loaded) == repr(value) or loaded == value


def test_regressor_with_numbers_in_other_units(data, tmp_path):
    X, _, Xt = data
    y = 1000 * X[:, 0] + 5e6
    model = DomainAdaptationRegressor(**SMALL, criterion=Huber(delta=0.7)).fit(X, y, X_target=Xt)
    model.save(tmp_path / "r")
    same(model, load(tmp_path / "r"), Xt)


@pytest.mark.parametrize(
    "labels", [["a", "bb", "ccc"], [-1, 1, 7], [0.0, 1.0, 2.0], [False, True, True]], ids=str
)
def test_classes_keep_their_type(labels, data, tmp_path):
    X, y, Xt = data
    model = DomainAdaptationClassifier(**SMALL).fit(X, np.array(labels)[y], X_target=Xt)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.classes_.dtype == model.classes_.dtype
    assert again.classes_.tolist() == model.classes_.tolist()
    same(model, again, Xt)


def test_names_and_domains_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pandas.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
    y, domain = np.arange(60) % 2, np.repeat([0, 4, -1, -3], 15)
    model = DomainAdaptationClassifier(**SMALL).fit(X, y, sample_domain=domain)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.feature_names_in_.tolist() == ["a", "b", "c"] and again.n_features_in_ == 3
    for which in (0, 4, -1, -3, "source", "target", domain):
        np.testing.assert_array_equal(
            again.predict_proba(X, sample_domain=which), model.predict_proba(X, sample_domain=which)
        )
    with pytest.raises(ValueError, match="not seen in fit"):
        again.predict(X, sample_domain=-2)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(X[["c", "b", "a"]])


def test_training_goes_on_after_load(data, tmp_path):
    X, y, Xt = data
    model = fitted(data)
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    before = again.predict_proba(Xt)
    rows = np.concatenate([X, Xt]), np.concatenate([y, np.full(len(Xt), -1)])
    again.partial_fit(*rows)
    assert not np.array_equal(before, again.predict_proba(Xt))
    assert again.classes_.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(model.predict_proba(Xt), before)
    # A fit from the start ends where the saved one did.
    np.testing.assert_array_equal(again.fit(X, y, X_target=Xt).predict_proba(Xt), before)


def test_components_of_the_user(data, tmp_path):
    model = fitted(data, MyClassifier, backbone=Backbone, alignment=[MeanGap(power=1), "mcc"])
    model.save(tmp_path / "m")
    mine = {"MyClassifier": MyClassifier, "Backbone": Backbone, "MeanGap": MeanGap}
    again = load(tmp_path / "m", components=mine)
    same(model, again, data[2])
    assert again.alignment[0].power == 1
    for missing in mine:
        rest = {k: v for k, v in mine.items() if k != missing}
        with pytest.raises(ValueError, match=f"{missing}.*components="):
            load(tmp_path / "m", components=rest)


def test_backbone_factory_and_instance(data, tmp_path):
    model = fitted(data, backbone=linear)
    model.save(tmp_path / "m")
    same(model, load(tmp_path / "m", components={"linear": linear}), data[2])
    model = fitted(data, backbone=Backbone(4))
    model.save(tmp_path / "m")
    same(model, load(tmp_path / "m", components={"Backbone": Backbone}), data[2])


def test_a_wrong_component_is_refused(data, tmp_path):
    fitted(data, backbone=linear).save(tmp_path / "m")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path / "m", components={"linear": lambda n: nn.Linear(n, 9)})
    with pytest.raises(ValueError, match=r"'linear', which is not registered. Import the module"):
        load(tmp_path / "m")


# --- what save refuses ------------------------------------------------------------------------


class Nothing(Callback):
    pass


@pytest.mark.parametrize(
    "name, params",
    [
        ("schedule", {"schedule": lambda p: 1.0}),
        ("callbacks", {"callbacks": [Nothing()]}),
        ("random_state", {"random_state": np.random.RandomState(0)}),
        ("backbone", {"backbone": lambda n: nn.Linear(n, 3)}),
    ],
)
def test_what_cannot_be_represented_raises_and_writes_nothing(name, params, data, tmp_path):
    model = fitted(data, **params)
    with pytest.raises(ValueError, match=f"{name}=.*cannot be saved"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == []
    (tmp_path / "m").write_bytes(b"precious")
    with pytest.raises(ValueError, match=name):
        model.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": (3,)},
        {"bottleneck": 5},
        {"alignment": "dann"},
        {"alignment__hidden": 9},
        {"criterion": "ldam"},
    ],
)
def test_what_shapes_the_network_and_was_set_after_fit_is_refused(params, data, tmp_path):
    X, y, X_target = data
    clf = DomainAdaptationClassifier(alignment=CDAN(hidden=4), max_epochs=1, random_state=0)
    clf.fit(X, y, X_target=X_target)
    name = next(iter(params))
    before = clf.get_params()[name]
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=f"{name.split('__')[0]}=.* was set after fit"):
        clf.set_params(**params).save(path)
    assert not path.exists()
    clf.set_params(**{name: before}, prior="uniform", learning_rate=0.1).save(path)
    np.testing.assert_array_equal(load(path).predict(X_target), clf.predict(X_target))


def test_unfitted_or_nowhere(data, tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        DomainAdaptationClassifier().save(tmp_path / "m")
    with pytest.raises(OSError, match="nowhere"):
        fitted(data).save(tmp_path / "nowhere" / "m")
    assert os.listdir(tmp_path) == []


def test_a_saved_file_replaces_the_old_one(data, tmp_path):
    (tmp_path / "m").write_bytes(b"old")
    umask = os.umask(0o022)
    try:
        fitted(data).save(tmp_path / "m")
    finally:
        os.umask(umask)
    load(tmp_path / "m")
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o644, "others may read it as usual"


# --- what load refuses ------------------------------------------------------------------------


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_refused_and_not_executed(data, tmp_path):
    mark = tmp_path / "executed"
    for k, write in enumerate(
        (
            lambda f: pickle.dump(Bomb(mark), f),
            lambda f: torch.save({"model": Bomb(mark)}, f),
            lambda f: pickle.dump(fitted(data), f),
        )
    ):
        path = tmp_path / f"{k}.safetensors"
        with open(path, "wb") as file:
            write(file)
        with pytest.raises(ValueError, match="not a model saved by adaptlearn"):
            load(path)
    assert not mark.exists()


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        load(tmp_path / "nothing_here")
    with pytest.raises(FileNotFoundError, match="not a file"):
        load(tmp_path)


def test_damaged_files(data, tmp_path):
    path = tmp_path / "m"
    fitted(data).save(path)
    whole = path.read_bytes()
    for size in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged"):
            load(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_flipped_bytes_raise_or_load_but_never_crash(data, tmp_path):
    path = tmp_path / "m"
    model = fitted(data)
    model.save(path)
    whole = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for place in [*range(8), *rng.integers(8, header, 150)]:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            again = load(path)  # such as another label or number of epochs
        except ValueError as error:
            assert str(path) in str(error) or "not registered" in str(error)
        else:
            assert isinstance(again, DomainAdaptationClassifier)


def test_flipped_weights_are_noticed(data, tmp_path):
    path = tmp_path / "m"
    fitted(data).save(path)
    whole = bytearray(path.read_bytes())
    whole[-10] ^= 4
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged"):
        load(path)


def test_foreign_safetensors(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "m")
    with pytest.raises(ValueError, match="not one written by adaptlearn"):
        load(tmp_path / "m")


def edited(path, change):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys()}
    header = json.loads(metadata["adaptlearn"])
    change(header, tensors)
    text = json.dumps(header)
    metadata = {"adaptlearn": text, "checksum": persistence._checksum(text, tensors)}
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "change, match",
    [
        (lambda h, t: h.update({"class": "EvilClassifier"}), "EvilClassifier.*not registered"),
        (lambda h, t: h.update({"class": "load"}), "load.*not registered"),
        (lambda h, t: h.update({"format": 99}), "format 99"),
        (lambda h, t: h.pop("params"), "cannot be loaded"),
        (lambda h, t: h["params"].update({"no_such": 1}), "cannot be loaded.*no_such"),
        (lambda h, t: h["params"].update({"max_epochs": -1}), "cannot be loaded.*max_epochs"),
        (lambda h, t: h["fitted"].update({"predict": 1}), "predict.*not known"),
        (lambda h, t: h["params"].update(alignment={"external": "os"}), "os.*not registered"),
        (
            lambda h, t: h["params"].update(
                alignment={"component": ["alignment", "x"], "params": {}}
            ),
            "x.*not registered",
        ),
        (
            lambda h, t: h["params"].update(optimizer={"torch.optim": "__loader__"}),
            "not an optimiser",
        ),
        (lambda h, t: t.pop(next(k for k in t if k.startswith("network."))), "cannot be loaded"),
        (lambda h, t: t.update(surplus=torch.zeros(1)), "cannot be loaded"),
        (lambda h, t: t.update(class_ratio=t["class_ratio"][:1].clone()), "class ratios"),
        (lambda h, t: h["domains"].__setitem__(0, [0, 1]), "cannot be loaded"),
        (lambda h, t: h["classes_"]["values"].append(9), "cannot be loaded"),
    ],
)
def test_edited_headers(change, match, data, tmp_path):
    path = tmp_path / "m"
    fitted(data, alignment=CORAL(weight=2)).save(path)
    edited(path, lambda header, tensors: None)
    load(path)
    edited(path, change)
    with pytest.raises(ValueError, match=match):
        load(path)


def test_presets_keep_their_alignment(data, tmp_path):
    fitted(data, CDANClassifier, alignment=CDAN(hidden=4)).save(tmp_path / "m")
    assert load(tmp_path / "m").alignment.hidden == 4
    fitted(data, DANNClassifier).save(tmp_path / "m")
    assert load(tmp_path / "m").alignment == "auto"


@pytest.mark.parametrize(
    ("share", "names"), [(0.5, ["SPL", "MMD"]), (1.0, ["SPL"]), (None, ["SPL", "Entropy", "MMD"])]
)
def test_what_auto_came_to_comes_back(share, names, tmp_path):
    """It was settled by rows that the file does not hold."""
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    X = rng.normal(size=(80, 3)) + 3 * y[:, None]
    X_target = X[y == 1] if share == 1 else X
    clf = DomainAdaptationClassifier(label_shift=None if share is None else "auto", **SMALL)
    clf.fit(X, y, X_target=X_target).save(tmp_path / "model")
    again = load(tmp_path / "model")
    for model in (clf, again):
        assert [type(alignment).__name__ for alignment in model.alignment_] == names
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
