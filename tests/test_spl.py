"""Selective pseudo-labels and entropy: values by hand and by slow references, gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from adaptlearn import DomainAdaptationClassifier
from adaptlearn._pseudo_labels import (
    closed_form_labels,
    label_and_rank,
    rank_within_label,
    ridge_scores,
    structured_labels,
)
from adaptlearn.alignment import SPL, Domain, Entropy, Step


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


def test_two_classes_by_hand():
    """Class means at 1 and 5, their middle at 3, the joint mean at 3.28."""
    source, target = np.array([1.0, 5.0]), np.array([2.0, 2.5, 3.2, 6.0])
    joint = (source.sum() + target.sum()) / 6
    assert 3 < 3.2 < joint  # the third row is on two sides
    # Places on the line, 1 apart from 3 at the class means, by the nearer of both thresholds.
    places = np.array([(2 - 3) / 2, (2.5 - 3) / 2, 0.0, (6 - joint) / 2])
    second = 1 / (1 + np.exp(-2 * places))
    columns = [torch.from_numpy(np.stack([-z, z], 1)) for z in (source, target)]
    found = structured_labels(columns[0], torch.tensor([0, 1]), columns[1], 2, sharpness=10.0)
    np.testing.assert_allclose(found.numpy(), np.stack([1 - second, second], 1), rtol=1e-12)
    label, rank = label_and_rank(found)
    np.testing.assert_array_equal(label[[0, 1, 3]], [0, 0, 1])
    # The third row is sure of nothing and never selected; the row at 2.5 comes after that at 2.
    assert rank[2] == 1 and rank[0] == 0 and 0 < rank[1] < 1 and rank[3] == 0


@pytest.mark.parametrize("n_columns", [4, 40])  # primal and dual system
def test_ridge_scores_are_those_of_scikit_learn(n_columns):
    rng = np.random.default_rng(0)
    x, t, y = rng.normal(size=(20, n_columns)), rng.normal(size=(5, n_columns)), np.arange(20) % 3
    weight, hot = rng.uniform(0.5, 2, size=20), np.eye(3)[y]
    share = weight / weight.sum()
    covariance = np.cov(x, rowvar=False, aweights=share, ddof=0)
    penalty = 0.7 * np.trace(covariance) / min(20, n_columns)
    slow, slow_hot = Ridge(alpha=penalty).fit(x, hot, sample_weight=share), hot
    # Five rows of weight 0 stand in between: they are scored and not fitted.
    rows = np.insert(np.arange(20), [3, 3, 9, 20, 20], np.arange(20, 25))
    x, hot = np.vstack([x, t])[rows], np.vstack([hot, np.full((5, 3), np.nan)])[rows]
    args = [torch.from_numpy(a) for a in (x, hot, np.append(weight, np.zeros(5))[rows])]
    expected = slow.predict(x) - share @ slow_hot
    for products in (None, args[0] @ args[0].T):
        fast = ridge_scores(*args, 0.7, products)
        np.testing.assert_allclose(fast.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("n_columns", [4, 16, 40])  # primal; first dual, then primal; dual
def test_closed_form_against_loops(n_columns):
    rng = np.random.default_rng(3)
    y, n_classes, rounds = np.arange(12) % 3, 3, 10
    source = rng.normal(size=(12, n_columns)) + 2 * np.eye(3, n_columns)[y]
    target = rng.normal(size=(9, n_columns)) + 2 * np.eye(3, n_columns)[np.arange(9) % 3] + 0.5
    chosen, label = [], np.zeros(9, int)
    for r in range(1, rounds + 1):
        x = np.vstack([source, target[chosen]])
        hot = np.eye(n_classes)[np.concatenate([y, label[chosen]])]
        share = np.array([1 / 12] * 12 + [1 / 9] * len(chosen))
        share = share / share.sum()
        smaller = min(len(x), n_columns)
        penalty = 0.7 * np.trace(np.cov(x, rowvar=False, aweights=share, ddof=0)) / smaller
        model = Ridge(alpha=penalty).fit(x, hot, sample_weight=share)
        scores = [model.predict(side) for side in (source, target)]
        proba = slow_labels(scores[0], y, scores[1], n_classes, 10.0)
        label, chosen = proba.argmax(1), []
        for k in range(n_classes):
            members = sorted(np.flatnonzero(label == k), key=lambda i: -proba[i].max())
            chosen += [i for place, i in enumerate(members) if place / len(members) < r / rounds]
    given = (torch.from_numpy(a) for a in (source, y, target))
    found = closed_form_labels(*given, n_classes, 10.0, 0.7)
    np.testing.assert_allclose(found.numpy(), proba, rtol=1e-6)


@pytest.mark.parametrize("n_columns", [4, 40])
def test_closed_form_of_rows_far_from_zero(n_columns):
    rng = np.random.default_rng(0)
    y = torch.from_numpy(np.arange(30) % 3)
    rows = rng.normal(size=(50, n_columns)) + 2 * np.eye(3, n_columns)[np.arange(50) % 3]
    found = []
    for x in (rows, rows.astype(np.float32) + np.float32(5000)):
        x = torch.from_numpy(x)
        found.append(closed_form_labels(x[:30], y, x[30:], 3, 10.0, 1.0).numpy())
    np.testing.assert_allclose(found[1], found[0], atol=0.01)


def test_closed_form_follows_clusters_that_a_linear_source_model_cuts():
    """Target clusters moved across the source's boundary; ten rounds find them, one does not."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 60)
    centres = 4 * np.array([[0, 1.0], [-0.87, -0.5], [0.87, -0.5]])
    turn = np.deg2rad(45)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    source = centres[y] + rng.normal(size=(180, 2))
    target = (centres[y] + rng.normal(size=(180, 2))) @ rotation.T
    source, labels, target = map(torch.from_numpy, (source, y, target))
    found = closed_form_labels(source, labels, target, 3, 10.0, 1.0)
    np.testing.assert_allclose(found.sum(1), 1)
    y_hot = torch.cat([F.one_hot(labels), torch.zeros(180, 3)]).double()
    weight = torch.ones(360).double()
    weight[180:] = 0
    once = ridge_scores(torch.cat([source, target]), y_hot, weight, 1.0)[180:]
    assert (found.argmax(1) == labels).double().mean() > 0.97
    assert (once.argmax(1) == labels).double().mean() < 0.93


def test_closed_form_is_made_once_per_fit_and_averaged_with_the_network():
    spl, net = SPL(warmup=0.0), SPL().build(4, 2, None, (1, 1), None)
    x_s = torch.tensor([[1.0, 0.0], [-1.0, 0.3], [1.2, 0.1], [-0.8, 0.0]])
    x_t = torch.tensor([[1.1, 0.2], [-1.0, 0.1]])
    source = side(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    source = source._replace(x=x_s, y=torch.tensor([0, 1, 0, 1]))
    # The network is a little for the wrong class, the closed form much for the right one.
    target = side(torch.tensor([[1.0, 1.2], [1.2, 1.0]]))._replace(x=x_t)
    step = Step(None, 0.5, 1.0)
    spl.refresh(source, target, step, net)
    first = net.closed_form
    torch.testing.assert_close(
        first, closed_form_labels(x_s, source.y, x_t, 2, spl.sharpness, spl.ridge)
    )
    by_network = structured_labels(source.logits, source.y, target.logits, 2, spl.sharpness)
    assert net.label.tolist() == ((first + by_network) / 2).argmax(1).tolist()
    spl.refresh(source, target, step, net)
    assert net.closed_form is first
    spl.refresh(source, target._replace(index=target.index.clone(), x=None), step, net)
    assert net.closed_form is None  # another fit, without inputs
    assert SPL(ridge=None)._closed_form(source, target) is None
    wide = torch.zeros(4, 3001)
    assert spl._closed_form(source._replace(x=wide), target._replace(x=wide[:2])) is not None
    many = torch.zeros(3001, 3001)
    assert spl._closed_form(source._replace(x=many), target._replace(x=many)) is None


@pytest.mark.parametrize("normalize", ["domain", "source", None])
def test_inputs_reach_spl_when_they_are_standardised(normalize, monkeypatch):
    rng = np.random.default_rng(0)
    X, Xt, y = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)), np.arange(30) % 2
    seen = []
    monkeypatch.setattr(
        SPL, "_closed_form", lambda self, source, target: seen.append((source.x, target.x))
    )
    DomainAdaptationClassifier(
        alignment="spl", normalize=normalize, max_epochs=20, random_state=0
    ).fit(X, y, X_target=Xt)
    ((x_s, x_t),) = seen  # once per fit
    if normalize is None:
        assert x_s is None and x_t is None
    else:
        np.testing.assert_allclose(x_s.mean(0), 0, atol=0.3)
        assert x_s.shape == (30, 3) and x_t.shape == (20, 3)


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
