"""From samples to what a speech model reads, and which of its frames are sound and not padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ._models import first_line

# Their frames do not see padding that a mask hides, where each frame is normalised by itself.
_MASKED = ("wav2vec2", "hubert", "unispeech", "unispeech-sat")
_WHISPER, _AST = "whisper", "audio-spectrogram-transformer"
_AST_WINDOW, _AST_HOP = 400, 160  # samples, of the spectrogram that it was trained on
_WINDOWS_AT_ONCE = 8


class FrontEnd(NamedTuple):
    """What becomes of samples before the network sees them."""

    rate: int  # samples a second that the model was made for
    shortest: int  # samples that it needs
    longest: int | None  # samples that it takes
    fixed: bool  # whether every sound costs as much as the longest
    pads: bool  # whether sounds of different lengths may share a batch
    tensors: Callable  # list of waves -> dict of tensors, rows first


def model_type(module):
    """The family of a model of transformers; None for any other module."""
    return getattr(getattr(module, "config", None), "model_type", None)


def encoder_of(module):
    """The half of a model that listens, where it has two."""
    return module.encoder if hasattr(module, "decoder") else module


def load_feature_extractor(directory, name):
    """The settings beside a model, as an object of transformers."""
    from transformers import AutoFeatureExtractor

    try:
        return AutoFeatureExtractor.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise ValueError(
            f"model={str(name)!r}: {directory} does not tell how sounds must be prepared "
            f"({first_line(error)}). Put the model's preprocessor_config.json there, or give "
            "feature_extractor=."
        ) from error


def front_end(module, extractor, rate):
    """`FrontEnd` for a module and its feature extractor, or for plain samples without one."""
    kind = model_type(module)
    shortest, pads = _receptive_field(module), _may_pad(module)
    if extractor is None:
        if kind in (_WHISPER, _AST):
            raise ValueError(
                f"model is of the family {kind}, which reads spectrograms; give "
                "feature_extractor=, the feature extractor of transformers that belongs to it."
            )
        return FrontEnd(rate, shortest, None, False, pads, _plain)
    makers = {
        "Wav2Vec2FeatureExtractor": _waves,
        "WhisperFeatureExtractor": _log_mel,
        "ASTFeatureExtractor": _filter_bank,
    }
    name = type(extractor).__name__
    if name not in makers:
        raise ValueError(
            f"sounds for this model are prepared by {name}, which is not known; known are "
            f"{', '.join(makers)}. Give a torch module or a factory that reads samples instead."
        )
    rate = int(extractor.sampling_rate)
    if name == "WhisperFeatureExtractor":
        longest, shortest = extractor.n_samples, 1
    elif name == "ASTFeatureExtractor":
        longest, shortest = _AST_WINDOW + _AST_HOP * extractor.max_length - 1, _AST_WINDOW
    else:
        make = makers[name](extractor, pads)
        return FrontEnd(rate, shortest, None, False, pads, make)
    return FrontEnd(rate, shortest, longest, True, True, makers[name](extractor))


def _may_pad(module):
    """Whether padding that is masked leaves the frames of a sound as they are.

    Not where the first convolution is normalised over the time of a whole row (`feat_extract_norm`
    is "group": wav2vec2-base, hubert-base), zeros included, and not for modules of which nothing is
    known. Such sounds share a batch with sounds of just their length.
    """
    config = getattr(module, "config", None)
    return (
        model_type(module) in _MASKED
        and config.feat_extract_norm == "layer"
        and not getattr(config, "add_adapter", False)
    )


def _receptive_field(module):
    """Samples that go into one frame of wav2vec2 and its kin: fewer give no frame at all."""
    config, n = getattr(module, "config", None), 1
    kernels, strides = getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ())
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        n = (n - 1) * stride + kernel
    return n


def _plain(waves):
    lengths = np.array([len(wave) for wave in waves])
    mask = np.arange(lengths.max()) < lengths[:, None]
    block = np.zeros(mask.shape, np.float32)
    block[mask] = np.concatenate(waves)
    inputs = {"input_values": torch.from_numpy(block)}
    if not mask.all():
        inputs["attention_mask"] = torch.from_numpy(mask.astype(np.int64))
    return inputs


def _waves(extractor, pads):
    def make(waves):
        made = extractor(
            waves, sampling_rate=extractor.sampling_rate, padding=True,
            return_attention_mask=pads, return_tensors="pt",
        )  # fmt: skip
        inputs = {"input_values": made["input_values"]}
        if pads and not made["attention_mask"].all():  # attention is quicker without a mask
            inputs["attention_mask"] = made["attention_mask"]
        return inputs

    return make


def _log_mel(extractor):
    def make(waves):
        made = extractor(
            waves, sampling_rate=extractor.sampling_rate, return_attention_mask=True,
            return_tensors="pt",
        )  # fmt: skip
        return {name: made[name] for name in ("input_features", "attention_mask")}

    return make


def _filter_bank(extractor):
    def make(waves):
        made = extractor(waves, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        n_frames = [1 + (len(wave) - _AST_WINDOW) // _AST_HOP for wave in waves]
        mask = torch.arange(extractor.max_length) < torch.tensor(n_frames)[:, None]
        return {"input_values": made["input_values"], "attention_mask": mask.long()}

    return make


def reads_spectrograms(module):
    """Whether one sound is two-dimensional."""
    return model_type(module) in (_WHISPER, _AST)


def by_window(function, inputs, n_dims):
    """`function` of a batch; of long sounds, (n, n_windows, ...), the mean over their windows."""
    block = next(iter(inputs.values()))
    if block.ndim == n_dims:
        return function(inputs)
    flat = {name: x.flatten(0, 1) for name, x in inputs.items()}
    parts = []
    for start in range(0, block.shape[0] * block.shape[1], _WINDOWS_AT_ONCE):
        some = slice(start, start + _WINDOWS_AT_ONCE)
        parts.append(function({name: x[some] for name, x in flat.items()}).float())
    return torch.cat(parts).unflatten(0, block.shape[:2]).mean(1)


def call(module, inputs, all_layers):
    """Answer of a network to a batch."""
    block = next(iter(inputs.values()))
    if model_type(module) is None:
        return module(block)
    options = {"output_hidden_states": True} if all_layers else {}
    if "attention_mask" in inputs and not reads_spectrograms(module):
        options["attention_mask"] = inputs["attention_mask"]
    return module(block, **options)


def real_frames(module, hidden, inputs):
    """Which frames of `hidden` (n, n_frames, d) are sound; None where all are.

    Returns
    -------
    tensor of shape (n, n_frames) or None
    n_special : int
        Tokens at the beginning that are no frames.
    """
    mask = inputs.get("attention_mask")
    if model_type(module) == _AST:
        return _patches(module.config, mask), 2
    if mask is None:
        return None, 0
    if model_type(module) == _WHISPER:
        return mask[:, ::2][:, : hidden.shape[1]], 0  # one frame for two of the spectrogram
    return module._get_feature_vector_attention_mask(hidden.shape[1], mask), 0


def _patches(config, mask):
    """Patches that begin within the sound; they are numbered by frequency, then by time."""
    high = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    wide = (config.max_length - config.patch_size) // config.time_stride + 1
    return mask[:, :: config.time_stride][:, :wide].repeat(1, high)
