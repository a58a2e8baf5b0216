"""The splitter, and the scorers inside scikit-learn's own tools."""

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from two_sides import PerSide, make_sides

from adaptlearn import DomainAdaptationClassifier, pack
from adaptlearn._domains import is_unlabelled
from adaptlearn.model_selection import (
    DomainStratifiedKFold,
    EntropyScorer,
    ImportanceWeightedScorer,
    LabelledScorer,
)

SCORERS = [ImportanceWeightedScorer(), EntropyScorer(), LabelledScorer("accuracy")]


def shares(fold, *columns):
    """Rows of each combination of the columns in a fold."""
    return pd.Series(list(zip(*(c[fold] for c in columns), strict=True))).value_counts()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n_splits", [2, 3, 5])
def test_folds_hold_every_domain_and_class_in_proportion(n_splits, shuffle):
    rng = np.random.default_rng(0)
    domain = rng.choice([0, 1, -1, -2], size=203, p=[0.4, 0.3, 0.2, 0.1])
    y = rng.choice([0, 1, 2], size=203, p=[0.6, 0.3, 0.1])
    y = np.where((domain < 0) & (rng.random(203) < 0.7), -1, y)  # some target rows are labelled
    cv = DomainStratifiedKFold(n_splits, shuffle=shuffle, random_state=0 if shuffle else None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        folds = list(cv.split(np.zeros(203), y, sample_domain=domain))
    assert len(folds) == n_splits == cv.get_n_splits()
    tests = [test for _, test in folds]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(203))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(203))
    for columns in ([domain], [domain, y], [domain >= 0]):
        counts = pd.concat([shares(test, *columns) for test in tests], axis=1).fillna(0)
        # A side pools several domains, each even up to one row.
        slack = 1 if len(columns) == 2 or columns[0] is domain else 2
        assert (counts.max(axis=1) - counts.min(axis=1)).max() <= slack
    sizes = [len(test) for test in tests]
    assert max(sizes) - min(sizes) <= 1


def test_masks_alone_tell_the_sides_apart(packed):
    X, y, domain = packed
    cv = DomainStratifiedKFold(3)
    with_masks = [test for _, test in cv.split(X, y)]
    with_domains = [test for _, test in cv.split(X, y, sample_domain=domain)]
    for test, same in zip(with_masks, with_domains, strict=True):
        np.testing.assert_array_equal(test, same)
        assert {-1, 0, 1, 2} == set(y[test])
        assert abs((y[test] == -1).sum() - 30) <= 1


@pytest.mark.parametrize(
    ("y", "n_target"),
    [
        (np.array(["a", "b", "-1"] * 8), 8),
        (np.array([0.5, 1.5, np.nan] * 8), 8),
        (np.array(["a", "b", None] * 8, dtype=object), 8),
        (pd.Series([1, 2, None] * 8, dtype="Int64"), 8),
        (np.array([-1, 1] * 12), 0),
    ],
    ids=["strings", "regression", "None", "NA", "plus minus one"],
)
def test_every_form_of_mask_is_read(y, n_target):
    for _, test in DomainStratifiedKFold(4).split(np.zeros((24, 1)), y):
        assert is_unlabelled(y)[test].sum() == n_target / 4
        known = np.asarray(y, dtype=object)[test][~is_unlabelled(y)[test]]
        assert len(set(known.tolist())) == 2


def test_continuous_labels_are_split_by_quantile():
    rng = np.random.default_rng(0)
    y = np.where(rng.random(400) < 0.5, rng.exponential(size=400), np.nan)
    means = [np.nanmean(y[test]) for _, test in DomainStratifiedKFold(4).split(np.zeros(400), y)]
    assert np.std(means) < 0.1
    # A value of exactly -1 is a number there.
    y[0] = -1.0
    list(DomainStratifiedKFold(4).split(np.zeros(400), y))


def test_shuffle_is_reproducible_and_plain_order_is_kept():
    y = np.array([0, 1, -1] * 20)
    shuffled = DomainStratifiedKFold(3, shuffle=True, random_state=3)
    one, two = (np.concatenate([t for _, t in shuffled.split(y, y)]) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    first = next(iter(DomainStratifiedKFold(2).split(y, y)))[1]
    np.testing.assert_array_equal(first, np.arange(30))
    assert "n_splits=3" in repr(shuffled)
    assert clone(shuffled, safe=False).n_splits == pickle.loads(pickle.dumps(shuffled)).n_splits


@pytest.mark.parametrize(
    ("y", "n_splits", "message"),
    [
        ([0, 0, 1, 1, -1, -1], 3, "the 2 target rows"),
        ([0, 1, -1, -1, -1], 3, "the 2 source rows"),
        ([0, 1, 2, -1, -1, -1], 3, "every class"),
        ([-1, -1, -1], 2, "no label at all"),
        (None, 2, "y is None"),
        ([0, 1], 2, "X has 6 rows, y has 2"),
    ],
)
def test_splits_that_cannot_be_made(y, n_splits, message):
    X = np.zeros((len(y) if y is not None and len(y) > 2 else 6, 1))
    with pytest.raises(ValueError, match=message):
        list(DomainStratifiedKFold(n_splits).split(X, y))


def test_rare_classes_and_groups_warn():
    y = np.array([0, 0, 0, 1, -1, -1, -1])
    with pytest.warns(UserWarning, match="least populated class in y has only 1"):
        list(DomainStratifiedKFold(2).split(y, y))
    with pytest.warns(UserWarning, match="does not use groups"):
        list(DomainStratifiedKFold(2).split(y[[0, 1, 4, 5]], y[[0, 1, 4, 5]], groups=y))


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"n_splits": 1}, ValueError),
        ({"n_splits": 2.5}, ValueError),
        ({"shuffle": 1}, TypeError),
        ({"random_state": 0}, ValueError),
    ],
)
def test_bad_splitter_parameters(parameters, error):
    with pytest.raises(error, match=next(iter(parameters))):
        DomainStratifiedKFold(**parameters)


def given(routing, domain):
    """Arguments of ``fit`` under routing: the domains reach estimator, scorer and splitter."""
    return {"sample_domain": domain} if routing else {}


def pipe_and_grid():
    pipe = make_pipeline(StandardScaler(), PerSide())
    return pipe, {"perside__adapt": [False, True], "perside__sharpness": [0.5, 1.0]}


@pytest.mark.parametrize("scorer", SCORERS[:2], ids=lambda s: type(s).__name__)
def test_grid_search_picks_the_adapted_model(sides, packed, routing, scorer):
    X, y, domain = packed
    _, _, Xt, yt = sides
    pipe, grid = pipe_and_grid()
    search = GridSearchCV(
        pipe, grid, scoring=scorer, cv=DomainStratifiedKFold(3), n_jobs=2, error_score="raise"
    )
    search.fit(X, y, **given(routing, domain))
    assert search.best_params_["perside__adapt"]
    assert np.mean(search.best_estimator_.predict(Xt) == yt) > 0.9
    assert np.mean(search.predict(Xt) == yt) > 0.9
    # The fitted search scores new packed data by itself.
    assert np.isfinite(search.score(X, y, **given(routing, domain)))


def test_other_searches(packed, routing):
    X, y, domain = packed
    pipe, grid = pipe_and_grid()
    shared = {"scoring": ImportanceWeightedScorer(), "cv": DomainStratifiedKFold(2)}
    random = RandomizedSearchCV(pipe, grid, n_iter=3, random_state=0, **shared)
    halving = HalvingGridSearchCV(
        pipe, grid, min_resources=100, random_state=0, error_score="raise", **shared
    )
    for search in (random, halving):
        search.fit(X, y, **given(routing, domain))
        assert np.isfinite(search.best_score_)
        assert clone(search).scoring.get_params() == search.scoring.get_params()
    assert halving.best_params_["perside__adapt"]


def test_several_scorers_at_once(packed, routing):
    X, y, domain = packed
    pipe, grid = pipe_and_grid()
    scoring = {"iw": SCORERS[0], "entropy": SCORERS[1], "source": LabelledScorer("f1_macro")}
    search = GridSearchCV(pipe, grid, scoring=scoring, refit="iw", cv=DomainStratifiedKFold(2))
    search.fit(X, y, **given(routing, domain))
    assert search.best_params_["perside__adapt"]
    assert np.isfinite([search.cv_results_[f"mean_test_{name}"] for name in scoring]).all()


def test_cross_validation_and_learning_curve(packed, routing):
    X, y, domain = packed
    pipe, cv = make_pipeline(StandardScaler(), PerSide()), DomainStratifiedKFold(3)
    params = {"params": given(routing, domain)} if routing else {}
    accuracy = LabelledScorer("accuracy")
    scores = cross_val_score(pipe, X, y, cv=cv, scoring=accuracy, error_score="raise", **params)
    assert scores.min() > 0.85
    both = {"a": accuracy, "b": EntropyScorer()}
    result = cross_validate(pipe, X, y, cv=cv, scoring=both, return_train_score=True, **params)
    np.testing.assert_array_equal(result["test_a"], scores)
    predicted = cross_val_predict(pipe, X, y, cv=cv, method="predict", **params)
    assert set(predicted) <= {0, 1, 2}
    if not routing:  # rows are predicted as target rows
        _, _, _, yt = make_sides()
        assert np.mean(predicted[domain < 0] == yt) > 0.85
    takes_params = "params" in inspect.signature(learning_curve).parameters
    curve = params if takes_params else {}
    _, train, test = learning_curve(
        pipe, X, y, cv=cv, scoring=accuracy, train_sizes=[0.5, 1.0], error_score="raise", **curve
    )
    assert train.shape == test.shape == (2, 3)
    assert test.min() > 0.8


def test_string_scorers_are_wrong_and_the_wrapped_ones_right(packed):
    X, y, _ = packed
    pipe, cv = make_pipeline(StandardScaler(), PerSide()), DomainStratifiedKFold(3)
    wrong = cross_val_score(pipe, X, y, cv=cv, scoring="accuracy")
    right = cross_val_score(pipe, X, y, cv=cv, scoring=LabelledScorer("accuracy"))
    assert wrong.max() < 0.6 < 0.9 < right.min()


def test_sample_weight_reaches_a_scorer_that_asks_for_it(packed):
    X, y, domain = packed
    weight = np.where(y == 2, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = LabelledScorer().set_score_request(sample_weight=True)
        clf = PerSide().set_fit_request(sample_weight=True)
        params = {"sample_weight": weight, "sample_domain": domain}
        cv = DomainStratifiedKFold(3)
        asked = cross_val_score(clf, X, y, cv=cv, scoring=scorer, params=params)
        for score, (train, test) in zip(asked, cv.split(X, y, sample_domain=domain), strict=True):
            fitted = PerSide().fit(X[train], y[train], sample_weight=weight[train])
            assert score == LabelledScorer()(fitted, X[test], y[test], sample_weight=weight[test])
    # Without routing, searches ask each scorer whether it takes weights.
    search = GridSearchCV(
        PerSide(), {"adapt": [True]}, scoring={"a": LabelledScorer()}, refit="a", cv=cv
    )
    search.fit(X, y, sample_weight=weight)
    assert np.isfinite(search.best_score_)


def test_the_deep_estimator_in_a_search(routing):
    Xs, ys, Xt, yt = make_sides()
    X, y, domain = pack(Xs, ys, Xt)
    pipe = make_pipeline(StandardScaler(), DomainAdaptationClassifier(max_epochs=8, random_state=0))
    prefix = "domainadaptationclassifier__"
    grid = [
        {prefix + "alignment": [None], prefix + "normalize": ["source"]},
        {prefix + "alignment": ["mcc", "coral"], prefix + "normalize": ["domain"]},
    ]
    scoring = ImportanceWeightedScorer()
    search = GridSearchCV(pipe, grid, scoring=scoring, cv=DomainStratifiedKFold(2))
    search.fit(X, y, **given(routing, domain))
    assert search.best_params_[prefix + "normalize"] == "domain"
    assert np.mean(search.predict(Xt) == yt) > 0.85
