"""Sounds on their way into a network that is trained."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.utils import parametrize

from ._bad_rows import NEED_ALL, BadRows
from ._front_end import encoder_of
from ._waves import to_wave

_KEPT_BYTES = 2**30


class Clip(NamedTuple):
    """A sound, or where to read it, and how much of it is heard."""

    source: Any  # a row of X, or samples at the model's rate
    size: int  # samples
    cost: int  # samples that the network works on
    number: int  # of the row in X, for messages


class TrainableWavesMixin:
    """What `AudioExtractor` offers to an estimator that trains its network.

    Sounds of many lengths meet in a batch. A network that masks padding takes them together; any
    other one takes those of each length by themselves, so that features are those of ``transform``.
    """

    def _network_for_training(self):
        if self.long == "window":
            raise ValueError(
                "long='window' takes the mean over windows of a sound, which is not done in "
                "training. Set long='truncate', cut the sounds, or take finetune='frozen'."
            )
        network = super()._network_for_training()
        config = getattr(network.module, "config", None)
        if getattr(config, "apply_spec_augment", False):
            # It would draw from NumPy's global generator; augment="spec_augment" does the same.
            config.apply_spec_augment = False
        if self.layer != -1 and getattr(config, "layerdrop", 0):
            config.layerdrop = 0.0  # layers that are left out would not be counted
        for layer in list(network.module.modules()):
            if parametrize.is_parametrized(layer, "weight"):
                _fold(layer)
        return network

    def _trained_part(self, module):
        return encoder_of(module)

    def _prepare(self, rows, network, keep):
        front, bad = self._front(network), BadRows("a sound", "raise", NEED_ALL)
        numbers = np.arange(len(rows))
        lengths = [self._length(i, row, front, bad) for i, row in enumerate(rows)]
        _, sizes = self._cut(np.array(lengths), numbers, self._most_samples(front), front.rate)
        # Samples are kept where they fit; other sounds are read anew in each epoch.
        kept = keep and 4 * sum(lengths) <= _KEPT_BYTES
        clips = []
        for i, (row, size) in enumerate(zip(rows, sizes.tolist(), strict=True)):
            clip = Clip(row, size, front.longest if front.fixed else size, i)
            clips.append(clip._replace(source=_heard(clip, front)) if kept else clip)
        return clips

    def _tensors(self, prepared, network, device):
        front, waves = self._front(network), []
        for clip in prepared:
            known = isinstance(clip.source, np.ndarray)
            waves.append(clip.source if known else _heard(clip, front))
        sizes = np.array([len(wave) for wave in waves])
        if front.pads or (sizes == sizes[0]).all():
            return front.tensors(waves)
        block = torch.zeros((len(waves), sizes.max()))
        for size in np.unique(sizes):
            places = np.flatnonzero(sizes == size)
            made = front.tensors([waves[i] for i in places])
            block[places, :size] = made["input_values"]
        mask = torch.arange(sizes.max()) < torch.from_numpy(sizes)[:, None]
        return {"input_values": block, "attention_mask": mask.long()}

    def _lengths(self, prepared):
        return np.array([clip.cost for clip in prepared])

    def _rows_at_once(self, longest, device):
        return self._rows_in_batch(longest / self.model_rate, device)

    def _trained_features(self, network, inputs):
        mask = inputs.get("attention_mask")
        if mask is None or self._front(network).pads:
            return super()._trained_features(network, inputs)
        sizes, parts, order = mask.sum(1), [], []
        for size in torch.unique(sizes).tolist():
            places = torch.nonzero(sizes == size).squeeze(1)
            some = {"input_values": inputs["input_values"][places, :size]}
            parts.append(super()._trained_features(network, some))
            order.append(places)
        return torch.cat(parts)[torch.cat(order).argsort()]


def _heard(clip, front):
    """Samples of a clip whose source is a row."""
    try:
        return to_wave(clip.source, front.rate)[: clip.size]
    except Exception as error:
        BadRows("a sound", "raise", NEED_ALL).add(clip.number, clip.source, error)


def _fold(layer):
    """Make the weight of a layer, which weight norm computes, a parameter again.

    A layer with weight norm has a class of its own, which cannot be pickled. PyTorch's function
    would take weight norm out of that class, and with it out of the model that this is a copy of.
    """
    weight = layer.weight.detach().clone()
    del layer.parametrizations
    layer._load_state_dict_pre_hooks.clear()  # it would look for the parts of the weight
    layer.__class__ = type(layer).__mro__[1]
    layer.weight = torch.nn.Parameter(weight)
