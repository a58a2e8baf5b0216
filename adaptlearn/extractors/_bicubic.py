"""The first pass of bicubic resizing with Pillow's weights, which torch holds in 16 bits only."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

_HALF = 2**11  # half the bits of a weight


def resize_height(image, height):
    """Bytes (1, 3, h, w), channels last in memory, in another height, as Pillow makes them."""
    _, _, h, w = image.shape
    lines = image.permute(0, 2, 3, 1).reshape(h, 3 * w)
    return _image(_weighted_sums(lines, height), w)


def resize_width(image, width):
    """Bytes (1, 3, h, w), channels last in memory, in another width, as Pillow makes them."""
    _, _, h, w = image.shape
    columns = _transposed(image.permute(0, 2, 3, 1).reshape(h, 3 * w)).view(w, 3 * h)
    lines = _transposed(_weighted_sums(columns, width).view(3 * width, h))
    return _image(lines, width)


def _image(lines, width):
    return lines.view(1, -1, width, 3).permute(0, 3, 1, 2)


def _weighted_sums(rows, n):
    """Rows (n_in, m) of bytes into `n` weighted sums of them, bytes again."""
    taps = _taps(len(rows), n)
    if n < len(rows):
        # Sums of numbers from -128 to 127 round off less than sums of bytes: a byte in a hundred
        # thousand is off by one.
        sums = _bags(taps, (rows ^ 128).view(torch.int8).float(), taps.weights).add_(taps.offset)
    else:
        # A next pass that enlarges too has weights near 1, so that these sums must be exact: they
        # are in two halves, of less than 24 bits each, cut where Pillow's shift cuts them.
        rows = rows.float()
        low = _bags(taps, rows, taps.low).floor_()
        sums = _bags(taps, rows, taps.high).add_(low, alpha=1 / _HALF).add_(0.5)
    # NumPy's conversion is five times as quick as torch's.
    return torch.from_numpy(sums.clamp_(0, 255).numpy().astype(np.uint8))


def _bags(taps, rows, weights):
    numbers, starts = taps.numbers, taps.starts
    return F.embedding_bag(numbers, rows, starts, mode="sum", per_sample_weights=weights)


def _transposed(matrix):
    """A matrix transposed in memory, as the channels of one pixel shuffled.

    That is several times as quick as ``contiguous``.
    """
    n, m = matrix.shape
    pixel = matrix.reshape(1, 1, 1, n * m).permute(0, 3, 1, 2)
    return F.channel_shuffle(pixel, n).view(m, n)


class _Taps(NamedTuple):
    """What each output is a sum of."""

    numbers: torch.Tensor  # of the inputs, output by output
    starts: torch.Tensor  # where those of each output begin
    weights: torch.Tensor
    high: torch.Tensor  # weights = high + low / _HALF, both whole multiples of 1 / _HALF
    low: torch.Tensor
    offset: torch.Tensor  # takes sums of centred bytes back, and half a step on, to be cut


@lru_cache(maxsize=64)
def _taps(n_in, n_out):
    scale = n_in / n_out
    stretch = max(scale, 1.0)  # a wider kernel where several inputs make one output
    centre = (np.arange(n_out)[:, None] + 0.5) * scale
    first = np.maximum(centre - 2 * stretch + 0.5, 0).astype(int)
    last = np.minimum(centre + 2 * stretch + 0.5, n_in).astype(int)
    number = first + np.arange((last - first).max())
    seen = number < last
    x = np.abs(number + 0.5 - centre) / stretch
    weight = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)
    weight[~seen | (x >= 2)] = 0
    # Pillow has whole multiples of 1 / _HALF^2.
    weight = np.rint(weight / weight.sum(1, keepdims=True) * _HALF**2)
    offset = 128 / _HALF**2 * weight.sum(1, keepdims=True) + 0.5
    starts = np.cumsum(seen.sum(1)) - seen.sum(1)
    weight = weight[seen]
    high = np.rint(weight / _HALF)
    numbers = (weight / _HALF**2, high / _HALF, weight / _HALF - high, offset)
    return _Taps(
        torch.from_numpy(number[seen]),
        torch.from_numpy(starts),
        *(torch.from_numpy(values).float() for values in numbers),
    )
