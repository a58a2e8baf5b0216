"""
Words over the telephone
========================

A few spoken commands were recorded in a studio, and labelled. The calls to understand come over the
telephone: at another sampling rate, without low and high frequencies, with the noise of the line.
No call has a label.
"""

# %%
# Two microphones
# ---------------
# The words are made up: each is three tones, one after the other, with overtones, in a voice that
# is a little higher or lower and quicker or slower than the next. Studio recordings are arrays at
# 22050 samples a second; calls are WAV files at 8000, of 16 bits.
import io

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.io import wavfile
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import AudioExtractor, DomainAdaptationClassifier

WORDS = np.array(["up", "down", "left", "right", "stop", "go"])
TONES = np.array([[350, 500, 900], [900, 500, 350], [500, 350, 900],
                  [900, 350, 500], [500, 900, 350], [350, 900, 500]])  # fmt: skip
rng = np.random.default_rng(0)


def speak(word, rate):
    """One utterance: tones with overtones that glide into each other, louder in the middle."""
    time = np.arange(0, rng.uniform(0.45, 0.6), 1 / rate)
    places = np.linspace(0, time[-1], 3)
    pitch = np.interp(time, places, TONES[word]) * rng.uniform(0.85, 1.15)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    overtones = sum(np.sin(k * phase) / k ** rng.uniform(0.8, 1.6) for k in (1, 2, 3))
    loudness = np.sin(np.pi * np.arange(len(time)) / len(time)) ** 0.5
    return rng.uniform(0.1, 0.25) * loudness * overtones


def over_the_telephone(sound):
    """A call at 8000 samples a second: 450 to 2200 Hz, and the hum and hiss of the line."""
    spectrum = np.fft.rfft(sound)
    pitch = np.fft.rfftfreq(len(sound), 1 / 8000)
    line = np.fft.irfft(spectrum * ((pitch > 450) & (pitch < 2200)) / (1 + pitch / 900), len(sound))
    hum = 0.1 * np.sin(2 * np.pi * 100 * np.arange(len(sound)) / 8000)
    noisy = line + hum + rng.normal(0, 0.03, len(sound))
    file = io.BytesIO()
    wavfile.write(file, 8000, (32767 * noisy.clip(-1, 1)).astype(np.int16))
    return file.getvalue()


y_source = rng.integers(6, size=150)
y_target = rng.integers(6, size=200)
studio = [speak(word, 22050) for word in y_source]
calls = [over_the_telephone(speak(word, 8000)) for word in y_target]

# %%
# What a network hears
# --------------------
# `AudioExtractor` takes models of transformers by name, and any torch module. This one makes a
# log-mel spectrogram, as most speech models do first, and keeps a coarse picture of it: 24 bands of
# pitch, 6 pieces of time.


class LogMel(torch.nn.Module):
    def __init__(self, rate=8000, n_bands=24, n_fft=512):
        super().__init__()
        mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), n_bands + 2)
        edges = 700 * (10 ** (mel / 2595) - 1)
        low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        pitch = np.fft.rfftfreq(n_fft, 1 / rate)
        filters = np.minimum((pitch - low) / (middle - low), (high - pitch) / (high - middle))
        self.register_buffer("filters", torch.tensor(filters.clip(0), dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(n_fft))

    def spectrogram(self, samples):
        n_fft = len(self.window)
        spectrum = torch.stft(samples, n_fft, 80, window=self.window, return_complex=True)
        return (self.filters @ spectrum.abs().square() + 1e-3).log()

    def forward(self, samples):
        picture = self.spectrogram(samples)[:, None]
        return torch.nn.functional.adaptive_avg_pool2d(picture, (24, 6)).flatten(1)


extractor = AudioExtractor(LogMel(), sampling_rate=22050, model_rate=8000)
X_source, X_target = extractor.fit_transform(studio), extractor.transform(calls)
print("studio:", X_source.shape, "calls:", X_target.shape)

# %%
# The same three words in both recordings:
shown = [0, 2, 4]
fig, axes = plt.subplots(2, 3, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
for row, (X, y, name) in enumerate([(X_source, y_source, "studio"), (X_target, y_target, "call")]):
    for axis, word in zip(axes[row], shown, strict=True):
        picture = X[np.flatnonzero(y == word)[0]].reshape(24, 6)
        axis.imshow(picture, origin="lower", aspect="auto", cmap="magma")
        axis.set_title(f"“{WORDS[word]}”, {name}")
for axis in axes[:, 0]:
    axis.set_ylabel("band of pitch")
for axis in axes[1]:
    axis.set_xlabel("piece of time")
plt.show()

# %%
# From the studio to the line
# ---------------------------
# A classifier that learned in the studio hears another language on the line: it is right as often
# as a die. It helps to standardise the calls by themselves. `DomainAdaptationClassifier` does that,
# and learns features that look alike in both places; it sees the calls without their labels.
plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
plain.fit(X_source, y_source)
adapted = DomainAdaptationClassifier(random_state=0).fit(X_source, y_source, X_target=X_target)
by_itself = StandardScaler().fit_transform(X_target)
accuracy = {
    "logistic regression": plain.score(X_target, y_target),
    "calls standardised by themselves": plain[-1].score(by_itself, y_target),
    "adapted to the calls": adapted.score(X_target, y_target),
}
for name, value in accuracy.items():
    print(f"{name:34s} {value:.2f} of the calls understood")

fig, axis = plt.subplots(figsize=(6, 2), layout="constrained")
bars = axis.barh(list(accuracy), list(accuracy.values()), color=["#b0b0b0", "#b0b0b0", "#3b6fb6"])
axis.bar_label(bars, fmt="%.2f", padding=3)
axis.set(xlim=(0, 1.1), xlabel="share of the calls understood")
axis.invert_yaxis()
plt.show()

assert accuracy["adapted to the calls"] > max(list(accuracy.values())[:2])

# %%
# With a pretrained model the extractor is one name, and the rest stays as it is::
#
#     AudioExtractor("facebook/hubert-base-ls960", sampling_rate=22050)
