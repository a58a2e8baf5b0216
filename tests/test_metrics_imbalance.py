"""Metrics by class, by domain and of calibration, by hand; their scorers."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from imblearn.metrics import geometric_mean_score
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV

from adaptlearn import LabelledScorer, metrics

Y_TRUE = np.array([0, 0, 0, 0, 1, 1, 1, 2])
Y_PRED = np.array([0, 0, 0, 1, 1, 1, 2, 2])


def test_worst_class_recall_by_hand():
    # recalls 3/4, 2/3, 1
    assert metrics.worst_class_recall(Y_TRUE, Y_PRED) == pytest.approx(2 / 3)
    weight = np.array([1, 1, 1, 5, 1, 1, 1, 1])  # recalls 3/8, 2/3, 1
    assert metrics.worst_class_recall(Y_TRUE, Y_PRED, sample_weight=weight) == 3 / 8
    weight = (Y_TRUE != 1) * 1.0  # a class without weight does not count
    assert metrics.worst_class_recall(Y_TRUE, Y_PRED, sample_weight=weight) == 3 / 4
    assert metrics.worst_class_recall(["a", "b"], ["a", "c"]) == 0
    assert type(metrics.worst_class_recall([0, 1], [0, 1])) is float


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.worst_class_recall([], []), "empty"),
        (lambda: metrics.worst_class_recall([0], [0, 1]), "inconsistent"),
        (lambda: metrics.worst_class_recall([0], [0], sample_weight=[0]), "not all zero"),
        (lambda: metrics.worst_class_recall([0], [0], sample_weight=[-1]), "not negative"),
        (lambda: metrics.shot_accuracy([0], [0], {0: 5}, many=1, few=2), "few=2 and many=1"),
        (lambda: metrics.calibration_error([0], [[0.5, 0.6]]), "class probabilities"),
        (lambda: metrics.calibration_error([0], [[0.5, 0.5]]), "2 columns for 1 classes"),
        (lambda: metrics.calibration_error([0, 1], [[0.5, 0.5]]), "2 rows and proba 1"),
        (lambda: metrics.calibration_error([0, 1], [[0.5, 0.5]] * 2, n_bins=0), "n_bins=0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("score", [metrics.worst_class_recall, metrics.domain_report])
def test_strings_are_not_compared_with_numbers(score):
    with pytest.raises(TypeError, match=r"y_true holds numbers and y_pred strings.*astype"):
        score([0, 1, 0], ["0", "1", "0"])
    with pytest.raises(TypeError, match="y_true holds strings and y_pred numbers"):
        score(np.array(["0", "1"], dtype=object), [0, 1])
    score([True, False], [1.0, 0.0])


def test_shot_accuracy_by_hand():
    counts = {0: 101, 1: 100, 2: 19}  # many: more than 100; few: fewer than 20
    shots = metrics.shot_accuracy(Y_TRUE, Y_PRED, counts)
    assert shots == (3 / 4, pytest.approx(2 / 3), 1.0)
    counts = {0: 1000, 1: 1000, 2: 20}  # a group is the mean over its classes, not over rows
    shots = metrics.shot_accuracy(Y_TRUE, Y_PRED, counts)
    assert shots.many == pytest.approx((3 / 4 + 2 / 3) / 2) and shots.medium == 1
    assert math.isnan(shots.few)
    # A class that training did not hold had no rows.
    shots = metrics.shot_accuracy(Y_TRUE, Y_PRED, Counter([0] * 3), many=2, few=1)
    assert shots == (3 / 4, pytest.approx(math.nan, nan_ok=True), pytest.approx(5 / 6))
    with pytest.raises(TypeError, match="Counter"):
        metrics.shot_accuracy(Y_TRUE, Y_PRED, [3, 3, 3])


def slow_calibration_error(y, proba, n_bins):
    n, k = proba.shape
    errors = []
    for c in range(k):
        bins = [[] for _ in range(n_bins)]
        for i in range(n):
            b = 0
            while b < n_bins - 1 and proba[i, c] > (b + 1) / n_bins:
                b += 1
            bins[b].append(i)
        total = 0.0
        for rows in filter(None, bins):
            frequency = sum(y[i] == c for i in rows) / len(rows)
            confidence = sum(proba[i, c] for i in rows) / len(rows)
            total += len(rows) / n * abs(frequency - confidence)
        errors.append(total)
    return errors


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_calibration_error_against_loops(n_bins, dtype):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.3] * 3, size=50).astype(dtype)
    y = rng.integers(0, 3, 50)
    found = metrics.calibration_error(y, proba, n_bins=n_bins, per_class=True)
    expected = slow_calibration_error(y, proba.astype(np.float64), n_bins)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    mean = metrics.calibration_error(y, proba, n_bins=n_bins)
    assert mean == pytest.approx(np.mean(expected), rel=1e-5)


def test_calibration_error_by_hand():
    proba = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    # Two bins, class 0: {.2, .4} hold one class-0 row: |1/2 - .3| / 2; {.9, .9}: |1/2 - .9| / 2.
    found = metrics.calibration_error([0, 1, 1, 0], proba, n_bins=2, per_class=True)
    np.testing.assert_allclose(found, [0.3, 0.3])
    # A probability on an edge belongs to the bin below: {.5, .4} and {.9}, each off by .1.
    edge = np.array([[0.5, 0.5], [0.4, 0.6], [0.9, 0.1]])
    found = metrics.calibration_error([0, 1, 0], edge, n_bins=2, per_class=True)
    assert found[0] == pytest.approx(0.2 / 3)
    # The labels of the columns; a label that has no column counts as none of them.
    found = metrics.calibration_error(["x", "b", "b", "x"], proba, classes=["x", "b"], n_bins=2)
    assert found == pytest.approx(0.3)
    found = metrics.calibration_error([7, 7], [[1.0, 0.0]] * 2, classes=[0, 1], per_class=True)
    assert found.tolist() == [1, 0]
    assert metrics.calibration_error([0, 1], [[1.0, 0.0], [0.0, 1.0]]) == 0


def test_geometric_mean_is_imblearns():
    assert metrics.geometric_mean_score is geometric_mean_score
    assert metrics.geometric_mean_score(Y_TRUE, Y_PRED) == pytest.approx((3 / 4 * 2 / 3) ** (1 / 3))
    with pytest.raises(AttributeError, match="no_such"):
        metrics.no_such  # noqa: B018


def test_domain_report_by_hand():
    y = [0, 0, 1, 1, 0, 1, -1, 0]
    pred = [0, 1, 1, 1, 0, 0, 1, 2]
    domain = [0, 0, 0, 1, -1, -1, -2, -2]
    report = metrics.domain_report(y, pred, domain)
    assert report.domains == (0, 1, -1, -2) and report.classes == (0, 1, 2)
    assert report.support.tolist() == [[2, 1, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]]
    nan = np.nan
    np.testing.assert_allclose(
        report.recall, [[1 / 2, 1, nan], [nan, 1, nan], [1, 0, nan], [0, nan, nan]]
    )
    share = [[1 / 3, 2 / 3, 0], [0, 1, 0], [1, 0, 0], [0, 1 / 2, 1 / 2]]
    np.testing.assert_allclose(report.predicted_share, share)
    assert report.rows()[1] == (0, 1, 1, 1.0, pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_domain_report_reads_masks():
    y = np.array(["a", "b", "-1", "-1"])
    report = metrics.domain_report(y, ["a", "a", "b", "b"])
    assert report.domains == (0, -1)
    assert report.support.tolist() == [[1, 1], [0, 0]]
    assert np.isnan(report.recall[1]).all()
    assert report.predicted_share.tolist() == [[1, 0], [0, 1]]
    # No mask: all rows are target rows, as in predict.
    assert metrics.domain_report(["a", "b"], ["a", "b"]).domains == (-1,)
    with pytest.raises(ValueError, match="sample_domain has 3 entries for 2 rows"):
        metrics.domain_report(["a", "b"], ["a", "b"], [0, 0, 0])


def test_domain_report_prints():
    report = metrics.domain_report(["<i>", "b"], ["<i>", "<i>"], [0, -1])
    lines = str(report).splitlines()
    assert lines[0].split() == [
        "domain",
        "class",
        "support",
        "recall",
        "share",
        "predicted",
        "share",
    ]
    assert len({len(line) for line in lines if line}) == 1, "columns are not aligned"
    rows = [line.split() for line in lines if line]
    assert rows[1] == ["source", "0", "<i>", "1", "1.000", "1.000", "1.000"]
    assert rows[2] == ["b", "0", "-", "0.000", "0.000"]
    assert rows[3] == ["target", "-1", "<i>", "0", "-", "0.000", "1.000"]
    assert rows[4] == ["b", "1", "0.000", "1.000", "0.000"]
    html = report._repr_html_()
    assert html.count("<tr>") == 5 and "&lt;i&gt;" in html and "<i>" not in html
    assert repr(report) == str(report)


@pytest.mark.parametrize(
    "name, metric",
    [
        ("worst_class_recall", metrics.worst_class_recall),
        ("geometric_mean", geometric_mean_score),
    ],
)
def test_scorers(packed, name, metric):
    X, y, _ = packed
    known = y != -1
    X = X + np.random.default_rng(0).normal(scale=3, size=X.shape)  # so that it errs
    clf = LogisticRegression().fit(X[known], y[known])
    expected = metric(y[known], clf.predict(X[known]))
    assert 0 < expected < balanced_accuracy_score(y[known], clf.predict(X[known]))
    assert LabelledScorer(name)(clf, X, y) == pytest.approx(expected)
    weight = np.where(y == 0, 3.0, 1.0)
    weighted = metric(y[known], clf.predict(X[known]), sample_weight=weight[known])
    assert LabelledScorer(name)(clf, X, y, sample_weight=weight) == pytest.approx(weighted)


def test_calibration_error_as_a_scorer(packed):
    X, y, _ = packed
    known = y != -1
    clf = LogisticRegression().fit(X[known], y[known])
    proba, some = clf.predict_proba(X), known & (y != y[known][0])  # one class is missing
    error = metrics.calibration_error(y[some], proba[some], classes=clf.classes_)
    masked = np.where(some, y, -1)
    assert LabelledScorer("neg_calibration_error")(clf, X, masked) == pytest.approx(-error) != 0
    times = np.where(np.arange(len(y)) % 2, 3, 0)
    copies = np.repeat(np.flatnonzero(some), times[some])
    error = metrics.calibration_error(y[copies], proba[copies], classes=clf.classes_)
    weighted = LabelledScorer("neg_calibration_error")(clf, X, masked, sample_weight=times)
    assert weighted == pytest.approx(-error)


def test_accuracy_of_a_group_of_classes_as_a_scorer(packed):
    X, y, _ = packed
    known = y != -1
    clf = LogisticRegression().fit(X[known], y[known])
    counts = {0: 500, 1: 5, 2: 50}
    shots = metrics.shot_accuracy(y[known], clf.predict(X[known]), counts)
    for group in ("many", "medium", "few"):
        scorer = make_scorer(metrics.shot_accuracy, train_counts=counts, group=group)
        again = pickle.loads(pickle.dumps(LabelledScorer(scorer)))
        np.testing.assert_equal(again(clf, X, y), getattr(shots, group))
    with pytest.raises(ValueError, match="group='rare' must be None, 'many'"):
        metrics.shot_accuracy([0], [0], counts, group="rare")
    # Of the two rows of class 0 the wrong one weighs three times as much.
    assert metrics.shot_accuracy(
        [0, 0], [0, 1], counts, group="many", sample_weight=[1, 3]
    ) == pytest.approx(1 / 4)


def test_scorer_in_a_search(routing):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [90, 10])
    X = rng.normal(size=(100, 1)) + 2 * y[:, None]
    grid = {"class_weight": [None, "balanced"]}
    scoring = LabelledScorer("worst_class_recall")
    search = GridSearchCV(LogisticRegression(), grid, scoring=scoring, cv=3).fit(X, y)
    assert search.best_params_ == {"class_weight": "balanced"}
