"""Low-rank adapters: a few trained numbers beside each fixed projection."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_SHARE = 0.05  # of a projection's parameters that its adapter may have


class LowRank(nn.Module):
    r"""A fixed projection plus a trained one of low rank, :math:`W + \frac{\alpha}{r} B A`.

    B starts at zero, so that nothing changes at first; A is drawn from a normal distribution with
    variance one over the number of inputs.

    Parameters
    ----------
    base : nn.Linear, nn.Conv2d or Conv1D of transformers
    rank : int
        Of B A, >= 1.
    scale : float
        :math:`\alpha / r`.
    generator : torch.Generator

    References
    ----------
    Hu et al., "LoRA: Low-rank adaptation of large language models", 2022, section 4.1.
    """

    def __init__(self, base, rank, scale, generator):
        super().__init__()
        n_out, *of_input = _shape(base)
        self.base, self.scale = base, scale
        drawn = torch.randn((rank, *of_input), generator=generator)
        self.A = nn.Parameter(drawn / torch.tensor(of_input).prod().sqrt())
        self.B = nn.Parameter(torch.zeros(n_out, rank))

    def forward(self, x):
        """The projection of `x`."""
        base, A, B = self.base, self.A, self.B
        if A.ndim == 2:
            return base(x) + self.scale * F.linear(F.linear(x, A), B)
        low = F.conv2d(x, A, None, base.stride, base.padding, base.dilation)
        return base(x) + self.scale * F.conv2d(low, B[:, :, None, None])

    @property
    def weight(self):
        """The sum, for code that does not call a projection but reads its weight."""
        change = self.scale * (self.B @ self.A.flatten(1)).view(len(self.B), *self.A.shape[1:])
        return self.base.weight + (change.T if _is_transposed(self.base) else change)

    def __getattr__(self, name):
        """What networks ask their projections for: bias, stride, number of inputs, ..."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)


def add_adapters(module, rank, alpha, generator):
    """Put an adapter beside every linear projection and ordinary convolution, in place.

    Parameters
    ----------
    module : nn.Module
    rank : int
        Lowered, down to 1, where an adapter would have more than a twentieth of the parameters of
        its projection.
    alpha : float
        The change is scaled by ``alpha / rank``.
    generator : torch.Generator

    Returns
    -------
    int
        Number of adapters.
    """
    places = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent._modules.items()  # named_children shows a shared one once
        if _is_projection(child)
    ]
    made = {}  # a projection in two places has one adapter
    for parent, name, child in places:
        if id(child) not in made:
            n_out, *of_input = _shape(child)
            n_in = int(torch.tensor(of_input).prod())
            most = int(_SHARE * n_in * n_out / (n_in + n_out))
            made[id(child)] = LowRank(child, min(rank, max(1, most)), alpha / rank, generator)
        setattr(parent, name, made[id(child)])
    return len(made)


def _is_projection(module):
    # Exact types: a subclass may be used by its weight alone, as in nn.MultiheadAttention.
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.padding_mode == "zeros"
    return type(module) is nn.Linear or _is_transposed(module)


def _is_transposed(module):
    """Whether this is the linear layer of GPT-2, whose weight is (inputs, outputs)."""
    kind = type(module)
    return kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers.")


def _shape(base):
    return tuple(base.weight.T.shape if _is_transposed(base) else base.weight.shape)
