"""Losses against forgetting: values by hand, gradients against slow references."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from adaptlearn import EWC, L2SP, Delta, LwF, Regularization
from adaptlearn.deep._norm import DomainBatchNorm, DomainContext
from adaptlearn.regularization import RowBatch, StepOutputs
from adaptlearn.regularization import ewc as ewc_module
from adaptlearn.regularization.delta import attention

SEGMENTS = [(0, 0, 6)]


class Tiny(nn.Module):
    """Backbone and head, called like the package's network."""

    def __init__(self, n_features=3, width=4, n_outputs=3, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Linear(n_features, width) if width else nn.Identity()
        self.head = nn.Linear(width or n_features, n_outputs)

    def forward(self, x, segments):
        features = torch.tanh(self.backbone(x)) if isinstance(self.backbone, nn.Linear) else x
        return features, self.head(features)


def rows(n=6, d=3, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(n, d)), dtype=dtype)
    return RowBatch(x, torch.arange(n) % 3, [(0, 0, n)])


def moved(network, by=0.1, seed=1):
    """A copy with other weights."""
    other, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            p += by * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return other


def outputs(network, batch):
    return StepOutputs(*network(*batch[::2]), lambda other: other(*batch[::2]))


def value(component, network, batch):
    return component.loss(network, outputs(network, batch))


def check_gradient(component, network, batch):
    """Against central differences in float64."""
    loss = value(component, network, batch)
    named = dict(network.named_parameters())
    found = torch.autograd.grad(loss, named.values(), allow_unused=True)
    for p, g in zip(named.values(), found, strict=True):
        flat = p.data.view(-1)
        for i in range(len(flat)):
            at, sides = flat[i].item(), []
            for step in (1e-6, -1e-6):
                flat[i] = at + step
                sides.append(value(component, network, batch).item())
            flat[i] = at
            slow = (sides[0] - sides[1]) / 2e-6
            assert (0 if g is None else g.view(-1)[i].item()) == pytest.approx(slow, abs=1e-6)


@pytest.fixture
def network():
    return Tiny().double()


def task_loss(logits, y):
    if logits.shape[1] == 1:
        return (logits[:, 0] - y).square()
    return nn.functional.cross_entropy(logits, y, reduction="none")


# --- L2-SP ---------------------------------------------------------------------------------


def test_l2_sp_by_hand(network):
    component, batch = L2SP(weight=3.0, head_weight=0.5), rows()
    component.start(network, shared={"backbone.weight", "backbone.bias"})
    assert value(component, network, batch).item() == pytest.approx(
        0.25 * sum(p.square().sum().item() for p in network.head.parameters())
    )
    with torch.no_grad():
        network.backbone.weight[1, 2] += 2.0
        network.backbone.bias[0] -= 1.0
        for p in network.head.parameters():
            p.fill_(2.0)  # 15 numbers
    assert value(component, network, batch).item() == pytest.approx(1.5 * (4 + 1) + 0.25 * 60)


def test_l2_sp_of_all_weights_leaves_none_for_the_other_term(network):
    component = L2SP(weight=2.0, head_weight=7.0)
    component.start(network)
    assert value(component, network, rows()).item() == 0
    check_gradient(component, moved(network), rows())
    component.finish(network)
    assert vars(component) == {"weight": 2.0, "head_weight": 7.0}


def test_l2_sp_is_not_moved_by_training(network):
    component = L2SP()
    component.start(network)
    before = {k: v.clone() for k, v in component.reference_.items()}
    with torch.no_grad():
        network.head.bias += 1
    assert all(torch.equal(v, before[k]) for k, v in component.reference_.items())
    assert not any(v.requires_grad for v in component.reference_.values())


# --- EWC -----------------------------------------------------------------------------------


def linear_softmax(seed=0):
    network, batch = Tiny(width=None, seed=seed).double(), rows(seed=seed)
    p = network(batch.x, batch.segments)[1].softmax(1).detach().numpy()
    return network, batch, batch.x.numpy(), p


def test_fisher_of_a_linear_softmax_by_hand():
    network, batch, x, p = linear_softmax()
    component = EWC()
    component.finish(network, [batch], task_loss)
    # E (d log p / dW_kj)^2 = mean p_k (1 - p_k) x_j^2
    spread = p * (1 - p)
    np.testing.assert_allclose(component.precision_["head.weight"], spread.T @ x**2 / 6, rtol=1e-12)
    np.testing.assert_allclose(component.precision_["head.bias"], spread.mean(0), rtol=1e-12)
    torch.testing.assert_close(component.center_["head.bias"], network.head.bias.detach())


def test_empirical_fisher_of_a_linear_softmax_by_hand():
    network, batch, x, p = linear_softmax()
    component = EWC(fisher="empirical")
    component.finish(network, [batch], task_loss)
    residual = (p - np.eye(3)[batch.y]) ** 2
    np.testing.assert_allclose(
        component.precision_["head.weight"], residual.T @ x**2 / 6, rtol=1e-12
    )


def test_fisher_of_a_deep_network_by_a_loop(network):
    batch, expected = rows(), {k: 0 for k, _ in network.named_parameters()}
    for i in range(6):
        log_p = network(batch.x[i : i + 1], [(0, 0, 1)])[1].log_softmax(1)[0]
        for k in range(3):
            found = torch.autograd.grad(log_p[k], list(network.parameters()), retain_graph=True)
            for name, g in zip(expected, found, strict=True):
                expected[name] = expected[name] + log_p[k].exp().detach() * g**2 / 6
    component = EWC()
    component.finish(network, [batch], task_loss)
    for name, p in expected.items():
        torch.testing.assert_close(component.precision_[name], p)


def test_fisher_of_a_regression():
    network, batch = Tiny(width=None, n_outputs=1).double(), rows()
    component = EWC()
    component.finish(network, [batch._replace(y=batch.y.double())], task_loss)
    expected = batch.x.square().mean(0, keepdim=True)  # of a unit Gaussian around the output
    torch.testing.assert_close(component.precision_["head.weight"], expected)


@pytest.mark.parametrize("how", ["chunks", "no vmap", "batches"])
def test_fisher_does_not_depend_on_how_it_is_computed(network, monkeypatch, how):
    whole, component = EWC(), EWC()
    whole.finish(network, [rows(20)], task_loss)
    batches = [rows(20)]
    if how == "chunks":
        monkeypatch.setattr(ewc_module, "_MOST_ROWS", 7)
    elif how == "batches":
        x, y, _ = batches[0]
        batches = [RowBatch(x[a:b], y[a:b], [(0, 0, b - a)]) for a, b in ((0, 3), (3, 20))]
    else:

        def refuse(*args, **kwargs):
            raise RuntimeError("vmap: cannot batch")

        monkeypatch.setattr(ewc_module, "vmap", lambda *args, **kwargs: refuse)
    component.finish(network, batches, task_loss)
    for name, p in whole.precision_.items():
        torch.testing.assert_close(component.precision_[name], p)


def test_fisher_of_a_network_of_named_inputs_that_looks_at_its_data(network, monkeypatch):
    class Named(Tiny):
        def forward(self, x, segments):
            if x["mask"].sum().item() == 0:  # vmap cannot do this
                raise ValueError("nothing to read")
            return super().forward(x["values"] * x["mask"], segments)

    named, tried = Named().double(), []

    def counting(*args, **kwargs):
        tried.append(1)
        return torch.func.vmap(*args, **kwargs)

    monkeypatch.setattr(ewc_module, "vmap", counting)
    monkeypatch.setattr(ewc_module, "_MOST_ROWS", 4)
    x, y, segments = rows()
    inputs = {"values": x, "mask": torch.ones_like(x)}
    component, plain = EWC(), EWC()
    component.finish(named, [RowBatch(inputs, y, segments)], task_loss)
    assert len(tried) == 1
    plain.finish(network, [rows()], task_loss)
    for name, p in plain.precision_.items():
        torch.testing.assert_close(component.precision_[name], p)


def test_fisher_reads_at_most_max_samples(network):
    few, component = EWC(), EWC(max_samples=4)
    few.finish(network, [rows(4)], task_loss)
    x, y, _ = rows(20)
    x[:4], y[:4] = rows(4)[:2]
    component.finish(network, [RowBatch(x, y, [(0, 0, 20)])], task_loss)
    for name, p in few.precision_.items():
        torch.testing.assert_close(component.precision_[name], p)


def test_fisher_of_a_network_with_domain_norm_and_dropout(network):
    context = DomainContext()
    norm = DomainBatchNorm(4, 2, 0, context).double()
    norm.running_mean[1] += 3.0

    class WithNorm(Tiny):
        def forward(self, x, segments):
            context.segments = segments
            features = nn.functional.dropout(norm(self.backbone(x)), 0.5, self.training)
            return features, self.head(features)

    network = WithNorm().double()
    network.norm = norm
    network.train()
    both = []
    for domain in (0, 1):
        component = EWC()
        component.finish(network, [rows()._replace(segments=[(domain, 0, 6)])], task_loss)
        both.append(component.precision_["head.weight"])
        assert network.training and norm.training
    assert not torch.allclose(*both)  # each domain has its own statistics
    assert not norm.running_var[0].sub(1).any()  # and they were only read


def test_springs_of_several_calls_add_up(network):
    component, slow = EWC(weight=5.0), 0.0
    target = moved(network, 0.5, seed=9)
    for seed in range(3):
        at = moved(network, 0.3, seed=seed)
        alone = EWC(weight=5.0)
        for each in (component, alone):
            each.finish(at, [rows(seed=seed)], task_loss)
        alone.start(target)
        slow += value(alone, target, rows()).item()
    component.start(target)
    assert value(component, target, rows()).item() == pytest.approx(slow, rel=1e-10)
    check_gradient(component, target, rows())
    component.finish(target, [rows()], task_loss)
    assert "springs_" not in vars(component)


def test_one_spring_by_hand():
    network, batch, _, p = linear_softmax()
    component = EWC(weight=4.0)
    component.finish(network, [batch], task_loss)
    component.start(network)
    assert value(component, network, batch).item() == 0
    with torch.no_grad():
        network.head.bias[1] += 3.0
    expected = 2.0 * (p[:, 1] * (1 - p[:, 1])).mean() * 9
    assert value(component, network, batch).item() == pytest.approx(expected)


def test_without_an_earlier_call_there_is_no_spring(network):
    component = EWC()
    component.start(network)
    loss = value(component, network, rows())
    assert loss.item() == 0 and loss.requires_grad


# --- LwF -----------------------------------------------------------------------------------


def test_lwf_by_hand():
    component = LwF(temperature=2.0, weight=3.0)
    old, new = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 2.0], [4.0, 0.0]])
    component.old_ = None
    loss = component.loss(None, StepOutputs(None, new, lambda _: (None, old)))
    p = np.exp(1) / (np.exp(1) + 1)  # of the first row, by the old network at T = 2
    first = -(p * -np.log1p(np.exp(1)) + (1 - p) * -np.log1p(np.exp(-1)))
    second = -0.5 * (-np.log1p(np.exp(-2)) - np.log1p(np.exp(2)))
    assert loss.item() == pytest.approx(3 * (first + second) / 2)


def test_lwf_in_regression_is_the_squared_distance():
    old, new = torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0], [1.0]])
    component = LwF(weight=2.0)
    component.old_ = None
    assert component.loss(None, StepOutputs(None, new, lambda _: (None, old))).item() == 5.0


def test_lwf_remembers_the_network_it_began_from(network):
    component = LwF()
    component.start(network)
    at_start = value(component, network, rows()).item()
    other = moved(network)
    assert value(component, other, rows()).item() > at_start  # least where outputs agree
    assert not any(p.requires_grad for p in component.old_.parameters())
    check_gradient(component, other, rows())
    gradient = torch.autograd.grad(value(component, network, rows()), network.head.weight)[0]
    assert gradient.abs().max() < 1e-12
    component.finish(network)
    assert set(vars(component)) == {"temperature", "weight"}


# --- DELTA ---------------------------------------------------------------------------------


def test_attention_is_the_loss_without_each_feature():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    f = rng.normal(size=(40, 5)) * [1, 2, 3, 1, 1]
    f[:, 0] += y
    f -= f.mean(0)
    target = np.eye(3)[y] - 1 / 40 * np.bincount(y)
    penalty = 0.3 * f.var(0).mean()
    b = np.linalg.solve(f.T @ f / 40 + penalty * np.eye(5), f.T @ target / 40)
    errors = []
    for j in range(5):
        without = f.copy()
        without[:, j] = 0
        errors.append([np.square(target - g @ b).sum() / 40 for g in (without, f)])
    growth = np.array(errors)[:, 0] - np.array(errors)[:, 1]
    shown = np.exp(growth / growth.std())
    expected = 5 * shown / shown.sum()
    found = attention(torch.tensor(f) + 10, torch.tensor(y), 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert found.argmax() == 0


def test_attention_of_features_that_never_vary():
    found = attention(torch.ones(6, 4), torch.arange(6) % 2, 0.1)
    np.testing.assert_allclose(found, 1.0)


def test_delta_by_hand(network):
    component = Delta(weight=2.0)
    component.start(network, [rows()], task_loss)
    assert component.attention_.sum().item() == pytest.approx(4)
    assert value(component, network, rows()).item() == 0
    old = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    new = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    component.attention_ = torch.tensor([1.5, 0.5])
    loss = component.loss(None, StepOutputs(new, None, lambda _: (old, None)))
    assert loss.item() == pytest.approx(2 * ((1.5 * 4 + 0.5 * 1) + 0.5 * 4) / 2)


def test_delta_gradient_and_end(network):
    component = Delta()
    component.start(network, [rows()], task_loss)
    check_gradient(component, moved(network), rows())
    component.finish(network)
    assert set(vars(component)) == {"ridge", "max_samples", "weight"}


def test_delta_reads_at_most_max_samples(network):
    asked = []

    def batches():
        for _ in range(10):
            asked.append(1)
            yield rows()

    Delta(max_samples=10).start(network, batches(), task_loss)
    assert len(asked) == 2


def test_the_base_says_what_is_missing():
    with pytest.raises(TypeError, match=r"Own must define loss\(network, outputs\)"):
        type("Own", (Regularization,), {})().loss(None, None)
