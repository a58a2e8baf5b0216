"""``regularization=`` and ``rehearsal=`` in the deep estimators."""

import copy
import pickle
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from torch import nn

from adaptlearn import (
    EWC,
    L2SP,
    Delta,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    LwF,
    load,
    pack,
    register,
)
from adaptlearn.deep._rehearsal import RehearsalBuffer, balanced_choice
from adaptlearn.metrics import forgetting_matrix, forgetting_report
from adaptlearn.regularization import Regularization

NAMES = ["l2_sp", "ewc", "lwf", "delta"]


def rotated(seed, n=300, angle=60):
    """Two domains: classes around a circle, turned by `angle`, and a column that says which."""
    rng = np.random.default_rng(seed)
    centers = 2.2 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    domains = []
    for k, a in enumerate(np.deg2rad([0, angle])):
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        y = rng.integers(4, size=2 * n)
        X = 0.7 * rng.normal(size=(2 * n, 8))
        X[:, :2] += centers[y] @ turn.T
        X[:, 2 + k] += 2.5
        domains.append((X, y))
    return [(X[:n], y[:n]) for X, y in domains], [(X[n:], y[n:]) for X, y in domains]


def model(cls=DomainAdaptationClassifier, **params):
    small = {
        "alignment": None,
        "normalize": "source",
        "hidden_layer_sizes": (32,),
        "dropout": 0.0,
        "max_epochs": 5,
        "warm_start": True,
        "random_state": 0,
    }
    return cls(**(small | params))


def weights(estimator):
    return {k: v.clone() for k, v in estimator._network.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def largest_change(a, b, prefix=""):
    return max((a[k] - b[k]).abs().max().item() for k in a if k.startswith(prefix))


# --- it helps ------------------------------------------------------------------------------


def old_accuracy(seed, **params):
    train, test = rotated(seed)
    clf = model(max_epochs=20, learning_rate=1e-2, random_state=seed, **params)
    report = forgetting_report(forgetting_matrix(clf, train, test_domains=test))
    return report.matrix[1, 0], report.average


@pytest.mark.parametrize(
    "params",
    [{"regularization": "ewc"}, {"regularization": "lwf"}, {"rehearsal": 60}],
    ids=["ewc", "lwf", "rehearsal"],
)
def test_less_is_forgotten_than_by_plain_training(params):
    for seed in range(3):
        plain, kept = old_accuracy(seed), old_accuracy(seed, **params)
        assert kept[0] > plain[0] + 0.05  # on the first domain
        assert kept[1] > plain[1] + 0.02  # on both


# --- regularization ------------------------------------------------------------------------


def test_huge_l2_sp_keeps_the_weights():
    (first, second), _ = rotated(0)
    params = {"learning_rate": 1e-4, "max_epochs": 30}
    plain = model(**params).fit(*first)
    held = model(regularization=L2SP(weight=1e6), **params).fit(*first)
    before = weights(plain)
    assert equal(before, weights(held))  # nothing to keep in a first fit without a backbone
    assert largest_change(before, weights(held.fit(*second))) < 1e-3
    assert largest_change(before, weights(plain.fit(*second))) > 1e-3


def backbone(seed=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU())


def test_huge_l2_sp_keeps_a_pretrained_backbone_in_a_first_fit():
    (first, _), _ = rotated(0)
    given = backbone()
    before = {f"backbone.{k}": v.clone() for k, v in given.state_dict().items()}
    params = {"backbone": given, "learning_rate": 1e-4, "max_epochs": 30}
    held = model(regularization=L2SP(weight=1e6), **params).fit(*first)
    assert largest_change(before, weights(held)) < 1e-3
    assert largest_change(before, weights(model(**params).fit(*first))) > 1e-3
    assert largest_change({"head.bias": torch.zeros(4)}, weights(held)) > 1e-2  # held to zero only
    assert all(torch.equal(v, before[f"backbone.{k}"]) for k, v in given.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_a_first_fit_without_a_backbone_has_nothing_to_keep(name):
    (first, _), _ = rotated(0)
    clf = model(regularization=name).fit(*first)
    assert equal(weights(clf), weights(model().fit(*first)))
    assert f"{name}_loss" not in clf.history_[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_first_fit_with_a_backbone(name):
    (first, _), _ = rotated(0)
    clf = model(regularization=name, backbone=backbone()).fit(*first)
    plain = model(backbone=backbone()).fit(*first)
    acts = name in ("l2_sp", "delta")  # the others need a head that has learned something
    assert (f"{name}_loss" in clf.history_[0]) == acts
    assert equal(weights(clf), weights(plain)) != acts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cls", [DomainAdaptationClassifier, DomainAdaptationRegressor])
def test_later_calls_are_held(name, cls):
    (first, second), _ = rotated(0)
    clf, plain = model(cls, regularization=name), model(cls)
    given = clf.regularization
    for est in (clf, plain):
        est.partial_fit(*first).partial_fit(*second)
    assert not equal(weights(clf), weights(plain))
    assert clf.history_[-1][f"{name}_loss"] > 0
    assert clf.net_.retention is None and clf.regularization is given
    again = model(cls, regularization=name).partial_fit(*first).partial_fit(*second)
    assert equal(weights(clf), weights(again))


@pytest.mark.parametrize("name", NAMES)
def test_with_an_alignment_and_domain_norm(name):
    (X, y), (Xt, _) = rotated(0)[0]
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU())
    clf = model(regularization=name, backbone=net, alignment="mmd", normalize="domain")
    clf.fit(X, y, X_target=Xt).fit(X, y, X_target=Xt)
    assert np.isfinite(clf.history_[-1][f"{name}_loss"])


def test_ewc_remembers_several_calls_and_travels_with_a_pickle():
    (first, second), _ = rotated(0)
    clf = model(regularization=EWC(weight=50.0)).fit(*first).fit(*second)
    springs = clf._regularization
    assert all(v.device.type == "cpu" for v in springs.precision_.values())
    for twin in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf)):
        assert equal(twin._regularization.precision_, springs.precision_)
        assert equal(weights(twin.fit(*first)), weights(copy.deepcopy(clf).fit(*first)))
    forgot = pickle.loads(pickle.dumps(clf))
    forgot._regularization = None
    assert not equal(weights(forgot.fit(*first)), weights(clf.fit(*first)))
    assert not hasattr(clone(clf), "net_") and clone(clf)._regularization is None


def test_a_fresh_fit_knows_nothing_of_the_one_before():
    (first, second), _ = rotated(0)
    clf = model(regularization="ewc", rehearsal=20, warm_start=False).fit(*first).fit(*second)
    new = model(regularization="ewc", rehearsal=20, warm_start=False).fit(*second)
    assert equal(weights(clf), weights(new))
    assert equal(clf._regularization.precision_, new._regularization.precision_)
    assert (clf._rehearsal.X == new._rehearsal.X).all()


def test_parameters_may_change_between_calls():
    (first, second), _ = rotated(0)
    clf = model(regularization="ewc").fit(*first)
    loose, tight = copy.deepcopy(clf), copy.deepcopy(clf)
    loose.set_params(regularization__weight=0.0).fit(*second)
    assert equal(weights(loose), weights(model().fit(*first).fit(*second)))
    before = weights(tight)
    tight.set_params(regularization__weight=1e4).fit(*second)
    assert largest_change(before, weights(tight)) < largest_change(before, weights(loose))
    clf.set_params(regularization=None).fit(*second)
    assert equal(weights(clf), weights(loose)) and clf._regularization is None


def test_a_regularization_of_ones_own():
    calls = []

    @register("regularization", "spy")
    class Spy(Regularization):
        def start(self, network, batches=None, loss_fn=None, shared=None):
            seen = list(batches)
            calls.append(("start", sum(len(b.y) for b in seen), shared))
            assert loss_fn(network(*seen[0][::2])[1], seen[0].y).shape == seen[0].y.shape

        def loss(self, network, outputs):
            calls.append("loss")
            return outputs.logits.sum() * 0.0

        def finish(self, network, batches=None, loss_fn=None):
            calls.append("finish")

    (first, second), _ = rotated(0, n=100)
    clf = model(regularization="spy", max_epochs=1)
    clf.fit(*first)
    assert calls == ["finish"]
    clf.fit(*second)
    assert calls == ["finish", ("start", 100, None), "loss", "loss", "finish"]
    calls.clear()
    model(regularization="spy", max_epochs=1, backbone=backbone()).fit(*first)
    assert calls[0] == ("start", 100, {"backbone.0.weight", "backbone.0.bias"})


def test_interruption_leaves_the_estimator_usable(monkeypatch):
    (first, second), _ = rotated(0)
    clf = model(regularization="ewc", rehearsal=20, learning_rate=1e-2).fit(*first)
    springs, kept = clf._regularization, clf._rehearsal
    monkeypatch.setattr(EWC, "loss", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*second)
    assert clf._regularization is springs and clf._rehearsal is kept
    assert clf.net_.retention is None
    monkeypatch.undo()
    assert clf.set_params(max_epochs=20).fit(*second).score(*second) > 0.7


def test_checkpoints_resume_to_the_same_weights(tmp_path):
    (first, second), _ = rotated(0)
    undisturbed = model(regularization="l2_sp").fit(*first).fit(*second)
    clf = model(regularization="l2_sp").fit(*first)

    def stop(self, net, **kwargs):
        if len(net.history) % 5 == 3:
            raise KeyboardInterrupt

    from skorch.callbacks import Callback

    clf.set_params(checkpoint=tmp_path)
    clf.net_.callbacks_.append(("stop", type("Stop", (Callback,), {"on_epoch_begin": stop})()))
    start = copy.deepcopy(clf)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*second)
    start.net_.callbacks_.pop()
    assert equal(weights(start.fit(*second)), weights(undisturbed))


def test_checkpoints_know_what_was_learned_of_earlier_calls(tmp_path):
    (first, second), _ = rotated(0, n=60)
    clf = model(regularization="ewc", warm_start=True, max_epochs=2).fit(*first)
    other = copy.deepcopy(clf)
    other._regularization.precision_ = {
        name: 100 * p for name, p in other._regularization.precision_.items()
    }
    for one in (clf, other):
        one.set_params(checkpoint=tmp_path).fit(*second)
    assert len(list(tmp_path.iterdir())) == 2
    assert not equal(weights(clf), weights(other))


def test_saving_names_the_regularization(tmp_path):
    (first, second), _ = rotated(0)
    clf = model(regularization=LwF(temperature=3.0), rehearsal=10).fit(*first)
    with pytest.warns(UserWarning, match="rehearsal=10: the 10 rows .* are not written"):
        clf.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.regularization.temperature == 3.0 and again.rehearsal == 10
    assert again._rehearsal is None  # rows are not written
    assert (again.predict(second[0]) == clf.predict(second[0])).all()
    assert again.fit(*second).history_[0]["lwf_loss"] > 0


def test_saving_keeps_what_ewc_knows(tmp_path):
    (first, second), _ = rotated(0)
    clf = model(regularization=EWC(weight=50.0)).fit(*first)
    clf.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    for name, tensor in clf._regularization.precision_.items():
        assert torch.equal(again._regularization.precision_[name], tensor)
    assert again._regularization.slack_ == clf._regularization.slack_
    for one in (clf, again):
        one.fit(*second)
    losses = [one.history_[-1]["ewc_loss"] for one in (clf, again)]
    assert losses[1] == pytest.approx(losses[0], rel=0.2) and losses[1] > 0  # its optimiser is new
    again.save(tmp_path / "again.safetensors")
    assert load(tmp_path / "again.safetensors")._regularization.slack_ > 0


@register("regularization", "counting_calls")
class CountingCalls(Regularization):
    def __init__(self, weight=1.0):
        self.weight = weight

    def loss(self, network, outputs):
        return outputs.logits.sum() * 0

    def finish(self, network, batches=None, loss_fn=None):
        self.calls_ = getattr(self, "calls_", 0) + 1
        self.network_ = network if self.weight == 7 else None


def test_saving_keeps_what_an_own_regularization_knows(tmp_path):
    (first, second), _ = rotated(0)
    clf = model(regularization=CountingCalls()).fit(*first).fit(*second)
    clf.save(tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").fit(*first)._regularization.calls_ == 3
    clf.set_params(regularization__weight=7.0).fit(*first)
    with pytest.raises(ValueError, match="network_ of regularization="):
        clf.save(tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"regularization": "l2sp"}, ValueError, "Did you mean 'l2_sp'"),
        ({"regularization": L2SP}, TypeError, r"L2SP\(\)"),
        ({"regularization": 3}, TypeError, "regularization=3"),
        ({"regularization": EWC(weight=-1)}, ValueError, "weight"),
        ({"regularization": LwF(temperature=0)}, ValueError, "temperature"),
        ({"regularization": EWC(fisher="true")}, ValueError, "fisher"),
        (
            {"regularization": Delta(), "backbone": nn.Linear(8, 4), "bottleneck": 4},
            ValueError,
            "bottleneck=4.*bottleneck=None",
        ),
        ({"rehearsal": -1}, ValueError, "rehearsal"),
        ({"rehearsal": 1.5}, ValueError, "rehearsal"),
    ],
)
def test_bad_parameters_are_refused_before_training(params, error, text):
    (first, _), _ = rotated(0)
    clf = model(**params)
    with pytest.raises(error, match=text):
        clf.fit(*first)
    assert not hasattr(clf, "net_")


# --- rehearsal -----------------------------------------------------------------------------


def test_choice_gives_each_group_its_share():
    groups = np.repeat([0, 1, 2], [100, 3, 50])
    key = np.random.default_rng(0).random(153)
    kept = balanced_choice(groups, key, 23)
    assert Counter(groups[kept].tolist()) == {0: 10, 1: 3, 2: 10}
    for g in (0, 2):  # of a group, the smallest keys
        rows = np.flatnonzero(groups == g)
        assert set(kept) & set(rows) == set(rows[np.argsort(key[rows])[:10]])
    assert len(balanced_choice(groups, key, 500)) == 153
    assert len(balanced_choice(groups[:0], key[:0], 5)) == 0


def test_every_row_of_a_class_is_kept_equally_often_whichever_call_it_came_in():
    X, y = np.arange(90)[:, None], np.arange(90) % 3
    seen = Counter()
    for seed in range(400):
        buffer = RehearsalBuffer.empty(seed)
        for first in (0, 30, 60):
            part = slice(first, first + 30)
            buffer = buffer.with_rows(X[part], y[part], np.zeros(30), None, 9, True)
        assert Counter(buffer.y.tolist()) == {0: 3, 1: 3, 2: 3}
        assert (y[buffer.X[:, 0]] == buffer.y).all()
        seen.update(buffer.X[:, 0].tolist())
    counts = np.array([seen[i] for i in range(90)])  # each 400 * 9 / 90 = 40 times
    assert counts.sum() == 3600
    assert np.square(counts - 40).sum() / 40 < 140  # chi squared, 87 degrees of freedom


def test_nothing_is_kept_by_default():
    (first, _), _ = rotated(0)
    clf = model().fit(*first)
    assert clf._rehearsal is None
    clf = model(rehearsal=20).fit(*first)
    assert len(clf._rehearsal.y) == 20
    assert clf.set_params(rehearsal=0).fit(*first)._rehearsal is None


def test_kept_rows_are_trained_on_as_if_they_had_been_given():
    (first, second), _ = rotated(0, n=100)
    clf = model(rehearsal=12).partial_fit(*first)
    X, y = clf._rehearsal.X, clf._rehearsal.y
    assert Counter(y.tolist()) == {0: 3, 1: 3, 2: 3, 3: 3}
    by_hand = model().partial_fit(*first)
    by_hand.partial_fit(np.r_[second[0], X], np.r_[second[1], y])
    clf.partial_fit(*second)
    assert equal(weights(clf), weights(by_hand))
    X[:] = 0  # a copy: the caller's rows are their own
    assert first[0].any()


def test_only_labelled_source_rows_are_kept_in_their_domains():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 4)), np.arange(90) % 3
    X[:, 0] = np.arange(90)
    domain = np.repeat([0, 1, -1], 30)
    given = np.where(domain < 0, -1, y)
    clf = model(rehearsal=12, alignment="mmd", normalize="domain")
    clf.partial_fit(X, given, sample_domain=domain)
    kept = clf._rehearsal
    assert Counter(kept.domain.tolist()) == {0: 6, 1: 6}
    rows = kept.X[:, 0].astype(int)
    assert (domain[rows] == kept.domain).all() and (given[rows] == kept.y).all()
    clf.partial_fit(X, given, sample_domain=domain)
    assert Counter(clf._rehearsal.domain.tolist()) == {0: 6, 1: 6}
    clf.partial_fit(X, given)  # domains read off the masks: all sources are the first
    assert len(clf._rehearsal.y) == 12


def test_with_target_rows_given_apart():
    (first, second), _ = rotated(0, n=60)
    clf = model(rehearsal=20, alignment="mmd").fit(*first, X_target=second[0])
    clf.fit(*first, X_target=second[0][:30])
    assert (clf._rehearsal.domain == 0).all() and len(clf._rehearsal.y) == 20
    out = clf.fit_transform(*first, X_target=second[0])
    assert len(out) == 60


def test_sample_weights_follow_their_rows():
    (first, second), _ = rotated(0, n=60)
    weight = 1.0 + np.arange(60)
    clf = model(rehearsal=20).partial_fit(*first, sample_weight=weight)
    place = [int(np.flatnonzero((first[0] == row).all(1))[0]) for row in clf._rehearsal.X]
    assert (clf._rehearsal.weight == weight[place]).all()
    by_hand = model().partial_fit(*first, sample_weight=weight)
    joined = np.r_[np.ones(60), weight[place]]
    X = np.r_[second[0], clf._rehearsal.X]
    by_hand.partial_fit(X, np.r_[second[1], clf._rehearsal.y], sample_weight=joined)
    clf.partial_fit(*second)
    assert equal(weights(clf), weights(by_hand))


def test_containers_and_labels():
    (first, second), _ = rotated(0, n=60)
    expected = model(rehearsal=20).partial_fit(*first).partial_fit(*second)
    names = np.array(["a", "bb", "ccc", "dddd"], dtype=object)
    for wrap in (pd.DataFrame, sp.csr_matrix, np.ndarray.tolist):
        for labels in (lambda y: y, lambda y: names[y], lambda y: pd.Series(y)):
            frames = [(wrap(X), labels(y)) for X, y in (first, second)]
            if wrap is pd.DataFrame:
                frames = [(X.add_prefix("c"), y) for X, y in frames]
            clf = model(rehearsal=20).partial_fit(*frames[0]).partial_fit(*frames[1])
            if wrap is not sp.csr_matrix:
                assert equal(weights(clf), weights(expected))
            assert len(clf._rehearsal.y) == 20


def test_regression_keeps_rows_of_each_domain():
    (first, second), _ = rotated(0, n=60)
    domain = np.arange(60) % 3 == 0
    reg = model(DomainAdaptationRegressor, rehearsal=20)
    y = first[0][:, 0]
    reg.partial_fit(first[0], y, sample_domain=domain.astype(int))
    assert Counter(reg._rehearsal.domain.tolist()) == {0: 10, 1: 10}
    second_y = np.where(np.arange(60) < 10, np.nan, second[0][:, 0])
    reg.partial_fit(first[0], y).partial_fit(first[0], y, sample_domain=domain.astype(int))
    fresh = model(DomainAdaptationRegressor, rehearsal=20, alignment="coral")
    fresh.partial_fit(second[0], second_y).partial_fit(second[0], second_y)
    assert np.isfinite(fresh._rehearsal.y).all() and len(fresh._rehearsal.y) == 20
    assert np.isfinite(reg._rehearsal.y).all()


def test_a_refused_call_leaves_the_rows():
    (first, second), _ = rotated(0, n=60)
    clf = model(rehearsal=20).partial_fit(*first)
    kept = clf._rehearsal
    for X, y in ((second[0][:, :5], second[1]), (second[0], second[1][:7]), (None, second[1])):
        with pytest.raises((ValueError, TypeError)) as caught:
            clf.partial_fit(X, y)
        assert "Xs" not in str(caught.value)  # the message of a plain call
    with pytest.raises(TypeError, match=r"DataFrame.*rehearsal keeps.*ndarray"):
        clf.partial_fit(pd.DataFrame(second[0]), second[1])
    assert clf._rehearsal is kept
    named = [pd.DataFrame(X[:, :3], columns=list("abc")) for X in (first[0], second[0])]
    clf = model(rehearsal=20).partial_fit(named[0], first[1])
    with pytest.raises(ValueError, match="feature names should match"):
        clf.partial_fit(named[1].rename(columns={"c": "d"}), second[1])


def test_rehearsal_draws_the_same_rows_and_leaves_the_generator_alone():
    first = rotated(0, n=60)[0][0]
    for state in (0, np.random.RandomState(0)):
        a, b = (model(rehearsal=20, random_state=copy.deepcopy(state)) for _ in range(2))
        a.partial_fit(*first)
        b.partial_fit(*first)
        assert (a._rehearsal.X == b._rehearsal.X).all()
    drawn = model(rehearsal=20, random_state=np.random.RandomState(0)).partial_fit(*first)
    plain = model(random_state=np.random.RandomState(0)).partial_fit(*first)
    assert equal(weights(drawn), weights(plain))


def test_packed_rows_in_partial_fit():
    (first, second), _ = rotated(0, n=60)
    X, y, domain = pack(*first, second[0])
    clf = model(rehearsal=20, alignment="mmd")
    clf.partial_fit(X, y).partial_fit(X, y).partial_fit(X, y, sample_domain=domain)
    assert len(clf._rehearsal.y) == 20 and (clf._rehearsal.y >= 0).all()
