"""The trained module: backbone, bottleneck and head."""

from __future__ import annotations

import copy
import inspect

import torch
from torch import nn

from ._norm import DomainBatchNorm, DomainContext, convert_batch_norm
from ._raw import ExtractorBackbone

_SCALE_FLOOR = 0.1


class Network(nn.Module):
    """Backbone -> bottleneck -> features -> head -> logits.

    Parameters
    ----------
    backbone, bottleneck, head : nn.Module
    context : DomainContext
        Tells the normalisation layers which rows belong to which domain.
    scale : FeatureScale, optional
    """

    def __init__(self, backbone, bottleneck, head, context, scale=None):
        super().__init__()
        self.backbone, self.bottleneck, self.head = backbone, bottleneck, head
        self.context, self.scale = context, scale

    def forward(self, x, segments):
        """Features and logits of a batch whose rows lie in `segments` of one domain each."""
        features = self.backbone_features(x, segments)
        if self.scale is not None:
            features = self.scale(features)
        features = self.bottleneck(features)
        return features, self.head(features)

    def backbone_features(self, x, segments):
        """What the backbone makes of a batch, of shape (n_rows, n_features)."""
        self.context.segments = segments
        features = self.backbone(x)
        return features.flatten(1) if features.ndim > 2 else features

    def pool_statistics(self):
        """Refresh the pooled statistics of all normalisation layers."""
        for layer in self.modules():
            if isinstance(layer, DomainBatchNorm):
                layer.pool_statistics()

    @property
    def has_domain_norm(self):
        """Whether any layer keeps statistics per domain."""
        return any(isinstance(layer, DomainBatchNorm) for layer in self.modules())


class FeatureScale(nn.Module):
    """A fixed shift and scale by domain: pretrained features as the layers after them learn best.

    Features of pretrained networks have any size (a sentence embedding of length 1 has numbers
    around 0.05), and a head that starts from nothing would learn as slowly as they are small. And
    where domains differ by an offset, it is taken out here, as for columns of numbers.

    Parameters
    ----------
    n_slots : int
        Domains and pooled sides, see `DomainIndex`.
    n_features : int
    context : DomainContext
    """

    def __init__(self, n_slots, n_features, context):
        super().__init__()
        self.context = context
        self.register_buffer("mean", torch.zeros(n_slots, n_features))
        self.register_buffer("std", torch.ones(n_slots, n_features))

    def take(self, mean, std):
        """Use these statistics (n_slots, n_features), arrays of the features before training."""
        mean, std = torch.from_numpy(mean), torch.from_numpy(std)
        # A feature that hardly varies now may do so after training.
        floor = _SCALE_FLOOR * std.square().mean(1, keepdim=True).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.maximum(std, floor))

    def forward(self, features):
        """Shifted and scaled features."""
        segments = self.context.segments
        parts = features.split([stop - start for _, start, stop in segments])
        slots = [slot for slot, _, _ in segments]
        return torch.cat(
            [(p - self.mean[s]) / self.std[s] for p, s in zip(parts, slots, strict=True)]
        )


class CosineHead(nn.Linear):
    """Logits that are `scale` times the cosines between features and class weights.

    Parameters
    ----------
    in_features, out_features : int
    scale : float
    """

    def __init__(self, in_features, out_features, scale):
        super().__init__(in_features, out_features, bias=False)
        self.scale = scale

    def forward(self, features):
        """Logits of shape (n_rows, out_features), between -scale and scale."""
        # A row of zeros has no direction; its gradient grows as one over the guard.
        rows = nn.functional.normalize(features, eps=1e-6)
        return self.scale * nn.functional.linear(rows, nn.functional.normalize(self.weight))


def build_network(
    backbone, input_shape, n_outputs, *, hidden_layer_sizes, bottleneck, dropout, normalize, index,
    cosine_scale=None, pretrained=False,
):  # fmt: skip
    """Network for rows of `input_shape`, with `index` the domains of the fit.

    With a `cosine_scale` it ends in a `CosineHead`. A `pretrained` backbone gets a `FeatureScale`.
    """
    context = DomainContext()
    sides = len(index.sources), len(index.targets)

    def norm(width):
        # Domain-specific batch norm between the layers of a perceptron lost accuracy against
        # standardised inputs alone in our benchmark; a backbone's own layers are converted.
        return [nn.BatchNorm1d(width)] if normalize == "batch" else []

    def dense(width_in, width_out):
        layers = [nn.Linear(width_in, width_out), *norm(width_out), nn.ReLU()]
        return layers + ([nn.Dropout(dropout)] if dropout else [])

    if backbone is None:
        layers, width = [], input_shape[0]
        for size in hidden_layer_sizes:
            layers += dense(width, size)
            width = size
        body = nn.Sequential(*layers)
    else:
        body = backbone if isinstance(backbone, ExtractorBackbone) else None
        body = make_backbone(backbone, input_shape) if body is None else body
        if normalize == "domain":
            body = convert_batch_norm(nn.Sequential(body), *sides, context)[0]
        width = backbone_width(body, input_shape, context)
    scale = FeatureScale(index.n_slots, width, context) if pretrained else None
    # A pretrained backbone is followed by the perceptron that frozen embeddings go through.
    neck = []
    for size in hidden_layer_sizes if pretrained else ():
        neck += dense(width, size)
        width = size
    if bottleneck is not None:
        neck += dense(width, bottleneck)
        width = bottleneck
    neck = nn.Sequential(*neck)
    if cosine_scale is None:
        head = nn.Linear(width, n_outputs)
    else:
        head = CosineHead(width, n_outputs, cosine_scale)
    return Network(body, neck, head, context, scale)


def make_backbone(backbone, input_shape):
    """A copy of a module, or what a class or factory makes.

    A factory with a required positional argument receives the number of features (the shape of
    one row when rows are not vectors).
    """
    if isinstance(backbone, nn.Module):
        return copy.deepcopy(backbone)
    try:
        parameters = inspect.signature(backbone).parameters.values()
    except ValueError:
        parameters = []
    needs_size = any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in parameters
    )
    size = input_shape[0] if len(input_shape) == 1 else tuple(input_shape)
    module = backbone(size) if needs_size else backbone()
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"backbone={backbone!r} made a {type(module).__name__}; it must make a torch.nn.Module."
        )
    return module


def backbone_width(module, input_shape, context):
    """Number of features of one row, found with two rows of zeros (or two examples)."""
    context.segments = [(0, 0, 2)]
    parameter = next(module.parameters(), torch.zeros(()))
    was_training = module.training
    module.eval()
    of_extractor = isinstance(module, ExtractorBackbone)
    zeros = () if of_extractor else torch.zeros((2, *input_shape), dtype=parameter.dtype)
    with torch.no_grad():
        out = module(module.example() if of_extractor else zeros)
    module.train(was_training)
    if not isinstance(out, torch.Tensor) or out.ndim < 2 or len(out) != 2:
        raise ValueError(
            "backbone must map (n_rows, ...) to one tensor of shape (n_rows, n_features); for two "
            f"rows it gave {getattr(out, 'shape', type(out).__name__)}."
        )
    return int(out[0].numel())
