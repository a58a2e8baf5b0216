"""The engine of the deep estimators: normalisation, training, stopping, hooks."""

import contextlib
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from skorch.callbacks import Callback
from torch import nn

from adaptlearn import (
    CORAL,
    DANN,
    MCC,
    Alignment,
    DANNClassifier,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    load,
    pack,
    register,
)
from adaptlearn.deep import _rows, _scaling
from adaptlearn.deep._norm import DomainBatchNorm, DomainContext, convert_batch_norm
from adaptlearn.deep._trainer import SCHEDULES

SMALL = {
    "max_epochs": 4, "hidden_layer_sizes": (16,), "bottleneck": 8, "dropout": 0.0,
    "learning_rate": 0.02, "random_state": 0,
}  # fmt: skip


def small(cls=DomainAdaptationClassifier, **params):
    return cls(**(SMALL | params))


def toy(n_source=60, n_target=40, n_classes=2, shift=3.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_source + n_target) % n_classes
    X = rng.normal(size=(len(y), 3)) + 3 * np.eye(3)[y]
    X[n_source:] += shift
    return X[:n_source], y[:n_source], X[n_source:], y[n_source:]


def weights(model):
    return {k: v.clone() for k, v in model.net_.module_.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- DomainBatchNorm --------------------------------------------------------------------------


def layer(n_sources=1, n_targets=1, width=3, **params):
    context = DomainContext()
    return DomainBatchNorm(width, n_sources, n_targets, context, **params), context


def rows(*sizes, seed=0, width=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, width, generator=generator) * (k + 1) + k for k, n in enumerate(sizes)]


def test_each_side_is_an_ordinary_batch_norm():
    norm, context = layer()
    pairs = [nn.BatchNorm1d(3), nn.BatchNorm1d(3)]
    for seed in range(4):
        source, target = rows(8, 5, seed=seed)
        context.segments = [(0, 0, 8), (1, 8, 13)]
        out = norm(torch.cat([source, target]))
        expected = torch.cat([pairs[0](source), pairs[1](target)])
        torch.testing.assert_close(out, expected)
    for k, pair in enumerate(pairs):
        torch.testing.assert_close(norm.running_mean[k], pair.running_mean)
        torch.testing.assert_close(norm.running_var[k], pair.running_var)
    norm.eval()
    for k, pair in enumerate(pairs):
        context.segments = [(k, 0, 8)]
        torch.testing.assert_close(norm(source), pair.eval()(source))


def test_gradient_of_domain_batch_norm():
    norm, context = layer(width=2)
    norm.double()
    context.segments = [(0, 0, 3), (1, 3, 7)]
    x = torch.cat(rows(3, 4, width=2)).double().requires_grad_()
    torch.autograd.gradcheck(norm, x)


def test_pooled_statistics_by_hand():
    norm, _ = layer(n_sources=2, n_targets=1, width=1)
    norm.running_mean[:3, 0] = torch.tensor([0.0, 4.0, 9.0])
    norm.running_var[:3, 0] = torch.tensor([1.0, 3.0, 5.0])
    norm.rows_seen[:3] = torch.tensor([30.0, 10.0, 8.0])
    norm.pool_statistics()
    # mean 1/4 of 4; variance: 3/4 (1 + 1) + 1/4 (3 + 9)
    assert norm.running_mean[3:, 0].tolist() == [1.0, 9.0]
    assert norm.running_var[3:, 0].tolist() == [4.5, 5.0]


def test_pooled_statistics_without_target():
    norm, _ = layer(n_sources=1, n_targets=0, width=1)
    norm.running_mean[0], norm.running_var[0] = 2.0, 7.0
    norm.pool_statistics()
    assert norm.running_mean[:, 0].tolist() == [2.0] * 3
    assert norm.running_var[:, 0].tolist() == [7.0] * 3


def test_a_single_row_uses_what_was_seen():
    norm, context = layer(n_sources=2, n_targets=1)
    norm.running_mean[1], norm.running_var[1] = 2.0, 4.0
    x = torch.randn(5, 3)
    context.segments = [(0, 0, 4), (1, 4, 5)]
    out = norm(x)
    torch.testing.assert_close(out[4], (x[4] - 2) / (4 + norm.eps) ** 0.5)
    assert norm.running_mean[1].tolist() == [2.0] * 3, "one row has no statistics"
    torch.testing.assert_close(out[:4], nn.BatchNorm1d(3)(x[:4]))


def test_one_image_has_statistics():
    norm, context = layer(width=2)
    context.segments = [(0, 0, 1)]
    x = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(norm(x), nn.BatchNorm2d(2)(x))


class Nested(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.first = nn.Linear(width, 6)
        self.inner = nn.ModuleList([nn.Sequential(nn.BatchNorm1d(6, eps=1e-3), nn.ReLU())])

    def forward(self, x):
        return self.inner[0](self.first(x))


def test_conversion_keeps_what_a_layer_has_learned():
    module = nn.Sequential(
        nn.BatchNorm2d(2, eps=1e-3, momentum=0.3), nn.Sequential(nn.BatchNorm1d(4, affine=False))
    )
    with torch.no_grad():
        module[0].weight.fill_(2.0)
        module[0].running_mean.fill_(5.0)
    module = convert_batch_norm(module, 2, 1, DomainContext())
    norm = module[0]
    assert isinstance(norm, DomainBatchNorm) and isinstance(module[1][0], DomainBatchNorm)
    assert (norm.eps, norm.momentum) == (1e-3, 0.3) and module[1][0].weight is None
    assert norm.weight.tolist() == [2.0, 2.0]
    assert norm.running_mean.tolist() == [[5.0, 5.0]] * 5


@pytest.mark.parametrize("normalize", ["domain", "source", "batch", None])
def test_batch_norm_inside_a_users_module(normalize):
    X, y, Xt, _ = toy()
    given = Nested()
    before = {k: v.clone() for k, v in given.state_dict().items()}
    model = small(backbone=given, normalize=normalize).fit(X, y, X_target=Xt)
    assert equal(before, given.state_dict()), "the user's module was trained in place"
    assert isinstance(given.inner[0][0], nn.BatchNorm1d)
    kinds = {type(m) for m in model.net_.module_.backbone.modules()}
    assert (DomainBatchNorm in kinds) == (normalize == "domain")
    one, two = (model.transform(Xt, sample_domain=side) for side in ("source", "target"))
    assert np.array_equal(one, two) == (normalize != "domain")


# --- standardisation of inputs ----------------------------------------------------------------


def scaler(X, y=None, *, cls=DomainAdaptationRegressor, normalize="domain", **given):
    y = np.arange(X.shape[0], dtype=float) if y is None else y
    model = small(cls, normalize=normalize, max_epochs=1).fit(X, y, **given)
    return model._scaler


def test_statistics_by_hand():
    X = np.array([[0.0, 1], [2, 1], [4, 7], [10, 0], [30, 4.0], [1, 1], [5, 1]])
    domain = np.array([0, 0, 2, -1, -1, 2, -1])
    found = scaler(X, sample_domain=domain)
    groups = [domain == 0, domain == 2, domain == -1, domain >= 0, domain < 0]
    np.testing.assert_allclose(found.mean, [X[g].mean(0) for g in groups])
    within = sum(g.sum() * X[g].var(0) for g in groups[:3]) / len(X)
    floor = _scaling._FLOOR * np.sqrt(within)
    # Rows that differ from the lower median of their domain: 0 | 1; 4 | 1; 5 | 1.
    differ = [[1 / 2, 0], [1 / 2, 1 / 2], [2 / 3, 2 / 3]]
    weight = np.maximum(np.mean(differ, axis=0), 1 / 4)
    weight = np.sqrt(weight / weight.mean())
    expected = [np.maximum(X[g].std(0), floor) / weight for g in groups]
    np.testing.assert_allclose(found.scale, expected)
    found = scaler(X, sample_domain=domain, normalize="source")
    np.testing.assert_allclose(found.mean, np.tile(X[groups[3]].mean(0), (5, 1)))
    np.testing.assert_allclose(found.scale, np.tile(X[groups[3]].std(0), (5, 1)))


def test_weighted_statistics_by_hand():
    X, _, Xt, _ = toy(12, 8)
    weight = np.arange(12.0)
    found = scaler(X, X_target=Xt, sample_weight=weight)
    mean = np.average(X, axis=0, weights=weight)
    np.testing.assert_allclose(found.mean[0], mean)
    variance = np.average((X - mean) ** 2, 0, weights=weight)
    column_weight = Xt.std(0) / found.scale[1]
    np.testing.assert_allclose((found.scale[0] * column_weight) ** 2, variance)
    np.testing.assert_allclose(found.mean[1], Xt.mean(0))
    repeated = scaler(np.repeat(X, weight.astype(int), axis=0), X_target=Xt)
    np.testing.assert_allclose(repeated.mean, found.mean)
    np.testing.assert_allclose(repeated.scale, found.scale)


def test_constant_columns_are_floored():
    X, _, Xt, _ = toy(12, 12)
    X[:, 0] = 1.0  # in one domain
    X[:, 1] = Xt[:, 1] = 5.0  # everywhere
    found = scaler(X, X_target=Xt)
    column_weight = Xt[:, 0].std() / found.scale[1, 0]
    floor = _scaling._FLOOR * np.sqrt(Xt[:, 0].var() / 2)
    np.testing.assert_allclose(found.scale[0, 0] * column_weight, floor)
    assert (found.scale[:, 1] == 1.0).all() or (np.ptp(found.scale[:, 1]) == 0).all()
    model = small().fit(X, np.arange(12) % 2, X_target=Xt)
    assert np.isfinite(model.predict_proba(Xt, sample_domain="source")).all()


def test_columns_that_mostly_hold_one_value_count_less():
    """Half as much at most, whatever the unit, and the same in both domains."""
    rng = np.random.default_rng(0)
    X, Xt = rng.normal(size=(2, 200, 3))
    X[rng.random(200) < 0.8, 0] = Xt[rng.random(200) < 0.8, 0] = 7.0
    for unit in (1.0, 1000.0):
        found = scaler(X * unit, X_target=Xt)
        spread = [(X * unit).std(0) / found.scale[0], Xt.std(0) / found.scale[1]]
        np.testing.assert_allclose(spread[0], spread[1])
        np.testing.assert_allclose(spread[0][1:], 2 * spread[0][0], rtol=0.02)
        np.testing.assert_allclose(np.mean(spread[0] ** 2), 1)
    dense = scaler(X[:, 1:], X_target=Xt[:, 1:])
    np.testing.assert_allclose(dense.scale[0], X[:, 1:].std(0))


def discrete(X, Xt, **sides):
    """Which columns have the same statistics in both domains."""
    found = scaler(X, X_target=Xt, **sides)
    same = (found.mean[0] == found.mean[1]) & (found.scale[0] == found.scale[1])
    return same.tolist()


def test_discrete_columns_share_statistics():
    """An indicator of other frequency, a count with a rare tail: in any unit."""
    rng = np.random.default_rng(0)
    X, Xt = rng.normal(size=(2, 200, 3))
    X[:, 0], Xt[:, 0] = rng.random(200) < 0.1, rng.random(200) < 0.9
    X[:, 1], Xt[:, 1] = rng.poisson(0.5, 200), rng.poisson(2, 200)
    X[0, 1], Xt[0, 1] = 9, 30
    for unit, offset in ((1.0, 0.0), (1000.0, -7.0)):
        assert discrete(X * unit + offset, Xt * unit + offset) == [True, True, False]


def test_discrete_statistics_by_hand():
    X, Xt = np.zeros((100, 2)), np.zeros((300, 2))
    X[:10, 0] = Xt[:290, 0] = 1
    X[:, 1], Xt[:, 1] = np.arange(100), np.arange(300)
    found = scaler(X, X_target=Xt)
    # 300 ones in 400 rows; 10 of 100 and 10 of 300 rows differ from the median, less than 1/4.
    np.testing.assert_allclose(found.mean[:, 0], 0.75)
    v = np.array([1 / 4, (99 / 100 + 299 / 300) / 2])
    np.testing.assert_allclose(found.scale[:, 0], np.sqrt(0.75 * 0.25 / (v[0] / v.mean())))
    np.testing.assert_allclose(found.scale[1, 1], Xt[:, 1].std() / np.sqrt(v[1] / v.mean()))


def test_columns_that_are_not_discrete():
    rng = np.random.default_rng(0)
    X, Xt = rng.integers(2, size=(2, 200, 4)).astype(float)
    X[:, 0], Xt[:, 0] = 0, 1  # constant in each domain, like its number
    Xt[:, 1] += 1  # coded from 1
    X[:, 2], Xt[:, 2] = rng.integers(11, size=(2, 200))  # many values
    assert discrete(X, Xt) == [False, False, False, True]
    assert discrete(X[:9], Xt[:9]) == [False] * 4  # two values in 18 rows are not few
    weight = np.where(X[:, 3] == 1, 1.0, 0.0)
    assert discrete(X, Xt - [0, 0, 0, 1], sample_weight=weight) == [False] * 4


def test_a_domain_of_few_rows_leaves_a_column_discrete():
    X = np.tile([[0.0], [1.0]], (50, 1))
    domain = np.r_[np.zeros(50, int), np.ones(48, int), 2, 2]
    X[-2:] = 1  # two rows that happen to agree
    found = scaler(X, sample_domain=np.where(domain == 0, -1, domain))
    assert (found.mean == found.mean[0]).all() and (found.scale == found.scale[0]).all()


def test_sparse_statistics_are_the_dense_ones():
    X, _, Xt, _ = toy(30, 25)
    X[X < 1] = 0
    for normalize in ("domain", "source"):
        one = scaler(X, X_target=Xt, normalize=normalize)
        two = scaler(sp.csr_matrix(X), X_target=sp.csr_matrix(Xt), normalize=normalize)
        np.testing.assert_allclose(one.mean, two.mean, atol=1e-12)
        np.testing.assert_allclose(one.scale, two.scale)


def test_large_sparse_rows_are_read_batch_by_batch(monkeypatch):
    """With the same result to the last bit."""
    X, y, Xt, _ = toy(30, 25)
    X, Xt = (sp.csr_matrix(np.where(side < 1, 0, side)) for side in (X, Xt))
    proba, batches = [], []
    take = _rows.Rows.take
    monkeypatch.setattr(
        _rows.Rows, "take", lambda self, index: batches.append(self.tensor) or take(self, index)
    )
    for limit in (2**28, 4 * 30 * X.shape[1] - 1):  # the 25 target rows are below the second
        monkeypatch.setattr(_rows, "_EAGER_SPARSE_BYTES", limit)
        batches.clear()
        proba.append(small().fit(X, y, X_target=Xt).predict_proba(Xt))
        assert {tensor is None for tensor in batches} == {limit < 2**28}
    np.testing.assert_array_equal(*proba)


def test_far_columns_keep_their_digits():
    X, y, Xt, _ = toy()
    # Adam would turn the sign of a gradient near zero into a whole step.
    model = small(optimizer="sgd").fit(X + 1e7, y, X_target=Xt + 1e7)
    expected = small(optimizer="sgd").fit(X, y, X_target=Xt)
    np.testing.assert_allclose(model.predict_proba(Xt + 1e7), expected.predict_proba(Xt), atol=1e-3)


def test_normalize_none_leaves_inputs_alone():
    X, y, Xt, _ = toy()
    model = small(normalize=None).fit(X, y, X_target=Xt)
    assert model._scaler is None
    np.testing.assert_array_equal(
        model.predict_proba(Xt, sample_domain=0), model.predict_proba(Xt, sample_domain=-1)
    )


@pytest.mark.parametrize("cls", [DomainAdaptationClassifier, DomainAdaptationRegressor])
def test_domain_normalisation_undoes_units(cls):
    """The same rows in other units, per domain, get the same answer."""
    X, y, _, _ = toy(80, 0)
    model = small(cls, alignment=None, max_epochs=20).fit(X, y, X_target=X * [2, 0.1, 30] + 50)
    expected = model.predict(X, sample_domain="source")
    found = model.predict(X * [2, 0.1, 30] + 50)
    if cls is DomainAdaptationClassifier:
        assert np.mean(expected == found) > 0.97 and np.mean(expected == y) > 0.9
    else:
        assert np.corrcoef(expected, found)[0, 1] > 0.97


# --- domains ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four_domains():
    X, y, Xt, _ = toy(80, 60)
    Xs, ys = [X[:50], X[50:] * 4], [y[:50], y[50:]]
    packed = pack(Xs, ys, [Xt[:40], Xt[40:] - 20])
    return *packed, small(max_epochs=3).fit(*packed[:2], sample_domain=packed[2])


def test_sample_domain_chooses_the_statistics(four_domains):
    X, _, domain, model = four_domains
    proba = model.predict_proba(X, sample_domain=domain)
    for d in (0, 1, -1, -2):
        chosen = domain == d
        np.testing.assert_array_equal(
            proba[chosen], model.predict_proba(X[chosen], sample_domain=d)
        )
    alike = [model.predict_proba(X, sample_domain=d) for d in (0, 1, -1, -2, "source", "target")]
    for k, one in enumerate(alike):
        assert not any(np.array_equal(one, other) for other in alike[:k])


def test_without_sample_domain_rows_are_pooled_target_rows(four_domains):
    X, _, _, model = four_domains
    np.testing.assert_array_equal(
        model.predict_proba(X), model.predict_proba(X, sample_domain="target")
    )


def test_one_domain_of_a_side_is_the_side():
    X, y, Xt, _ = toy()
    model = small().fit(X, y, X_target=Xt)
    for number, name in ((0, "source"), (-1, "target")):
        np.testing.assert_array_equal(
            model.predict_proba(Xt, sample_domain=number),
            model.predict_proba(Xt, sample_domain=name),
        )


def test_numbers_of_domains_do_not_matter():
    X, y, Xt, _ = toy()
    X, y, domain = pack(X, y, Xt)
    one = small().fit(X, y, sample_domain=domain)
    two = small().fit(X, y, sample_domain=np.where(domain < 0, -7, 5))
    assert equal(weights(one), weights(two))
    np.testing.assert_array_equal(
        one.predict_proba(X, sample_domain=domain),
        two.predict_proba(X, sample_domain=np.where(domain < 0, -7, 5)),
    )


@pytest.mark.parametrize("unseen", [7, -3, [0, -9]], ids=str)
def test_an_unseen_domain_raises(four_domains, unseen):
    X, y, seen, model = four_domains
    domain = np.resize(unseen, len(X)) if isinstance(unseen, list) else unseen
    for call in (model.predict, model.predict_proba, model.transform):
        with pytest.raises(ValueError, match="not seen in fit"):
            call(X, sample_domain=domain)
    with pytest.raises(ValueError, match="not seen in fit"):
        model.partial_fit(X, y, sample_domain=np.where(seen == -2, -8, seen))


def test_training_on_with_a_new_domain_says_what_to_do():
    X, y, _, _ = toy(24, 0)
    one = small(alignment=None, normalize="source")
    one.partial_fit(X[:12], y[:12], sample_domain=[1] * 12)
    advice = r"holds \[2\], not seen in fit \(seen: \[1\]\).*one of its numbers >= 0.*leave"
    with pytest.raises(ValueError, match=advice):
        one.partial_fit(X[12:], y[12:], sample_domain=[2] * 12)
    one.partial_fit(X[12:], y[12:], sample_domain=1)
    with pytest.raises(ValueError, match="'source' or 'target' for a whole side"):
        one.predict(X, sample_domain=2)


def test_a_row_is_answered_the_same_alone_and_in_company(four_domains):
    X, _, domain, model = four_domains
    whole = model.predict_proba(X, sample_domain=domain)
    for k in (0, 7, 33):
        np.testing.assert_allclose(
            model.predict_proba(X[k : k + 1], sample_domain=domain[k]), whole[[k]], atol=1e-7
        )


def test_dann_one_against_each(four_domains):
    X, y, domain, _ = four_domains
    pooled, each = (small(alignment=DANN(domains=d)) for d in ("pooled", "each"))
    assert len(pooled.fit(X, y, sample_domain=domain).net_.criterion_.nets[0]) == 1
    assert len(each.fit(X, y, sample_domain=domain).net_.criterion_.nets[0]) == 4
    assert not equal(weights(pooled), weights(each))


# --- backbones --------------------------------------------------------------------------------


def factory(n_features):
    return nn.Sequential(nn.Linear(n_features, 5), nn.ReLU())


def factory_without_size():
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU())


@pytest.mark.parametrize(
    "backbone",
    [Nested, Nested(), factory, factory_without_size],
    ids=["class", "network", "factory", "factory without size"],
)
def test_backbones(backbone):
    X, y, Xt, _ = toy()
    model = small(backbone=backbone, bottleneck=None).fit(X, y, X_target=Xt)
    width = 6 if backbone is Nested or isinstance(backbone, Nested) else 5
    assert model.transform(Xt).shape == (40, width)
    assert equal(weights(model), weights(model.fit(X, y, X_target=Xt)))


def test_an_instance_is_started_from_and_not_touched():
    X, y, Xt, _ = toy()
    given = Nested()
    hooks = {name: dict(m._forward_hooks) for name, m in given.named_modules()}
    before = {k: v.clone() for k, v in given.state_dict().items()}
    model = small(backbone=given, learning_rate=1e-9).fit(X, y, X_target=Xt)
    assert equal(before, given.state_dict())
    assert given.training and all(p.grad is None for p in given.parameters())
    assert hooks == {name: dict(m._forward_hooks) for name, m in given.named_modules()}
    (first,) = (m for m in model.net_.module_.backbone.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(first.weight, given.first.weight)


class SmallConv(nn.Module):
    def __init__(self, shape):
        super().__init__()
        assert shape == (1, 8, 8)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        )

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_images(dtype):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = rng.uniform(0, 3, size=(90, 1, 8, 8))
    X[y == 1, :, :4] += 3  # the upper half is bright
    X[60:] = 20 + X[60:] * 1.5  # another camera
    X = X.astype(dtype)
    model = small(backbone=SmallConv, bottleneck=None, max_epochs=40, normalize="domain")
    model.fit(X[:60], y[:60], X_target=X[60:])
    assert model.transform(X[60:]).shape == (30, 16)
    assert model.score(X[:60], y[:60], sample_domain="source") > 0.9
    one, two = (model.predict_proba(X, sample_domain=s) for s in ("source", "target"))
    assert np.abs(one - two).max() > 0.01
    packed = pack(X[:60], y[:60], X[60:])
    again = small(backbone=SmallConv, max_epochs=1).fit(*packed[:2])
    assert again.predict(packed[0]).shape == (90,)


# --- schedule, progress, optimiser ------------------------------------------------------------


class Rates(Callback):
    """Records into a list that survives the copy."""

    seen = []

    def on_train_begin(self, net, **kwargs):
        self.seen.clear()

    def on_batch_end(self, net, **kwargs):
        self.seen.append(net.optimizer_.param_groups[0]["lr"])


@pytest.mark.parametrize("schedule", [*SCHEDULES, lambda p: 0.5 + p], ids=[*SCHEDULES, "own"])
def test_schedules_run_over_this_fit(schedule):
    X, y, Xt, _ = toy(60, 40)
    model = small(schedule=schedule, learning_rate=0.02, batch_size=20, callbacks=[Rates()])
    model.fit(X, y, X_target=Xt)
    progress = (np.arange(12) + 0.5) / 12  # 4 epochs of 3 steps
    factor = SCHEDULES.get(schedule, schedule)
    np.testing.assert_allclose(Rates.seen, [0.02 * factor(p) for p in progress])
    assert model.net_.optimizer_.param_groups[0]["lr"] == 0.02
    model.partial_fit(*pack(X, y, Xt)[:2])
    np.testing.assert_allclose(Rates.seen, [0.02 * factor((k + 0.5) / 3) for k in range(3)])


def test_schedule_values():
    at = {name: [f(p) for p in (0.0, 0.5, 1.0)] for name, f in SCHEDULES.items()}
    np.testing.assert_allclose(at["constant"], [1, 1, 1])
    np.testing.assert_allclose(at["inverse"], [1, 6**-0.75, 11**-0.75])
    np.testing.assert_allclose(at["cosine"], [1, 0.5, 0], atol=1e-15)
    np.testing.assert_allclose(at["linear"], [1, 0.5, 0])


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", torch.optim.RMSprop], ids=str)
def test_optimizers(optimizer):
    X, y, Xt, _ = toy()
    model = small(optimizer=optimizer, learning_rate=0.003, weight_decay=0.25)
    model.fit(X, y, X_target=Xt)
    group = model.net_.optimizer_.param_groups[0]
    assert group["weight_decay"] == 0.25
    assert group["lr"] == 0.003
    if optimizer == "sgd":
        assert group["momentum"] == 0.9 and group["nesterov"]


def test_net_params_reach_the_optimizer():
    X, y, Xt, _ = toy()
    given = {"optimizer__eps": 1e-6, "optimizer__weight_decay": 0.125}
    model = small(net_params=given).fit(X, y, X_target=Xt)
    group = model.net_.optimizer_.param_groups[0]
    assert group["eps"] == 1e-6 and group["weight_decay"] == 0.125
    assert given == {"optimizer__eps": 1e-6, "optimizer__weight_decay": 0.125}


def test_short_runs_adapt():
    """The adversarial ramp runs over the steps of this fit, however few."""
    X, y, Xt, _ = toy()
    one, two = (
        small(alignment=DANN(weight=w), normalize="source", max_epochs=1, batch_size=10)
        for w in (0.0, 5.0)
    )
    gap = weights(one.fit(X, y, X_target=Xt))["backbone.0.weight"]
    gap = (gap - weights(two.fit(X, y, X_target=Xt))["backbone.0.weight"]).abs().max()
    assert gap > 1e-3


# --- early stopping ---------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", ["source", "target", True])
@pytest.mark.parametrize("cls", [DomainAdaptationClassifier, DomainAdaptationRegressor])
def test_early_stopping_restores_the_best_epoch(cls, early_stopping):
    X, y, Xt, _ = toy(60, 50, shift=1.0)
    rng = np.random.default_rng(0)
    y = rng.permutation(y)  # nothing to learn: validation gets worse
    packed = pack(X, y.astype(float) if cls is DomainAdaptationRegressor else y, Xt,
                  regression=cls is DomainAdaptationRegressor)  # fmt: skip
    params = {"early_stopping": early_stopping, "alignment": "coral", "learning_rate": 0.3}
    model = small(cls, max_epochs=60, n_iter_no_change=4, **params).fit(*packed[:2])
    records = model.history_
    both = early_stopping != "source" and cls is DomainAdaptationClassifier
    assert all(("target_criterion" in r) == both for r in records)
    scores = [r["valid_loss"] + r.get("target_criterion", 0) for r in records]
    best = int(np.argmin(scores))
    assert len(records) < 60 and len(records) == best + 1 + 4

    class Keep(Callback):
        states = []

        def on_epoch_end(self, net, **kwargs):
            self.states.append({k: v.clone() for k, v in net.module_.state_dict().items()})

    watched = small(cls, max_epochs=60, n_iter_no_change=4, callbacks=[Keep()], **params)
    Keep.states.clear()
    watched.fit(*packed[:2])
    assert equal(weights(model), weights(watched))
    assert equal(weights(watched), Keep.states[best])
    assert not equal(weights(watched), Keep.states[-1])


def test_early_stopping_holds_out_source_rows_by_class():
    X, y, Xt, _ = toy(100, 40)
    y = (np.arange(100) < 20).astype(int)
    model = small(
        early_stopping="source",
        validation_fraction=0.25,
        callbacks=[SeenRows()],
        sampling="instance",
    )
    SeenRows.rows.clear()
    model.fit(X, y, X_target=Xt)
    held_out = sorted(set(range(100)) - SeenRows.rows)
    assert len(held_out) == 25
    assert np.bincount(y[held_out]).tolist() == [20, 5]


class SeenRows(Callback):
    rows = set()

    def on_batch_begin(self, net, batch, training, **kwargs):
        self.rows.update(batch.index[: batch.n_labelled].tolist())


def test_zero_weight_rows_do_not_count_in_validation():
    X, y, Xt, _ = toy(100, 40)
    weight = np.r_[np.ones(60), np.zeros(40)]
    spoiled = X.copy()
    spoiled[60:] = 1.0
    params = {"early_stopping": "source", "normalize": None, "batch_size": 1000, "alignment": None}
    histories = [
        small(**params).fit(rows, y, X_target=Xt, sample_weight=weight).history_
        for rows in (X, spoiled)
    ]
    for one, two in zip(*histories, strict=True):
        assert one["valid_loss"] == pytest.approx(two["valid_loss"])


def test_no_row_to_hold_out():
    X, y, Xt, _ = toy(6, 6)
    with pytest.raises(ValueError, match="validation_fraction"):
        small(early_stopping=True, validation_fraction=0.01).fit(X, y, X_target=Xt)


# --- training breaks off ----------------------------------------------------------------------


def test_diverging_training_says_what_to_try():
    X, y, Xt, _ = toy()
    model = small(learning_rate=1e6, normalize=None, max_epochs=50, bottleneck=None)
    with pytest.raises(FloatingPointError, match=r"epoch .*learning_rate.*normalize"):
        model.fit(X * 1e6, y, X_target=Xt)


class Interrupt(Callback):
    """Raises in the middle of an epoch and remembers the weights at the end of each one."""

    states = []

    def __init__(self, epoch, error=KeyboardInterrupt):
        self.epoch, self.error = epoch, error

    def on_train_begin(self, net, **kwargs):
        self.count = 0
        self.states.clear()

    def on_epoch_end(self, net, **kwargs):
        self.count += 1
        self.states.append({k: v.clone() for k, v in net.module_.state_dict().items()})

    def on_grad_computed(self, net, **kwargs):
        if self.count == self.epoch:
            net.module_.head.weight.data += 1  # half done
            raise self.error("stop here")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_ctrl_c_leaves_the_last_whole_epoch(error):
    X, y, Xt, _ = toy()
    model = small(callbacks=[Interrupt(2, error)], max_epochs=9)
    with pytest.raises(error, match="stop here"):
        model.fit(X, y, X_target=Xt)
    assert equal(weights(model), Interrupt.states[1])
    assert len(model.history_) == 2
    assert np.isfinite(model.predict_proba(Xt)).all()
    assert model.net_.optimizer_.param_groups[0]["lr"] == SMALL["learning_rate"]
    model.set_params(callbacks=None, max_epochs=1)
    model.partial_fit(*pack(X, y, Xt)[:2])
    model.fit(X, y, X_target=Xt)


def test_ctrl_c_in_the_first_epoch():
    X, y, Xt, _ = toy()
    model = small(callbacks=[Interrupt(0)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, X_target=Xt)
    assert not hasattr(model, "net_")
    assert hasattr(model.set_params(callbacks=None).fit(X, y, X_target=Xt), "net_")


def test_ctrl_c_in_the_first_epoch_of_a_warm_start():
    X, y, Xt, _ = toy()
    model = small(warm_start=True).fit(X, y, X_target=Xt)
    before, callback = weights(model), Interrupt(0)
    model.net_.callbacks_.append(("interrupt", callback))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y, X_target=Xt)
    assert equal(before, weights(model))


# --- callbacks, output ------------------------------------------------------------------------


class Counting(Callback):
    def __init__(self):
        self.n_batches = 0

    def on_batch_end(self, net, training, loss, y_pred, **kwargs):
        assert training and torch.isfinite(loss) and y_pred.shape[1] == 2
        self.n_batches += 1


def test_callbacks_are_copied():
    X, y, Xt, _ = toy()
    callback = Counting()
    model = small(callbacks=[callback, ("named", Counting())], batch_size=20)
    for _ in range(2):  # refit starts afresh
        model.fit(X, y, X_target=Xt)
        mine = [c for _, c in model.net_.callbacks_ if isinstance(c, Counting)]
        assert [c.n_batches for c in mine] == [12, 12]
    assert callback.n_batches == 0
    assert model.callbacks[0] is callback
    assert "net" not in vars(callback)


def test_history():
    X, y, Xt, _ = toy()
    model = small(alignment=["coral", "mcc"]).fit(X, y, X_target=Xt)
    keys = {"epoch", "train_loss", "task_loss", "coral_loss", "mcc_loss", "lr", "dur"}
    assert [set(r) for r in model.history_] == [keys] * 4
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    for r in model.history_:
        total = r["task_loss"] + 100 * r["coral_loss"] + r["mcc_loss"]
        assert r["train_loss"] == pytest.approx(total, rel=1e-4)
    assert model.net_.history[:, "train_loss"] == [r["train_loss"] for r in model.history_]
    assert not any(record.get("batches") for record in model.net_.history)


@pytest.mark.parametrize("verbose", [0, 1, 2, False])
def test_what_a_fit_prints(verbose, capfd):
    X, y, Xt, _ = toy()
    small(verbose=verbose).fit(X, y, X_target=Xt)
    out, err = capfd.readouterr()
    if not verbose:
        assert out == err == ""
    elif verbose == 1:
        assert out == "" and "DomainAdaptationClassifier" in err and "4/4" in err
        assert err.count("\n") <= 1, "one bar for the fit"
    else:
        assert err == "" and len(out.splitlines()) == 4
        assert "epoch 4/4" in out and "train_loss" in out


# --- labels and weights -----------------------------------------------------------------------


def test_target_labels_are_not_used():
    X, y, Xt, yt = toy()
    X, y, domain = pack(X, y, Xt, y_target=yt)
    rng = np.random.default_rng(0)
    other = y.copy()
    other[domain < 0] = rng.permutation(np.where(rng.random(40) < 0.5, -1, 1 - y[domain < 0]))
    masked = np.where(domain < 0, -1, y)
    fits = [small().fit(X, labels, sample_domain=domain) for labels in (y, other, masked)]
    assert equal(weights(fits[0]), weights(fits[1]))
    assert equal(weights(fits[0]), weights(fits[2]))
    used = [small(target_labels="use").fit(X, v, sample_domain=domain) for v in (y, other)]
    assert not equal(weights(used[0]), weights(used[1]))
    assert not equal(weights(used[0]), weights(fits[0]))
    assert used[0].classes_.tolist() == [0, 1]


def test_used_target_labels_help():
    X, y, Xt, yt = toy(60, 60)
    X, y, domain = pack(X, y, Xt, y_target=1 - yt)  # the target means something else by its labels
    model = small(target_labels="use", alignment=None, normalize="source", max_epochs=30)
    model.fit(X, y, sample_domain=domain)
    assert model.score(X[domain < 0], y[domain < 0]) > 0.8
    assert model.set_params(target_labels="ignore").fit(
        X, y, sample_domain=domain
    ).score(X[domain < 0], y[domain < 0]) < 0.5  # fmt: skip


def test_regression_predicts_numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    y = 1000 + 50 * X[:, 0]
    model = small(DomainAdaptationRegressor, max_epochs=30).fit(X, y, X_target=X * 3 - 7)
    predicted = model.predict(X * 3 - 7)
    assert predicted.shape == (200,) and predicted.dtype.kind == "f"
    assert len(np.unique(predicted)) > 100
    assert np.abs(predicted - y).mean() < 15
    assert model.score(X * 3 - 7, y) > 0.8
    masked = np.r_[y[:100], np.full(100, np.nan)]
    packed = np.concatenate([X[:100], X[100:] * 3 - 7])
    model = small(DomainAdaptationRegressor, max_epochs=60).fit(packed, masked)
    assert model.score(packed, masked) > 0.8  # the labelled rows, as source rows


def test_class_weight_and_sampling():
    rng = np.random.default_rng(0)
    y = (np.arange(200) >= 180).astype(int)
    X = rng.normal(size=(200, 2)) + y[:, None]
    Xt = rng.normal(size=(50, 2))
    params = {"max_epochs": 25, "normalize": "source", "alignment": None, "label_shift": None}

    def share(**more):
        return small(**(params | more)).fit(X, y, X_target=Xt).predict(X).mean()

    plain = share()
    assert share(class_weight="balanced") > plain + 0.1
    assert share(class_weight={0: 1.0, 1: 9.0}) == share(class_weight="balanced")
    assert share(class_weight={0: 1, 1: 1}) == plain
    assert share(class_weight={0: 1e6, 1: 1e-6}) == 0
    assert share(sampling="balanced") > plain + 0.1


def test_sample_weight_is_used():
    X, y, Xt, _ = toy(60, 40)
    flipped = np.r_[y[:30], 1 - y[30:]]
    params = {"normalize": "source", "alignment": None, "max_epochs": 20}
    for kept, weight in ((slice(None, 30), [1, 0]), (slice(30, None), [0, 1])):
        model = small(**params).fit(X, flipped, X_target=Xt, sample_weight=np.repeat(weight, 30))
        assert model.score(X[kept], flipped[kept], sample_domain=0) > 0.9
    weighted = small().fit(X, y, X_target=Xt, sample_weight=np.full(60, 7.0))
    plain = small().fit(X, y, X_target=Xt)
    for k, value in weights(plain).items():
        torch.testing.assert_close(weights(weighted)[k], value, rtol=1e-3, atol=1e-5)


# --- threads ----------------------------------------------------------------------------------


def test_fits_in_threads_are_fits_one_after_another():
    X, y, Xt, _ = toy()
    seeds = [0, 1, 2]
    params = {"dropout": 0.3, "max_epochs": 6, "batch_size": 8, "alignment": "dann"}
    models = [small(random_state=s, **params) for s in seeds]
    before = torch.get_rng_state()
    threads = [threading.Thread(target=m.fit, args=(X, y), kwargs={"X_target": Xt}) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(before, torch.get_rng_state())
    for seed, model in zip(seeds, models, strict=True):
        alone = small(random_state=seed, **params).fit(X, y, X_target=Xt)
        assert equal(weights(alone), weights(model))


# --- alignments of the user -------------------------------------------------------------------


class Watch(Alignment):
    """Writes down when its hooks are called."""

    calls = []

    def __init__(self, weight=1.0):
        self.weight = weight

    def build(self, n_features, n_classes, class_counts, n_domains, generator):
        self.calls.append(("build", n_features, n_classes, class_counts.tolist(), n_domains))
        net = nn.Linear(n_features, 1)
        net.register_buffer("steps", torch.zeros(()))
        return net

    def loss(self, source, target, step, net):
        assert torch.is_grad_enabled() and net.weight.requires_grad
        assert source.y.shape == source.weight.shape == source.domain.shape == source.index.shape
        assert target.y is None and len(target.x) == len(target.features) == len(target.logits)
        torch.testing.assert_close(step.head(target.features), target.logits)
        self.calls.append(("loss", round(step.progress, 6), step.weight))
        return net(source.features).mean() - net(target.features).mean()

    def update(self, source, target, net):
        assert not torch.is_grad_enabled()
        net.steps += 1
        self.calls.append(("update", len(source.features), len(target.features)))

    def refresh(self, source, target, step, net):
        assert not torch.is_grad_enabled()
        self.calls.append(("refresh", len(source.features), len(target.features)))


def test_hooks_of_a_users_alignment():
    X, y, Xt, _ = toy(30, 20)  # the target is repeated
    Watch.calls.clear()
    given = Watch(weight=0.5)
    model = small(alignment=given, alignment_weight=4.0, max_epochs=2, batch_size=15)
    model.fit(X, y, X_target=Xt)
    epoch = [("refresh", 30, 20)]
    steps = [("loss", (k + 0.5) / 4, 2.0) for k in range(4)]
    expected = [("build", 8, 2, [15, 15], (1, 1))]
    for k in range(2):
        expected += epoch
        for step in steps[2 * k : 2 * k + 2]:
            expected += [step, ("update", 15, 15)]
    assert Watch.calls == expected
    assert model.net_.criterion_.nets[0].steps == 4
    names = dict(model.net_.criterion_.named_parameters())
    held = {id(p) for group in model.net_.optimizer_.param_groups for p in group["params"]}
    assert all(id(p) in held for p in names.values()), "its network is trained"
    assert vars(given) == {"weight": 0.5}, "the user's object was changed"


def test_a_new_alignment_is_one_class(tmp_path):
    @register("alignment", "mean_gap")
    class MeanGap(Alignment):
        def __init__(self, power=2.0, weight=1.0):
            self.power = power
            self.weight = weight

        def loss(self, source, target, step, net):
            gap = source.features.mean(0) - target.features.mean(0)
            return gap.abs().pow(self.power).sum()

    X, y, Xt, _ = toy()
    model = small(alignment="mean_gap").fit(X, y, X_target=Xt)
    assert "mean_gap_loss" in model.history_[0]
    model.set_params(alignment=["mcc", "mean_gap"], alignment__mean_gap__power=1.0)
    model.fit(X, y, X_target=Xt).save(tmp_path / "m")
    again = load(tmp_path / "m")
    assert type(again.alignment[1]) is MeanGap and again.alignment[1].power == 1.0
    np.testing.assert_array_equal(again.predict_proba(Xt), model.predict_proba(Xt))
    with pytest.raises(ValueError, match="Did you mean 'mean_gap'"):
        small(alignment="mean_gab").fit(X, y, X_target=Xt)
    with pytest.raises(ValueError, match="taken"):
        register("alignment", "mean_gap")(Watch)
    small(DomainAdaptationRegressor, alignment="mean_gap").fit(X, y * 1.5, X_target=Xt)
    with pytest.raises(ValueError, match="DANNClassifier"):
        small(DANNClassifier, alignment="mean_gap").fit(X, y, X_target=Xt)


def test_an_alignment_without_a_loss_says_so():
    class Nothing(Alignment):
        pass

    X, y, Xt, _ = toy()
    with pytest.raises(TypeError, match="Nothing must define loss"):
        small(alignment=Nothing()).fit(X, y, X_target=Xt)


def test_lists_of_alignments():
    X, y, Xt, _ = toy()
    one = small(alignment=[MCC(weight=0.5), "coral"]).fit(X, y, X_target=Xt)
    two = small(alignment=(MCC(weight=0.5), CORAL())).fit(X, y, X_target=Xt)
    assert equal(weights(one), weights(two))
    assert not equal(weights(one), weights(small(alignment="coral").fit(X, y, X_target=Xt)))
    empty, none = (small(alignment=a).fit(X, y, X_target=Xt) for a in ([], None))
    assert equal(weights(empty), weights(none))


def test_alignment_weight_multiplies_each_members_weight():
    X, y, Xt, _ = toy()
    one = small(alignment=MCC(weight=2.0), alignment_weight=1.5).fit(X, y, X_target=Xt)
    two = small(alignment=MCC(weight=3.0)).fit(X, y, X_target=Xt)
    assert equal(weights(one), weights(two))


@pytest.mark.parametrize(
    "precision, dtype", [("float64", torch.float64), ("bfloat16", torch.float32)]
)
def test_precision(precision, dtype):
    X, y, Xt, _ = toy()
    model = small(precision=precision, alignment=["dann", "cdan", "mmd"]).fit(X, y, X_target=Xt)
    assert {p.dtype for p in model.net_.module_.parameters()} == {dtype}
    proba = model.predict_proba(Xt)
    assert np.isfinite(proba).all() and proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1)


# --- does it adapt? ---------------------------------------------------------------------------


def offset(seed, n=150):
    """Two columns tell the classes apart; on the target one of them has an offset."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=2 * n)
    X = rng.normal(size=(2 * n, 4))
    X[:, :2] += np.where(y == 1, 1.5, -1.5)[:, None]
    X[n:, 1] += 3
    return X[:n], y[:n], X[n:], y[n:]


def stretched(seed, n=150):
    """Class lies in the sign of a column whose scale, mixed with another, grows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=2 * n)
    X = rng.normal(size=(2 * n, 4))
    X[:, 0] += np.where(y == 1, 2, -2)
    noise = rng.normal(size=n)
    X[n:, 1] += 4 * noise
    X[n:, 0] += 1.5 * noise
    return X[:n], y[:n], X[n:], y[n:]


SHIFTS = dict.fromkeys(("mmd", "jmmd", "dann", "cdan", "mcc", "spl"), offset)
SHIFTS["coral"] = stretched


@pytest.mark.parametrize("name", SHIFTS)
def test_each_alignment_beats_source_only_on_its_shift(name):
    gains = []
    for seed in range(3):
        X, y, Xt, yt = SHIFTS[name](seed)
        scores = []
        for alignment in (None, name):
            model = small(
                alignment=alignment, normalize="source", max_epochs=25, batch_size=32,
                learning_rate=0.01, random_state=seed,
            )  # fmt: skip
            scores.append(model.fit(X, y, X_target=Xt).score(Xt, yt))
        gains.append(scores[1] - scores[0])
    assert np.mean(gains) > 0.02, f"gains in accuracy {np.round(gains, 3)}"


def test_domain_normalisation_beats_source_statistics_on_drift():
    X, y, _, _ = toy(120)
    scores = [
        small(alignment=None, normalize=n, max_epochs=15).fit(X, y, X_target=5 * X + 20)
        .score(5 * X + 20, y) for n in ("source", "domain")
    ]  # fmt: skip
    assert scores[1] > 0.9 > scores[0] + 0.2


# --- presets ----------------------------------------------------------------------------------


def test_presets_take_their_own_alignment_only():
    X, y, Xt, _ = toy()
    one = small(DANNClassifier, alignment=DANN(hidden=8)).fit(X, y, X_target=Xt)
    two = small(alignment=DANN(hidden=8)).fit(X, y, X_target=Xt)
    assert equal(weights(one), weights(two))
    for bad in ("coral", None, MCC(), ["dann"]):
        with pytest.raises(ValueError, match="Use DomainAdaptationClassifier"):
            small(DANNClassifier, alignment=bad).fit(X, y, X_target=Xt)


def test_no_target_warns_once_and_trains():
    X, y, _, _ = toy()
    with pytest.warns(UserWarning, match="no target rows.*X_target=") as caught:
        model = small(max_epochs=20).fit(X, y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert model.score(X, y) > 0.8
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.warns(UserWarning, match="no target rows"))
        small().fit(X, y, sample_domain=3)
    with pytest.warns(UserWarning, match="alignment=None and normalize='source'"):
        small(alignment=None).fit(X, y)  # target rows would have statistics of their own
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(alignment=None, normalize="source").fit(X, y)


# --- parameters set after fit -------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [("float32", "float64"), ("float64", "bfloat16")])
def test_precision_is_that_of_the_fit(before, after):
    X, y, Xt, _ = toy()
    model = small(precision=before, warm_start=True).fit(X, y, X_target=Xt)
    expected = model.predict_proba(Xt)
    model.set_params(precision=after)
    np.testing.assert_array_equal(model.predict_proba(Xt), expected)
    model.fit(X, y, X_target=Xt)
    assert (model.predict_proba(Xt) != expected).any()


@pytest.mark.parametrize(
    "params", [{"learning_rate": 1e-30}, {"schedule": lambda p: 1e-30}], ids=["rate", "schedule"]
)
def test_later_calls_take_the_rate_that_is_set(params):
    X, y, Xt, _ = toy()
    model = small(warm_start=True).fit(X, y, X_target=Xt)
    head = model.net_.module_.head.weight
    before = head.detach().clone()
    model.set_params(**params).fit(X, y, X_target=Xt)
    assert torch.equal(head, before)
    model.set_params(learning_rate=0.02, schedule="constant").fit(X, y, X_target=Xt)
    assert not torch.equal(head, before)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.02)


def test_balanced_weights_of_a_call_that_lacks_a_class():
    X, y, _, _ = toy(n_classes=3)
    some = y < 2
    model = small(class_weight="balanced", alignment=None, max_epochs="auto", normalize="source")
    by_hand = small(class_weight=None, alignment=None, max_epochs="auto", normalize="source")
    model.partial_fit(X[some], y[some], classes=[0, 1, 2])
    weight = (some.sum() / (2 * np.bincount(y[some])))[y[some]]
    by_hand.partial_fit(X[some], y[some], classes=[0, 1, 2], sample_weight=weight)
    np.testing.assert_allclose(model.predict_proba(X), by_hand.predict_proba(X), rtol=1e-5)
