"""What every estimator and every component of the package promises.

Classes are found by walking the public names, so that a new one is covered without a change here.
"""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from imblearn.over_sampling import RandomOverSampler
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import adaptlearn
from adaptlearn import (
    AudioExtractor,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    DomainResampler,
    FineTuneClassifier,
    FineTuneRegressor,
    HeadRetrainer,
    ImageExtractor,
    LabelShiftClassifier,
    ModuleExtractor,
    MultiTaskClassifier,
    ResampledClassifier,
    ResampledRegressor,
    TextExtractor,
    TunedThresholdsClassifier,
    WithTarget,
    pack,
)
from adaptlearn._components import registered, resolve
from adaptlearn.alignment import Domain, Step

PUBLIC = [getattr(adaptlearn, name) for name in adaptlearn.__all__]
CLASSES = [v for v in PUBLIC if inspect.isclass(v) and issubclass(v, BaseEstimator)]
DEEP = [c for c in CLASSES if "alignment_weight" in c._get_param_names()]
META = [c for c in CLASSES if hasattr(c, "fit") and c not in DEEP]
COMPONENTS = [
    (slot, name, cls)
    for slot in ("alignment", "augment", "criterion", "mixing", "regularization", "task_weighting")
    for name, cls in sorted(registered(slot).items())
    if cls.__module__.startswith("adaptlearn.")
]
ALIGNMENTS = [name for slot, name, _ in COMPONENTS if slot == "alignment"]

SMALL = {
    "max_epochs": 3,
    "hidden_layer_sizes": (16,),
    "bottleneck": 8,
    "dropout": 0.0,
    "random_state": 0,
}

deep = pytest.mark.parametrize("cls", DEEP, ids=lambda c: c.__name__)


def small(cls=DomainAdaptationClassifier, **params):
    return cls(**(SMALL | params))


def toy(cls=DomainAdaptationClassifier, n_source=45, n_target=30, seed=0):
    """Three classes (or numbers) in four columns; the target is moved and stretched."""
    rng = np.random.default_rng(seed)
    n = n_source + n_target
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 4)) + 3 * np.eye(4)[y]
    X[n_source:] = 2 * X[n_source:] + 5
    if is_regressor(cls()):
        y = X @ [1.0, -1.0, 0.5, 0.0] + 0.25
    return X[:n_source], y[:n_source], X[n_source:], y[n_source:]


def packed_toy(cls=DomainAdaptationClassifier, **sizes):
    X, y, Xt, _ = toy(cls, **sizes)
    return pack(X, y, Xt)


def weights(estimator):
    return {k: v.clone() for k, v in estimator.net_.module_.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def answers(estimator, X, **kwargs):
    method = "predict_proba" if is_classifier(estimator) else "predict"
    return getattr(estimator, method)(X, **kwargs)


def test_the_walk_finds_classes():
    assert {DomainAdaptationClassifier, DomainAdaptationRegressor} < set(DEEP)
    known = {WithTarget, LabelShiftClassifier, TunedThresholdsClassifier}
    known |= {ResampledClassifier, ResampledRegressor, HeadRetrainer}
    known |= {FineTuneClassifier, FineTuneRegressor}
    known.add(DomainResampler)  # a sampler: imbalanced-learn's checks, in test_resampling.py
    # Their rows are no tables: test_extractors.py and the extractors' own files.
    known |= {TextExtractor, ImageExtractor, AudioExtractor}
    known.add(ModuleExtractor)  # scikit-learn's checks in test_module_extractor.py
    assert set(META) == known, "give the new kind of estimator a constructor in checked()"
    assert {"coral", "mmd", "jmmd", "dann", "cdan", "mcc"} <= set(ALIGNMENTS)


# --- 1. scikit-learn's own checks -------------------------------------------------------------

BASES = {DomainAdaptationClassifier, DomainAdaptationRegressor, MultiTaskClassifier}


def checked():
    # Presets share all code with the base; a small net is enough for what the checks ask.
    small = {"max_epochs": 20, "learning_rate": 0.01, "hidden_layer_sizes": (32,)}
    for cls in DEEP:
        yield cls() if cls in BASES else cls(**small)
    inner = DomainAdaptationClassifier(**small, random_state=0)
    yield WithTarget(inner, None)
    yield HeadRetrainer(inner, n_steps=100, random_state=0)
    over = RandomOverSampler(random_state=0)
    yield FineTuneClassifier(**small)
    yield FineTuneRegressor(**small)
    yield ResampledClassifier(LogisticRegression())
    yield ResampledClassifier(LogisticRegression(), over)
    yield ResampledRegressor(Ridge(), over)
    yield TunedThresholdsClassifier(LogisticRegression(), cv=2)
    yield LabelShiftClassifier(LogisticRegression())


def sample_weight_equivalence(estimator):
    why = "mini-batches draw other rows when a row is repeated or left out"
    networks = *DEEP, WithTarget, HeadRetrainer, FineTuneClassifier, FineTuneRegressor
    if not isinstance(estimator, networks):
        if getattr(estimator, "sampler", None) is None:
            return {}
        why = "samplers count rows, whatever their weight"
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": why for kind in kinds}


@pytest.mark.filterwarnings("ignore:.*no target rows")
@parametrize_with_checks(list(checked()), expected_failed_checks=sample_weight_equivalence)
def test_sklearn_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:.*no target rows")
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("cls", [*DEEP, WithTarget], ids=lambda c: c.__name__)
def test_one_full_batch_makes_weights_equivalent_to_repetition(cls, kind):
    inner = DomainAdaptationClassifier if cls is WithTarget else cls
    estimator = small(inner, precision="float64", batch_size=10_000, dropout=0, normalize="source")
    if cls is WithTarget:
        estimator = WithTarget(estimator, None)
    check = getattr(estimator_checks, f"check_sample_weight_equivalence_on_{kind}_data")
    check(type(estimator).__name__, estimator)


# --- components -------------------------------------------------------------------------------

component = pytest.mark.parametrize(
    "slot, name, cls", COMPONENTS, ids=[name for _, name, _ in COMPONENTS]
)


@component
def test_component_is_a_plain_estimator(slot, name, cls):
    made = resolve(slot, name)
    assert type(made) is cls
    params = made.get_params()
    assert set(params) == set(cls._get_param_names())
    assert all(getattr(made, k) is v for k, v in params.items()), "logic in __init__"
    for twin in (clone(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert twin is not made
        assert twin.get_params() == params
        assert repr(twin) == repr(made) == f"{cls.__name__}()"
    assert not isinstance(made, torch.nn.Module)


@component
def test_component_checks_its_parameters(slot, name, cls):
    for parameter in cls._get_param_names():
        with pytest.raises(ValueError, match=parameter):
            resolve(slot, cls().set_params(**{parameter: "nonsense"}))


@component
def test_component_documents_its_parameters(slot, name, cls):
    for parameter in cls._get_param_names():
        assert f"{parameter} :" in cls.__doc__


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALIGNMENTS)
def test_alignment_gradient_reaches_the_features(name, dtype):
    generator = torch.Generator().manual_seed(0)
    alignment = resolve("alignment", name)
    net = alignment.build(6, 3, torch.tensor([4, 3, 2]), (1, 1), generator)
    net = None if net is None else net.to(dtype)
    head = torch.nn.Linear(6, 3).to(dtype)
    sides, features = [], []
    for n, shift, y in ((9, 0.0, torch.arange(9) % 3), (7, 2.0, None)):
        f = (torch.randn(n, 6, generator=generator).to(dtype) + shift).requires_grad_()
        features.append(f)
        domain = torch.zeros(n, dtype=torch.int64) + (y is None)
        weight = torch.ones(n, dtype=dtype)
        sides.append(Domain(f, y, f, head(f), domain, torch.arange(n), weight))
    step = Step(head, 0.5, alignment.weight)
    with torch.no_grad():
        alignment.refresh(*sides, step, net)
    loss = alignment.loss(*sides, step, net)
    assert loss.shape == () and loss.dtype == dtype
    loss.backward()
    assert features[1].grad.abs().sum() > 0
    assert all(torch.isfinite(f.grad).all() for f in features if f.grad is not None)


# --- 3. parameters, copies, refits ------------------------------------------------------------


@deep
def test_parameters_are_stored_as_given(cls):
    estimator = cls()
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name == "self":
            continue
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert getattr(estimator, name) is parameter.default
        assert f"    {name} :" in (cls.__doc__ if cls in BASES else cls.__mro__[2].__doc__)


@deep
def test_nested_parameters(cls):
    name = "coral" if cls in BASES else cls._auto_alignment
    estimator = cls(alignment=name)
    estimator.set_params(alignment__weight=0.25)
    assert estimator.alignment.weight == 0.25
    assert estimator.get_params()["alignment__weight"] == 0.25
    twin = clone(estimator)
    assert twin.alignment is not estimator.alignment
    assert twin.alignment.weight == 0.25
    before = repr(estimator)
    for bad in ({"alignment__wieght": 1}, {"max_epoch": 3}, {"alignment__weight__x": 3}):
        with pytest.raises(ValueError, match=r"allowed are|no parameters"):
            estimator.set_params(dropout=0.5, **bad)
        assert repr(estimator) == before, "a bad key must change nothing"
    with pytest.raises(ValueError, match="Did you mean 'weight'"):
        estimator.set_params(alignment__wieght=1)
    with pytest.raises(ValueError, match="Did you mean 'max_epochs'"):
        estimator.set_params(max_epoch=1)


def test_nested_parameters_of_a_list():
    estimator = small(alignment=["cdan", adaptlearn.MCC(weight=0.1)])
    given = estimator.alignment
    estimator.set_params(alignment__mcc__temperature=3.0)
    assert [a.get_params().get("temperature") for a in estimator.alignment] == [None, 3.0]
    assert given[0] == "cdan" and given[1].temperature == 2.5, "the user's list was changed"
    with pytest.raises(ValueError, match="cdan"):
        estimator.set_params(alignment__temperature=3.0)


@deep
def test_clone_pickle_deepcopy(cls):
    X, y, Xt, _ = toy(cls)
    estimator = small(cls).fit(X, y, X_target=Xt)
    expected = answers(estimator, Xt)
    for twin in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        np.testing.assert_array_equal(answers(twin, Xt), expected)
        assert equal(weights(twin), weights(estimator))
        twin.partial_fit(*packed_toy(cls)[:2])
        np.testing.assert_array_equal(answers(estimator, Xt), expected)
    fresh = clone(estimator)
    assert not [k for k in vars(fresh) if k.endswith("_")]
    with pytest.raises(NotFittedError):
        fresh.predict(Xt)


@deep
def test_pickle_is_weights_and_not_history(cls):
    X, y, Xt, _ = toy(cls, n_source=300, n_target=300)
    sizes = []
    for epochs in (2, 10):
        fitted = small(cls, max_epochs=epochs, batch_size=16).fit(X, y, X_target=Xt)
        sizes.append(len(pickle.dumps(fitted)))
    assert sizes[1] - sizes[0] < 8 * 2000
    # Neither the rows nor their activations travel along.
    more = small(cls, max_epochs=2).fit(np.tile(X, (10, 1)), np.tile(y, 10), X_target=Xt)
    assert len(pickle.dumps(more)) < sizes[0] + 3000


@deep
def test_refits_are_bit_equal_and_start_afresh(cls):
    X, y, Xt, _ = toy(cls)
    estimator = small(cls, dropout=0.2)
    first = weights(estimator.fit(X, y, X_target=Xt))
    assert equal(first, weights(estimator.fit(X, y, X_target=Xt)))
    estimator.fit(X[:, :3], y, X_target=Xt[:, :3])  # another width, then back
    assert equal(first, weights(estimator.fit(X, y, X_target=Xt)))
    assert equal(first, weights(clone(estimator).fit(X, y, X_target=Xt)))
    assert len(estimator.history_) == estimator.max_epochs
    assert not equal(first, weights(estimator.set_params(random_state=1).fit(X, y, X_target=Xt)))


@deep
def test_global_generators_are_untouched(cls):
    X, y, Xt, _ = toy(cls)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for random_state in (0, None):
        estimator = small(cls, random_state=random_state, dropout=0.1, early_stopping=True)
        estimator.fit(X, y, X_target=Xt).partial_fit(*packed_toy(cls)[:2])
        answers(estimator, Xt)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_global_generators_do_not_matter():
    X, y, Xt, _ = toy()
    torch.manual_seed(1)
    first = weights(small(dropout=0.2).fit(X, y, X_target=Xt))
    torch.manual_seed(2)
    assert equal(first, weights(small(dropout=0.2).fit(X, y, X_target=Xt)))


@deep
def test_warm_start_and_partial_fit_continue(cls):
    X, y, domain = packed_toy(cls)
    cold = small(cls).fit(X, y)
    warm = small(cls, warm_start=True).fit(X, y)
    assert equal(weights(cold), weights(warm))
    warm.fit(X, y)
    assert not equal(weights(cold), weights(warm))
    assert len(warm.history_) == 2 * warm.max_epochs
    once = small(cls)
    for _ in range(4):
        assert once.partial_fit(X, y, sample_domain=domain) is once
    assert len(once.history_) == 4
    assert once.history_[-1]["task_loss"] < once.history_[0]["task_loss"]


def test_partial_fit_with_classes_seen_later():
    X, y, Xt, _ = toy()
    first, domain = y < 2, np.repeat([0, -1], [30, 30])
    estimator = small()
    both = np.concatenate([X[first], Xt]), np.concatenate([y[first], np.full(30, -1)])
    estimator.partial_fit(*both, classes=[0, 1, 2], sample_domain=domain)
    assert estimator.classes_.tolist() == [0, 1, 2]
    assert estimator.predict_proba(Xt).shape == (30, 3)
    estimator.partial_fit(np.concatenate([X, Xt]), np.concatenate([y, np.full(30, -1)]))
    with pytest.raises(ValueError, match=r"\[7\].*classes"):
        estimator.partial_fit(*both[:1], np.where(both[1] == 1, 7, both[1]))


# --- 4. the alignment does something ----------------------------------------------------------


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_alignment_weight_changes_the_weights(name):
    X, y, Xt, _ = toy()

    def fit(alignment_weight):
        estimator = small(alignment=name, alignment_weight=alignment_weight, normalize="source")
        fitted = estimator.fit(X, y, X_target=Xt)
        return weights(fitted)["backbone.0.weight"]

    none, some, much = fit(0), fit(1), fit(100)
    assert (none - some).abs().max() > 1e-6
    assert (much - some).abs().max() > (none - some).abs().max() * 0.5
    assert torch.isfinite(much).all()
    alone = small(alignment=None, normalize="source").fit(X, y, X_target=Xt)
    assert torch.equal(none, weights(alone)["backbone.0.weight"])


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_alignment_gradient_reaches_the_backbone(name):
    X, y, Xt, _ = toy()
    estimator = small(alignment=name, normalize="source", max_epochs=1, batch_size=100)
    net = estimator.fit(X, y, X_target=Xt).net_
    network, objective = net.module_.train(), net.criterion_
    x = torch.from_numpy(np.concatenate([X, Xt])).float()
    segments = [(0, 0, len(X)), (1, len(X), len(x))]

    def gradient(weight):
        network.zero_grad()
        features, logits = network(x, segments)
        sides = []
        for rows, label in ((slice(0, len(X)), torch.from_numpy(y)), (slice(len(X), None), None)):
            n = len(features[rows])
            domain = torch.zeros(n, dtype=torch.int64) + (label is None)
            side = (x[rows], label, features[rows], logits[rows], domain, torch.arange(n))
            sides.append(Domain(*side, torch.ones(n)))
        alignment = objective.alignments[0]
        inner = objective.nets[0]
        inner = None if type(inner) is torch.nn.Identity else inner
        step = Step(network.head, 0.5, weight)
        with torch.no_grad():
            alignment.refresh(*sides, step, inner)
        alignment.loss(*sides, step, inner).backward()
        return network.backbone[0].weight.grad

    assert gradient(1.0).abs().max() > 0


# --- 6. inputs --------------------------------------------------------------------------------


@deep
def test_inputs_are_not_changed(cls):
    X, y, domain = packed_toy(cls)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    given = [X, y, domain, weight]
    originals = [a.copy() for a in given]
    for array in given:
        array.flags.writeable = False
    for normalize in ("domain", "source", "batch", None):
        estimator = small(cls, normalize=normalize, max_epochs=1)
        estimator.fit(X, y, sample_domain=domain, sample_weight=weight)
        estimator.partial_fit(X, y, sample_domain=domain)
        for method in ("predict", "transform"):
            getattr(estimator, method)(X, sample_domain=domain)
        estimator.score(X, y, sample_domain=domain)
        estimator.fit(X[domain >= 0], y[domain >= 0], X_target=X[domain < 0])
    for array, original in zip(given, originals, strict=True):
        np.testing.assert_array_equal(array, original)


@pytest.mark.parametrize("alignment", [*ALIGNMENTS, "auto", None, ["dann", "mcc"]], ids=str)
@pytest.mark.parametrize(
    "sizes, batch_size",
    [((45, 7), 16), ((7, 45), 16), ((5, 4), 64), ((9, 2), 1), ((46, 31), 2), ((15, 200), 33)],
    ids=str,
)
def test_sizes_of_domains_and_batches(alignment, sizes, batch_size):
    X, y, Xt, _ = toy(n_source=sizes[0], n_target=sizes[1])
    estimator = small(alignment=alignment, batch_size=batch_size, max_epochs=2)
    estimator.fit(X, y, X_target=Xt)
    for rows in (X, Xt, Xt[:1]):
        proba = estimator.predict_proba(rows)
        assert proba.shape == (len(rows), 3)
        assert np.isfinite(proba).all()
    assert estimator.transform(Xt).shape == (len(Xt), 8)


@pytest.mark.parametrize("alignment", [*ALIGNMENTS, "auto"])
@pytest.mark.parametrize("sampling", ["instance", "balanced"])
def test_rare_classes(alignment, sampling):
    """A class that the target and most batches lack."""
    X, y, Xt, yt = toy(n_source=60, n_target=60)
    rare = np.flatnonzero(y == 2)[1:]
    X, y, Xt = np.delete(X, rare, axis=0), np.delete(y, rare), Xt[yt != 2]
    estimator = small(alignment=alignment, sampling=sampling, batch_size=8)
    proba = estimator.fit(X, y, X_target=Xt).predict_proba(Xt)
    assert proba.shape == (len(Xt), 3) and np.isfinite(proba).all()


def test_a_small_set_trains():
    """Fewer rows than a batch still make a step per epoch."""
    X, y, Xt, _ = toy(n_source=6, n_target=4)
    first = small(max_epochs=1).fit(X, y, X_target=Xt)
    assert not equal(weights(first), weights(small(max_epochs=2).fit(X, y, X_target=Xt)))


def kinds_of_input():
    yield "float64", lambda X: X
    yield "float32", lambda X: X.astype(np.float32)
    yield "float16", lambda X: X.astype(np.float16)
    yield "fortran", np.asfortranarray
    yield "strided", lambda X: np.repeat(X, 2, axis=1)[:, ::2]
    yield "list", lambda X: X.tolist()
    yield "csr", sp.csr_matrix
    yield "csc", sp.csc_matrix
    yield "sparse array", lambda X: sp.csr_array(X)
    yield "pandas", lambda X: pytest.importorskip("pandas").DataFrame(X, columns=list("abcd"))
    yield "polars", lambda X: pytest.importorskip("polars").DataFrame(X, schema=list("abcd"))


@deep
@pytest.mark.parametrize("kind, convert", [pytest.param(*k, id=k[0]) for k in kinds_of_input()])
def test_containers_give_one_answer(cls, kind, convert):
    X, y, Xt, _ = toy(cls)
    expected = small(cls).fit(X, y, X_target=Xt)
    estimator = small(cls).fit(convert(X), y, X_target=convert(Xt))
    tolerance = {"float16": 0.05, "float32": 1e-4}.get(kind, 1e-5)
    np.testing.assert_allclose(
        answers(estimator, convert(Xt)), answers(expected, Xt), atol=tolerance
    )
    named = kind in ("pandas", "polars")
    assert hasattr(estimator, "feature_names_in_") == named
    X, y, domain = pack(convert(X), y, convert(Xt))
    again = small(cls).fit(X, y)
    assert len(again.predict(X)) == len(again.predict(X, sample_domain=domain)) == len(y)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "bool"])
def test_integer_input(dtype):
    X, y, Xt, _ = toy()
    X, Xt = (np.clip(np.round(a), 0, 100).astype(dtype) for a in (X, Xt))
    expected = small().fit(X.astype(float), y, X_target=Xt.astype(float)).predict_proba(Xt)
    fitted = small().fit(X, y, X_target=Xt)
    np.testing.assert_allclose(fitted.predict_proba(Xt), expected, atol=1e-5)


@deep
def test_memory_map(cls, tmp_path):
    X, y, domain = packed_toy(cls)
    X = X.astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = small(cls).fit(X, y, sample_domain=domain)
    estimator = small(cls).fit(mapped, y, sample_domain=domain)
    assert equal(weights(expected), weights(estimator))
    np.testing.assert_array_equal(answers(estimator, mapped), answers(expected, X))


@deep
def test_names_output_containers_and_repr(cls):
    pandas = pytest.importorskip("pandas")
    X, y, Xt, _ = toy(cls)
    X, Xt = (pandas.DataFrame(a, columns=["w", "x", "y", "z"]) for a in (X, Xt))
    Xt.index += 100
    estimator = small(cls).set_output(transform="pandas").fit(X, y, X_target=Xt)
    assert estimator.feature_names_in_.tolist() == ["w", "x", "y", "z"]
    out = estimator.transform(Xt)
    assert out.columns.tolist() == estimator.get_feature_names_out().tolist()
    assert out.columns[0] == f"{cls.__name__.lower()}0" and out.shape == (30, 8)
    assert out.index.tolist() == Xt.index.tolist()
    with pytest.raises(ValueError, match="feature names"):
        estimator.predict(Xt[["x", "w", "y", "z"]])
    assert cls.__name__ in estimator._repr_html_()
    assert repr(estimator).startswith(f"{cls.__name__}(")
    assert is_classifier(estimator) != is_regressor(estimator)


# --- 2. scikit-learn's tools on packed data ---------------------------------------------------


@deep
@pytest.mark.parametrize("routing", [False, True], ids=["plain", "routing"])
def test_tools_on_packed_data(cls, routing):
    X, y, domain = packed_toy(cls)
    given = {"sample_domain": domain} if routing else {}
    params = {"params": given} if routing else {}
    prefix = cls.__name__.lower()
    grid = {f"{prefix}__alignment_weight": [0.0, 1.0]}
    scoring = adaptlearn.LabelledScorer("r2" if is_regressor(cls()) else "accuracy")
    pipe = make_pipeline(StandardScaler(), small(cls, max_epochs=2))
    with config_context(enable_metadata_routing=routing), warnings.catch_warnings():
        warnings.simplefilter("error")  # in particular "no target rows"
        fitted = clone(pipe).fit(X, y, **given)
        assert len(fitted.predict(X)) == len(X)
        assert np.isfinite(fitted.score(X, y))
        searches = [
            GridSearchCV(pipe, grid, cv=2, scoring=scoring, n_jobs=2 if cls in BASES else 1),
            RandomizedSearchCV(pipe, grid, n_iter=2, cv=2, scoring=scoring, random_state=0),
            HalvingGridSearchCV(pipe, grid, cv=2, scoring=scoring, min_resources=60, factor=2),
            GridSearchCV(small(cls, max_epochs=1), {"batch_size": [64]}, cv=2),
        ]
        for search in searches:
            search.fit(X, y, **given)
            assert np.isfinite(search.best_score_)
            assert len(search.best_estimator_.predict(X)) == len(search.predict(X)) == len(X)
        folds = adaptlearn.DomainStratifiedKFold(2)
        same = {"X": X, "y": y, "cv": folds}
        for more in ({"scoring": scoring}, {}):
            assert np.isfinite(cross_val_score(pipe, **same, **more, **params)).all()
        assert np.isfinite(
            cross_validate(pipe, **same, scoring=scoring, **params)["test_score"]
        ).all()
        assert len(cross_val_predict(pipe, **same, method="predict", **params)) == len(X)
        same |= {"scoring": scoring, **params}
        assert np.isfinite(learning_curve(pipe, **same, train_sizes=[0.5, 1.0])[2]).all()
        curve = {"param_name": next(iter(grid)), "param_range": [0.0, 1.0]}
        assert np.isfinite(validation_curve(pipe, **same, **curve)[1]).all()


def test_routing_requests():
    with config_context(enable_metadata_routing=True):
        for cls in DEEP:
            requests = cls().get_metadata_routing()
            for method in ("fit", "partial_fit", "predict", "transform", "score"):
                assert getattr(requests, method).requests["sample_domain"] is True
            assert requests.fit.requests["X_target"] is False
            assert requests.fit.requests["sample_weight"] is None
            for method in ("predict_proba", "decision_function"):
                if hasattr(cls, method):
                    assert getattr(requests, method).requests["sample_domain"] is True
