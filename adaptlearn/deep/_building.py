"""The trained things of a fit: network, objective, optimiser."""

from __future__ import annotations

import copy

import torch

from ..augmentation import make_augmentation
from ._mixing import make_mixing
from ._network import build_network
from ._parameters import OPTIMIZERS
from ._plan import make_plan
from ._raw import ExtractorBackbone, is_extractor
from ._saved_values import shaping_forms
from ._trainer import Trainer, input_name
from .finetune import settings_of, settled_mode


class BuildingMixin:
    """Makes `net_`, for `DeepEstimator`."""

    # What finetune="auto" is with an extractor, and with a module or factory.
    _auto_finetune = ("frozen", "plain")

    def _open_backbone(self):
        """The network of an extractor that is to be trained, None if there is none.

        A frozen extractor is opened as `_embedder`: its rows become columns.
        """
        self._embedder, self._reads_raw = None, False
        mode = settled_mode(self)
        if not is_extractor(self.backbone):
            return None
        for name in ("n_features_in_", "feature_names_in_"):  # of an earlier fit to columns
            vars(self).pop(name, None)
        extractor = self.backbone._open()
        if mode == "frozen":
            self._embedder = extractor
            return None
        self._reads_raw = True
        return ExtractorBackbone.of(extractor)

    def _build(self, input_shape, alignments, criterion, labels, seed, device, body=None):
        """Network, objective, plan of the fine-tuning, and the net that holds them."""
        index, mode = self._domain_index, settled_mode(self)
        self._dtype = torch.float64 if self.precision == "float64" else torch.float32
        class_counts = None if self._regression else labels
        backbone = self.backbone if body is None else body
        network = build_network(
            None if mode == "frozen" else backbone, input_shape, self._n_outputs,
            hidden_layer_sizes=self.hidden_layer_sizes, bottleneck=self.bottleneck,
            dropout=self.dropout, normalize=self.normalize, index=index,
            cosine_scale=criterion.scale if criterion.cosine_head else None,
            pretrained=mode not in ("plain", "frozen"),
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        plan = make_plan(mode, settings_of(self.finetune), network, generator)
        network = network.to(device, self._dtype)
        sizes = {
            "n_features": network.head.in_features,
            "n_classes": self._n_outputs,
            "class_counts": class_counts,
            "n_domains": (len(index.sources), len(index.targets)),
            "generator": torch.Generator().manual_seed(seed),
        }
        if not index.targets:
            alignments = []
        shape = input_shape
        if body is not None:
            shape = {name: tuple(x.shape[1:]) for name, x in body.example().items()}
        mixing = make_mixing(getattr(self, "mixing", None), shape)
        given = criterion, alignments, self.alignment_weight, sizes, labels, mixing
        objective = self._objective_class(*given)
        optimizer = self.optimizer
        params = {"optimizer__weight_decay": self.weight_decay}
        if isinstance(optimizer, str):
            optimizer = OPTIMIZERS[optimizer]
            params["optimizer__fused"] = True
        if optimizer is torch.optim.SGD:
            params |= {"optimizer__momentum": 0.9, "optimizer__nesterov": True}
        self.net_ = Trainer(
            network,
            objective.to(device, self._dtype),
            seed=seed,
            schedule=self.schedule,
            precision=self.precision,
            plan=plan,
            augment=make_augment(self.augment, body, input_shape),
            optimizer=optimizer,
            lr=self.learning_rate,
            device=str(device),
            compile=self.compile,
            callbacks=copy.deepcopy(self.callbacks),  # skorch changes callbacks in place
            verbose=0,
            **(params | (self.net_params or {})),
        ).initialize()
        self._epochs_done, self.history_ = 0, []
        self._input_shape, self._class_counts = tuple(input_shape), class_counts
        self._built_with = shaping_forms(self)


def make_augment(spec, body, row_shape):
    """What is done to the input of the network in training; None where it is nothing.

    Raises where the network has no input of the kind that is changed.
    """
    augmentation = make_augmentation(spec)
    if augmentation is None:
        return None
    if body is None:
        augmentation.tensor_name([input_name(row_shape)])
        return augmentation
    augmentation.tensor_name(body.example())
    return augmentation.filled(**body.known())
