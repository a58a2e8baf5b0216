"""Any torch module as a transformer of arrays."""

import copy
import pickle
import threading
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from adaptlearn import EmbeddingCache, ModuleExtractor
from adaptlearn.extractors import _models

TABLE = np.random.default_rng(0).normal(size=(9, 5))
IMAGES = np.random.default_rng(1).normal(size=(6, 3, 8, 10)).astype(np.float32)
STEPS = np.random.default_rng(2).normal(size=(7, 4, 3)).astype(np.float32)
ROWS = []


def seeded(make):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make()


class Net(nn.Module):
    """A small network of images in the way of torchvision: stem, two stages, a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 3, stride=2)])
        self.unused = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        ROWS.append(len(x))
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.drop(x.mean((2, 3))))


class Returns(nn.Module):
    """Returns what a function makes of the input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def make_net():
    return seeded(Net)


def extractor(model=None, **params):
    return ModuleExtractor(make_net() if model is None else model, **({"cache": None} | params))


def by_hand(model, X):
    with torch.no_grad():
        return copy.deepcopy(model).eval()(torch.as_tensor(X, dtype=torch.float32)).numpy()


# The answer


@parametrize_with_checks([
    ModuleExtractor(Returns(torch.tanh)),
    ModuleExtractor(Returns(torch.tanh), cache=None, normalize=True, batch_size=3),
])  # fmt: skip
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("batch_size", ["auto", 1, 4])
def test_output_of_a_module(batch_size):
    model = make_net().train()
    found = extractor(model, batch_size=batch_size).fit_transform(IMAGES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(model, IMAGES), atol=1e-6)
    assert model.training and all(p.requires_grad for p in model.parameters())


def test_batches_hold_about_as_many_numbers():
    ROWS.clear()
    extractor().fit_transform(np.zeros((20, 3, 300, 300)) + np.arange(20)[:, None, None, None])
    assert ROWS == [7, 7, 6]  # 2 ** 21 / 270000
    ROWS.clear()
    extractor(batch_size=8).fit_transform(IMAGES)
    assert ROWS == [6]


@pytest.mark.parametrize("name", ["stem", "stem.1", "layers.0", "layers.1", "drop", "head"])
def test_a_layer_inside(name):
    model = make_net()
    found = extractor(model, layer=name).fit_transform(IMAGES)
    x = torch.from_numpy(IMAGES)
    model.eval()
    with torch.no_grad():
        steps = {"stem": model.stem(x), "stem.1": model.stem[:2](x)}
        steps["layers.0"] = model.layers[0](steps["stem"])
        steps["layers.1"] = model.layers[1](steps["layers.0"])
        steps["drop"] = steps["layers.1"].mean((2, 3))
        steps["head"] = model.head(steps["drop"])
    wanted = steps[name] if steps[name].ndim == 2 else steps[name].mean((2, 3))
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)


def test_no_hook_is_left():
    one = extractor(layer="stem").fit(IMAGES)
    one.transform(IMAGES)
    assert not any(part._forward_hooks for part in one._module.modules())

    class Fails(Net):
        def forward(self, x):
            super().forward(x)
            raise ZeroDivisionError("mine")

    one = extractor(Fails(), layer="stem").fit(IMAGES)
    with pytest.raises(ZeroDivisionError, match="mine"):
        one.transform(IMAGES)
    assert not any(part._forward_hooks for part in one._module.modules())


def test_layers_of_threads_that_share_a_module():
    """Each sees the output for its own rows, though both hooks hang in one module."""
    ready = threading.Barrier(2)

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            x = self.inner(x)
            ready.wait(timeout=20)  # both are between their hook and the end
            return x

    one = extractor(Slow(), layer="inner")
    one.fit(TABLE)
    network, found = one._network(torch.device("cpu")), {}

    def run(number):
        found[number] = one._features(network, {"inputs": torch.full((2, 3), float(number))})

    threads = [threading.Thread(target=run, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[number] == number).all() for number in (1, 2))


@pytest.mark.parametrize(
    ("layer", "match"),
    [("layers.2", r"no layer of the model.*Did you mean 'layers\.\d'"),
     ("", "no layer"), ("unused", "is not called")],
)  # fmt: skip
def test_no_such_layer(layer, match):
    with pytest.raises(ValueError, match=f"layer='{layer}'.*{match}"):
        extractor(layer=layer).fit_transform(IMAGES)


# Outputs


def test_parts_of_an_output():
    both = Returns(lambda x: {"a": x * 2, "b": (x + 1, {"c": x - 1})})
    wanted = TABLE.astype(np.float32)
    for output, values in (("a", wanted * 2), (("b", 0), wanted + 1), (("b", 1, "c"), wanted - 1)):
        found = extractor(both, output=output).fit_transform(TABLE)
        np.testing.assert_allclose(found, values, atol=1e-6)
    for one in (Returns(lambda x: (x,)), Returns(lambda x: {"only": x})):
        np.testing.assert_array_equal(extractor(one).fit_transform(TABLE), wanted)
    for output, match in (
        (None, "dict, of which one part must be named; allowed are 'a', 'b'"),
        ("aa", "Did you mean 'a'"), ("b", "tuple and no tensor"), (("b", 2), "tuple, of which"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"output=.*{match}"):
            extractor(both, output=output).fit_transform(TABLE)


def test_output_of_a_recurrent_network():
    model = seeded(lambda: nn.LSTM(3, 5, batch_first=True))
    with torch.no_grad():
        hidden, (last, _) = model(torch.from_numpy(STEPS))
    found = extractor(model, output=0, pooling="last").fit_transform(STEPS)
    np.testing.assert_allclose(found, hidden[:, -1], atol=1e-6)
    np.testing.assert_allclose(found, last[0], atol=1e-6)
    found = extractor(model, output=0).fit_transform(STEPS)
    np.testing.assert_allclose(found, hidden.mean(1), atol=1e-6)


def test_output_of_transformers():
    output = pytest.importorskip("transformers.modeling_outputs")
    model = Returns(lambda x: output.BaseModelOutput(last_hidden_state=x))
    np.testing.assert_allclose(extractor(model).fit_transform(STEPS), STEPS.mean(1), atol=1e-6)
    model = Returns(lambda x: output.BaseModelOutputWithPooling(x, x[:, 0] * 3))
    found = extractor(model, output="pooler_output").fit_transform(STEPS)
    np.testing.assert_allclose(found, STEPS[:, 0] * 3, atol=1e-6)


def gem(x, axis):
    return (np.maximum(x.astype(float), 1e-6) ** 3).mean(axis) ** (1 / 3)


def test_pooling_by_hand():
    one = np.array([[[1.0, -2], [3, 0], [2, 5]]])  # three steps of two features
    wanted = {
        "auto": [2, 1], "mean": [2, 1], "max": [3, 5], "cls": [1, -2], "last": [2, 5],
        "flatten": [1, -2, 3, 0, 2, 5],
        "gem": [(36 / 3) ** (1 / 3), (125 / 3) ** (1 / 3)],  # 1 + 27 + 8; 0 + 0 + 125
    }  # fmt: skip
    for pooling, values in wanted.items():
        found = extractor(Returns(torch.relu if pooling == "gem" else nn.Identity()),
                          pooling=pooling).fit_transform(one)  # fmt: skip
        np.testing.assert_allclose(found, [values], rtol=1e-5)
    identity = nn.Identity()
    for pooling, wanted in (
        ("auto", IMAGES.mean((2, 3))), ("max", IMAGES.max((2, 3))), ("gem", gem(IMAGES, (2, 3))),
        ("flatten", IMAGES.reshape(6, -1)),
    ):  # fmt: skip
        found = extractor(identity, pooling=pooling).fit_transform(IMAGES)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    found = extractor(identity, channels="last").fit_transform(IMAGES)
    np.testing.assert_allclose(found, IMAGES.mean((1, 2)), atol=1e-6)
    found = extractor(identity, channels="first").fit_transform(STEPS)
    np.testing.assert_allclose(found, STEPS.mean(2), atol=1e-6)
    found = extractor(Returns(lambda x: x.sum((1, 2)))).fit_transform(STEPS)
    np.testing.assert_allclose(found, STEPS.sum((1, 2))[:, None], atol=1e-5)
    with pytest.raises(ValueError, match="pooling='max': the model returns one vector per row"):
        extractor(identity, pooling="max").fit_transform(TABLE)


def test_features_are_differentiable():
    one = extractor(layer="layers.1", pooling="gem").fit(IMAGES)
    network = one._network(torch.device("cpu"))
    module = copy.deepcopy(network.module).requires_grad_(True)
    features = one._features(network._replace(module=module), {"inputs": torch.tensor(IMAGES)})
    features.sum().backward()
    assert module.stem[0].weight.grad.abs().max() > 0


# Input


def test_containers_of_numbers():
    model = seeded(lambda: nn.Linear(5, 3))
    wanted = by_hand(model, TABLE)
    for X in (TABLE, TABLE.astype(np.float32), TABLE.tolist(), torch.from_numpy(TABLE),
              pd.DataFrame(TABLE, columns=list("abcde")), pl.DataFrame(TABLE, schema=list("abcde")),
              np.asfortranarray(TABLE), np.repeat(TABLE, 2, 0)[::2]):  # fmt: skip
        np.testing.assert_allclose(extractor(model).fit_transform(X), wanted, atol=1e-6)
    one = extractor(model).fit(pd.DataFrame(TABLE, columns=list("abcde")))
    assert list(one.feature_names_in_) == list("abcde") and one.n_features_in_ == 5
    with pytest.raises(ValueError, match="feature names should match"):
        one.transform(pd.DataFrame(TABLE, columns=list("abced")))
    with pytest.raises(ValueError, match="expecting 5 features"):
        one.transform(TABLE[:, :4])


def test_integers_for_an_embedding():
    model = seeded(lambda: nn.EmbeddingBag(20, 4))
    ids = np.random.default_rng(0).integers(0, 20, (8, 6))
    found = extractor(model, dtype="int64").fit_transform(ids)
    with torch.no_grad():
        np.testing.assert_allclose(found, model(torch.from_numpy(ids)), atol=1e-6)
    with pytest.raises(ValueError, match="dtype='int64' asks for integers"):
        extractor(model, dtype="int64").fit_transform(ids + 0.5)


def test_input_is_left_alone(tmp_path):
    for array in (TABLE.astype(np.float32), IMAGES):
        mapped = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=array.shape)
        mapped[:] = array
        frozen = array.copy()
        frozen.setflags(write=False)
        for X in (mapped, frozen):
            before = np.array(X)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                extractor(Returns(lambda x: x.mul_(2)), pooling="flatten").fit_transform(X)
            np.testing.assert_array_equal(np.array(X), before)


@pytest.mark.parametrize("n", [0, 1])
def test_few_rows(n):
    found = extractor().fit(IMAGES).transform(IMAGES[:n])
    assert found.shape == (n, 2)


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (TABLE[:, 0], ValueError, "Expected 2D array"),
        (np.full((2, 3), np.nan), ValueError, "NaN"),
        (["a text"], ValueError, "could not convert string"),
        (TABLE[:0], ValueError, "0 sample"),
    ],
)
def test_bad_input(X, error, match):
    with pytest.raises(error, match=match):
        extractor(nn.Identity()).fit(X)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_in_a_column_transformer(frame):
    data = frame({"a": TABLE[:, 0], "b": TABLE[:, 1], "c": TABLE[:, 2]})
    model = seeded(lambda: nn.Linear(2, 4))
    both = ColumnTransformer(
        [("net", extractor(model), ["a", "b"]), ("c", StandardScaler(), ["c"])]
    )
    features = both.fit_transform(data)
    np.testing.assert_allclose(features[:, :4], by_hand(model, TABLE[:, :2]), atol=1e-6)
    assert list(both.get_feature_names_out())[::4] == ["net__moduleextractor0", "c__c"]


@pytest.mark.parametrize(
    "params",
    [{"pooling": "median"}, {"channels": "middle"}, {"dtype": "float64"}, {"layer": 3},
     {"output": 1.5}, {"batch_size": 0}, {"model": 3}],
    ids=lambda p: next(iter(p)),
)  # fmt: skip
def test_bad_parameters(params):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        extractor().set_params(**params).fit(IMAGES)


# Where a model comes from


def scripted(path, seed=0):
    with torch.random.fork_rng([]), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Tanh())
        torch.jit.save(torch.jit.script(model), path)
    return model.eval()


def test_torchscript_file(tmp_path):
    path = tmp_path / "model.pt"
    model = scripted(path)
    cache = EmbeddingCache(tmp_path / "rows")
    one = extractor(path, cache=cache).fit(TABLE)
    wanted = by_hand(model, TABLE)
    np.testing.assert_allclose(one.transform(TABLE), wanted, atol=1e-6)
    data = pickle.dumps(one)
    assert len(data) < 2000
    _models._LOADED.clear()
    np.testing.assert_allclose(pickle.loads(data).transform(TABLE), wanted, atol=1e-6)
    np.testing.assert_allclose(clone(one).fit_transform(TABLE), wanted, atol=1e-6)
    assert len(cache) == 9
    other = scripted(path, seed=1)  # other weights under the same name
    for fitted in (one, pickle.loads(pickle.dumps(one))):
        with pytest.raises(ValueError, match=r"model='.*model.pt' has other weights"):
            fitted.transform(TABLE)
    np.testing.assert_allclose(clone(one).fit_transform(TABLE), by_hand(other, TABLE), atol=1e-6)
    assert len(cache) == 18
    with pytest.raises(ValueError, match=r"layer='0': a compiled or exported network"):
        extractor(str(path), layer="0").fit_transform(TABLE)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no such file. Give"):
        pickle.loads(data).transform(TABLE)


def test_torchscript_object(tmp_path):
    path = tmp_path / "model.pt"
    model = scripted(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loaded = torch.jit.load(path)
    one = extractor(loaded, cache=EmbeddingCache())
    np.testing.assert_allclose(one.fit_transform(TABLE), by_hand(model, TABLE), atol=1e-6)
    np.testing.assert_allclose(clone(one).fit_transform(TABLE), by_hand(model, TABLE), atol=1e-6)


def test_exported_file(tmp_path):
    model = seeded(lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh())).eval()
    rows = ({0: torch.export.Dim("rows", min=1, max=4096)},)
    program = torch.export.export(model, (torch.zeros(3, 5),), dynamic_shapes=rows)
    torch.export.save(program, tmp_path / "model.pt2")
    one = extractor(tmp_path / "model.pt2").fit(TABLE)
    np.testing.assert_allclose(one.transform(TABLE), by_hand(model, TABLE), atol=1e-6)
    with pytest.raises(ValueError, match=r"layer='0': a compiled or exported network"):
        clone(one).set_params(layer="0").fit_transform(TABLE)


def test_files_that_hold_no_network(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        extractor(tmp_path / "gone.pt").fit(TABLE)
    torch.save(nn.Linear(5, 2), tmp_path / "pickle.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "weights.pt")
    (tmp_path / "text.pt2").write_text("no network")
    for name in ("pickle.pt", "weights.pt", "text.pt2"):
        with pytest.raises(ValueError, match=rf"{name}' holds no network.*torch.load"):
            extractor(tmp_path / name).fit_transform(TABLE)


def test_factory():
    one = extractor("test_module_extractor:make_net").fit(IMAGES)
    np.testing.assert_allclose(one.transform(IMAGES), by_hand(make_net(), IMAGES), atol=1e-6)
    assert len(pickle.dumps(one)) < 2000


# Cache, copies


def test_a_search_runs_each_row_once():
    ROWS.clear()
    X = np.random.default_rng(0).normal(size=(60, 3, 6, 6))
    pipe = make_pipeline(extractor(cache=EmbeddingCache()), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1, 10, 100]}, cv=3)
    search.fit(X, np.arange(60) % 2)
    assert sum(ROWS) == 60
    search.fit(X, np.arange(60) % 2)
    assert sum(ROWS) == 60


def test_what_is_part_of_the_key():
    cache = EmbeddingCache()
    one = extractor(cache=cache)
    one.fit_transform(IMAGES)
    one.fit_transform(IMAGES.astype(float))
    assert len(cache) == 6
    stem = {"layer": "stem"}
    for params in (stem, stem | {"pooling": "gem"}, stem | {"channels": "last"},
                   {"precision": "bfloat16"}):  # fmt: skip
        n = len(cache)
        clone(one).set_params(**params).fit_transform(IMAGES)
        assert len(cache) == n + 6
    n = len(cache)
    clone(one).set_params(model=nn.Identity()).fit_transform(IMAGES.reshape(6, 3, 10, 8))
    clone(one).set_params(model=nn.Identity()).fit_transform(IMAGES)
    assert len(cache) == n + 12, "the same numbers in another shape"


def test_pickle_and_names():
    one = extractor(nn.Linear(5, 3)).fit(TABLE)
    assert list(one.get_feature_names_out()) == [f"moduleextractor{i}" for i in range(3)]
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(again.transform(TABLE), one.transform(TABLE))
    frame = one.set_output(transform="pandas").transform(pd.DataFrame(TABLE, index=range(9, 18)))
    assert list(frame.index) == list(range(9, 18))
    again = one.fit(TABLE[:, :5])  # refit
    with pytest.raises(ValueError, match="expecting 5 features"):
        again.transform(TABLE[:, :2])
