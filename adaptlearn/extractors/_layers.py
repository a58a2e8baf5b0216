"""Which of a network's layers is looked at, and how to run no others than it needs."""

from __future__ import annotations

import copy
from functools import partial
from threading import get_ident
from weakref import WeakKeyDictionary, ref

import torch

_NEXT = WeakKeyDictionary()  # network -> dict of a layer -> the block that reads it


def run_to(module, layer, run):
    """Vectors of one layer, and what the network returned: None where it was not run to its end.

    The first call runs all layers, and sees which block is handed the vectors of each. Later ones
    stop where that block begins. Where no block is (some architectures change the vectors in
    between), all layers run each time.

    Parameters
    ----------
    module : nn.Module
        It is left as it is.
    layer : int
        0 is what goes into the first layer, -1 the last one as the model hands it out.
    run : callable
        ``run(module, all_layers=...)`` calls a module, and asks for the vectors of all layers or
        not.
    """
    if layer == -1 or torch.compiler.is_compiling():
        answer = run(module, all_layers=layer != -1)
    elif module not in _NEXT and not module.training:
        answer = _run_and_see(module, run)
    else:
        if module not in _NEXT:  # aside: what is drawn at random must not depend on who was first
            with torch.no_grad():
                _run_and_see(module, run)
        block, seen = _NEXT[module].get(layer), []
        if block is not None:
            _watched([block], partial(_stop, seen), partial(run, module, all_layers=False))
        if seen:
            return seen[0], None
        answer = run(module, all_layers=True)
    return hidden_layer(answer, layer), answer


def _run_and_see(module, run):
    # A copy with the same weights: models of transformers that have shown their layers keep hooks,
    # which cannot be pickled.
    tensors = (*module.parameters(), *module.buffers())
    twin = copy.deepcopy(module, {id(tensor): tensor for tensor in tensors}).eval()
    own = dict(zip(twin.modules(), module.modules(), strict=True))
    lists = [part for part in own if isinstance(part, torch.nn.ModuleList)]
    handed = []  # a block and its input, in order; the inputs may be freed meanwhile

    def note(block, x):
        handed.append((own[block], ref(x)))

    blocks = {block for blocks in lists for block in blocks}
    answer = _watched(blocks, note, partial(run, twin, all_layers=True))
    layers = getattr(answer, "hidden_states", None) or ()
    calls, known = [block for block, _ in handed], {}
    for k, vectors in enumerate(layers[:-1]):
        reader = next((block for block, x in handed if x() is vectors), None)
        if calls.count(reader) == 1:  # not one that stands for several layers, as in ALBERT
            known[k] = known[k - len(layers)] = reader
    _NEXT[module] = known
    return answer


class _Reached(Exception):
    """The layer that is wanted is there."""


def _stop(seen, block, x):
    seen.append(x)
    raise _Reached


def _watched(blocks, look, run):
    """Answer of `run`; ``look(block, input)`` is called before each block, and may stop it."""
    thread = get_ident()  # clones share the module, and may run beside this

    def hook(block, args, kwargs):
        first = next(iter((*args, *kwargs.values())), None)
        if get_ident() == thread and isinstance(first, torch.Tensor):
            look(block, first)

    hooks = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in blocks]
    try:
        return run()
    except _Reached:
        return None
    finally:
        for handle in hooks:
            handle.remove()


def hidden_layer(answer, layer):
    """Vectors of one layer out of what a network returned.

    Parameters
    ----------
    answer : tensor, tuple whose first entry is a tensor, or output of transformers
    layer : int
        0 is what goes into the first layer, -1 the last one as the model hands it out.
    """
    layers = getattr(answer, "hidden_states", None)
    if layer != -1:
        if layers is None:
            raise ValueError(f"layer={layer}: the model shows its last layer only; use -1.")
        if not -len(layers) <= layer < len(layers):
            raise ValueError(
                f"layer={layer}: the model has layers 0 (embeddings) to {len(layers) - 1}, or "
                f"-{len(layers)} to -1 from the end."
            )
        if layer != len(layers) - 1:  # some models normalise what comes out of the last one
            return layers[layer]
    if hasattr(answer, "last_hidden_state"):
        return answer.last_hidden_state
    return answer[0] if isinstance(answer, (tuple, list)) else answer
