"""Images as people have them, read one at a time into tensors of shape (3, height, width)."""

from __future__ import annotations

import os
from hashlib import blake2b

import numpy as np
import torch

from ._rows import column, is_missing, opened

_ORIENTATION = 0x0112  # EXIF tag: which way up the camera was held


def is_pil(row):
    """Whether this is an image of Pillow, without importing it."""
    return hasattr(row, "getbands") and hasattr(row, "convert")


def read_images(X, channels):
    """Rows of `X`: paths, bytes of files, PIL images, or arrays of shape (h, w) or (h, w, c).

    Missing ones stay what they are; reading them raises, as for a file that is not there.
    """
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if hasattr(X, "dtype") and getattr(X.dtype, "kind", "O") in "fiub" and X.ndim != 1:
        X = np.asarray(X)
        if X.ndim == 4:
            if channels_first(X.shape[1:], channels):
                X = X.transpose(0, 2, 3, 1)
        elif X.ndim != 3:
            raise ValueError(
                f"X has shape {X.shape}. Images are (n, height, width, channels), (n, channels, "
                "height, width), or (n, height, width) in grey."
            )
        elif X.shape[2] in (3, 4):  # not many grey images that are three pixels wide
            raise ValueError(
                f"X has shape {X.shape}, which looks like one image in colour. A single image is a "
                "list of one: [image]. (Grey images need a width other than 3 and 4.)"
            )
        return X
    rows = column(X, "images")
    for i, row in enumerate(rows):
        if isinstance(row, torch.Tensor):
            row = rows[i] = row.detach().cpu().numpy()
        if isinstance(row, np.ndarray) and row.dtype.kind in "fiub":
            rows[i] = _upright(row, channels, i)
        elif not (isinstance(row, (str, bytes, os.PathLike)) or is_pil(row) or is_missing(row)):
            raise TypeError(
                f"row {i} of X is {type(row).__name__}; an image is a path, the bytes of a file, "
                "a PIL image, or an array of numbers."
            )
    return rows


def _upright(array, channels, number):
    if array.ndim == 3:
        return array.transpose(1, 2, 0) if channels_first(array.shape, channels) else array
    if array.ndim == 2:
        return array
    raise ValueError(
        f"row {number} of X has shape {array.shape}; an image is (height, width, channels), "
        "(channels, height, width), or (height, width) in grey."
    )


def channels_first(shape, channels):
    """Whether an image of this shape is (channels, height, width)."""
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if (channels == "first" and first) or (channels == "last" and last):
        return channels == "first"
    if channels != "auto" or not (first or last):
        where = "first or last" if channels == "auto" else channels
        raise ValueError(
            f"an image of X has shape {tuple(shape)}; 1, 3 or 4 channels must come {where}."
        )
    if first and last and shape[0] != shape[2]:
        raise ValueError(
            f"an image of X has shape {tuple(shape)}, of which the first or the last may be the "
            "channels. Say which: channels='first' or 'last'."
        )
    return first and not last


def content_digest(row):
    """Digest of what an image holds: the bytes of a file, or the pixels."""
    state = blake2b(digest_size=16)
    if isinstance(row, np.ndarray):
        state.update(f"array {row.dtype.str} {row.shape}\0".encode())
        state.update(np.ascontiguousarray(row).data)
    elif is_pil(row):
        known = (row.mode, row.size, _orientation(row), row.info.get("transparency"))
        state.update(f"pil {known!r} {row.getpalette() if row.mode == 'P' else ''}\0".encode())
        state.update(row.tobytes())
    else:
        state.update(b"file\0")
        with opened(row) as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.digest()


def _orientation(image):
    return image.getexif().get(_ORIENTATION, 1) if hasattr(image, "getexif") else 1


def to_tensor(row):
    """One image as a tensor (3, height, width): uint8, or float32 in [0, 1]."""
    if isinstance(row, np.ndarray):
        return _colour(_checked(row))
    if is_pil(row):
        return _colour(_pil_array(row))
    from PIL import Image

    try:
        with opened(row) as file, Image.open(file) as image:
            return _colour(_pil_array(image))
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{str(error).rstrip('.')}. If the file is to be trusted, raise the limit: "
            "PIL.Image.MAX_IMAGE_PIXELS = None is none at all"
        ) from error


def _pil_array(image):
    from PIL import ImageOps

    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel: PIL's own conversion would cut at 255
        return (np.asarray(image).astype(np.float32) / 65535).clip(0, 1)
    if image.mode == "F":
        return _checked(np.asarray(image))
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _checked(array):
    """uint8, or float32 in [0, 1]; raises on any other range."""
    if array.size == 0:
        raise ValueError(f"an image of shape {array.shape} has no pixels")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * 255
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # NaN fails it, too
            raise ValueError(
                f"numbers from {low:.4g} to {high:.4g}: floating point images hold values from 0 "
                "to 1. Divide by the largest possible value, or convert to uint8"
            )
        return array.astype(np.float32)
    if low < 0 or high > 255:
        raise ValueError(
            f"integers from {low} to {high}: integer images hold values from 0 to 255. Divide by "
            "the largest possible value to give floating point numbers from 0 to 1"
        )
    return array.astype(np.uint8)


def _colour(array):
    """Three channels, first; an opacity channel is dropped, as PIL does."""
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    array = array[:, :, :3]
    # Kept with channels last in memory, where resizing is three times as quick. Torch shares
    # memory with writable arrays only; these are only read.
    array = np.require(array, requirements=["C", "W"])
    return torch.from_numpy(array).permute(2, 0, 1)
