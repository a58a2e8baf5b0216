"""Images as tensors: their colours in [0, 1], blends of them, and images in another place."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import torch
import torch.nn.functional as F

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISATION = {"mean": [None, Real, tuple, list], "std": [None, Real, tuple, list]}
# Share of each channel in the brightness that the eye sees (ITU-R 601-2, as in Pillow).
_GREY = (0.299, 0.587, 0.114)


def read_images(x, augmentation):
    """Images of shape (n, c, h, w) in float32 or float64."""
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(
            f"{type(augmentation).__name__} needs images of shape (n, channels, height, width) in "
            f"floating point; it got shape {tuple(x.shape)} of {x.dtype}."
        )
    # Places of pixels need more digits than half precision has.
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def normalisation(augmentation, x):
    """Tensors (1, c or 1, 1, 1): the mean and the scale that images `x` were normalised with."""
    out = []
    for name, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        value = getattr(augmentation, name)
        value = default if value is None else value
        value = (value,) if isinstance(value, Real) else tuple(value)
        if len(value) not in (1, x.shape[1]):
            raise ValueError(
                f"{name} of {type(augmentation).__name__} has {len(value)} values for images of "
                f"{x.shape[1]} channels. Give {name}= what the images were normalised with, one "
                f"number for each channel or one for all ({name}={0.0 if name == 'mean' else 1.0} "
                "if they were not)."
            )
        out.append(x.new_tensor(value)[None, :, None, None])
    return out


def check_normalisation(augmentation):
    """Raise unless `mean` and `std` are None, numbers or sequences of numbers, std > 0."""
    for name in ("mean", "std"):
        value = getattr(augmentation, name)
        values = [value] if isinstance(value, Real) else value
        if value is None:
            continue
        plain = isinstance(values, Sequence) and not isinstance(values, str)
        plain = plain and len(values) > 0 and all(isinstance(v, Real) for v in values)
        if not plain or (name == "std" and min(values) <= 0):
            raise ValueError(
                f"{name}={value!r} of {type(augmentation).__name__} must be None, a number or a "
                f"tuple of one number for each channel{', > 0' if name == 'std' else ''}."
            )


def per_row(values, x):
    """One value for each row, to be combined with images."""
    return values.to(x.dtype)[:, None, None, None]


def grey(x):
    """Brightness of each pixel, (n, 1, h, w)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    return (x * x.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)


def adjust(x, brightness, contrast, saturation):
    """Blends with black, with the mean grey of the image, and with its grey form, in this order.

    Each factor is a Tensor (n, 1, 1, 1) or None; 1 leaves a row as it is, 0 gives what it is
    blended with.
    """
    if brightness is not None:
        x = x * brightness
    if contrast is not None:
        # The mean of the grey is the grey of the mean, which takes a third of the time.
        x = torch.lerp(grey(x.mean((2, 3), keepdim=True)), x, contrast)
    if saturation is not None:
        x = torch.lerp(grey(x), x, saturation)
    return x


def clamp_like(x, before):
    """Values in [0, 1]; or in the range of the row `before`, where that was wider.

    Images that were normalised with another mean and scale than it was said reach beyond [0, 1];
    cutting there would destroy them.
    """
    low = before.amin((1, 2, 3), keepdim=True).clamp_max(0)
    high = before.amax((1, 2, 3), keepdim=True).clamp_min(1)
    return x.clamp(low, high)


def sample(x, theta, padding_mode):
    """Images whose pixel at place p is that of `x` at theta p.

    Parameters
    ----------
    x : Tensor of shape (n, c, h, w)
    theta : Tensor of shape (n, 2, 3)
        In units in which an image reaches from -1 to 1.
    padding_mode : {"border", "zeros"}
        What stands outside the image.
    """
    grid = F.affine_grid(theta.to(x.dtype), x.shape, align_corners=False)
    return F.grid_sample(x, grid, "bilinear", padding_mode, align_corners=False)
