"""`LabelShiftClassifier`: correction, data convention, scikit-learn tools, errors."""

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from adaptlearn import DomainStratifiedKFold, LabelledScorer, LabelShiftClassifier, pack
from adaptlearn.datasets import make_shifted_blobs
from adaptlearn.imbalance import estimate_label_shift


def blobs(n_source=400, n_target=400, target_priors=(0.8, 0.15, 0.05), seed=0):
    return make_shifted_blobs(
        n_source, n_target, shift=0, class_sep=1.2, target_priors=target_priors, random_state=seed
    )


def corrector(**params):
    return LabelShiftClassifier(LogisticRegression(), **params)


def normalised(p):
    return p / p.sum(1, keepdims=True)


# --- the answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "mlls", "rlls", "bbse", "qp"])
def test_it_finds_the_proportions_and_gains_from_them(method):
    Xs, ys, Xt, yt = blobs()
    clf = corrector(method=method).fit(Xs, ys, X_target=Xt)
    np.testing.assert_allclose(clf.label_shift_.target_prior, [0.8, 0.15, 0.05], atol=0.06)
    assert clf.score(Xt, yt) > clf.estimator_.score(Xt, yt) + 0.02
    assert clf.label_shift_.n_source == clf.label_shift_.n_target == 400


def test_without_a_shift_nothing_is_lost():
    differences = []
    for seed in range(5):
        Xs, ys, Xt, yt = blobs(target_priors=None, seed=seed)
        clf = corrector().fit(Xs, ys, X_target=Xt)
        differences.append(clf.score(Xt, yt) - clf.estimator_.score(Xt, yt))
    assert np.mean(differences) > -0.005


def test_moved_inputs_leave_the_classifier_as_it_is():
    rng = np.random.default_rng(0)
    Xs, ys, Xt, _ = blobs()
    Xt = 0.3 * Xt + rng.normal(scale=0.3, size=Xt.shape)
    clf = corrector()
    with pytest.warns(UserWarning, match="fit no mixture"):
        clf.fit(Xs, ys, X_target=Xt)
    np.testing.assert_array_equal(clf.predict_proba(Xt), clf.estimator_.predict_proba(Xt))
    np.testing.assert_array_equal(clf.predict(Xt), clf.estimator_.predict(Xt))


def test_correction_by_hand():
    Xs, ys, Xt, _ = blobs()
    Xs, ys = Xs[:-60], ys[:-60]  # proportions other than a third each
    source_prior = np.bincount(ys) / len(ys)
    clf = corrector(method="bbse").fit(Xs, ys, X_target=Xt)
    plain = LogisticRegression().fit(Xs, ys).predict_proba(Xt)
    shift = clf.label_shift_
    np.testing.assert_allclose(shift.source_prior, source_prior)
    np.testing.assert_allclose(clf.predict_proba(Xt), normalised(plain * shift.ratio))
    np.testing.assert_array_equal(clf.predict(Xt), (plain * shift.ratio).argmax(1))
    for prior, pi in (("uniform", np.full(3, 1 / 3)), ([0.5, 0.3, 0.2], [0.5, 0.3, 0.2])):
        clf.set_params(prior=prior)  # a choice at predict: no new fit
        np.testing.assert_allclose(
            clf.predict_proba(Xt), normalised(plain * np.array(pi) / source_prior)
        )
    clf.set_params(prior="source")
    np.testing.assert_array_equal(clf.predict_proba(Xt), plain)

    clf = corrector(method="mlls").fit(Xs, ys, X_target=Xt)
    calibrated = clf.label_shift_.calibration.apply(plain)
    np.testing.assert_allclose(
        clf.predict_proba(Xt), normalised(calibrated * clf.label_shift_.ratio)
    )


def test_held_out_predictions_and_the_share_of_each_fold():
    """Fold k's classifier predicts its own held-out rows and target rows k, k + 3, ...."""
    Xs, ys, Xt, _ = blobs(90, 80)
    clf = corrector(method="qp", cv=3).fit(Xs, ys, X_target=Xt)
    source, codes, target = [], [], np.empty((80, 3))
    for k, (train, test) in enumerate(StratifiedKFold(3).split(Xs, ys)):
        of_fold = LogisticRegression().fit(Xs[train], ys[train])
        source.append(of_fold.predict_proba(Xs[test]))
        codes.append(ys[test])
        target[k::3] = of_fold.predict_proba(Xt[k::3])
    expected = estimate_label_shift(
        np.concatenate(source), np.concatenate(codes), target, method="qp"
    )
    np.testing.assert_allclose(clf.label_shift_.ratio, expected.ratio)


def test_uniform_prior_needs_no_target():
    Xs, ys, _, _ = blobs()
    rows = np.r_[np.flatnonzero(ys == 0), np.flatnonzero(ys > 0)[:40]]
    X, y = Xs[rows], ys[rows]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = corrector(prior="uniform", method="bbse").fit(X, y)
        calibrated = corrector(prior="uniform").fit(X, y)
    plain, prior = clf.estimator_.predict_proba(Xs), np.bincount(y) / len(y)
    assert clf.label_shift_ is None
    np.testing.assert_allclose(clf.predict_proba(Xs), normalised(plain / prior))
    assert not np.allclose(calibrated.predict_proba(Xs), clf.predict_proba(Xs), atol=1e-4)
    recall = [np.mean(c.predict(Xs)[ys == 1] == 1) for c in (clf, clf.estimator_)]
    assert recall[0] > recall[1] + 0.1


def test_intervals():
    Xs, ys, Xt, _ = blobs()
    clf = corrector(n_bootstrap=20, confidence=0.8, random_state=0)
    low, high = clf.fit(Xs, ys, X_target=Xt).label_shift_.interval
    assert (low < high).all() and clf.label_shift_.confidence == 0.8
    np.testing.assert_array_equal(clf.fit(Xs, ys, X_target=Xt).label_shift_.interval[0], low)


# --- the data convention ----------------------------------------------------------------------


def test_all_ways_to_give_the_target_agree():
    Xs, ys, Xt, yt = blobs(120, 100)
    expected = corrector().fit(Xs, ys, X_target=Xt)
    X, y, domain = pack(Xs, ys, Xt)
    true = y.copy()
    true[domain < 0] = yt
    hidden = np.where(domain < 0, 0, y)
    for labels, given in (
        (y, {}),
        (y, {"sample_domain": domain}),
        (true, {"sample_domain": domain}),
        (hidden, {"sample_domain": domain}),
    ):
        clf = corrector().fit(X, labels, **given)
        np.testing.assert_allclose(clf.predict_proba(Xt), expected.predict_proba(Xt))
        np.testing.assert_allclose(clf.label_shift_.ratio, expected.label_shift_.ratio)
        assert clf.classes_.tolist() == [0, 1, 2]


def test_sides_at_predict():
    Xs, ys, Xt, yt = blobs()
    X, y, domain = pack(Xs, ys, Xt)
    clf = corrector().fit(X, y)
    plain, corrected = clf.estimator_.predict_proba(X), clf.predict_proba(X)
    assert not np.allclose(plain, corrected)
    np.testing.assert_array_equal(clf.predict_proba(X, sample_domain="target"), corrected)
    np.testing.assert_array_equal(clf.predict_proba(X, sample_domain=-1), corrected)
    np.testing.assert_array_equal(clf.predict_proba(X, sample_domain="source"), plain)
    np.testing.assert_array_equal(
        clf.predict_proba(X, sample_domain=domain),
        np.where(domain[:, None] < 0, corrected, plain),
    )
    np.testing.assert_array_equal(
        clf.predict(X, sample_domain=domain),
        np.where(domain < 0, clf.predict(X), clf.estimator_.predict(X)),
    )
    with pytest.raises(ValueError, match="sample_domain holds"):
        clf.predict(X, sample_domain=7)
    # score: masked y is about source rows, unmasked y about target rows
    assert clf.score(X, y) == clf.estimator_.score(Xs, ys)
    assert clf.score(Xt, yt) == np.mean(clf.predict(Xt) == yt)
    # the other priors are for all rows
    clf.set_params(prior="uniform")
    np.testing.assert_array_equal(
        clf.predict_proba(X, sample_domain="source"), clf.predict_proba(X)
    )


def test_a_row_is_answered_the_same_beside_rows_of_the_other_side():
    Xs, ys, Xt, _ = blobs()
    ys = (ys > 0).astype(int)
    cautious = TunedThresholdClassifierCV(LogisticRegression(), scoring="recall", cv=2)
    clf = LabelShiftClassifier(cautious, method="mlls", cv=2).fit(Xs, ys, X_target=Xt)
    X, domain = np.concatenate([Xs, Xt]), np.repeat([0, -1], [len(Xs), len(Xt)])
    alone = np.concatenate([clf.predict(Xs, sample_domain="source"), clf.predict(Xt)])
    assert (clf.estimator_.predict(Xs) != clf.estimator_.predict_proba(Xs).argmax(1)).any()
    np.testing.assert_array_equal(clf.predict(X, sample_domain=domain), alone)


@pytest.mark.parametrize("names", [["a", "b", "c"], [-1, 1, 5], [20, 40, 60]])
def test_labels_of_any_kind(names):
    Xs, ys, Xt, yt = blobs()
    names = np.array(names)
    expected = corrector().fit(Xs, ys, X_target=Xt)
    clf = corrector().fit(Xs, names[ys], X_target=Xt)
    assert clf.classes_.tolist() == names.tolist() == clf.label_shift_.classes.tolist()
    np.testing.assert_array_equal(clf.predict(Xt), names[expected.predict(Xt)])
    assert clf.score(Xt, names[yt]) == expected.score(Xt, yt)
    if -1 not in names.tolist():
        packed = corrector().fit(*pack(Xs, names[ys], Xt)[:2])
        np.testing.assert_array_equal(packed.predict(Xt), clf.predict(Xt))


def test_plus_minus_one():
    Xs, ys, Xt, _ = blobs()
    y = np.where(ys == 0, -1, 1)
    with pytest.warns(UserWarning, match="no target rows"):
        assert corrector().fit(Xs, y).classes_.tolist() == [-1, 1]
    assert corrector().fit(Xs, y, X_target=Xt).classes_.tolist() == [-1, 1]


@pytest.mark.parametrize("kind", ["pandas", "polars", "csr", "read-only", "list"])
def test_containers(kind):
    Xs, ys, Xt, _ = blobs(120, 100)
    convert = {
        "pandas": lambda X: pd.DataFrame(X, columns=["one", "two"], index=np.arange(len(X)) + 7),
        "polars": lambda X: pl.DataFrame(X, schema=["one", "two"]),
        "csr": sp.csr_matrix,
        "read-only": lambda X: np.frombuffer(X.tobytes()).reshape(X.shape),
        "list": lambda X: X.tolist(),
    }[kind]
    expected = corrector().fit(Xs, ys, X_target=Xt)
    for clf in (
        corrector().fit(convert(Xs), ys, X_target=convert(Xt)),
        corrector().fit(*pack(convert(Xs), ys, convert(Xt))[:2]),
    ):
        np.testing.assert_allclose(
            clf.predict_proba(convert(Xt)), expected.predict_proba(Xt), atol=1e-6
        )
        assert clf.n_features_in_ == 2
        assert hasattr(clf, "feature_names_in_") == (kind in ("pandas", "polars"))
        if kind in ("pandas", "polars"):
            assert clf.feature_names_in_.tolist() == ["one", "two"]


def test_rows_of_text():
    rng = np.random.default_rng(0)
    words = np.array(["good fine", "bad poor"])

    def texts(codes):
        wrong = rng.random(len(codes)) < 0.2
        return [f"{words[c]} film" for c in np.where(wrong, 1 - codes, codes)]

    ys, yt = np.arange(900) % 2, (np.arange(900) % 10 == 0).astype(int)
    inner = make_pipeline(CountVectorizer(), LogisticRegression())
    clf = LabelShiftClassifier(inner).fit(texts(ys), ys, X_target=texts(yt))
    assert clf.label_shift_.target_prior[1] == pytest.approx(0.1, abs=0.06)


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [
    LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())
], ids=["plain", "pipeline"])  # fmt: skip
def test_weights_reach_the_classifier_and_the_estimate(inner):
    Xs, ys, Xt, _ = blobs()
    weight = np.where(ys == 0, 3.0, 1.0)
    clf = LabelShiftClassifier(inner).fit(Xs, ys, X_target=Xt, sample_weight=weight)
    share = np.bincount(ys, weight) / weight.sum()
    np.testing.assert_allclose(clf.label_shift_.source_prior, share)
    name = "sample_weight" if hasattr(inner, "C") else "logisticregression__sample_weight"
    plain = clone(inner).fit(Xs, ys, **{name: weight})
    np.testing.assert_allclose(clf.estimator_.predict_proba(Xt), plain.predict_proba(Xt))
    # packed: weights of target rows do not matter
    X, y, domain, packed = pack(Xs, ys, Xt, sample_weight=weight)
    packed = np.where(domain < 0, 77.0, packed)
    again = LabelShiftClassifier(inner).fit(X, y, sample_weight=packed)
    np.testing.assert_allclose(again.predict_proba(Xt), clf.predict_proba(Xt))


def test_weights_are_never_dropped():
    Xs, ys, Xt, _ = blobs(90, 60)
    with pytest.raises(ValueError, match=r"KNeighborsClassifier\.fit takes none"):
        LabelShiftClassifier(KNeighborsClassifier()).fit(
            Xs, ys, X_target=Xt, sample_weight=np.ones(90)
        )


# --- scikit-learn's tools ---------------------------------------------------------------------


def test_grid_search_on_packed_data(routing):
    Xs, ys, Xt, yt = blobs(150, 120)
    X, y, domain = pack(Xs, ys, Xt)
    pipe = make_pipeline(StandardScaler(), corrector(cv=3))
    search = GridSearchCV(
        pipe,
        {
            "labelshiftclassifier__prior": ["source", "target"],
            "labelshiftclassifier__method": ["auto", "bbse"],
            "labelshiftclassifier__estimator__C": [0.1, 1.0],
        },
        scoring=LabelledScorer(),
        cv=DomainStratifiedKFold(3),
        error_score="raise",
    )
    search.fit(X, y, **({"sample_domain": domain} if routing else {}))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    found = search.best_estimator_[-1]
    assert found.label_shift_.n_target == 120 and found.classes_.tolist() == [0, 1, 2]
    assert search.predict(Xt).shape == yt.shape
    predicted = cross_val_predict(pipe, X, y, cv=DomainStratifiedKFold(3))
    assert set(predicted) <= {0, 1, 2} and len(predicted) == 270


def test_copies_and_refits():
    Xs, ys, Xt, _ = blobs(120, 100)
    clf = LabelShiftClassifier(RandomForestClassifier(5, random_state=0)).fit(Xs, ys, X_target=Xt)
    expected = clf.predict_proba(Xt)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(Xt), expected)
    np.testing.assert_array_equal(clf.fit(Xs, ys, X_target=Xt).predict_proba(Xt), expected)
    with joblib.parallel_config(backend="threading"):
        parallel = clone(clf).set_params(n_jobs=2).fit(Xs, ys, X_target=Xt)
    np.testing.assert_array_equal(parallel.predict_proba(Xt), expected)
    fresh = clone(clf)
    assert not [name for name in vars(fresh) if name.endswith("_")]
    assert not hasattr(fresh, "n_features_in_")
    assert not hasattr(clf.estimator, "classes_"), "the given estimator stays unfitted"


def test_a_refused_fit_changes_nothing():
    Xs, ys, Xt, _ = blobs(90, 60)
    clf = corrector().fit(Xs, ys, X_target=Xt)
    before = clf.predict_proba(Xt)
    with pytest.raises(ValueError):
        clf.fit(Xs[:, :1], ys, X_target=Xt)
    np.testing.assert_array_equal(clf.predict_proba(Xt), before)


# --- edges ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("counts", [(40, 1), (40, 3, 1), (1, 1), (2, 1), (2, 2, 2)])
def test_classes_of_few_rows(counts):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(len(counts)), counts)
    X, Xt = rng.normal(size=(len(y), 2)) + 4 * y[:, None], rng.normal(size=(30, 2))
    clf = corrector().fit(X, y, X_target=Xt)
    assert np.isfinite(clf.predict_proba(Xt)).all()
    assert len(clf.predict(Xt)) == 30


def test_no_class_with_two_rows_warns():
    with pytest.warns(UserWarning, match="none can be held out"):
        clf = corrector().fit([[0.0], [1.0]], [0, 1], X_target=[[0.0], [1.0]])
    assert clf.label_shift_ is None and clf.predict([[9.0]]).tolist() == [1]


def test_fewer_target_rows_than_folds():
    Xs, ys, Xt, _ = blobs(90, 3)
    clf = corrector(cv=5).fit(Xs, ys, X_target=Xt)
    assert clf.label_shift_.n_target == 3


def test_splitters():
    Xs, ys, Xt, _ = blobs(200, 60)
    shuffled = StratifiedKFold(4, shuffle=True, random_state=0)
    for cv, n_held_out in ((shuffled, 200), ([(np.arange(120), np.arange(120, 200))], 80)):
        clf = corrector(cv=cv).fit(Xs, ys, X_target=Xt)
        assert clf.label_shift_.n_source == n_held_out


def test_a_useless_classifier_changes_nothing():
    Xs, ys, Xt, _ = blobs()
    clf = LabelShiftClassifier(DummyClassifier(strategy="prior"))
    with pytest.warns(UserWarning, match="does not tell the classes"):
        clf.fit(Xs, ys, X_target=Xt)
    assert np.abs(clf.label_shift_.ratio - 1).max() < 0.01


@pytest.mark.parametrize(
    "params, error, message",
    [
        ({"estimator": LinearRegression()}, TypeError, "estimator=LinearRegression.*classifier"),
        ({"estimator": LogisticRegression}, TypeError, "is not a classifier"),
        ({"estimator": LinearSVC()}, TypeError, "has no predict_proba.*CalibratedClassifierCV"),
        ({"method": "em"}, ValueError, "method='em' is not known"),
        ({"prior": "target_prior"}, ValueError, "prior='target_prior' must be 'source', 'uniform'"),
        ({"prior": [0.5, 0.5]}, ValueError, "each of the 3 classes"),
        ({"prior": [0.5, 0.6, -0.1]}, ValueError, "not negative"),
        ({"prior": None}, ValueError, "prior=None"),
        ({"cv": 1}, ValueError, "cv=1 must be at least 2 folds"),
        ({"n_bootstrap": 0.5}, ValueError, "n_bootstrap=0.5"),
        ({"confidence": 1.0}, ValueError, "confidence=1.0"),
    ],
)
def test_errors_name_the_parameter(params, error, message):
    Xs, ys, Xt, _ = blobs(90, 60)
    clf = corrector().set_params(**params)
    with pytest.raises(error, match=message):
        clf.fit(Xs, ys, X_target=Xt)
    assert not hasattr(clf, "estimator_")
