"""Sounds as people have them, read one at a time into one channel at the rate of a model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from ._fingerprint import digest
from ._pixels import content_digest
from ._rows import column, is_missing, opened
from ._wav import read_header, read_samples

_MOST_CHANNELS = 16
_LOUDEST = 2.0  # recordings in floating point may go over 1 a little; integers go far over it


class Sound(NamedTuple):
    """Samples that are no file, (n_samples,) or two-dimensional with channels, and their rate."""

    samples: np.ndarray
    rate: int


def read_sounds(X, sampling_rate):
    """Rows of `X`: paths, bytes of files, and `Sound` for what holds numbers.

    Missing ones stay what they are; reading them raises, as for a file that is not there.
    """
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "fiu":
        if X.ndim != 2:
            raise ValueError(
                f"X has shape {X.shape}. Sounds of one length are (n_sounds, n_samples); a single "
                "sound is a list of one: [sound]."
            )
        rows = list(X)
    else:
        rows = column(X, "sounds")
    return [_row(row, i, sampling_rate) for i, row in enumerate(rows)]


def _row(row, number, rate):
    if isinstance(row, (str, bytes, os.PathLike, Sound)) or is_missing(row):
        return row
    if isinstance(row, Mapping) and {"array", "sampling_rate"} <= row.keys():  # as datasets has it
        row, rate = row["array"], row["sampling_rate"]
    if isinstance(row, torch.Tensor):
        row = row.detach().cpu().numpy()
    row = np.asarray(row) if isinstance(row, (list, tuple)) else row
    if not (isinstance(row, np.ndarray) and row.dtype.kind in "fiu" and row.ndim >= 1):
        raise TypeError(
            f"row {number} of X is {type(row).__name__}; a sound is the path of a WAV file, its "
            "bytes, or an array of samples."
        )
    if rate is None:
        raise ValueError(
            f"row {number} of X is an array, which does not tell its rate. Give sampling_rate=, in "
            "samples a second."
        )
    if row.ndim > 2 or (row.ndim == 2 and min(row.shape) > _MOST_CHANNELS):
        raise ValueError(
            f"row {number} of X has shape {row.shape}; a sound is (n_samples,), or has up to "
            f"{_MOST_CHANNELS} channels: (n_samples, n_channels) or (n_channels, n_samples)."
        )
    return Sound(row, int(rate))


def sound_digest(row):
    """Digest of what a sound holds: the bytes of a file, or samples and their rate."""
    if isinstance(row, Sound):
        return digest(str(row.rate), content_digest(row.samples))
    return content_digest(row)


def n_samples_at(row, rate):
    """Length of a sound in samples at another rate; reads no more of a file than its header."""
    if isinstance(row, Sound):
        n, own = max(row.samples.shape), row.rate
    else:
        with opened(row) as file:
            form = read_header(file)
        n, own = form.n_samples, form.rate
    return -(-n * rate // own)


def to_wave(row, rate):
    """One sound as samples (n,), float32 from -1 to 1: the mean of its channels, at a rate."""
    if isinstance(row, Sound):
        samples, own = _checked(row.samples), row.rate
        if samples.ndim == 2:  # there are more samples than channels
            samples = samples.mean(int(np.argmin(samples.shape)))
    else:
        with opened(row) as file:
            form = read_header(file)
            samples, own = read_samples(file, form).mean(1), form.rate
        samples = _checked(samples)
    return resample(samples, own, rate)


def _checked(samples):
    """float32 from -1 to 1; raises on samples on any other scale."""
    kind = samples.dtype
    if kind in (np.int16, np.int32):
        return samples.astype(np.float32) / -float(np.iinfo(kind).min)
    if kind == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if kind.kind != "f":
        raise ValueError(
            f"samples of type {kind}: their scale is not known. Convert to int16 (from -32768 to "
            "32767), or to floating point from -1 to 1"
        )
    samples = samples.astype(np.float32)
    loudest = np.abs(samples).max(initial=0)
    if not loudest <= _LOUDEST:  # NaN fails it, too
        raise ValueError(
            f"samples up to {loudest:.4g}: floating point samples go from -1 to 1. Divide by the "
            "largest possible value (32768 for 16 bits)"
        )
    return samples


def resample(samples, rate, new_rate):
    """Samples at another rate: polyphase filtering, so that nothing above half of it aliases."""
    if rate == new_rate or not len(samples):
        return samples
    from scipy.signal import resample_poly  # takes half a second to import

    common = math.gcd(rate, new_rate)
    return resample_poly(samples, new_rate // common, rate // common).astype(np.float32)
