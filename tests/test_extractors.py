"""What all extractors promise, with networks made here: no weights from elsewhere are needed."""

import copy
import inspect
import pickle
import random
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
import toy_networks
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from toy_networks import Mixer, OtherCode, letters

from adaptlearn import (
    AudioExtractor,
    DomainAdaptationClassifier,
    DomainStratifiedKFold,
    EmbeddingCache,
    ImageExtractor,
    ImportanceWeightedScorer,
    ModuleExtractor,
    TextExtractor,
    WithTarget,
    pack,
)
from adaptlearn.extractors import _models, base

TEXTS = ["a cat", "the dog sat on the mat", "", "a cat", "x", "a dog here"]


def extractor(model=None, **params):
    params = {"tokenizer": letters, "cache": None} | params
    return TextExtractor(Mixer() if model is None else model, **params)


@pytest.fixture(autouse=True)
def counted():
    """Rows that went through a network in this test."""
    toy_networks.ROWS.clear()
    return toy_networks.ROWS


def reference(model, texts):
    """One text at a time, with a plain loop."""
    model = copy.deepcopy(model).eval()
    rows = []
    for text in texts:
        ids = torch.tensor([letters([text])[0] or [0]])
        with torch.no_grad():
            rows.append(model(ids, torch.ones_like(ids))[0].mean(0))
    return torch.stack(rows).numpy()


# The answer


def test_features_are_those_of_a_plain_loop():
    model = Mixer()
    features = extractor(model).fit_transform(TEXTS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, reference(model, TEXTS), atol=1e-6)


@pytest.mark.parametrize("batch_size", ["auto", 1, 2, 100])
def test_the_batch_does_not_matter(batch_size):
    texts = [f"{'ab ' * (i % 9)}{i}" for i in range(60)]
    features = extractor(batch_size=batch_size).fit_transform(texts)
    np.testing.assert_allclose(features, reference(Mixer(), texts), atol=1e-5)


def test_rows_keep_their_order():
    texts = [f"{'long ' * (i * 7 % 11)}{i}" for i in range(50)]
    order = np.random.default_rng(0).permutation(50)
    all_rows = extractor().fit_transform(texts)
    np.testing.assert_allclose(
        extractor().fit_transform([texts[i] for i in order]), all_rows[order], atol=1e-6
    )


def test_normalize_gives_length_one_and_shares_the_cache(counted):
    cache = EmbeddingCache()
    plain = extractor(cache=cache).fit_transform(TEXTS)
    n = sum(counted)
    unit = extractor(cache=cache, normalize=True).fit_transform(TEXTS)
    assert sum(counted) == n
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(plain, axis=1)[:, None], plain, atol=1e-5)
    np.testing.assert_array_equal(extractor(cache=cache).fit_transform(TEXTS), plain)


def test_duplicates_are_computed_once(counted):
    features = extractor().fit_transform(TEXTS * 10)
    assert sum(counted) == 5
    np.testing.assert_array_equal(features[:6], features[54:])
    np.testing.assert_array_equal(features[0], features[3])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(precision):
    model = nn.Sequential(nn.Embedding(64, 8), nn.Linear(8, 8))
    full = extractor(model).fit_transform(TEXTS)
    half = extractor(model, precision=precision).fit_transform(TEXTS)
    assert half.dtype == np.float32
    assert not np.array_equal(half, full)
    np.testing.assert_allclose(half, full, atol=0.05)


# The model stays as it was


def test_the_model_is_never_changed():
    model = Mixer().train()
    before = copy.deepcopy(model.state_dict())
    fitted = extractor(model).fit(TEXTS)
    fitted.transform(TEXTS)
    for network in (model, fitted._module):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name])
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_changing_the_model_after_fit_changes_nothing():
    model = Mixer()
    fitted = extractor(model).fit(TEXTS)
    before = fitted.transform(TEXTS)
    with torch.no_grad():
        model.embed.weight += 1
    np.testing.assert_array_equal(fitted.transform(TEXTS), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(TEXTS), before)
    assert not np.allclose(fitted.fit(TEXTS).transform(TEXTS), before)


@pytest.mark.parametrize("model", [None, "toy_networks:make_random"])
def test_random_generators_are_left_alone(model):
    _models._LOADED.clear()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    extractor(model).fit_transform(TEXTS)
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


# Keys of the cache


def same_key(one, two, texts=TEXTS):
    """Whether `two` finds in a cache what `one` left there; the answer is right in any case."""
    cache = EmbeddingCache()
    one.set_params(cache=cache).fit_transform(texts)
    n = sum(toy_networks.ROWS)
    found = two.set_params(cache=cache).fit_transform(texts)
    same = sum(toy_networks.ROWS) == n
    np.testing.assert_allclose(found, clone(two).set_params(cache=None).fit_transform(texts))
    return same


def test_equal_models_share():
    assert same_key(extractor(Mixer()), extractor(Mixer().train().requires_grad_(False)))
    assert same_key(extractor(), extractor(batch_size=2, device="auto"))


def changed_weight():
    model = Mixer()
    with torch.no_grad():
        model.embed.weight[3, 2] += 1e-4
    return model


def changed_buffer():
    model = Mixer()
    model.shift[1] += 1
    return model


def changed_hook():
    model = Mixer()
    model.register_forward_hook(lambda module, args, out: out + 1)
    return model


@pytest.mark.parametrize(
    "other",
    [
        lambda: extractor(changed_weight()),
        lambda: extractor(changed_buffer()),
        lambda: extractor(changed_hook()),
        lambda: extractor(Mixer(scale=2.0)),
        lambda: extractor(OtherCode()),
        lambda: extractor(Mixer(), tokenizer=lambda texts: [row[::-1] for row in letters(texts)]),
        lambda: extractor(pooling="cls"),
        lambda: extractor(pooling="max"),
        lambda: extractor(max_length=3),
        lambda: extractor(precision="bfloat16"),
    ],
    ids="weight buffer hook attribute code tokenizer cls max max_length precision".split(),
)
@pytest.mark.filterwarnings("ignore:.*more than 3 tokens")
def test_what_changes_has_another_key(other):
    assert not same_key(extractor(Mixer()), other())


def test_equal_weights_made_in_another_process_share(tmp_path):
    import subprocess
    import sys
    from pathlib import Path

    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
        "from toy_networks import *; from adaptlearn import TextExtractor;"
        f"TextExtractor(Mixer(), tokenizer=letters, cache={str(tmp_path)!r}).fit_transform({TEXTS})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    found = extractor(cache=tmp_path).fit_transform(TEXTS)
    assert not toy_networks.ROWS
    np.testing.assert_allclose(found, reference(Mixer(), TEXTS), atol=1e-6)


@pytest.mark.parametrize("n_known", [0, 1, 3, 6])
def test_any_mix_of_known_and_new_rows(n_known, tmp_path):
    extractor(cache=tmp_path).fit_transform(TEXTS[:n_known])
    found = extractor(cache=tmp_path).fit_transform(TEXTS)
    np.testing.assert_allclose(found, reference(Mixer(), TEXTS), atol=1e-5)


def test_an_interrupted_run_keeps_its_batches(counted, tmp_path):
    class Fails(Mixer):
        def forward(self, ids, mask):
            if sum(toy_networks.ROWS) >= 6:
                raise KeyboardInterrupt
            return super().forward(ids, mask)

    texts = [f"text {i:02d}" for i in range(20)]
    with pytest.raises(KeyboardInterrupt):
        extractor(Fails(), batch_size=2, cache=tmp_path).fit_transform(texts)
    assert len(EmbeddingCache(tmp_path)) == 6


# scikit-learn


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_search_runs_each_row_once(counted, tmp_path, on_disk):
    rng = np.random.default_rng(0)
    texts = [f"{'good' if i % 2 else 'bad'} {rng.integers(10**6)} {i}" for i in range(300)]
    cache = EmbeddingCache(tmp_path if on_disk else None)
    pipe = Pipeline([("text", extractor(cache=cache)), ("clf", LogisticRegression())])
    search = GridSearchCV(pipe, {"clf__C": [0.01, 0.1, 1, 10]}, cv=3)
    search.fit(texts, np.arange(300) % 2)
    assert sum(counted) == 300
    search.fit(texts, np.arange(300) % 2)
    assert sum(counted) == 300, "the second search computes nothing"


@pytest.mark.parametrize("as_container", [list, np.array, pd.Series, pl.Series])
def test_before_an_adapted_classifier(counted, as_container, routing):
    source, target = (
        [f"{'ab' if i % 2 else 'zz'} {i}" for i in range(40)],
        [f"ab {i}" for i in "uvwxyz"],
    )
    y = np.arange(40) % 2
    X, packed, domain = pack(as_container(source), y, as_container(target))
    pipe = make_pipeline(
        extractor(cache=EmbeddingCache()), DomainAdaptationClassifier(max_epochs=2, random_state=0)
    )
    search = GridSearchCV(
        pipe, {"domainadaptationclassifier__alignment": [None, "mmd"]},
        scoring=ImportanceWeightedScorer(), cv=DomainStratifiedKFold(2), error_score="raise",
    )  # fmt: skip
    search.fit(X, packed, sample_domain=domain) if routing else search.fit(X, packed)
    assert sum(counted) == 46
    assert len(search.predict(as_container(target))) == 6
    with_target = WithTarget(pipe, as_container(target)).fit(as_container(source), y)
    assert len(with_target.predict(as_container(target))) == 6


def test_clone_and_parameters():
    one = extractor(pooling="cls", batch_size=3)
    two = clone(one.fit(TEXTS))
    params, again = one.get_params(), two.get_params()
    params.pop("model"), again.pop("model")
    assert params == again
    with pytest.raises(NotFittedError):
        two.transform(TEXTS)
    np.testing.assert_array_equal(two.fit_transform(TEXTS), one.transform(TEXTS))
    assert "TextExtractor" in repr(one) and one._repr_html_()


def test_pickle_carries_a_module_once():
    model = nn.Sequential(nn.Embedding(64, 4000))
    fitted = extractor(model).fit(TEXTS)
    data = pickle.dumps(fitted)
    assert len(data) < 1.2 * len(pickle.dumps(model))
    np.testing.assert_array_equal(pickle.loads(data).transform(TEXTS), fitted.transform(TEXTS))
    assert copy.deepcopy(fitted).transform(TEXTS).shape == (6, 4000)


def test_names_and_containers():
    fitted = extractor(Mixer(d=3)).fit(TEXTS)
    names = ["textextractor0", "textextractor1", "textextractor2"]
    assert list(fitted.get_feature_names_out()) == names  # before any row went through
    plain = fitted.transform(TEXTS)
    frame = fitted.set_output(transform="pandas").transform(pd.Series(TEXTS, index=range(5, 11)))
    assert list(frame.columns) == names and list(frame.index) == list(range(5, 11))
    np.testing.assert_array_equal(frame.to_numpy(), plain)
    frame = fitted.set_output(transform="polars").transform(pl.Series(TEXTS))
    assert frame.columns == names
    np.testing.assert_array_equal(frame.to_numpy(), plain)


@pytest.mark.parametrize(
    "X",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        np.array(TEXTS, object)[:, None],
        pd.Series(TEXTS),
        pd.Series(TEXTS, index=list("fabcde")),
        pd.Series(TEXTS, dtype="category"),
        pd.DataFrame({"t": TEXTS}),
        pl.Series(TEXTS),
        pl.DataFrame({"t": TEXTS}),
    ],
    ids=lambda X: type(X).__module__.split(".")[0] + type(X).__name__,
)
def test_input_a_person_has(X):
    np.testing.assert_allclose(extractor().fit_transform(X), reference(Mixer(), TEXTS), atol=1e-6)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize("columns", ["text", ["text"]], ids=["name", "list"])
def test_in_a_column_transformer(frame, columns):
    data = frame({"text": TEXTS, "price": [1.0, 2, 3, 4, 5, 6]})
    both = ColumnTransformer(
        [("text", extractor(Mixer(d=3)), columns), ("rest", StandardScaler(), ["price"])]
    )
    features = both.fit_transform(data)
    assert features.shape == (6, 4)
    np.testing.assert_allclose(features[:, :3], reference(Mixer(d=3), TEXTS), atol=1e-6)
    assert list(both.get_feature_names_out())[::3] == ["text__textextractor0", "rest__price"]


@pytest.mark.parametrize("X", [[], np.array([], object), pd.Series([], dtype=object)])
def test_no_rows(X):
    assert extractor().fit(TEXTS).transform(X).shape == (0, 8)


# Where a model comes from


def test_factory(counted):
    model = "toy_networks:make_mixer"
    one = extractor(model, tokenizer=None).fit(TEXTS)
    np.testing.assert_allclose(one.transform(TEXTS), reference(Mixer(), TEXTS), atol=1e-6)
    data = pickle.dumps(one)
    assert len(data) < 2000, "the pickle holds the name alone"
    np.testing.assert_array_equal(pickle.loads(data).transform(TEXTS), one.transform(TEXTS))


def test_a_factory_is_called_once_and_shared_by_clones(monkeypatch):
    calls = []
    monkeypatch.setattr(
        toy_networks, "make_counted", lambda: calls.append(1) or (Mixer(seed=7), letters),
        raising=False,
    )  # fmt: skip
    one = extractor("toy_networks:make_counted", tokenizer=None).fit(TEXTS)
    assert not calls, "fit is cheap"
    one.transform(TEXTS)
    clone(one).fit_transform(TEXTS)
    assert len(calls) == 1


def test_a_factory_that_makes_other_weights_is_refused():
    """Once it is called again: in another process, or after many other models."""
    _models._LOADED.clear()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        one = extractor("toy_networks:make_random", tokenizer=None).fit(TEXTS)
        before = one.transform(TEXTS)
        data = pickle.dumps(one)
        _models._LOADED.clear()
        torch.manual_seed(1)
        for fitted in (one, pickle.loads(data)):
            with pytest.raises(ValueError, match=r"make_random' has other weights.*A factory must"):
                fitted.transform(TEXTS)
        assert np.abs(clone(one).fit_transform(TEXTS) - before).max() > 0.1
        _models._LOADED.clear()
        torch.manual_seed(0)  # what a factory that reads a file does: the same weights again
        np.testing.assert_array_equal(one.transform(TEXTS), before)
        np.testing.assert_array_equal(pickle.loads(data).transform(TEXTS), before)


@pytest.mark.parametrize("cls", [TextExtractor, ImageExtractor, AudioExtractor, ModuleExtractor])
def test_methods_of_the_base_are_replaced_by_such_that_take_the_same(cls):
    bases = [base for base in cls.__mro__[1:] if base.__module__.startswith("adaptlearn.")]
    for name, method in vars(cls).items():
        for above in bases:
            if inspect.isfunction(method) and name != "__init__" and name in vars(above):
                theirs = inspect.signature(vars(above)[name]).parameters
                assert list(inspect.signature(method).parameters) == list(theirs), name


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("toy_networks:nothing_here", ValueError, "cannot be imported.*nothing_here"),
        ("no_such_package:model", ValueError, "cannot be imported.*no_such_package"),
        ("toy_networks:make_nothing", TypeError, "returned int"),
        ("toy_networks:make_module_alone", ValueError, "returned a module alone"),
    ],
)
def test_bad_factories(name, error, match):
    with pytest.raises(error, match=match):
        extractor(name, tokenizer=None).fit_transform(TEXTS)


def test_an_error_of_the_model_is_its_own():
    class Broken(nn.Module):
        def forward(self, ids, mask):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        extractor(Broken()).fit_transform(TEXTS)


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(_models, "find_spec", lambda name: None)
    for cls in (TextExtractor, ImageExtractor):
        with pytest.raises(ImportError, match=r"adaptlearn\[pretrained\]"):
            cls("some/model").fit(TEXTS)


def test_a_path_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "need_transformers", lambda name: None)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        TextExtractor(tmp_path / "nothing").fit(TEXTS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"without config\.json"):
        TextExtractor(tmp_path / "empty").fit(TEXTS)


# Running


def test_progress_shows_rate_and_time_left(capsys):
    extractor(verbose=1).fit_transform(TEXTS)
    shown = capsys.readouterr().err
    assert "TextExtractor" in shown and "5/5" in shown and "row/s" in shown and "<" in shown
    extractor(verbose=0).fit_transform(TEXTS)
    assert capsys.readouterr().err == ""


def test_a_batch_that_does_not_fit_is_halved(counted):
    class Small(Mixer):
        def forward(self, ids, mask):
            if len(ids) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(ids, mask)

    texts = [f"text {i}" for i in range(11)]
    found = extractor(Small()).fit_transform(texts)
    np.testing.assert_allclose(found, reference(Mixer(), texts), atol=1e-5)
    with pytest.raises(torch.OutOfMemoryError):
        extractor(Small(), batch_size=8).fit_transform(texts)


def test_long_texts_are_cut_with_one_warning():
    texts = ["abcdefgh", "abc", "abcdefgx", "abcd"]
    with pytest.warns(UserWarning, match="2 of 4 texts have more than 4 tokens") as caught:
        cut = extractor(max_length=4).fit_transform(texts)
    assert len(caught) == 1 and "max_length" in str(caught[0].message)
    np.testing.assert_allclose(cut[0], cut[3], atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor(max_length=8).fit_transform(texts)


# Bad input


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ("one text", TypeError, "got str"),
        (3, TypeError, "got int"),
        (["a", None], ValueError, "row 1 of X is None.*Put ''"),
        (["a", float("nan")], ValueError, "row 1 of X is nan"),
        (pd.Series(["a", pd.NA]), ValueError, "row 1 of X is (<NA>|nan)"),
        (pl.Series(["a", None]), ValueError, "row 1"),
        (["a", 3], TypeError, "row 1 of X is 3"),
        ([b"a"], TypeError, "row 0 of X is b'a'"),
        (np.zeros((3, 2)), ValueError, r"shape \(3, 2\)"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "2 columns.*ColumnTransformer"),
        (np.zeros(3), TypeError, "row 0"),
    ],
)
def test_bad_rows(X, error, match):
    fitted = extractor().fit(TEXTS)
    with pytest.raises(error, match=match):
        fitted.transform(X)
    with pytest.raises(error, match=match):
        extractor().fit(X)


@pytest.mark.parametrize(
    "params",
    [
        {"pooling": "median"},
        {"batch_size": 0},
        {"batch_size": "big"},
        {"precision": "int8"},
        {"device": "toaster"},
        {"max_length": 0},
        {"layer": 1.5},
        {"cache": 3},
        {"normalize": "l2"},
        {"model": 3},
        {"tokenizer": 3},
    ],
    ids=lambda p: next(iter(p)),
)
def test_bad_parameters(params):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        extractor().set_params(**params).fit(TEXTS)


def test_a_module_needs_a_tokenizer():
    with pytest.raises(ValueError, match="tokenizer="):
        TextExtractor(Mixer()).fit(TEXTS)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"layer": 0}, "layer=0: the model shows its last layer only"),
        ({"model": nn.Embedding(64, 4), "tokenizer": lambda texts: [[1]]}, "for 6 texts|for 5"),
        ({"model": nn.Sequential(nn.Embedding(64, 4), nn.Flatten(0, 1))}, "one vector per"),
    ],
)
def test_what_does_not_fit_together(params, match):
    with pytest.raises(ValueError, match=match):
        extractor(**params).fit_transform(TEXTS)


def test_one_vector_per_text():
    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.bag = Mixer()

        def forward(self, input_ids, attention_mask):
            mask = attention_mask[:, :, None]
            return (self.bag(input_ids, mask) * mask).sum(1) / mask.sum(1)

    found = extractor(Bag()).fit_transform(TEXTS)
    np.testing.assert_allclose(found, reference(Mixer(), TEXTS), atol=1e-6)
    with pytest.raises(ValueError, match="pooling='mean'"):
        extractor(Bag(), pooling="mean").fit_transform(TEXTS)
