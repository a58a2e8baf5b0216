"""Offsets by brute force, and the classifier that tunes them."""

import itertools
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score, f1_score, get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from two_sides import PerSide

from adaptlearn import (
    DomainAdaptationClassifier,
    LabelledScorer,
    ResampledClassifier,
    TunedThresholdsClassifier,
)
from adaptlearn.imbalance._offsets import METRICS, Objective, tune_offsets
from adaptlearn.metrics import geometric_mean_score, worst_class_recall

FUNCTIONS = {
    "balanced_accuracy": balanced_accuracy_score,
    "worst_class_recall": worst_class_recall,
    "geometric_mean": geometric_mean_score,
    "f1_macro": lambda y, p, **kw: f1_score(y, p, average="macro", **kw),
}


def long_tail(n=(200, 40, 12), seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(len(n)), n))
    return rng.normal(size=(len(y), 3)) + 1.5 * np.eye(3)[y % 3], y


def scores_of(y, seed=0):
    """Log-probabilities that lean to the frequent classes."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(len(y), y.max() + 1)) + 1.5 * np.eye(y.max() + 1)[y]
    z += np.log(np.bincount(y) / len(y))
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def test_the_metrics_are_the_known_ones():
    assert METRICS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("weighted", [False, True])
def test_values_of_many_predictions_at_once(metric, weighted):
    rng = np.random.default_rng(1)
    y = np.r_[np.arange(4), rng.integers(0, 4, 60)]
    weight = rng.uniform(0.5, 2, 64) if weighted else None
    given = {} if weight is None else {"sample_weight": weight}
    objective = Objective(metric, y, np.arange(4), weight)
    rival, order, cuts = rng.integers(0, 4, 64), rng.permutation(64), np.array([0, 3, 20, 21, 64])
    rival[rival == 2] = 1  # class 2 is the one that is tried
    values = objective.values(rival, order, cuts, 2)
    for cut, value in zip(cuts, values, strict=True):
        predicted = rival.copy()
        predicted[order[:cut]] = 2
        expected = FUNCTIONS[metric](y, predicted, **given)
        assert objective.score(predicted) == pytest.approx(expected, abs=1e-12)
        tie = 1e-6 * balanced_accuracy_score(y, predicted, **given)
        assert value == pytest.approx(expected + tie, abs=1e-12)
        assert objective.value(predicted) == pytest.approx(value, abs=1e-12)
    # A function gives the same as the name.
    same = Objective(FUNCTIONS[metric], y, np.arange(4), weight).values(rival, order, cuts, 2)
    np.testing.assert_allclose(same, values, atol=1e-12)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_weights_that_cancel_leave_no_rounding(metric):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 64)
    objective = Objective(metric, y, np.arange(4), rng.random(64))
    # After the last cut no row of the other classes is right, but weights that are added and taken
    # away one by one do not come to exactly 0.
    order, cuts = rng.permutation(64), np.array([0, 32, 64])
    for k in range(4):
        rival = np.where(y == k, (y + 1) % 4, y)
        values = objective.values(rival, order, cuts, k)
        last = objective.value(np.full(64, k))
        np.testing.assert_allclose(values[-1], last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("seed", range(3))
def test_two_classes_by_brute_force(metric, seed):
    y = np.repeat([0, 1], [60, 9])
    scores = scores_of(y, seed)
    objective = Objective(metric, y, np.arange(2))
    b = tune_offsets(scores, objective)
    gaps = np.sort(scores[:, 0] - scores[:, 1])
    edges = np.r_[gaps[0] - 1, (gaps[1:] + gaps[:-1]) / 2, gaps[-1] + 1]
    best = max(objective.score((scores[:, 1] + t > scores[:, 0]).astype(int)) for t in edges)
    assert objective.score((scores + b).argmax(1)) == pytest.approx(best, abs=2e-6)
    assert b.sum() == pytest.approx(0)


def quick(y_true, y_pred):
    return np.mean([np.mean(y_pred[y_true == c] == c) ** 2 for c in np.unique(y_true)])


@pytest.mark.parametrize("metric", [*sorted(METRICS), "function"])
@pytest.mark.parametrize("seed", range(3))
def test_three_classes_near_brute_force_and_never_worse(metric, seed):
    y = np.repeat([0, 1, 2], [60, 12, 6])
    scores = scores_of(y, seed)
    objective = Objective(quick if metric == "function" else metric, y, np.arange(3))
    found = objective.score((scores + tune_offsets(scores, objective)).argmax(1))
    grid = np.linspace(-2, 6, 21)
    tried = [scores + np.array([0, b1, b2]) for b1, b2 in itertools.product(grid, grid)]
    best = max(objective.score(shifted.argmax(1)) for shifted in tried)
    assert found >= objective.score(scores.argmax(1))
    assert found > best - 0.03  # a coordinate search may end beside the optimum
    if metric == "worst_class_recall":
        assert objective.score(scores.argmax(1)) < 0.4 < 0.5 < found


@pytest.mark.parametrize("seed, zero, prior", [(0, 0.71, 0.65), (5, 0.475, 0.575)])
def test_the_better_of_two_starts_wins(seed, zero, prior):
    y = np.repeat(np.arange(5), [100, 40, 20, 10, 5])
    scores = scores_of(y, seed)
    objective = Objective("worst_class_recall", y, np.arange(5))
    found = objective.score((scores + tune_offsets(scores, objective)).argmax(1))
    assert found == pytest.approx(max(zero, prior))


def test_offsets_that_help_nobody_stay_zero():
    y = np.repeat([0, 1, 2], 5)
    scores = np.log(np.full((15, 3), 0.05) + 0.85 * np.eye(3)[y])
    for metric in METRICS:
        assert tune_offsets(scores, Objective(metric, y, np.arange(3))).tolist() == [0, 0, 0]
    # A function that no offset can please.
    flat = Objective(lambda y_true, y_pred: 1.0, y, np.arange(3))
    assert (scores + tune_offsets(scores, flat)).argmax(1).tolist() == y.tolist()


def test_many_rows_use_some_of_the_thresholds():
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [20000, 5000, 1000, 200, 50]))
    scores = scores_of(y)
    objective = Objective("balanced_accuracy", y, np.arange(5))
    few = objective.score((scores + tune_offsets(scores, objective, max_candidates=64)).argmax(1))
    prior = objective.score((scores - np.log(np.bincount(y) / len(y))).argmax(1))
    assert few > prior - 1e-3 > objective.score(scores.argmax(1))


# --- the classifier ---------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", [*sorted(METRICS), "function"])
def test_held_out_predictions_are_what_is_tuned_on(scoring):
    X, y = long_tail()
    metric = FUNCTIONS.get(scoring, quick)
    scoring = quick if scoring == "function" else scoring
    clf = TunedThresholdsClassifier(LogisticRegression(), scoring, cv=4).fit(X, y)
    proba = cross_val_predict(LogisticRegression(), X, y, cv=4, method="predict_proba")
    assert clf.base_score_ == pytest.approx(metric(y, proba.argmax(1)))
    tuned = (np.log(proba) + clf.offsets_).argmax(1)
    assert clf.best_score_ == pytest.approx(metric(y, tuned))
    assert clf.best_score_ > clf.base_score_ + 0.05
    plain = LogisticRegression().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clf.predict(X), (np.log(plain) + clf.offsets_).argmax(1))
    shifted = plain * np.exp(clf.offsets_)
    expected = shifted / shifted.sum(1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(X), expected, atol=1e-9)
    np.testing.assert_allclose(clf.predict_log_proba(X), np.log(expected), atol=1e-6)


def test_offsets_help_on_new_rows():
    X, y = long_tail(n=(2000, 200, 60))
    X_new, y_new = long_tail(n=(500, 500, 500), seed=1)
    plain = LogisticRegression().fit(X, y)
    clf = TunedThresholdsClassifier(LogisticRegression(), "worst_class_recall").fit(X, y)
    before, after = (worst_class_recall(y_new, m.predict(X_new)) for m in (plain, clf))
    assert before < 0.3 and after > 0.6


def test_two_classes_beside_sklearn():
    X, y = long_tail(n=(300, 30))
    ours = TunedThresholdsClassifier(LogisticRegression()).fit(X, y)
    theirs = TunedThresholdClassifierCV(LogisticRegression(), cv=StratifiedKFold(5)).fit(X, y)
    assert ours.best_score_ >= theirs.best_score_ - 0.01


@pytest.mark.parametrize("names", [None, ["a", "b", "c"]], ids=["int", "str"])
def test_masks_are_not_tuned_on(names, sides, routing):
    Xs, ys, Xt, _ = sides
    keep = (ys == 0) | (np.arange(len(ys)) % 5 == 0)
    Xs, ys = Xs[keep], ys[keep]
    labels = ys if names is None else np.array(names)[ys]
    mask = -1 if names is None else "-1"
    X, y = np.concatenate([Xs, Xt]), np.concatenate([labels, np.full(len(Xt), mask)])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        clf = TunedThresholdsClassifier(LogisticRegression(), cv=3).fit(X, y)
        plain = TunedThresholdsClassifier(LogisticRegression(), cv=3).fit(Xs, labels)
    np.testing.assert_array_equal(clf.offsets_, plain.offsets_)
    assert clf.classes_.tolist() == sorted(set(labels.tolist()))
    np.testing.assert_array_equal(clf.predict_proba(X), plain.predict_proba(X))
    assert clf.score(X, y) == plain.score(Xs, labels)


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what each fit saw; column 0 of X is the row number."""

    fits = []
    __metadata_request__fit = {"sample_domain": True, "sample_weight": True, "group": True}
    __metadata_request__predict_proba = {"sample_domain": True}

    def fit(self, X, y, *, sample_domain=None, sample_weight=None, group=None):
        self.classes_ = np.unique(y[y != -1])
        type(self).fits.append((X[:, 0].astype(int), y, sample_domain, sample_weight, group))
        return self

    def predict_proba(self, X, *, sample_domain=None):
        type(self).fits.append((X[:, 0].astype(int), sample_domain))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def test_folds_hold_every_unlabelled_row_and_arguments_follow(routing):
    y = np.r_[np.arange(30) % 3, np.full(10, -1)]
    X = np.column_stack([np.arange(40.0), np.zeros(40)])
    domain = np.r_[np.arange(30) % 2, np.full(10, -1)]
    Recorder.fits = []
    clf = TunedThresholdsClassifier(Recorder(), cv=5)
    clf.fit(X, y, sample_domain=domain, sample_weight=X[:, 0] + 1, group=X[:, 0] * 2)
    fits, asked = Recorder.fits[0:10:2], Recorder.fits[1:10:2]
    assert len(Recorder.fits) == 11
    for rows, *given in [*fits, Recorder.fits[10]]:
        expected = y, domain, X[:, 0] + 1, X[:, 0] * 2
        for found, whole in zip(given, expected, strict=True):
            np.testing.assert_array_equal(found, whole[rows])
        assert set(range(30, 40)) <= set(rows)
    for (rows, *_), (held_out, d) in zip(fits, asked, strict=True):
        assert not set(rows) & set(held_out)
        np.testing.assert_array_equal(d, domain[held_out])
    assert sorted(np.concatenate([rows for rows, _ in asked])) == list(range(30))
    assert Recorder.fits[10][0].tolist() == list(range(40))


def test_rows_of_weight_zero_do_not_count():
    X, y = long_tail()
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    kept = np.flatnonzero(weight > 0)
    folds = list(StratifiedKFold(3).split(X, y))
    place = np.cumsum(weight > 0) - 1
    few = [tuple(place[np.intersect1d(part, kept)] for part in fold) for fold in folds]
    every = TunedThresholdsClassifier(LogisticRegression(), cv=folds)
    some = TunedThresholdsClassifier(LogisticRegression(), cv=few)
    every.fit(X, y, sample_weight=weight)
    some.fit(X[kept], y[kept], sample_weight=weight[kept])
    np.testing.assert_allclose(every.offsets_, some.offsets_, atol=1e-3)
    assert every.best_score_ == pytest.approx(some.best_score_)


def test_weights_count_in_the_score():
    X, y = long_tail(n=(60, 20, 8))
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y))
    proba = np.zeros((len(y), 3))
    for train, test in StratifiedKFold(3).split(X, y):
        fitted = LogisticRegression().fit(X[train], y[train], sample_weight=weight[train])
        proba[test] = fitted.predict_proba(X[test])
    for scoring in ("f1_macro", FUNCTIONS["f1_macro"]):
        clf = TunedThresholdsClassifier(LogisticRegression(), scoring, cv=3)
        clf.fit(X, y, sample_weight=weight)
        for offsets, score in ((0, clf.base_score_), (clf.offsets_, clf.best_score_)):
            predicted = (np.log(proba) + offsets).argmax(1)
            expected = FUNCTIONS["f1_macro"](y, predicted, sample_weight=weight)
            assert score == pytest.approx(expected)


def test_with_adaptive_estimators(packed, routing):
    X, y, domain = packed
    given = {"sample_domain": domain} if routing else {}
    pipe = make_pipeline(StandardScaler(), TunedThresholdsClassifier(PerSide(), cv=3))
    grid = {"tunedthresholdsclassifier__scoring": ["balanced_accuracy", "f1_macro"]}
    search = GridSearchCV(pipe, grid, cv=3, scoring=LabelledScorer()).fit(X, y, **given)
    assert search.best_score_ > 0.95 and LabelledScorer()(search, X, y) > 0.95
    inner = ResampledClassifier(make_pipeline(StandardScaler(), PerSide()))
    clf = TunedThresholdsClassifier(inner, cv=3).fit(X, y, sample_domain=domain)
    assert clf.best_score_ >= clf.base_score_ > 0.8
    deep = DomainAdaptationClassifier(max_epochs=2, random_state=0)
    clf = TunedThresholdsClassifier(deep, cv=2).fit(X, y)
    again = clone(clf).fit(X, y, sample_domain=domain)
    np.testing.assert_array_equal(clf.offsets_, again.offsets_)
    assert clf.predict(X, sample_domain=domain).shape == y.shape
    twin = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))


def test_rare_classes_may_miss_in_a_fold():
    X, y = long_tail(n=(50, 10, 1))
    with pytest.warns(UserWarning, match="least populated class"):
        clf = TunedThresholdsClassifier(LogisticRegression(), cv=3).fit(X, y)
    assert np.isfinite(clf.offsets_).all() and clf.predict_proba(X).shape == (61, 3)
    with pytest.warns(UserWarning, match="least populated class"):  # no more folds than rows
        TunedThresholdsClassifier(LogisticRegression(), cv=20).fit(X[:20], y[:20])


def test_a_single_class_has_nothing_to_tune():
    X, y = long_tail()
    clf = TunedThresholdsClassifier(GaussianNB()).fit(X, np.full(len(y), "a"))
    assert clf.offsets_.tolist() == [0] and clf.base_score_ == clf.best_score_ == 1
    assert set(clf.predict(X)) == {"a"} and (clf.predict_proba(X) == 1).all()


@pytest.mark.parametrize(
    "clf, message",
    [
        (TunedThresholdsClassifier(LogisticRegression(), "f1macro"), "Did you mean 'f1_macro'"),
        (TunedThresholdsClassifier(Ridge()), "Ridge.* is not a classifier"),
        (TunedThresholdsClassifier(LinearSVC()), "LinearSVC.* has no predict_proba.*Calibrated"),
        (TunedThresholdsClassifier(LogisticRegression(), get_scorer("f1_macro")), "is a scorer"),
        (TunedThresholdsClassifier(LogisticRegression(), target_labels=0), "target_labels=0"),
        (TunedThresholdsClassifier(LogisticRegression(), cv=1), "cv=1 must be at least 2"),
        (TunedThresholdsClassifier(LogisticRegression(), cv=True), "cv=True must be at least 2"),
    ],
)
def test_errors(clf, message):
    with pytest.raises((TypeError, ValueError), match=message):
        clf.fit(*long_tail())
    with pytest.raises(ValueError, match="single labelled row"):
        TunedThresholdsClassifier(LogisticRegression()).fit([[0], [1], [2]], [0, 1, 2])
