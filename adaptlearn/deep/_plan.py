"""A fine-tuning as the trainer follows it: rates by layer group, and what is thawed when."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from ._layer_groups import layer_groups
from ._low_rank import LowRank, add_adapters
from ._norm import DomainBatchNorm
from ._raw import ExtractorBackbone
from .finetune import FineTuning

_FULL_DEPTH = 12  # layer groups below the last over which rates decay at the full pace
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, DomainBatchNorm)


class Plan:
    """What of a network is trained, and how.

    Parameters
    ----------
    mode : str
        As `settled_mode` gives it.
    settings : FineTuning
    groups : LayerGroups, optional
        Of the backbone; None where the network is trained as one.
    """

    def __init__(self, mode="plain", settings=None, groups=None):
        settings = FineTuning() if settings is None else settings
        self.mode, self.settings, self.groups = mode, settings, groups
        self.accumulate, self.clip_norm = settings.accumulate, settings.clip_norm
        self.lowest = None

    # --- rates ----------------------------------------------------------------------------

    def parameter_groups(self, network, named_parameters, rate):
        """Groups for an optimiser: the head and what belongs to it first, then down the layers.

        What is never trained is left out.
        """
        backbone = network.backbone
        names = {id(p): name for name, p in backbone.named_parameters()}
        fixed, adapters = self._fixed_norms(backbone), _adapter_parameters(backbone)
        by_factor = {}
        for _, parameter in named_parameters:
            place = id(parameter)
            if place not in names or place in adapters:
                by_factor.setdefault(1.0, []).append(parameter)
                continue
            group = self.groups.of_parameter(names[place])
            if group >= self.lowest_trained(1.0) and place not in fixed:
                by_factor.setdefault(self.factor(group), []).append(parameter)
        return [{"params": p, "lr": rate * f} for f, p in sorted(by_factor.items(), reverse=True)]

    def factor(self, group):
        """Rate of a layer group as a share of the head's."""
        n_below = self.groups.n - 1
        depth = (n_below - group) * min(1.0, _FULL_DEPTH / max(n_below, 1))
        return self.settings.backbone_lr * self.settings.layer_decay**depth

    def warm(self, progress):
        """Factor on all rates while they rise."""
        if self.groups is None or progress >= self.settings.warmup:
            return 1.0
        return progress / self.settings.warmup

    # --- freezing -------------------------------------------------------------------------

    def lowest_trained(self, progress):
        """The lowest layer group that is trained at this progress; all above it are, too."""
        n, mode = self.groups.n, self.mode
        if mode == "full":
            return 0
        if mode.startswith("last:"):
            return n - int(mode.removeprefix("last:"))
        if mode == "gradual":
            return n - min(n, int(2 * n * progress))
        return n

    def begin(self, network, progress):
        """Put the layers in the mode that they are trained in, all else being in training mode."""
        if self.groups is None:
            return
        self.lowest = lowest = self.lowest_trained(progress)
        backbone = network.backbone
        fixed, adapters = self._fixed_norms(backbone), _adapter_parameters(backbone)
        for name, parameter in backbone.named_parameters():
            wanted = self.groups.of_parameter(name) >= lowest and id(parameter) not in fixed
            parameter.requires_grad_(parameter.is_floating_point() and wanted)
            if id(parameter) in adapters:
                parameter.requires_grad_(True)
        for name, module in backbone.named_modules():
            thawed = self.groups.of_module(name) >= lowest
            if isinstance(module, _BATCH_NORM):
                learns = thawed or _compares_domains(module)
                module.training = learns and not self.settings.freeze_batch_norm
            else:
                module.training = thawed or self.mode == "lora"

    def follow(self, network, progress):
        """Thaw what is due; cheap where nothing is."""
        if self.mode == "gradual" and self.lowest_trained(progress) != self.lowest:
            self.begin(network, progress)

    def _fixed_norms(self, backbone):
        if not self.settings.freeze_batch_norm:
            return set()
        norms = [m for m in backbone.modules() if isinstance(m, _BATCH_NORM)]
        return {id(parameter) for norm in norms for parameter in norm.parameters()}


def _compares_domains(norm):
    return isinstance(norm, DomainBatchNorm) and norm.n_sources + norm.n_targets > 1


def _adapter_parameters(backbone):
    adapters = [m for m in backbone.modules() if isinstance(m, LowRank)]
    return {id(parameter) for adapter in adapters for parameter in (adapter.A, adapter.B)}


def make_plan(mode, settings, network, generator):
    """`Plan` of a fit; a "lora" network gets its adapters here.

    Raises
    ------
    ValueError
        Where the network has no such layers.
    """
    if settings.gradient_checkpointing:
        _checkpoint_gradients(network.backbone)
    if mode in ("plain", "frozen"):
        return Plan(mode, settings)
    groups = _groups_read(network.backbone)
    if mode.startswith("last:") and int(mode.removeprefix("last:")) > groups.n:
        raise ValueError(
            f"finetune={mode!r}: the backbone has {groups.n} layer groups, so that N is at most "
            f"{groups.n}; 'full' trains them all."
        )
    if mode == "lora" and not add_adapters(
        network.backbone, settings.rank, settings.alpha, generator
    ):
        raise ValueError(
            "finetune='lora': the backbone has no linear projection or convolution that an adapter "
            "could stand beside. Use 'full', 'gradual' or 'last:N'."
        )
    return Plan(mode, settings, groups)


def _groups_read(backbone):
    """Layer groups; those above the layer that an extractor reads are not counted."""
    groups = layer_groups(backbone)
    for prefix, part in backbone.named_modules():
        if isinstance(part, ExtractorBackbone):
            names = (f"{prefix}.{name}" if prefix else name for name in part.read_parameters())
            return groups.up_to(max(map(groups.of_parameter, names), default=groups.n - 1))
    return groups


def _checkpoint_gradients(backbone):
    # The switches that transformers has in its blocks. Its own method would also add hooks, which
    # cannot be pickled and are of use for inputs without gradients in reentrant mode alone.
    blocks = [module for module in backbone.modules() if hasattr(module, "gradient_checkpointing")]
    if not blocks:
        raise ValueError(
            "gradient_checkpointing=True needs a backbone of transformers that supports it; this "
            "one does not. Use smaller batches with accumulate=."
        )
    for block in blocks:
        block.gradient_checkpointing = True
        block._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
