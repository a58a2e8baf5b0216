"""Selective pseudo-labels and entropy: values by hand and by slow references, gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from adaptlearn.alignment import SPL, Domain, Entropy, Step
from adaptlearn.alignment.spl import rank_within_label, structured_labels


def side(logits, y=None, index=None, weight=None):
    n = len(logits)
    index = torch.arange(n) if index is None else index
    weight = torch.ones(n, dtype=logits.dtype) if weight is None else weight
    return Domain(None, y, None, logits, torch.zeros(n, dtype=torch.int64), index, weight)


def ramp(progress):
    return 2 / (1 + math.exp(-10 * progress)) - 1


def slow_labels(source, y, target, n_classes, sharpness):
    """The same labels with loops over rows and classes."""
    both = np.vstack([source, target])
    s, t = source - both.mean(0), target - both.mean(0)
    s = [row / np.linalg.norm(row) for row in s]
    t = [row / np.linalg.norm(row) for row in t]

    def belong(centres):
        out = []
        for row in t:
            e = [math.exp(sharpness * float(row @ c)) for c in centres]
            out.append([v / sum(e) for v in e])
        return out

    def unit(v):
        return v / np.linalg.norm(v)

    means = [
        unit(np.mean([r for r, k in zip(s, y, strict=True) if k == c], 0)) for c in range(n_classes)
    ]
    by_source = belong(means)
    share = by_source
    for _ in range(6):
        centres = [
            unit(sum(p[c] * row for p, row in zip(share, t, strict=True))) for c in range(n_classes)
        ]
        share = belong(centres)
    out = np.maximum(by_source, share)
    return out / out.sum(1, keepdims=True)


def test_structured_labels_against_loops():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(12, 3)), rng.normal(size=(9, 3))
    y = np.arange(12) % 3
    fast = structured_labels(
        torch.from_numpy(source), torch.from_numpy(y), torch.from_numpy(target), 3, sharpness=10.0
    )
    np.testing.assert_allclose(fast.numpy(), slow_labels(source, y, target, 3, 10.0), rtol=1e-9)


def test_rank_within_label_by_hand():
    label = torch.tensor([0, 1, 0, 0, 1])
    confidence = torch.tensor([0.2, 0.9, 0.8, 0.5, 0.1])
    expected = torch.tensor([2 / 3, 0, 0, 1 / 3, 1 / 2])
    torch.testing.assert_close(rank_within_label(label, confidence), expected)


def labelled_net(label, rank, index):
    net = SPL().build(4, 2, None, (1, 1), None)
    net.label, net.rank = torch.tensor(label), torch.tensor(rank)
    net.position = torch.full((int(max(index)) + 1,), -1)
    net.position[torch.tensor(index)] = torch.arange(len(index))
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_spl_loss_and_gradient_by_hand(dtype):
    net = labelled_net([1, 0, 1], [0.0, 0.0, 0.5], index=[7, 5, 9])
    logits = torch.tensor([[0.3, -1.0], [0.5, 0.2]], dtype=dtype, requires_grad=True)
    weight = torch.tensor([1.0, 3.0], dtype=dtype)
    target = side(logits, index=torch.tensor([9, 5]), weight=weight)
    spl = SPL(label_smoothing=0.1)
    for progress, chosen in ((0.4, [0, 1]), (0.6, [1, 1])):
        value = spl.loss(None, target, Step(None, progress, 1.0), net)
        slow = torch.zeros((), dtype=dtype)
        for k, label in enumerate((1, 0)):  # rows 9 and 5
            log_p = logits[k] - torch.logsumexp(logits[k], 0)
            q = [0.05, 0.05]
            q[label] += 0.9
            slow = slow - chosen[k] * weight[k] * (q[0] * log_p[0] + q[1] * log_p[1])
        slow = ramp(progress) * slow / 4
        torch.testing.assert_close(value, slow)
        (one,) = torch.autograd.grad(value, logits)
        (two,) = torch.autograd.grad(slow, logits)
        torch.testing.assert_close(one, two)


def test_spl_makes_no_label_before_its_warmup_and_refreshes_after_it():
    spl, net = SPL(warmup=0.3), SPL().build(4, 2, None, (1, 1), None)
    source = side(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), y=torch.tensor([0, 1]))
    target = side(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 4.0]]), index=torch.tensor([4, 2, 3]))
    spl.refresh(source, target, Step(None, 0.29, 1.0), net)
    assert spl.loss(source, target, Step(None, 0.29, 1.0), net) == 0
    spl.refresh(source, target, Step(None, 0.31, 1.0), net)
    assert net.label.tolist() == [0, 1, 1]
    assert net.position[torch.tensor([4, 2, 3])].tolist() == [0, 1, 2]
    assert spl.loss(source, target, Step(None, 0.31, 1.0), net) > 0
    assert not net.state_dict()  # made anew each epoch: nothing to save


def test_spl_keeps_rare_classes():
    """Of each predicted class the same share takes part, however rare it is."""
    label = torch.tensor([0] * 90 + [1] * 10)
    rank = rank_within_label(label, torch.rand(100, generator=torch.Generator().manual_seed(0)))
    chosen = rank < 0.3
    assert (chosen & (label == 0)).sum() == 27
    assert (chosen & (label == 1)).sum() == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropy_value_and_gradient(dtype):
    z = torch.tensor([[0.0, 0.0], [1.0, -1.0]], dtype=dtype, requires_grad=True)
    target = side(z, weight=torch.tensor([1.0, 3.0], dtype=dtype))
    value = Entropy().loss(None, target, Step(None, 0.5, 1.0), None)
    p = 1 / (1 + math.exp(-2.0))
    by_hand = (math.log(2) - 3 * (p * math.log(p) + (1 - p) * math.log(1 - p))) / 4
    assert value.item() == pytest.approx(ramp(0.5) * by_hand, rel=1e-5)
    q = F.softmax(z, 1)
    slow = sum(w * -(row * row.log()).sum() for w, row in zip((1, 3), q, strict=True)) / 4
    (one,) = torch.autograd.grad(value, z)
    (two,) = torch.autograd.grad(ramp(0.5) * slow, z)
    torch.testing.assert_close(one, two)


def test_entropy_gradient_is_finite_when_a_probability_underflows():
    z = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Entropy().loss(None, side(z), Step(None, 0.5, 1.0), None).backward()
    assert torch.isfinite(z.grad).all()
