"""The loops that are timed: adaptlearn, a hand-written torch loop, bare skorch, and skada.

All train the same network on the same rows with the same batches, losses and optimiser. The
hand-written loop is what a careful person would write: tensors sliced by one permutation per
epoch, one forward pass over both sides, a fused optimiser, losses summed without reading them.
"""

from __future__ import annotations

import contextlib
import time
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn

from ..deep import DomainAdaptationClassifier
from . import _peers

N_CLASSES = 10
RATE, DECAY, CLIP, SEED = 1e-3, 1e-2, 3.0, 0


class Net(NamedTuple):
    """Columns, widths of the ReLU layers, whether each has batch norm, dropout after each."""

    n_features: int
    hidden: tuple
    batch_norm: bool
    dropout: float

    def __str__(self):
        widths = "-".join(map(str, [self.n_features, *self.hidden, N_CLASSES]))
        return widths + (" BN" if self.batch_norm else "")


NETS = {
    "mlp": Net(64, (256,), batch_norm=False, dropout=0.5),
    "larger": Net(256, (512, 512, 256), batch_norm=True, dropout=0.0),
}


class Task(NamedTuple):
    """What is trained: a network, an alignment ("none", "mcc", "coral") and the rows."""

    net: Net
    alignment: str
    X: np.ndarray
    y: np.ndarray
    X_target: np.ndarray | None
    batch_size: int


def make_task(net, alignment, n_rows, batch_size):
    """Rows of noise with labels that can be learnt; as many target rows as source rows."""
    rng = np.random.default_rng(SEED)
    X = rng.normal(size=(n_rows, net.n_features)).astype(np.float32)
    y = (X[:, :N_CLASSES] + rng.normal(size=(n_rows, N_CLASSES)).astype(np.float32)).argmax(1)
    X_target = None
    if alignment != "none":
        X_target = 2 * rng.normal(size=(n_rows, net.n_features)).astype(np.float32) + 1
    return Task(net, alignment, X, y, X_target, batch_size)


# --- adaptlearn -----------------------------------------------------------------------------


class EpochEnds(Callback):
    """Clock of the end of each epoch; the time between two is all that an epoch costs."""

    def on_train_begin(self, net, **kwargs):
        """Start."""
        self.ends_ = []

    def on_epoch_end(self, net, **kwargs):
        """Note the time."""
        self.ends_.append(time.perf_counter())


def _backbone(net):
    layers, widths = [], [net.n_features, *net.hidden]
    for k, width in enumerate(net.hidden):
        layers += [nn.Linear(widths[k], width), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def fit_ours(task, n_epochs):
    """Fitted classifier and the seconds of its epochs after the first."""
    source_only = task.alignment == "none"
    clf = DomainAdaptationClassifier(
        backbone=_backbone(task.net) if task.net.batch_norm else None,
        hidden_layer_sizes=task.net.hidden,
        bottleneck=None,
        dropout=task.net.dropout,
        alignment=None if source_only else task.alignment,
        normalize="source" if source_only else "domain",
        batch_size=task.batch_size,
        max_epochs=n_epochs,
        learning_rate=RATE,
        weight_decay=DECAY,
        device="cpu",
        callbacks=[EpochEnds()],
        random_state=SEED,
    )
    clf.fit(task.X, task.y, X_target=task.X_target)
    ((_, clock),) = clf.net_.callbacks_
    return clf, np.diff(clock.ends_)


# --- by hand --------------------------------------------------------------------------------


class HandNet(nn.Module):
    """Multi-layer perceptron with ReLU; `by_domain`: batch norm has statistics per side."""

    def __init__(self, net, by_domain):
        super().__init__()
        self.by_domain, self.dropout = by_domain, net.dropout
        widths = [net.n_features, *net.hidden]
        self.layers = nn.ModuleList(map(nn.Linear, widths, net.hidden))
        normed = net.hidden if net.batch_norm else []
        self.norms = nn.ModuleList(map(nn.BatchNorm1d, normed))
        self.target_norms = nn.ModuleList(map(nn.BatchNorm1d, normed if by_domain else []))
        for source, target in zip(self.norms, self.target_norms, strict=False):
            target.weight, target.bias = source.weight, source.bias
        self.head = nn.Linear(widths[-1], N_CLASSES)

    def forward(self, x, n_source):
        """Features and logits; the first `n_source` rows are source rows."""
        for k, layer in enumerate(self.layers):
            x = layer(x)
            if self.norms:
                x = self.norm(x, n_source, k)
            x = F.relu(x)
            if self.dropout:
                x = F.dropout(x, self.dropout, self.training)
        return x, self.head(x)

    def norm(self, x, n_source, k):
        """Batch norm of layer `k`."""
        if not self.by_domain or n_source == len(x):
            return self.norms[k](x)
        if n_source == 0:
            return self.target_norms[k](x)
        return torch.cat([self.norms[k](x[:n_source]), self.target_norms[k](x[n_source:])])


def _hand_mcc(features, logits, n):
    p = (logits[n:] / 2.5).softmax(1)
    with torch.no_grad():
        w = 1 + torch.exp(-torch.special.entr(p).sum(1))
        w = w / w.sum()
    confusion = (p * w[:, None]).T @ p
    confusion = confusion / confusion.sum(1, keepdim=True)
    return (confusion.sum() - confusion.trace()) / N_CLASSES


def _hand_coral(features, logits, n):
    gap = torch.cov(features[:n].T) - torch.cov(features[n:].T)
    return 100 * gap.square().sum() / (4 * features.shape[1] ** 2)


_HAND_LOSSES = {"mcc": _hand_mcc, "coral": _hand_coral}


def _hand_rows(X):
    x = torch.from_numpy(X)
    mean, std = x.mean(0), x.std(0, correction=0)
    return ((x - mean) / std).clamp_(-CLIP, CLIP), mean, std


def fit_hand(task, n_epochs):
    """Fitted network with the statistics of its inputs, and the seconds of all but one epoch."""
    torch.manual_seed(SEED)
    alignment = _HAND_LOSSES.get(task.alignment)
    net = HandNet(task.net, by_domain=alignment is not None)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    X, mean, std = _hand_rows(task.X)
    if alignment is not None:
        X_target, mean, std = _hand_rows(task.X_target)
    y, batch_size = torch.from_numpy(task.y), task.batch_size
    n_batches = -(-len(X) // batch_size)
    ends, step, history = [], 0, []
    net.train()
    for _ in range(n_epochs):
        order, total = torch.randperm(len(X)), torch.zeros(())
        if alignment is not None:
            target_order = torch.randperm(len(X_target))
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            progress = (step + 0.5) / (n_epochs * n_batches)
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + 10 * progress) ** -0.75
            x, n = X[rows], len(rows)
            if alignment is not None:
                x = torch.cat([x, X_target[target_order[start : start + batch_size]]])
            optimizer.zero_grad()
            features, logits = net(x, n)
            loss = F.cross_entropy(logits[:n], y[rows])
            if alignment is not None:
                loss = loss + alignment(features, logits, n)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            step += 1
        history.append(float(total) / n_batches)
        ends.append(time.perf_counter())
    net.eval()
    return (net, mean, std), np.diff(ends)


def predict_hand(fitted, X, by_domain):
    """Class of each row: standardise, forward pass and argmax over slices of 8192 rows."""
    net, mean, std = fitted
    out = []
    with torch.inference_mode():
        for x in torch.from_numpy(X).split(8192):
            n_source = 0 if by_domain else len(x)
            out.append(net(((x - mean) / std).clamp_(-CLIP, CLIP), n_source)[1].argmax(1))
        return torch.cat(out).numpy()


# --- peers ----------------------------------------------------------------------------------


class _Logits(HandNet):
    def forward(self, X, sample_weight=None):
        return super().forward(X, len(X))[1]


_OPTIMIZER = {
    "optimizer": torch.optim.AdamW,
    "lr": RATE,
    "optimizer__weight_decay": DECAY,
    "optimizer__fused": True,
}


def fit_skorch(task, n_epochs):
    """Bare skorch with its row-wise DataLoader; source rows only."""
    torch.manual_seed(SEED)
    net = NeuralNetClassifier(
        _Logits(task.net, by_domain=False), criterion=nn.CrossEntropyLoss, train_split=None,
        batch_size=task.batch_size, max_epochs=n_epochs, iterator_train__shuffle=True, verbose=0,
        callbacks__print_log=None, callbacks=[EpochEnds()], **_OPTIMIZER,
    )  # fmt: skip
    net.fit(task.X, task.y)
    return net, np.diff(dict(net.callbacks_)["EpochEnds"].ends_)


SKADA_METHODS = {"mcc": "MCC", "coral": "DeepCoral"}


def fit_skada(task, n_epochs):
    """Method of the same name in skada (it has no batch norm per domain: one over both)."""
    with _peers.contained(), torch.random.fork_rng(devices=[]):
        from skada import deep

        torch.manual_seed(SEED)
        n = len(task.X)
        net = getattr(deep, SKADA_METHODS[task.alignment])(
            _Logits(task.net, by_domain=False), f"layers.{len(task.net.hidden) - 1}",
            batch_size=task.batch_size, max_epochs=n_epochs, train_split=None, verbose=0,
            callbacks__print_log=None, callbacks=[EpochEnds()], **_OPTIMIZER,
        )  # fmt: skip
        net.fit(
            np.concatenate([task.X, task.X_target]),
            np.concatenate([task.y, np.full(n, -1)]),
            sample_domain=np.repeat([1, -2], n),
        )
    return net, np.diff(dict(net.callbacks_)["EpochEnds"].ends_)


def alternate(calls, repetitions):
    """Seconds of each call, shape (repetitions, n_calls), in turns; the first round warms up."""
    seconds = np.empty((repetitions + 1, len(calls)))
    for k in range(repetitions + 1):
        order = range(len(calls)) if k % 2 else reversed(range(len(calls)))
        for j in order:
            started = time.perf_counter()
            calls[j]()
            seconds[k, j] = time.perf_counter() - started
    return seconds[1:]


@contextlib.contextmanager
def torch_threads(n_threads):
    """Use `n_threads` inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
