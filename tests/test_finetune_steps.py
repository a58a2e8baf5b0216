"""Fine-tuning: rates by layer, thawing, accumulation, clipping, augmentation."""

import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from fine_tuned import (
    IMAGES,
    LABELS,
    TEXTS,
    Models,
    equal,
    extractor,
    rows,
    small,
    weights,
)
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn
from toy_networks import Mixer, letters

import adaptlearn.deep._plan as plan_module
from adaptlearn import (
    DomainAdaptationClassifier,
    FineTuning,
    TextExtractor,
)
from adaptlearn.deep._layer_groups import LayerGroups
from adaptlearn.deep._network import FeatureScale
from adaptlearn.deep._norm import DomainContext


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory)


# --- rates, thawing, steps --------------------------------------------------------------------


def test_rates_by_layer_group(models):
    tuned = FineTuning("full", backbone_lr=0.5, layer_decay=0.2)
    estimator = small(extractor(models, "bert"), finetune=tuned, learning_rate=0.01)
    net = estimator.fit(TEXTS, LABELS).net_
    rates = [group["lr"] for group in net.optimizer_.param_groups]
    np.testing.assert_allclose(rates, [0.01, 0.005, 0.001, 0.0002])
    owner = {id(p): name for name, p in net.module_.named_parameters()}
    names = [{owner.get(id(p)) for p in g["params"]} for g in net.optimizer_.param_groups]
    own = {f"{part}.{kind}" for part in ("bottleneck.0", "head") for kind in ("weight", "bias")}
    assert names[0] == own
    for part, depth in (("pooler", 1), ("layer.1.", 1), ("layer.0.", 2), ("embeddings", 3)):
        own = {name for name in owner.values() if part in name}
        assert own and own <= names[depth]
    assert sum(map(len, names)) == len(owner)


@pytest.mark.parametrize(
    "n, expected",
    [
        (1, [0.1]),
        (3, [0.1 * 0.8**2, 0.08, 0.1]),
        (13, [0.1 * 0.8**k for k in range(12, -1, -1)]),
        (25, [0.1 * 0.8 ** (k / 2) for k in range(24, -1, -1)]),  # as much from end to end
    ],
)
def test_rates_of_deep_networks(n, expected):
    plan = plan_module.Plan("full", FineTuning(), LayerGroups(n, {}))
    np.testing.assert_allclose([plan.factor(group) for group in range(n)], expected)


class Steps(Callback):
    """What the trainer is at, batch by batch."""

    def __init__(self):
        self.lowest, self.rates = [], []

    def on_batch_end(self, net, **_):
        self.lowest.append(net.plan.lowest)
        self.rates.append([group["lr"] for group in net.optimizer_.param_groups])
        net.seen_ = self


def steps_of(backbone, X=TEXTS, **params):
    given = {"batch_size": 8, "max_epochs": 4, "schedule": "constant", "callbacks": [Steps()]}
    net = small(backbone, **(given | params)).fit(X, LABELS).net_
    return net.seen_


def test_gradual_thaw(models):
    """Three groups: one thaws at 1/6, 2/6 and 3/6 of the training."""
    seen = steps_of(extractor(models, "bert"), finetune="gradual")
    # 12 steps; the middle of step k is at (k + 1/2) / 12: 2.5 / 12 is the first after 1/6.
    assert seen.lowest == [3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0]


def test_thawed_layers_stay_thawed(models):
    backbone = extractor(models, "bert")
    estimator = small(backbone, finetune="gradual", callbacks=[Steps()]).fit(TEXTS, LABELS)
    del estimator.net_.seen_.lowest[:]
    estimator.partial_fit(TEXTS, LABELS)
    assert estimator.net_.seen_.lowest == [0, 0, 0]


def test_warm_up(models):
    tuned = FineTuning("last:1", warmup=0.5, backbone_lr=0.1)
    seen = steps_of(extractor(models, "bert"), finetune=tuned, learning_rate=0.1)
    head = [0.1 * min(1, (k + 0.5) / 12 / 0.5) for k in range(12)]
    np.testing.assert_allclose(seen.rates, [[rate, 0.1 * rate] for rate in head])


@contextmanager
def sgd(**params):
    """Parameters of plain gradient descent in float64."""
    yield {
        "optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0, "precision": "float64",
        "normalize": None, "hidden_layer_sizes": (), "learning_rate": 0.1, "max_epochs": 1,
        "early_stopping": False,
        "net_params": {"optimizer__momentum": 0.0, "optimizer__nesterov": False}, **params,
    }  # fmt: skip


def test_accumulated_batches_make_one_step():
    X = np.random.default_rng(0).normal(size=(24, 3))
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh())

    def fit(batch_size, k):
        tuned = FineTuning("full", accumulate=k, warmup=0.0, backbone_lr=1.0)
        with sgd(finetune=tuned, batch_size=batch_size) as params:
            return weights(small(module, **params).fit(X, LABELS))

    whole, halves, thirds = fit(24, 1), fit(12, 2), fit(8, 3)
    for name, value in whole.items():
        torch.testing.assert_close(halves[name], value, rtol=0, atol=1e-12)
        torch.testing.assert_close(thirds[name], value, rtol=0, atol=1e-12)
    assert not equal(fit(12, 1), whole)
    # Five batches by twos: two, two, one. The last one is not halved.
    uneven = fit(5, 2)
    assert all(torch.isfinite(v).all() for v in uneven.values())


def test_cycle_places():
    from adaptlearn.deep._trainer import cycle_place

    assert [cycle_place(k, 5, 2) for k in range(5)] == [
        (True, False, 2), (False, True, 2), (True, False, 2), (False, True, 2), (True, True, 1),
    ]  # fmt: skip


def test_clipping():
    """One step of gradient descent moves all weights together by the rate times the norm."""
    X = 10 * np.random.default_rng(0).normal(size=(24, 3))
    torch.manual_seed(0)
    module = nn.Linear(3, 4)

    def step(clip_norm):
        tuned = FineTuning("head", clip_norm=clip_norm)
        with sgd(finetune=tuned, batch_size=24) as params:
            after = small(module, **params).fit(X, LABELS).net_.module_.head
        with sgd(finetune=tuned, batch_size=24, learning_rate=1e-30) as params:
            before = small(module, **params).fit(X, LABELS).net_.module_.head
        moves = [
            (a - b).square().sum()
            for a, b in zip(after.parameters(), before.parameters(), strict=True)
        ]
        return float(sum(moves).sqrt().detach())

    free = step(None)
    assert free > 0.02
    assert step(0.1) == pytest.approx(0.1 * 0.1, rel=1e-4)  # the gradient is longer than that
    assert step(1e6) == pytest.approx(free, rel=1e-6)


def test_features_are_scaled_by_domain():
    """By hand; no column is divided by less than a tenth of the root mean square."""
    context = DomainContext()
    scale = FeatureScale(2, 3, context)
    mean = np.array([[1.0, 10.0, 5.0], [0.0, 0.0, 0.0]])
    scale.take(mean, np.array([[1.0, 10.0, 0.001], [2.0, 4.0, 5.0]]))
    floor = 0.1 * ((1 + 100 + 0.001**2) / 3) ** 0.5
    torch.testing.assert_close(scale.std[0], torch.tensor([1.0, 10.0, floor]))
    rows = torch.tensor([[2.0, 30.0, 5.0 + floor], [4.0, 4.0, 5.0], [1.0, 10.0, 5.0]])
    context.segments = [(0, 0, 1), (1, 1, 3)]
    expected = torch.tensor([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], [0.5, 2.5, 1.0]])
    torch.testing.assert_close(scale(rows), expected)


def test_an_offset_between_domains_is_taken_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)).astype(np.float32)
    module = nn.Linear(3, 4)
    given = {"finetune": "head", "alignment": None, "max_epochs": 1, "label_shift": None}
    given["hidden_layer_sizes"] = ()
    pixels = X[:, :, None, None]  # rows that are no columns, which would be standardised before
    both = small(nn.Sequential(nn.Flatten(), module), DomainAdaptationClassifier, **given)
    both.fit(pixels, np.arange(40) % 2, X_target=pixels + 7)
    features = [
        both.transform(rows, sample_domain=side)
        for rows, side in ((pixels, "source"), (pixels + 7, "target"))
    ]
    np.testing.assert_allclose(features[0], features[1], atol=1e-4)
    with torch.no_grad():
        plain = module(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(features[0], (plain - plain.mean(0)) / plain.std(0), atol=1e-4)


@pytest.mark.parametrize("mode", ["head", "full"])
def test_head_of_a_pretrained_network_sees_scaled_features(models, mode):
    """Tiny numbers (a sentence embedding of length 1) are no hindrance."""
    short, long = (
        small(extractor(models, "bert", normalize=short), finetune=mode, hidden_layer_sizes=()).fit(
            TEXTS, LABELS
        )
        for short in (True, False)
    )
    for estimator in (short, long):
        if mode == "head":  # the features are those of the first step still
            features = estimator.transform(TEXTS)
            np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
            assert 0.5 < features.std(0).mean() <= 1.0001
    assert short.net_.module_.scale.std.mean() < long.net_.module_.scale.std.mean() / 2
    X = np.random.default_rng(0).normal(size=(24, 3))
    plain = small(nn.Linear(3, 4), DomainAdaptationClassifier, max_epochs=1, alignment=None)
    assert plain.fit(X, LABELS, X_target=X).net_.module_.scale is None


def test_gradient_checkpointing_changes_memory_only(models, monkeypatch):
    for kind in ("bert", "gpt2", "vit"):
        one, other = (
            small(
                extractor(models, kind),
                finetune=FineTuning("full", gradient_checkpointing=again),
                max_epochs=1,
            ).fit(rows(kind), LABELS)
            for again in (False, True)
        )
        for name, value in weights(one).items():
            torch.testing.assert_close(weights(other)[name], value, rtol=1e-4, atol=1e-6)
        again = pickle.loads(pickle.dumps(other)).partial_fit(rows(kind), LABELS)
        assert not equal(weights(again), weights(other))
    calls, run = [], plan_module.checkpoint

    def counted(*args, **kwargs):
        calls.append(args)
        return run(*args, **kwargs)

    monkeypatch.setattr(plan_module, "checkpoint", counted)
    tuned = FineTuning("last:1", gradient_checkpointing=True)
    small(extractor(models, "bert"), finetune=tuned, max_epochs=1).fit(TEXTS, LABELS)
    assert len(calls) == 3, "three steps, one of two blocks in training mode"
    backbone = TextExtractor(Mixer(), tokenizer=letters)
    with pytest.raises(ValueError, match=r"gradient_checkpointing=True.*accumulate"):
        small(backbone, finetune=FineTuning("full", gradient_checkpointing=True)).fit(TEXTS, LABELS)


# --- augmentation -----------------------------------------------------------------------------


class Mirror:
    """Half of the images from left to right; counts its calls in a list that copies share."""

    calls = []

    def __call__(self, inputs, generator):
        pixels = inputs["pixel_values"]
        self.calls.append((set(inputs), tuple(pixels.shape), torch.is_grad_enabled()))
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        return {"pixel_values": torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)}


def test_augmentation_in_training_only(models):
    estimator = small(extractor(models, "vit"), finetune="frozen", augment=Mirror())
    del Mirror.calls[:]
    estimator.fit(IMAGES, LABELS)
    assert Mirror.calls == [({"pixel_values"}, (8, 3, 32, 32), True)] * 6
    assert estimator.net_.plan.mode == "head", "rows that change cannot be embedded once"
    estimator.predict(IMAGES)
    assert len(Mirror.calls) == 6
    assert equal(weights(estimator), weights(clone(estimator).fit(IMAGES, LABELS)))
    plain = estimator.set_params(augment=None, finetune="head").fit(IMAGES, LABELS)
    assert not equal(
        weights(plain), weights(clone(plain).set_params(augment=Mirror()).fit(IMAGES, LABELS))
    )
    pixels = np.random.default_rng(0).normal(size=(24, 3, 8, 8))
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    small(module, augment=Mirror(), max_epochs=1, finetune="full").fit(pixels, LABELS)
