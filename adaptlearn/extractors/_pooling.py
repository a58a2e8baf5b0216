r"""From one vector per token or place to one vector per row.

``"gem"`` is the generalised mean of Radenović, Tolias & Chum (2019), "Fine-tuning CNN image
retrieval with no human annotation", with exponent 3:
:math:`(\frac{1}{m} \sum_i \max(x_i, 10^{-6})^3)^{1/3}` over the m tokens or places. It lies between
mean and maximum, and reads negative values as zero: it is made for what has gone through a ReLU.
"""

from __future__ import annotations

import torch

_GEM_FLOOR, _GEM_EXPONENT = 1e-6, 3.0


def pool_tokens(hidden, mask, how):
    """One vector per row out of one per token; padding never counts.

    Parameters
    ----------
    hidden : tensor of shape (n, n_tokens, d)
    mask : tensor of shape (n, n_tokens) or None
        Nonzero for tokens, zero for the padding on their right, and for tokens that an augmentation
        hides. None: all count.
    how : {"cls", "mean", "max", "last", "gem"}

    Returns
    -------
    tensor of shape (n, d)
    """
    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        if mask is None:
            return hidden[:, -1]
        rows = torch.arange(len(hidden), device=hidden.device)
        places = torch.arange(mask.shape[1], device=mask.device)
        return hidden[rows, (places * mask.bool()).argmax(1)]
    if how == "max":
        if mask is not None:
            hidden = hidden.masked_fill(~mask.bool()[:, :, None], float("-inf"))
        return hidden.amax(1)
    hidden = hidden.float()  # a sum of many tokens outgrows half precision
    if how == "gem":
        mean = _mean(hidden.clamp(min=_GEM_FLOOR).pow(_GEM_EXPONENT), mask)
        return mean.pow(1 / _GEM_EXPONENT)
    return _mean(hidden, mask)


def _mean(hidden, mask):
    if mask is None:
        return hidden.mean(1)
    real = mask.bool()[:, :, None]
    return hidden.masked_fill(~real, 0.0).sum(1) / real.sum(1)


def pool_places(hidden, how):
    """One vector per row out of a map (n, d, height, width) or tokens (n, n_tokens, d)."""
    tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
    return pool_tokens(tokens, None, how)


def trained_pooler(answer, network, instead):
    """The model's own pooled output, shape (n, d); raises where it is absent or random.

    Parameters
    ----------
    answer : output of transformers
    network : Network
    instead : str
        What else ``pooling=`` may be, for the error message.
    """
    pooled = getattr(answer, "pooler_output", None)
    if pooled is None or network.has_random_pooler:
        state = "has none" if pooled is None else "holds no weights for it (it is random)"
        raise ValueError(f"pooling='pooler': the model {state}; use {instead}.")
    return pooled.flatten(1)  # ResNet's is (n, d, 1, 1)
