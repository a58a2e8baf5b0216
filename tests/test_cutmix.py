"""CutMix, and mixing of inputs in the estimators."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from adaptlearn import (
    Alignment,
    CutMix,
    DomainAdaptationClassifier,
    LabelledScorer,
    Mixing,
    Mixup,
    load,
    pack,
)
from adaptlearn._components import resolve
from adaptlearn.deep._batches import Batch
from adaptlearn.deep._mixing import make_mixing, mix_inputs
from adaptlearn.deep._objective import Objective
from adaptlearn.imbalance import CrossEntropy, Mixed

Y = torch.tensor([0] * 9 + [1] * 4 + [2] * 3)


def numbered(n=16, channels=3, height=10, width=7, dtype=torch.float32):
    """Images each of whose values is the number of its row."""
    return torch.arange(n, dtype=dtype).view(-1, 1, 1, 1).expand(n, channels, height, width)


def mixed_rows(mixing, x, y=Y, weight=None, seed=0):
    torch.manual_seed(seed)
    return mixing.mix(x, y, weight, None)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_are_those_of_the_pixels(alpha, dtype):
    met = set()
    for seed in range(5):
        x = numbered(dtype=dtype)
        told = mixed_rows(CutMix(alpha), x, seed=seed)
        assert told.features.dtype == dtype and told.features.shape == x.shape
        assert torch.equal(told.y, Y)
        for i in range(16):
            image = told.features[i]
            assert (image == image[:1]).all()  # one box for all channels
            foreign = image[0] != i
            n_foreign = int(foreign.sum())
            if n_foreign == 0:
                # No box, or one of the row itself.
                assert told.share[i] == 1 or told.other_y[i] == Y[i]
                continue
            (partner,) = set(image[0][foreign].tolist())
            assert told.other_y[i] == Y[int(partner)]
            assert told.share[i].item() == torch.tensor((70 - n_foreign) / 70).item()
            rows, columns = foreign.any(1).nonzero()[:, 0], foreign.any(0).nonzero()[:, 0]
            height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            assert height * width == n_foreign  # a box without holes
            met.add((int(height), int(width)))
    assert len(met) > 10


def test_boxes_by_the_formula():
    """Sides H sqrt(1 - lambda), centre anywhere, cut off at the borders."""
    mixing, y = CutMix(), torch.zeros(2000, dtype=torch.int64)
    torch.manual_seed(0)
    inside, area = mixing._boxes(y, 20, 30)
    torch.manual_seed(0)
    share = torch.distributions.Beta(torch.ones(2000), torch.ones(2000)).sample()
    torch.rand(2000)
    centre_y, centre_x = torch.rand(2000), torch.rand(2000)
    for i in range(2000):
        side = math.sqrt(1 - share[i].item())
        half_y, half_x = int(20 * side) // 2, int(30 * side) // 2
        cy, cx = int(centre_y[i].item() * 20), int(centre_x[i].item() * 30)
        expected = torch.zeros(20, 30, dtype=torch.bool)
        expected[max(0, cy - half_y) : cy + half_y, max(0, cx - half_x) : cx + half_x] = True
        assert torch.equal(inside[i], expected)
        assert area[i] == expected.sum()


def test_rows_have_boxes_of_their_own():
    told = mixed_rows(CutMix(), numbered(200, 1, 32, 32), torch.zeros(200, dtype=torch.int64))
    assert len(set(told.share.tolist())) > 100


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_probability(p):
    y = torch.zeros(5000, dtype=torch.int64)
    x = numbered(5000, 1, 16, 16)
    told = mixed_rows(CutMix(alpha=5.0, p=p), x, y)
    changed = (told.features != x).flatten(1).any(1)
    assert changed.double().mean().item() == pytest.approx(p, abs=0.02)
    assert torch.equal(told.share < 1, changed) or p > 0  # a row may be its own partner
    if p == 0:
        assert torch.equal(told.features, x) and (told.share == 1).all()


def test_same_seed_same_rows_and_input_untouched():
    x = torch.randn(16, 3, 9, 9)
    before = x.clone()
    one, two = (mixed_rows(CutMix(), x, seed=3) for _ in range(2))
    assert torch.equal(x, before)
    assert torch.equal(one.features, two.features) and torch.equal(one.share, two.share)
    assert not torch.equal(one.features, mixed_rows(CutMix(), x, seed=4).features)


def test_rows_of_weight_zero_are_no_partners():
    weight = torch.ones(16)
    weight[[0, 5, 15]] = 0
    for seed in range(10):
        told = mixed_rows(CutMix(), numbered(), weight=weight, seed=seed)
        assert told.weight is weight
        for i in range(16):
            assert not set(told.features[i].unique().tolist()) & ({0.0, 5.0, 15.0} - {float(i)})


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("weight", [None, 0.0, 2.0])
def test_small_batches(n, weight):
    weight = None if weight is None else torch.full((n,), weight)
    x = torch.randn(n, 3, 1, 1)
    told = mixed_rows(CutMix(), x, Y[:n], weight)
    assert torch.isfinite(told.features).all() and ((told.share >= 0) & (told.share <= 1)).all()
    if n == 1:
        assert torch.equal(told.features, x)


def test_gradient_reaches_both_images_through_their_pixels():
    x = numbered().clone().requires_grad_()
    told = mixed_rows(CutMix(), x)
    i = int(((told.share > 0.2) & (told.share < 0.8)).nonzero()[0])
    gradient = torch.autograd.grad(told.features[i].sum(), x)[0]
    own = told.features[i] == i
    partner = int(told.features[i][~own][0])
    assert torch.equal(gradient[i], own.float())
    assert torch.equal(gradient[partner], (~own).float())
    assert gradient.sum() == 3 * 10 * 7


# --- the loss ---------------------------------------------------------------------------------


def batch_of(x, segments, n=16, weight=None):
    index = torch.arange(len(x))
    return Batch(x, Y[:n], weight, n, segments, torch.zeros_like(index), index, torch.ones(len(x)))


class Witness(Alignment):
    """Keeps what it sees."""

    def loss(self, source, target, step, net):
        type(self).seen = source, target
        return source.features.sum() * 0


def objective_of(mixing, alignments=()):
    counts = torch.tensor([90, 40, 30])
    sizes = {"n_features": 6, "n_classes": 3, "class_counts": counts, "n_domains": (1, 1),
             "generator": torch.Generator()}  # fmt: skip
    return Objective(
        CrossEntropy(label_smoothing=0.0), list(alignments), 1.0, sizes, counts, mixing
    )


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_by_a_slow_loop(aligned, weighted):
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(2, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    head = nn.Linear(6, 3).double()
    x = torch.randn(20, 2, 9, 9, dtype=torch.float64)
    weight = torch.linspace(0, 2, 16, dtype=torch.float64) if weighted else None
    objective = objective_of(CutMix(), [Witness()] if aligned else [])
    batch = batch_of(x, [(0, 0, 16), (1, 16, 20)], weight=weight)
    torch.manual_seed(0)
    through, segments, mixed = objective.mix_inputs(batch)
    assert len(through) == (36 if aligned else 20)
    assert segments == [(0, 0, 16), (1, 16, 20)] + ([(0, 20, 36)] if aligned else [])
    features = body(through)
    output, mixed = objective.take_mixed((features, head(features)), batch, mixed)
    assert len(output[0]) == len(output[1]) == 20
    total, parts = objective(output, batch, head, 0.5, mixed)
    told = mixed_rows(CutMix(), x[:16], weight=weight)
    slow = 0.0
    for i in range(16):
        z = head(body(told.features[i : i + 1]))[0].log_softmax(0)
        share = told.share[i].double()
        value = -share * z[told.y[i]] - (1 - share) * z[told.other_y[i]]
        slow = slow + value * (1.0 if weight is None else weight[i]) / 16
    torch.testing.assert_close(total, slow, rtol=1e-7, atol=1e-9)
    assert parts["task"] == total.detach()
    got = torch.autograd.grad(total, [*body.parameters(), *head.parameters()], retain_graph=True)
    want = torch.autograd.grad(slow, [*body.parameters(), *head.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    if aligned:  # which sees the rows as they are
        source, target = Witness.seen
        torch.testing.assert_close(source.features, body(x[:16]))
        torch.testing.assert_close(target.features, body(x[16:]))
        torch.testing.assert_close(source.logits, head(body(x[:16])))


def test_each_domain_is_mixed_by_itself():
    x = numbered(20)
    for seed in range(5):
        torch.manual_seed(seed)
        batch = batch_of(x, [(0, 0, 6), (1, 6, 16), (2, 16, 20)])
        through, _, _ = mix_inputs(CutMix(), None, batch, keep=False)
        assert through[:6].max() < 6 and through[6:16].min() >= 6
        assert torch.equal(through[16:], x[16:])


def test_networks_of_several_inputs():
    x = {"pixel_values": torch.randn(20, 3, 8, 8), "size": torch.arange(20)}
    batch = batch_of(x["pixel_values"], [(0, 0, 16), (1, 16, 20)])._replace(x=x)
    for keep in (False, True):
        torch.manual_seed(0)
        through, _, mixed = mix_inputs(CutMix(), None, batch, keep)
        place = slice(20, 36) if keep else slice(0, 16)
        assert torch.equal(through["pixel_values"][place], mixed.features)
        assert torch.equal(through["size"][place], x["size"][:16])
        if keep:
            assert all(torch.equal(through[name][:20], x[name]) for name in x)
    batch = batch._replace(x={"input_ids": torch.zeros(20, 5)})
    with pytest.raises(ValueError, match=r"combines 'pixel_values', .* inputs are 'input_ids'"):
        mix_inputs(CutMix(), None, batch, False)
    with pytest.raises(ValueError, match=r"combines 'pixel_values', .* inputs are 'input_ids'"):
        make_mixing("cutmix", {"input_ids": (5,)})
    assert type(make_mixing("cutmix", {"pixel_values": (3, 8, 8)})) is CutMix
    with pytest.raises(ValueError, match=r"these have shape \(8,\)"):
        make_mixing("cutmix", {"pixel_values": (8,)})


def test_a_mixing_on_inputs_returns_as_many_rows():
    class Fewer(Mixing):
        on = "inputs"

        def mix(self, features, y, weight, net):
            return Mixed(features[:1], y[:1])

    with pytest.raises(ValueError, match="made 1 rows of 16; a mixing on inputs must return"):
        mix_inputs(Fewer(), None, batch_of(numbered(), [(0, 0, 16)]), False)

    class Typo(Fewer):
        on = "input"

    with pytest.raises(ValueError, match=r"on='input' of Typo\(\) must be 'features' or 'inputs'"):
        make_mixing(Typo())


# --- in the estimator -------------------------------------------------------------------------


def problem(seed=0, n=60, size=8):
    """Two kinds of images, a bright spot left or right; the target is darker."""
    rng = np.random.default_rng(seed)
    y = np.arange(2 * n) % 2
    X = rng.normal(size=(2 * n, 1, size, size)).astype(np.float32)
    X[y == 0, :, 2:6, :3] += 2
    X[y == 1, :, 2:6, -3:] += 2
    X[n:] -= 1
    return X[:n], y[:n], X[n:], y[n:]


def convolution(norm=False):
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4) if norm else nn.Identity(), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def with_norm():
    return convolution(True)


def small(**params):
    base = {"backbone": convolution, "max_epochs": 3, "random_state": 0, "alignment": None,
            "label_shift": None, "batch_size": 32}  # fmt: skip
    return DomainAdaptationClassifier(**(base | params))


def weights(clf):
    return {k: v.clone() for k, v in clf._network.state_dict().items()}


@pytest.mark.parametrize("alignment", [None, "auto", "dann"], ids=str)
@pytest.mark.parametrize("backbone", [convolution, with_norm])
def test_refits_are_bit_equal_and_change_something(alignment, backbone, tmp_path):
    X, y, Xt, _ = problem()
    params = {"alignment": alignment, "backbone": backbone}
    plain = weights(small(**params).fit(X, y, X_target=Xt))
    clf = small(**params, mixing="cutmix")
    before, given = torch.get_rng_state(), X.copy()
    one = weights(clf.fit(X, y, X_target=Xt))
    assert torch.equal(torch.get_rng_state(), before) and (given == X).all()
    torch.rand(3)
    two = weights(clf.fit(X, y, X_target=Xt))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], plain[k]) for k in one)
    proba = clf.predict_proba(Xt)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(Xt), proba)
    clf.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors", {backbone.__name__: backbone})
    np.testing.assert_array_equal(again.predict_proba(Xt), proba)
    assert repr(again.mixing) == "'cutmix'"


def test_it_learns():
    X, y, Xt, yt = problem(n=200)
    clf = small(mixing="cutmix", max_epochs=15).fit(X, y, X_target=Xt)
    assert clf.score(Xt, yt) > 0.75


def test_options_go_with_it():
    X, y, Xt, _ = problem()
    domain = np.arange(60) // 30
    for params in (
        {"precision": "float64"},
        {"precision": "bfloat16"},
        {"early_stopping": True},
        {"batch_size": 1},
        {"batch_size": 1000},
        {"sampling": "balanced", "target_sampling": "pseudo_balanced", "alignment": "mcc"},
        {"criterion": "logit_adjusted"},
        {"class_weight": "balanced"},
        {"backbone": with_norm, "bottleneck": 4, "alignment": ["coral", "entropy"]},
        {"label_shift": "mlls", "alignment": "auto", "prior": "target"},
    ):
        clf = small(mixing=CutMix(p=0.5), **params)
        clf.fit(X, y, X_target=Xt, sample_domain=domain, sample_weight=np.linspace(0, 2, 60))
        assert np.isfinite(clf.predict_proba(Xt)).all()
        assert all(math.isfinite(record["task_loss"]) for record in clf.history_)


def test_labelled_target_rows_and_partial_fit():
    X, y, Xt, yt = problem()
    Xp, yp = np.concatenate([X, Xt]), np.concatenate([y, yt])
    yp[100:] = -1
    domain = np.repeat([0, -1], 60)
    clf = small(mixing="cutmix", target_labels="use", alignment="coral", backbone=with_norm)
    clf.fit(Xp, yp, sample_domain=domain)
    first = weights(clf)
    clf.partial_fit(Xp, yp, sample_domain=domain)
    assert not all(torch.equal(first[k], v) for k, v in weights(clf).items())


def test_searches(routing):
    X, y, Xt, _ = problem()
    Xp, yp, _ = pack(X, y, Xt)
    grid = [{"mixing": ["mixup", "cutmix", None]}, {"mixing": ["cutmix"], "mixing__alpha": [0.5]}]
    search = GridSearchCV(
        small(), grid, scoring=LabelledScorer("accuracy"), cv=2, error_score="raise"
    ).fit(Xp, yp)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_prior_is_that_of_the_rows():
    sampled = np.array([0.7, 0.2, 0.1])
    assert CutMix().sampled_prior(sampled, None, 32) is sampled
    assert not CutMix().rebalances and CutMix.on == "inputs" and Mixup.on == "features"


@pytest.mark.parametrize("label_shift", [None, "auto", "mlls"])
def test_columns_are_refused(label_shift):
    X, y, Xt, _ = problem()
    flat, flat_target = X.reshape(60, -1), Xt.reshape(60, -1)
    clf = small(backbone=None, mixing="cutmix", label_shift=label_shift)
    with pytest.raises(ValueError, match=r"images of shape .*; these have shape \(64,\).*'mixup'"):
        clf.fit(flat, y, X_target=flat_target)
    assert not hasattr(clf, "net_")


def test_channels_last_are_refused():
    X = np.zeros((10, 16, 16, 3), np.float32)
    clf = small(backbone=nn.Flatten(), mixing="cutmix")
    with pytest.raises(ValueError, match=r"shape \(16, 16, 3\).*X.transpose\(0, 3, 1, 2\)"):
        clf.fit(X, np.arange(10) % 2, X_target=X)
    CutMix().check_rows((3, 16, 16))
    CutMix().check_rows((64, 4, 4))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (CutMix(alpha=0), "'alpha' parameter of CutMix"),
        (CutMix(p=1.5), "'p' parameter of CutMix"),
        ("cutmixx", r"mixing='cutmixx' is not known; .*mean 'cutmix'\?"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve("mixing", spec)
