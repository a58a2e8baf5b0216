"""The private skorch net: one training loop for every deep estimator."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.callbacks import Callback

from ..alignment.base import Domain
from ._norm import DomainBatchNorm
from ._plan import Plan

# torch.random.fork_rng swaps the generator of the whole process: fits in threads take turns.
_RNG_LOCK = threading.RLock()

# Before this progress the network's labels of target rows say little.
_PSEUDO_LABELS_FROM = 0.1

# Alignments see all standardised inputs at once up to this many cells (80 MB as float32).
_REFRESH_CELLS = 20_000_000

SCHEDULES = {
    "constant": lambda p: 1.0,
    "inverse": lambda p: (1.0 + 10.0 * p) ** -0.75,
    "cosine": lambda p: 0.5 * (1.0 + math.cos(math.pi * p)),
    "linear": lambda p: 1.0 - p,
}


def draw_seed(random_state):
    """Seed of one fit."""
    if random_state is None:  # fresh entropy, without touching NumPy's global generator
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextlib.contextmanager
def own_randomness(seed, device):
    """Seed torch inside the block and leave the process-wide generators as they were."""
    devices = [device] if device.type == "cuda" else []
    with _RNG_LOCK, torch.random.fork_rng(devices):
        if device.type == "cpu":
            # torch.manual_seed queues a call with its stack trace for CUDA: 3 ms, never freed.
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        yield


def epoch_seed(seed, epoch):
    """Seed of one epoch: any epoch can be repeated without replaying those before it."""
    return (seed * 1_000_003 + epoch * 7919 + 1) % 2**63


def cycle_place(number, n_batches, accumulate):
    """Place of a batch among those that one optimiser step is made for: first, last, how many."""
    at = number % accumulate
    together = min(accumulate, n_batches - (number - at))
    return at == 0, at == together - 1, together


def input_name(row_shape):
    """What an augmentation calls the input of a network that has one, by the shape of a row."""
    return "pixel_values" if len(row_shape) == 3 else "values"


def augmented(augment, x, generator):
    """Input of the network after `augment`, which takes tensors by name."""
    if isinstance(x, dict):
        return augment(x, generator)
    name = input_name(x.shape[1:])
    return augment({name: x}, generator)[name]


class Trainer(NeuralNet):
    """skorch net that trains on `BatchIterator` batches.

    It changes three things of skorch's loop: both sides go through the network in one pass, losses
    are summed on the device and read once per epoch, and each epoch seeds itself.
    """

    retention = None  # while a regularisation against forgetting is at work

    def __init__(
        self, module, criterion, *, seed, schedule="constant", precision="float32", plan=None,
        augment=None, **kw,
    ):  # fmt: skip
        self.seed, self.schedule, self.precision = seed, schedule, precision
        self.plan = Plan() if plan is None else plan
        self.augment = augment
        super().__init__(
            module, criterion=criterion, train_split=None, iterator_train=None,
            iterator_valid=None, **kw,
        )  # fmt: skip

    @property
    def _default_callbacks(self):
        return []  # our own epoch record stands in for skorch's timers and prints

    def __getstate__(self):
        # skorch writes what it was given beside what it made of it: here one and the same.
        return {**super().__getstate__(), "module": None, "criterion": None}

    def __setstate__(self, state):
        super().__setstate__(state)
        self.module, self.criterion = self.module_, self.criterion_

    def initialize_criterion(self):
        """Take the objective as it is: it was built for this fit."""
        self.criterion_ = self.criterion
        return self

    def initialize_module(self):
        """Take the network as it is: it was built for this fit."""
        self.module_ = self.module
        return self

    def get_params_for_optimizer(self, prefix, named_parameters):
        """Parameters by rate, where the fine-tuning has several."""
        named_parameters = list(named_parameters)
        args, kwargs = super().get_params_for_optimizer(prefix, iter(named_parameters))
        if self.plan.groups is not None:
            args = [self.plan.parameter_groups(self._bare(), named_parameters, kwargs["lr"])]
        return args, kwargs

    def _bare(self):
        """The network, also when it was compiled."""
        return getattr(self.module_, "_orig_mod", self.module_)

    def follow(self, rate, schedule):
        """Take the rate and the schedule of a call, which may differ from those of the first."""
        for group in self.optimizer_.param_groups:
            group["lr"] *= rate / self.lr
        self.lr, self.schedule = rate, schedule

    def train(self, iterator, epochs, *, start=0, offset=0, after_epoch=None):
        """Train for `epochs` more epochs.

        Parameters
        ----------
        iterator : BatchIterator
        epochs : int
            Number of the last epoch plus one.
        start : int
            Number of the first epoch (after resuming).
        offset : int
            Epochs trained by earlier fits, so that ``warm_start`` draws new batches.
        after_epoch : callable
            Called with the epoch's record; a true answer ends training.
        """
        self.base_rates_ = [group["lr"] for group in self.optimizer_.param_groups]
        if start:
            self.base_rates_ = [group["initial_lr"] for group in self.optimizer_.param_groups]
        for group, rate in zip(self.optimizer_.param_groups, self.base_rates_, strict=True):
            group["initial_lr"] = rate
        self.n_steps_ = epochs * len(iterator)
        self.thawed_ = offset > 0  # by an earlier fit
        hooks = "on_batch_begin", "on_batch_end", "on_grad_computed"
        self.heard_ = {hook: self._is_heard(hook) for hook in hooks}
        self.notify("on_train_begin", X=None, y=None)
        try:
            for epoch in range(start, epochs):
                began = time.perf_counter()
                seed = epoch_seed(self.seed, offset + epoch)
                with own_randomness(seed, torch.device(self.device)):
                    record = self.train_epoch(iterator, seed, epoch)
                record["dur"] = time.perf_counter() - began
                if after_epoch is not None and after_epoch(record):
                    break
        finally:  # a later fit starts from the full rate, also after Ctrl-C
            for group, rate in zip(self.optimizer_.param_groups, self.base_rates_, strict=True):
                group["lr"] = rate
        self.notify("on_train_end", X=None, y=None)
        return self

    def _is_heard(self, hook):
        """Whether a callback defines `hook`; the empty ones of every batch cost too much."""
        empty = getattr(Callback, hook)
        return any(
            getattr(getattr(c, hook), "__func__", None) is not empty for _, c in self.callbacks_
        )

    def train_epoch(self, iterator, seed, epoch):
        """One pass; returns mean losses by name."""
        generator = torch.Generator().manual_seed(seed)
        self.notify("on_epoch_begin", dataset_train=iterator, dataset_valid=None)
        self._refresh(iterator, (epoch * len(iterator) + 0.5) / self.n_steps_)
        middle = (epoch + 0.5) * len(iterator) / self.n_steps_
        pseudo_labels = self._pseudo_labels(iterator.data, middle)
        self._set_training(True)
        self.plan.begin(self._bare(), self._thaw_progress(epoch * len(iterator)))
        batch_hooks = self.heard_["on_batch_begin"] or self.heard_["on_batch_end"]
        batches = iterator.batches(generator, middle, pseudo_labels)
        sums, rows_by_slot = {}, Counter()
        for step, batch in enumerate(batches, epoch * len(iterator)):
            if batch_hooks:
                self.notify("on_batch_begin", batch=batch, training=True)
            if self.augment is not None:
                batch = batch._replace(x=augmented(self.augment, batch.x, generator))
            self.plan.follow(self._bare(), self._thaw_progress(step))
            place = cycle_place(step - epoch * len(iterator), len(iterator), self.plan.accumulate)
            loss, y_pred, parts = self.train_step(batch, (step + 0.5) / self.n_steps_, place)
            for slot, first, stop in batch.segments:
                if stop - first > 1:  # a single row has no statistics
                    rows_by_slot[slot] += stop - first
            for name, value in parts.items():
                if name in sums:
                    sums[name] += value
                else:
                    sums[name] = value.clone()
            if batch_hooks:
                self.history.record_batch("train_loss", loss.item())
                self.history.record_batch("train_batch_size", batch.n_labelled)
                self.notify("on_batch_end", batch=batch, training=True, loss=loss, y_pred=y_pred)
        for layer in self.module_.modules():
            if isinstance(layer, DomainBatchNorm):
                layer.count_rows(rows_by_slot)
        self.module_.pool_statistics()
        record = {"epoch": epoch + 1}
        for name, value in sums.items():  # the first time that the device is waited for
            record[f"{name}_loss"] = float(value) / len(iterator)
        record["lr"] = self.optimizer_.param_groups[0]["lr"]
        self._check_finite_loss(record)
        for name, value in record.items():
            self.history.record(name, value)
        self.notify("on_epoch_end", dataset_train=iterator, dataset_valid=None)
        self.history[-1]["batches"].clear()  # would grow without bound
        return record

    def _thaw_progress(self, step):
        return 1.0 if self.thawed_ else (step + 0.5) / self.n_steps_

    def train_step(self, batch, progress, place=(True, True, 1)):
        """One batch: the loss, the logits and the parts of the loss (detached).

        `place` tells whether the batch is the first and the last of those that one optimiser step
        is made for, and how many these are.
        """
        first, last, n_together = place
        factor = SCHEDULES.get(self.schedule, self.schedule)(progress) * self.plan.warm(progress)
        for group, rate in zip(self.optimizer_.param_groups, self.base_rates_, strict=True):
            group["lr"] = rate * factor
        if first:
            self.optimizer_.zero_grad(set_to_none=True)
        x, segments, mixed = self.criterion_.mix_inputs(batch)
        with self.autocast():
            output = self.module_(x, segments)
        if self.precision == "bfloat16":  # the losses are differences of moments: all digits count
            output = tuple(part.float() for part in output)
        output, mixed = self.criterion_.take_mixed(output, batch, mixed)
        loss, parts = self.criterion_(output, batch, self.module_.head, progress, mixed)
        if self.retention is not None:
            # A mixing leaves the rows as they were, with mixed ones after them, or stands for them.
            seen = batch if len(segments) > len(batch.segments) else batch._replace(x=x)
            loss = self.retention.add_loss(loss, parts, seen, output)
        (loss if n_together == 1 else loss / n_together).backward()
        if last:
            self._step(batch)
        self.criterion_.update(output, batch)
        return loss, output[1], {"train": loss.detach(), **parts}

    def _step(self, batch):
        if self.heard_["on_grad_computed"]:
            self.notify(
                "on_grad_computed",
                named_parameters=self.get_all_learnable_params(),
                batch=batch,
                training=True,
            )
        if self.plan.clip_norm is not None:
            trained = [p for group in self.optimizer_.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(trained, self.plan.clip_norm)
        self.optimizer_.step()

    def autocast(self):
        """Mixed precision where it was asked for."""
        if self.precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16)

    def _refresh(self, iterator, progress):
        """Whole-set features and logits for the alignments that ask for them."""
        objective, data, sides = self.criterion_, iterator.data, []
        if not any(objective.refreshing) or not len(data.target):
            return
        keep = objective.refresh_features
        n_cells = (len(data.labelled) + len(data.target)) * data.rows.n_columns
        inputs = objective.refresh_inputs and 0 < n_cells <= _REFRESH_CELLS
        for members, y in ((data.labelled, data.y[data.labelled]), (data.target, None)):
            slots, weight = data.slots[members], data.weight[members]
            features, logits = self.forward_rows(data.rows, members, slots, features=keep)
            x = data.rows.take(members) if inputs else None
            sides.append(Domain(x, y, features, logits, slots, members, weight))
        objective.refresh(*sides, self.module_.head, progress)

    def _pseudo_labels(self, data, progress):
        """Classes that target batches are to be balanced by; None when they are not."""
        if not data.pseudo_balanced or progress < _PSEUDO_LABELS_FROM or not len(data.target):
            return None
        _, logits = self.forward_rows(data.rows, data.target, data.slots[data.target])
        return logits.argmax(1)

    def forward_rows(self, rows, index, slots, features=False):
        """Features (None unless wanted) and logits of many rows, in evaluation mode."""
        kept = logits = None
        for some, (f, z) in self._answers(self.module_, rows, index, slots):
            if logits is None:
                logits = z.new_empty((len(index), z.shape[1]))
                kept = f.new_empty((len(index), f.shape[1])) if features else None
            logits[some] = z
            if features:
                kept[some] = f
        return kept, logits

    def backbone_rows(self, rows, index, slots):
        """What the backbone makes of some rows in evaluation mode."""
        call = self._bare().backbone_features
        places, features = zip(*self._answers(call, rows, index, slots), strict=True)
        return torch.cat(features)[torch.argsort(torch.cat(places))]

    @torch.no_grad()
    def _answers(self, call, rows, index, slots):
        """Yields positions in `index`, and the answer of a part of the network for these rows."""
        self._set_training(False)
        for slot in torch.unique(slots).tolist():
            places = torch.nonzero(slots == slot).squeeze(1)
            for block in rows.blocks(index[places]):
                some = places[block]
                x = rows.take(index[some])
                with self.autocast():
                    answer = call(x, [(slot, 0, len(some))])
                yield some, answer

    def _check_finite_loss(self, record):
        bad = [k for k, v in record.items() if k.endswith("loss") and not math.isfinite(v)]
        if bad:
            raise FloatingPointError(
                f"training diverged: {', '.join(bad)} is not finite in epoch {record['epoch']} "
                f"(learning rate {record['lr']:.3g}). Try a smaller learning_rate (a tenth), a "
                "smaller alignment_weight, scaled inputs (normalize='source'), or "
                "precision='float32' instead of mixed precision."
            )
