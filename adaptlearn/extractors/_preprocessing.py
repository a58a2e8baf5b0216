"""Resize, crop and normalise on tensors, as a model's own settings say."""

from __future__ import annotations

import json
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ._bicubic import resize_height, resize_width

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Pillow's numbers. Torch has no Lanczos, Hamming or box filter: the nearest that it has.
_FILTERS = {
    0: "nearest-exact",
    1: "bicubic",
    2: "bilinear",
    3: "bicubic",
    4: "bilinear",
    5: "bilinear",
}
# Whose old configurations mean the shorter edge by a single number.
_SHORTEST = ("CLIP", "ConvNext", "Bit", "MobileNet", "MobileViT", "Levit", "PoolFormer", "VideoMAE")


class Preprocessing(NamedTuple):
    """What is done to an image before the network sees it."""

    size: tuple | int | None  # (height, width), or the shorter edge
    crop: tuple | None
    mode: str
    scale: float | None  # of uint8 values; None leaves them
    mean: tuple | None
    std: tuple | None
    flip_channels: bool

    def resize(self, image):
        """`image` (3, h, w) resized and cropped: the part that depends on its size."""
        if self.size is not None:
            image = resize(image, _target(image.shape[1:], self.size), self.mode)
        return image if self.crop is None else center_crop(image, self.crop)

    def normalize(self, images):
        """Resized images (n, 3, h, w), float32 and normalised."""
        scale = 1.0 if self.scale is None else self.scale
        if images.is_floating_point() and self.scale is not None:
            scale *= 255  # in [0, 1] already: never rescaled twice
        if self.flip_channels:
            images = images.flip(1)
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if self.mean is not None:
            mean, std = self.mean, self.std
        n, _, h, w = images.shape
        device = images.device
        mean, std = (torch.tensor(v, device=device).repeat(w) for v in (mean, std))
        # (scale · x − mean) / std in place over one copy; whole lines of pixels at a time, because
        # three channels at a time are four times as slow.
        lines = images.permute(0, 2, 3, 1).to(torch.float32, copy=True).reshape(n, h, 3 * w)
        torch.addcmul(-mean / std, lines, scale / std, out=lines)
        return lines.reshape(n, h, w, 3).permute(0, 3, 1, 2)


def resize(image, size, mode="bilinear"):
    """Image of shape (3, h, w) in another size, within 1/255 of what Pillow makes of it.

    (Of bytes that are noise, a few in a hundred million are off by 2/255.)

    Parameters
    ----------
    image : tensor of shape (3, h, w), uint8 or floating point in [0, 1]
    size : (int, int)
        Height and width.
    mode : {"nearest-exact", "bilinear", "bicubic"}
    """
    if tuple(image.shape[1:]) == tuple(size):
        return image
    # A batch of one that torch takes for one with channels last, which is several times as quick.
    image = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    if mode == "nearest-exact":
        return F.interpolate(image, size=size, mode=mode)[0]
    # Pillow rounds after each of two passes, and cuts the overshoot of bicubic weights, so that
    # their order matters: since version 13 the vertical one is first where the height loses more
    # than twice what the width does.
    (h, w), (high, wide) = image.shape[2:], size
    vertical_first = h - high > max(0, 2 * (w - wide))
    between = (high, w) if vertical_first else (h, wide)
    if image.dtype != torch.uint8:
        for shape in (between, size):
            image = _interpolate(image, shape, mode).clamp_(0, 1)
        return image[0]
    # Torch does so for bytes, with the horizontal pass first. Its weights of 16 bits make some
    # bytes differ by one; of two such neighbours a bicubic pass that reduces little can make two.
    little = w < 2 * wide if vertical_first else h < 2 * high
    if mode == "bicubic" and little and h != high and w != wide:
        image = resize_height(image, high) if vertical_first else resize_width(image, wide)
    elif vertical_first:
        image = _interpolate(image, between, mode)
    return _interpolate(image, size, mode)[0]


def _interpolate(image, size, mode):
    return F.interpolate(image, size=size, mode=mode, antialias=True, align_corners=False)


def center_crop(image, size):
    """The middle of an image (3, h, w); black is put around a smaller one."""
    h, w = image.shape[1:]
    high, wide = max(0, size[0] - h), max(0, size[1] - w)
    if high or wide:
        image = F.pad(image, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
        h, w = image.shape[1:]
    top, left = (h - size[0]) // 2, (w - size[1]) // 2
    return image[:, top : top + size[0], left : left + size[1]]


def _target(shape, size):
    if isinstance(size, tuple):
        return size
    h, w = shape
    return (size, max(1, int(size * w / h))) if h <= w else (max(1, int(size * h / w)), size)


def for_module(image_size, mean, std):
    """Preprocessing for a model that says nothing of it: what ImageNet models are trained with."""
    return _given(image_size or 224, mean or IMAGENET_MEAN, std or IMAGENET_STD, "bilinear")


def _given(image_size, mean, std, mode):
    square = not isinstance(image_size, (tuple, list))
    size = int(image_size) if square else tuple(image_size)
    crop = (size, size) if square else None
    return Preprocessing(size, crop, mode, 1 / 255, tuple(mean), tuple(std), False)


def from_directory(directory, name, image_size, mean, std):
    """Preprocessing that the model's own file asks for; parameters that are given come first."""
    settings = _settings(directory)
    if settings is None:
        if image_size is None or mean is None or std is None:
            raise ValueError(
                f"model={str(name)!r}: {directory} has no preprocessor_config.json, so that it is "
                "not known how images must be prepared. Give image_size=, mean= and std=."
            )
        return _given(image_size, mean, std, "bilinear")
    if settings.get("rescale_offset"):
        raise ValueError(f"model={str(name)!r}: rescale_offset in its preprocessing is not known.")
    mode = _FILTERS.get(settings.get("resample", 2), "bilinear")
    normalise = settings.get("do_normalize", True)
    mean, std = mean or settings.get("image_mean"), std or settings.get("image_std")
    if normalise and (mean is None or std is None):
        raise ValueError(
            f"model={str(name)!r}: its preprocessing names no image_mean or image_std. Give mean= "
            "and std=."
        )
    own = _sizes(settings) if image_size is None else _given(image_size, (0,), (1,), mode)[:2]
    return Preprocessing(
        *own,
        mode,
        float(settings.get("rescale_factor", 1 / 255))
        if settings.get("do_rescale", True)
        else None,
        _three(mean) if normalise else None,
        _three(std) if normalise else None,
        bool(settings.get("do_flip_channel_order", False)),
    )


def _settings(directory):
    path = directory / "preprocessor_config.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    path = directory / "processor_config.json"
    if path.is_file():  # text and images together
        return json.loads(path.read_text(encoding="utf-8")).get("image_processor")
    return None


def _sizes(settings):
    """Size and crop out of the forms that configurations have had over the years."""
    kind = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
    size = settings.get("size") if settings.get("do_resize", True) else None
    by_edge = kind.startswith(_SHORTEST)
    if isinstance(size, dict):
        if "height" in size:
            size = (size["height"], size["width"])
        else:
            size, by_edge = size["shortest_edge"], True
    elif isinstance(size, list):
        size = tuple(size) if len(size) == 2 else (size[0], size[0])
    crop = None
    if settings.get("do_center_crop", False):
        crop = settings.get("crop_size", size)
        crop = (crop["height"], crop["width"]) if isinstance(crop, dict) else crop
        crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
    if isinstance(size, int):
        if kind.startswith("ConvNext"):  # resized somewhat larger, then cropped
            if size >= 384:
                return (size, size), None
            return int(size / settings.get("crop_pct", 224 / 256)), (size, size)
        if not by_edge:
            size = (size, size)
    return size, crop


def _three(values):
    values = (values,) if isinstance(values, (int, float)) else values
    return tuple(float(v) for v in values)
