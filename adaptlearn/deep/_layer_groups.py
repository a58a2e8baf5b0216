"""Layer groups of any network, from the input up: embeddings, then block by block."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class LayerGroups(NamedTuple):
    """Which group, 0 nearest to the input, each part of a network belongs to."""

    n: int
    prefixes: dict  # name of a submodule -> number of its group

    def of_parameter(self, name):
        """Group of a parameter; what stands beside the layers (a class token) is input."""
        return self._longest(name, 0)

    def of_module(self, name):
        """Group of a submodule; one that holds several groups counts as the last of them."""
        inside = [number for prefix, number in self.prefixes.items() if _is_in(prefix, name)]
        return self._longest(name, max(inside, default=self.n - 1 if not name else 0))

    def up_to(self, last):
        """The groups where what lies above `last` is not read: it belongs to `last`."""
        return LayerGroups(last + 1, {name: min(n, last) for name, n in self.prefixes.items()})

    def _longest(self, name, otherwise):
        while name:
            if name in self.prefixes:
                return self.prefixes[name]
            name = name.rpartition(".")[0]
        return otherwise


def layer_groups(module):
    """Find the chain of layers that makes up a network.

    The chain is the ModuleList or Sequential nearest to the outside (the transformer blocks of
    BERT, GPT-2 and ViT, the stages of ResNet, ConvNeXt and Swin); of several, the one with the most
    parameters; of several side by side (``layer1`` to ``layer4`` of torchvision's ResNet), all
    children of the module that holds them. What is defined before the chain (embeddings, the stem)
    is group 0, what comes after it (a final norm, a pooler) belongs to the last group. A layer
    without weight matrix (a norm between two others) belongs to the one before it.

    Parameters
    ----------
    module : nn.Module

    Returns
    -------
    LayerGroups
    """
    before, chain, after = _split(module, "")
    parts = dict(module.named_modules())
    prefixes, number = dict.fromkeys(before, 0), 0
    begun = any(next(parts[name].parameters(), None) is not None for name in before)
    for name in chain:
        if _has_matrix(parts[name]):
            number, begun = number + begun, True
        prefixes[name] = number
    return LayerGroups(number + 1, prefixes | dict.fromkeys(after, number))


def _split(module, path):
    """Names of submodules before the chain, in it, and after it."""
    children = {f"{path}{name}": child for name, child in module.named_children()}
    names = list(children)
    deeper = [n for n, c in children.items() if any(_is_chain(m) for m in c.modules())]
    if _is_chain(module) or not deeper or sum(_is_chain(children[n]) for n in deeper) > 1:
        return [], names, []
    inner = max(deeper, key=lambda n: sum(p.numel() for p in children[n].parameters()))
    before, chain, after = _split(children[inner], f"{inner}.")
    place = names.index(inner)
    return names[:place] + before, chain, after + names[place + 1 :]


def _is_chain(module):
    is_list = isinstance(module, (nn.ModuleList, nn.Sequential))
    return is_list and sum(_has_matrix(child) for child in module.children()) > 1


def _has_matrix(module):
    return any(parameter.ndim > 1 for parameter in module.parameters())


def _is_in(name, outer):
    return name.startswith(f"{outer}.") if outer else True
