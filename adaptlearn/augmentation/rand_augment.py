"""Random operations of geometry and colour, one strength for all."""

from __future__ import annotations

import math
from numbers import Integral, Real

import torch

from .._compat import Interval
from .._components import did_you_mean, register
from ._pixels import (
    NORMALISATION,
    adjust,
    check_normalisation,
    clamp_like,
    normalisation,
    per_row,
    read_images,
    sample,
)
from .base import Augmentation, draw

GEOMETRY = "rotate", "shear_x", "shear_y", "translate_x", "translate_y"
BLENDS = "brightness", "contrast", "saturation", "sharpness"
SWITCHES = "autocontrast", "posterize", "solarize"
OPERATIONS = ("identity", *GEOMETRY, *BLENDS, *SWITCHES)


@register("augment", "rand_augment")
class RandAugment(Augmentation):
    r"""Apply a few random operations to each image, all with one strength.

    Each image gets `n` operations, drawn evenly and with repetition, each in a random direction.
    With :math:`m = \text{magnitude} / 10`:

    ================================ ============================================================
    "rotate"                         by :math:`\pm 30 m` degrees
    "shear_x", "shear_y"             by :math:`\pm 0.3\, m` of a pixel per pixel
    "translate_x", "translate_y"     by :math:`\pm 0.45\, m` of the width, of the height
    "brightness"                     blend :math:`f x + (1 - f) x'`, :math:`f = 1 \pm 0.9\, m`, with
                                     x' being black
    "contrast"                       the same, x' being the mean grey of the image
    "saturation"                     the same, x' being the image in grey
    "sharpness"                      the same, x' being the image smoothed
    "autocontrast"                   each channel stretched to [0, 1]
    "posterize"                      cut to :math:`8 - \lfloor 4 m \rfloor` bits
    "solarize"                       of 256 levels, those from :math:`256 (1 - m)` on are inverted
    "identity"                       nothing
    ================================ ============================================================

    Parameters
    ----------
    n : int, default=2
        Operations per image, >= 1.
    magnitude : float, default=5.0
        Strength, in [0, 10]. The paper finds 9 best for ImageNet, with far more rows.
    ops : sequence of str or None, default=None
        Names of the operations to draw from. None: all of the table.
    mean : float, tuple of float or None, default=None
        What the images were normalised with; see `ColorJitter`. None: the values of ImageNet.
    std : float, tuple of float or None, default=None
        Likewise, > 0.

    Notes
    -----
    The places of an image that nothing moves to are 0, the mean colour where images are normalised.

    Rows go through one operation of each kind together, so that the time does not depend on what
    was drawn: geometry first, all of a row in one resampling, then colours in the order of the
    table, where two blends of one kind multiply their factors.

    References
    ----------
    Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space",
    2020. Differs from the paper: geometry comes before colours, resampling is bilinear, there is no
    "equalize", and colours are cut to [0, 1] once before they are posterized.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import RandAugment
    >>> batch = {"pixel_values": torch.randn(8, 3, 32, 32)}
    >>> told = RandAugment(ops=["rotate", "contrast"])(batch, torch.Generator().manual_seed(0))
    >>> told["pixel_values"].shape
    torch.Size([8, 3, 32, 32])
    """

    applies_to = "pixel_values"

    _parameter_constraints = {
        "n": [Interval(Integral, 1, None, closed="left")],
        "magnitude": [Interval(Real, 0, 10, closed="both")],
        "ops": [None, list, tuple],
        **NORMALISATION,
    }

    def __init__(self, n=2, magnitude=5.0, ops=None, mean=None, std=None):
        self.n = n
        self.magnitude = magnitude
        self.ops = ops
        self.mean = mean
        self.std = std

    def check(self):
        """Raise for unknown operations, and for a mean or scale that is none."""
        check_normalisation(self)
        if self.ops is None:
            return
        for name in self.ops:
            if name not in OPERATIONS:
                raise ValueError(
                    f"ops of RandAugment holds {name!r}; {did_you_mean(name, OPERATIONS)}"
                )
        if not self.ops:
            raise ValueError("ops of RandAugment is empty; give names, or None for all.")

    def augment(self, x, generator):
        """Each image after its operations."""
        images = read_images(x, self)
        mean, std = normalisation(self, images)
        ops = OPERATIONS if self.ops is None else tuple(self.ops)
        u = draw((2, len(x), self.n), generator, x)
        op, sign = (u[0] * len(ops)).long().clamp_max(len(ops) - 1), (u[1] < 0.5).long()

        def drawn(names):
            """Which rows drew one of these operations, (n, 1, 1, 1)."""
            known = torch.tensor([name in names for name in ops], device=x.device)
            return known[op].any(1)[:, None, None, None]

        if not set(ops).isdisjoint(GEOMETRY):
            table = images.new_tensor(_matrices(ops, self.magnitude / 10, *x.shape[2:]))
            theta = torch.eye(3, dtype=images.dtype, device=x.device)
            for k in range(self.n):
                theta = theta @ table[op[:, k], sign[:, k]]
            images = torch.where(drawn(GEOMETRY), sample(images, theta[:, :2], "zeros"), images)
        if not set(ops).isdisjoint(BLENDS + SWITCHES):
            table = images.new_tensor(_factors(ops, self.magnitude / 10))
            factors = table[op, sign].prod(1).T  # (4, n)
            colours = self._recolour(images * std + mean, ops, factors, drawn)
            changed = (colours - mean) / std
            images = torch.where(drawn(BLENDS + SWITCHES), changed, images)
        return images.to(x.dtype)

    def _recolour(self, x, ops, factors, drawn):
        """Colours in [0, 1] after the operations of each row."""
        before = x
        *blends, sharpness = [
            per_row(factor, x) if name in ops else None
            for name, factor in zip(BLENDS, factors, strict=True)
        ]
        x = adjust(x, *blends)
        if sharpness is not None:
            x = torch.lerp(_smooth(x), x, sharpness)
        x = clamp_like(x, before)
        if "autocontrast" in ops:
            x = torch.where(drawn(["autocontrast"]), _stretch(x), x)
        if "posterize" in ops:
            step = 2 ** math.floor(4 * self.magnitude / 10)
            # A colour that stands for a byte stays one whatever the last digit of its number.
            bits = (x * (255 / step) + 1e-3).floor() * (step / 255)
            x = torch.where(drawn(["posterize"]), bits, x)
        if "solarize" in ops:
            bright = drawn(["solarize"]) & (x >= (1 - self.magnitude / 10) * 256 / 255)
            x = torch.where(bright, 1 - x, x)
        return x


def _matrices(ops, m, height, width):
    """Where pixels come from, of each operation in both directions: (n_ops, 2, 3, 3).

    In units in which an image reaches from -1 to 1; angles hold in pixels.
    """
    table = []
    for name in ops:
        for sign in (-1, 1):
            row = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
            if name == "rotate":
                angle = math.radians(30 * m) * sign
                row[0][0] = row[1][1] = math.cos(angle)
                row[0][1] = -math.sin(angle) * height / width
                row[1][0] = math.sin(angle) * width / height
            elif name == "shear_x":
                row[0][1] = 0.3 * m * sign * height / width
            elif name == "shear_y":
                row[1][0] = 0.3 * m * sign * width / height
            elif name == "translate_x":
                row[0][2] = 2 * 0.45 * m * sign
            elif name == "translate_y":
                row[1][2] = 2 * 0.45 * m * sign
            table.append(row)
    return [table[i : i + 2] for i in range(0, len(table), 2)]


def _factors(ops, m):
    """Factor of each blend in each operation and direction: (n_ops, 2, 4)."""
    return [
        [[1 + sign * 0.9 * m if name == blend else 1.0 for blend in BLENDS] for sign in (-1, 1)]
        for name in ops
    ]


def _smooth(x):
    """Pillow's smoothing filter: the centre counts five times. Borders are left as they are."""
    if min(x.shape[2:]) < 3:
        return x
    # Sums of shifted images: several times as fast as a convolution of three channels.
    lines = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    box = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = (box + 4 * x[:, :, 1:-1, 1:-1]) / 13
    return smooth


def _stretch(x):
    """Each channel of each image stretched to [0, 1]; a constant one stays."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    width = high - low
    return torch.where(width > 0, (x - low) / width.clamp_min(1e-12), x)
