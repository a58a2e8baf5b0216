"""From one vector per token or place to one vector per row."""

from __future__ import annotations

import torch


def pool_tokens(hidden, mask, how):
    """One vector per row out of one per token; padding never counts.

    Parameters
    ----------
    hidden : tensor of shape (n, n_tokens, d)
    mask : tensor of shape (n, n_tokens)
        Nonzero for tokens, zero for the padding on their right.
    how : {"cls", "mean", "max", "last"}

    Returns
    -------
    tensor of shape (n, d)
    """
    if how == "cls":
        return hidden[:, 0]
    if how == "last":
        rows = torch.arange(len(hidden), device=hidden.device)
        return hidden[rows, mask.sum(1) - 1]
    real = mask.bool()[:, :, None]
    if how == "max":
        return hidden.masked_fill(~real, float("-inf")).amax(1)
    # In float32: a sum of many tokens outgrows half precision.
    return hidden.float().masked_fill(~real, 0.0).sum(1) / real.sum(1)


def pool_places(hidden, how):
    r"""One vector per image out of a map (n, d, height, width) or tokens (n, n_tokens, d).

    ``"gem"`` is the generalised mean :math:`(\frac{1}{m} \sum_i \max(x_i, 10^{-6})^3)^{1/3}`.
    """
    flat = hidden.float().flatten(2) if hidden.ndim == 4 else hidden.float().transpose(1, 2)
    if how == "max":
        return flat.amax(2)
    if how == "gem":
        return flat.clamp(min=1e-6).pow(3).mean(2).pow(1 / 3)
    return flat.mean(2)
