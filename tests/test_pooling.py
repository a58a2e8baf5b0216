"""From one vector per token or place to one per row: values by hand, gradients by a plain loop."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from adaptlearn.extractors._pooling import pool_places, pool_tokens, trained_pooler

# Two rows of three tokens with two features; the last token of the first row is padding.
HIDDEN = torch.tensor([[[1.0, -2], [3, 4], [9, 9]], [[0.5, 2], [2, 0], [1, 3]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
BY_HAND = {
    "cls": [[1, -2], [0.5, 2]],
    "last": [[3, 4], [1, 3]],
    "max": [[3, 4], [2, 3]],
    "mean": [[2, 1], [3.5 / 3, 5 / 3]],
    # cubes of the positive parts: (1 + 27) / 2, (0 + 64) / 2; (.125 + 8 + 1) / 3, (8 + 0 + 27) / 3
    "gem": [[14 ** (1 / 3), 32 ** (1 / 3)], [(9.125 / 3) ** (1 / 3), (35 / 3) ** (1 / 3)]],
}


@pytest.mark.parametrize("how", BY_HAND)
def test_tokens_by_hand(how):
    found = pool_tokens(HIDDEN, MASK, how)
    np.testing.assert_allclose(found, BY_HAND[how], rtol=1e-6)
    whole = pool_tokens(HIDDEN[1:], None, how)
    np.testing.assert_allclose(whole, BY_HAND[how][1:], rtol=1e-6)


@pytest.mark.parametrize("how", ["mean", "max", "gem"])
def test_a_map_is_its_places(how):
    block = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    tokens = block.flatten(2).transpose(1, 2)
    np.testing.assert_array_equal(pool_places(block, how), pool_tokens(tokens, None, how))
    np.testing.assert_array_equal(pool_places(tokens, how), pool_places(block, how))


def slow_gem(hidden, mask):
    rows = []
    for tokens, real in zip(hidden, mask, strict=True):
        cubes = [token.clamp(min=1e-6) ** 3 for token, there in zip(tokens, real) if there]  # noqa: B905
        rows.append((sum(cubes) / len(cubes)) ** (1 / 3))
    return torch.stack(rows)


def slow_mean(hidden, mask):
    rows = [tokens[real.bool()].sum(0) / real.sum() for tokens, real in zip(hidden, mask)]  # noqa: B905
    return torch.stack(rows)


@pytest.mark.parametrize(("how", "slow"), [("gem", slow_gem), ("mean", slow_mean)])
def test_gradients(how, slow):
    grads = []
    for function in (lambda h: pool_tokens(h, MASK, how), lambda h: slow(h, MASK)):
        hidden = HIDDEN.clone().requires_grad_(True)
        (function(hidden) * torch.tensor([[1.0, 2], [-1, 3]])).sum().backward()
        grads.append(hidden.grad)
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-5, atol=1e-7)
    assert (grads[0][0, 2] == 0).all() and grads[0].abs().max() > 0.1


def test_gem_lies_between_mean_and_maximum():
    hidden = torch.rand(5, 7, 3, generator=torch.Generator().manual_seed(0))
    gem, mean, most = (pool_tokens(hidden, None, how) for how in ("gem", "mean", "max"))
    assert (gem > mean).all() and (gem < most).all()


def test_half_precision_is_summed_in_full():
    hidden = torch.full((1, 4000, 1), 50.0, dtype=torch.float16)  # cubes and sums overflow
    for how in ("gem", "mean"):
        np.testing.assert_allclose(pool_tokens(hidden, None, how), [[50.0]], rtol=1e-5)


def test_the_models_own_pooler():
    answer = SimpleNamespace(pooler_output=torch.ones(2, 3, 1, 1))
    trained, random = (SimpleNamespace(has_random_pooler=flag) for flag in (False, True))
    assert trained_pooler(answer, trained, "'mean'").shape == (2, 3)
    with pytest.raises(ValueError, match=r"pooling='pooler'.*it is random.*use 'mean'"):
        trained_pooler(answer, random, "'mean'")
    with pytest.raises(ValueError, match=r"pooling='pooler': the model has none"):
        trained_pooler(SimpleNamespace(), trained, "'mean'")


def test_tokens_that_are_hidden_do_not_move_the_last_one():
    mask = torch.tensor([[1, 0, 1], [0, 1, 0]])  # as an augmentation leaves them
    assert pool_tokens(HIDDEN, mask, "last").tolist() == [[9, 9], [2, 0]]
    assert pool_tokens(HIDDEN, mask, "mean").tolist() == [[5, 3.5], [2, 0]]
