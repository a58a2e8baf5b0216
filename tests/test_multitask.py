"""Several tasks on one body: losses by hand, weightings, missing labels, scikit-learn's tools."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    r2_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import (
    CDAN,
    CORAL,
    MCC,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    DomainStratifiedKFold,
    LabelledScorer,
    MultiTaskClassifier,
    load,
    pack,
    unpack,
)
from adaptlearn._task_labels import read_task_labels
from adaptlearn.alignment import Alignment, Domain, Step
from adaptlearn.deep import FixedWeights, GradNorm, TaskWeighting, UncertaintyWeighting
from adaptlearn.deep._batches import Batch
from adaptlearn.deep._stopping import spread_validation
from adaptlearn.deep._task_alignment import PerTask
from adaptlearn.deep._task_losses import Task, TaskCriterion, TaskObjective
from adaptlearn.deep._task_sampling import TaskSampler
from adaptlearn.imbalance import CrossEntropy, Focal, Huber, MeanSquaredError

NAN = float("nan")
WEIGHTINGS = ["uniform", "uncertainty", "gradnorm", [2.0, 1.0, 1.0]]


def small(**params):
    start = {"max_epochs": 3, "hidden_layer_sizes": (16,), "dropout": 0.0, "random_state": 0}
    return MultiTaskClassifier(**(start | params))


def toy(n=120, seed=0):
    """Two classes, three classes and a number in one table, and rows of a moved target."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    two = (X[:, 0] > 0).astype(int)
    three = (X[:, 1] > 0).astype(int) + (X[:, 2] > 0)
    number = 3 * X[:, 0] - X[:, 3] + 5.25
    return X, np.column_stack([two, three, number]), 2 * X[: n // 2] + 3


def some_missing(y, seed=0, share=0.4):
    """The table with NaN here and there, each row keeping one label at least."""
    rng = np.random.default_rng(seed)
    missing = rng.random(y.shape) < share
    missing[np.arange(len(y)), rng.integers(y.shape[1], size=len(y))] = False
    return np.where(missing, NAN, y)


def weights(estimator):
    return {k: v.clone() for k, v in estimator.net_.module_.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# --- losses ------------------------------------------------------------------------------------


def two_tasks(weighting=None):
    """Classes {0, 1} in columns 0 and 1 of the logits, a number in column 2."""
    return TaskCriterion(
        [
            Task("kind", False, slice(0, 2), CrossEntropy(label_smoothing=0.0)),
            Task("size", True, slice(2, 3), MeanSquaredError()),
        ],
        FixedWeights() if weighting is None else weighting,
    )


LABELS = [torch.tensor([2, 1]), torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)]


def test_losses_by_hand():
    criterion = two_tasks()
    logits = torch.tensor([[0.0, 0.0, 3.0], [np.log(3.0), 0.0, 1.0], [5.0, -5.0, 2.0]])
    y = torch.tensor([[1.0, NAN], [0.0, 0.5], [NAN, -1.0]])
    found = criterion.loss(logits, y, 0.5, criterion.build(LABELS))
    expected = [[np.log(2), 0.0], [np.log(4 / 3), 0.25], [0.0, 9.0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_total_is_the_mean_of_task_means():
    """Two labels of three and three of three; weights have mean 1 over the rows."""
    objective = TaskObjective(two_tasks(), [], 1.0, {}, LABELS)
    logits = torch.tensor([[0.0, 0.0, 3.0], [np.log(3.0), 0.0, 1.0], [5.0, -5.0, 2.0]])
    y = torch.tensor([[1.0, 2.0], [0.0, 0.5], [NAN, -1.0]])
    weight = torch.tensor([[1.5, 1.0], [1.5, 1.0], [0.0, 1.0]])
    batch = Batch(None, y, weight, 3, [], None, torch.arange(3), None)
    total, parts = objective((logits, logits), batch, None, 0.5)
    kind, size = (np.log(2) + np.log(4 / 3)) / 2, (1 + 0.25 + 9) / 3
    assert parts["task[kind]"].item() == pytest.approx(kind)
    assert parts["task[size]"].item() == pytest.approx(size)
    assert total.item() == parts["task"].item() == pytest.approx((kind + size) / 2)
    assert objective.held_out_loss(logits, y, weight).item() == pytest.approx((kind + size) / 2)
    assert objective.held_out_loss(logits, y, None).item() == pytest.approx((kind + size) / 2)
    y[:, 0] = NAN  # no held-out label of a task: it stands aside
    assert objective.held_out_loss(logits, y, None).item() == pytest.approx(size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_missing_labels_have_no_gradient(dtype):
    """The gradient at the logits is that of a loop over the labels that are there."""
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(6, 3, generator=generator, dtype=dtype)).requires_grad_()
    y = torch.tensor([[1, 0.5], [NAN, 1], [0, NAN], [NAN, -2], [1, NAN], [NAN, NAN]], dtype=dtype)
    criterion = two_tasks()
    criterion.loss(logits, y, 0.5, criterion.build(LABELS)).sum().backward()
    slow = logits.detach().clone().requires_grad_()
    total = 0
    for row in range(6):
        if not y[row, 0].isnan():
            total = total - slow[row, :2].log_softmax(0)[int(y[row, 0])]
        if not y[row, 1].isnan():
            total = total + (slow[row, 2] - y[row, 1]) ** 2
    total.backward()
    torch.testing.assert_close(logits.grad, slow.grad)
    assert (logits.grad[y[:, 0].isnan(), :2] == 0).all()
    assert (logits.grad[y[:, 1].isnan(), 2] == 0).all()


def test_a_task_without_labels_in_the_batch_leaves_its_head_alone():
    X, y, _ = toy()
    net = small(task_weighting="uniform").fit(X, y, X_target=X).net_
    network, objective = net.module_.train(), net.criterion_
    network.zero_grad()
    labels = torch.from_numpy(y).float()
    labels[:, 1] = NAN
    x = torch.from_numpy(X).float()
    batch = Batch(x, labels, None, len(x), [], None, torch.arange(len(x)), None)
    output = network(x, [(0, 0, len(x))])
    objective(output, batch, network.head, 0.5)[0].backward()
    gradient = network.head.weight.grad
    assert (gradient[2:5] == 0).all() and (network.head.bias.grad[2:5] == 0).all()
    assert (gradient[:2].abs().sum() > 0) and (gradient[5].abs().sum() > 0)


def test_whatever_stands_for_missing_gives_one_fit():
    X, y, Xt = toy()
    y = some_missing(np.column_stack([y[:, 0], y[:, 1]]))
    as_objects = y.astype(object)
    none = np.where(np.isnan(y), None, as_objects)
    ints = np.where(np.isnan(y), -1, y).astype(int)
    text = ints.astype(str)
    fits = [small().fit(X, table, X_target=Xt) for table in (y, as_objects, none, ints, text)]
    for other in fits[1:]:
        assert equal(weights(fits[0]), weights(other))
    assert [c.tolist() for c in fits[-1].classes_] == [["0", "1"], ["0", "1", "2"]]
    assert [c.tolist() for c in fits[3].classes_] == [[0, 1], [0, 1, 2]]


@pytest.mark.filterwarnings("ignore:.*no target rows")
def test_row_weights_are_repetitions():
    X, y, _ = toy(60)
    y = some_missing(y)
    weight = np.random.default_rng(0).integers(1, 4, size=len(X))
    params = {"precision": "float64", "batch_size": 10_000, "sampling": "instance"}
    one = small(normalize=None, alignment=None, **params)
    two = clone(one).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight, axis=0))
    one.fit(X, y, sample_weight=weight)
    for a, b in zip(weights(one).values(), weights(two).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


# --- weightings --------------------------------------------------------------------------------


def test_fixed_weights_by_hand():
    losses = torch.tensor([2.0, 8.0])
    for given, expected in ((None, 5.0), ([1, 1], 5.0), ([3, 1], 3.5), ((0, 2), 8.0)):
        weighting = FixedWeights(given)
        net = weighting.build([False, True], torch.ones(2))
        assert weighting.total(losses, net).item() == pytest.approx(expected)
    np.testing.assert_allclose(weighting.current(net, 2), [0, 2])


@pytest.mark.parametrize(
    "weights", [[1], [1, 2, 3], [1, -1], [0, 0], [1, NAN], ["a", "b"], [[1, 2]]]
)
def test_fixed_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match=r"task_weighting=.*one number >= 0 for each of the 2"):
        FixedWeights(weights).build([False, True], torch.ones(2))


def test_uncertainty_by_hand():
    r"""Regression L / (2 s^2) + log s, classification L / s^2 + log s."""
    weighting = UncertaintyWeighting()
    net = weighting.build([True, False], torch.ones(2))
    losses = torch.tensor([2.0, 0.5])
    assert weighting.total(losses, net).item() == pytest.approx((2 / 2 + 0.5) / 2)
    sigma = np.array([1.5, 0.8])
    with torch.no_grad():
        net.raw.copy_(torch.tensor(2 * np.log(sigma) / 30))
    regression = 2.0 / (2 * 1.5**2) + np.log(1.5)
    classification = 0.5 / 0.8**2 + np.log(0.8)
    assert weighting.total(losses, net).item() == pytest.approx((regression + classification) / 2)
    np.testing.assert_allclose(weighting.current(net, 2), [1 / (2 * 1.5**2), 1 / 0.8**2], rtol=1e-6)
    weighting.total(losses, net).backward()  # d / d log(sigma^2), times 30, over 2 tasks
    expected = [30 * (-2 / (2 * 1.5**2) + 0.5) / 2, 30 * (-0.5 / 0.8**2 + 0.5) / 2]
    np.testing.assert_allclose(net.raw.grad, expected, rtol=1e-5)


def gradnorm_slowly(weight, losses, initial, shared, alpha, rate):
    """One step by the paper's definition, the gradient of sum |G - const| taken by autograd."""
    log_weight = weight.log().requires_grad_()
    sizes = []
    for w, loss in zip(log_weight.exp(), losses, strict=True):
        (gradient,) = torch.autograd.grad(loss, shared, retain_graph=True)
        sizes.append(w * gradient.flatten().square().sum().sqrt())
    sizes = torch.stack(sizes)
    left = losses.detach() / initial
    goal = (sizes.mean() * (left / left.mean()) ** alpha).detach()
    (sizes - goal).abs().sum().backward()
    new = (log_weight.detach() - rate * log_weight.grad / sizes.mean().item()).exp()
    return new * len(new) / new.sum()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_gradnorm_against_a_slow_reference(alpha):
    generator = torch.Generator().manual_seed(1)
    shared = torch.randn(4, 5, generator=generator).requires_grad_()
    x = torch.randn(7, 4, generator=generator)
    heads = torch.randn(5, 3, generator=generator)
    losses = (((x @ shared).tanh() @ heads).square() * torch.tensor([1.0, 5.0, 0.1])).mean(0)
    initial, weight = torch.tensor([1.0, 4.0, 0.5]), torch.tensor([0.5, 1.0, 1.5])
    weighting = GradNorm(alpha=alpha, rate=0.1)
    net = weighting.build([True] * 3, initial)
    net.weight.copy_(weight)
    objective = TaskObjective.__new__(TaskObjective)
    torch.nn.Module.__init__(objective)
    objective.shared = (shared,)
    norms = objective._gradient_norms(losses)
    weighting.balance(losses.detach(), norms, torch.ones(3, dtype=torch.bool), net)
    expected = gradnorm_slowly(weight, losses, initial, shared, alpha, 0.1)
    torch.testing.assert_close(net.weight, expected)
    assert net.weight.sum().item() == pytest.approx(3)
    assert not torch.equal(net.weight, weight)


def test_gradnorm_leaves_absent_tasks_out():
    weighting = GradNorm(alpha=0.0, rate=0.1)
    with_absent = weighting.build([True] * 3, torch.ones(3))
    without = weighting.build([True] * 2, torch.ones(2))
    losses, norms = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1.0, 3.0, 0.0])
    weighting.balance(losses, norms, torch.tensor([True, True, False]), with_absent)
    weighting.balance(losses[:2], norms[:2], torch.tensor([True, True]), without)
    # G = 1, 3 with mean 2: log weights go up by .1 * 1 / 2, down by .1 * 3 / 2.
    up, down = np.exp(0.05), np.exp(-0.15)
    expected = np.array([up, down]) * 2 / (up + down)
    np.testing.assert_allclose(without.weight, expected, rtol=1e-6)
    expected = np.array([up, down, 1]) * 3 / (up + down + 1)
    np.testing.assert_allclose(with_absent.weight, expected, rtol=1e-6)


def test_gradnorm_starts_from_a_network_that_knows_nothing():
    net = two_tasks(GradNorm()).build(LABELS)
    # log 2; mean square of 1, -1, 0.
    torch.testing.assert_close(net.weighting.initial, torch.tensor([np.log(2), 2 / 3]).float())


def test_gradnorm_evens_out_gradients():
    """A loss made 100 times larger is weighed down."""
    X, y, Xt = toy(200)
    noise = np.random.default_rng(1).normal(size=(2, 200))
    y = np.column_stack([y[:, 0], X[:, 1] + noise[0], X[:, 2] + noise[1]])
    criteria = ["cross_entropy", "mse", Scaled()]
    fitted = small(task_weighting=GradNorm(alpha=0.0), criterion=criteria, max_epochs=40)
    fitted.fit(X, y, X_target=Xt)
    plain, large = fitted.task_weights_[1:]
    assert large < 0.1 * plain
    assert fitted.task_weights_.mean() == pytest.approx(1)


class Told(TaskWeighting):
    """Keeps what it is told of a step."""

    balances_gradients = True
    log = []

    def total(self, losses, net):
        return losses.mean()

    def balance(self, losses, norms, present, net):
        self.log.append((losses, norms, present))


def test_gradients_are_balanced_per_labelled_row():
    """Losses and norms are those of a mean over the labels in the batch, however many it holds."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4, 3, generator=generator).requires_grad_()
    x = torch.randn(5, 4, generator=generator)
    y = torch.tensor([[1.0, 2.0], [NAN, 0.5], [NAN, -1.0], [NAN, 0.0], [0.0, 1.0]])
    weight = torch.tensor([[8.0, 1.0], [0.0, 2.0], [0.0, 0.5], [0.0, 1.0], [2.0, 1.5]])
    objective = TaskObjective(two_tasks(Told()), [], 1.0, {}, LABELS)
    objective.shared = (shared,)
    Told.log.clear()
    for labels, w, present in ((y, weight, [True, True]), (y[1:4], weight[1:4], [False, True])):
        rows = x if len(labels) == 5 else x[1:4]
        logits = rows @ shared
        batch = Batch(None, labels, w, len(rows), [], None, torch.arange(len(rows)), None)
        objective.train()
        objective((logits, logits), batch, None, 0.5)
        losses, norms, known = Told.log.pop()
        assert known.tolist() == present
        by_row = objective.criterion.loss(logits, labels, 0.5, objective.criterion_net)
        for k in np.flatnonzero(present):
            mean = (by_row[:, k] * w[:, k]).sum() / w[:, k].sum()
            assert losses[k].item() == pytest.approx(mean.item())
            (gradient,) = torch.autograd.grad(mean, shared, retain_graph=True)
            assert norms[k].item() == pytest.approx(gradient.norm().item(), rel=1e-5)
        assert not losses[~known].any() and not norms[~known].any()
        objective.eval()
        objective((logits, logits), batch, None, 0.5)
        assert not Told.log, "held-out rows move no weights"


class Scaled(MeanSquaredError):
    def loss(self, logits, y, progress, net):
        return 100 * super().loss(logits, y, progress, net)


def test_uncertainty_learns_the_noise():
    """A noisy number weighs less than a clean one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.column_stack([X @ [1, 1, 1], X @ [1, 1, 1] + 6 * rng.normal(size=400)])
    fitted = small(task_weighting="uncertainty", alignment=None, normalize="source", max_epochs=60)
    fitted.fit(X, y)
    clean, noisy = fitted.task_weights_
    assert clean > 2 * noisy


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_refits_are_bit_equal(weighting):
    X, y, Xt = toy()
    y = some_missing(y)
    estimator = small(task_weighting=weighting, dropout=0.2).fit(X, y, X_target=Xt)
    first, balance = weights(estimator), estimator.task_weights_
    assert balance.shape == (3,) and np.isfinite(balance).all()
    assert equal(first, weights(estimator.fit(X, y, X_target=Xt)))
    np.testing.assert_array_equal(balance, estimator.task_weights_)
    twin = pickle.loads(pickle.dumps(estimator))
    for name in ("uncertainty", "gradnorm"):
        if weighting == name:
            assert not np.allclose(balance, balance[0])
            before = twin.task_weights_
            twin.partial_fit(np.r_[X, Xt], np.r_[y, np.full((len(Xt), 3), NAN)])
            assert not np.array_equal(twin.task_weights_, before), "the copy no longer learns"
            np.testing.assert_array_equal(estimator.task_weights_, balance)


class Loudest(TaskWeighting):
    def total(self, losses, net):
        return losses.max()


def test_own_weighting():
    X, y, Xt = toy()
    fitted = small(task_weighting=Loudest()).fit(X, y, X_target=Xt)
    assert np.isfinite(fitted.score(X, y, sample_domain="source"))
    assert not equal(weights(fitted), weights(small().fit(X, y, X_target=Xt)))


# --- labels ------------------------------------------------------------------------------------


def test_reading_a_table():
    table = [[1, "a", 0.5, None], [0, "-1", NAN, 2], [-1, "b", -1.0, 3], [-1, None, None, None]]
    labels = read_task_labels(table)
    assert labels.names == [0, 1, 2, 3]
    assert labels.kinds == ["classification", "classification", "regression", "classification"]
    assert [None if c is None else c.tolist() for c in labels.classes] == [
        [0, 1], ["a", "b"], None, [2, 3],
    ]  # fmt: skip
    expected = [[1, 0, 0.5, NAN], [0, NAN, NAN, 0], [NAN, 1, -1, 1], [NAN] * 4]
    np.testing.assert_array_equal(labels.values, expected)
    np.testing.assert_array_equal(labels.any_known(), [0, 0, 0, NAN])


def test_reading_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "kind": pandas.Categorical(["x", None, "y"]),
            "n": pandas.array([1, pandas.NA, 2], dtype="Int64"),
            "size": [0.5, np.nan, 1.5],
            "flag": [True, False, True],
        }
    )
    frames = [frame]
    try:
        import polars
    except ImportError:
        pass
    else:
        frames.append(polars.DataFrame({name: frame[name].tolist() for name in ("size", "flag")}))
    for given in frames:
        labels = read_task_labels(given)
        assert labels.names == list(given.columns)
        kinds = dict(zip(labels.names, labels.kinds, strict=True))
        assert kinds["size"] == "regression" and kinds["flag"] == "classification"
    labels = read_task_labels(frame)
    assert labels.classes[0].tolist() == ["x", "y"] and labels.classes[1].tolist() == [1, 2]
    np.testing.assert_array_equal(labels.values[:, 1], [0, NAN, 1])
    with pytest.raises(ValueError, match="same name"):
        read_task_labels(pandas.concat([frame, frame], axis=1))


def test_minus_one_among_labels():
    """Plus and minus one alone are classes where no domain is given; else -1 is missing."""
    table = np.array([[1, -1], [-1, 1], [1, 1]])
    assert [c.tolist() for c in read_task_labels(table).classes] == [[-1, 1], [-1, 1]]
    given = read_task_labels(table, domain_given=True)
    assert [c.tolist() for c in given.classes] == [[1], [1]]
    with_more = read_task_labels(np.column_stack([table, [0, 1, 2]]))
    assert [c.tolist() for c in with_more.classes] == [[1], [1], [0, 1, 2]]
    later = read_task_labels(table[:1], known=read_task_labels(table))
    np.testing.assert_array_equal(later.values, [[1, 0]])


def test_kinds_of_tasks():
    X, y, Xt = toy()
    y = np.column_stack([y[:, :2], 10 * y[:, 1]])
    for tasks in (["auto", "auto", "regression"], {2: "regression"}):
        fitted = small(tasks=tasks).fit(X, y, X_target=Xt)
        assert fitted.tasks_ == ["classification", "classification", "regression"]
        assert [None if c is None else len(c) for c in fitted.classes_] == [2, 3, None]
    everything = small(tasks="regression").fit(X, y, X_target=Xt)
    assert everything.classes_ == [None, None, None]
    assert everything.predict(Xt).dtype == np.float64
    assert [type(a) for a in everything.alignment_] == [CORAL]


def test_labels_on_target_rows_are_not_used():
    X, y, Xt = toy()
    both, domain = np.r_[X, Xt], np.repeat([0, -1], [len(X), len(Xt)])
    hidden = np.full((len(Xt), 3), NAN)
    expected = small().fit(both, np.r_[y, hidden], sample_domain=domain)
    told = hidden.copy()
    told[:, 0], told[:, 2] = 7, 1e6  # a class of its own, a number far out
    fitted = small().fit(both, np.r_[y, told], sample_domain=domain)
    assert equal(weights(expected), weights(fitted))
    assert fitted.classes_[0].tolist() == [0, 1]
    used = small(target_labels="use").fit(both, np.r_[y, told], sample_domain=domain)
    assert used.classes_[0].tolist() == [0, 1, 7]


# --- one task is the single-task estimator ------------------------------------------------------


@pytest.mark.parametrize("alignment", [None, "auto", ["cdan", "mcc"], "coral"], ids=str)
def test_one_task_is_the_classifier(alignment):
    X, y, Xt = toy(150)
    params = {"max_epochs": 5, "hidden_layer_sizes": (16,), "bottleneck": 8, "random_state": 0}
    params |= {"alignment": alignment}
    one = DomainAdaptationClassifier(label_shift=None, sampling="instance", **params)
    one.fit(X, y[:, 1], X_target=Xt)
    for labels in (y[:, 1:2], y[:, 1]):
        fitted = MultiTaskClassifier(**params).fit(X, labels, X_target=Xt)
        assert equal(weights(one), weights(fitted))
        np.testing.assert_array_equal(one.predict(Xt), fitted.predict(Xt).ravel())
        assert one.score(Xt, y[:75, 1]) == fitted.score(Xt, labels[:75])


def test_one_task_is_the_regressor():
    X, y, Xt = toy(150)
    params = {"max_epochs": 5, "hidden_layer_sizes": (16,), "random_state": 0, "dropout": 0.0}
    params |= {"learning_rate": 0.003, "alignment": "coral"}
    one = DomainAdaptationRegressor(**params).fit(X, y[:, 2], X_target=Xt)
    fitted = MultiTaskClassifier(**params).fit(X, y[:, 2:], X_target=Xt)
    assert equal(weights(one), weights(fitted))
    np.testing.assert_allclose(one.predict(Xt), fitted.predict(Xt)[:, 0])


def test_one_column_and_one_dimension():
    X, y, Xt = toy()
    column = small().fit(X, y[:, 1:2], X_target=Xt)
    assert column.predict(Xt).shape == (60, 1) and len(column.predict_proba(Xt)) == 1
    flat = small().fit(X, y[:, 1], X_target=Xt)
    assert flat.predict(Xt).shape == (60,) and flat.predict_proba(Xt).shape == (60, 3)
    assert flat.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"Unknown label type: continuous.*tasks='regression'"):
        small().fit(X, y[:, 2], X_target=Xt)
    assert small(tasks="regression").fit(X, y[:, 2], X_target=Xt).predict(Xt).shape == (60,)


# --- batches ------------------------------------------------------------------------------------


def test_probabilities_of_rows_by_hand():
    """Four rows; task 0 has labels on all, task 1 on one."""
    known = torch.tensor([[1, 1], [1, 0], [1, 0], [1, 0]], dtype=torch.bool)
    sampler = TaskSampler(known)
    common = (1 / 4 + (1 / 4) / 2) / 2
    rare = (1 / 4 + (1 / 4 + 1) / 2) / 2
    np.testing.assert_allclose(sampler.probability, [rare, common, common, common])
    np.testing.assert_allclose(sampler.rate(), 4 * sampler.probability)
    drawn = sampler.draw(4000, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(shares, [rare, common, common, common], atol=0.005)
    short = sampler.draw(8, torch.Generator().manual_seed(1))
    assert 3 <= (short == 0).sum() <= 4, "consecutive draws hold their share"
    assert sorted(TaskSampler(torch.ones(5, 2) > 0).draw(5, torch.Generator()).tolist()) == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip


def test_what_is_learned_does_not_depend_on_how_rows_are_drawn():
    """Drawn that often, with these weights, each task's rows count alike."""
    X, y, Xt = toy()
    y[30:, 1] = NAN
    captured = {}

    class Keep(MultiTaskClassifier):
        def _training_set(self, *given):
            captured["data"], stopping = super()._training_set(*given)
            return captured["data"], stopping

    for sampling, weight in itertools.product(
        ("tasks", "instance"), (None, np.linspace(1, 2, 120))
    ):
        estimator = Keep(sampling=sampling, max_epochs=1, hidden_layer_sizes=(4,))
        estimator.fit(X, y, X_target=Xt, sample_weight=weight)
        data = captured["data"]
        rate = data.sampler.rate()
        drawn = torch.ones(120) if rate is None else rate.float()
        assert (rate is None) == (sampling == "instance")
        effective = drawn[:, None] * data.task_weight[data.labelled]
        own = torch.ones(120) if weight is None else torch.from_numpy(weight).float()
        expected = own[:, None] * ~torch.from_numpy(y).isnan()
        torch.testing.assert_close(effective, expected / expected.mean(0))
        aligned = drawn * data.weight[data.labelled]
        torch.testing.assert_close(aligned, own / own.mean())
    y = some_missing(y[:, :1], share=0.0)
    estimator.set_params(sampling="tasks").fit(X, y, X_target=Xt)
    assert captured["data"].sampler.rate() is None, "no label misses"


# --- what it is for -----------------------------------------------------------------------------


def related_tasks(seed, n=1200, n_inputs=20):
    """Task B asks for much the same of three hidden features as task A."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_inputs))
    hidden = np.tanh(2 * X @ rng.normal(size=(n_inputs, 3)) / np.sqrt(n_inputs))
    a = rng.normal(size=3)
    b = a + 0.4 * rng.normal(size=3)
    return X, np.column_stack([hidden @ a > 0, hidden @ b > 0]).astype(int)


@pytest.mark.parametrize("weighting", ["uniform", "gradnorm"])
def test_a_task_with_few_labels_learns_from_a_related_one(weighting):
    shared, alone = [], []
    for seed in range(3):
        X, y = related_tasks(seed)
        known = y[:520].copy()
        known[:20, 0] = known[20:, 1] = -1  # 20 labels of B, 500 of A
        params = {"alignment": None, "normalize": "source", "random_state": 0, "max_epochs": 20}
        both = MultiTaskClassifier(task_weighting=weighting, **params).fit(X[:520], known)
        one = DomainAdaptationClassifier(label_shift=None, **params).fit(X[:20], y[:20, 1])
        shared.append(both.score_by_task(X[520:], y[520:])[1])
        alone.append(one.score(X[520:], y[520:, 1]))
    assert np.mean(shared) > np.mean(alone) + 0.03
    assert np.sum(np.greater(shared, alone)) == 3


def test_alignment_helps_under_shift():
    """The target is turned: normalisation alone cannot undo it."""
    gain = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        y = np.column_stack([np.arange(600) % 3, (np.arange(600) // 3) % 2])
        X = rng.normal(size=(600, 4)) * 0.5
        X[:, :2] += 3 * np.array([[0, 0], [1, 0], [0, 1]])[y[:, 0]]
        X[:, 2] += 2 * y[:, 1]
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]]
        Xt = X[300:] @ turn
        given = {"max_epochs": 15, "random_state": 0, "hidden_layer_sizes": (64,)}
        scores = [
            MultiTaskClassifier(alignment=alignment, **given)
            .fit(X[:300], y[:300], X_target=Xt)
            .score(Xt, y[300:])
            for alignment in (None, "auto")
        ]
        gain.append(scores[1] - scores[0])
    assert np.mean(gain) > 0.01 and min(gain) > -0.01


# --- alignments ---------------------------------------------------------------------------------


def sides(n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(4, 5).to(dtype)
    out = []
    for y in (torch.tensor([[0, 2], [1, NAN], [NAN, 1], [0, 0], [1, 1], [NAN, NAN]]), None):
        f = torch.randn(n, 4, generator=generator, dtype=dtype)
        label = None if y is None else y.to(dtype)
        one = torch.ones(n, dtype=dtype)
        out.append(Domain(f, label, f, head(f), torch.zeros(n).long(), torch.arange(n), one))
    return *out, Step(head, 0.5, 1.0)


@pytest.mark.parametrize("alignment", [MCC(), CDAN(hidden=8)], ids=str)
def test_alignments_by_class_are_averaged_over_tasks(alignment):
    source, target, step = sides()
    counts = [torch.tensor([2, 2]), torch.tensor([1, 2, 1])]
    columns = [slice(0, 2), slice(2, 5)]
    wrapped = PerTask(alignment, [0, 1], columns, counts)
    assert (wrapped.weight, wrapped.adversarial) == (alignment.weight, alignment.adversarial)
    assert wrapped.called == type(alignment).__name__.lower()
    net = wrapped.build(
        n_features=4, n_classes=5, class_counts=None, n_domains=(1, 1),
        generator=torch.Generator().manual_seed(0),
    ).double()  # fmt: skip
    expected = []
    for k in range(2):
        given = [side._replace(logits=side.logits[:, columns[k]]) for side in (source, target)]
        inner = None if type(net[k]) is torch.nn.Identity else net[k]
        expected.append(alignment.loss(*given, step, inner).item())
    assert expected[0] != expected[1]
    assert wrapped.loss(source, target, step, net).item() == pytest.approx(np.mean(expected))


class Seen(Alignment):
    """Keeps what it is shown."""

    needs_classes = True
    log = []

    def loss(self, source, target, step, net):
        self.log.append(("loss", source.y, source.logits.shape[1], step.head(source.features)))
        return target.logits.mean() * 0

    def refresh(self, source, target, step, net):
        self.log.append(("refresh", source.y, source.logits.shape[1], len(target.logits)))


def test_what_an_alignment_sees_of_a_task():
    source, target, step = sides()
    counts = [torch.tensor([2, 2]), torch.tensor([1, 2, 1])]
    wrapped = PerTask(Seen(), [0, 1], [slice(0, 2), slice(2, 5)], counts)
    assert wrapped.hooks == (False, True)
    net = torch.nn.ModuleList([torch.nn.Identity()] * 2)
    Seen.log.clear()
    wrapped.loss(source, target, step, net)
    wrapped.refresh(source, target, step, net)
    assert Seen.log[0][1].tolist() == [0, 1, -1, 0, 1, -1]
    torch.testing.assert_close(Seen.log[1][3], source.logits[:, 2:5])
    assert [(what, y.tolist(), width) for what, y, width, _ in Seen.log[2:]] == [
        ("refresh", [0, 1, 0, 1], 2), ("refresh", [2, 1, 0, 1], 3),
    ]  # fmt: skip


def test_alignment_of_a_named_task():
    X, y, Xt = toy()
    fits = {
        str(chosen): small(alignment=["mcc", "mmd"], alignment_tasks=chosen).fit(X, y, X_target=Xt)
        for chosen in (None, [0, 1], [1], [0])
    }
    assert equal(weights(fits["None"]), weights(fits["[0, 1]"]))
    assert not equal(weights(fits["[0]"]), weights(fits["[1]"]))
    assert [type(a).__name__ for a in fits["[0]"].alignment_] == ["MCC", "MMD"]
    assert {"mcc_loss", "mmd_loss", "task[2]_loss"} <= fits["[0]"].history_[-1].keys()


@pytest.mark.parametrize(
    "alignment", ["coral", "mmd", "jmmd", "dann", "cdan", "mcc", "spl", "entropy"]
)
def test_every_alignment_with_missing_labels(alignment):
    X, y, Xt = toy()
    y = some_missing(y)
    none = small(alignment=alignment, alignment_weight=0.0).fit(X, y, X_target=Xt)
    some = small(alignment=alignment, alignment_weight=5.0).fit(X, y, X_target=Xt)
    assert not equal(weights(none), weights(some))
    assert all(torch.isfinite(w).all() for w in weights(some).values())


# --- answers and scores -------------------------------------------------------------------------


def test_answers():
    X, y, Xt = toy()
    table = np.array([[f"k{int(a)}", int(b), c] for a, b, c in y], dtype=object)
    fitted = small().fit(X, table, X_target=Xt)
    predicted = fitted.predict(Xt)
    assert predicted.shape == (60, 3) and predicted.dtype == object
    proba = fitted.predict_proba(Xt)
    assert [None if p is None else p.shape for p in proba] == [(60, 2), (60, 3), None]
    for k in (0, 1):
        np.testing.assert_allclose(proba[k].sum(1), 1)
        np.testing.assert_array_equal(fitted.classes_[k][proba[k].argmax(1)], predicted[:, k])
    assert predicted[:, 2].astype(float).std() > 0
    assert fitted.transform(Xt).shape == (60, 16)
    assert small().fit(X, y[:, :2].astype(int), X_target=Xt).predict(Xt).dtype == np.int64
    assert small().fit(X, table[:, :1].astype(str), X_target=Xt).predict(Xt).dtype.kind == "U"
    # The same form as scikit-learn's.
    from sklearn.linear_model import LogisticRegression

    theirs = MultiOutputClassifier(LogisticRegression()).fit(X, y[:, :2].astype(int))
    ours = small().fit(X, y[:, :2].astype(int), X_target=Xt)
    assert theirs.predict(Xt).shape == ours.predict(Xt).shape
    assert [p.shape for p in theirs.predict_proba(Xt)] == [p.shape for p in ours.predict_proba(Xt)]
    assert [c.tolist() for c in theirs.classes_] == [c.tolist() for c in ours.classes_]


def test_scores_by_hand():
    X, y, Xt = toy()
    fitted = small().fit(X, y, X_target=Xt)
    rng = np.random.default_rng(0)
    truth, weight = some_missing(y[:60], share=0.6), rng.uniform(0.5, 2, size=60)
    predicted = fitted.predict(Xt).astype(float)
    scores = fitted.score_by_task(Xt, truth, weight)
    assert list(scores) == [0, 1, 2]
    for k, metric in enumerate([accuracy_score, accuracy_score, r2_score]):
        rows = ~np.isnan(truth[:, k])
        expected = metric(truth[rows, k], predicted[rows, k], sample_weight=weight[rows])
        assert scores[k] == pytest.approx(expected)
    assert fitted.score(Xt, truth, weight) == pytest.approx(np.mean(list(scores.values())))
    truth[:, 1] = NAN
    scores = fitted.score_by_task(Xt, truth)
    assert np.isnan(scores[1])
    assert fitted.score(Xt, truth) == pytest.approx((scores[0] + scores[2]) / 2)


def test_rows_without_a_label_tell_the_sides_apart():
    X, y, Xt = toy()
    Xp, yp, domain = pack(X, y, Xt)
    fitted = small().fit(Xp, yp)
    source = domain >= 0
    as_source = fitted.score(X, y, sample_domain="source")
    assert fitted.score(Xp, yp) == pytest.approx(as_source)
    assert fitted.score(Xp, yp, sample_domain=domain) == pytest.approx(as_source)
    assert fitted.score(X, y) != pytest.approx(as_source)
    np.testing.assert_array_equal(
        fitted.predict(Xp, sample_domain=domain)[source], fitted.predict(X, sample_domain="source")
    )


def test_labels_unseen_in_fit_count_as_wrong():
    X, y, Xt = toy()
    fitted = small().fit(X, y, X_target=Xt)
    truth = y[:60].copy()
    truth[:30, 0] = 9
    with pytest.warns(UserWarning, match=r"unseen in fit in task 0, \[9"):
        scores = fitted.score_by_task(Xt, truth)
    right = fitted.predict(Xt)[30:, 0].astype(float) == truth[30:, 0]
    assert scores[0] == pytest.approx(right.sum() / 60)


# --- criteria and further options ---------------------------------------------------------------


def test_criteria_by_task():
    pandas = pytest.importorskip("pandas")
    X, y, Xt = toy()
    frame = pandas.DataFrame(y, columns=["two", "three", "number"])

    def criteria(spec):
        fitted = small(criterion=spec).fit(X, frame, X_target=Xt)
        return [type(t.criterion).__name__ for t in fitted.net_.criterion_.criterion.tasks]

    usual = ["CrossEntropy", "CrossEntropy", "MeanSquaredError"]
    assert criteria("auto") == usual
    assert criteria("focal") == ["Focal", "Focal", usual[2]]
    assert criteria(Huber(delta=2.0)) == [*usual[:2], "Huber"]
    assert criteria({"three": Focal(), "number": "huber"}) == [usual[0], "Focal", "Huber"]
    assert criteria(["logit_adjusted", "auto", "density_weighted"]) == [
        "LogitAdjusted", usual[1], "DensityWeighted",
    ]  # fmt: skip
    estimator = small().set_params(criterion__label_smoothing=0.0)
    assert estimator.criterion.label_smoothing == 0.0
    estimator = small(task_weighting="gradnorm").set_params(task_weighting__alpha=0.5)
    assert estimator.task_weighting.alpha == 0.5
    assert estimator.get_params()["task_weighting__alpha"] == 0.5


def test_early_stopping():
    X, y, Xt = toy(200)
    y = some_missing(y)
    fitted = small(early_stopping=True, max_epochs=60, n_iter_no_change=3, learning_rate=0.05)
    fitted.fit(X, y, X_target=Xt)
    assert len(fitted.history_) < 60
    assert all(np.isfinite(record["valid_loss"]) for record in fitted.history_)
    best = min(record["valid_loss"] for record in fitted.history_)
    assert best == fitted.history_[-4]["valid_loss"]


def test_held_out_rows_hold_each_task_in_proportion():
    known = torch.zeros((100, 3), dtype=torch.bool)
    known[:60, 0] = known[60:, 1] = True
    known[99, 2] = True  # the only label of its task stays in training
    for seed in range(20):
        valid = spread_validation(torch.arange(100), known, 0.2, seed)
        assert len(valid) in (19, 20) and len(torch.unique(valid)) == len(valid)
        assert known[valid, 0].sum() == 12
        assert not known[valid, 2].any()
    other = spread_validation(torch.arange(100), known, 0.2, 0)
    assert not torch.equal(other, valid)
    torch.testing.assert_close(spread_validation(torch.arange(100), known, 0.2, 19), valid)


@pytest.mark.filterwarnings("ignore:.*no target rows")
def test_partial_fit_and_warm_start():
    X, y, Xt = toy()
    both = np.r_[X, Xt], np.r_[y, np.full((60, 3), NAN)]
    estimator = small()
    for _ in range(3):
        estimator.partial_fit(*both)
    assert len(estimator.history_) == 3
    assert estimator.history_[-1]["task_loss"] < estimator.history_[0]["task_loss"]
    warm = small(warm_start=True).fit(*both)
    once = weights(warm)
    assert equal(once, weights(small().fit(*both)))
    assert not equal(once, weights(warm.fit(*both)))
    first = y[:, 1] < 2
    part = np.r_[X[first], Xt], np.r_[y[first], np.full((60, 3), NAN)]
    later = small().partial_fit(*part, classes=[[0, 1], [0, 1, 2], None])
    assert [None if c is None else c.tolist() for c in later.classes_] == [[0, 1], [0, 1, 2], None]
    later.partial_fit(*both)
    with pytest.raises(ValueError, match=r"task 1 holds the labels \[2.*classes="):
        small().partial_fit(*part).partial_fit(*both)
    with pytest.raises(ValueError, match="classes has 2 entries for 3 tasks"):
        small().partial_fit(*part, classes=[[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="does not fit the tasks"):
        small().partial_fit(*part, classes=[[0, 1], [0, 1, 2], [1]])
    flat = small().partial_fit(X[first], y[first, 1], classes=[0, 1, 2], sample_domain=0)
    assert flat.classes_.tolist() == [0, 1, 2]


def test_partial_fit_without_labels_of_a_task():
    X, y, Xt = toy()
    both = np.r_[X, Xt], np.r_[y, np.full((60, 3), NAN)]
    estimator = small(weight_decay=0.0, alignment="coral", batch_size=200).partial_fit(*both)
    before = weights(estimator)
    more = both[1].copy()
    more[:, 1:] = NAN
    estimator.net_.optimizer_.state.clear()  # no momentum of earlier labels
    estimator.partial_fit(both[0], more)
    after = weights(estimator)
    moved = (after["head.weight"] != before["head.weight"]).any(1)
    assert moved.tolist() == [True, True, False, False, False, False]
    assert not torch.equal(after["backbone.0.weight"], before["backbone.0.weight"])
    assert np.isfinite(estimator.score(X, y, sample_domain="source"))


# --- copies and files ---------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", [*WEIGHTINGS, np.array([1.0, 2.0, 3.0])], ids=str)
def test_copies_and_files(weighting, tmp_path):
    X, y, Xt = toy()
    table = np.array([[f"k{int(a)}", int(b), c] for a, b, c in some_missing(np.nan_to_num(y))[:0]])
    table = y.astype(object)
    table[:, 0] = np.where(y[:, 0] > 0, "yes", "no")
    table[:10, 0], table[10:20, 2] = None, NAN
    given = {"alignment": ["cdan", "mmd"], "criterion": ["class_balanced", "auto", "huber"]}
    fitted = small(task_weighting=weighting, **given).fit(X, table, X_target=Xt)
    expected = fitted.predict(Xt)
    fitted.save(tmp_path / "model.safetensors")
    copies = copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))
    for twin in (*copies, load(tmp_path / "model.safetensors")):
        np.testing.assert_array_equal(twin.predict(Xt), expected)
        assert twin.tasks_ == fitted.tasks_ and twin.task_names_ == [0, 1, 2]
        np.testing.assert_array_equal(twin.classes_[0], ["no", "yes"])
        np.testing.assert_allclose(twin.task_weights_, fitted.task_weights_)
        assert twin.score(Xt, table[:60]) == fitted.score(Xt, table[:60])
        twin.partial_fit(np.r_[X, Xt], np.r_[table, np.full((60, 3), None)])
        assert not np.array_equal(twin.predict_proba(Xt)[0], fitted.predict_proba(Xt)[0])
    fresh = clone(fitted)
    assert not [name for name in vars(fresh) if name.endswith("_")]


def test_a_saved_column_of_one_dimension(tmp_path):
    X, y, Xt = toy()
    fitted = small().fit(X, y[:, 0].astype(int), X_target=Xt)
    fitted.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(Xt), fitted.predict(Xt))
    np.testing.assert_array_equal(again.classes_, [0, 1])


class Interrupt(Exception):
    pass


def test_checkpoints_know_the_labels(tmp_path):
    from skorch.callbacks import Callback

    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise Interrupt

    X, y, Xt = toy()
    y = some_missing(y)
    given = {"checkpoint": tmp_path, "max_epochs": 4, "task_weighting": "gradnorm"}
    with pytest.raises(Interrupt):
        small(**given, callbacks=[Stop()]).fit(X, y, X_target=Xt)
    resumed = small(**given).fit(X, y, X_target=Xt)
    whole = small(**(given | {"checkpoint": None})).fit(X, y, X_target=Xt)
    assert equal(weights(whole), weights(resumed))
    np.testing.assert_array_equal(whole.task_weights_, resumed.task_weights_)
    n_files = len(list(tmp_path.iterdir()))
    other = y.copy()
    other[0] = [1, 2, 3.5]
    small(**given).fit(X, other, X_target=Xt)
    assert len(list(tmp_path.iterdir())) == n_files + 1, "other labels took up the same file"


# --- scikit-learn's tools -----------------------------------------------------------------------


def kinds_of_tables():
    _, y, _ = toy()
    numbers = some_missing(y)
    ints = np.where(np.isnan(numbers[:, :2]), -1, numbers[:, :2]).astype(int)
    ints[(ints < 0).all(1)] = 0
    mixed = numbers.astype(object)
    mixed[:, 0] = np.where(np.isnan(numbers[:, 0]), None, np.where(y[:, 0] > 0, "yes", "no"))
    return {"ints": ints, "text": ints.astype(str), "numbers": numbers, "mixed": mixed}


@pytest.mark.parametrize("kind", ["ints", "text", "numbers", "mixed", "frame"])
def test_searches_and_folds(kind):
    X, _, Xt = toy()
    tables = kinds_of_tables()
    if kind == "frame":
        pandas = pytest.importorskip("pandas")
        y = pandas.DataFrame(tables["mixed"], columns=["a", "b", "c"]).infer_objects()
    else:
        y = tables[kind]
    X, y, _ = pack(X, y, Xt)
    pipe = make_pipeline(StandardScaler(), small(max_epochs=1, alignment="coral"))
    grid = {
        "multitaskclassifier__task_weighting": ["uniform", "gradnorm"],
        "multitaskclassifier__alignment": ["coral", CORAL(weight=2.0)],
    }
    # scikit-learn's own reading of y stumbles over NaN and over mixed columns when cv is a number.
    folds = [DomainStratifiedKFold(2), KFold(2)] + ([2] if kind in ("ints", "text") else [])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cv in folds:
            search = GridSearchCV(pipe, grid, cv=cv, error_score="raise").fit(X, y)
            assert np.isfinite(search.best_score_)
            assert len(search.predict(X)) == len(X)
        assert np.isfinite(cross_val_score(pipe, X, y, cv=folds[0])).all()
        assert cross_val_predict(pipe, X, y, cv=KFold(2)).shape == (len(X), y.shape[1])


def test_a_scorer_of_one_task():
    X, y, Xt = toy()
    table = kinds_of_tables()["mixed"]
    X_packed, y_packed, domain = pack(X, table, Xt)
    fitted = make_pipeline(StandardScaler(), small()).fit(X_packed, y_packed)
    predicted = fitted.predict(X, sample_domain="source")
    proba = fitted.predict_proba(X, sample_domain="source")
    on_target = fitted.predict(X)
    rows = [np.array([v is not None and v == v for v in column]) for column in table.T]
    truth = [table[r, k] for k, r in enumerate(rows)]
    kind = truth[0].astype(str), predicted[rows[0], 0].astype(str)
    rank = truth[1].astype(int)
    expected = {
        (0, "balanced_accuracy"): balanced_accuracy_score(*kind),
        (0, "roc_auc"): roc_auc_score(kind[0], proba[0][rows[0], 1]),
        (1, "neg_log_loss"): -log_loss(rank, proba[1][rows[1]]),
        (2, "r2"): r2_score(truth[2].astype(float), predicted[rows[2], 2].astype(float)),
    }
    for (task, name), value in expected.items():
        scorer = LabelledScorer(name, task=task)
        assert scorer(fitted, X_packed, y_packed) == pytest.approx(value)
        assert scorer(fitted, X_packed, y_packed, sample_domain=domain) == pytest.approx(value)
        assert scorer(fitted, X, table, sample_domain="source") == pytest.approx(value)
    # Each row has some label, so these are target rows, also where this task has none.
    as_target = accuracy_score(kind[0], on_target[rows[0], 0].astype(str))
    assert LabelledScorer(task=0)(fitted, X, table) == pytest.approx(as_target)
    search = GridSearchCV(
        small(max_epochs=1),
        {"task_weighting": ["uniform", "uncertainty"]},
        cv=DomainStratifiedKFold(2),
        scoring={"one": LabelledScorer("f1_macro", task=1), "two": LabelledScorer("r2", task=2)},
        refit="one",
        error_score="raise",
    ).fit(X_packed, y_packed)
    assert np.isfinite(search.best_score_)
    with pytest.raises(ValueError, match=r"y has 3 columns.*task=name"):
        LabelledScorer("accuracy")(fitted, X_packed, y_packed)
    with pytest.raises(ValueError, match="task='x' is not known"):
        LabelledScorer("accuracy", task="x")(fitted, X_packed, y_packed)
    single = small().fit(X, y[:, 0].astype(int), X_target=Xt)
    with pytest.raises(ValueError, match="not fitted with several columns"):
        LabelledScorer("accuracy", task=0)(single, X, y[:, 0].astype(int))


def test_folds_hold_domains_and_labels_in_proportion():
    X, y, Xt = toy(240)
    X, y, domain = pack(X, np.column_stack([y[:, 0], y[:, 1]]).astype(int), Xt)
    y[np.flatnonzero(domain >= 0)[::3], 1] = -1
    for given in ({}, {"sample_domain": domain}):
        for _, test in DomainStratifiedKFold(3).split(X, y, **given):
            assert (domain[test] < 0).sum() == 40 and (domain[test] >= 0).sum() == 80
            for column in (0, 1):
                for label in np.unique(y[domain >= 0, column]):
                    share = np.sum(y[domain >= 0, column] == label) / 3
                    assert abs(np.sum(y[test][domain[test] >= 0, column] == label) - share) <= 4


def test_pack_and_unpack():
    X, y, Xt = toy(30)
    tables = {k: v[:30] for k, v in kinds_of_tables().items()}
    for y in tables.values():
        Xp, yp, domain = pack(X, y, Xt)
        assert yp.shape == (45, y.shape[1])
        labels = read_task_labels(yp)
        np.testing.assert_array_equal(np.isnan(labels.any_known()), domain < 0)
        for given in ((Xp, yp), (Xp, yp, domain)):
            sides = unpack(*given)
            np.testing.assert_array_equal(sides.X_source, X)
            assert sides.y_target is None
            expected, found = read_task_labels(y), read_task_labels(sides.y_source)
            np.testing.assert_array_equal(expected.values, found.values)
    Xp, yp, domain = pack([X, X[:9]], [y, y[:9]], [Xt, Xt[:5]], y_target=[y[:15], y[:5]])
    assert sorted(set(domain.tolist())) == [-2, -1, 0, 1]
    assert not np.isnan(read_task_labels(yp).any_known()).any()
    _, yp, domain = pack(X, np.arange(60).reshape(30, 2), Xt, regression=[False, True])
    assert (yp[domain < 0, 0] == -1).all() and np.isnan(yp[domain < 0, 1]).all()
    with pytest.raises(ValueError, match="ys has 1 rows without a label of any task"):
        pack(X[:3], [[1, 2], [-1, -1], [0, -1]], Xt)
    with pytest.raises(ValueError, match="different columns"):
        pack(X[:2], [[1, 2], [0, 1]], Xt[:1], y_target=[[1]])
    with pytest.raises(ValueError, match="regression has 3 entries for 2 columns"):
        pack(X[:2], [[1, 2], [0, 1]], Xt[:1], regression=[True] * 3)


def test_frames_in_and_out():
    pandas = pytest.importorskip("pandas")
    X, y, Xt = toy()
    X, Xt = (pandas.DataFrame(a, columns=list("wxyz")) for a in (X, Xt))
    y = pandas.DataFrame(y, columns=["two", "three", "number"])
    before = y.copy()
    fitted = small().set_output(transform="pandas").fit(X, y, X_target=Xt)
    pandas.testing.assert_frame_equal(y, before)
    assert fitted.task_names_ == ["two", "three", "number"]
    assert list(fitted.score_by_task(X, y, sample_domain="source")) == list(y.columns)
    assert fitted.transform(Xt).columns[0] == "multitaskclassifier0"
    assert fitted.score(X, y) == fitted.score(X, y.to_numpy())
    with pytest.raises(ValueError, match="in this order"):
        fitted.score(X, y[["three", "two", "number"]])
    packed = pack(X, y, Xt)
    assert packed[1].columns.tolist() == ["two", "three", "number"]
    assert small(alignment_tasks=["two"]).fit(*packed[:2]).task_names_[0] == "two"


def test_inputs_are_not_changed():
    X, y, Xt = toy()
    y = some_missing(y)
    y[:20] = NAN
    objects = y.astype(object)
    given = [X, y, objects, Xt]
    originals = [a.copy() for a in given]
    for array in given:
        array.flags.writeable = False
    for table in (y, objects):
        fitted = small(early_stopping=True, max_epochs=1).fit(X, table)
        fitted.partial_fit(X, table)
        fitted.score(X, table)
    for array, original in zip(given, originals, strict=True):
        assert repr(array.tolist()) == repr(original.tolist())


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params, message",
    [
        ({"tasks": ["auto", "auto"]}, "tasks has 2 entries for the 3 columns"),
        ({"tasks": "classes"}, "tasks holds 'classes'.*allowed are 'auto', 'classification'"),
        ({"tasks": ["regresion"] * 3}, "Did you mean 'regression'"),
        (
            {"tasks": {"x": "regression"}},
            "tasks has the key 'x'; allowed are 0, 1, 2",
        ),
        ({"criterion": "focall"}, "Did you mean 'focal'"),
        ({"criterion": ["mse", "auto", "auto"]}, "criterion='mse' does not fit the task 0.*class"),
        ({"criterion": {2: "focal"}}, "criterion='focal' does not fit the task 2.*regression use"),
        ({"criterion": ["auto"]}, "criterion has 1 entries for 3 tasks"),
        ({"criterion": {"x": "focal"}}, "criterion has the key 'x'"),
        ({"criterion": "ldam"}, "head of its own form"),
        ({"criterion": {0: "ldam"}}, "head of its own form"),
        ({"task_weighting": "unifrom"}, "Did you mean 'uniform'"),
        ({"task_weighting": [1, 2]}, "one number >= 0 for each of the 3 tasks"),
        ({"task_weighting": GradNorm(alpha=-1)}, "alpha"),
        ({"task_weighting": "gradnorm", "hidden_layer_sizes": ()}, "last shared layer"),
        ({"alignment_tasks": [2]}, "alignment_tasks holds 2, which is no classification task"),
        ({"alignment_tasks": "two"}, "alignment_tasks"),
        ({"alignment_tasks": []}, "alignment_tasks names no task"),
        ({"sampling": "balanced"}, "sampling"),
        ({"alignment": "korl"}, "alignment='korl' is not known"),
        ({"tasks": "regression", "alignment": "mcc"}, "every task is regression; use"),
        ({"tasks": "regression", "criterion": "focal"}, "fits none of the tasks"),
        ({"early_stopping": "target"}, "early_stopping"),
        ({"hidden_layer_sizes": 3}, "hidden_layer_sizes"),
    ],
    ids=str,
)
def test_errors_before_training(params, message):
    X, y, Xt = toy()
    estimator = small(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        estimator.fit(X, y, X_target=Xt)
    assert not [name for name in vars(estimator) if name.endswith("_") or name == "_seen_classes"]


def test_component_of_the_wrong_kind():
    X, y, Xt = toy()
    with pytest.raises((TypeError, ValueError), match="task_weighting"):
        small(task_weighting=MCC()).fit(X, y, X_target=Xt)
    with pytest.raises(TypeError, match="criterion holds"):
        small(criterion=[CORAL(), "auto", "auto"]).fit(X, y, X_target=Xt)
    with pytest.raises(TypeError, match="must define total"):
        TaskWeighting().total(torch.ones(2), None)


def test_errors_of_labels():
    X, y, Xt = toy()
    fitted = small().fit(X, y, X_target=Xt)
    before = weights(fitted)
    one = y.copy()
    one[:, 1] = 4
    none = y.copy()
    none[:, 0] = NAN
    hole = y.copy()
    hole[3] = NAN
    far = y.copy()
    far[0, 2] = np.inf
    text = y.astype(object)
    text[:, 2] = "a"
    cases = [
        (one, {}, "task 1 holds one class only"),
        (none, {}, "task 0.*no label to learn from"),
        (hole, {}, "no label on 1 rows that are source rows"),
        (far, {}, "infinity in task 2"),
        (y[:-1], {}, "X has 120 rows, y has 119"),
        (np.zeros((120, 2, 2)), {}, r"y has shape \(120, 2, 2\)"),
        (None, {}, "requires y"),
        (np.full((120, 3), NAN), {}, "no label|no source row"),
        (y, {"sample_weight": np.ones(3)}, "sample_weight has 3 entries"),
    ]
    for labels, given, message in cases:
        with pytest.raises(ValueError, match=message):
            fitted.fit(X, labels, X_target=Xt, **given)
        assert equal(before, weights(fitted)), "a refused fit changed an earlier one"
        assert [None if c is None else len(c) for c in fitted.classes_] == [2, 3, None]
    with pytest.raises(ValueError, match=r"must hold numbers.*task 2"):
        small(tasks={2: "regression"}).fit(X, text, X_target=Xt)
    with pytest.raises(ValueError, match="y has 2 columns, fit saw 3 tasks"):
        fitted.score(X, y[:, :2])
    with pytest.raises(TypeError, match="sparse"):
        from scipy.sparse import csr_array

        fitted.fit(X, csr_array(y), X_target=Xt)
    with pytest.raises(TypeError, match="all numbers or all strings"):
        small().fit(X, np.where(y[:, :1] > 0, "a", y.astype(object)), X_target=Xt)
    only_target = np.repeat([0, -1], 60)
    labels = np.where(np.arange(120)[:, None] < 60, [NAN, 1, 1], y)
    labels[:60, 1:] = y[:60, 1:]
    with pytest.raises(ValueError, match=r"task 0.*source rows"):
        small().fit(X, labels, sample_domain=only_target)
    with pytest.warns(UserWarning, match="no target rows"):
        small(max_epochs=1).fit(X, y)
