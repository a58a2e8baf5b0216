"""Samplers of the labelled rows."""

import pytest
import torch

from adaptlearn.imbalance import BalancedSampler, InstanceSampler
from adaptlearn.imbalance.sampling import make_sampler, repeat_permutations


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
