"""Task losses: by hand, against slow loops, at the edges, and inside the estimators."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import (
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    LabelledScorer,
    load,
    pack,
)
from adaptlearn._components import registered, resolve
from adaptlearn.imbalance import (
    LDAM,
    Asymmetric,
    ClassBalanced,
    Criterion,
    CrossEntropy,
    DensityWeighted,
    Focal,
    Huber,
    LogitAdjusted,
    MeanSquaredError,
)
from adaptlearn.imbalance.class_balanced import effective_number_weights

DTYPES = [torch.float64, torch.float32]
OURS = {n: c for n, c in registered("criterion").items() if c.__module__.startswith("adaptlearn.")}
CLASSIFYING = sorted(name for name, cls in OURS.items() if not cls.regression)
REBALANCING = [name for name in CLASSIFYING if OURS[name].rebalances]
COUNTS = [50, 7, 1, 20]


def test_which_losses_there_are():
    assert CLASSIFYING == [
        "asymmetric",
        "class_balanced",
        "cross_entropy",
        "focal",
        "ldam",
        "logit_adjusted",
    ]
    assert set(OURS) - set(CLASSIFYING) == {"density_weighted", "huber", "mse"}
    assert REBALANCING == ["class_balanced", "ldam", "logit_adjusted"]
    assert [name for name in CLASSIFYING if OURS[name].cosine_head] == ["ldam"]


# --- slow references: one row, one class at a time ---------------------------------------------


def slow_log_softmax(z):
    return [v - torch.log(sum(torch.exp(u) for u in z)) for v in z]


def slow_smoothed(log_p, label, smoothing, spread=None):
    k = len(log_p)
    spread = [1 / k] * k if spread is None else spread
    q = [(1 - smoothing) * (c == label) + smoothing * spread[c] for c in range(k)]
    return -sum(a * b for a, b in zip(q, log_p, strict=True))


def slow_effective_weights(counts, beta):
    weight = [(1 - beta) / (1 - beta**n) for n in counts]
    return [w * len(counts) / sum(weight) for w in weight]


def slow_cross_entropy(c, z, label, progress):
    return slow_smoothed(slow_log_softmax(z), label, c.label_smoothing)


def slow_focal(c, z, label, progress):
    p = slow_log_softmax(z)[label].exp()
    return -((1 - p) ** c.gamma) * torch.log(p)


def slow_class_balanced(c, z, label, progress):
    weight = slow_effective_weights(COUNTS, c.beta)[label]
    return weight * slow_smoothed(slow_log_softmax(z), label, c.label_smoothing)


def slow_ldam(c, z, label, progress):
    margins = [n**-0.25 for n in COUNTS]
    margin = margins[label] * c.max_margin / max(margins)
    moved = [v - c.scale * margin * (k == label) for k, v in enumerate(z)]
    value = -slow_log_softmax(moved)[label]
    if progress < c.reweight_from:
        return value
    weight = slow_effective_weights(COUNTS, c.beta)
    mean = sum(n * w for n, w in zip(COUNTS, weight, strict=True)) / sum(COUNTS)
    return value * weight[label] / mean


def slow_logit_adjusted(c, z, label, progress):
    prior = [n / sum(COUNTS) for n in COUNTS]
    moved = [v + c.tau * math.log(p) for v, p in zip(z, prior, strict=True)]
    power = [p**c.tau for p in prior]
    spread = [p / sum(power) for p in power]
    return slow_smoothed(slow_log_softmax(moved), label, c.label_smoothing, spread)


def slow_asymmetric(c, z, label, progress):
    k, total = len(z), 0.0
    for j, log_p in enumerate(slow_log_softmax(z)):
        q = (1 - c.label_smoothing) * (j == label) + c.label_smoothing / k
        p = log_p.exp()
        focus = (1 - p) ** c.gamma_pos if j == label else p**c.gamma_neg
        total = total - q * focus * log_p
    return total


CASES = [
    (CrossEntropy(label_smoothing=0.0), slow_cross_entropy),
    (CrossEntropy(), slow_cross_entropy),
    (CrossEntropy(label_smoothing=0.5), slow_cross_entropy),
    (Focal(), slow_focal),
    (Focal(gamma=0.0), slow_focal),
    (Focal(gamma=0.5), slow_focal),
    (ClassBalanced(), slow_class_balanced),
    (ClassBalanced(beta=0.0, label_smoothing=0.0), slow_class_balanced),
    (ClassBalanced(beta=0.9999), slow_class_balanced),
    (LDAM(scale=3.0), slow_ldam),
    (LDAM(scale=3.0, max_margin=0.2, reweight_from=0.3, beta=0.9), slow_ldam),
    (LogitAdjusted(), slow_logit_adjusted),
    (LogitAdjusted(tau=0.5, label_smoothing=0.0), slow_logit_adjusted),
    (Asymmetric(), slow_asymmetric),
    (Asymmetric(gamma_pos=0.5, gamma_neg=0.5, label_smoothing=0.3), slow_asymmetric),
]


def built(criterion, labels=COUNTS, dtype=torch.float64):
    net = criterion.build(torch.as_tensor(labels))
    return None if net is None else net.to(dtype)


def batch(dtype=torch.float64, n_classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(7, n_classes, generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 0, 2]) % n_classes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("criterion", "slow"), CASES, ids=lambda c: getattr(c, "__name__", str(c)[:60])
)
@pytest.mark.parametrize("progress", [0.25, 0.9])
def test_value_and_gradient(criterion, slow, progress, dtype):
    logits, y = batch(dtype)
    weight = torch.linspace(0.5, 2, len(y), dtype=dtype)
    values = criterion.loss(logits, y, progress, built(criterion, dtype=dtype))
    rows = zip(logits, y.tolist(), strict=True)
    expected = torch.stack([slow(criterion, z, label, progress) for z, label in rows])
    assert values.shape == (7,) and values.dtype == dtype
    torch.testing.assert_close(values, expected)
    (a,) = torch.autograd.grad(values @ weight, logits)
    (b,) = torch.autograd.grad(expected @ weight, logits)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_gradient_by_finite_differences(name):
    criterion = resolve("criterion", name)
    logits, y = batch()
    net = built(criterion)
    assert torch.autograd.gradcheck(lambda z: criterion.loss(z / 3, y, 0.9, net), logits)


# --- by hand ------------------------------------------------------------------------------------


def of_three_quarters(criterion, counts=(1, 1), progress=0.5):
    """Loss of one row of class 1 with probability 3/4."""
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    return criterion.loss(logits, torch.tensor([1]), progress, built(criterion, counts)).item()


def test_cross_entropy_by_hand():
    assert of_three_quarters(CrossEntropy(label_smoothing=0.0)) == pytest.approx(math.log(4 / 3))
    smoothed = of_three_quarters(CrossEntropy(label_smoothing=0.2))
    assert smoothed == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_focal_by_hand():
    assert of_three_quarters(Focal()) == pytest.approx(math.log(4 / 3) / 16)
    assert of_three_quarters(Focal(gamma=0.5)) == pytest.approx(math.log(4 / 3) / 2)


def test_class_balanced_by_hand():
    # beta .5: 1 row is worth 1, 2 rows 1.5, so the weights are 2/3 and 1 times 2 / (5/3)
    criterion = ClassBalanced(beta=0.5, label_smoothing=0.0)
    assert of_three_quarters(criterion, (1, 2)) == pytest.approx(0.8 * math.log(4 / 3))
    assert of_three_quarters(criterion, (2, 1)) == pytest.approx(1.2 * math.log(4 / 3))
    assert of_three_quarters(ClassBalanced(beta=0.5), (4, 4)) == pytest.approx(
        of_three_quarters(CrossEntropy())
    )


def test_effective_number_weights():
    few, many = effective_number_weights([10, 500], 0.99)
    assert float(few / many) == pytest.approx(10.39, abs=0.01)
    few, many = effective_number_weights([10, 500], 0.9999)
    assert float(few / many) == pytest.approx(48.8, abs=0.05)
    few, many = effective_number_weights([10**6, 10**7], 1 - 1e-12)  # inverse frequency
    assert float(few / many) == pytest.approx(10, rel=1e-4)
    assert effective_number_weights([3, 10**6], 0.0).tolist() == [1, 1]


def test_ldam_by_hand():
    # 81 rows to one: margins .5 / 3 and .5; at scale 2 the true logit loses 1/3 or 1
    criterion = LDAM(scale=2.0)
    for counts, lost in (((1, 81), 1 / 3), ((81, 1), 1.0)):
        expected = math.log(1 + math.exp(lost) / 3)
        assert of_three_quarters(criterion, counts, 0.79) == pytest.approx(expected)
    # beta .5, one row beside two: weights 1 and 2/3, over their mean on three rows, 7/9
    late = LDAM(scale=2.0, max_margin=0.0, beta=0.5, reweight_from=0.8)
    assert of_three_quarters(late, (1, 2), 0.8) == pytest.approx(6 / 7 * math.log(4 / 3))
    assert of_three_quarters(late, (2, 1), 0.8) == pytest.approx(9 / 7 * math.log(4 / 3))
    never = clone(late).set_params(reweight_from=1)
    assert of_three_quarters(never, (2, 1), 1.0) == pytest.approx(math.log(4 / 3))
    at_once = clone(late).set_params(reweight_from=0)
    assert of_three_quarters(at_once, (2, 1), 0.001) == pytest.approx(9 / 7 * math.log(4 / 3))


def test_logit_adjusted_by_hand():
    # proportions 3/4 and 1/4 undo the odds of 3 that the logits give
    plain = LogitAdjusted(label_smoothing=0)
    assert of_three_quarters(plain, (3, 1)) == pytest.approx(math.log(2))
    assert of_three_quarters(plain, (1, 3)) == pytest.approx(math.log(10 / 9))
    half = LogitAdjusted(tau=0.5, label_smoothing=0)
    assert of_three_quarters(half, (9, 1)) == pytest.approx(math.log(2))
    # smoothing: 3/4 of .2 goes to class 0, and both have probability 1/2
    smoothed = LogitAdjusted(label_smoothing=0.2)
    assert of_three_quarters(smoothed, (3, 1)) == pytest.approx(math.log(2))
    expected = 0.95 * math.log(10 / 9) + 0.05 * math.log(10)
    assert of_three_quarters(smoothed, (1, 3)) == pytest.approx(expected)
    assert of_three_quarters(LogitAdjusted(), (5, 5)) == pytest.approx(
        of_three_quarters(CrossEntropy())
    )


def test_asymmetric_by_hand():
    expected = 0.95 * math.log(4 / 3) + 0.05 * math.log(4) / 256
    assert of_three_quarters(Asymmetric()) == pytest.approx(expected)
    expected = 0.9 * math.log(4 / 3) / 4 + 0.1 * math.log(4) / 4
    criterion = Asymmetric(gamma_pos=1, gamma_neg=1, label_smoothing=0.2)
    assert of_three_quarters(criterion) == pytest.approx(expected)


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("gap", [1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "criterion",
    [
        *(OURS[name]() for name in CLASSIFYING),
        Focal(gamma=0.0),
        Focal(gamma=0.3),
        Asymmetric(gamma_pos=0.3, gamma_neg=0.3),
        Asymmetric(gamma_neg=0.0),
    ],
    ids=str,
)
def test_sure_rows_have_finite_gradients(criterion, sign, gap, dtype):
    logits = torch.tensor([[sign * gap, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    net = built(criterion, [5, 3, 1], dtype)
    values = criterion.loss(logits, torch.tensor([0]), 0.9, net)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all()
    assert values.item() >= 0
    if sign < 0:
        assert gradient[0, 0] < 0  # a wrong row is pushed towards its label, however wrong


def test_focus_ignores_weights():
    """A weight multiplies the loss of the row; it does not change how sure the row looks."""
    logits, y = batch()
    weight = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)[y]
    by_hand = torch.stack([slow_focal(Focal(), z, c, 0) for z, c in zip(logits, y, strict=True)])
    torch.testing.assert_close(Focal().loss(logits, y, 0.5, None) * weight, by_hand * weight)


@pytest.mark.parametrize("name", REBALANCING)
def test_class_without_rows(name):
    criterion = resolve("criterion", name)
    logits, y = batch(n_classes=3)
    net, with_gap = built(criterion, [9, 4, 1]), built(criterion, [9, 0, 4, 1])
    for full, gap in zip(net.buffers(), with_gap.buffers(), strict=True):
        assert torch.isfinite(gap).all()
        torch.testing.assert_close(gap[[0, 2, 3]], full)  # the others do not notice
    far = torch.full((len(y), 1), -1e6, dtype=torch.float64)
    padded = torch.cat([logits[:, :1], far, logits[:, 1:]], 1)
    places = torch.tensor([0, 2, 3])[y]
    unsmoothed = clone(criterion)
    if hasattr(criterion, "label_smoothing"):
        unsmoothed.set_params(label_smoothing=0)
    torch.testing.assert_close(
        unsmoothed.loss(padded, places, 0.9, with_gap), unsmoothed.loss(logits, y, 0.9, net)
    )


def test_class_without_rows_is_pushed_down_as_hard_as_any():
    """Its adjusted logit is not lowered, so the loss does not spare its plain one."""
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    criterion = LogitAdjusted(label_smoothing=0)
    net = built(criterion, [90, 10, 0])
    (gradient,) = torch.autograd.grad(criterion.loss(logits, torch.tensor([1]), 0, net), logits)
    assert gradient[0, 2] == pytest.approx(gradient[0, 0].item()) and gradient[0, 2] > 0.4


@pytest.mark.parametrize("name", REBALANCING)
def test_single_row_beside_a_million(name):
    criterion = resolve("criterion", name)
    net = built(criterion, [10**6, 1], torch.float32)
    logits = torch.zeros(2, 2, requires_grad=True)
    values = criterion.loss(logits, torch.tensor([0, 1]), 0.9, net)
    assert torch.isfinite(values).all() and values[1] > values[0] > 0
    assert torch.isfinite(torch.autograd.grad(values.sum(), logits)[0]).all()


# --- the prior that they train towards ---------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in CLASSIFYING if n not in REBALANCING])
def test_prior_of_losses_that_do_not_rebalance(name):
    sampled = np.array([0.9, 0.1])
    assert resolve("criterion", name).trained_prior(sampled, [90, 10]) is sampled


def test_prior_by_hand():
    def close(criterion, sampled, counts, expected):
        prior = criterion.trained_prior(np.array(sampled), torch.tensor(counts))
        assert isinstance(prior, np.ndarray)
        np.testing.assert_allclose(prior, expected, atol=1e-15)

    # beta .5: weights 1 to 2/3 for one row beside two
    close(ClassBalanced(beta=0.5), [2 / 3, 1 / 3], [2, 1], [4 / 7, 3 / 7])
    close(LDAM(beta=0.5), [2 / 3, 1 / 3], [2, 1], [4 / 7, 3 / 7])
    close(LDAM(beta=0.5, reweight_from=1.0), [2 / 3, 1 / 3], [2, 1], [2 / 3, 1 / 3])
    close(LogitAdjusted(), [0.9, 0.1], [90, 10], [0.5, 0.5])
    close(LogitAdjusted(tau=0.5), [0.9, 0.1], [90, 10], [0.75, 0.25])
    close(LogitAdjusted(tau=0), [0.9, 0.1], [90, 10], [0.9, 0.1])
    close(LogitAdjusted(), [0.5, 0.5], [90, 10], [0.1, 0.9])  # drawn otherwise than counted
    close(LogitAdjusted(tau=50.0), [0.9, 0.1], [90, 10], [0, 1])  # 9 ** 49 does not overflow
    close(LogitAdjusted(), [0.9, 0.1, 0], [90, 10, 0], [0.5, 0.5, 0])
    close(ClassBalanced(beta=0.5), [2 / 3, 1 / 3, 0], [2, 1, 0], [4 / 7, 3 / 7, 0])
    close(LDAM(beta=0.5), [2 / 3, 1 / 3, 0], [2, 1, 0], [4 / 7, 3 / 7, 0])


@pytest.mark.parametrize(
    "criterion",
    [
        CrossEntropy(label_smoothing=0),
        ClassBalanced(beta=0.9, label_smoothing=0),
        LogitAdjusted(label_smoothing=0),
        LogitAdjusted(tau=0.4, label_smoothing=0),
        LDAM(max_margin=0.0, beta=0.9),
        CrossEntropy(),
        ClassBalanced(beta=0.9, label_smoothing=0.3),
        LogitAdjusted(),
        LogitAdjusted(tau=0.4, label_smoothing=0.3),
    ],
    ids=str,
)
@pytest.mark.parametrize("sampled", [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], ids=str)
def test_best_probabilities_are_those_of_the_declared_prior(criterion, sampled):
    """Free logits for each of four inputs, trained on the whole joint distribution."""
    counts, sampled = [70, 20, 10], np.array(sampled)
    given_class = np.random.default_rng(0).dirichlet(np.ones(4), size=3).T + 0.02
    given_class /= given_class.sum(0)  # p(x | y), shape (4, 3)
    x, y = (torch.from_numpy(a.ravel()) for a in np.indices((4, 3)))
    mass = torch.from_numpy((given_class * sampled).ravel())
    net = built(criterion, counts)
    table = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=500, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        optimizer.zero_grad()
        loss = criterion.loss(table[x], y, 0.9, net) @ mass
        loss.backward()
        return loss

    optimizer.step(closure)
    found = criterion.posterior(table.detach().softmax(1).numpy(), counts)
    posterior = given_class * criterion.trained_prior(sampled, counts)
    posterior /= posterior.sum(1, keepdims=True)
    np.testing.assert_allclose(found, posterior, atol=1e-5)


def test_smoothing_is_undone_by_hand():
    # .9 e + .1 / 2: certain rows have .95, and .725 stands for .75
    proba = np.array([[0.95, 0.05], [0.725, 0.275], [0.5, 0.5]])
    expected = [[1, 0], [0.75, 0.25], [0.5, 0.5]]
    for criterion in (CrossEntropy(), ClassBalanced(), LogitAdjusted(tau=0)):
        np.testing.assert_allclose(criterion.posterior(proba, [90, 10]), expected, atol=1e-3)
    assert criterion.posterior(proba, [90, 10]).min() > 0
    # spread 3/4, 1/4: a certain row of class 0 has .9 + .1 * 3/4 and .1 / 4, over 3/4 and 1/4
    sure = np.array([[1.3, 0.1]]) / 1.4
    np.testing.assert_allclose(LogitAdjusted().posterior(sure, [3, 1]), [[1, 0]], atol=1e-3)
    for plain in (
        CrossEntropy(0.0),
        ClassBalanced(label_smoothing=0),
        Focal(),
        Asymmetric(),
        LDAM(),
    ):
        assert plain.posterior(proba, [90, 10]) is proba


def test_change_of_prior_after_smoothing():
    """A sure answer stays, though the rare class is multiplied by 100."""
    proba = np.array([[0.945, 0.055]])  # a little off the floor of .05
    factor = np.array([0.5, 0.5]) / CrossEntropy().trained_prior(np.array([0.99, 0.01]), None)
    assert (proba * factor).argmax() == 1
    assert (CrossEntropy().posterior(proba, None) * factor).argmax() == 0


# --- regression ---------------------------------------------------------------------------------


def slow_huber(r, delta):
    return r**2 / 2 if abs(r) <= delta else delta * (abs(r) - delta / 2)


def slow_density_weights(values, c):
    """Weight of each value: histogram, Gaussian kernel, power, mean 1."""
    low, width = min(values), (max(values) - min(values)) / c.n_bins
    bins = [min(int((v - low) / width), c.n_bins - 1) for v in values]
    density = [sum(math.exp(-(((a - b) / c.bandwidth) ** 2) / 2) for b in bins) for a in bins]
    weight = [d**-c.power for d in density]
    return [w * len(values) / sum(weight) for w in weight]


VALUES = [0.03, 0.1, 0.12, 0.17, 0.2, 0.55, 0.93, 3.1]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "criterion",
    [
        MeanSquaredError(),
        Huber(),
        Huber(delta=0.5),
        DensityWeighted(),
        DensityWeighted(power=1, n_bins=7, bandwidth=0.5),
        DensityWeighted(delta=0.5),
    ],
    ids=str,
)
def test_regression_value_and_gradient(criterion, dtype):
    z = torch.linspace(-3, 3, len(VALUES), dtype=dtype)[:, None].requires_grad_()
    y = torch.tensor(VALUES, dtype=dtype)
    delta = getattr(criterion, "delta", None)
    weight = [1.0] * len(y)
    if isinstance(criterion, DensityWeighted):
        weight = slow_density_weights(VALUES, criterion)
    net = built(criterion, torch.tensor(VALUES, dtype=torch.float64), dtype)
    values = criterion.loss(z, y, 0.5, net)
    residuals = z[:, 0] - y
    expected = [r**2 if delta is None else slow_huber(r, delta) for r in residuals]
    expected = torch.stack([w * v for w, v in zip(weight, expected, strict=True)])
    assert values.shape == y.shape and values.dtype == dtype and criterion.regression
    torch.testing.assert_close(values, expected)
    (a,) = torch.autograd.grad(values.sum(), z)
    (b,) = torch.autograd.grad(expected.sum(), z)
    torch.testing.assert_close(a, b)


def test_regression_losses_by_hand():
    z, y = torch.tensor([[1.0], [4.0]]), torch.tensor([0.5, 1.0])
    assert MeanSquaredError().loss(z, y, 0.5, None).tolist() == [0.25, 9.0]
    assert Huber().loss(z, y, 0.5, None).tolist() == [0.125, 2.5]
    assert Huber(delta=2.0).loss(z, y, 0.5, None).tolist() == [0.125, 4.0]


def test_density_weights_by_hand():
    # Two bins far beyond the kernel: three rows and one, so weights as 1/3 to 1, mean 1.
    values = torch.tensor([0.0, 0.0, 0.4, 1.0], dtype=torch.float64)
    net = DensityWeighted(power=1, n_bins=2, bandwidth=0.01).build(values)
    np.testing.assert_allclose(net.weight, [2 / 3, 2])
    np.testing.assert_allclose(DensityWeighted(power=0, n_bins=2).build(values).weight, [1, 1])
    # A value outside the range is as rare as the nearest end.
    y = torch.tensor([-5.0, 9.0], dtype=torch.float64)
    loss = DensityWeighted().loss(y[:, None] + 1, y, 0.5, net)
    np.testing.assert_allclose(loss, [2 / 3, 2])


@pytest.mark.parametrize(
    "values",
    [[], [2.0], [1.0, 1.0, 1.0], [0.0, 1e12], [0.0, 1e-300], list(range(300))],
    ids=lambda v: f"{len(v)} from {v[:2]}",
)
def test_density_of_odd_values(values):
    criterion = DensityWeighted(power=1.0)
    values = torch.tensor(values, dtype=torch.float64)
    net = criterion.build(values)
    assert net.weight.shape == (100,) and torch.isfinite(net.weight).all()
    assert (net.weight > 0).all()
    weights = criterion.loss(values[:, None] + 1, values, 0.5, net)
    if len(values) and values.max() < 1e9:  # where + 1 is exact enough
        assert weights.mean().item() == pytest.approx(1)


def test_density_of_a_gap_is_no_higher_than_what_was_seen():
    values = torch.cat([torch.zeros(50), torch.ones(2)]).double()
    weight = DensityWeighted(power=1.0, bandwidth=0.5).build(values).weight
    assert weight.max() == weight[-1] == weight[50]


def test_density_of_a_million_rows():
    values = torch.randn(10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    criterion = DensityWeighted()
    net = criterion.build(values).float()
    values = values.float()
    assert criterion.loss(values[:, None] + 1, values, 0.5, net).mean() == pytest.approx(
        1, abs=0.01
    )


# --- base class and parameters ------------------------------------------------------------------


def test_base_criterion():
    base = Criterion()
    assert not (base.regression or base.rebalances or base.cosine_head)
    assert base.build(torch.tensor([1, 2])) is None
    with pytest.raises(TypeError, match=r"Mine must define loss\(logits, y, progress, net\)"):
        type("Mine", (Criterion,), {})().loss(None, None, 0.5, None)


@pytest.mark.parametrize(
    ("criterion", "parameter"),
    [
        (Focal(gamma=-1), "gamma"),
        (ClassBalanced(beta=1.0), "beta"),
        (ClassBalanced(label_smoothing=1.0), "label_smoothing"),
        (LDAM(scale=0), "scale"),
        (LDAM(max_margin=-0.1), "max_margin"),
        (LDAM(reweight_from=80), "reweight_from"),
        (LogitAdjusted(tau=-1), "tau"),
        (Asymmetric(gamma_neg="4"), "gamma_neg"),
        (DensityWeighted(power=2), "power"),
        (DensityWeighted(n_bins=0), "n_bins"),
        (DensityWeighted(bandwidth=0), "bandwidth"),
        (DensityWeighted(delta=0), "delta"),
    ],
    ids=str,
)
def test_bad_parameters(criterion, parameter):
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of {type(criterion).__name__}"):
        resolve("criterion", criterion)


# --- in the estimators --------------------------------------------------------------------------

SMALL = {
    "hidden_layer_sizes": (8,),
    "max_epochs": 2,
    "dropout": 0.0,
    "alignment": None,
    "random_state": 0,
}


def two_sides(counts=(30, 12, 3), n_target=30, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    X = rng.normal(size=(len(y), 4)) + 3 * np.eye(4)[y]
    target = np.arange(n_target) % len(counts)
    Xt = 2 * (rng.normal(size=(n_target, 4)) + 3 * np.eye(4)[target]) + 5
    return X, y, Xt, target


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.net_.module_.parameters()])


def test_names_in_a_grid_search_on_packed_data():
    Xs, ys, Xt, _ = two_sides()
    X, y, _ = pack(Xs, ys, Xt)
    pipe = make_pipeline(StandardScaler(), DomainAdaptationClassifier(**SMALL))
    step = "domainadaptationclassifier__"
    grid = {f"{step}criterion": CLASSIFYING, f"{step}alignment": ["mmd", "cdan"]}
    scorer = LabelledScorer("balanced_accuracy")
    search = GridSearchCV(pipe, grid, scoring=scorer, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 12
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_estimator_.predict(Xt).shape == (30,)


def test_nested_parameters_from_a_name():
    model = DomainAdaptationClassifier(criterion="logit_adjusted").set_params(criterion__tau=0.5)
    assert repr(model.criterion) == "LogitAdjusted(tau=0.5)"


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", CLASSIFYING)
def test_fit_in_every_precision(name, precision):
    X, y, Xt, _ = two_sides()
    model = DomainAdaptationClassifier(**SMALL, criterion=name, precision=precision)
    proba = model.fit(X, y, X_target=Xt).predict_proba(Xt)
    assert np.isfinite(proba).all() and np.allclose(proba.sum(1), 1)


@pytest.mark.parametrize("name", CLASSIFYING)
def test_scale_of_weights_does_not_matter(name):
    X, y, Xt, _ = two_sides()
    w = np.random.default_rng(1).uniform(0.5, 2, len(y))
    model = DomainAdaptationClassifier(**SMALL, criterion=name, precision="float64")
    fits = [
        weights(clone(model).fit(X, y, X_target=Xt, sample_weight=given))
        for given in (w, 1000 * w, np.ones(len(y)), None)
    ]
    torch.testing.assert_close(fits[0], fits[1])
    torch.testing.assert_close(fits[2], fits[3])
    assert (fits[0] - fits[2]).abs().max() > 1e-4  # but weights do


def test_progress_of_batches_and_of_held_out_rows():
    seen = []

    class Spy(CrossEntropy):
        def loss(self, logits, y, progress, net):
            seen.append((logits.requires_grad, progress))
            return super().loss(logits, y, progress, net)

    X, y, Xt, _ = two_sides()
    model = DomainAdaptationClassifier(
        **SMALL, criterion=Spy(), early_stopping="source", validation_fraction=0.3, batch_size=32
    )
    model.fit(X, y, X_target=Xt)
    assert [p for training, p in seen if training] == [0.25, 0.75]
    assert [p for training, p in seen if not training] == [1.0, 1.0]


def test_ldam_reweights_late_in_the_estimator():
    X, y, Xt, _ = two_sides()

    def fit(start):
        model = DomainAdaptationClassifier(**SMALL, criterion=LDAM(reweight_from=start))
        return [record["task_loss"] for record in model.fit(X, y, X_target=Xt).history_]

    never, second, both = fit(1.0), fit(0.5), fit(0.0)
    assert never[0] == second[0] != both[0]
    assert never[1] != second[1]


def test_class_that_appears_later():
    X, y, _, _ = two_sides()
    for name in CLASSIFYING:
        model = DomainAdaptationClassifier(**SMALL, criterion=name, normalize=None)
        model.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
        proba = model.partial_fit(X, y).predict_proba(X)
        assert proba.shape == (45, 3) and np.isfinite(proba).all()


def test_row_of_a_single_class():
    X, y, Xt, _ = two_sides(counts=(30, 12, 1))
    for name in CLASSIFYING:
        model = DomainAdaptationClassifier(**SMALL, criterion=name).fit(X, y, X_target=Xt)
        assert np.isfinite(model.predict_proba(Xt)).all()


@pytest.mark.parametrize("name", REBALANCING)
@pytest.mark.parametrize(
    ("params", "way_out"),
    [
        ({"sampling": "balanced"}, "sampling='balanced'.*Set sampling='instance'"),
        ({"class_weight": "balanced"}, "class_weight='balanced'.*Set class_weight=None"),
        ({"class_weight": {0: 1.0, 1: 2.0, 2: 3.0}}, "class_weight={0: 1.0.*class_weight=None"),
    ],
    ids=str,
)
def test_imbalance_is_not_countered_twice(name, params, way_out):
    X, y, Xt, _ = two_sides()
    model = DomainAdaptationClassifier(**SMALL, criterion=name, **params)
    with pytest.raises(ValueError, match=rf"criterion={OURS[name].__name__}\(\) .*{way_out}"):
        model.fit(X, y, X_target=Xt)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("sampling", ["sqrt", "balanced", "progressive", "domain_balanced"])
def test_balanced_batches_go_without_balanced_weights(sampling):
    X, y, Xt, _ = two_sides()
    model = DomainAdaptationClassifier(**SMALL, sampling=sampling, class_weight="balanced")
    with pytest.raises(ValueError, match=rf"sampling='{sampling}' .*class_weight='balanced'"):
        model.fit(X, y, X_target=Xt)
    assert not hasattr(model, "net_")
    model.set_params(class_weight={0: 1.0, 1: 2.0, 2: 3.0}).fit(X, y, X_target=Xt)
    model.set_params(class_weight="balanced", sampling="auto").fit(X, y, X_target=Xt)
    assert model.sampling_ == "instance"


@pytest.mark.parametrize("name", [n for n in CLASSIFYING if n not in REBALANCING])
def test_other_losses_go_with_sampling_and_class_weights(name):
    X, y, Xt, _ = two_sides()
    for params in ({"sampling": "balanced"}, {"class_weight": "balanced"}):
        model = DomainAdaptationClassifier(**SMALL, criterion=name, **params)
        assert model.fit(X, y, X_target=Xt).predict(Xt).shape == (30,)


def test_loss_of_the_other_task_is_refused():
    X, y, _, _ = two_sides()
    message = "does not fit this task .classification.; use one of .'asymmetric', 'class_bal"
    with pytest.raises(ValueError, match=message):
        DomainAdaptationClassifier(**SMALL, criterion="density_weighted").fit(X, y)
    message = "does not fit this task .regression.; use one of .'density_weighted', 'huber', 'mse'"
    with pytest.raises(ValueError, match=message):
        DomainAdaptationRegressor(**SMALL, criterion=LDAM()).fit(X, X[:, 0])


# --- the cosine head ----------------------------------------------------------------------------


def test_cosine_head():
    X, y, Xt, _ = two_sides()
    model = DomainAdaptationClassifier(**SMALL, criterion=LDAM(scale=7.0)).fit(X, y, X_target=Xt)
    head = model.net_.module_.head
    assert head.bias is None and head.in_features == 8 and head.weight.shape == (3, 8)
    features, w = model.transform(Xt), head.weight.detach().numpy()
    norms = np.linalg.norm(features, axis=1)[:, None] * np.linalg.norm(w, axis=1)
    logits = 7 * features @ w.T / norms
    np.testing.assert_allclose(model.decision_function(Xt), logits, atol=1e-5)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(Xt), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cosine_head_gradient(dtype):
    from adaptlearn.deep._network import CosineHead

    head = CosineHead(3, 2, 5.0).to(dtype)
    features = torch.tensor([[3.0, 0.0, 4.0], [0.1, -2.0, 1.0]], dtype=dtype, requires_grad=True)
    slow = [
        [5 * (f @ w) / (f.square().sum().sqrt() * w.square().sum().sqrt()) for w in head.weight]
        for f in features
    ]
    slow = torch.stack([torch.stack(row) for row in slow])
    out = head(features)
    torch.testing.assert_close(out, slow)
    target = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=dtype)
    a = torch.autograd.grad((out * target).sum(), [features, head.weight])
    b = torch.autograd.grad((slow * target).sum(), [features, head.weight])
    torch.testing.assert_close(a, b)


def test_cosine_head_of_a_row_of_zeros():
    from adaptlearn.deep._network import CosineHead

    features = torch.zeros(1, 3, requires_grad=True)
    out = CosineHead(3, 2, 30.0)(features)
    out.sum().backward()
    assert out.tolist() == [[0, 0]] and torch.isfinite(features.grad).all()


@pytest.mark.parametrize("alignment", [*sorted(registered("alignment")), "auto"])
def test_every_alignment_takes_a_cosine_head(alignment):
    X, y, Xt, _ = two_sides()
    params = SMALL | {"alignment": alignment}
    model = DomainAdaptationClassifier(**params, criterion="ldam").fit(X, y, X_target=Xt)
    assert np.isfinite(model.predict_proba(Xt)).all()
    assert type(model.net_.module_.head).__name__ == "CosineHead"


@pytest.mark.parametrize("name", CLASSIFYING)
def test_saved_and_pickled(name, tmp_path):
    X, y, Xt, _ = two_sides()
    params = SMALL | {"alignment": "dann"}
    model = DomainAdaptationClassifier(**params, criterion=name).fit(X, y, X_target=Xt)
    model.save(tmp_path / "model")
    for again in (load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(Xt), model.predict_proba(Xt))
        ours, theirs = model.net_.criterion_.state_dict(), again.net_.criterion_.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
        X_packed, y_packed, _ = pack(X, y, Xt)
        assert np.isfinite(again.partial_fit(X_packed, y_packed).predict_proba(X)).all()


def test_regressor_saves_the_density_and_not_the_labels(tmp_path):
    X, _, Xt, _ = two_sides()
    y = np.exp(X[:, 0])
    model = DomainAdaptationRegressor(**SMALL, criterion="density_weighted")
    model.fit(X, y, X_target=Xt).save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(Xt), model.predict(Xt))
    for ours, theirs in zip(
        model.net_.criterion_.buffers(), again.net_.criterion_.buffers(), strict=True
    ):
        assert torch.equal(ours, theirs)
    net = again.net_.criterion_.criterion_net
    standardised = (y - y.mean()) / y.std()
    assert net.low.item() == pytest.approx(standardised.min(), rel=1e-5)
    assert net.weight.max() > 1 > net.weight.min()
    assert again._class_counts is None


# --- what they are for --------------------------------------------------------------------------


def long_tail(seed):
    """Four overlapping classes: 400 to 10 rows in the source, equal numbers in the target."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(4, 6))
    centers *= 2.2 / np.linalg.norm(centers, axis=1, keepdims=True)

    def rows(counts):
        y = np.repeat(np.arange(4), counts)
        return centers[y] + rng.normal(size=(len(y), 6)), y

    return *rows([400, 120, 36, 10]), *rows([150] * 4)


def test_rebalancing_helps_rare_classes():
    scores = {name: [] for name in ["cross_entropy", *REBALANCING]}
    for name, seed in itertools.product(scores, range(3)):
        X, y, X_test, y_test = long_tail(seed)
        model = DomainAdaptationClassifier(
            criterion=name, alignment=None, normalize=None, hidden_layer_sizes=(32,), dropout=0.0,
            learning_rate=5e-3, max_epochs=20, random_state=0,
        )  # fmt: skip
        predicted = model.fit(X, y).predict(X_test)
        scores[name].append(balanced_accuracy_score(y_test, predicted))
    for name in REBALANCING:  # on every seed: .67 to .86 against .57 to .65
        assert (np.array(scores[name]) > np.array(scores["cross_entropy"]) + 0.05).all(), scores


def test_density_weights_help_rare_values():
    """Large values are rare, follow another slope, and a line cannot fit both."""
    gains = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = np.concatenate([rng.uniform(0, 1, 570), rng.uniform(1, 2, 30)])
        y = np.where(x < 1, x, 4 * x - 3) + 0.1 * rng.normal(size=600)
        errors = []
        for criterion in ("mse", "density_weighted"):
            model = DomainAdaptationRegressor(
                criterion=criterion, alignment=None, normalize="source", hidden_layer_sizes=(),
                learning_rate=0.02, max_epochs=20, random_state=0,
            )  # fmt: skip
            test = np.linspace(1, 2, 50)
            predicted = model.fit(x[:, None], y).predict(test[:, None])
            errors.append(np.mean((predicted - (4 * test - 3)) ** 2))
        gains.append(errors[0] - errors[1])
    assert min(gains) > 0, gains
