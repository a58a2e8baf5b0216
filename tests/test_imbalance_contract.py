"""What every task loss and every sampler keeps to, by its registered name.

Values by hand are in test_criteria.py and test_sampling.py; a new name is covered here by itself.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from adaptlearn import (
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    LabelledScorer,
    pack,
)
from adaptlearn._components import registered, resolve
from adaptlearn.imbalance.sampling import SAMPLING, make_sampler

KNOWN = {n: c for n, c in registered("criterion").items() if c.__module__.startswith("adaptlearn.")}
CRITERIA = sorted(KNOWN)
CLASSIFYING = [name for name in CRITERIA if not KNOWN[name].regression]
REGRESSION = [name for name in CRITERIA if KNOWN[name].regression]
# Plain gradient descent: Adam would hide a factor on the loss.
SMALL = {
    "hidden_layer_sizes": (8,), "max_epochs": 2, "dropout": 0.0, "normalize": None,
    "optimizer": "sgd", "learning_rate": 0.01, "precision": "float64", "random_state": 0,
}  # fmt: skip

# Labelled rows per class, and what of it is odd.
COUNTS = {"absent": [40, 0, 9], "single": [40, 1, 9], "two absent": [7, 0, 0]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- losses -------------------------------------------------------------------------------------


def batch(name, n=6, counts=(40, 5, 9), dtype=torch.float64):
    """Criterion, its buffers, n rows of output, and labels of every class, or numbers."""
    criterion = resolve("criterion", name)
    if criterion.regression:
        net = criterion.build(torch.randn(60, generator=generator(), dtype=torch.float64))
        y = torch.randn(n, generator=generator(1), dtype=torch.float64).to(dtype)
        # Away from y: at the bend of a loss, differences say nothing about the gradient.
        z = y + 0.3 + torch.rand(n, generator=generator(2), dtype=torch.float64).to(dtype)
        z = z[:, None]
    else:
        net = criterion.build(torch.tensor(counts))
        y = torch.arange(n) % len(counts)
        z = torch.randn(n, len(counts), generator=generator(), dtype=torch.float64).to(dtype)
    return criterion, None if net is None else net.to(dtype), z.clone().requires_grad_(), y


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("name", CRITERIA)
def test_gradient_of_odd_counts(name, counts):
    """Also on rows of a class that training never saw: held-out rows may be of it."""
    criterion, net, z, y = batch(name, counts=COUNTS[counts])
    weight = torch.linspace(0.5, 2, len(y), dtype=torch.float64)

    def weighted(z):
        return criterion.loss(z, y, 0.9, net) @ weight

    values = criterion.loss(z, y, 0.9, net)
    (found,) = torch.autograd.grad(values @ weight, z)
    slow, step = torch.zeros_like(z), 1e-6
    for place in np.ndindex(*z.shape):
        moved = torch.zeros_like(z)
        moved[place] = step
        with torch.no_grad():
            slow[place] = (weighted(z + moved) - weighted(z - moved)) / (2 * step)
    assert values.shape == y.shape and torch.isfinite(values).all() and (values >= 0).all()
    assert found.abs().max() > 1e-3
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", CRITERIA)
def test_a_million_rows_of_a_loss(name):
    """Each row has its own loss and gradient, whatever stands beside it."""
    criterion, net, z, y = batch(name, 10**6, (10**6 - 21, 1, 20), torch.float32)
    values = criterion.loss(z, y, 0.9, net)
    (gradient,) = torch.autograd.grad(values.sum(), z)
    assert values.shape == (10**6,) and values.dtype == torch.float32
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all()
    for rows in ([0], [999_999], [1, 500_000, 123_456]):
        few = z.detach()[rows].requires_grad_()
        alone = criterion.loss(few, y[rows], 0.9, net)
        torch.testing.assert_close(alone, values[rows])
        torch.testing.assert_close(torch.autograd.grad(alone.sum(), few)[0], gradient[rows])


# --- samplers -----------------------------------------------------------------------------------


def drawn_and_promised(name, codes, n_draws, progress, domains=None):
    """How often each row was drawn and was said to be, as shares of all draws."""
    sampler = make_sampler(name, codes, len(codes), domains)
    drawn = sampler.draw(n_draws, generator(), progress)
    assert 0 <= drawn.min() and drawn.max() < len(codes)
    rate = sampler.rate(progress)
    rate = torch.ones(len(codes), dtype=torch.float64) if rate is None else rate
    assert rate.shape == codes.shape and rate.mean().item() == pytest.approx(1)
    return torch.bincount(drawn, minlength=len(codes)) / n_draws, rate / len(codes)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("counts", [(300, 0, 1, 20), (1, 0, 0, 2), (1, 1)], ids=str)
@pytest.mark.parametrize("name", SAMPLING)
def test_declared_rate_is_what_is_drawn(name, counts, progress):
    """Row by row, with a class that has no row and one that has a single one."""
    codes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    codes = codes[torch.randperm(len(codes), generator=generator(1))]
    domains = torch.arange(len(codes)) % 2  # only "domain_balanced" looks at them
    n_draws = 60_000
    drawn, promised = drawn_and_promised(name, codes, n_draws, progress, domains)
    assert (promised > 0).all()
    assert ((drawn - promised).abs() < 5 * (promised / n_draws).sqrt() + 2 / n_draws).all()


@pytest.mark.parametrize("name", SAMPLING)
def test_a_million_rows_of_a_sampler(name):
    codes = torch.zeros(10**6, dtype=torch.int64)
    codes[::1000], codes[123_456] = 1, 3  # class 2 has no row, class 3 a single one
    domains = (torch.arange(10**6) >= 500_000).long()
    drawn, promised = drawn_and_promised(name, codes, 10**6, 0.5, domains)
    shares = [torch.zeros(4, dtype=torch.float64) for _ in range(2)]
    for share, of in zip(shares, (drawn, promised), strict=True):
        share.index_add_(0, codes, of.double())
    torch.testing.assert_close(*shares, rtol=0, atol=5e-6)  # a few rows of a million
    if name != "instance":
        assert shares[0][3] > 1e-4  # and not one in a million


# --- both, in the estimators --------------------------------------------------------------------

# What the slots are filled with: every sampler, every loss; a loss that rebalances takes only
# "instance".
OPTIONS = [
    *({"sampling": name} for name in SAMPLING),
    {"sampling": "balanced", "target_sampling": "pseudo_balanced"},
    *({"criterion": name} for name in CLASSIFYING),
]
option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ", ".join(o.values()))


def problem(seed=0):
    """Two sources and two targets; column 0 is the row's number. Returns also the truth."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1, 2], [50, 25, 15]))
    domain = rng.permutation(np.repeat([0, 3, -1, -2], [35, 25, 16, 14]))
    X = np.column_stack([np.arange(90.0), rng.normal(size=(90, 2)) + 2 * np.eye(3)[y][:, 1:]])
    return X, np.where(domain < 0, -1, y), domain, y


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.net_.module_.parameters()])


def fitted(X, y, domain, weight=None, **options):
    model = DomainAdaptationClassifier(**SMALL, **options)
    return model.fit(X, y, sample_domain=domain, sample_weight=weight)


@option
def test_unlabelled_rows_pass(options):
    """What a target row's label is, mask or class, changes nothing; the mask is no class."""
    X, y, domain, truth = problem()
    X[:, 0] /= 90
    permuted = np.where(domain < 0, np.random.default_rng(1).permutation(truth), truth)
    models = [fitted(X, labels, domain, **options) for labels in (y, truth, permuted)]
    assert models[0].classes_.tolist() == [0, 1, 2]
    assert models[0].predict_proba(X).shape == (90, 3)
    for other in models[1:]:
        assert torch.equal(parameters(models[0]), parameters(other))


@option
def test_rows_of_no_weight_are_not_read(options):
    """The weight that stands beside a row is the one its loss is multiplied by."""
    X, y, domain, _ = problem()
    X[:, 0] /= 90
    weight = np.random.default_rng(2).uniform(0.5, 2, 90)
    none = (domain >= 0) & (np.arange(90) % 3 == 0)
    other = X.copy()
    other[none] = 100 - other[none]
    options = options | {"alignment": None, "target_sampling": "uniform"}
    a, b, c = (
        parameters(fitted(rows, y, domain, w, **options))
        for rows, w in ((X, weight * ~none), (other, weight * ~none), (other, weight))
    )
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert (b - c).abs().max() > 1e-3  # with weight they are


@option
def test_scale_of_weights(options):
    X, y, domain, _ = problem()
    X[:, 0] /= 90
    weight = np.random.default_rng(2).uniform(0.5, 2, 90)
    a, b, c = (
        parameters(fitted(X, y, domain, w, **options)) for w in (weight, 1000 * weight, None)
    )
    torch.testing.assert_close(a, b)
    assert (a - c).abs().max() > 1e-4


@pytest.mark.parametrize("name", REGRESSION)
def test_weights_and_masks_of_regression(name):
    X, _, domain, _ = problem()
    X[:, 0] /= 90
    y = X @ [1.0, -1.0, 0.5]
    masked = np.where(domain < 0, np.nan, y)
    weight = np.random.default_rng(2).uniform(0.5, 2, 90)

    def fit(y, weight):
        model = DomainAdaptationRegressor(**SMALL, criterion=name)
        return parameters(model.fit(X, y, sample_domain=domain, sample_weight=weight))

    torch.testing.assert_close(fit(masked, weight), fit(masked, 1000 * weight))
    assert torch.equal(fit(masked, weight), fit(np.where(domain < 0, 7 - y, y), weight))
    assert (fit(masked, weight) - fit(masked, None)).abs().max() > 1e-4


# --- index alignment in a search ----------------------------------------------------------------


class Recorder(Callback):
    """Batches of every fit in this process, one list a fit."""

    fits = []

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.fits.append([])

    def on_batch_begin(self, net, batch, training=False, **kwargs):
        n = batch.n_labelled
        self.fits[-1].append(
            SimpleNamespace(
                row=batch.x[:, 0].long().numpy(),
                n=n,
                y=batch.y[:n].numpy(),
                weight=None if batch.task_weight is None else batch.task_weight[:n].numpy(),
                domain=batch.domain.numpy(),
            )
        )


def searched(options, *rows, given, routing):
    """The batches of a search over each of the options by themselves."""
    model = DomainAdaptationClassifier(**SMALL | {"max_epochs": 1}, callbacks=[Recorder()])
    scoring = LabelledScorer()
    if routing:
        model.set_fit_request(sample_weight=True)
        scoring.set_score_request(sample_weight=False)
    grid = [{name: [value] for name, value in one.items()} for one in options]
    Recorder.fits.clear()
    search = GridSearchCV(model, grid, cv=2, scoring=scoring, error_score="raise", n_jobs=1)
    search.fit(*rows, **given)
    assert np.isfinite(search.best_score_)
    fits = list(Recorder.fits)
    Recorder.fits.clear()
    assert len(fits) == 2 * len(options) + 1  # folds, and the best one on all rows
    return fits


def check_alignment(batches, y, domain, weight):
    """Label, weight and domain of every drawn row are those of the row. Returns the rows."""
    slots, factors, rows = set(), [], []
    for b in batches:
        labelled = b.row[: b.n]
        np.testing.assert_array_equal(b.y, y[labelled])
        assert (domain[labelled] >= 0).all() and (domain[b.row[b.n :]] < 0).all()
        slots |= set(zip(b.domain.tolist(), domain[b.row].tolist(), strict=True))
        factors.append(b.weight / weight[labelled])
        rows.append(b.row)
    # One slot of the network for each domain, and one factor on all weights (they have mean 1).
    assert len(slots) == len({a for a, _ in slots}) == len({b for _, b in slots}) == 4
    np.testing.assert_allclose(np.concatenate(factors), factors[0][0], rtol=1e-6)
    return set(np.concatenate(rows).tolist())


def test_index_alignment_in_a_search(routing):
    X, y, domain, _ = problem()
    weight = 1 + np.random.default_rng(3).permutation(90) / 10
    given = {"sample_domain": domain, "sample_weight": weight}
    *folds, last = searched(OPTIONS, X, y, given=given, routing=routing)
    for first, second in zip(folds[::2], folds[1::2], strict=True):
        a, b = (check_alignment(fold, y, domain, weight) for fold in (first, second))
        assert not a & b and len(a | b) > 45  # each fold trains on rows of its own
    check_alignment(last, y, domain, weight)


def test_index_alignment_on_packed_masks(routing):
    """Domains read from the masks alone; two sides, interleaved by `pack`."""
    X, y, domain, _ = problem()
    source = domain >= 0
    X, y, _ = pack(X[source], y[source], X[~source])
    weight = 1 + np.random.default_rng(3).permutation(90) / 10
    row = X[:, 0].astype(int)
    X[:, 0] = np.arange(90)
    assert not np.array_equal(row, np.arange(90))
    for fold in searched(OPTIONS[:2], X, y, given={"sample_weight": weight}, routing=routing):
        for b in fold:
            labelled = b.row[: b.n]
            np.testing.assert_array_equal(b.y, y[labelled])
            assert (y[b.row[b.n :]] == -1).all()
            np.testing.assert_allclose(b.weight / weight[labelled], fold[0].weight[0]
                                       / weight[fold[0].row[0]])  # fmt: skip
