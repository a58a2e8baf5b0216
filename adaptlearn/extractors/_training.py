"""The side of an extractor that fine-tuning sees: a network of its own, and rows as tensors."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F

_ROWS = {"cpu": 64, "cuda": 256}


class TrainableMixin:
    """What `Extractor` offers to an estimator that trains its network.

    Rows are prepared once in a fit, by what is slow and the same each time (text is tokenised,
    images are read and resized), and become tensors batch by batch. A subclass that has such a step
    overrides `_prepare`, `_tensors` and `_lengths`; the others work as they are.
    """

    _row_shape = None  # of the rows that were read first, where the network does not tell it

    def _open(self):
        """Copy of this extractor, ready for use; the model is found, nothing is read."""
        extractor = copy.copy(self)
        extractor._check()
        extractor._find_model()
        return extractor

    def _reader(self):
        """Copy without weights, which travels with a network that was trained."""
        reader = copy.copy(self)
        reader._module = None
        if isinstance(self.model, torch.nn.Module):
            reader.model = None
        return reader

    def _network_for_training(self):
        """A `Network` whose module belongs to the caller, on the CPU, all of it trainable."""
        shared = self._network(torch.device("cpu"))
        module = copy.deepcopy(self._trained_part(shared.module))
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return shared._replace(module=module)

    def _trained_part(self, module):
        """The part of a module that `_features` runs."""
        return module

    def _prepare(self, rows, network, keep):
        """One object for each row, from which `_tensors` makes batches.

        Parameters
        ----------
        rows : sequence
            As `_read_rows` gave them.
        network : Network
        keep : bool
            Whether rows are wanted more than once, so that work is worth keeping.
        """
        return list(rows)

    def _tensors(self, prepared, network, device):
        """Inputs of the network, dict of name to tensor, rows first and in order.

        They may be on the CPU or on the device already, where it is quicker to make them there.
        """
        numbers = np.arange(len(prepared))
        batches = list(self._batches(prepared, numbers, network, torch.device("cpu")))
        places = np.concatenate([batch.places for batch in batches]) if batches else numbers[:0]
        if len(places) < len(prepared):
            bad = np.setdiff1d(numbers, places).tolist()
            raise ValueError(
                f"{len(bad)} of the {self._row_is} cannot be read, such as {prepared[bad[0]]!r:.80}"
                ". Training and predicting need all of them: leave these rows out."
            )
        order = torch.from_numpy(np.argsort(places))
        names = batches[0].inputs
        return {n: _joined([batch.inputs[n] for batch in batches])[order] for n in names}

    def _lengths(self, prepared):
        """What the cost of each row grows with, None where all cost the same."""
        return None

    def _rows_at_once(self, longest, device):
        """Rows of one forward pass without gradients."""
        return _ROWS.get(device.type, _ROWS["cpu"])

    def _known(self, network):
        """What an augmentation may want to know of the inputs, such as ``mean`` and ``std``."""
        return {}

    def _trained_features(self, network, inputs):
        """Features of a batch, as `transform` gives them, with gradients."""
        features = self._features(network, inputs)
        if self.normalize:
            features = F.normalize(features.float(), eps=float(np.finfo(np.float32).tiny))
        return features


def _joined(parts):
    """One tensor out of several, shorter ones filled up with zeros, which a mask hides."""
    longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    filled = []
    for part in parts:
        missing = [n - have for n, have in zip(longest, part.shape[1:], strict=True)]
        ends = [pad for n in reversed(missing) for pad in (0, n)]
        filled.append(F.pad(part, ends) if any(missing) else part)
    return torch.cat(filled)
