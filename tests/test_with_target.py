"""WithTarget inside ensembles, and what it does with labels, weights and clones."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from two_sides import PerSide, make_sides

from adaptlearn import DomainAdaptationClassifier, DomainAdaptationRegressor
from adaptlearn.model_selection import (
    WithTarget,
)


def deep(**parameters):
    return make_pipeline(
        StandardScaler(),
        DomainAdaptationClassifier(max_epochs=8, learning_rate=0.01, random_state=0, **parameters),
    )


ENSEMBLES = {
    "alone": lambda w: w,
    "voting": lambda w: VotingClassifier([("a", w), ("b", w)], voting="soft"),
    "hard voting": lambda w: VotingClassifier([("a", w), ("b", w)]),
    "stacking": lambda w: StackingClassifier([("a", w)], cv=3),
    "bagging": lambda w: BaggingClassifier(w, n_estimators=3, random_state=0),
    "one vs rest": OneVsRestClassifier,
    "calibrated": lambda w: CalibratedClassifierCV(w, cv=3),
    "calibrated once": lambda w: CalibratedClassifierCV(w, cv=3, ensemble=False),
}


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize("inner", [PerSide, deep], ids=["simple", "deep"])
def test_ensembles_adapt_through_with_target(sides, name, inner):
    Xs, ys, Xt, yt = make_sides(labels=("lo", "mid", "up"))
    source_only = LogisticRegression().fit(Xs, ys).score(Xt, yt)
    model = ENSEMBLES[name](WithTarget(inner(), Xt)).fit(Xs, ys)
    assert source_only < 0.6
    assert balanced_accuracy_score(yt, model.predict(Xt)) > 0.85
    assert model.classes_.tolist() == ["lo", "mid", "up"]
    assert set(model.predict(Xt)) <= {"lo", "mid", "up"}
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba(Xt)
        assert proba.shape == (len(Xt), 3)
        assert proba.sum(axis=1) == pytest.approx(1)


def test_with_target_works_under_routing(sides):
    Xs, ys, Xt, yt = sides
    with sklearn.config_context(enable_metadata_routing=True):
        for name in ("voting", "stacking", "bagging", "calibrated"):
            model = ENSEMBLES[name](WithTarget(PerSide(), Xt)).fit(Xs, ys)
            assert model.score(Xt, yt) > 0.85


@pytest.mark.parametrize("labels", [(-1, 1, 5), ("-1", "1", "x"), (20, 40, 60), (0.0, 1.0, 2.0)])
def test_every_label_is_a_class_and_no_mask_is(labels):
    Xs, ys, Xt, yt = make_sides(labels=labels)
    model = WithTarget(PerSide(), Xt).fit(Xs, ys)
    assert model.classes_.tolist() == sorted(labels)
    assert model.classes_.dtype == ys.dtype
    assert np.mean(model.predict(Xt) == yt) > 0.9
    assert model.estimator_.classes_.tolist() == [0, 1, 2]


def test_plus_minus_one_and_booleans():
    Xs, ys, Xt, yt = make_sides()
    for encode in (lambda y: np.where(y == 0, -1, 1), lambda y: y == 0):
        model = WithTarget(deep(), Xt).fit(Xs, encode(ys))
        assert model.score(Xt, encode(yt)) > 0.85
        assert set(model.predict(Xt)) == set(encode(ys))


def test_with_target_equals_a_packed_fit(sides, packed):
    Xs, ys, Xt, _ = sides
    X, y, _ = packed
    model = WithTarget(deep(), Xt, predict_as="target").fit(Xs, ys)
    direct = deep().fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(Xt), direct.predict_proba(Xt))
    np.testing.assert_array_equal(
        model.predict_proba(Xs, sample_domain="source"),
        direct.predict_proba(Xs, sample_domain="source"),
    )
    np.testing.assert_array_equal(model.decision_function(Xt), direct.decision_function(Xt))
    np.testing.assert_array_equal(model.transform(Xt), direct.transform(Xt))
    assert model.n_features_in_ == 2


def test_rows_are_predicted_as_the_side_they_look_like(sides):
    Xs, ys, Xt, yt = sides
    nearest, target = (
        WithTarget(PerSide(), Xt, predict_as=side).fit(Xs, ys) for side in ("nearest", "target")
    )
    assert np.mean(nearest.predict(Xt) == yt) == np.mean(target.predict(Xt) == yt) > 0.9
    assert np.mean(nearest.predict(Xs) == ys) > 0.9 > 0.8 > np.mean(target.predict(Xs) == ys)
    # Each row is judged by itself.
    mixed = np.concatenate([Xs[:3], Xt[:3]])
    rows = [nearest.predict(mixed[i : i + 1])[0] for i in range(6)]
    np.testing.assert_array_equal(nearest.predict(mixed), rows)
    # Sides that cannot be told apart: all are target rows.
    same = WithTarget(PerSide(), Xs[::2]).fit(Xs[1::2], ys[1::2])
    np.testing.assert_array_equal(same.predict(Xs), same.predict(Xs, sample_domain="target"))


def test_clone_shares_the_target_and_copies_the_rest(sides):
    Xs, ys, Xt, _ = sides
    model = WithTarget(deep(), Xt, predict_as="target")
    other = clone(model)
    assert other.X_target is Xt
    assert other.estimator is not model.estimator
    assert other.predict_as == "target"
    assert clone(model.fit(Xs, ys)).get_params().keys() == other.get_params().keys()
    assert not hasattr(clone(model), "estimator_")
    assert "WithTarget(" in repr(model)
    model.set_params(estimator__domainadaptationclassifier__alignment=None)
    with sklearn.config_context(enable_metadata_routing=True):
        asking = model.set_fit_request(sample_weight=True)
        assert clone(asking)._metadata_request is not asking._metadata_request
        requests = clone(asking).get_metadata_routing().fit.requests
        assert requests["sample_weight"] is True
    again = pickle.loads(pickle.dumps(model.fit(Xs, ys)))
    np.testing.assert_array_equal(again.predict(Xt), model.predict(Xt))


def test_tags_and_methods_are_those_of_the_estimator(sides):
    _, _, Xt, _ = sides
    assert is_classifier(WithTarget(deep(), Xt))
    assert is_regressor(WithTarget(Ridge(), Xt))
    assert not hasattr(WithTarget(Ridge(), Xt), "predict_proba")
    assert not hasattr(WithTarget(LogisticRegression(), Xt), "transform")
    assert not hasattr(WithTarget(deep(), Xt), "n_features_in_")


@parametrize_with_checks([WithTarget(LogisticRegression()), WithTarget(Ridge())])
def test_it_is_an_estimator(estimator, check):
    check(estimator)


def test_regression_through_with_target():
    rng = np.random.default_rng(0)
    Xs, Xt = rng.normal(size=(150, 2)), rng.normal(size=(100, 2)) + 5
    ys, yt = (np.round(4 * block[:, 0]) for block in (Xs, Xt - 5))  # whole numbers: not classes
    ys[0] = -1.0
    reg = WithTarget(DomainAdaptationRegressor(max_epochs=60, random_state=0), Xt).fit(Xs, ys)
    assert reg.predict(Xt).dtype.kind == "f"
    assert reg.score(Xt, yt) > 0.6
    assert not hasattr(reg, "classes_")


def test_without_a_target_it_is_a_plain_fit(sides):
    Xs, ys, _, _ = sides
    model = WithTarget(LogisticRegression()).fit(Xs, ys)
    plain = LogisticRegression().fit(Xs, ys)
    np.testing.assert_array_equal(model.predict(Xs), plain.predict(Xs))
    assert model.score(Xs, ys) == plain.score(Xs, ys)


def test_weights_reach_the_estimator_and_zero_weights_drop_rows(sides):
    Xs, ys, Xt, _ = sides
    weight = np.random.default_rng(0).integers(0, 3, len(Xs))
    model = WithTarget(PerSide(), Xt).fit(Xs, ys, sample_weight=weight)
    assert model.estimator_.weight_sum_ == weight.sum()
    kept = WithTarget(PerSide(), Xt).fit(Xs[weight > 0], ys[weight > 0])
    np.testing.assert_array_equal(kept.estimator_.means_, model.estimator_.means_)
    piped = WithTarget(make_pipeline(StandardScaler(), PerSide()), Xt)
    piped.fit(Xs, ys, sample_weight=weight)
    assert piped.estimator_[-1].weight_sum_ == weight.sum()
    gone = WithTarget(PerSide(), Xt).fit(Xs, ys, sample_weight=(ys != 1).astype(int))
    assert gone.classes_.tolist() == [0, 2]


def test_frames_and_lists_of_targets(sides):
    Xs, ys, Xt, yt = sides
    columns = ["u", "v"]
    frames = [pd.DataFrame(block, columns=columns) for block in (Xs, Xt[:40], Xt[40:])]
    model = WithTarget(deep(), frames[1:]).fit(frames[0], pd.Series(ys))
    assert model.feature_names_in_.tolist() == columns
    assert model.score(pd.DataFrame(Xt, columns=columns), yt) > 0.85


def test_score_of_labels_unseen_in_fit(sides):
    Xs, ys, Xt, yt = sides
    model = WithTarget(deep(), Xt).fit(Xs, ys)
    odd = np.where(np.arange(len(yt)) < 9, 7, yt)
    with pytest.warns(UserWarning, match="unseen in fit"):
        score = model.score(Xt, odd)
    assert score == pytest.approx(np.mean(model.predict(Xt) == odd))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda Xs, ys, Xt: WithTarget(LogisticRegression(), Xt).fit(Xs, ys), "for a class"),
        (lambda Xs, ys, Xt: WithTarget(PerSide(), Xt).fit(Xs, None), "requires y to be passed"),
        (lambda Xs, ys, Xt: WithTarget(PerSide(), Xt, "source").fit(Xs, ys), "predict_as='source'"),
        (lambda Xs, ys, Xt: WithTarget(PerSide(), Xt[:, :1]).fit(Xs, ys), "numbers of features"),
        (lambda Xs, ys, Xt: WithTarget(PerSide(), Xt).fit(Xs, ys[:5]), "inconsistent"),
        (
            lambda Xs, ys, Xt: WithTarget(PerSide(), Xt).fit(Xs, np.where(ys == 0, np.nan, ys)),
            "no label on",
        ),
        (
            lambda Xs, ys, Xt: WithTarget(OneVsRestClassifier(PerSide()), None).fit(
                Xs, ys, sample_weight=np.ones(len(ys))
            ),
            "takes none",
        ),
    ],
)
def test_bad_use_of_with_target(sides, make, message):
    Xs, ys, Xt, _ = sides
    with pytest.raises(ValueError, match=message):
        make(Xs, ys, Xt)


def test_prediction_needs_a_fit(sides):
    with pytest.raises(sklearn.exceptions.NotFittedError):
        WithTarget(PerSide(), sides[2]).predict(sides[2])
