"""``label_shift=``, ``prior=`` and ``sampling="auto"`` in the deep classifier."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from adaptlearn import (
    DomainAdaptationClassifier,
    FineTuneClassifier,
    FineTuning,
    HeadRetrainer,
    LabelledScorer,
    MMDClassifier,
    load,
    pack,
)
from adaptlearn.deep import _label_shift
from adaptlearn.deep._label_shift import halved_share
from adaptlearn.deep.finetune import settled_mode
from adaptlearn.imbalance.sampling import nearest_sampling

METHODS = ("auto", "bbse", "rlls", "mlls")


def problem(seed=0, source=(0.4, 0.3, 0.2, 0.1), target=(0.05, 0.05, 0.1, 0.8), n=400, sep=3.0):
    """Four classes in other proportions; inputs look the same within a class."""
    rng = np.random.default_rng(seed)
    ys, yt = (rng.choice(4, size=n, p=p) for p in (source, target))
    Xs, Xt = (rng.normal(size=(n, 5)) + sep * np.eye(5)[y] for y in (ys, yt))
    return Xs, ys, Xt, yt


def small(**params):
    defaults = {"hidden_layer_sizes": (32,), "max_epochs": 40, "learning_rate": 0.01}
    return DomainAdaptationClassifier(**(defaults | {"random_state": 0} | params))


def share(y):
    return np.bincount(y, minlength=4) / len(y)


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_is_near_the_truth(method):
    Xs, ys, Xt, yt = problem()
    model = small(label_shift=method).fit(Xs, ys, X_target=Xt)
    np.testing.assert_allclose(model.source_prior_, share(ys))
    assert model.target_prior_.sum() == pytest.approx(1)
    # "auto" also allows for moved inputs, and believes less in what it finds.
    np.testing.assert_allclose(
        model.target_prior_, share(yt), atol=0.25 if method == "auto" else 0.05
    )


def test_without_label_shift_nothing_is_estimated():
    Xs, ys, Xt, _ = problem()
    model = small(label_shift=None).fit(Xs, ys, X_target=Xt)
    assert model.target_prior_ is None and model._class_ratio is None
    with pytest.raises(ValueError, match="label_shift='auto'"):
        model.set_params(prior="target").predict(Xt)
    with pytest.raises(ValueError, match="label_shift='auto'"):
        small(label_shift=None, prior="target").fit(Xs, ys, X_target=Xt)


def test_statistics_stay_with_the_target_where_proportions_are_in_doubt(monkeypatch):
    """Evidence s leaves the share s^2 of what proportions explain; by hand from the scaler."""
    rng = np.random.default_rng(0)
    ys = np.arange(90) % 3
    Xs = rng.normal(size=(90, 4)) + 3 * np.eye(3, 4)[ys]
    Xt = rng.normal(size=(60, 4)) + 0.5
    prior, explained = np.full(3, 1 / 3), {}
    for evidence in (0.0, 0.5, 1.0):
        monkeypatch.setattr(_label_shift, "match_target", lambda *_, e=evidence, **__: (prior, e))
        scaler = small(max_epochs=1).fit(Xs, ys, X_target=Xt)._scaler
        explained[evidence] = Xt.mean(0) - scaler.mean[1]  # slots: the source, the target, ...
    np.testing.assert_allclose(explained[0.0], 0, atol=1e-9)
    np.testing.assert_allclose(explained[0.5], explained[1.0] / 4, atol=1e-9)
    assert abs(explained[1.0]).max() > 0.1


@pytest.mark.parametrize("n_target", [0, 5])
def test_an_unknown_target_is_refused_before_training(n_target):
    Xs, ys, Xt, _ = problem()
    Xt = Xt[:n_target] if n_target else None
    model = small(prior="target", max_epochs=10**9)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(ValueError, match="this fit estimated none"),
    ):
        model.fit(Xs, ys, X_target=Xt)


def test_no_target_rows():
    Xs, ys, _, _ = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = small().fit(Xs, ys)
    assert model.target_prior_ is None


def test_prior_by_hand():
    """Trained on .4 .3 .2 .1: probabilities over these, times the proportions asked for."""
    Xs, ys, Xt, _ = problem(sep=1.0)
    model = small(label_shift="mlls", sampling="instance").fit(Xs, ys, X_target=Xt)
    trained = model.predict_proba(Xt)
    # Label smoothing of .1 is taken out first; what is left below .001 is noise.
    raw = np.maximum(4 * trained - 0.1, 1e-3)
    posterior = raw / raw.sum(axis=1, keepdims=True)
    known = [0.1, 0.2, 0.3, 0.4]
    for prior, wanted in {
        "source": share(ys), "uniform": np.full(4, 0.25), "target": model.target_prior_
    }.items():  # fmt: skip
        expected = posterior * wanted / share(ys)
        expected /= expected.sum(axis=1, keepdims=True)
        found = model.set_params(prior=prior).predict_proba(Xt)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_array_equal(model.predict(Xt), expected.argmax(axis=1))
        np.testing.assert_array_equal(model.decision_function(Xt).argmax(1), expected.argmax(1))
    expected = posterior * known / share(ys)
    found = model.set_params(prior=known).predict_proba(Xt)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(model.set_params(prior=None).predict_proba(Xt), trained)


def test_target_prior_is_for_target_rows_only():
    Xs, ys, Xt, _ = problem(sep=1.0)
    model = small(prior="target").fit(Xs, ys, X_target=Xt)
    on_source = model.predict_proba(Xt, sample_domain="source")
    np.testing.assert_allclose(
        on_source, model.set_params(prior="source").predict_proba(Xt, sample_domain=0)
    )
    assert abs(on_source - model.set_params(prior="target").predict_proba(Xt)).max() > 0.1


@pytest.mark.parametrize(
    "params",
    [
        {"sampling": "balanced"},
        {"class_weight": "balanced"},
        {"criterion": "logit_adjusted"},
        {"criterion": "class_balanced"},
        {"mixing": "smote", "batch_size": 400},
    ],
    ids=str,
)
def test_nothing_is_corrected_twice(params):
    """However the training was balanced, each prior gives about the same answers."""
    Xs, ys, Xt, _ = problem(sep=1.5, n=1500)
    plain = {"alignment": None, "label_shift": None, "normalize": "source", "max_epochs": 30}
    one = small(**plain, sampling="instance").fit(Xs, ys, X_target=Xt)
    two = small(**(plain | params)).fit(Xs, ys, X_target=Xt)
    for prior in ("source", "uniform", [0.1, 0.1, 0.1, 0.7]):
        answers = [m.set_params(prior=prior).predict(Xt) for m in (one, two)]
        assert np.mean(answers[0] == answers[1]) > 0.93, prior
    assert np.mean(one.set_params(prior=None).predict(Xt) == answers[1]) < 0.9


def test_correction_helps_where_only_proportions_changed():
    gains = []
    for seed in range(3):
        Xs, ys, Xt, yt = problem(seed, sep=1.5)
        model = small(label_shift="mlls", alignment=None, normalize="source").fit(
            Xs, ys, X_target=Xt
        )
        gains.append(model.set_params(prior="target").score(Xt, yt))
        gains[-1] -= model.set_params(prior=None).score(Xt, yt)
    assert min(gains) > 0.05


def test_alignment_under_label_shift_beats_it_without():
    """MMD pulls the target's one class over all of the source's unless the source is weighted."""
    scores = {"auto": [], None: []}
    for seed in range(3):
        Xs, ys, Xt, yt = problem(seed)
        for label_shift, found in scores.items():
            model = small(alignment="mmd", label_shift=label_shift).fit(Xs, ys, X_target=Xt)
            found.append(model.score(Xt, yt))
    assert np.mean(scores["auto"]) > np.mean(scores[None]) + 0.1


def moved(seed, n_classes, n=240, sep=3.0):
    """The same proportions on both sides; inputs turned a little, in other units and offsets."""
    rng, d = np.random.default_rng(seed), n_classes + 3
    share = np.linspace(2, 1, n_classes) / np.linspace(2, 1, n_classes).sum()
    y = np.repeat(np.arange(n_classes), np.round(n * share).astype(int))
    Xs, Xt = (rng.normal(size=(len(y), d)) + sep * np.eye(d)[y] for _ in "st")
    Xt = (Xt + Xt @ rng.normal(0, 0.15, (d, d))) * rng.uniform(0.5, 2, d) + rng.normal(0, 2, d)
    return Xs, y, Xt, y


def test_nothing_is_lost_where_proportions_are_the_same():
    """The safe default beside the same fit without correction: at most half a point below."""
    lost = []
    for n_classes in (3, 4):
        for seed in range(3):
            Xs, ys, Xt, yt = moved(seed, n_classes)
            given = {"max_epochs": 10, "random_state": seed}
            default = small(**given).fit(Xs, ys, X_target=Xt)
            plain = small(**given, label_shift=None, sampling="instance").fit(Xs, ys, X_target=Xt)
            assert default.label_shift == default.sampling == "auto"
            lost.append(plain.score(Xt, yt) - default.score(Xt, yt))
    assert np.mean(lost) <= 0.005, lost


def test_saved_and_cloned(tmp_path):
    Xs, ys, Xt, _ = problem()
    model = small(prior="target").fit(Xs, ys, X_target=Xt)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(model.predict_proba(Xt), loaded.predict_proba(Xt))
    np.testing.assert_array_equal(model.target_prior_, loaded.target_prior_)
    assert loaded.sampling_ == model.sampling_ and loaded.prior == "target"
    assert str(loaded.alignment_) == str(model.alignment_)
    assert not hasattr(clone(model), "net_")


def test_head_retrained_evenly_stands_for_even_classes():
    Xs, ys, Xt, _ = problem(sep=1.0)
    retrained = HeadRetrainer(small(), n_steps=20, random_state=0).fit(Xs, ys, X_target=Xt)
    inner = retrained.estimator_
    plain = inner.predict_proba(Xt)
    np.testing.assert_allclose(inner.set_params(prior="uniform").predict_proba(Xt), plain)


def test_searches_and_packed_rows():
    Xs, ys, Xt, _ = problem(n=120)
    X, y, domain = pack(Xs, ys, Xt)
    search = GridSearchCV(
        small(max_epochs=2),
        {"label_shift": [None, "auto", "mlls"], "prior": [None, "uniform"]},
        scoring=LabelledScorer("balanced_accuracy"), cv=2, error_score="raise",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        search.fit(X, y)
    assert len(search.cv_results_["params"]) == 6
    direct = small(max_epochs=2).fit(Xs, ys, X_target=Xt).target_prior_
    packed = small(max_epochs=2).fit(X, y, sample_domain=domain).target_prior_
    np.testing.assert_allclose(direct, packed, atol=0.05)


def test_presets_keep_their_alignment():
    Xs, ys, Xt, _ = problem()
    model = MMDClassifier(max_epochs=1, label_shift="mlls").fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in model.alignment_] == ["MMD"]


def test_what_auto_comes_to():
    Xs, ys, Xt, _ = problem()
    gone = small(max_epochs=1).fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in gone.alignment_] == ["MCC", "MMD"]
    Xs, ys, Xt, _ = problem(target=(0.4, 0.3, 0.2, 0.1))
    same = small(max_epochs=1).fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in same.alignment_] == ["SPL", "Entropy", "MMD"]
    assert same.sampling_ == "instance"
    Xs, ys, Xt, _ = problem(source=(0.85, 0.05, 0.05, 0.05), target=(0.25, 0.25, 0.25, 0.25))
    assert small(max_epochs=1).fit(Xs, ys, X_target=Xt).sampling_ == "balanced"
    other = small(max_epochs=1, criterion="logit_adjusted").fit(Xs, ys, X_target=Xt)
    assert other.sampling_ == "instance"


def two_classes(seed, share, unit=1.0, offset=0.0, n=300):
    rng = np.random.default_rng(seed)
    ys, yt = rng.integers(2, size=n), (rng.random(n) < share).astype(int)
    Xs, Xt = (rng.normal(size=(n, 5)) + 1.2 * y[:, None] for y in (ys, yt))
    return Xs, ys, unit * Xt + offset, yt


@pytest.mark.parametrize("share", [0.05, 0.95])
@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (4.0, 50.0)])
def test_two_classes_in_other_proportions(share, unit, offset):
    """Nothing tells a small shift from other proportions; target statistics would halve them."""
    default, plain = [], []
    for seed in range(3):
        Xs, ys, Xt, yt = two_classes(seed, share, unit, offset)
        default.append(small(random_state=seed).fit(Xs, ys, X_target=Xt).score(Xt, yt))
        model = small(random_state=seed, label_shift=None).fit(Xs, ys, X_target=Xt)
        plain.append(model.score(Xt, yt))
    if unit == 1:
        assert np.mean(default) > max(0.85, np.mean(plain) + 0.1)
    else:  # far from anything that proportions could do: the target's own statistics
        assert np.mean(default) > 0.5 and np.mean(default) > np.mean(plain) - 0.1


def test_what_auto_comes_to_with_two_classes():
    Xs, ys, Xt, _ = two_classes(0, 0.5)
    even = small(max_epochs=1).fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in even.alignment_] == ["SPL", "MMD"]
    Xs, ys, Xt, _ = two_classes(0, 0.9)
    model = small(max_epochs=1).fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in model.alignment_] == ["SPL"]
    np.testing.assert_array_equal(model.target_prior_, model.source_prior_)
    plain = small(max_epochs=1, label_shift=None).fit(Xs, ys, X_target=Xt)
    assert [type(a).__name__ for a in plain.alignment_] == ["SPL", "Entropy", "MMD"]
    known = small(label_shift="mlls").fit(Xs, ys, X_target=Xt)
    assert known.target_prior_[1] > 0.8


def test_halved_share_by_hand():
    source, target = np.array([0.5, 0.3, 0.2]), np.array([0.26, 0.14, 0.6])
    assert halved_share(source, target) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("prior", "name"),
    [([0.8, 0.2, 0], "instance"), ([0.66, 0.34, 0], "sqrt"), ([0.5, 0.5, 0], "balanced")],
)
def test_nearest_sampling_by_hand(prior, name):
    """Sixteen rows to four: .8, .667 and .5 are drawn of the first class."""
    assert nearest_sampling(np.array([16, 4, 0]), np.array(prior)) == name


def test_too_few_rows_to_hold_out():
    rng = np.random.default_rng(0)
    X, y, Xt = rng.normal(size=(4, 3)), np.arange(4), rng.normal(size=(30, 3))
    with pytest.warns(UserWarning, match="too few rows"):
        model = small(label_shift="mlls", max_epochs=1).fit(X, y, X_target=Xt)
    assert model.target_prior_ is None


def test_held_out_predictions_come_from_a_network_trained_alike():
    network = torch.nn.Linear(5, 8)
    for cls, mode in ((FineTuneClassifier, "gradual"), (DomainAdaptationClassifier, "plain")):
        clf = cls(backbone=network)
        assert settled_mode(clf) == settled_mode(clf._unaligned(0)) == mode
    kept = FineTuneClassifier(backbone=network, finetune=FineTuning(warmup=0.3))._unaligned(0)
    assert kept.finetune.warmup == 0.3
