"""Images as features: a pretrained vision model as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch

from .._compat import Interval, StrOptions
from ._ahead import n_readers, read_ahead
from ._bad_rows import NEED_ALL, BadRows, BadRowsMixin
from ._pixels import content_digest, read_images, to_tensor
from ._pooling import pool_places, trained_pooler
from ._preprocessing import for_module, from_directory
from .base import Batch, Extractor

_ROWS = {"cpu": 16, "cuda": 128}
_KEPT_BYTES = 2**30  # of resized images, for training


class ImageExtractor(BadRowsMixin, Extractor):
    r"""Turn images into the features of a pretrained vision model.

    The model is frozen: ``fit`` learns nothing, and any number of candidates of a search share one
    forward pass for each image, through the cache. ResNet, ConvNeXt, MobileNet, ViT, DINOv2, Swin,
    CLIP, SigLIP and others are loaded by name with the extra ``pretrained``; a torch module or a
    factory (around a model of timm or torchvision, say) needs no extra but Pillow, for files.

    Images are read, resized and normalised in batches, on tensors: files of any size and number
    need the memory of a few batches. Resizing is within 1/255 of Pillow's.

    Parameters
    ----------
    model : str, path-like or torch.nn.Module
        A directory written by ``save_pretrained``, a hub id (the local copy if there is one, else
        it is downloaded), a module, or a factory ``"package.module:callable"`` that is called
        without arguments and returns a module, the same each time (see the notes). A module is
        called with images (n, 3, height, width) and returns features (n, d), a map (n, d, height,
        width), tokens (n, n_tokens, d), or an output of transformers.
    pooling : {"auto", "cls", "mean", "max", "gem", "pooler"}, default="auto"
        How a map or tokens become one vector. "auto" is the model's own pooled output, but the
        class token where that output is a head of the pretraining task (ViT, whose pooler is even
        random in many checkpoints), and "mean" where there is no pooled output. "gem" is the
        generalised mean with exponent 3. "mean", "max" and "gem" take all tokens.
    image_size : int or (int, int), default=None
        An int resizes the shorter edge to it and crops the middle; (height, width) resizes to just
        that. None is what the model was made for, 224 for a module or a factory.
    mean, std : sequence of float, default=None
        Of the channels, for images in [0, 1]. None is what the model was made for, for a module or
        a factory that of ImageNet.
    channels : {"auto", "first", "last"}, default="auto"
        Where the channels of arrays are. "auto" looks for a length of 1, 3 or 4.
    errors : {"raise", "skip"}, default="raise"
        Of files and images that cannot be read, or are missing (None, NaN). "skip" gives a row of
        NaN (there is one row for each image, always) and one warning that names the rows.
    normalize : bool, default=False
        Scale each row to length 1.
    batch_size : int, default="auto"
        Images in one forward pass. "auto" is 16, on a GPU 128, halved where memory does not hold
        it.
    device : str or torch.device, default="auto"
        "auto" is a GPU if there is one.
    precision : {"float32", "bfloat16", "float16"}, default="float32"
        Of the forward pass (mixed precision). Features are float32.
    cache : "memory", path-like, EmbeddingCache or None, default="memory"
        Where embeddings are kept. "memory" is shared by all extractors of this process, a directory
        by all processes. An image is known by its content, not by its file's name.
    verbose : int, default=0
        1 shows progress, rate and time left.

    See Also
    --------
    TextExtractor : The same for texts.
    EmbeddingCache : What is kept, and for how long.

    Notes
    -----
    Rows are paths, the bytes of files, PIL images, or arrays: uint8, or floating point from 0 to 1,
    with channels first or last, or in grey. Grey images get three equal channels, an opacity
    channel is dropped, photographs are turned the way the camera was held (EXIF). Floating point
    images that leave [0, 1] raise: they would be wrong by a factor of 255 in silence.

    Pillow's Lanczos filter is replaced by the bicubic one, which torch has.

    A pickle holds no weights of a model given by name: they are loaded from the same directory, or,
    where that is gone, found by the name again (a hub id in another local copy of the hub, say). A
    module travels with the pickle. A factory is called once per process, perhaps again when many
    other models were used meanwhile; it must make the same weights each time, whatever files it
    reads. Where weights are not those of ``fit``, ``transform`` raises an error.

    Examples
    --------
    Any torch module will do; ``ImageExtractor("facebook/dinov2-small")`` needs no more.

    >>> import numpy as np, torch
    >>> from adaptlearn import ImageExtractor
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> photos = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    >>> ImageExtractor(network, image_size=32).fit_transform(photos).shape
    (5, 8)
    """

    _row_is, _a_row = "images", "an image"
    _decisive = ("precision", "pooling", "image_size", "mean", "std")

    _parameter_constraints = {
        **Extractor._parameter_constraints,
        "pooling": [StrOptions({"auto", "cls", "mean", "max", "gem", "pooler"})],
        "image_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "mean": ["array-like", None],
        "std": ["array-like", None],
        "channels": [StrOptions({"auto", "first", "last"})],
        "errors": [StrOptions({"raise", "skip"})],
    }

    def __init__(
        self,
        model,
        *,
        pooling="auto",
        image_size=None,
        mean=None,
        std=None,
        channels="auto",
        errors="raise",
        normalize=False,
        batch_size="auto",
        device="auto",
        precision="float32",
        cache="memory",
        verbose=0,
    ):
        self.model = model
        self.pooling = pooling
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.channels = channels
        self.errors = errors
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.verbose = verbose

    def _check_parameters(self):
        size = self.image_size
        if isinstance(size, (tuple, list)) and not (
            len(size) == 2 and all(isinstance(n, Integral) and n >= 1 for n in size)
        ):
            raise ValueError(f"image_size={size!r} must be an integer or (height, width).")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is not None and not _is_three_numbers(value, positive=name == "std"):
                kind = "positive numbers" if name == "std" else "numbers"
                raise ValueError(f"{name}={value!r} must hold three {kind}, one for each channel.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _read_rows(self, X):
        return read_images(X, self.channels)

    def _digest(self, row):
        return content_digest(row)

    def _companions(self):
        return "2"  # raised when preprocessing changes: old cached rows are not found then

    def _example(self):
        return np.zeros((64, 64, 3), np.uint8)

    def _steps(self, network):
        """The `Preprocessing` of this model."""
        mean, std = (None if v is None else tuple(map(float, v)) for v in (self.mean, self.std))
        if network.directory is None:
            return for_module(self.image_size, mean, std)
        return from_directory(network.directory, self.model, self.image_size, mean, std)

    def _batches(self, rows, numbers, network, device):
        steps = self._steps(network)
        size = (
            _ROWS.get(device.type, _ROWS["cpu"]) if self.batch_size == "auto" else self.batch_size
        )
        waiting = {}  # images of one shape and type make a batch
        made = read_ahead(lambda row: steps.resize(to_tensor(row)), rows, n_readers(device), size)
        with closing(made):
            for place, (number, row, get) in enumerate(zip(numbers, rows, made, strict=True)):
                image = self._image(get, number, row)
                if image is None:
                    continue
                group = waiting.setdefault((image.shape, image.dtype), [])
                group.append((place, image))
                if len(group) == size:
                    yield _batch(waiting.pop((image.shape, image.dtype)), steps)
                elif sum(map(len, waiting.values())) >= 4 * size:  # every image has its own shape
                    yield _batch(waiting.pop(max(waiting, key=lambda k: len(waiting[k]))), steps)
        for group in waiting.values():
            yield _batch(group, steps)

    def _image(self, get, number, row):
        """A resized image; None for a row that is left out."""
        try:
            return get()
        except ImportError as error:
            raise ImportError(
                "image files are read with the package Pillow, which is not installed. Install the "
                "extra: pip install 'adaptlearn[pretrained]'."
            ) from error
        except Exception as error:
            self._bad.add(number, row, error)

    def _features(self, network, inputs):
        module = network.module
        module = getattr(module, "vision_model", module)  # of CLIP and SigLIP, the half that sees
        answer = module(inputs["pixel_values"])
        if isinstance(answer, torch.Tensor):
            return self._pooled(answer, "mean" if self.pooling == "auto" else self.pooling)
        if isinstance(answer, (tuple, list)):
            return self._pooled(answer[0], "mean" if self.pooling == "auto" else self.pooling)
        pooled = getattr(answer, "pooler_output", None)
        # A dense pooler was trained for one task, and is random where the checkpoint had none.
        is_head = hasattr(getattr(module, "pooler", None), "dense")
        how = self.pooling
        if how == "auto":
            how = "cls" if is_head else "mean" if pooled is None else "pooler"
        if how == "pooler":
            return trained_pooler(answer, network, "'auto', 'cls' or 'mean'")
        return self._pooled(answer.last_hidden_state, how)

    def _pooled(self, hidden, how):
        if hidden.ndim == 2:
            if self.pooling != "auto":
                raise ValueError(
                    f"pooling={self.pooling!r}: the model returns one vector per image; use 'auto'."
                )
            return hidden
        if how == "cls" and hidden.ndim == 3:
            return hidden[:, 0]
        if how in ("cls", "pooler"):
            raise ValueError(f"pooling={how!r}: the model has none; use 'auto', 'mean' or 'gem'.")
        if hidden.ndim not in (3, 4):
            raise ValueError(
                f"the model returned shape {tuple(hidden.shape)}; features (n, d), a map (n, d, "
                "height, width) or tokens (n, n_tokens, d) are needed."
            )
        return pool_places(hidden, how)

    def _trained_part(self, module):
        return getattr(module, "vision_model", module)

    def _prepare(self, rows, network, keep):
        if not (keep and len(rows)):
            return [_Unread(*pair) for pair in enumerate(rows)]
        # Resized images are kept where they fit; the others are read anew in each epoch.
        steps, kept = self._steps(network), []
        for number, row in enumerate(rows):
            kept.append(_read(number, row, steps))
            if kept[0].nbytes * len(rows) > _KEPT_BYTES:
                return self._prepare(rows, network, keep=False)
        return kept

    def _tensors(self, prepared, network, device):
        steps = self._steps(network)
        images = [x if isinstance(x, torch.Tensor) else _read(*x, steps) for x in prepared]
        if len({image.shape for image in images}) > 1:
            raise ValueError(
                "images have different shapes after resizing, so that they make no batch. Give "
                "image_size=(height, width)."
            )
        if len({image.dtype for image in images}) == 1:
            # As they are on their way to the device: bytes, a quarter of what they become there.
            return {"pixel_values": steps.normalize(_stacked(images).to(device))}
        # Floating point images hold values up to 1, the others up to 255.
        return {"pixel_values": torch.cat([steps.normalize(image[None]) for image in images])}

    def _known(self, network):
        steps = self._steps(network)
        return {"mean": steps.mean or (0.0,) * 3, "std": steps.std or (1.0,) * 3}


class _Unread(NamedTuple):
    """A row that is read when a batch needs it."""

    number: int  # of the row in X, for messages
    row: object


def _read(number, row, steps):
    """One image, resized."""
    try:
        return steps.resize(to_tensor(row))
    except ImportError as error:
        raise ImportError(
            "image files are read with the package Pillow, which is not installed. Install the "
            "extra: pip install 'adaptlearn[pretrained]'."
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds
        BadRows("an image", "raise", NEED_ALL).add(number, row, error)


def _stacked(images):
    # Channels last in memory, as resizing leaves them: convolutions are quicker on it.
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def _batch(group, steps):
    places, images = zip(*group, strict=True)
    return Batch(np.array(places), {"pixel_values": steps.normalize(_stacked(images))})


def _is_three_numbers(value, positive):
    value = np.asarray(value).tolist() if not isinstance(value, Sequence) else value
    numbers = len(value) == 3 and all(isinstance(v, Real) for v in value)
    return numbers and not (positive and min(value) <= 0)
