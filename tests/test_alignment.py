"""Alignment losses against slow references written from the papers' formulas."""

import math

import pytest
import torch
from torch import nn

from adaptlearn import CDAN, CORAL, DANN, JMMD, MCC, MMD
from adaptlearn.alignment import Domain, Step, reverse_gradient
from adaptlearn.alignment.base import attached_zero, pair_mass, ramp, shares
from adaptlearn.alignment.cdan import entropy
from adaptlearn.alignment.coral import covariance_root
from adaptlearn.alignment.mmd import multi_kernel, squared_distances, weighted_mmd

DTYPES = [torch.float64, torch.float32]
N_SOURCE, N_TARGET, D, K = 7, 5, 4, 3


def tolerance(dtype):
    return {"rtol": 1e-9, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-6}


def side(features, logits, weight=None, domain=0):
    n = len(features)
    weight = torch.ones(n, dtype=features.dtype) if weight is None else weight
    return Domain(
        features, None, features, logits, torch.full((n,), domain), torch.arange(n), weight
    )


def batch(dtype=torch.float64, weighted=False, n_source=N_SOURCE, n_target=N_TARGET, seed=0):
    """Source and target with leaf tensors that take gradients."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for k, n in enumerate((n_source, n_target)):
        features = torch.randn(n, D, generator=generator, dtype=torch.float64) * (1 + k) + k
        logits = 2 * torch.randn(n, K, generator=generator, dtype=torch.float64)
        weight = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
        weight = weight if weighted else torch.ones_like(weight)
        leaves = [t.to(dtype).requires_grad_() for t in (features, logits)]
        sides.append(side(*leaves, weight.to(dtype), domain=k))
    return sides


def leaves(source, target):
    return [source.features, target.features, source.logits, target.logits]


def gradients(loss, source, target):
    grads = torch.autograd.grad(loss, leaves(source, target), allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for g, t in zip(grads, leaves(source, target))]  # noqa: B905


def build(alignment, dtype=torch.float64, seed=0, n_features=D, n_domains=(1, 1)):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = alignment.build(n_features, K, None, n_domains, generator)
    return None if net is None else net.to(dtype)


def run(alignment, source, target, net=None, progress=0.5, weight=1.0):
    return alignment.loss(source, target, Step(None, progress, weight), net)


# --- references: one loop per sum of the formula --------------------------------------------


def mean_vector(x, w):
    return sum(w[i] * x[i] for i in range(len(x))) / w.sum()


def slow_coral(source, target):
    """Sun & Saenko 2016, eq. 1-3; weighted: unbiased under reliability weights."""
    covariances, d = [], source.features.shape[1]
    for s in (source, target):
        x, w = s.features, s.weight
        mean, total = mean_vector(x, w), torch.zeros(d, d, dtype=x.dtype)
        for i in range(len(x)):
            total = total + w[i] * torch.outer(x[i] - mean, x[i] - mean)
        covariances.append(total / (w.sum() - (w**2).sum() / w.sum()))
    loss = 0.0
    for a in range(d):
        for b in range(d):
            loss = loss + (covariances[0][a, b] - covariances[1][a, b]) ** 2
    return loss / (4 * d**2)


def slow_mmd(source, target, bandwidth=1.0, softmax_bandwidth=None):
    """Gretton et al. 2012, eq. 3, with the kernel family of Long et al. 2015 (and 2017)."""
    x = [*source.features, *target.features]
    p = [z.softmax(0) for z in [*source.logits, *target.logits]]
    w = [*source.weight, *target.weight]
    n = len(source.features)
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x)) if i != j]
    mean = sum(((x[i] - x[j]) ** 2).sum().item() for i, j in pairs) / len(pairs)

    def kernel(i, j):
        d2 = ((x[i] - x[j]) ** 2).sum()
        k = sum(torch.exp(-d2 / (2 * 2.0**m * bandwidth * mean)) for m in (-3, -2, -1, 0, 1))
        if softmax_bandwidth is not None:
            k = k * torch.exp(-((p[i] - p[j]) ** 2).sum() / (2 * softmax_bandwidth**2))
        return k

    sums, masses = {}, {}
    for i, j in pairs:
        block = (i < n) + (j < n)
        sums[block] = sums.get(block, 0.0) + w[i] * w[j] * kernel(i, j)
        masses[block] = masses.get(block, 0.0) + w[i] * w[j]
    return sums[2] / masses[2] + sums[0] / masses[0] - 2 * sums[1] / masses[1]


def slow_mcc(target, temperature=2.5):
    """Jin et al. 2020, eq. 2-6."""
    p = [(z / temperature).softmax(0) for z in target.logits]
    certain = [1 + math.exp(sum(q * math.log(q) for q in row.tolist())) for row in p]
    certain = [c * w.item() for c, w in zip(certain, target.weight)]  # noqa: B905
    w = [len(p) * c / sum(certain) for c in certain]
    loss = 0.0
    for j in range(K):
        row = [sum(w[i] * p[i][j] * p[i][k] for i in range(len(p))) for k in range(K)]
        loss = loss + sum(row[k] for k in range(K) if k != j) / sum(row)
    return loss / K


def slow_domain_loss(critic, inputs, sides, certainty):
    """Binary cross-entropy, source 1 and target 0, each side's weights normalised."""
    total = 0.0
    for is_source, (x, s, c) in enumerate(zip(inputs[::-1], sides[::-1], certainty[::-1])):  # noqa: B905
        w = [s.weight[i].item() * c[i] for i in range(len(x))]
        for i in range(len(x)):
            d = torch.sigmoid(critic(x[i][None]))[0, 0]
            total = total - w[i] / sum(w) * torch.log(d if is_source else 1 - d) / 2
    return total


def slow_dann(source, target, net):
    ones = [[1.0] * N_SOURCE, [1.0] * N_TARGET]
    inputs = [source.features, target.features]
    return slow_domain_loss(net[0], inputs, (source, target), ones)


def slow_cdan(source, target, net, entropy_weight=True):
    """Long et al. 2018, eq. 5-9."""
    inputs, certainty = [], []
    for s in (source, target):
        p = s.logits.detach().softmax(1)
        rows = []
        for i in range(len(p)):
            if net.random:
                r = [
                    (s.features[i] * net.feature_map[:, k]).sum()
                    * (p[i] * net.class_map[:, k]).sum()
                    for k in range(net.feature_map.shape[1])
                ]
                rows.append(torch.stack(r) / math.sqrt(len(r)))
            else:
                rows.append(
                    torch.stack([p[i, c] * s.features[i, f] for c in range(K) for f in range(D)])
                )
        inputs.append(rows)
        h = [-sum(q * math.log(q) for q in row) for row in p.tolist()]
        certainty.append([1 + math.exp(-v) if entropy_weight else 1.0 for v in h])
    return slow_domain_loss(net.critic, inputs, (source, target), certainty)


# --- values and gradients -------------------------------------------------------------------

MOMENT_CASES = [
    (CORAL(), slow_coral),
    (MMD(), slow_mmd),
    (MMD(bandwidth=0.3), lambda s, t: slow_mmd(s, t, bandwidth=0.3)),
    (JMMD(), lambda s, t: slow_mmd(s, t, softmax_bandwidth=0.92)),
    (
        JMMD(bandwidth=2.0, softmax_bandwidth=0.5),
        lambda s, t: slow_mmd(s, t, bandwidth=2.0, softmax_bandwidth=0.5),
    ),
    (MCC(), lambda s, t: slow_mcc(t)),
    (MCC(temperature=1.0), lambda s, t: slow_mcc(t, 1.0)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("alignment", "reference"), MOMENT_CASES, ids=lambda v: getattr(v, "__name__", repr(v)[:40])
)
def test_value_and_gradient_of_moment_losses(alignment, reference, dtype, weighted):
    source, target = batch(dtype, weighted)
    loss = run(alignment, source, target)
    exact = batch(torch.float64, weighted)  # the reference in double precision
    expected = reference(*exact)
    assert loss.shape == () and loss.dtype == dtype
    torch.testing.assert_close(loss.double(), expected, **tolerance(dtype))
    found, wanted = gradients(loss, source, target), gradients(expected, *exact)
    for g, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(g.double(), w, **tolerance(dtype))
    assert max(g.abs().max() for g in found) > 1e-4


ADVERSARIAL_CASES = [
    (DANN(hidden=6), slow_dann),
    (CDAN(hidden=6), slow_cdan),
    (CDAN(hidden=6, entropy_weight=False), lambda s, t, n: slow_cdan(s, t, n, False)),
    (CDAN(hidden=6, max_dim=11, random_dim=9), slow_cdan),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("alignment", "reference"), ADVERSARIAL_CASES)
def test_value_and_gradient_of_adversarial_losses(alignment, reference, dtype, weighted):
    source, target = batch(dtype, weighted)
    loss = run(alignment, source, target, build(alignment, dtype), progress=0.3, weight=2.0)
    exact, net = batch(torch.float64, weighted), build(alignment)
    expected = reference(*exact, net)
    torch.testing.assert_close(loss.double(), expected, **tolerance(dtype))
    scale = 2.0 * (2 / (1 + math.exp(-3.0)) - 1)
    found, wanted = gradients(loss, source, target), gradients(expected, *exact)
    for g, w in zip(found, wanted, strict=True):
        torch.testing.assert_close(g.double(), -scale * w, **tolerance(dtype))
    assert all(g.abs().max() > 1e-5 for g in found[:2])
    assert all((g == 0).all() for g in found[2:])  # p is detached


@pytest.mark.parametrize("alignment", [DANN(hidden=6), CDAN(hidden=6)])
def test_lambda_scales_the_feature_gradient_alone(alignment):
    net, found = build(alignment), {}
    for weight, progress in ((1.0, 0.5), (3.0, 0.5), (1.0, 0.05), (0.0, 0.5)):
        source, target = batch()
        loss = run(alignment, source, target, net, progress, weight)
        critic = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
        found[weight, progress] = loss, critic, gradients(loss, source, target)[0]
    loss, critic, features = found[1.0, 0.5]
    assert all(g.abs().max() > 0 for g in critic)
    for (weight, progress), (other_loss, other_critic, other) in found.items():
        assert other_loss == loss
        for a, b in zip(critic, other_critic, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(other, features * weight * ramp(progress) / ramp(0.5))


def test_ramp_and_reversal():
    assert ramp(0.0) == 0.0
    assert ramp(0.5) == pytest.approx(0.9866143)
    assert ramp(1.0) == pytest.approx(0.9999092)
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(x, y)
    (y * torch.tensor([3.0, 4.0])).sum().backward()
    assert x.grad.tolist() == [-1.5, -2.0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_coral_of_more_features_than_rows(dtype):
    generator, found = torch.Generator().manual_seed(0), []
    wide = [torch.randn(n, 20, generator=generator, dtype=torch.float64) for n in (6, 5)]
    weight = [torch.rand(n, generator=generator, dtype=torch.float64) for n in (6, 5)]
    for kind, loss in ((dtype, lambda s, t: run(CORAL(), s, t)), (torch.float64, slow_coral)):
        x = [f.to(kind).requires_grad_() for f in wide]
        value = loss(*(side(f, f, w.to(kind)) for f, w in zip(x, weight, strict=True)))
        found.append([value, *torch.autograd.grad(value, x)])
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got.double(), expected, **tolerance(dtype))


# --- by hand --------------------------------------------------------------------------------


def test_coral_by_hand():
    fs = torch.tensor([[0.0, 0.0], [2.0, 2.0]])  # covariance [[2, 2], [2, 2]]
    ft = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0]])  # [[1, 0], [0, 3]]
    loss = run(CORAL(), side(fs, fs), side(ft, ft))
    assert loss.item() == pytest.approx((1 + 4 + 4 + 1) / 16)


def test_mmd_by_hand():
    fs, ft = torch.tensor([[0.0], [1.0]]).double(), torch.tensor([[2.0], [2.0]]).double()
    mean = (1 + 4 + 4 + 1 + 1 + 0) / 6  # six pairs

    def k(d2):
        return sum(math.exp(-d2 / (2 * s * mean)) for s in (1 / 8, 1 / 4, 1 / 2, 1, 2))

    expected = k(1) + k(0) - 2 * (2 * k(4) + 2 * k(1)) / 4
    assert run(MMD(), side(fs, fs), side(ft, ft)).item() == pytest.approx(expected, rel=1e-12)


def test_mcc_by_hand():
    logits = torch.tensor([[0.3, 0.7], [0.9, 0.1]], dtype=torch.float64).log()
    w = [1 + 0.3**0.3 * 0.7**0.7, 1 + 0.9**0.9 * 0.1**0.1]
    c = [
        [w[0] * 0.09 + w[1] * 0.81, w[0] * 0.21 + w[1] * 0.09],
        [w[0] * 0.21 + w[1] * 0.09, w[0] * 0.49 + w[1] * 0.01],
    ]
    expected = (c[0][1] / sum(c[0]) + c[1][0] / sum(c[1])) / 2
    target = side(logits, logits)
    assert run(MCC(temperature=1.0), None, target).item() == pytest.approx(expected, rel=1e-12)
    even = torch.zeros(4, K)
    assert run(MCC(), None, side(even, even)).item() == pytest.approx((K - 1) / K)
    sure = 300.0 * torch.eye(K)
    assert run(MCC(), None, side(sure, sure)).item() == pytest.approx(0.0, abs=1e-6)


def test_dann_by_hand():
    critic = nn.Linear(1, 1).double()
    with torch.no_grad():
        critic.weight.fill_(1.0), critic.bias.fill_(0.0)
    fs, ft = (
        torch.tensor([[0.0]]).double(),
        torch.tensor([[math.log(3)], [0.0]], dtype=torch.float64),
    )
    loss = run(DANN(), side(fs, fs), side(ft, ft), nn.ModuleList([critic]))
    assert loss.item() == pytest.approx((math.log(2) + (math.log(4) + math.log(2)) / 2) / 2)


def test_entropy():
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    torch.testing.assert_close(entropy(p), torch.tensor([0.0, math.log(2)]))


# --- properties -----------------------------------------------------------------------------

ALL = [CORAL(), MMD(), JMMD(), MCC(), DANN(hidden=6), CDAN(hidden=6)]


@pytest.mark.parametrize("alignment", ALL)
def test_gradient_reaches_the_network_at_half_progress(alignment):
    source, target = batch()
    found = gradients(run(alignment, source, target, build(alignment)), source, target)
    assert max(g.abs().max() for g in found) > 1e-4
    if not isinstance(alignment, MCC):
        assert min(g.abs().max() for g in found[:2]) > 1e-4


@pytest.mark.parametrize("alignment", [CORAL(), MMD(), JMMD()])
@pytest.mark.parametrize("sizes", [(1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_row_on_a_side_gives_an_attached_zero(alignment, sizes, dtype):
    source, target = batch(dtype, n_source=sizes[0], n_target=sizes[1])
    loss = run(alignment, source, target)
    assert loss.item() == 0.0 and loss.requires_grad and loss.dtype == dtype
    assert all((g == 0).all() for g in gradients(loss, source, target))


@pytest.mark.parametrize("alignment", [MCC(), DANN(hidden=6), CDAN(hidden=6)])
def test_one_row_is_enough_for_the_others(alignment):
    source, target = batch(n_source=1, n_target=1)
    loss = run(alignment, source, target, build(alignment))
    assert all(g.isfinite().all() for g in gradients(loss, source, target))


@pytest.mark.parametrize("alignment", ALL)
@pytest.mark.parametrize("kept", [0, 1])
def test_zero_weights_stay_finite(alignment, kept):
    source, target = batch()
    weight = torch.zeros(N_TARGET).double()
    weight[:kept] = 1.0
    target = target._replace(weight=weight)
    loss = run(alignment, source, target, build(alignment))
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in gradients(loss, source, target))


@pytest.mark.parametrize("alignment", ALL)
def test_rows_of_weight_zero_do_not_count(alignment):
    net = build(alignment)
    source, target = batch(weighted=True)
    keep = torch.tensor([0, 1, 3, 4])
    weight = torch.zeros(N_TARGET).double()
    weight[keep] = target.weight[keep]
    got = run(alignment, source, target._replace(weight=weight), net)
    few = side(target.features[keep], target.logits[keep], target.weight[keep], 1)
    if isinstance(alignment, MMD | JMMD):  # the bandwidth is of all rows: compare one kernel
        x = torch.cat([source.features, target.features])
        kernel = multi_kernel(squared_distances(x))
        rows = torch.cat([torch.arange(N_SOURCE), N_SOURCE + keep])
        got = weighted_mmd(kernel, source.weight, weight)
        expected = weighted_mmd(kernel[rows][:, rows], source.weight, few.weight)
    else:
        expected = run(alignment, source, few, net)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("alignment", [MCC(), DANN(hidden=6), CDAN(hidden=6)])
def test_a_weight_of_two_is_a_row_given_twice(alignment):
    net = build(alignment)
    source, target = batch()
    target = target._replace(weight=torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0]).double())
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 4])
    repeated = side(target.features[twice], target.logits[twice])
    torch.testing.assert_close(
        run(alignment, source, target, net), run(alignment, source, repeated, net)
    )


def test_weight_of_two_up_to_the_unbiased_correction():
    """Biased moments agree exactly: undo the corrections and compare."""
    source, target = batch()
    w = torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0]).double()
    twice = torch.tensor([0, 1, 1, 2, 3, 4, 4])
    one = torch.ones(len(twice)).double()

    def second_moment(x, weight):
        root = covariance_root(x, weight)
        return root.T @ root * pair_mass(shares(weight))

    x = target.features
    torch.testing.assert_close(second_moment(x, w), second_moment(x[twice], one))
    kernel = multi_kernel(squared_distances(torch.cat([source.features, x])))
    rows = torch.cat([torch.arange(N_SOURCE), N_SOURCE + twice])

    def biased(kernel, weight):
        share = shares(weight)
        block = kernel[N_SOURCE:, N_SOURCE:]
        correction = share @ block @ share * (1 / pair_mass(share) - 1)
        correction -= share.square() @ block.diagonal() / pair_mass(share)
        return weighted_mmd(kernel, source.weight, weight) - correction

    torch.testing.assert_close(biased(kernel, w), biased(kernel[rows][:, rows], one))


@pytest.mark.parametrize("alignment", ALL)
def test_only_the_ratio_of_weights_matters(alignment):
    net = build(alignment)
    source, target = batch(weighted=True)
    scaled = target._replace(weight=3 * target.weight)
    torch.testing.assert_close(
        run(alignment, source, target, net), run(alignment, source, scaled, net)
    )


@pytest.mark.parametrize("alignment", [CORAL(), MMD(), JMMD()])
@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_far_offset_changes_nothing(alignment, scale):
    source, target = batch(torch.float32, n_source=64, n_target=48)
    moved = [
        s._replace(features=(s.features.detach() * scale + 100).requires_grad_())
        for s in (source, target)
    ]
    near = [  # the same rows after the rounding that +100 costs
        s._replace(features=(m.features.detach() - 100).requires_grad_())
        for s, m in zip((source, target), moved, strict=True)
    ]
    a, b = run(alignment, *moved), run(alignment, *near)
    torch.testing.assert_close(a, b, rtol=1e-4, atol=0)
    for g, h in zip(gradients(a, *moved), gradients(b, *near), strict=True):
        torch.testing.assert_close(g, h, rtol=1e-3, atol=1e-3 * h.abs().max().item() + 1e-12)


@pytest.mark.parametrize("alignment", [CORAL(), MMD(), JMMD()])
def test_one_distribution_gives_about_zero(alignment):
    generator = torch.Generator().manual_seed(0)
    values, shifted = [], []
    for _ in range(60):
        x = torch.randn(64, D, generator=generator)
        z = torch.randn(64, K, generator=generator)
        values.append(run(alignment, side(x[:40], z[:40]), side(x[40:], z[40:])).item())
        shifted.append(run(alignment, side(x[:40], z[:40]), side(2 * x[40:] + 1, z[40:])).item())
    values = torch.tensor(values)
    if not isinstance(alignment, CORAL):  # unbiased: the mean is zero within its standard error
        assert values.mean().abs() < 3 * values.std() / 60**0.5
    assert values.mean().abs() < 0.1 * sum(shifted) / 60


def test_mmd_does_not_depend_on_the_unit_of_the_features():
    source, target = batch()
    scaled = [s._replace(features=1e-3 * s.features) for s in (source, target)]
    torch.testing.assert_close(run(MMD(), source, target), run(MMD(), *scaled))


@pytest.mark.parametrize("alignment", [CORAL(), MMD(), JMMD()])
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 100.1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_rows_have_finite_gradients(alignment, constant, dtype):
    source, target = batch(dtype)
    same = torch.full((N_SOURCE, D), constant, dtype=dtype).requires_grad_()
    collapsed = (source._replace(features=same), side(same[:3], target.logits[:3]))
    loss = run(alignment, *collapsed)
    (grad,) = torch.autograd.grad(loss, same)
    assert loss.isfinite() and grad.isfinite().all() and grad.abs().max() < 1e3
    with torch.no_grad():
        source.features[1] = source.features[0]
        target.features[2] = source.features[0]
    assert all(
        g.isfinite().all() for g in gradients(run(alignment, source, target), source, target)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_certain_predictions_have_finite_gradients(dtype, size):
    source, _ = batch(dtype)
    logits = (size * torch.eye(K, dtype=dtype)[[0, 0, 1, 1, 0]]).requires_grad_()  # no class 2
    target = side(torch.randn(5, D, dtype=dtype, requires_grad=True), logits)
    for alignment in (MCC(), MCC(temperature=0.5), CDAN(hidden=6), JMMD()):
        loss = run(alignment, source, target, build(alignment, dtype))
        assert loss.isfinite()
        assert all(g.isfinite().all() for g in gradients(loss, source, target))
    p = torch.tensor([[1.0, 0.0, 0.0]], dtype=dtype)
    assert entropy(p).item() == 0.0


def test_mmd_memory_is_quadratic_in_rows_alone():
    n, d = 40, 500
    fs, ft = torch.randn(n, d, requires_grad=True), torch.randn(n, d, requires_grad=True)
    z = torch.zeros(n, K)
    for alignment in (MMD(), JMMD()):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: (saved.append(t.numel()), t)[1], lambda t: t
        ):
            run(alignment, side(fs, z), side(ft, z))
        assert max(saved) <= 2 * n * d
        assert sum(saved) < 60 * (2 * n) ** 2 + 10 * 2 * n * d


def test_multi_kernel_powers():
    d2 = torch.tensor([[0.0, 3.0], [3.0, 0.0]]).double()
    expected = sum(math.exp(-3.0 / (2 * 2.0**j * 3.0)) for j in (-3, -2, -1, 0, 1))
    assert multi_kernel(d2)[0, 1].item() == pytest.approx(expected, rel=1e-12)
    assert multi_kernel(d2)[0, 0].item() == 5.0


# --- networks -------------------------------------------------------------------------------


def test_cdan_random_map_is_a_buffer_drawn_from_the_generator():
    alignment = CDAN(hidden=6, max_dim=K * D - 1, random_dim=50)
    nets = []
    for _ in range(2):
        torch.manual_seed(len(nets))  # the global generator plays no part in the maps
        nets.append(alignment.build(D, K, None, (1, 1), torch.Generator().manual_seed(3)))
    assert {k for k, _ in nets[0].named_buffers()} == {"feature_map", "class_map"}
    for name, value in nets[0].named_buffers():
        assert torch.equal(value, dict(nets[1].named_buffers())[name])
        assert not value.requires_grad and name in nets[0].state_dict()
    other = alignment.build(D, K, None, (1, 1), torch.Generator().manual_seed(4))
    assert not torch.equal(other.feature_map, nets[0].feature_map)
    assert nets[0].critic[0].in_features == 50
    plain = CDAN(hidden=6, max_dim=K * D).build(D, K, None, (1, 1), torch.Generator())
    assert not list(plain.buffers()) and plain.critic[0].in_features == K * D


def test_cdan_random_map_keeps_inner_products():
    """E[map(a) . map(b)] = (f_a . f_b)(p_a . p_b), the kernel of the full product."""
    alignment = CDAN(max_dim=0, random_dim=100_000)
    net = alignment.build(D, K, None, (1, 1), torch.Generator().manual_seed(0))
    net.critic = nn.Identity()
    f, p = torch.randn(2, D, generator=torch.Generator().manual_seed(1)), torch.rand(2, K)
    mapped = net(f, p)
    torch.testing.assert_close(mapped @ mapped.T, (f @ f.T) * (p @ p.T), rtol=0.1, atol=0.05)


def test_dann_one_discriminator_for_each_pair():
    alignment = DANN(hidden=6, domains="each")
    net = build(alignment, n_domains=(2, 3))
    assert len(net) == 6
    source, target = batch(n_source=8, n_target=9)
    source = source._replace(domain=torch.arange(8) % 2)
    target = target._replace(domain=2 + torch.arange(9) % 3)
    expected = 0.0
    for k in range(6):
        s, t = source.domain == k % 2, target.domain == 2 + k // 2
        pair = (
            side(source.features[s], source.logits[s]),
            side(target.features[t], target.logits[t]),
        )
        expected = expected + run(DANN(), *pair, nn.ModuleList([net[k]])) / 6
    torch.testing.assert_close(run(alignment, source, target, net), expected)
    missing = target._replace(domain=torch.full((9,), 3))  # a batch without two of the targets
    assert run(alignment, source, missing, net).isfinite()
    nobody = target._replace(domain=torch.full((9,), 99))
    assert run(alignment, source, nobody, net).item() == 0.0


def test_attached_zero():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    zero = attached_zero(x, x[:1])
    assert zero.shape == () and zero.item() == 0 and zero.dtype == torch.float64
    zero.backward()
    assert x.grad.tolist() == [0, 0]
