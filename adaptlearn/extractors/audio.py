"""Sounds as features: a pretrained speech or sound model as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from numbers import Integral, Real

import numpy as np

from .._compat import HasMethods, Interval, StrOptions
from ._ahead import n_readers, read_ahead
from ._bad_rows import BadRowsMixin
from ._fingerprint import describe
from ._front_end import (
    by_window,
    call,
    encoder_of,
    front_end,
    load_feature_extractor,
    model_type,
    reads_spectrograms,
    real_frames,
)
from ._layers import run_to
from ._models import once_per_process
from ._pooling import pool_places, pool_tokens, trained_pooler
from ._training_waves import TrainableWavesMixin
from ._waves import Sound, n_samples_at, read_sounds, sound_digest, to_wave
from .base import Batch, Extractor

_SECONDS = {"cpu": 60, "cuda": 1200}  # of sound in one batch, padding included
_MOST_ROWS = 128


class AudioExtractor(BadRowsMixin, TrainableWavesMixin, Extractor):
    r"""Turn sounds into the features of a pretrained speech or sound model.

    The model is frozen: ``fit`` learns nothing, and any number of candidates of a search share one
    forward pass for each sound, through the cache. wav2vec2, HuBERT, the encoder of Whisper, and
    the Audio Spectrogram Transformer (AST) are loaded by name with the extra ``pretrained``; a
    torch module or a factory needs no extra.

    Channels are averaged, and the sound is resampled to the model's rate. Sounds are sorted by
    length before they are put in batches; the answer is in the order of the rows, and does not
    depend on the batch (to 1e-5 in float32).

    Parameters
    ----------
    model : str, path-like or torch.nn.Module
        A directory written by ``save_pretrained``, a hub id (the local copy if there is one, else
        it is downloaded), a module, or a factory ``"package.module:callable"`` that is called
        without arguments and returns a module or ``(module, feature_extractor)``, the same each
        time (see the notes). A module is called with samples from -1 to 1, shape (n, n_samples),
        and returns one vector per frame (n, n_frames, d), one per sound (n, d), a map (n, d,
        height, width), or an output of transformers.
    feature_extractor : feature extractor of transformers, default=None
        What prepares the samples for the model. None takes the one beside the model; a module
        without one gets the samples as they are.
    sampling_rate : int, default=None
        Samples a second of rows that are arrays, which need it. Files carry their own.
    model_rate : int, default=16000
        Samples a second that a module without a feature extractor was made for. Models by name say
        it themselves.
    pooling : {"auto", "mean", "max", "last", "gem", "cls", "pooler"}, default="auto"
        How the vectors of the frames become one. "auto" is "mean", and for AST its own pooled
        output, the mean of its two class tokens. "gem" is the generalised mean with exponent 3.
        "cls" and "pooler" are for AST. Frames beyond the end of a sound never count.
    layer : int, default=-1
        Layer whose vectors are pooled: -1 is the last, 0 what goes into the first. The middle
        layers of speech models often tell more about a speaker than the last, and those above it
        are not run.
    max_seconds : float, default=None
        Longest sound that goes through the model in one piece. None is what the model takes: 30 for
        Whisper, 10.24 for AST, any number for wav2vec2 and HuBERT, where time and memory grow with
        the square of it.
    long : {"raise", "window", "truncate"}, default="raise"
        What becomes of longer sounds. "raise" is an error, before anything is computed. "window"
        cuts them in the fewest windows of equal length and takes the mean of their features.
        "truncate" reads their beginning, and warns.
    errors : {"raise", "skip"}, default="raise"
        Of files and sounds that cannot be read, are missing (None, NaN), or are shorter than one
        frame of the model (25 milliseconds for most). "skip" gives a row of NaN (there is one row
        for each sound, always) and one warning that names the rows.
    normalize : bool, default=False
        Scale each row to length 1.
    batch_size : int, default="auto"
        Sounds in one forward pass. "auto" puts about the same number of seconds in each, and halves
        a batch that does not fit in the memory of a GPU.
    device : str or torch.device, default="auto"
        "auto" is a GPU if there is one.
    precision : {"float32", "bfloat16", "float16"}, default="float32"
        Of the forward pass (mixed precision). Features are float32.
    cache : "memory", path-like, EmbeddingCache or None, default="memory"
        Where embeddings are kept. "memory" is shared by all extractors of this process, a directory
        by all processes. A sound is known by its content, not by its file's name.
    verbose : int, default=0
        1 shows progress, rate and time left.

    See Also
    --------
    ImageExtractor : The same for images.
    EmbeddingCache : What is kept, and for how long.

    Notes
    -----
    Rows are paths of WAV files or their bytes (PCM of 8, 16, 24 or 32 bits, floating point of 32 or
    64, any number of channels); arrays, int16 or int32 over their whole range, floating point from
    -1 to 1; or dicts with "array" and "sampling_rate". A two-dimensional X is one sound per row.

    wav2vec2-base and hubert-base normalise over all the time of a row, padding included, so that
    only sounds of just the same length share a batch. Cut sounds to few lengths where speed
    matters.

    A pickle holds no weights of a model given by name: they are loaded from the same directory, or,
    where that is gone, found by the name again (a hub id in another local copy of the hub, say). A
    module travels with the pickle. A factory is called once per process, perhaps again when many
    other models were used meanwhile; it must make the same weights each time, whatever files it
    reads. Where weights are not those of ``fit``, ``transform`` raises an error.

    Examples
    --------
    Any torch module will do; ``AudioExtractor("facebook/wav2vec2-base")`` needs no more.

    >>> import numpy as np, torch
    >>> from adaptlearn import AudioExtractor
    >>> class Spectrum(torch.nn.Module):
    ...     def forward(self, samples):
    ...         frames = samples.unfold(1, 128, 64) * torch.hann_window(128)
    ...         return torch.fft.rfft(frames).abs()
    >>> time = np.arange(8000) / 8000
    >>> sounds = [np.sin(2 * np.pi * pitch * time) for pitch in (440, 880, 1760)]
    >>> extractor = AudioExtractor(Spectrum(), sampling_rate=8000, model_rate=8000)
    >>> features = extractor.fit_transform(sounds)
    >>> features.shape
    (3, 65)
    >>> features.argmax(1)  # in steps of 62.5 Hz
    array([ 7, 14, 28])
    """

    _row_is, _a_row = "sounds", "a sound"
    _decisive = ("precision", "pooling", "layer", "max_seconds", "long", "model_rate")

    _parameter_constraints = {
        **Extractor._parameter_constraints,
        "feature_extractor": [HasMethods(["pad", "to_dict"]), None],
        "sampling_rate": [Interval(Integral, 1, None, closed="left"), None],
        "model_rate": [Interval(Integral, 1, None, closed="left")],
        "pooling": [StrOptions({"auto", "mean", "max", "last", "gem", "cls", "pooler"})],
        "layer": [Integral],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "long": [StrOptions({"raise", "window", "truncate"})],
        "errors": [StrOptions({"raise", "skip"})],
    }

    def __init__(
        self,
        model,
        *,
        feature_extractor=None,
        sampling_rate=None,
        model_rate=16000,
        pooling="auto",
        layer=-1,
        max_seconds=None,
        long="raise",
        errors="raise",
        normalize=False,
        batch_size="auto",
        device="auto",
        precision="float32",
        cache="memory",
        verbose=0,
    ):
        self.model = model
        self.feature_extractor = feature_extractor
        self.sampling_rate = sampling_rate
        self.model_rate = model_rate
        self.pooling = pooling
        self.layer = layer
        self.max_seconds = max_seconds
        self.long = long
        self.errors = errors
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True  # sounds of one length
        return tags

    def _read_rows(self, X):
        return read_sounds(X, self.sampling_rate)

    def _digest(self, row):
        return sound_digest(row)

    def _companions(self):
        # transformers computes the spectrograms of AST with torchaudio, where it is installed.
        return f"{describe(self.feature_extractor)} {find_spec('torchaudio') is not None}"

    def _example(self):
        seconds = 0.5 if self.max_seconds is None else min(0.5, self.max_seconds)
        return Sound(np.zeros(max(1, int(seconds * self.model_rate)), np.float32), self.model_rate)

    def _front(self, network):
        extractor = self.feature_extractor
        if extractor is None:
            extractor = network.companion
        if extractor is None and network.directory is not None:
            key = ("feature extractor", str(network.directory), network.fingerprint)
            extractor = once_per_process(
                key, lambda: load_feature_extractor(network.directory, self.model)
            )
        return front_end(encoder_of(network.module), extractor, self.model_rate)

    def _batches(self, rows, numbers, network, device):
        front = self._front(network)
        most = self._most_samples(front)
        lengths = np.array(
            [self._length(*row, front, self._bad) for row in zip(numbers, rows, strict=True)]
        )
        n_windows, size = self._cut(lengths, numbers, most, front.rate)
        # Longest first: what does not fit in memory fails at once, and the end comes early. Sounds
        # that may not be padded share a batch with those of just their length.
        order = [i for i in np.lexsort((size, n_windows))[::-1] if lengths[i]]
        readers = n_readers(device)
        made = read_ahead(lambda i: to_wave(rows[i], front.rate), order, readers, 2 * readers)
        with closing(made):
            for (m, _), group in groupby(
                order, key=lambda i: (n_windows[i], 0 if front.pads else size[i])
            ):
                group = list(group)
                while group:
                    samples = front.longest if front.fixed else size[group[0]]
                    n = self._rows_in_batch(m * samples / front.rate, device)
                    places, waves = [], []
                    for i, get in zip(group[:n], made, strict=False):
                        try:
                            waves += _windows(get(), m, size[i])
                        except Exception as error:
                            self._bad.add(numbers[i], rows[i], error)
                        else:
                            places.append(i)
                    group = group[n:]
                    if places:
                        yield Batch(np.array(places), _tensors(front, waves, len(places), m))

    def _most_samples(self, front):
        """Samples of the longest sound that goes through in one piece; None for any number."""
        if self.max_seconds is None:
            return front.longest
        most = int(self.max_seconds * front.rate)
        if front.longest is not None and most > front.longest:
            raise ValueError(
                f"max_seconds={self.max_seconds} is more than the model takes; it must be at most "
                f"{front.longest / front.rate:.4g}."
            )
        if most < max(1, front.shortest):
            raise ValueError(
                f"max_seconds={self.max_seconds} is less than one frame of the model; it must be "
                f"at least {front.shortest / front.rate:.4g}."
            )
        return most

    def _length(self, number, row, front, bad):
        """Samples of a sound at the model's rate; 0 for one that is left out."""
        try:
            n = n_samples_at(row, front.rate)
            if n < max(1, front.shortest):
                raise ValueError(
                    f"it has {n} samples at the model's {front.rate} a second, and the model needs "
                    f"{front.shortest}"
                )
        except Exception as error:
            bad.add(number, row, error)
            return 0
        return n

    def _cut(self, lengths, numbers, most, rate):
        """Number of windows of each sound, and the samples in each of them."""
        one = np.ones_like(lengths)
        long = lengths > most if most is not None else np.zeros(len(lengths), bool)
        if not long.any():
            return one, lengths
        says = (
            f"{long.sum()} of {len(lengths)} sounds are longer than {most / rate:.4g} seconds (row "
            f"{numbers[np.argmax(lengths)]} of X has {lengths.max() / rate:.4g})"
        )
        if self.long == "raise":
            own = "the model takes in one piece" if self.max_seconds is None else "max_seconds="
            raise ValueError(
                f"{says}, which is what {own}. long='window' takes the mean over windows of them, "
                "long='truncate' reads their beginning alone."
            )
        if self.long == "truncate":
            warnings.warn(
                f"{says}: the rest of them was not read. long='window' reads all.",
                UserWarning,
                stacklevel=2,
            )
            return one, np.minimum(lengths, most)
        n_windows = np.maximum(1, -(-lengths // most))
        return n_windows, -(-lengths // n_windows)

    def _rows_in_batch(self, seconds, device):
        if self.batch_size != "auto":
            return self.batch_size
        budget = _SECONDS.get(device.type, _SECONDS["cpu"])
        return int(np.clip(budget / seconds, 1, _MOST_ROWS))

    def _features(self, network, inputs):
        module = encoder_of(network.module)
        n_dims = 3 if reads_spectrograms(module) else 2

        def features(batch):
            hidden, answer = run_to(module, self.layer, partial(call, inputs=batch))
            return self._pooled(module, network, hidden, answer, batch)

        return by_window(features, inputs, n_dims)

    def _pooled(self, module, network, hidden, answer, inputs):
        how = self.pooling
        has_class_tokens = model_type(module) == "audio-spectrogram-transformer"
        if how == "auto" and has_class_tokens:
            return hidden[:, :2].mean(1)
        if how == "pooler":
            if self.layer != -1:
                raise ValueError("pooling='pooler' is made from the last layer; use layer=-1.")
            return trained_pooler(answer, network, "'auto' or 'mean'")
        if how == "cls" and has_class_tokens:
            return hidden[:, 0]
        if how == "cls" or (how == "last" and has_class_tokens):
            raise ValueError(f"pooling={how!r}: the model has none; use 'auto' or 'mean'.")
        if hidden.ndim == 2:
            if how != "auto":
                raise ValueError(
                    f"pooling={how!r}: the model returns one vector per sound; use 'auto'."
                )
            return hidden
        how = "mean" if how == "auto" else how
        if hidden.ndim == 4:
            return pool_places(hidden, how)
        if hidden.ndim != 3:
            raise ValueError(
                f"the model returned shape {tuple(hidden.shape)}; frames (n, n_frames, d), a map "
                "(n, d, height, width) or one vector per sound (n, d) are needed."
            )
        mask, n_special = real_frames(module, hidden, inputs)
        return pool_tokens(hidden[:, n_special:], mask, how)


def _tensors(front, waves, n_rows, n_windows):
    """What the network reads; of long sounds with an axis for the windows, after the rows."""
    inputs = front.tensors(waves)
    if n_windows == 1:
        return inputs
    return {name: x.unflatten(0, (n_rows, n_windows)) for name, x in inputs.items()}


def _windows(wave, n, size):
    """`n` windows of `size` samples, from the first to the last; they may overlap by a few."""
    starts = np.linspace(0, len(wave) - size, n).round().astype(int) if n > 1 else [0]
    return [wave[start : start + size] for start in starts]
