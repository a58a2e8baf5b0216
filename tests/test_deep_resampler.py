"""``resampler=`` of the deep classifier: labelled rows resampled by domain before training."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler, TomekLinks
from sklearn.model_selection import GridSearchCV
from torch import nn

from adaptlearn import (
    DomainAdaptationClassifier,
    DomainResampler,
    HeadRetrainer,
    LabelledScorer,
    ResampledClassifier,
    pack,
)
from adaptlearn.metrics import worst_class_recall

SMALL = {"max_epochs": 2, "hidden_layer_sizes": (8,), "random_state": 0}
SMOTE2 = SMOTE(k_neighbors=2, random_state=0)
OVER = RandomOverSampler(random_state=0)
UNDER = RandomUnderSampler(random_state=0)


def small(**params):
    return DomainAdaptationClassifier(**(SMALL | params))


def problem(seed=0, n=(120, 30, 9), gap=2.5):
    rng = np.random.default_rng(seed)
    y, yt = np.repeat(np.arange(len(n)), n), np.repeat(np.arange(len(n)), 60)
    centres = gap * np.eye(4)[: len(n)]
    X = rng.normal(size=(len(y), 4)) + centres[y]
    return X, y, 2 * (rng.normal(size=(len(yt), 4)) + centres[yt]) + 5, yt


def three_domains():
    """Two sources, four to one and one to two, and a target with labels; shuffled."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, -1], [50, 45, 40])
    y = np.r_[np.repeat([0, 1], [40, 10]), np.repeat([0, 1], [15, 30]), np.arange(40) % 2]
    X = rng.normal(size=(135, 3)) + 2 * y[:, None] + 100 * domain[:, None]
    order = rng.permutation(135)
    return X[order], y[order], domain[order]


def weights(clf):
    return list(clf._network.state_dict().values())


def equal(a, b):
    return all(torch.equal(v, w) for v, w in zip(weights(a), weights(b), strict=True))


def training_rows(clf, *args, **kwargs):
    """What a fit of the estimator trains on: rows, codes, slots, weights."""
    seen = {}
    plain = clf._training_set

    def spy(rows, fit_rows, slots, codes, task_weight, seed, device):
        data, stopping = plain(rows, fit_rows, slots, codes, task_weight, seed, device)
        seen.update(data=data, fit_rows=fit_rows)
        return data, stopping

    clf._training_set = spy
    clf.fit(*args, **kwargs)
    del clf._training_set
    return seen["data"], seen["fit_rows"]


# --- what is trained on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "container"),
    [
        (SMOTE2, np.asarray),
        (SMOTE2, sp.csr_matrix),
        (SMOTE2, np.float32),
        (OVER, np.asarray),
        (UNDER, np.asarray),
        (TomekLinks(), np.asarray),
    ],
)
def test_it_is_the_fit_on_resampled_rows(sampler, container):
    X, y, Xt, _ = problem()
    X, Xt = container(X), container(Xt)
    # The target's proportions would be estimated from other rows.
    params = {"normalize": None, "label_shift": None, "alignment": ["mcc", "coral"]}
    one = small(resampler=sampler, **params).fit(X, y, X_target=Xt)
    X_new, y_new = DomainResampler(sampler).fit_resample(X, y)
    two = small(**params).fit(X_new, y_new, X_target=Xt)
    assert equal(one, two)
    assert not equal(one, small(**params).fit(X, y, X_target=Xt))
    assert one._class_counts.tolist() == np.bincount(y_new).tolist()


@pytest.mark.parametrize("target_labels", ["ignore", "use"])
def test_domains_stay_apart_and_rows_without_labels_stay(target_labels):
    X, y, domain = three_domains()
    y = np.where((domain == -1) & (np.arange(135) % 3 == 0), -1, y)
    clf = small(normalize=None, resampler=SMOTE2, target_labels=target_labels)
    data, rows = training_rows(clf, X, y, sample_domain=domain)
    sampler = DomainResampler(SMOTE2, target_labels=target_labels)
    X_new, y_new = sampler.fit_resample(X, y, sample_domain=domain)
    np.testing.assert_array_equal(rows.domain, sampler.sample_domain_)
    np.testing.assert_array_equal(rows.y[rows.labelled], y_new[rows.labelled])
    np.testing.assert_allclose(data.rows.tensor.numpy(), X_new, rtol=1e-6)
    assert rows.labelled.sum() == len(data.labelled)
    assert len(data.target) == (rows.domain == -1).sum()
    for d, n in ((0, 80), (1, 60)):
        assert (rows.domain == d).sum() == n
        near = np.abs(data.rows.tensor.numpy()[rows.domain == d] - 100 * d).max()
        assert near < 20  # nothing between domains


def test_weights_follow():
    X, y, domain = three_domains()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    clf = small(normalize=None, resampler=SMOTE2, alignment=None)
    rows = training_rows(clf, X, y, sample_domain=domain, sample_weight=weight)[1]
    sampler = DomainResampler(SMOTE2)
    sampler.fit(X, y, sample_domain=domain)
    origin = sampler.sample_indices_
    assert (origin < 0).sum() == 30 + 15
    expected = [
        weight[o] if o >= 0 else weight[(y == rows.y[k]) & (domain == rows.domain[k])].mean()
        for k, o in enumerate(origin)
    ]
    np.testing.assert_allclose(rows.weight, expected)


def test_a_resampler_of_ours_brings_its_target_labels():
    X, y, domain = three_domains()
    y[(domain == -1) & (y == 1) & (np.arange(135) > 60)] = 0
    n = (domain == -1).sum()
    for own, expected in (("ignore", n), ("use", 2 * (y[domain == -1] == 0).sum())):
        clf = small(resampler=DomainResampler(OVER, target_labels=own), target_labels="use")
        rows = training_rows(clf, X, y, sample_domain=domain)[1]
        assert (rows.domain == -1).sum() == expected
    none = small(resampler=DomainResampler()).fit(X, y, sample_domain=domain)
    assert equal(none, small().fit(X, y, sample_domain=domain))


# --- statistics and weights of alignments -----------------------------------------------------


@pytest.mark.parametrize("normalize", ["domain", "source"])
def test_statistics_are_those_of_the_rows_given(normalize):
    X, y, Xt, _ = problem()
    plain = small(normalize=normalize).fit(X, y, X_target=Xt)
    for sampler in (SMOTE2, UNDER):
        clf = small(normalize=normalize, resampler=sampler).fit(X, y, X_target=Xt)
        np.testing.assert_array_equal(clf._scaler.mean, plain._scaler.mean)
        np.testing.assert_array_equal(clf._scaler.scale, plain._scaler.scale)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sampler", [SMOTE2, UNDER], ids=repr)
def test_alignments_still_see_the_targets_proportions(sampler, weighted):
    """Share of a class times its ratio is the estimated target share, before and after."""
    X, y, Xt, _ = problem()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    plain, prior = None, []
    for resampler in (None, sampler):
        clf = small(resampler=resampler)
        data = training_rows(clf, X, y, X_target=Xt, sample_weight=weight)[0]
        codes, w = data.y[data.labelled].numpy(), data.weight[data.labelled].numpy()
        prior.append(np.bincount(codes, w) / w.sum())
        plain = clf if plain is None else plain
    assert not np.allclose(plain._class_ratio[0], 1)
    assert not np.allclose(plain._class_ratio[0], clf._class_ratio[0])
    np.testing.assert_allclose(prior[0], prior[1], rtol=1e-5)
    np.testing.assert_array_equal(clf._class_ratio[1], 1)


# --- an estimator like any other --------------------------------------------------------------


def test_refits_are_bit_equal_and_the_sampler_is_left_alone():
    X, y, Xt, _ = problem()
    sampler = SMOTE(k_neighbors=2)
    before = repr(sampler.get_params()), set(vars(sampler))
    one, two = (small(resampler=sampler).fit(X, y, X_target=Xt) for _ in range(2))
    assert equal(one, two)
    assert (repr(sampler.get_params()), set(vars(sampler))) == before
    assert one.resampler is sampler
    fixed = [training_rows(small(resampler=s, random_state=r), X, y, X_target=Xt)[0].rows.tensor
             for s in (sampler, SMOTE2) for r in (0, 1)]  # fmt: skip
    assert not torch.equal(fixed[0], fixed[1]) and torch.equal(fixed[2], fixed[3])


def test_rows_out_are_rows_in(packed):
    X, y, domain = packed
    Z = small(resampler=SMOTE2).fit_transform(X, y, sample_domain=domain)
    assert len(Z) == len(X)
    Xs, ys, Xt, _ = problem()
    assert len(small(resampler=UNDER).fit_transform(Xs, ys, X_target=Xt)) == len(Xs)


def test_labels_of_any_kind():
    X, y, Xt, _ = problem()
    names = np.array(["a", "b", "rare"])
    sampler = SMOTE(sampling_strategy={"rare": 40}, random_state=0)
    clf = small(resampler=sampler, class_weight="balanced").fit(X, names[y], X_target=Xt)
    assert clf.classes_.tolist() == ["a", "b", "rare"]
    assert clf._class_counts.tolist() == [120, 30, 40]


def test_training_goes_on():
    X, y, Xt, _ = problem()
    Xp, yp, domain = pack(X, y, Xt)
    clf = small(resampler=OVER).fit(Xp, yp, sample_domain=domain)
    ratio = clf._class_ratio.copy()
    half = np.arange(len(Xp)) % 2 == 0
    clf.partial_fit(Xp[half], yp[half], sample_domain=domain[half])
    np.testing.assert_array_equal(clf._class_ratio, ratio)
    assert np.isfinite(clf.predict_proba(Xt)).all()
    clf.set_params(warm_start=True).fit(Xp, yp, sample_domain=domain)
    np.testing.assert_array_equal(clf._class_ratio, ratio)


def test_searches(routing):
    X, y, Xt, _ = problem()
    Xp, yp, domain = pack(X, y, Xt)
    grid = [{"resampler": [None, OVER, UNDER]},
            {"resampler": [SMOTE2], "resampler__k_neighbors": [1, 2]}]  # fmt: skip
    search = GridSearchCV(small(), grid, scoring=LabelledScorer("balanced_accuracy"), cv=2,
                          error_score="raise")  # fmt: skip
    search.fit(Xp, yp, **({"sample_domain": domain} if routing else {}))
    assert len(search.cv_results_["params"]) == 5
    assert SMOTE2.k_neighbors == 2


def test_goes_with_mixing_sampling_and_head():
    X, y, Xt, _ = problem()
    for params in ({"mixing": "mixup"}, {"mixing": "smote"}, {"sampling": "balanced"},
                   {"early_stopping": True, "resampler": UNDER}):  # fmt: skip
        clf = small(**({"resampler": SMOTE2} | params)).fit(X, y, X_target=Xt)
        assert np.isfinite(clf.predict_proba(Xt)).all()
    HeadRetrainer(small(resampler=SMOTE2), n_steps=2).fit(X, y, X_target=Xt)


def test_agrees_with_the_wrapper():
    X, y, Xt, _ = problem()
    Xp, yp, domain = pack(X, y, Xt)
    params = {"normalize": None, "label_shift": None}
    inside = small(**params, resampler=SMOTE2).fit(Xp, yp, sample_domain=domain)
    around = ResampledClassifier(small(**params), SMOTE2).fit(Xp, yp, sample_domain=domain)
    np.testing.assert_array_equal(inside.predict_proba(Xt), around.predict_proba(Xt))


def test_rare_classes_gain():
    gains = []
    for seed in range(3):
        X, y, Xt, yt = problem(seed, n=(300, 60, 12))
        plain, resampled = (
            worst_class_recall(
                yt,
                small(resampler=r, max_epochs=20, alignment=None, random_state=seed)
                .fit(X, y, X_target=Xt).predict(Xt),
            )
            for r in (None, SMOTE())
        )  # fmt: skip
        gains.append(resampled - plain)
    assert min(gains) >= 0 and np.mean(gains) > 0.2, gains


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"resampler": "smote"}, TypeError, "resampler='smote' must be an imbalanced-learn"),
        ({"resampler": SMOTE}, TypeError, r"resampler=.*SMOTE'> must be .*such as SMOTE\(\)"),
        ({"resampler": DomainResampler(3)}, TypeError, "resampler.sampler=3 must be"),
        (
            {"resampler": OVER, "criterion": "ldam"},
            ValueError,
            r"criterion=LDAM\(\) counters imbalance itself, and resampler=.*Set resampler=None",
        ),
        (
            {"resampler": DomainResampler(SMOTE2), "criterion": "class_balanced"},
            ValueError,
            "would do so a second time",
        ),
        (
            {"resampler": OVER, "early_stopping": True},
            ValueError,
            "early_stopping=True holds out rows, and with resampler=.* copies",
        ),
        (
            {"resampler": SMOTE(sampling_strategy={0: 1})},
            ValueError,
            r"SMOTE refuses domain 0, whose labelled rows are by class \{0: 120, 1: 30, 2: 9\}",
        ),
    ],
)
def test_errors_come_before_training(params, error, message):
    X, y, Xt, _ = problem()
    clf = small(alignment=None).fit(X, y, X_target=Xt)
    before = clf.predict_proba(Xt)
    clf.set_params(**params)
    with pytest.raises(error, match=message):
        clf.fit(X, y, X_target=Xt)
    np.testing.assert_array_equal(clf.predict_proba(Xt), before)


def test_cleaning_is_no_rebalancing():
    X, y, Xt, _ = problem()
    small(resampler=TomekLinks(), criterion="logit_adjusted").fit(X, y, X_target=Xt)


def test_images_are_sent_elsewhere():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 1, 4, 4)), np.arange(30) % 2
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    with pytest.raises(ValueError, match=r"X has shape \(30, 1, 4, 4\).* use mixing='smote'"):
        small(backbone=net, resampler=OVER).fit(X, y, X_target=X)
    small(backbone=net, mixing="smote").fit(X, y, X_target=X)


def test_a_domain_of_one_class_warns():
    X, y, domain = three_domains()
    y[domain == 1] = 1
    with pytest.warns(UserWarning, match=r"domain 1 has one class only, \[1\]: its 45 rows"):
        small(resampler=OVER).fit(X, y, sample_domain=domain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(resampler=OVER).fit(X[domain != 1], y[domain != 1], sample_domain=domain[domain != 1])
