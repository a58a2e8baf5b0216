"""Scores of features for a new task: values by hand and by slow references."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import LedoitWolf
from sklearn.naive_bayes import GaussianNB

from adaptlearn import metrics
from adaptlearn.metrics import h_score, leep_score, logme_score, nce_score, transrate_score

ON_FEATURES = [logme_score, h_score, transrate_score]


def task(n=60, d=5, n_classes=3, seed=0, gap=2.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, d)) + gap * rng.normal(size=(n_classes, d))[y]
    return X, y


def slow_logme(X, y):
    """Evidence of one output as the density of a Gaussian, both precisions searched for."""
    n = len(X)

    def loss(logs):
        alpha, beta = np.exp(np.clip(logs, -30, 30))
        covariance = np.eye(n) / beta + X @ X.T / alpha
        return -multivariate_normal(np.zeros(n), covariance, allow_singular=True).logpdf(y) / n

    starts = [(a, b) for a in (-2.0, 0.0, 3.0) for b in (-1.0, 1.0, 3.0)]
    return -min(minimize(loss, s, method="Nelder-Mead").fun for s in starts)


def mackay(X, y, steps):
    """The fixed-point iteration of the paper, with the full matrices."""
    n, d = X.shape
    alpha = beta = 1.0
    for _ in range(steps):
        A = alpha * np.eye(d) + beta * X.T @ X
        m = beta * np.linalg.solve(A, X.T @ y)
        values = np.linalg.eigvalsh(X.T @ X)
        gamma = (beta * values / (alpha + beta * values)).sum()
        residual = np.square(X @ m - y).sum()
        alpha, beta = gamma / (m @ m), (n - gamma) / residual
    A = alpha * np.eye(d) + beta * X.T @ X
    m = beta * np.linalg.solve(A, X.T @ y)
    fit = beta / 2 * np.square(X @ m - y).sum() + alpha / 2 * m @ m
    half = n / 2 * np.log(beta) + d / 2 * np.log(alpha) - n / 2 * np.log(2 * np.pi)
    return (half - fit - 0.5 * np.linalg.slogdet(A)[1]) / n


@pytest.mark.parametrize(("n", "d"), [(40, 4), (12, 30)], ids=["n > d", "d > n"])
def test_logme_is_the_largest_evidence(n, d):
    X, y = task(n, d)
    expected = np.mean([slow_logme(X, (y == c).astype(float)) for c in range(3)])
    assert logme_score(X, y) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (40, 30)])
def test_logme_is_a_fixed_point_of_the_published_iteration(n, d):
    X, y = task(n, d)
    expected = np.mean([mackay(X, (y == c).astype(float), 2000) for c in range(3)])
    assert logme_score(X, y) == pytest.approx(expected, abs=1e-7)


def test_logme_of_numbers():
    X, _ = task()
    y = X @ [1.0, -2.0, 0.5, 0.0, 0.0] + np.random.default_rng(1).normal(size=60)
    assert logme_score(X, y) == pytest.approx(mackay(X, y, 2000), abs=1e-7)
    assert logme_score(X, np.round(y), task="regression") != logme_score(X, np.round(y))
    masked = np.concatenate([y, [np.nan] * 3])
    assert logme_score(np.r_[X, X[:3]], masked) == logme_score(X, y)


def test_logme_without_signal_says_that_the_labels_are_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = rng.normal(size=50)
    y -= X @ np.linalg.lstsq(X, y, rcond=None)[0]  # orthogonal to every feature
    noise_only = -0.5 * (np.log(2 * np.pi * np.mean(y**2)) + 1)
    assert logme_score(X, y) == pytest.approx(noise_only, abs=1e-6)


def test_logme_of_exact_labels_is_finite_and_high():
    X, y = task(60, 5)
    exact = np.c_[X, np.eye(3)[y]]
    assert np.isfinite(logme_score(exact, y))
    assert logme_score(exact, y) > logme_score(X, y) + 1


@pytest.mark.parametrize("score", ON_FEATURES)
def test_columns_that_say_nothing_new_do_no_harm(score):
    X, y = task(50, 4)
    base = score(X, y)
    assert score(np.c_[X, np.zeros((50, 3))], y) == pytest.approx(base, rel=0.2, abs=1e-3)
    for more in (np.full((50, 2), 7.0), X, X[:, [0, 0, 0]] * 1e-3):
        assert np.isfinite(score(np.c_[X, more], y))
    assert np.isfinite(score(np.ones((50, 3)), y))
    assert np.isfinite(score(np.repeat(X[:5], 10, axis=0), y))  # duplicate rows


@pytest.mark.parametrize("score", ON_FEATURES)
@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_scores_do_not_depend_on_the_unit(score, factor):
    X, y = task()
    assert score(factor * X, y) == pytest.approx(score(X, y), rel=1e-6)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_a_rotation_changes_nothing(score):
    X, y = task()
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
    assert score(X @ rotation, y) == pytest.approx(score(X, y), rel=1e-8)


@pytest.mark.parametrize("score", ON_FEATURES)
def test_more_signal_scores_higher(score):
    values = [score(*task(600, 10, 4, gap=gap)) for gap in (0, 0.5, 1, 2, 4)]
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("score", ON_FEATURES)
@pytest.mark.parametrize("kind", ["number", "string", "null"])
def test_rows_without_a_label_are_left_out(score, kind):
    X, y = task()
    more = {"number": y, "string": y.astype(str), "null": y.astype(object)}[kind]
    mask = {"number": [-1, -1], "string": ["-1", "-1"], "null": [None, np.nan]}[kind]
    given = np.concatenate([more, np.array(mask, dtype=more.dtype)])
    before = given.copy()
    assert score(np.r_[X, X[:2] + 100], given) == score(X, y)
    assert all(a is b or a == b or (a != a and b != b) for a, b in zip(given, before, strict=True))


def test_minus_one_may_be_a_class():
    X, y = task(n_classes=2)
    assert logme_score(X, 2 * y - 1) == logme_score(X, y)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 40)])
def test_h_score_against_the_matrices(n, d):
    X, y = task(n, d)
    lw = LedoitWolf().fit(X)
    centred = X - X.mean(axis=0)
    means = np.array([centred[y == c].mean(axis=0) for c in range(3)])[y]
    between = (1 - lw.shrinkage_) * means.T @ means / n
    expected = np.trace(np.linalg.solve(lw.covariance_, between))
    assert h_score(X, y) == pytest.approx(expected, rel=1e-8)


def test_h_score_of_one_column_is_the_share_of_variance_between_classes():
    # variance 1.01, between 1: nothing is shrunk in one dimension
    assert h_score([[-1.1], [-0.9], [0.9], [1.1]], [0, 0, 1, 1]) == pytest.approx(1 / 1.01)


def test_shrinkage_keeps_noise_low():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    assert h_score(rng.normal(size=(60, 200)), y) < 0.5  # 2 without shrinkage


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 20)])
def test_transrate_against_the_published_listing(n, d):
    X, y = task(n, d)

    def rate(Z):
        return 0.5 * np.linalg.slogdet(np.eye(d) + Z.T @ Z / (len(Z) * 1e-4))[1]

    centred = X - X.mean(axis=0)
    expected = rate(centred) - sum(rate(centred[y == c]) for c in range(3)) / 3  # equal classes
    assert transrate_score(X, y, normalize=False) == pytest.approx(expected, rel=1e-9)
    scaled = centred / np.sqrt(np.square(centred).sum(axis=1).mean())
    expected = rate(scaled) - sum(rate(scaled[y == c]) for c in range(3)) / 3
    assert transrate_score(X, y) == pytest.approx(expected, rel=1e-9)


def test_transrate_by_hand():
    X = np.array([[-1.0, 0], [1, 0], [0, -1], [0, 1]])  # each class has one direction
    # both: log det(I + (2/4) I) / 2 = log 1.5; one class: log det diag(1 + 1, 1) / 2
    value = transrate_score(X, [0, 0, 1, 1], distortion=1.0)
    assert value == pytest.approx(np.log(1.5) - 0.5 * np.log(2))


def test_leep_by_hand():
    proba = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]])
    # P(a|z) = 1.4/1.5, 0.6/1.5; P(b|z) = 0.1/1.5, 0.9/1.5
    likelihood = [0.8 * 1.4 + 0.2 * 0.6, 0.6 * 1.4 + 0.4 * 0.6, 0.1 * 0.1 + 0.9 * 0.9]
    expected = np.log(np.array(likelihood) / 1.5).mean()
    assert leep_score(proba, ["a", "a", "b"]) == pytest.approx(expected)
    with_mask = np.r_[proba, [[0.5, 0.5]]]
    assert leep_score(with_mask, ["a", "a", "b", "-1"]) == pytest.approx(expected)


def test_leep_allows_source_classes_that_are_never_predicted():
    assert leep_score([[1.0, 0, 0], [0, 1.0, 0]], [0, 1]) == 0.0


def test_nce_by_hand():
    # source x: a a b; source y: b. H = 3/4 H(1/3)
    expected = 0.75 * (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3))
    assert nce_score(["x", "x", "x", "y"], list("aabb")) == pytest.approx(expected)
    assert nce_score(["x", "x", "x", "y", "z"], [*"aabb", "-1"]) == pytest.approx(expected)
    assert nce_score([0, 1, 2, 3], [0, 0, 1, 1]) == 0.0


@pytest.mark.parametrize("score", ON_FEATURES)
def test_bad_input_is_refused(score):
    X, y = task()
    with pytest.raises(ValueError, match="one class only"):
        score(X, np.zeros(60, int))
    with pytest.raises(ValueError, match="row 7"):
        score(np.where(np.arange(60)[:, None] == 7, np.nan, X), y)
    with pytest.raises(ValueError, match="at least two"):
        score(X, np.r_[0, np.full(59, -1)])
    with pytest.raises(ValueError, match="inconsistent"):
        score(X, y[:-1])


def test_bad_options_are_refused():
    X, y = task()
    with pytest.raises(ValueError, match="distortion=0"):
        transrate_score(X, y, distortion=0)
    with pytest.raises(ValueError, match="task='rank'"):
        logme_score(X, y, task="rank")
    with pytest.raises(ValueError, match="probabilities"):
        leep_score([[0.5, 0.9]], [1])


def test_float32_and_unwritable_input():
    X, y = task()
    X32 = X.astype(np.float32)
    X32.flags.writeable = False
    for score in ON_FEATURES:
        assert score(X32, y) == pytest.approx(score(X, y), rel=1e-4)


# --- forgetting --------------------------------------------------------------------------


MATRIX = [[0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.95, 0.6, 0.85]]


def test_report_by_hand():
    report = metrics.forgetting_report(MATRIX, baseline=[0.5, 0.25, 0.1])
    assert report.average == pytest.approx((0.95 + 0.6 + 0.85) / 3)
    # best before the last domain: .9 and .8
    assert report.forgetting == pytest.approx(((0.9 - 0.95) + (0.8 - 0.6)) / 2)
    assert report.backward_transfer == pytest.approx(((0.95 - 0.9) + (0.6 - 0.8)) / 2)
    assert report.forward_transfer == pytest.approx(((0.3 - 0.25) + (0.4 - 0.1)) / 2)


def test_forgetting_looks_at_the_best_earlier_score():
    # domain 1 was at its best before it was learned: forgetting sees it, backward transfer not
    report = metrics.forgetting_report([[0.9, 0.7, 0], [0.9, 0.6, 0], [0.9, 0.5, 0.9]])
    assert report.forgetting == pytest.approx(0.1)
    assert report.backward_transfer == pytest.approx(-0.05)


def test_report_of_one_domain_and_without_baseline():
    report = metrics.forgetting_report([[0.75]], baseline=0.5)
    assert tuple(report)[2:] == (0.75, 0.0, 0.0, 0.0)
    report = metrics.forgetting_report(MATRIX)
    assert np.isnan(report.forward_transfer)
    assert "forward" not in repr(report)


def test_report_as_html():
    html = metrics.forgetting_report(MATRIX, names=["<a>", "b", "c"])._repr_html_()
    assert "&lt;a&gt;" in html and "<a>" not in html and "lower is better" in html
    assert html.count("<tr>") == 4


def test_bad_matrices_are_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 2\)"):
        metrics.forgetting_report([[0.1, 0.2]])
    with pytest.raises(ValueError, match="names has 1"):
        metrics.forgetting_report(MATRIX, names=["a"])
    with pytest.raises(ValueError, match="baseline has shape"):
        metrics.forgetting_report(MATRIX, baseline=[0.1, 0.2])
    with pytest.raises(ValueError, match="NaN"):
        metrics.forgetting_report([[np.nan]])


class Counter(BaseEstimator):
    """Remembers what it was asked; scores the number of calls so far."""

    def __init__(self, warm_start=False):
        self.warm_start = warm_start

    def fit(self, X, y):
        return self._note("fit", {})

    def partial_fit(self, X, y, **more):
        return self._note("partial_fit", more)

    def _note(self, name, more):
        self.calls = [*getattr(self, "calls", []), (name, more)]
        return self

    def score(self, X, y):
        assert len(X) == len(y)
        return len(self.calls) + len(X) / 100


def test_matrix_of_partial_fit_and_of_warm_starts():
    X = np.zeros((3, 1))
    domains, tests = [(X, [0, 1, 1])] * 2, [(X[:1], [0]), (X[:2], [0, 2])]
    mine = Counter()
    matrix = metrics.forgetting_matrix(mine, domains, test_domains=tests, n_calls=5, classes=[0])
    np.testing.assert_allclose(matrix, [[5.01, 5.02], [10.01, 10.02]])
    assert not hasattr(mine, "calls")
    matrix = metrics.forgetting_matrix(Counter(warm_start=True), domains, n_calls=5)
    np.testing.assert_allclose(matrix, [[1.03, 1.03], [2.03, 2.03]])


def test_matrix_gives_all_classes_to_the_first_call():
    X = np.random.default_rng(0).normal(size=(30, 2))
    y = np.arange(30) % 2
    domains = [(X + 5 * y[:, None], y), (X + 5 * y[:, None] - 20, y + 2)]
    matrix = metrics.forgetting_matrix(GaussianNB(priors=[0.25] * 4), domains)
    assert (matrix[1] > 0.9).all() and matrix[0, 1] == 0


class Learner(ClassifierMixin, Counter):
    """A classifier that reads masks, as its ``predict`` tells."""

    warm_start = False

    def __init__(self):
        pass

    def predict(self, X, *, sample_domain=None):
        return np.zeros(len(X))

    def score(self, X, y, sample_weight=None):
        return float(len(self.calls[0][1].get("classes", ())))


def test_masks_are_no_classes():
    X, y = np.arange(6.0)[:, None], np.array([0, 0, 2, 2, -1, -1])
    assert metrics.forgetting_matrix(Learner(), [(X, y), (X, y + 1)])[1, 1] == 4  # 0, 1, 2, 3
    plain = metrics.forgetting_matrix(GaussianNB(priors=[0.5, 0.25, 0.25]), [(X, y)])
    assert plain.shape == (1, 1)  # three classes to an estimator that knows no mask


def test_several_columns_of_labels_have_no_common_classes():
    X, y = np.zeros((4, 1)), np.array([[0, 5], [1, 6], [0, 6], [1, 5]])
    assert metrics.forgetting_matrix(Learner(), [(X, y)])[0, 0] == 0


def test_matrix_of_a_scoring():
    from sklearn.linear_model import SGDRegressor

    X = np.random.default_rng(0).normal(size=(30, 2))
    est = SGDRegressor(random_state=0)
    matrix = metrics.forgetting_matrix(est, [(X, X[:, 0])], scoring="neg_mean_squared_error")
    assert matrix[0, 0] < 0


def test_matrix_refuses_what_cannot_learn_on():
    from sklearn.linear_model import Ridge

    with pytest.raises(TypeError, match="warm_start=True"):
        metrics.forgetting_matrix(Ridge(), [([[0]], [0])])
    with pytest.raises(ValueError, match="list of pairs"):
        metrics.forgetting_matrix(Counter(), [1, 2])
    with pytest.raises(ValueError, match="test_domains has 1"):
        domain = ([[0]], [0])
        metrics.forgetting_matrix(Counter(), [domain] * 2, test_domains=[domain])
