"""Which of a network's layers is looked at."""

from __future__ import annotations


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
