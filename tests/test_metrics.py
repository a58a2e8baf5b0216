"""Values by hand, ranges, memory and errors of the functions in adaptlearn.metrics."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp

from adaptlearn import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_importance_weights_recover_the_ratio_of_two_gaussians(rng):
    X_source, X_target = rng.normal(0, 1, (3000, 1)), rng.normal(1, 1, (2000, 1))
    weights = metrics.importance_weights(X_source, X_target, clip=50)
    truth = np.exp(X_source[:, 0] - 0.5)  # N(1, 1) / N(0, 1)
    truth /= truth.mean()
    assert np.corrcoef(weights, truth)[0, 1] > 0.97
    assert weights.mean() == pytest.approx(1)
    assert np.average(X_source[:, 0], weights=weights) == pytest.approx(1, abs=0.15)


def test_importance_weights_do_not_depend_on_the_number_of_target_rows(rng):
    X_source, X_target = rng.normal(0, 1, (500, 2)), rng.normal(1, 1, (500, 2))
    once = metrics.importance_weights(X_source, X_target)
    thrice = metrics.importance_weights(X_source, np.repeat(X_target, 3, axis=0))
    assert np.corrcoef(once, thrice)[0, 1] > 0.95


def test_importance_weights_are_clipped_flat_and_reproducible(rng):
    X = rng.normal(size=(200, 3))
    weights = metrics.importance_weights(X, X + np.eye(3)[0] * 4, clip=2)
    assert (weights >= 0).all()
    raw_ratio = weights / weights.max() * 2
    assert raw_ratio.max() <= 2 + 1e-9
    same = metrics.importance_weights(X, X + np.eye(3)[0] * 4, clip=2)
    np.testing.assert_array_equal(weights, same)
    # One distribution: nothing to weight.
    assert metrics.importance_weights(X[:100], X[100:]).std() < 0.6


def test_importance_weights_take_sparse_images_and_more_rows_than_they_fit(rng):
    dense = rng.normal(size=(60, 8))
    sparse = metrics.importance_weights(sp.csr_matrix(dense), sp.csr_matrix(dense + 1))
    assert sparse.shape == (60,)
    images = metrics.importance_weights(dense.reshape(60, 2, 2, 2), dense.reshape(60, 2, 2, 2) + 1)
    np.testing.assert_array_equal(images, metrics.importance_weights(dense, dense + 1))
    few = metrics.importance_weights(dense, dense + 1, max_samples=20)
    assert few.shape == (60,)
    assert np.isfinite(few).all()


def test_separated_sides_give_finite_weights(rng):
    X = rng.normal(size=(50, 2))
    weights = metrics.importance_weights(X, X + 1e6)
    assert np.isfinite(weights).all()
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: metrics.importance_weights(X, X[:, :1]), "2 columns and X_target 1"),
        (lambda X: metrics.importance_weights(X, X, clip=0.5), "clip=0.5"),
        (lambda X: metrics.importance_weights(X[:1], X), "minimum of 2"),
        (lambda X: metrics.mmd(X, X, bandwidth=0), "bandwidth=0"),
        (lambda X: metrics.mmd(X, X * np.nan), "X_target contains NaN"),
        (lambda X: metrics.prediction_entropy(X), "class probabilities"),
        (lambda X: metrics.collapse_penalty([[1, 0]], [1, 1, 1]), "2 classes"),
        (lambda X: metrics.collapse_penalty([[1, 0]], [0, 0]), "prior must"),
        (lambda X: metrics.collapse_penalty([[1, 0]], [1, 1], tolerance=0), "tolerance=0"),
        (lambda X: metrics.importance_weighted_score([0], [0], [0]), "positive sum"),
        (lambda X: metrics.importance_weighted_score([0], [0], [1], metric="f1"), "'f1' is not"),
        (
            lambda X: metrics.importance_weighted_score([0], [0], [1], metric="neg_log_loss"),
            "needs y_pred of shape",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.arange(8.0).reshape(4, 2) * 3 - 5)


def test_proxy_a_distance_ends_of_the_range(rng):
    X = rng.normal(size=(400, 2))
    assert metrics.proxy_a_distance(X, X + 50) == 2
    assert metrics.proxy_a_distance(X[:200], X[200:]) < 0.3
    # Unequal sides: always answering "target" is no skill.
    assert metrics.proxy_a_distance(X[:20], X[20:]) < 0.7


def slow_mmd(S, T, bandwidth=1.0):
    pooled = np.concatenate([S, T])
    n = len(pooled)
    pairs = [((a - b) ** 2).sum() for i, a in enumerate(pooled) for b in np.delete(pooled, i, 0)]
    mean = sum(pairs) / (n * (n - 1))

    def kernel(a, b):
        return sum(
            np.exp(-((a - b) ** 2).sum() / (2 * 2.0**j * bandwidth * mean)) for j in range(-3, 2)
        )

    ss = [kernel(a, b) for i, a in enumerate(S) for j, b in enumerate(S) if i != j]
    tt = [kernel(a, b) for i, a in enumerate(T) for j, b in enumerate(T) if i != j]
    st = [kernel(a, b) for a in S for b in T]
    return np.mean(ss) + np.mean(tt) - 2 * np.mean(st)


@pytest.mark.parametrize("bandwidth", [1.0, 0.3])
def test_mmd_equals_the_double_sum(rng, bandwidth):
    S, T = rng.normal(size=(7, 3)), rng.normal(1, 2, size=(5, 3))
    expected = slow_mmd(S, T, bandwidth)
    assert metrics.mmd(S, T, bandwidth=bandwidth) == pytest.approx(expected, abs=1e-12)
    blocks = metrics.mmd(S, T, bandwidth=bandwidth, block_size=2)
    assert blocks == pytest.approx(expected, abs=1e-12)
    far = metrics.mmd(S + 1e6, T + 1e6, bandwidth=bandwidth)
    assert far == pytest.approx(expected, abs=1e-6)


def test_mmd_by_hand():
    # Two rows at 0 and two at 1: the mean squared distance is 2/3.
    widths = 2 * 2.0 ** np.arange(-3, 2) * 2 / 3
    expected = 2 * 5 - 2 * np.exp(-1 / widths).sum()
    assert metrics.mmd([[0.0], [0.0]], [[1.0], [1.0]]) == pytest.approx(expected)


def test_mmd_is_unbiased(rng):
    values = [metrics.mmd(*rng.normal(size=(2, 20, 2))) for _ in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def test_mmd_of_sparse_and_float32(rng):
    S, T = rng.normal(size=(9, 3)), rng.normal(size=(6, 3))
    exact = metrics.mmd(S, T)
    assert metrics.mmd(sp.csr_matrix(S), T) == pytest.approx(exact)
    assert metrics.mmd(S.astype(np.float32), T.astype(np.float32)) == pytest.approx(exact, abs=1e-5)


def test_importance_weighted_score_by_hand():
    y, predicted, w = ["a", "a", "b", "b"], ["a", "b", "b", "a"], [1, 3, 4, 2]
    assert metrics.importance_weighted_score(y, predicted, w) == pytest.approx(5 / 10)
    balanced = metrics.importance_weighted_score(y, predicted, w, metric="balanced_accuracy")
    assert balanced == pytest.approx((1 / 4 + 4 / 6) / 2)
    proba = [[0.5, 0.5], [0.25, 0.75], [0.2, 0.8], [1.0, 0.0]]
    loss = metrics.importance_weighted_score(
        y[:3], proba[:3], w[:3], metric="neg_log_loss", classes=["a", "b"]
    )
    assert loss == pytest.approx((np.log(0.5) + 3 * np.log(0.25) + 4 * np.log(0.8)) / 8)
    unseen = metrics.importance_weighted_score(
        ["c"], [[0.5, 0.5]], [1], metric="neg_log_loss", classes=["a", "b"]
    )
    assert np.isfinite(unseen)
    assert unseen < -15


def test_entropy_and_guard_by_hand():
    proba = np.array([[0.5, 0.5, 0], [1, 0, 0], [0, 0.25, 0.75], [0, 1, 0]])
    entropy = (np.log(2) - 0.25 * np.log(0.25) - 0.75 * np.log(0.75)) / 4
    assert metrics.prediction_entropy(proba) == pytest.approx(entropy)
    weighted = metrics.prediction_entropy(proba, sample_weight=[1, 0, 0, 1])
    assert weighted == pytest.approx(np.log(2) / 2)
    prior = [2, 1, 1]
    # Predicted classes 0 (first of the tie), 0, 2, 1: the histogram is the prior.
    assert metrics.collapse_penalty(proba, prior) == 0
    assert metrics.collapse_penalty(proba, [1, 1, 2], tolerance=1) == pytest.approx(0.25)
    assert metrics.collapse_penalty(proba, [1, 1, 2], tolerance=2) == 0
    assert metrics.collapse_penalty(proba, [1, 1, 98]) == 0
    assert metrics.collapse_penalty(proba, [1, 1, 98], tolerance=3.5) == pytest.approx(0.105)
    assert metrics.collapse_penalty(proba[1:2], [0.1, 0.6, 0.3]) == pytest.approx(0.9)
    only_one = metrics.guarded_entropy(proba[1:2], [1, 1, 2], guard=0.5)
    assert only_one == pytest.approx(0.375)
    assert metrics.collapse_penalty(proba, prior, sample_weight=[0, 0, 0, 1]) == pytest.approx(0.75)
    assert metrics.guarded_entropy(proba, prior) == pytest.approx(entropy / np.log(3))


def test_the_guard_prefers_a_balanced_predictor_to_a_collapsed_one():
    collapsed = np.tile([0.99, 0.005, 0.005], (30, 1))
    balanced = np.roll(np.tile([0.8, 0.1, 0.1], (30, 1)), 0)
    balanced[10:20], balanced[20:] = [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
    assert metrics.prediction_entropy(collapsed) < metrics.prediction_entropy(balanced)
    prior = [1, 1, 1]
    assert metrics.guarded_entropy(balanced, prior) < metrics.guarded_entropy(collapsed, prior)


def test_guarded_entropy_stays_in_its_range(rng):
    for _ in range(50):
        n_classes = rng.integers(1, 6)
        proba = rng.dirichlet(np.full(n_classes, 0.3), size=rng.integers(1, 9))
        value = metrics.guarded_entropy(proba, rng.dirichlet(np.ones(n_classes)))
        assert isinstance(value, float)
        assert 0 <= value <= 3


def test_metrics_import_no_torch():
    code = "import sys, adaptlearn.metrics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
