"""WAV files: samples from -1 to 1, whatever they are stored as.

Read here, because the readers at hand (Python's own, SciPy's) pass over a file that ends early in
silence or with a warning, and because the length of a file must be known without reading its data.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_UNTIL_THE_END = 0xFFFFFFFF  # written by programs that do not know the length beforehand


class WavFormat(NamedTuple):
    """What the header of a file says."""

    rate: int  # samples a second
    n_channels: int
    kind: str  # "i" integers, "f" floating point
    n_bytes: int  # of one number
    n_samples: int  # in each channel
    start: int  # where the samples begin


def read_header(file):
    """`WavFormat` of an open file; raises where it is none, or ends before its samples do."""
    file.seek(0, 2)
    end = file.tell()
    file.seek(0)
    mark, _, kind = _unpack("<4sI4s", file, "it ends in its header")
    if mark != b"RIFF" or kind != b"WAVE":
        raise ValueError(
            "it is no WAV file. Decode other formats (with the package soundfile, say) and give "
            "arrays, with sampling_rate="
        )
    form = None
    while True:
        name, size = _unpack("<4sI", file, "it has no samples")
        start = file.tell()
        if name == b"fmt ":
            form = _format(file, size)
        elif name == b"data":
            if form is None:
                raise ValueError("its samples come before their format")
            rate, n_channels, kind, n_bytes = form
            size = end - start if size == _UNTIL_THE_END else size
            if start + size > end:
                raise ValueError(f"it ends early: {end - start} of {size} bytes of sound are there")
            return WavFormat(rate, n_channels, kind, n_bytes, size // (n_channels * n_bytes), start)
        file.seek(start + size + size % 2)  # chunks begin at even places


def _unpack(layout, file, otherwise):
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise ValueError(otherwise)
    return struct.unpack(layout, data)


def _format(file, size):
    code, n_channels, rate, _, frame, bits = _unpack("<HHIIHH", file, "it ends in its header")
    if code == _EXTENSIBLE and size >= 26:
        file.read(8)
        (code,) = _unpack("<H", file, "it ends in its header")
    stored = {_PCM: ("i", (8, 16, 24, 32)), _FLOAT: ("f", (32, 64))}
    kind, widths = stored.get(code, ("", ()))
    if bits not in widths:
        raise ValueError(
            f"its samples are stored in a way that is not known (format {code}, {bits} bits). "
            "Convert it to PCM, of 16 bits for example"
        )
    if rate < 1 or n_channels < 1 or frame != n_channels * bits // 8:
        raise ValueError(f"its header says {n_channels} channels at {rate} Hz, which cannot be")
    return rate, n_channels, kind, bits // 8


def read_samples(file, form):
    """Samples of an open file, shape (n_samples, n_channels), float32 from -1 to 1."""
    file.seek(form.start)
    n = form.n_samples * form.n_channels
    data = file.read(n * form.n_bytes)
    if form.kind == "f":
        samples = np.frombuffer(data, f"<f{form.n_bytes}").astype(np.float32)
    elif form.n_bytes == 1:  # the one kind without a sign
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif form.n_bytes == 3:  # as the upper bytes of 32 bits
        wide = np.zeros((n, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(n, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        samples = np.frombuffer(data, f"<i{form.n_bytes}").astype(np.float32)
        samples /= 2 ** (8 * form.n_bytes - 1)
    return samples.reshape(form.n_samples, form.n_channels)
