"""What a fit keeps of what the network knew: ``regularization=`` and ``rehearsal=``."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch

from .._components import member_name, registered, resolve
from .._containers import as_container, n_rows
from ..regularization.base import Regularization, RowBatch, StepOutputs
from ..regularization.delta import Delta
from ._raw import is_extractor
from ._rehearsal import RehearsalBuffer
from .finetune import settled_mode

_CHUNK = 256  # rows of one forward pass before and after training


class RetentionMixin:
    """``regularization=`` and ``rehearsal=`` for `DeepEstimator`; stands before it."""

    _regularization = _rehearsal = None
    _depth = 6  # `_fit` is one more call

    def _check_parameters(self):
        checked = super()._check_parameters()
        make_regularization(self)
        return checked

    def _fit(self, X, y, sample_domain, X_target, sample_weight, fresh, epochs):
        """Fit with the rows kept from earlier calls, then keep some of these."""
        given = X, y, sample_domain, X_target, sample_weight
        size = int(self.rehearsal) if isinstance(self.rehearsal, Integral) else 0  # else refused
        buffer = None if fresh or not size else self._rehearsal
        if buffer is not None:
            classes = () if self._regression else self.classes_
            given = buffer.join(*given, classes, is_extractor(self.backbone))
        domain = super()._fit(*given, fresh, epochs)
        if size:
            if buffer is None:
                buffer = RehearsalBuffer.empty(self.random_state)
            n = n_rows(as_container(X))
            domain = np.delete(domain, slice(n, n + len(buffer.y)))
            buffer = buffer.with_rows(X, y, domain[:n], sample_weight, size, not self._regression)
        self._rehearsal = buffer if size else None
        return domain

    def _train(self, iterator, stopping, epochs, checkpoint, state, seed):
        component = make_regularization(self)
        training = iterator, stopping, epochs, checkpoint, state, seed
        if component is None:
            super()._train(*training)
            self._regularization = None
            return
        first = self._epochs_done == 0 and not self.history_
        if not first and type(component) is type(self._regularization):
            vars(component).update(learned(self._regularization))
        retention = Retention(component, self, iterator.data, seed)
        shared = None
        if first:  # a head and a bottleneck are new; a backbone is taken as pretrained
            names = dict(self._network.named_parameters())
            shared = {name for name in names if name.startswith("backbone.")}
        pretrained = self.backbone is not None and self._embedder is None
        knows = not first or (pretrained and not component.needs_earlier_call)
        if knows:
            component.start(self._network, retention.batches(), retention.task_loss, shared)
            self.net_.retention = retention
        try:
            super()._train(*training)
        finally:
            if hasattr(self, "net_"):  # an interrupted first fit leaves none
                self.net_.retention = None
        component.finish(self._network, retention.batches(), retention.task_loss)
        self._regularization = component


class Retention:
    """One call's regularisation: hands the component what it asks for.

    Parameters
    ----------
    component : Regularization
    estimator : DeepEstimator
    data : TrainingSet
    seed : int
    """

    def __init__(self, component, estimator, data, seed):
        self.component, self.network, self.net = component, estimator._network, estimator.net_
        self.name = member_name("regularization", component)
        self.data, self.seed = data, seed
        # A backbone may be large: no more rows than training takes.
        self.n_rows = _CHUNK if estimator.backbone is None else min(_CHUNK, estimator.batch_size)

    def add_loss(self, loss, parts, batch, output):
        """The loss of a step with the regularisation's; adds that to the `parts`."""

        def run(other):
            with self.net.autocast():
                answer = other(batch.x, batch.segments)
            return tuple(part.to(output[0].dtype) for part in answer)

        value = self.component.loss(self.network, StepOutputs(*output, run))
        parts[self.name] = value.detach()
        return loss + value

    def batches(self):
        """Labelled rows in random order, each batch of one domain."""
        data, generator = self.data, torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(data.labelled), generator=generator)
        for chunk in data.labelled[order.to(data.labelled.device)].split(self.n_rows):
            for slot in torch.unique(data.slots[chunk]).tolist():
                rows = chunk[data.slots[chunk] == slot]
                yield RowBatch(data.rows.take(rows), data.y[rows], [(slot, 0, len(rows))])

    def task_loss(self, logits, y):
        """Task loss of each row, at the end of training."""
        objective = self.net.criterion_
        return objective.criterion.loss(logits, y, 1.0, objective.criterion_net)


def make_regularization(estimator):
    """Fresh component out of what the user gave as ``regularization=``, or None."""
    spec = estimator.regularization
    if spec is None:
        return None
    component = resolve("regularization", spec)
    if not isinstance(component, Regularization):
        raise TypeError(
            f"regularization={spec!r} of type {type(spec).__name__} must be None, one of "
            f"{sorted(registered('regularization'))}, or a Regularization object (subclass "
            "adaptlearn.Regularization to write your own)."
        )
    new_layers = [] if estimator.backbone is None else _new_layers(estimator)
    if isinstance(component, Delta) and new_layers:
        raise ValueError(
            f"regularization={spec!r} keeps the features that the head sees, and with "
            f"{' and '.join(new_layers)} a new layer makes them. Set hidden_layer_sizes=() and "
            "bottleneck=None, or regularization='l2_sp'."
        )
    return component


def _new_layers(estimator):
    """What makes layers between a backbone and the head, as the user gave it."""
    sizes, bottleneck = estimator.hidden_layer_sizes, estimator.bottleneck
    made = [] if bottleneck is None else [f"bottleneck={bottleneck}"]
    if sizes and settled_mode(estimator) not in ("plain", "frozen"):
        made.append(f"hidden_layer_sizes={sizes}")
    return made


def learned(component):
    """What a regularisation learned from networks, by name."""
    if component is None:
        return {}
    return {k: v for k, v in vars(component).items() if k.endswith("_") and k[0] != "_"}
