"""Parts of a recording blanked out in time and in frequency."""

from __future__ import annotations

from numbers import Integral, Real

import torch

from .._compat import Interval, StrOptions
from .._components import register
from .base import SHARE, Augmentation, draw

_COUNT = [Interval(Integral, 0, None, closed="left")]


@register("augment", "spec_augment")
class SpecAugment(Augmentation):
    r"""Blank out stretches of time, and bands of frequency, of each recording.

    Of a spectrogram with T frames and F bands, each of `time_masks` stretches takes

    .. math::
        t \sim U\{0, 1, \dots, \lfloor \text{width} \cdot T \rfloor\}, \quad
        t_0 \sim U\{0, 1, \dots, T - t\}

    frames from :math:`t_0` on; and so does each of `freq_masks` with bands. A waveform has
    stretches of samples only.

    Parameters
    ----------
    time_masks : int, default=2
        Number of stretches, >= 0. They may overlap.
    time_width : float, default=0.1
        Longest stretch, as a share of the recording (without padding), in [0, 1].
    freq_masks : int, default=2
        Number of bands, >= 0.
    freq_width : float, default=0.25
        Widest band, as a share of all, in [0, 1].
    fill : float or "mean", default="mean"
        What stands in a blank. "mean": the mean of the recording.

    Notes
    -----
    ``input_features`` are spectrograms of shape (n, bands, frames), as Whisper takes them;
    ``input_values`` are waveforms of shape (n, samples), as wav2vec 2.0 takes them, or spectrograms
    of shape (n, frames, bands), as AST does. Padding, where ``attention_mask`` is 0 (with one
    column for each frame or sample), is neither counted nor written to.

    References
    ----------
    Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition",
    2019. Baevski et al., "wav2vec 2.0", 2020, which blanks out stretches of its first layers'
    output. Differs from the papers: widths are shares, so that they fit recordings of any length;
    time is not warped; waveforms are blanked out as they come in.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import SpecAugment
    >>> batch = {"input_features": torch.ones(2, 80, 100)}
    >>> blanks = SpecAugment(time_masks=1, time_width=0.5, freq_masks=0, fill=0.0)
    >>> told = blanks(batch, torch.Generator().manual_seed(0))["input_features"]
    >>> (told[:, 0] == 0).sum(1)
    tensor([25, 39])
    """

    applies_to = "input_features", "input_values"

    _parameter_constraints = {
        "time_masks": _COUNT,
        "time_width": SHARE,
        "freq_masks": _COUNT,
        "freq_width": SHARE,
        "fill": [Real, StrOptions({"mean"})],
    }

    def __init__(self, time_masks=2, time_width=0.1, freq_masks=2, freq_width=0.25, fill="mean"):
        self.time_masks = time_masks
        self.time_width = time_width
        self.freq_masks = freq_masks
        self.freq_width = freq_width
        self.fill = fill

    def __call__(self, inputs, generator):
        """The batch with blanks."""
        name = self.tensor_name(inputs)
        x = inputs[name]
        if x.ndim not in (2, 3) or (name == "input_features" and x.ndim != 3):
            raise ValueError(
                f"SpecAugment needs {name} of shape (n, bands, frames) or (n, samples); it got "
                f"{tuple(x.shape)}."
            )
        time, bands = (2, 1) if name == "input_features" else (1, 2)
        n, n_time = len(x), x.shape[time]
        real = inputs.get("attention_mask")
        if real is None or real.shape != (n, n_time):
            real = x.new_ones((n, n_time), dtype=torch.bool)
        real = real > 0
        start, stop = _ends(real)
        blank = _stretches(self.time_masks, self.time_width, start, stop, n_time, generator, x)
        blank = blank & real
        if x.ndim == 3:
            whole = torch.zeros_like(start), torch.full_like(start, x.shape[bands])
            of_bands = _stretches(
                self.freq_masks, self.freq_width, *whole, x.shape[bands], generator, x
            )
            real, blank = real.unsqueeze(bands), blank.unsqueeze(bands)
            blank = blank | (of_bands.unsqueeze(time) & real)
        return {**inputs, name: torch.where(blank, self._filling(x, real), x)}

    def _filling(self, x, real):
        """What stands in the blanks of each row."""
        if self.fill != "mean":
            return x.new_tensor(self.fill)
        places = tuple(range(1, x.ndim))
        exact = x.dtype if x.dtype == torch.float64 else torch.float32
        total = torch.where(real, x, 0).sum(places, keepdim=True, dtype=exact)
        count = real.expand_as(x).sum(places, keepdim=True).clamp_min(1)
        return (total / count).to(x.dtype)


def _ends(real):
    """First place and end of the recording in each row, padding on either side."""
    n = real.shape[1]
    any_real = real.any(1)
    start = torch.where(any_real, real.byte().argmax(1), 0)
    stop = torch.where(any_real, n - real.flip(1).byte().argmax(1), 0)
    return start, stop


def _stretches(count, width, start, stop, n, generator, like):
    """Places of [0, n) covered by `count` stretches within [start, stop) of each row, (rows, n)."""
    u = draw((2, count, len(like)), generator, like)
    place = torch.arange(n, device=like.device)
    covered = torch.zeros((len(like), n), dtype=torch.bool, device=like.device)
    room = (stop - start).float()
    for long, where in zip(*u, strict=True):
        length = _below(long, (width * room).floor())
        begin = start + _below(where, room - length)
        covered |= (place >= begin[:, None]) & (place < (begin + length)[:, None])
    return covered


def _below(u, most):
    """Whole numbers from 0 to `most`, all equally likely, from even draws of [0, 1)."""
    return torch.minimum((u * (most + 1)).floor(), most)  # the product may be rounded up
