"""Samplers of both sides: shares by hand, rates, what alignments are told of them."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from adaptlearn import DomainAdaptationClassifier, DomainAdaptationRegressor
from adaptlearn.deep._batches import BatchIterator, TrainingSet
from adaptlearn.imbalance import ClassSampler, InstanceSampler
from adaptlearn.imbalance.sampling import SAMPLING, make_sampler, repeat_permutations


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


def shuffled(*counts, seed=1):
    """Codes with so many rows of class 0, 1, ..., in random order."""
    codes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return codes[torch.randperm(len(codes), generator=generator(seed))]


# Rows of class 0 to 3: 81, 16, 0, 4; the shares are written out by hand.
SHARES = {
    "balanced": (0.0, [1 / 3, 1 / 3, 0, 1 / 3]),
    "sqrt": (0.0, [9 / 15, 4 / 15, 0, 2 / 15]),
    "progressive": (0.5, [9 / 15, 4 / 15, 0, 2 / 15]),
    "progressive at first": (0.0, [81 / 101, 16 / 101, 0, 4 / 101]),
    "progressive at last": (1.0, [1 / 3, 1 / 3, 0, 1 / 3]),
}


@pytest.mark.parametrize("case", SHARES)
def test_shares_by_hand(case):
    progress, expected = SHARES[case]
    codes = shuffled(81, 16, 0, 4)
    sampler = make_sampler(case.split()[0], codes, len(codes))
    torch.testing.assert_close(sampler.share(progress), torch.tensor(expected, dtype=torch.float64))
    drawn = codes[sampler.draw(3000, generator(), progress)]
    for start, stop in ((0, 3000), (0, 64), (1000, 1064), (17, 90)):  # also of any stretch
        counts = torch.bincount(drawn[start:stop], minlength=4)
        assert (counts - (stop - start) * torch.tensor(expected)).abs().max() < 2.5
    rate = sampler.rate(progress)
    assert rate.mean().item() == pytest.approx(1)
    by_class = [rate[codes == c].sum().item() / len(codes) for c in range(4)]
    assert by_class == pytest.approx(expected)


def test_domain_balanced_by_hand():
    """Domain 0 has classes 0, 1; domain 3 only class 1; domains 1, 2 (of the target) no row."""
    codes = torch.tensor([0] * 90 + [1] * 10 + [1] * 50)
    domains = torch.tensor([0] * 100 + [3] * 50)
    sampler = make_sampler("domain_balanced", codes, 150, domains)
    drawn = sampler.draw(4000, generator())
    groups = torch.bincount(domains[drawn] * 2 + codes[drawn], minlength=8)
    assert groups.tolist() == pytest.approx([1000, 1000, 0, 0, 0, 0, 0, 2000], abs=2)
    rate = sampler.rate()
    assert rate[[0, 95, 120]].tolist() == pytest.approx([150 / 4 / 90, 150 / 4 / 10, 150 / 2 / 50])


def test_every_row_of_a_class_equally_often():
    codes = torch.tensor([0, 1, 0, 0, 1])
    counts = torch.bincount(ClassSampler(codes).draw(60_000, generator()), minlength=5)
    expected = torch.tensor([1e4, 1.5e4, 1e4, 1e4, 1.5e4])
    assert ((counts - expected).abs() < 5 * expected.sqrt()).all()


@pytest.mark.parametrize("name", SAMPLING)
def test_draws_repeat_with_the_seed_and_hold_valid_rows(name):
    codes = shuffled(1, 300, 7)
    sampler = make_sampler(name, codes, 308, torch.zeros(308, dtype=torch.int64))
    for n_draws in (1, 2, 1001):
        drawn = sampler.draw(n_draws, generator(), 0.3)
        assert drawn.dtype == torch.int64 and drawn.shape == (n_draws,)
        assert 0 <= drawn.min() and drawn.max() < 308
        assert torch.equal(drawn, sampler.draw(n_draws, generator(), 0.3))
    assert not torch.equal(drawn, sampler.draw(n_draws, generator(1), 0.3))


class Identity:
    """The index of any number of rows of one class, without its memory."""

    def __getitem__(self, rows):
        return rows


def test_rows_beyond_two_to_the_24_are_reached():
    n = 2**24 + 2**22
    sampler = ClassSampler(torch.zeros(1, dtype=torch.int64))
    sampler.order, sampler.counts = Identity(), torch.tensor([n])
    drawn = sampler.draw(100_000, generator())
    assert drawn.max() < n
    late = drawn[drawn >= 2**24]
    assert len(late) / len(drawn) == pytest.approx(0.2, abs=0.01)
    assert (late % 2).double().mean().item() == pytest.approx(0.5, abs=0.02)  # odd ones too


def test_a_million_rows():
    codes = torch.arange(1_000_000) % 997 // 996  # about one in a thousand is of class 1
    drawn = ClassSampler(codes).draw(10_000, generator())
    assert codes[drawn].sum().item() == pytest.approx(5000, abs=2)
    assert len(torch.unique(drawn)) > 5500  # all of the rare rows, and many others


# --- weights of the drawn rows ------------------------------------------------------------------


class _Rows:
    def take(self, index):
        return index[:, None].float()


def training_set(y, n_target, sampling, **more):
    """Rows of one source with codes `y`, then unlabelled target rows."""
    n = len(y) + n_target
    return TrainingSet(
        rows=_Rows(),
        slots=(torch.arange(n) >= len(y)).long(),
        labelled=torch.arange(len(y)),
        target=torch.arange(len(y), n),
        y=torch.cat([y, torch.zeros(n_target, dtype=torch.int64)]),
        task_weight=None,
        **({"weight": torch.ones(n)} | more),
        sampler=make_sampler(sampling, y, len(y), torch.zeros(len(y), dtype=torch.int64)),
    )


def drawn_shares(data, **epoch):
    """Class shares of the drawn source rows under their alignment weights, and target counts."""
    source, target = torch.zeros(3), torch.zeros(len(data.slots))
    for batch in BatchIterator(data, 40).batches(generator(), **epoch):
        n = batch.n_labelled
        source += torch.bincount(batch.y, weights=batch.weight[:n], minlength=3)
        target += torch.bincount(batch.index[n:], minlength=len(target))
        assert (batch.weight[n:] == 1).all()
    return source / source.sum(), target[data.target]


@pytest.mark.parametrize("sampling", SAMPLING)
def test_weights_turn_what_is_drawn_into_the_target(sampling):
    """q_T(y) / q_S(y): whatever the sampler, the source weighs like the target."""
    y = shuffled(240, 60, 20)
    wanted = torch.tensor([0.2, 0.3, 0.5])
    weight = torch.ones(640)
    weight[:320] = (wanted / torch.tensor([0.75, 0.1875, 0.0625]))[y]
    data = training_set(y, 320, sampling, weight=weight, matched=True)
    found, _ = drawn_shares(data, progress=0.4)
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("sampling", ["instance", "sqrt", "balanced"])
def test_pseudo_balanced_target(sampling):
    """Target batches have even pseudo-labels, and the source weighs evenly on those classes."""
    data = training_set(shuffled(240, 60, 20), 320, sampling, pseudo_balanced=True)
    labels = torch.tensor([2] * 310 + [0] * 10)
    found, target = drawn_shares(data, progress=0.4, pseudo_labels=labels)
    assert target[labels == 0].sum() == pytest.approx(target[labels == 2].sum().item(), abs=2)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 0.5]), atol=0.02, rtol=0)


def test_unknown_proportions_leave_weights_alone():
    weight = torch.arange(720) + 1.0
    data = training_set(shuffled(240, 60, 20), 400, "balanced", weight=weight)
    for batch in BatchIterator(data, 40).batches(generator()):
        assert torch.equal(batch.weight, batch.index + 1.0)


# --- in the estimator ---------------------------------------------------------------------------


def problem(seed=0):
    """Long-tailed source; on the target the rare class is the frequent one."""
    rng = np.random.default_rng(seed)
    y, yt = np.repeat([0, 1, 2], [300, 100, 20]), np.repeat([0, 1, 2], [30, 50, 120])
    means = 2.5 * np.eye(3)
    return rng.normal(size=(420, 3)) + means[y], y, rng.normal(size=(200, 3)) + means[yt], yt


class Watch(Callback):
    def __init__(self):
        self.labels, self.targets = [], []

    def on_batch_begin(self, net, batch, **kwargs):
        self.labels.append(batch.y.numpy())
        self.targets.append(batch.index[batch.n_labelled :].numpy())


def fitted(X, y, Xt, **params):
    watch = Watch()
    model = DomainAdaptationClassifier(
        hidden_layer_sizes=(16,), learning_rate=0.01, max_epochs=10, random_state=0,
        callbacks=[watch], **params,
    )  # fmt: skip
    model.fit(X, y, X_target=Xt)
    ((_, watch),) = model.net_.callbacks_
    return model, watch


@pytest.mark.parametrize("sampling", SAMPLING)
def test_labelled_batches_of_the_estimator(sampling):
    X, y, Xt, _ = problem()
    _, watch = fitted(X, y, Xt, sampling=sampling)
    counts = np.bincount(np.concatenate(watch.labels), minlength=3)
    roots = np.sqrt([300, 100, 20])
    expected = {
        "instance": np.array([300, 100, 20]) / 420,
        "sqrt": roots / roots.sum(),
        "balanced": np.full(3, 1 / 3),
        "domain_balanced": np.full(3, 1 / 3),
    }
    if sampling == "progressive":
        n = len(watch.labels) // 10
        first, last = (np.concatenate(part) for part in (watch.labels[:n], watch.labels[-n:]))
        assert (first == 2).mean() < 0.08 and (last == 2).mean() > 0.25
    else:
        np.testing.assert_allclose(counts / counts.sum(), expected[sampling], atol=0.02)


def test_target_batches_of_the_estimator():
    """Rows labelled rare by the network come more often, once its labels mean something."""
    X, y, Xt, _ = problem()
    params = {"alignment": "entropy", "normalize": "source", "sampling": "balanced"}
    model, watch = fitted(X, y, Xt, **params, target_sampling="pseudo_balanced")
    plain, _ = fitted(X, y, Xt, **params)
    counts = np.bincount(np.concatenate(watch.targets[-7:]) - 420, minlength=200)
    predicted = model.predict(Xt)
    share = [counts[predicted == c].sum() / counts.sum() for c in range(3)]
    np.testing.assert_allclose(share, 1 / 3, atol=0.08)  # the labels before the last epoch
    assert (np.bincount(predicted) / 200).max() > 0.5  # while the predictions are not even
    assert not np.array_equal(model.predict_proba(Xt), plain.predict_proba(Xt))


def test_rare_classes_gain():
    """Every way to rebalance raises the recall of the rare class on a target full of it."""
    for sampling in ("sqrt", "balanced", "progressive", "domain_balanced"):
        gains = []
        for seed in range(3):
            X, y, Xt, yt = problem(seed)
            recall = [
                (fitted(X, y, Xt, sampling=s, alignment=None, normalize="source")[0].predict(Xt)
                 == yt)[yt == 2].mean() for s in ("instance", sampling)
            ]  # fmt: skip
            gains.append(recall[1] - recall[0])
        assert np.mean(gains) > 0.02, (sampling, gains)


def test_errors():
    X, y, Xt, _ = problem()
    with pytest.raises(ValueError, match=r"'sampling' parameter.*'progressive'"):
        fitted(X, y, Xt, sampling="sqr")
    with pytest.raises(ValueError, match=r"'target_sampling' parameter.*'pseudo_balanced'"):
        fitted(X, y, Xt, target_sampling="balanced")
    with pytest.raises(ValueError, match="sampling='sqrt' needs classes; use 'instance'"):
        DomainAdaptationRegressor(sampling="sqrt").fit(X, y + 0.5, X_target=Xt)
