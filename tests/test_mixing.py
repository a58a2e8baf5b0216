"""Mixing: rows of a batch combined for the task loss."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import (
    Alignment,
    DANNClassifier,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    FeatureSMOTE,
    LabelledScorer,
    Mixing,
    Mixup,
    Remix,
    pack,
    register,
)
from adaptlearn._components import registered, resolve
from adaptlearn.deep._batches import Batch
from adaptlearn.deep._network import CosineHead
from adaptlearn.deep._objective import Objective
from adaptlearn.imbalance import LDAM, CrossEntropy, LogitAdjusted, Mixed
from adaptlearn.imbalance.mixing import draw_partners, even_in_batches
from adaptlearn.metrics import worst_class_recall

# Of features; what mixes inputs takes images: test_cutmix.py.
NAMES = sorted(n for n, cls in registered("mixing").items() if cls.on == "features")
ALL = [Mixup(), Mixup(alpha=0.3), Mixup(balanced=False), Remix(), Remix(0.5, 2.0, 0.7)]
ALL += [FeatureSMOTE(), FeatureSMOTE(k_neighbors=1)]
each = pytest.mark.parametrize("mixing", ALL, ids=repr)

Y = torch.tensor([0] * 9 + [1] * 4 + [2] * 2 + [4])  # class 3 is absent, class 4 a single row
COUNTS = torch.tensor([90, 40, 20, 0, 10])


def mixed_rows(mixing, features, y=Y, weight=None, seed=0, counts=COUNTS):
    torch.manual_seed(seed)
    return mixing.mix(features, y, weight, mixing.build(counts))


def recipe(mixing, features, y=Y, weight=None, seed=0, counts=COUNTS):
    """Mixed rows and their weights over the rows before: (m, n), exact to 1e-9."""
    n = len(y)
    marks = 1e-7 * torch.eye(n, dtype=torch.float64)  # too small to change who is near
    told = mixed_rows(mixing, torch.cat([features.double(), marks], 1), y, weight, seed, counts)
    return told, told.features[:, -n:].detach() * 1e7


# --- values and gradients ---------------------------------------------------------------------


@each
def test_rows_lie_between_one_or_two_rows(mixing):
    told, parts = recipe(mixing, torch.randn(16, 3))
    assert ((parts > 1e-6).sum(1) <= 2).all()
    torch.testing.assert_close(parts.sum(1), torch.ones(len(parts), dtype=torch.float64))
    assert told.weight is None and told.y.dtype == torch.int64
    if told.other_y is None:
        assert torch.equal(parts[:16].round(decimals=6), torch.eye(16, dtype=torch.float64))
    else:
        assert len(told.y) == len(told.other_y) == len(told.share) == 16
        assert torch.equal(told.y, Y)
        assert ((told.share >= 0) & (told.share <= 1)).all()


@pytest.mark.parametrize("mixing", [Mixup(), Mixup(0.3), Mixup(balanced=False)], ids=repr)
def test_mixup_shares_are_those_of_the_features(mixing):
    told, parts = recipe(mixing, torch.zeros(16, 1))
    for i in range(16):
        others = [j for j in range(16) if j != i and parts[i, j] > 1e-6]
        assert len(others) <= 1
        own = parts[i, i].item()
        if others:  # else the partner is the row itself
            assert told.other_y[i] == Y[others[0]]
            assert told.share[i].item() == pytest.approx(own, abs=1e-6)
        else:
            assert told.other_y[i] == Y[i] and own == pytest.approx(1)
    if not mixing.balanced:
        assert (told.share >= 0.5).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("balanced", [True, False])
def test_mixup_draws_its_distribution(alpha, balanced):
    y = torch.arange(500) % 3
    shares = torch.cat(
        [mixed_rows(Mixup(alpha, balanced), torch.zeros(500, 1), y, seed=s).share
         for s in range(20)]
    ).double().numpy()  # fmt: skip
    places = [0.1, 0.25, 0.5, 0.75, 0.9]
    if balanced:
        law = stats.beta(alpha, 1)
        np.testing.assert_allclose(np.quantile(1 - shares, places), law.ppf(places), atol=0.02)
        assert np.mean(1 - shares) == pytest.approx(alpha / (1 + alpha), abs=0.02)
    else:
        law = stats.beta(alpha, alpha)
        half = law.ppf(0.5 + np.array(places) / 2)  # of the larger part
        np.testing.assert_allclose(np.quantile(shares, places), half, atol=0.02)


@pytest.mark.parametrize("mixing", [Remix(), Remix(0.5, 2.0, 0.7), Remix(tau=0.0)], ids=repr)
def test_remix_labels_by_a_slow_loop(mixing):
    met = set()
    for seed in range(20):
        told, parts = recipe(mixing, torch.zeros(16, 1), seed=seed)
        for i in range(16):
            others = [j for j in range(16) if j != i and parts[i, j] > 1e-6]
            if not others:
                continue
            share = parts[i, i].item()
            n_i, n_j = int(COUNTS[Y[i]]), int(COUNTS[Y[others[0]]])
            if n_i / n_j >= mixing.kappa and share < mixing.tau:
                expected = 0.0
            elif n_i / n_j <= 1 / mixing.kappa and 1 - share < mixing.tau:
                expected = 1.0
            else:
                expected = share
            met.add(expected if expected in (0.0, 1.0) else "as features")
            assert told.share[i].item() == pytest.approx(expected, abs=1e-6)
    assert met == ({"as features"} if mixing.tau == 0 else {0.0, 1.0, "as features"})


@pytest.mark.parametrize("k", [1, 2, 5, 50])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_smote_by_a_slow_loop(k, offset):
    torch.manual_seed(1)
    features = torch.randn(16, 3, dtype=torch.float64) + offset
    seen = set()
    for seed in range(10):
        told, parts = recipe(FeatureSMOTE(k_neighbors=k), features, seed=seed)
        assert torch.equal(told.features[:16, :3], features) and torch.equal(told.y[:16], Y)
        # Nine rows of each class that occurs
        assert torch.bincount(told.y).tolist() == [9, 9, 9, 0, 9]
        for row in range(16, len(told.y)):
            parents = [j for j in range(16) if parts[row, j] > 1e-6]
            code = told.y[row].item()
            assert {Y[j].item() for j in parents} == {code}
            if code == 4:
                assert parents == [15]  # alone: repeated
                continue
            if len(parents) == 1:  # a place next to one end
                continue
            a, b = parents
            near = {}
            for i in parents:
                rivals = [j for j in range(16) if Y[j] == code and j != i]
                rivals.sort(key=lambda j, i=i: (features[i] - features[j]).square().sum().item())
                near[i] = rivals[:k]
            assert b in near[a] or a in near[b]
            seen.add((a, b))
    assert len(seen) > 3 if k > 1 else len(seen) >= 3


def slow_loss(told, parts, features, head, criterion, weight):
    """The task loss, row by row from the formulas."""
    total = 0.0
    for m in range(len(told.y)):
        row = sum(parts[m, i] * features[i] for i in range(len(features)))
        logits = head(row[None])[0]
        norm = torch.log(sum(torch.exp(z) for z in logits))
        k, eps = len(logits), criterion.label_smoothing

        def of(label, logits=logits, norm=norm, k=k, eps=eps):
            smooth = sum(norm - z for z in logits) / k
            return (1 - eps) * (norm - logits[label]) + eps * smooth

        value = of(told.y[m])
        if told.other_y is not None:
            value = told.share[m] * value + (1 - told.share[m]) * of(told.other_y[m])
        total = total + value * (1.0 if weight is None else weight[m])
    return total / len(told.y)


def objective_of(mixing, alignments=(), criterion=None):
    sizes = {"n_features": 3, "n_classes": 5, "class_counts": COUNTS, "n_domains": (1, 1),
             "generator": torch.Generator()}  # fmt: skip
    criterion = criterion or CrossEntropy()
    return Objective(criterion, list(alignments), 1.0, sizes, COUNTS, mixing)


def batch_of(features, head, weight=None, n=16, y=Y):
    index = torch.arange(len(features))
    batch = Batch(features, y, weight, n, [], torch.zeros_like(index), index,
                  torch.ones(len(features)))  # fmt: skip
    return (features, head(features)), batch


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("cosine", [False, True])
@each
def test_loss_and_gradient_by_a_slow_loop(mixing, cosine, weighted, dtype):
    torch.manual_seed(3)
    head = CosineHead(3, 5, 4.0) if cosine else torch.nn.Linear(3, 5)
    head = head.to(dtype)
    features = torch.randn(20, 3, dtype=dtype, requires_grad=True)
    weight = torch.linspace(0, 2, 16, dtype=dtype) if weighted else None
    objective = objective_of(mixing)
    torch.manual_seed(0)
    total, parts = objective(*batch_of(features, head, weight), head, 0.5)
    assert parts["task"] == total.detach()
    inputs = [features, *head.parameters()]
    fast = torch.autograd.grad(total, inputs)
    assert (fast[0][16:] == 0).all()  # the target's rows have no part in it

    doubled = [i.detach().double().requires_grad_() for i in inputs]
    reference = copy.deepcopy(head).double()
    for parameter, value in zip(reference.parameters(), doubled[1:], strict=True):
        parameter.data = value.data
    given = None if weight is None else weight.double()
    told, share_of = recipe(mixing, features[:16].detach(), weight=weight)
    row_weight = None if told.weight is None else told.weight.double()
    if given is not None and told.other_y is None:
        row_weight = share_of @ given
        torch.testing.assert_close(told.weight.double(), row_weight, atol=1e-5, rtol=1e-5)
    slow = slow_loss(told, share_of, doubled[0][:16], reference, CrossEntropy(), row_weight)
    tolerance = {"rtol": 1e-6, "atol": 1e-7} if dtype == torch.float64 else \
        {"rtol": 2e-3, "atol": 2e-5}  # fmt: skip
    torch.testing.assert_close(total.double(), slow.detach().double(), **tolerance)
    wanted = torch.autograd.grad(slow, [doubled[0], *reference.parameters()])
    for got, want in zip(fast, wanted, strict=True):
        torch.testing.assert_close(got.double(), want, **tolerance)


def test_gradient_reaches_both_parents():
    features = torch.randn(16, 3, dtype=torch.float64)
    parts = recipe(FeatureSMOTE(), features)[1]
    features.requires_grad_()
    made = mixed_rows(FeatureSMOTE(), features).features[16:]
    two = (parts[16:] > 0.05).sum(1) == 2
    row = int(torch.nonzero(two)[0])
    gradient = torch.autograd.grad(made[row].sum(), features)[0]
    torch.testing.assert_close(gradient[:, 0], parts[16 + row], atol=1e-6, rtol=0)
    assert (gradient != 0).any(1).sum() == 2


# --- weights and edge cases -------------------------------------------------------------------


@each
def test_rows_of_weight_zero_have_no_part(mixing):
    weight = torch.ones(16)
    weight[[0, 3, 9, 13, 15]] = 0  # 15 is all of class 4
    for seed in range(5):
        features = torch.randn(16, 3, requires_grad=True)
        told = mixed_rows(mixing, features, weight=weight, seed=seed)
        loss = (told.features.square().sum(1) * told.weight).sum()
        gradient = torch.autograd.grad(loss, features)[0]
        assert (gradient[weight == 0] == 0).all() and (gradient[weight > 0] != 0).any()
        used = told.y if told.other_y is None else told.other_y
        if told.other_y is not None:
            assert 4 not in used.tolist()


@each
def test_equal_weights_are_no_weights(mixing):
    features = torch.randn(16, 3)
    plain = mixed_rows(mixing, features)
    equal = mixed_rows(mixing, features, weight=torch.full((16,), 3.0))
    torch.testing.assert_close(plain.features, equal.features)
    assert torch.equal(plain.y, equal.y)
    torch.testing.assert_close(equal.weight, torch.full((len(equal.y),), 3.0))


def test_partners_follow_weights():
    y = torch.tensor([0, 0, 0, 1])
    weight = torch.tensor([1.0, 2.0, 0.0, 5.0])
    index = torch.arange(4).repeat(250)
    for balanced, share in ((True, [1 / 6, 1 / 3, 0, 1 / 2]), (False, [1 / 8, 1 / 4, 0, 5 / 8])):
        torch.manual_seed(0)
        drawn = index[draw_partners(y[index], weight[index], balanced)]
        np.testing.assert_allclose(torch.bincount(drawn, minlength=4) / 1000, share, atol=0.03)


def test_balanced_partners_have_equal_shares():
    y = torch.tensor([0] * 60 + [1] * 3 + [5])
    for seed in range(5):
        torch.manual_seed(seed)
        counts = torch.bincount(y[draw_partners(y, None, True)], minlength=6)
        assert counts[[2, 3, 4]].sum() == 0
        assert ((counts[[0, 1, 5]] - 64 / 3).abs() < 1).all()


@pytest.mark.parametrize("weight", [None, 2.0, 0.0])
@each
def test_small_batches(mixing, weight):
    for y in ([1], [0, 1], [2, 2], [0, 0, 4]):
        y = torch.tensor(y)
        w = None if weight is None else torch.full((len(y),), weight)
        features = torch.randn(len(y), 3, requires_grad=True)
        told = mixed_rows(mixing, features, y, w)
        loss = told.features.square().sum(1)
        loss = loss.mean() if w is None else (loss * told.weight).mean()
        loss.backward()
        assert torch.isfinite(features.grad).all()
        if len(y) == 1:
            torch.testing.assert_close(told.features, features)
        if weight == 0.0:
            assert loss == 0


# --- accounting -------------------------------------------------------------------------------


def test_even_in_batches_by_hand():
    # n = 2 of (.9, .1): classes occur with chance .99 and .19.
    one, two = 0.99 * (0.81 + 0.19 / 2), 0.19 * (0.01 + 0.99 / 2)
    expected = np.array([one, two]) / (one + two)
    np.testing.assert_allclose(even_in_batches([0.9, 0.1], 2), expected, rtol=1e-12)
    np.testing.assert_allclose(even_in_batches([0.9, 0.1], 10_000), [0.5, 0.5], rtol=1e-12)
    assert even_in_batches([0.9, 0.1, 0.0], 8)[2] == 0
    many = even_in_batches(np.full(1000, 1e-3), 64)
    np.testing.assert_allclose(many, 1e-3)


@pytest.mark.parametrize("batch_size", [16, 64])
@each
def test_prior_is_the_share_of_labels(mixing, batch_size):
    sampled = np.array([0.75, 0.2, 0.04, 0.0, 0.01])
    counts = torch.from_numpy(sampled * 1000).long()
    net, mass, n = mixing.build(counts), torch.zeros(5), 24_000 // batch_size
    torch.manual_seed(0)
    rows = torch.multinomial(torch.from_numpy(sampled), n * batch_size, replacement=True)
    for y in rows.split(batch_size):
        told = mixing.mix(torch.zeros(batch_size, 1), y, None, net)
        share = torch.ones(len(told.y)) if told.share is None else told.share
        of_batch = torch.bincount(told.y, share, minlength=5)
        if told.other_y is not None:
            of_batch += torch.bincount(told.other_y, 1 - share, minlength=5)
        mass += of_batch / len(told.y)
    prior = mixing.sampled_prior(sampled, counts, batch_size)
    assert prior.sum() == pytest.approx(1) and prior[3] == 0
    np.testing.assert_allclose(mass / n, prior, atol=0.012)
    assert (prior[4] > 1.1 * sampled[4]) == bool(mixing.rebalances)


# --- the slot ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Mixup(alpha=0), "'alpha' parameter of Mixup"),
        (Mixup(balanced="yes"), "'balanced' parameter of Mixup"),
        (Remix(kappa=1), "'kappa' parameter of Remix"),
        (Remix(tau=1.1), "'tau' parameter of Remix"),
        (FeatureSMOTE(k_neighbors=0), "'k_neighbors' parameter of FeatureSMOTE"),
        (FeatureSMOTE(k_neighbors=2.5), "'k_neighbors' parameter of FeatureSMOTE"),
        ("mix-up", r"mixing='mix-up' is not known; .*mean 'mixup'\?"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve("mixing", spec)
    X, y, Xt, _ = problem()
    with pytest.raises(ValueError, match=message):
        small(mixing=spec).fit(X, y, X_target=Xt)


def test_a_mixing_without_mix_says_so():
    with pytest.raises(TypeError, match=r"Mixing must define mix\(features, y, weight, net\)"):
        Mixing().mix(None, None, None, None)
    assert Mixing().build(COUNTS) is None
    assert Mixing().sampled_prior("as drawn", COUNTS, 64) == "as drawn"


# --- in the estimator -------------------------------------------------------------------------


def problem(seed=0, n=(120, 30, 8)):
    """A long tail in the source; the target is even and moved."""
    rng = np.random.default_rng(seed)
    y, yt = np.repeat(np.arange(len(n)), n), np.repeat(np.arange(len(n)), 100)
    centres = 2.5 * np.eye(6)[: len(n)]
    X = rng.normal(size=(len(y), 6)) + centres[y]
    Xt = rng.normal(size=(len(yt), 6)) + centres[yt]
    return X, y, Xt, yt


SMALL = {"max_epochs": 2, "hidden_layer_sizes": (8,), "random_state": 0, "alignment": None}


def small(cls=DomainAdaptationClassifier, **params):
    return cls(**(SMALL | params))


def weights(clf):
    return {k: v.clone() for k, v in clf._network.state_dict().items()}


@pytest.mark.parametrize("mixing", NAMES)
@pytest.mark.parametrize("alignment", [None, "auto"], ids=str)
def test_refits_are_bit_equal_and_change_something(mixing, alignment):
    X, y, Xt, _ = problem()
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    plain = weights(small(alignment=alignment).fit(X, y, X_target=Xt, sample_weight=weight))
    clf = small(alignment=alignment, mixing=mixing)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one = weights(clf.fit(X, y, X_target=Xt, sample_weight=weight))
    torch.rand(3)
    torch.set_rng_state(before[0])
    two = weights(clf.fit(X, y, X_target=Xt, sample_weight=weight))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not all(torch.equal(one[k], plain[k]) for k in one)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(Xt), clf.predict_proba(Xt))


class Witness(Alignment):
    """Keeps what it sees."""

    def loss(self, source, target, step, net):
        type(self).seen = source, target
        return source.features.sum() * 0


@each
def test_alignments_see_rows_as_they_are(mixing):
    head = torch.nn.Linear(3, 5)
    features = torch.randn(20, 3)
    output, batch = batch_of(features, head)
    objective_of(mixing, [Witness()])(output, batch, head, 0.5)
    source, target = Witness.seen
    assert torch.equal(source.features, features[:16]) and torch.equal(source.y, Y)
    assert torch.equal(source.logits, output[1][:16])
    assert torch.equal(target.features, features[16:])


def test_a_mixing_of_the_user():
    @register("mixing", "none_at_all")
    class NoneAtAll(Mixing):
        def mix(self, features, y, weight, net):
            return Mixed(features, y, weight=weight)

    X, y, Xt, _ = problem()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    one = small(mixing="none_at_all").fit(X, y, X_target=Xt, sample_weight=weight)
    two = small().fit(X, y, X_target=Xt, sample_weight=weight)
    np.testing.assert_allclose(one.predict_proba(Xt), two.predict_proba(Xt), atol=1e-6)


def test_searches_over_names_and_nested_parameters(routing):
    X, y, Xt, _ = problem()
    Xp, yp, _ = pack(X, y, Xt)
    pipe = make_pipeline(StandardScaler(), small())
    name = "domainadaptationclassifier__mixing"
    grid = [
        {name: [None, "mixup", "remix", "smote", Mixup(balanced=False)]},
        {name: ["mixup"], f"{name}__alpha": [0.2, 2.0]},
        {name: ["smote", FeatureSMOTE()], f"{name}__k_neighbors": [1]},
    ]
    search = GridSearchCV(
        pipe, grid, scoring=LabelledScorer("balanced_accuracy"), cv=2, error_score="raise"
    ).fit(Xp, yp)
    assert len(search.cv_results_["params"]) == 9
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_nested_parameters_leave_the_object_alone():
    mine = Mixup()
    clf = DANNClassifier(mixing=mine).set_params(mixing__alpha=0.5)
    assert clf.mixing.alpha == 0.5 and mine.alpha == 1.0
    assert DANNClassifier(mixing="remix").set_params(mixing__kappa=5.0).mixing.kappa == 5.0
    with pytest.raises(ValueError, match=r"'alfa' of mixing Mixup; .*mean 'alpha'\?"):
        clf.set_params(mixing__alfa=1)
    with pytest.raises(ValueError, match="mixing=None has no parameters"):
        DANNClassifier().set_params(mixing__alpha=1)


@pytest.mark.parametrize("mixing", NAMES)
def test_every_precision_and_early_stopping(mixing):
    X, y, Xt, _ = problem()
    for params in (
        {"precision": "float64"},
        {"precision": "bfloat16"},
        {"early_stopping": True},
        {"batch_size": 1},
        {"batch_size": 1000},
        {"sampling": "balanced", "target_sampling": "pseudo_balanced"},
        {"normalize": "batch", "bottleneck": 4},
    ):
        clf = small(mixing=mixing, **params).fit(X, y, X_target=Xt)
        assert np.isfinite(clf.predict_proba(Xt)).all()
        assert all(math.isfinite(record["task_loss"]) for record in clf.history_)


@pytest.mark.parametrize("mixing", NAMES)
def test_partial_fit_and_warm_start(mixing):
    X, y, Xt, _ = problem()
    Xp, yp, domain = pack(X, y, Xt)
    clf = small(mixing=mixing)
    for rows in (yp != 2, yp != 1, yp != -5):  # a class missing from a call
        clf.partial_fit(Xp[rows], yp[rows], sample_domain=domain[rows], classes=[0, 1, 2])
    assert np.isfinite(clf.predict_proba(Xt)).all()
    warm = small(mixing=mixing, warm_start=True).fit(X, y, X_target=Xt)
    first = weights(warm)
    warm.fit(X, y, X_target=Xt)
    assert not all(torch.equal(first[k], v) for k, v in weights(warm).items())


def test_cosine_heads():
    X, y, Xt, _ = problem()
    clf = small(mixing=Mixup(balanced=False), criterion="ldam").fit(X, y, X_target=Xt)
    assert isinstance(clf._network.head, CosineHead)
    assert np.isfinite(clf.predict_proba(Xt)).all()


def test_imbalance_is_countered_once():
    X, y, Xt, _ = problem()
    for mixing in ("mixup", "remix", "smote", FeatureSMOTE()):
        for criterion in ("logit_adjusted", LDAM(), "class_balanced"):
            with pytest.raises(ValueError, match=r"mixing=.* counters imbalance, and criterion="):
                small(mixing=mixing, criterion=criterion).fit(X, y, X_target=Xt)
        with pytest.raises(ValueError, match=r"class_weight='balanced' would do so a second time"):
            small(mixing=mixing, class_weight="balanced").fit(X, y, X_target=Xt)
        small(mixing=mixing, criterion="focal").fit(X, y, X_target=Xt)
    plain = Mixup(balanced=False)
    small(mixing=plain, criterion=LogitAdjusted()).fit(X, y, X_target=Xt)
    small(mixing=plain, class_weight="balanced").fit(X, y, X_target=Xt)


def test_what_is_no_mixing():
    X, y, Xt, _ = problem()
    with pytest.raises(TypeError, match=r"mixing=CrossEntropy\(\) .*'mixup', 'remix', 'smote'"):
        small(mixing=CrossEntropy()).fit(X, y, X_target=Xt)
    with pytest.raises(TypeError, match=r"mixing=Mixup is a class; give an object \(Mixup\(\)"):
        small(mixing=Mixup).fit(X, y, X_target=Xt)
    with pytest.raises(TypeError, match="mixing"):
        DomainAdaptationRegressor(mixing="mixup")


@pytest.mark.parametrize("mixing", NAMES)
def test_rare_classes_gain(mixing):
    """Worst-class recall on an even target, source-only, ten to one in the source."""
    gains = []
    for seed in range(3):
        X, y, Xt, yt = problem(seed, n=(300, 30))
        params = {"normalize": "source", "max_epochs": 40, "dropout": 0.0, "learning_rate": 3e-3}
        params |= {"hidden_layer_sizes": (64,), "random_state": seed, "label_shift": None}
        plain, mixed = (
            worst_class_recall(yt, small(mixing=m, **params).fit(X, y, X_target=Xt).predict(Xt))
            for m in (None, mixing)
        )
        gains.append(mixed - plain)
    assert min(gains) >= 0 and np.mean(gains) > 0.05, gains
