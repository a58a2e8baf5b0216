"""Losses of several tasks on shared features: each reads its columns of the logits and of y."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from .._components import did_you_mean, registered, resolve
from ..imbalance.criterion import Criterion
from ._objective import Objective, _empty_to_none, _module_or_empty
from ._raw import ExtractorBackbone

_DEFAULTS = {False: "cross_entropy", True: "mse"}


class Task(NamedTuple):
    """One column of y."""

    name: object
    regression: bool
    columns: slice  # of the logits
    criterion: Criterion


def check_criterion(spec):
    """Raise for what is no criterion in any task."""
    if isinstance(spec, dict):
        members = list(spec.values())
    else:
        members = list(spec) if isinstance(spec, (list, tuple)) else [spec]
    for member in members:
        if member == "auto":
            continue
        criterion = resolve("criterion", member)
        if not isinstance(criterion, Criterion):
            raise TypeError(
                f"criterion holds {member!r} of type {type(member).__name__}; give names or "
                "Criterion objects (subclass adaptlearn.imbalance.Criterion to write your own)."
            )
        if criterion.cosine_head:
            raise ValueError(
                f"criterion={member!r} needs a head of its own form, which the heads of several "
                "tasks do not have. Use 'logit_adjusted' or 'class_balanced' instead."
            )


def task_criteria(spec, names, regression):
    """Fresh criterion of each task out of what the user gave as ``criterion=``."""
    if isinstance(spec, dict):
        unknown = [name for name in spec if name not in names]
        if unknown:
            raise ValueError(
                f"criterion has the key {unknown[0]!r}; {did_you_mean(unknown[0], names)}"
            )
        wanted = [spec.get(name, "auto") for name in names]
    elif isinstance(spec, (list, tuple)):
        wanted = list(spec)
        if len(wanted) != len(names):
            raise ValueError(
                f"criterion has {len(wanted)} entries for {len(names)} tasks; give one for each, "
                "'auto' for the usual one."
            )
    else:
        kind = None if spec == "auto" else resolve("criterion", spec).regression
        if kind is not None and kind not in regression:
            raise ValueError(f"criterion={spec!r} fits none of the tasks. {_fitting(not kind)}")
        wanted = [spec if kind is flag else "auto" for flag in regression]
    criteria = []
    for member, name, flag in zip(wanted, names, regression, strict=True):
        criterion = resolve("criterion", _DEFAULTS[flag] if member == "auto" else member)
        if criterion.regression != flag:
            raise ValueError(
                f"criterion={member!r} does not fit the task {name!r}. {_fitting(flag)}"
            )
        criteria.append(criterion)
    return criteria


def _fitting(regression):
    known = sorted(registered("criterion").items())
    names = [
        n for n, cls in known if cls.regression == regression and not getattr(cls, "cosine_head", 0)
    ]
    return f"For {'regression' if regression else 'classification'} use one of {names}."


class TaskNets(nn.Module):
    """What the criteria of the tasks and their weighting built."""

    def __init__(self, nets, weighting):
        super().__init__()
        self.nets = nn.ModuleList(_module_or_empty(net) for net in nets)
        self.weighting = _module_or_empty(weighting)


class TaskCriterion:
    """The criteria of all tasks as the one criterion of an `Objective`.

    Parameters
    ----------
    tasks : list of Task
    weighting : TaskWeighting
    """

    cosine_head = False

    def __init__(self, tasks, weighting):
        self.tasks, self.weighting = tasks, weighting

    def build(self, labels):
        """Modules of one fit; `labels` holds what ``Criterion.build`` takes, for each task."""
        nets = [t.criterion.build(part) for t, part in zip(self.tasks, labels, strict=True)]
        initial = [
            _initial_loss(*parts).float() for parts in zip(self.tasks, labels, nets, strict=True)
        ]
        regression = [task.regression for task in self.tasks]
        return TaskNets(nets, self.weighting.build(regression, torch.stack(initial)))

    def loss(self, logits, y, progress, net):
        """Loss of each row in each task, shape (n, n_tasks); 0 where the label is missing."""
        losses = []
        for task, values, inner in zip(self.tasks, y.unbind(1), net.nets, strict=True):
            known = ~values.isnan()
            # A missing label is filled with some valid one, and its loss, with its gradient, cut.
            target = torch.where(known, values, 0.0)
            target = target if task.regression else target.long()
            scores = logits[:, task.columns]
            rows = task.criterion.loss(scores, target, progress, _empty_to_none(inner))
            losses.append(torch.where(known, rows, 0.0))
        return torch.stack(losses, dim=1)


def _initial_loss(task, labels, net):
    """Mean loss of logits that are all 0."""
    if task.regression:
        if not len(labels):  # a module that is made to be filled from a file
            return torch.ones(())
        scores = labels.new_zeros((len(labels), 1))
        return task.criterion.loss(scores, labels, 0.0, net).mean()
    share = labels / labels.sum().clamp_min(1)
    scores = torch.zeros((len(labels), len(labels)))
    return share.float() @ task.criterion.loss(scores, torch.arange(len(labels)), 0.0, net).float()


class TaskObjective(Objective):
    r"""Weighted mean of the task losses, plus alignments.

    The loss of task i is a mean over the labelled rows of the batch, each with the row's weight in
    that task: :math:`L_i = \frac1n \sum_j w_{ji} \ell_{ji}`. Weights have mean 1 over the training
    rows and are 0 where the label is missing, so that a step's expectation is the mean over all
    rows with that label, however few.

    ``shared`` holds the weights of the last layer below the heads, nothing where there is none. Of
    a network whose layers are not known it holds those of all trained layers: the last one that
    rows go through is meant. A tuple, so that they are not taken for parameters of the objective.
    """

    shared = ()

    def __init__(self, criterion, alignments, alignment_weight, sizes, labels, mixing=None):
        super().__init__(criterion, alignments, alignment_weight, sizes, labels, mixing)
        for k, alignment in enumerate(alignments):
            if hasattr(alignment, "called"):  # speaks for the alignment of each task
                self.names[k] = alignment.called
                self.updating[k], self.refreshing[k] = alignment.hooks

    def forward(self, output, batch, head, progress, mixed=None):
        """Total loss and its parts: all tasks together, each task, each alignment."""
        total, parts = super().forward(output, batch, head, progress, mixed)
        names = [f"task[{task.name}]" for task in self.criterion.tasks]
        return total, parts | dict(zip(names, self._last_losses, strict=True))

    def _task_loss(self, features, logits, batch, head, progress, mixed):
        losses, weight = self._losses(logits, batch.y, progress), batch.task_weight
        share = torch.ones_like(losses[0])
        if weight is not None:
            losses, share = losses * weight, weight.mean(0)
        means = losses.mean(0)
        self._last_losses = means.detach().unbind()
        weighting, net = self.criterion.weighting, _empty_to_none(self.criterion_net.weighting)
        total = weighting.total(means, net)
        if weighting.balances_gradients and self.training and self._reached():
            # Per labelled row: how many labels the batch happens to hold is no training rate.
            size = share.clamp_min(torch.finfo(share.dtype).tiny)
            norms = self._gradient_norms(means)
            with torch.no_grad():
                weighting.balance(means.detach() / size, norms / size, share > 0, net)
        return total

    def _losses(self, logits, y, progress):
        return self.criterion.loss(logits, y, progress, self.criterion_net)

    def _reached(self):
        """The shared layers that this step trains; none while all of them are frozen."""
        return torch.is_grad_enabled() and [p for p in self.shared if p.requires_grad]

    def _gradient_norms(self, losses):
        """Norm of each loss's gradient at the last shared layer."""
        layers = self._reached()
        if len(layers) > 1:
            found = torch.autograd.grad(losses.sum(), layers, retain_graph=True, allow_unused=True)
            used = [p for p, gradient in zip(layers, found, strict=True) if gradient is not None]
            layers = self.shared = tuple(used[-1:] or layers[-1:])
        norms = []
        for loss in losses.unbind():
            (gradient,) = torch.autograd.grad(loss, layers, retain_graph=True, allow_unused=True)
            norms.append(losses.new_zeros(()) if gradient is None else gradient.norm())
        return torch.stack(norms).to(losses)

    def current_weights(self):
        """Weight of each task at the moment, an ndarray."""
        net = _empty_to_none(self.criterion_net.weighting)
        return self.criterion.weighting.current(net, len(self.criterion.tasks))

    def held_out_loss(self, logits, y, weight):
        """Mean over tasks of the loss on held-out rows; tasks without a label there stand aside."""
        losses = self._losses(logits, y, 1.0)
        if weight is None or not weight.any():
            weight = (~y.isnan()).to(losses)
        mass = weight.sum(0)
        return ((losses * weight).sum(0)[mass > 0] / mass[mass > 0]).mean()


def last_shared_layer(network, optimizer):
    """Weights of the last trained layer below the head, in a tuple; empty where there is none.

    Layers of an extractor's network may stand in any order, and some may be left out: then it is
    all of them.
    """
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for part in (network.bottleneck, network.backbone):
        weights = [p for p in part.parameters() if id(p) in trained and p.ndim > 1]
        if weights:
            whole = any(isinstance(module, ExtractorBackbone) for module in part.modules())
            return tuple(weights if whole else weights[-1:])
    return ()
