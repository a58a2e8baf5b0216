"""Head re-training: values, optima, what stays as it was, and the scikit-learn side."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import (
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    DomainStratifiedKFold,
    HeadRetrainer,
    LabelledScorer,
    WithTarget,
    load,
    pack,
)
from adaptlearn.deep._head_training import LabelledRows, best_tau
from adaptlearn.deep._network import CosineHead

METHODS = ("crt", "lws", "tau_norm")
methods = pytest.mark.parametrize("method", METHODS)
precisions = pytest.mark.parametrize("precision", ["float32", "float64"])


def small(**params):
    given = {"hidden_layer_sizes": (16,), "bottleneck": 8, "dropout": 0.0, "max_epochs": 2}
    given |= {"alignment": None, "random_state": 0}
    return DomainAdaptationClassifier(**(given | params))


def quick(estimator, method="crt", **params):
    """Few steps, where the optimum does not matter."""
    return HeadRetrainer(estimator, method, **({"n_steps": 50, "random_state": 0} | params))


def long_tail(seed=0, counts=(200, 60, 15), spread=1.0, n_target=60):
    """Overlapping classes with a long tail; a moved target with equal shares."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(seed + 100).normal(size=(len(counts), 6))
    y, yt = np.repeat(np.arange(len(counts)), counts), np.arange(n_target) % len(counts)
    X = centers[y] + spread * rng.normal(size=(len(y), 6))
    Xt = centers[yt] + spread * rng.normal(size=(n_target, 6)) + 5
    return X, y, Xt, yt


def state(estimator, head=True):
    items = estimator._network.state_dict().items()
    return {k: v.clone() for k, v in items if head or not k.startswith("head.")}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def fitted():
    X, y, Xt, _ = long_tail()
    return small(max_epochs=10).fit(X, y, X_target=Xt)


# --- values -----------------------------------------------------------------------------------


@precisions
@pytest.mark.parametrize(
    "tau, expected, scales",
    [
        (0, [[3.0, 4.0], [0.0, -2.0], [0.8, 0.6]], [1.0, 1.0, 1.0]),
        (1, [[0.6, 0.8], [0.0, -1.0], [0.8, 0.6]], [0.2, 0.5, 1.0]),
        (2, [[0.12, 0.16], [0.0, -0.5], [0.8, 0.6]], [0.04, 0.25, 1.0]),
        (0.5, [[1.3416408, 1.7888544], [0.0, -1.4142136], [0.8, 0.6]], [0.4472136, 0.7071068, 1]),
    ],
)
def test_tau_norm_by_hand(precision, tau, expected, scales):
    X, y, Xt, _ = long_tail()
    base = small(bottleneck=2, precision=precision, max_epochs=1).fit(X, y, X_target=Xt)
    head = base._network.head
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0], [0.8, 0.6]]))
        head.bias.copy_(torch.tensor([5.0, -7.0, 1.0]))
    retrained = HeadRetrainer(FrozenEstimator(base), "tau_norm", tau=tau).fit(X, y)
    assert retrained.head_.weight.dtype == getattr(torch, precision)
    np.testing.assert_allclose(retrained.head_.weight.detach(), expected, rtol=1e-6)
    np.testing.assert_array_equal(retrained.head_.bias.detach(), [0.0, 0.0, 0.0])
    np.testing.assert_allclose(retrained.scales_, scales, rtol=1e-6)
    assert retrained.tau_ == tau and isinstance(retrained.tau_, float)
    logits = [
        [sum(w * x for w, x in zip(row, f, strict=True)) for row in expected]
        for f in retrained.transform(Xt).tolist()
    ]
    np.testing.assert_allclose(retrained.decision_function(Xt), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(retrained.predict(Xt), np.argmax(logits, axis=1))


def test_a_class_without_weights_stays_finite(fitted):
    X, y, Xt, _ = long_tail()
    base = copy.deepcopy(fitted)
    with torch.no_grad():
        base._network.head.weight[1] = 0
    retrained = HeadRetrainer(FrozenEstimator(base), "tau_norm").fit(X, y)
    assert (retrained.head_.weight[1] == 0).all()
    assert np.isfinite(retrained.predict_proba(Xt)).all()


@precisions
def test_best_tau_against_a_loop(precision):
    dtype = getattr(torch, precision)
    generator = torch.Generator().manual_seed(0)
    codes = torch.tensor([0] * 60 + [1] * 20 + [2] * 5)
    features = torch.randn(85, 3, generator=generator).abs() + 0.7 * torch.eye(3)[codes]
    weight = torch.rand(85, generator=generator) + 0.5
    head = torch.nn.Linear(3, 3)
    with torch.no_grad():  # long weights for frequent classes, and a bias that must not count
        head.weight.copy_(torch.eye(3) * torch.tensor([[3.0], [2.0], [0.8]]))
        head.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    rows = LabelledRows(features.to(dtype), codes, weight.to(dtype))
    scores = []
    for tau in range(11):
        hit, mass = [0.0] * 3, [0.0] * 3
        for x, c, w in zip(features.tolist(), codes.tolist(), weight.tolist(), strict=True):
            z = [x[k] * n / n ** (tau / 10) for k, n in enumerate((3.0, 2.0, 0.8))]
            hit[c] += w * (z.index(max(z)) == c)
            mass[c] += w
        scores.append(sum(h / m for h, m in zip(hit, mass, strict=True)) / 3)
    best = max(tau for tau in range(11) if abs(scores[tau] - max(scores)) < 1e-9)
    assert scores[best] > scores[0] + 0.05
    assert best_tau(head.to(dtype), rows) == pytest.approx(best / 10)


def test_best_tau_takes_the_largest_of_equals():
    head = torch.nn.Linear(2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    rows = LabelledRows(torch.eye(2), torch.tensor([0, 1]), torch.ones(2))
    assert best_tau(head, rows) == 1.0


# --- optima -----------------------------------------------------------------------------------


def optimum_problem(precision):
    X, y, Xt, _ = long_tail(counts=(300, 90, 30), spread=2.0)
    base = small(max_epochs=3, normalize="source", precision=precision, bottleneck=4)
    base.fit(X, y, X_target=Xt)
    weight = np.random.default_rng(0).uniform(0.2, 3, len(y))
    return X, y, Xt, base, weight


@precisions
@pytest.mark.parametrize("weighted", [False, True])
def test_crt_is_balanced_logistic_regression(precision, weighted):
    X, y, Xt, base, weight = optimum_problem(precision)
    weight = weight if weighted else np.ones(len(y))
    given = {"sample_weight": weight} if weighted else {}
    features = base.transform(X, sample_domain="source")
    share = weight / np.bincount(y)[y]  # classes are drawn alike, weights count within them
    # scikit-learn's penalty is against the sum of the weights; this is next to none
    reference = LogisticRegression(C=1e6, max_iter=5000).fit(features, y, sample_weight=share)
    retrainer = HeadRetrainer(
        FrozenEstimator(base), n_steps=1000, weight_decay=0, learning_rate=0.05, random_state=0
    )
    retrained = retrainer.fit(X, y, **given)
    expected = reference.predict_proba(base.transform(Xt))
    found = retrained.predict_proba(Xt)
    assert np.abs(found - expected).mean() < 0.02
    assert np.mean(found.argmax(1) == expected.argmax(1)) > 0.95
    assert np.abs(base.predict_proba(Xt) - expected).mean() > 0.1, "the test can tell them apart"


@precisions
def test_lws_finds_the_best_factors(precision):
    X, y, _, base, weight = optimum_problem(precision)
    logits = base._forward(X, "source")[1]
    share = weight / np.bincount(y)[y]

    def loss(factors):  # as a plain loop over rows
        total = 0.0
        for z, c, w in zip(logits * factors, y, share, strict=True):
            total += w * (np.log(np.exp(z - z.max()).sum()) + z.max() - z[c])
        return total

    best = minimize(loss, np.ones(3), tol=1e-6).x
    retrainer = HeadRetrainer(
        FrozenEstimator(base), "lws", n_steps=1000, learning_rate=0.05, random_state=0
    )
    found = retrainer.fit(X, y, sample_weight=weight).scales_
    assert np.abs(best - 1).max() > 0.2, "the test can tell the optimum from the start"
    np.testing.assert_allclose(found, best, atol=0.08)


def test_lws_multiplies_the_old_logits(fitted):
    X, y, Xt, _ = long_tail()
    retrained = quick(FrozenEstimator(fitted), "lws").fit(X, y)
    assert np.abs(retrained.scales_ - 1).max() > 0.01
    np.testing.assert_allclose(
        retrained.decision_function(Xt),
        fitted.decision_function(Xt) * retrained.scales_,
        rtol=1e-4,
        atol=1e-5,
    )


# --- what stays as it was ---------------------------------------------------------------------


@methods
def test_the_head_alone_changes(fitted, method):
    X, y, Xt, _ = long_tail()
    before, features, proba = state(fitted), fitted.transform(Xt), fitted.predict_proba(Xt)
    retrained = quick(FrozenEstimator(fitted), method).fit(X, y)
    assert equal(before, state(fitted)), "the estimator given was changed"
    np.testing.assert_array_equal(fitted.predict_proba(Xt), proba)
    assert equal(state(retrained.estimator_, head=False), state(fitted, head=False))
    assert not torch.equal(retrained.head_.weight, fitted._network.head.weight)
    np.testing.assert_array_equal(retrained.transform(Xt), features)
    assert retrained.estimator_ is not fitted
    assert retrained.head_ is retrained.estimator_.net_.module_.head


@methods
def test_a_fresh_estimator_is_fitted_first(fitted, method):
    X, y, Xt, _ = long_tail()
    given = small(max_epochs=10)
    fresh = quick(given, method).fit(X, y, X_target=Xt)
    frozen = quick(FrozenEstimator(fitted), method).fit(X, y)
    assert equal(state(fresh.estimator_), state(frozen.estimator_))
    assert not hasattr(given, "net_")


def test_a_cosine_head_stays_one():
    X, y, Xt, _ = long_tail()
    base = small(criterion="ldam").fit(X, y, X_target=Xt)
    retrained = quick(FrozenEstimator(base)).fit(X, y)
    assert type(retrained.head_) is CosineHead and retrained.head_.scale == 30
    assert not torch.equal(retrained.head_.weight, base._network.head.weight)
    assert np.abs(retrained.decision_function(Xt)).max() <= 30.001
    for method in ("lws", "tau_norm"):
        for estimator in (FrozenEstimator(base), clone(base)):
            with pytest.raises(ValueError, match=r"criterion='ldam' has a cosine head.*'crt'"):
                HeadRetrainer(estimator, method).fit(X, y, X_target=Xt)


# --- what it is for ---------------------------------------------------------------------------


def test_rare_classes_are_found():
    gains = {method: [] for method in METHODS}
    for seed in range(3):
        X, y, Xt, yt = long_tail(seed, counts=(300, 100, 30, 6), n_target=400)
        base = DomainAdaptationClassifier(
            hidden_layer_sizes=(32,), alignment=None, label_shift=None, random_state=seed
        ).fit(X, y, X_target=Xt)
        plain = balanced_accuracy_score(yt, base.predict(Xt))
        for method, found in gains.items():
            retrainer = quick(FrozenEstimator(base), method, tau="auto", n_steps=400)
            predicted = retrainer.fit(X, y).predict(Xt)
            found.append(balanced_accuracy_score(yt, predicted) - plain)
    assert min(gains["crt"]) > 0.1
    assert np.mean(gains["lws"]) > 0.01
    assert np.mean(gains["tau_norm"]) > 0.0


# --- masks and domains ------------------------------------------------------------------------


@methods
def test_packed_rows_and_x_target_agree(method):
    X, y, Xt, _ = long_tail()
    direct = quick(small(), method).fit(X, y, X_target=Xt)
    order = np.concatenate([X, Xt]), np.concatenate([y, np.full(len(Xt), -1)])
    domain = np.repeat([0, -1], [len(X), len(Xt)])
    for given in ({}, {"sample_domain": domain}):
        packed = quick(small(), method).fit(*order, **given)
        assert equal(state(packed.estimator_), state(direct.estimator_))
    np.testing.assert_array_equal(
        packed.predict(order[0], sample_domain=domain)[domain < 0], packed.predict(Xt)
    )
    assert not np.array_equal(packed.predict_proba(X, sample_domain=0), packed.predict_proba(X))
    # With masks in y, its labelled rows are scored as source rows.
    assert packed.score(*order) == packed.score(X, y, sample_domain="source")


def test_each_row_is_seen_with_its_own_domain(monkeypatch):
    """Two sources in other units, and a labelled target row of the rarest class."""
    X, y, Xt, yt = long_tail()
    X, y, domain = pack([X, 10 * X + 50], [y, y], Xt, y_target=yt)
    seen = []
    monkeypatch.setattr(HeadRetrainer, "_train_new", lambda *given: seen.append(given[2]))
    for target_labels, expected in (("ignore", domain >= 0), ("use", domain > -9)):
        base = small(target_labels=target_labels)
        base.fit(X, y, sample_domain=domain)
        quick(FrozenEstimator(base)).fit(X, y, sample_domain=domain)
        features = base.transform(X, sample_domain=domain)[expected]
        np.testing.assert_allclose(seen[-1].features, features, atol=1e-5)
        np.testing.assert_array_equal(seen[-1].codes, y[expected])


def test_labels_may_be_strings_or_minus_one():
    X, y, Xt, yt = long_tail()
    expected = quick(small()).fit(X, y, X_target=Xt)
    names = np.array(["a", "b", "c"])
    named = quick(small()).fit(X, names[y], X_target=Xt)
    np.testing.assert_array_equal(named.predict(Xt), names[expected.predict(Xt)])
    assert named.score(Xt, names[yt]) == expected.score(Xt, yt)
    signs = np.where(y == 0, -1, 1)  # -1 is a class of the frozen estimator, so no mask
    base = small().fit(X, signs, X_target=Xt)
    retrained = quick(FrozenEstimator(base)).fit(X, signs)
    assert set(retrained.predict(Xt)) == {-1, 1}
    np.testing.assert_array_equal(
        retrained.decision_function(Xt) > 0, retrained.predict_proba(Xt)[:, 1] > 0.5
    )
    np.testing.assert_allclose(
        np.exp(retrained.predict_log_proba(Xt)), retrained.predict_proba(Xt), rtol=1e-6
    )


# --- weights, seeds, copies -------------------------------------------------------------------


def test_rows_of_weight_zero_do_not_count(fitted):
    X, y, _, _ = long_tail()
    weight = np.where(np.arange(len(y)) % 3 == 0, 0.0, 2.0)
    wild = np.where(weight[:, None] == 0, X + 100, X)
    some = quick(FrozenEstimator(fitted))
    expected = state(some.fit(X[weight > 0], y[weight > 0]).estimator_)
    assert equal(state(some.fit(wild, y, sample_weight=weight).estimator_), expected)
    assert not equal(state(some.fit(wild, y).estimator_), expected)


@methods
def test_fits_repeat_and_leave_global_generators_alone(method):
    X, y, Xt, _ = long_tail()
    retrainer = quick(small(random_state=None, dropout=0.3), method, random_state=3)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = state(retrainer.fit(X, y, X_target=Xt).estimator_)
    retrainer.set_params(random_state=None).fit(X, y, X_target=Xt)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not equal(first, state(retrainer.estimator_))
    torch.manual_seed(2)
    retrainer.set_params(random_state=3).fit(X, y, X_target=Xt)
    assert equal(first, state(retrainer.estimator_))
    assert retrainer.estimator.random_state is None
    other = clone(retrainer).set_params(random_state=4).fit(X, y, X_target=Xt)
    assert not equal(first, state(other.estimator_))


def test_its_own_seed_moves_the_head_alone(fitted):
    X, y, _, _ = long_tail()
    heads = [quick(FrozenEstimator(fitted), random_state=s).fit(X, y) for s in (0, 1)]
    assert not torch.equal(heads[0].head_.weight, heads[1].head_.weight)
    own = quick(small(random_state=7), random_state=1)
    assert own.fit(X, y, X_target=X).estimator_.random_state == 7


@methods
def test_clone_pickle_repr_save(fitted, method, tmp_path):
    X, y, Xt, _ = long_tail()
    retrainer = quick(FrozenEstimator(fitted), method, tau=0.5)
    with pytest.raises(NotFittedError):
        retrainer.predict(Xt)
    assert not hasattr(retrainer, "head_") and not hasattr(retrainer, "classes_")
    assert repr(retrainer).startswith("HeadRetrainer(estimator=FrozenEstimator(")
    expected = retrainer.fit(X, y).predict_proba(Xt)
    for twin in (copy.deepcopy(retrainer), pickle.loads(pickle.dumps(retrainer))):
        np.testing.assert_array_equal(twin.predict_proba(Xt), expected)
    fresh = clone(retrainer)
    assert not [k for k in vars(fresh) if k.endswith("_")]
    assert fresh.estimator.estimator is fitted, "a frozen estimator is not cloned"
    np.testing.assert_array_equal(fresh.fit(X, y).predict_proba(Xt), expected)
    retrainer.estimator_.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict_proba(Xt), expected)


def test_attributes_follow_the_method(fitted):
    X, y, _, _ = long_tail()
    retrainer = HeadRetrainer(FrozenEstimator(fitted), n_steps=2, tau="auto")
    for method, has_scales, has_tau in (("lws", 1, 0), ("tau_norm", 1, 1), ("crt", 0, 0)):
        retrainer.set_params(method=method).fit(X, y)
        assert (retrainer.scales_ is not None, retrainer.tau_ is not None) == (has_scales, has_tau)
    assert retrainer.classes_.tolist() == [0, 1, 2] and retrainer.n_features_in_ == 6


# --- scikit-learn's tools ---------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [False, True])
def test_tools_on_packed_data(routing, frozen):
    X, y, Xt, _ = long_tail(counts=(60, 30, 15))
    X, y, domain = pack(X, y, Xt)
    given = {"sample_domain": domain} if routing else {}
    inner = small(max_epochs=2)
    if frozen:
        inner = FrozenEstimator(inner.fit(StandardScaler().fit_transform(X), y))
    pipe = make_pipeline(StandardScaler(), HeadRetrainer(inner, n_steps=20, random_state=0))
    assert np.isfinite(clone(pipe).fit(X, y, **given).score(X, y))
    grid = {"headretrainer__method": METHODS, "headretrainer__tau": [0.5, "auto"]}
    if not frozen:
        grid["headretrainer__estimator__alignment_weight"] = [0.0]
    search = GridSearchCV(
        pipe, grid, cv=DomainStratifiedKFold(2), scoring=LabelledScorer("balanced_accuracy"),
        error_score="raise",
    )  # fmt: skip
    search.fit(X, y, **given)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X).shape == y.shape


def test_weights_are_routed_on_request(routing):
    X, y, Xt, _ = long_tail()
    X, y, _ = pack(X, y, Xt)
    weight = np.random.default_rng(0).uniform(0.1, 5, len(y))
    retrainer = quick(small())
    expected = state(clone(retrainer).fit(X, y, sample_weight=weight).estimator_)
    assert not equal(state(clone(retrainer).fit(X, y).estimator_), expected)
    pipe = make_pipeline("passthrough", retrainer)
    if routing:
        with pytest.raises(ValueError, match="sample_weight"):
            pipe.fit(X, y, sample_weight=weight)
        retrainer.set_fit_request(sample_weight=True)
        pipe.fit(X, y, sample_weight=weight)
    else:
        pipe.fit(X, y, headretrainer__sample_weight=weight)
    assert equal(state(pipe[-1].estimator_), expected)


def test_frames_features_and_with_target():
    pandas = pytest.importorskip("pandas")
    X, y, Xt, yt = long_tail()
    columns = list("abcdef")
    X, Xt = pandas.DataFrame(X, columns=columns), pandas.DataFrame(Xt, columns=columns)
    retrainer = quick(small()).set_output(transform="pandas")
    out = retrainer.fit_transform(X, y, X_target=Xt)
    assert retrainer.feature_names_in_.tolist() == columns
    assert out.columns.tolist() == retrainer.get_feature_names_out().tolist()
    assert out.columns[0] == "headretrainer0" and out.shape == (len(X), 8)
    np.testing.assert_array_equal(out, retrainer.transform(X, sample_domain="source"))
    carried = WithTarget(quick(small()), Xt).fit(X, y)
    assert carried.score(Xt, yt) > 0.4
    listed = HeadRetrainer(FrozenEstimator(retrainer.estimator_), n_steps=2)
    with pytest.warns(UserWarning, match="feature names"):
        listed.fit(X.to_numpy().tolist(), y)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"method": "CRT"},
        {"tau": -0.1},
        {"tau": "best"},
        {"n_steps": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"random_state": "seed"},
    ],
    ids=str,
)
def test_parameters_are_checked_before_training(monkeypatch, params):
    def fail(*args, **kwargs):
        raise AssertionError("trained first")

    monkeypatch.setattr(DomainAdaptationClassifier, "fit", fail)
    X, y, _, _ = long_tail()
    with pytest.raises(ValueError, match=f"'{next(iter(params))}' parameter of HeadRetrainer"):
        HeadRetrainer(small(), **params).fit(X, y)


def test_other_estimators_are_refused():
    X, y, Xt, _ = long_tail()
    others = [
        LogisticRegression(),
        DomainAdaptationRegressor(),
        make_pipeline(StandardScaler(), small()),
        FrozenEstimator(LogisticRegression().fit(X, y)),
        None,
        "dann",
    ]
    for other in others:
        with pytest.raises(TypeError, match=r"must be a deep classifier.*last step"):
            HeadRetrainer(other).fit(X, y, X_target=Xt)
    with pytest.raises(NotFittedError):
        HeadRetrainer(FrozenEstimator(small())).fit(X, y)


def test_labels_that_do_not_fit_the_frozen_estimator(fitted):
    X, y, _, _ = long_tail()
    frozen = FrozenEstimator(fitted)
    with pytest.raises(ValueError, match=r"labels \[7\].*classes \[0, 1, 2\]"):
        HeadRetrainer(frozen).fit(X, np.where(y == 2, 7, y))
    for method, tau in (("crt", 1.0), ("lws", 1.0), ("tau_norm", "auto")):
        with pytest.raises(ValueError, match=r"classes \[2\].*tau_norm"):
            HeadRetrainer(frozen, method, tau=tau).fit(X[y < 2], y[y < 2])
    assert HeadRetrainer(frozen, "tau_norm").fit(X[y < 2], y[y < 2]).tau_ == 1.0
    with pytest.raises(ValueError, match="features"):
        HeadRetrainer(frozen, "tau_norm").fit(X[:, :3], y)
    with pytest.raises(ValueError, match="not seen in fit"):
        HeadRetrainer(frozen).fit(X, y, sample_domain=5)


def test_a_single_row_of_a_class_is_enough(fitted):
    X, y, Xt, _ = long_tail()
    keep = np.flatnonzero((y < 2) | (np.arange(len(y)) == len(y) - 1))
    for method in METHODS:
        retrained = quick(FrozenEstimator(fitted), method, tau="auto").fit(X[keep], y[keep])
        assert np.isfinite(retrained.predict_proba(Xt)).all()


def test_divergence_and_refused_fits_leave_the_last_one(fitted):
    X, y, Xt, _ = long_tail()
    retrainer = quick(FrozenEstimator(fitted)).fit(X, y)
    expected = retrainer.predict_proba(Xt)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        retrainer.set_params(learning_rate=1e30).fit(X, y)
    with pytest.raises(ValueError, match="method"):
        retrainer.set_params(method="none").fit(X, y)
    np.testing.assert_array_equal(retrainer.predict_proba(Xt), expected)
