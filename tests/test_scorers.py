"""Values, errors and wrappers of the scorers."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from two_sides import PerSide

from adaptlearn import metrics, pack
from adaptlearn.model_selection import (
    DomainStratifiedKFold,
    EntropyScorer,
    ImportanceWeightedScorer,
    LabelledScorer,
    WithTarget,
)

SCORERS = [ImportanceWeightedScorer(), EntropyScorer(), LabelledScorer("accuracy")]


def test_labelled_scorer_predicts_each_row_on_its_own_side(sides, packed):
    X, y, domain = packed
    clf = PerSide().fit(X, y)
    source = y != -1
    expected = np.mean(clf.predict(X[source], sample_domain="source") == y[source])
    assert expected > 0.95
    assert LabelledScorer()(clf, X, y) == expected
    # Rows of the source taken for target rows would be far off: what a string scorer does.
    assert np.mean(clf.predict(X[source]) == y[source]) < 0.8
    # No mask: all are target rows.
    _, _, Xt, yt = sides
    assert LabelledScorer()(clf, Xt, yt) == np.mean(clf.predict(Xt) == yt) > 0.9
    # Told row by row.
    all_labels = y.copy()
    all_labels[domain < 0] = yt
    both = LabelledScorer()(clf, X, all_labels, sample_domain=domain)
    right = np.mean(clf.predict(X, sample_domain=domain) == all_labels)
    assert both == right > 0.9
    assert LabelledScorer()(clf, Xt, yt, sample_domain="source") < both


@pytest.mark.parametrize(
    "scoring", ["balanced_accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro"]
)
def test_labelled_scorer_wraps_any_scorer(packed, scoring):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    source = y != -1
    scorer = sklearn.metrics.get_scorer(scoring)
    plain = PerSide(adapt=False).fit(X[source], y[source])
    assert LabelledScorer(scoring)(clf, X, y) == pytest.approx(scorer(plain, X[source], y[source]))
    assert LabelledScorer(scorer)(clf, X, y) == LabelledScorer(scoring)(clf, X, y)


def test_labelled_scorer_takes_weights_and_regressors(packed):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    weight = np.where(y == 0, 1.0, 0.0)
    source = y == 0
    expected = np.mean(clf.predict(X[source], sample_domain="source") == 0)
    assert LabelledScorer()(clf, X, y, sample_weight=weight) == expected
    numbers = np.where(y == -1, np.nan, X[:, 0] + 0.5)
    known = y != -1
    reg = LinearRegression().fit(X[known], numbers[known])
    assert LabelledScorer("r2")(reg, X, numbers) == pytest.approx(1)
    with pytest.raises(TypeError, match="needs a fitted classifier"):
        EntropyScorer()(reg, X, numbers)


def test_entropy_scorer_by_hand(packed):
    X, y, _ = packed
    clf = PerSide(sharpness=0.05).fit(X, y)
    proba = clf.predict_proba(X[y == -1])
    prior = np.bincount(y[y != -1])
    assert EntropyScorer()(clf, X, y) == -metrics.guarded_entropy(proba, prior)
    unguarded = -metrics.prediction_entropy(proba) / np.log(3)
    assert EntropyScorer(guard=0)(clf, X, y) == pytest.approx(unguarded)
    # Without the guard a certain, collapsed model wins; with it, it loses.
    collapsed = PerSide(adapt=False, sharpness=100).fit(X, y)
    assert EntropyScorer(guard=0)(collapsed, X, y) > unguarded
    assert EntropyScorer()(collapsed, X, y) < EntropyScorer()(clf, X, y)


@pytest.mark.parametrize("space", ["features", "input"])
def test_importance_weighted_scorer_by_hand(packed, space):
    X, y, _ = packed
    clf = PerSide(sharpness=0.05).fit(X, y)
    source, target = y != -1, y == -1
    if space == "input":
        weights = metrics.importance_weights(X[source], X[target])
    else:
        features = clf.transform(X[source], sample_domain="source"), clf.transform(X[target])
        weights = metrics.importance_weights(*features)
    predicted = clf.predict(X[source], sample_domain="source")
    penalty = metrics.collapse_penalty(clf.predict_proba(X[target]), np.bincount(y[source]))
    plain = np.average(predicted == y[source], weights=weights)
    score = ImportanceWeightedScorer(space=space)(clf, X, y)
    assert score == pytest.approx(plain - 2 * penalty)
    unguarded = ImportanceWeightedScorer(space=space, guard=0)(clf, X, y)
    assert unguarded == pytest.approx(plain)
    loss = ImportanceWeightedScorer("neg_log_loss", space=space, guard=0)(clf, X, y)
    proba = clf.predict_proba(X[source], sample_domain="source")
    own = proba[np.arange(len(proba)), y[source]]
    assert loss == pytest.approx(np.average(np.log(own), weights=weights))
    balanced = ImportanceWeightedScorer("balanced_accuracy", space=space, guard=0)(clf, X, y)
    recalls = [
        np.average(predicted[y[source] == c] == c, weights=weights[y[source] == c])
        for c in range(3)
    ]
    assert balanced == pytest.approx(np.mean(recalls))


def test_densities_of_texts_are_an_error_that_says_so():
    X, y = np.array([["one"], ["two"], ["three"], ["four"]]), np.array([0, 1, -1, -1])
    clf = DummyClassifier().fit(X[:2], y[:2])
    for space in ("features", "input"):  # it has no features
        with pytest.raises(ValueError, match=f"space='{space}' .* no finite numbers"):
            ImportanceWeightedScorer(space=space)(clf, X, y)


def test_scorers_find_the_adapted_model_where_source_accuracy_does_not(packed):
    X, y, _ = packed
    adapted, not_adapted = PerSide().fit(X, y), PerSide(adapt=False).fit(X, y)
    assert LabelledScorer()(adapted, X, y) == LabelledScorer()(not_adapted, X, y)
    for scorer in SCORERS[:2]:
        assert scorer(adapted, X, y) > scorer(not_adapted, X, y) + 0.3


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: type(s).__name__)
def test_scorers_see_no_target_label(packed, sides, scorer):
    X, y, domain = packed
    clf = PerSide().fit(X, y)
    if isinstance(scorer, LabelledScorer):
        return
    told = y.copy()
    told[domain < 0] = np.random.default_rng(0).integers(0, 3, (domain < 0).sum())
    expected = scorer(clf, X, y)
    assert scorer(clf, X, told, sample_domain=domain) == pytest.approx(expected, abs=1e-12)


def test_unseen_labels_count_as_wrong_with_a_warning(packed):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    odd = np.where((y == 0) & (np.arange(len(y)) % 2 == 0), 7, y)
    n_source, n_odd = (y != -1).sum(), (odd == 7).sum()
    with pytest.warns(UserWarning, match=r"unseen in fit: \[7\]"):
        score = LabelledScorer()(clf, X, odd)
    assert score == pytest.approx(LabelledScorer()(clf, X, y) - n_odd / n_source, abs=0.02)
    with pytest.warns(UserWarning, match="unseen in fit"):
        assert LabelledScorer("neg_log_loss")(clf, X, odd) < -5
    with pytest.warns(UserWarning, match="unseen in fit"):
        weighted = ImportanceWeightedScorer(guard=0)(clf, X, odd)
    assert weighted < ImportanceWeightedScorer(guard=0)(clf, X, y)


def test_a_fold_without_a_side_raises(sides, packed):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    Xs, ys, Xt, yt = sides
    masked = np.full(len(Xt), -1)
    for scorer in (LabelledScorer(), ImportanceWeightedScorer()):
        with pytest.raises(ValueError, match=r"no label|no labelled source row"):
            scorer(clf, Xt, masked)
    with pytest.raises(ValueError, match="no labelled source row"):
        ImportanceWeightedScorer()(clf, Xt, yt)
    for scorer in (EntropyScorer(), ImportanceWeightedScorer()):
        with pytest.raises(ValueError, match="found no target row"):
            scorer(clf, Xs, ys, sample_domain=0)
    # Entropy needs the target alone.
    assert EntropyScorer()(clf, Xt, yt) < 0


@pytest.mark.parametrize(
    ("scorer", "error", "message"),
    [
        (ImportanceWeightedScorer("f1"), ValueError, "metric='f1'"),
        (ImportanceWeightedScorer(space="pixels"), ValueError, "space='pixels'"),
        (ImportanceWeightedScorer(clip=0), ValueError, "clip=0"),
        (LabelledScorer(3), TypeError, "scoring=3"),
        (LabelledScorer("acuracy"), ValueError, "Did you mean 'accuracy'"),
        (LabelledScorer("worst_class_recal"), ValueError, "Did you mean 'worst_class_recall'"),
    ],
)
def test_bad_scorer_parameters(packed, scorer, error, message):
    X, y, _ = packed
    with pytest.raises(error, match=message):
        scorer(PerSide().fit(X, y), X, y)


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda s: type(s).__name__)
def test_scorers_are_plain_objects(packed, scorer):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    before = X.copy(), y.copy()
    values = {s(clf, X, y) for s in (scorer, clone(scorer), copy.deepcopy(scorer))}
    values.add(pickle.loads(pickle.dumps(scorer))(clf, X, y))
    assert len(values) == 1
    assert type(values.pop()) is float
    assert repr(scorer).startswith(type(scorer).__name__)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_other_labels_and_containers_score_the_same(sides, packed):
    X, y, _ = packed
    clf = PerSide().fit(X, y)
    expected = [scorer(clf, X, y) for scorer in SCORERS]
    Xs, ys, Xt, _ = sides
    names = np.array(["a", "b", "c"])
    frame = pack(
        pd.DataFrame(Xs, columns=["u", "v"]), names[ys], pd.DataFrame(Xt, columns=["u", "v"])
    )
    clf = PerSide().fit(frame[0], frame[1])
    for y_form in (frame[1], pd.Series(frame[1]), np.where(frame[1] == "-1", None, frame[1])):
        got = [scorer(clf, frame[0], y_form) for scorer in SCORERS]
        assert got == pytest.approx(expected)


def test_scorers_work_on_estimators_that_know_no_sides(packed):
    X, y, _ = packed
    clf = LogisticRegression().fit(X[y != -1], y[y != -1])
    for scorer in SCORERS:
        assert np.isfinite(scorer(make_pipeline(clf), X, y))


def test_scorers_look_into_searches_pipelines_and_with_target(sides, packed, routing):
    X, y, _ = packed
    Xs, ys, Xt, _ = sides
    expected = [scorer(PerSide().fit(X, y), X, y) for scorer in SCORERS]
    search = GridSearchCV(
        PerSide(), {"adapt": [True]}, scoring=SCORERS[0], cv=DomainStratifiedKFold(2)
    )
    inner = make_pipeline(StandardScaler(), clone(search))
    for estimator in (search, make_pipeline(search), inner, GridSearchCV(
        make_pipeline(PerSide()), {"perside__adapt": [True]}, scoring=SCORERS[0],
        cv=DomainStratifiedKFold(2),
    )):  # fmt: skip
        estimator.fit(X, y)
        got = [scorer(estimator, X, y) for scorer in SCORERS]
        # The scaler of `inner` changes what the entropy is measured on.
        assert got[2] == pytest.approx(expected[2], abs=0.02)
        if estimator is not inner:
            assert got == pytest.approx(expected)
    wrapped = WithTarget(PerSide(), Xt).fit(Xs, ys)
    got = [scorer(wrapped, X, y) for scorer in SCORERS]
    assert got == pytest.approx(expected)
