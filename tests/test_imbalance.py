"""Criteria by hand and by gradient; samplers."""

import math

import pytest
import torch

from adaptlearn.imbalance import (
    BalancedSampler,
    Criterion,
    CrossEntropy,
    Huber,
    InstanceSampler,
    MeanSquaredError,
)
from adaptlearn.imbalance.sampling import make_sampler, repeat_permutations

DTYPES = [torch.float64, torch.float32]


def slow_cross_entropy(logits, y, smoothing):
    k = logits.shape[1]
    rows = []
    for z, label in zip(logits, y, strict=True):
        log_p = [z[c] - torch.log(sum(torch.exp(z[j]) for j in range(k))) for c in range(k)]
        q = [(1 - smoothing) * (c == label) + smoothing / k for c in range(k)]
        rows.append(-sum(a * b for a, b in zip(q, log_p, strict=True)))
    return torch.stack(rows)


def slow_huber(z, y, delta):
    r = (z - y).abs()
    return torch.stack([v**2 / 2 if v <= delta else delta * (v - delta / 2) for v in r])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy(dtype, smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(6, 4, generator=generator)).to(dtype).requires_grad_()
    y = torch.tensor([0, 1, 2, 3, 0, 0])
    weight = torch.rand(6, generator=generator).to(dtype)
    loss = CrossEntropy(label_smoothing=smoothing).loss(logits, y, None)
    expected = slow_cross_entropy(logits, y, smoothing)
    assert loss.shape == (6,) and loss.dtype == dtype
    torch.testing.assert_close(loss, expected)
    (a,) = torch.autograd.grad(loss @ weight, logits)
    (b,) = torch.autograd.grad(expected @ weight, logits)
    torch.testing.assert_close(a, b)


def test_cross_entropy_by_hand():
    logits = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)
    y = torch.tensor([1])
    plain = CrossEntropy(label_smoothing=0.0).loss(logits, y, None).item()
    assert plain == pytest.approx(math.log(4 / 3))
    smoothed = CrossEntropy(label_smoothing=0.2).loss(logits, y, None).item()
    assert smoothed == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_regression_losses(dtype, delta):
    z = torch.tensor([[0.0], [0.3], [-3.0], [2.0]], dtype=dtype, requires_grad=True)
    y = torch.tensor([0.1, 1.0, 1.0, -4.0], dtype=dtype)
    for criterion, expected in (
        (MeanSquaredError(), (z[:, 0] - y) ** 2),
        (Huber(delta=delta), slow_huber(z[:, 0], y, delta)),
    ):
        loss = criterion.loss(z, y, None)
        assert loss.shape == (4,) and loss.dtype == dtype and criterion.regression
        torch.testing.assert_close(loss, expected)
        (a,) = torch.autograd.grad(loss.sum(), z, retain_graph=True)
        (b,) = torch.autograd.grad(expected.sum(), z, retain_graph=True)
        torch.testing.assert_close(a, b)


def test_regression_losses_by_hand():
    z, y = torch.tensor([[1.0], [4.0]]), torch.tensor([0.5, 1.0])
    assert MeanSquaredError().loss(z, y, None).tolist() == [0.25, 9.0]
    assert Huber().loss(z, y, None).tolist() == [0.125, 2.5]
    assert Huber(delta=2.0).loss(z, y, None).tolist() == [0.125, 4.0]


def test_base_criterion():
    assert not CrossEntropy.regression
    assert CrossEntropy().build(torch.tensor([1, 2])) is None
    with pytest.raises(TypeError, match=r"Mine must define loss\(logits, y, net\)"):
        type("Mine", (Criterion,), {})().loss(None, None, None)


# --- samplers -------------------------------------------------------------------------------


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n_rows", "n_draws"), [(7, 7), (7, 3), (7, 30), (1, 5), (2, 1001)])
def test_every_row_once_in_each_permutation(n_rows, n_draws):
    drawn = InstanceSampler(n_rows).draw(n_draws, generator())
    assert drawn.dtype == torch.int64 and drawn.shape == (n_draws,)
    for start in range(0, n_draws, n_rows):
        part = drawn[start : start + n_rows].tolist()
        assert len(set(part)) == len(part) and set(part) <= set(range(n_rows))
    assert torch.equal(drawn, InstanceSampler(n_rows).draw(n_draws, generator()))


def test_permutations_differ_and_are_uniform():
    drawn = repeat_permutations(3, 3 * 6000, generator()).view(-1, 3)
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]))
    counts = counts[counts > 0]
    assert len(counts) == 6  # each of the 3! orders, about equally often
    assert (counts - 1000).abs().max() < 5 * (1000 * 5 / 6) ** 0.5


@pytest.mark.parametrize("n_draws", [3, 100, 3001])
def test_balanced_counts(n_draws):
    codes = torch.tensor([2] * 90 + [0] * 9 + [5] * 1)  # unordered, with gaps
    codes = codes[torch.randperm(100, generator=generator(1))]
    drawn = BalancedSampler(codes).draw(n_draws, generator())
    counts = torch.bincount(codes[drawn], minlength=6)[[0, 2, 5]]
    assert counts.sum() == n_draws and counts.max() - counts.min() <= 1
    assert torch.equal(drawn, BalancedSampler(codes).draw(n_draws, generator()))


def test_balanced_draws_every_row_of_a_class_equally_often():
    codes = torch.tensor([0, 1, 0, 0, 1])
    counts = torch.bincount(BalancedSampler(codes).draw(60_000, generator()), minlength=5)
    expected = torch.tensor([1e4, 1.5e4, 1e4, 1e4, 1.5e4])
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


class Identity:
    """The index of any number of rows of one class, without its memory."""

    def __getitem__(self, rows):
        return rows


def test_balanced_reaches_rows_beyond_two_to_the_24():
    n = 2**24 + 2**22
    sampler = BalancedSampler(torch.zeros(1, dtype=torch.int64))
    sampler.order, sampler.counts = Identity(), torch.tensor([n])
    drawn = sampler.draw(100_000, generator())
    assert drawn.max() < n
    late = drawn[drawn >= 2**24]
    assert len(late) / len(drawn) == pytest.approx(0.2, abs=0.01)
    assert (late % 2).double().mean().item() == pytest.approx(0.5, abs=0.02)  # odd ones too


def test_make_sampler():
    codes = torch.tensor([0, 0, 1])
    assert isinstance(make_sampler("instance", codes, 3), InstanceSampler)
    assert isinstance(make_sampler("balanced", codes, 3), BalancedSampler)
