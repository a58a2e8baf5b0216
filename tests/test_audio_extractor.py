"""Speech and sound models of transformers as audio extractors; tiny ones, made here."""

import copy
import io
import pickle
import struct
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.io import wavfile
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny_models import audio_feature_extractor, audio_model, save_audio, transformers
from torch import nn

from adaptlearn import AudioExtractor, EmbeddingCache
from adaptlearn.extractors import _models, base
from adaptlearn.extractors._wav import read_header, read_samples
from adaptlearn.extractors._waves import resample, to_wave

KINDS = ["wav2vec2", "wav2vec2_group", "hubert", "hubert_group", "whisper", "ast"]
WAVES = ["wav2vec2", "wav2vec2_group", "hubert", "hubert_group"]
RATE = 16000


def tone(n, pitch, seed=0, rate=RATE):
    """A sine with a little noise, float32."""
    noise = np.random.default_rng(seed).normal(0, 0.02, n)
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(n) / rate) + noise).astype(np.float32)


SOUNDS = [tone(n, pitch, i) for i, (n, pitch) in enumerate(
    [(8000, 200), (3000, 900), (5003, 3000), (8000, 500), (9000, 120), (1234, 2000)])]  # fmt: skip


def extractor(model, **params):
    return AudioExtractor(model, **({"cache": None, "sampling_rate": RATE} | params))


def hidden_of(kind, sound, layer=-1):
    """Real frames of one sound alone, as the documentation of transformers shows it."""
    model, prepare = audio_model(kind), audio_feature_extractor(kind)
    model = model.encoder if kind == "whisper" else model
    inputs = prepare(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        answer = model(next(iter(inputs.values())), output_hidden_states=True)
    hidden = answer.last_hidden_state if layer == -1 else answer.hidden_states[layer]
    hidden = hidden[0].numpy()
    if kind == "whisper":  # a frame of the spectrogram each 160 samples, one here for two of them
        return hidden[: -(-len(sound) // 320)]
    if kind == "ast":  # patches of 4 x 4, each 3 bins and 5 frames: 5 x 13 of them
        n_frames = 1 + (len(sound) - 400) // 160
        return np.array([
            token
            for number, token in enumerate(hidden[2:])
            if number % 13 * 5 < n_frames
        ])  # fmt: skip
    return hidden


def class_tokens(sound, layer=-1):
    inputs = audio_feature_extractor("ast")(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        answer = audio_model("ast")(**inputs, output_hidden_states=True)
    hidden = answer.last_hidden_state if layer == -1 else answer.hidden_states[layer]
    return hidden[0, :2].numpy()


POOLS = {
    "mean": lambda frames: frames.mean(0),
    "max": lambda frames: frames.max(0),
    "last": lambda frames: frames[-1],
    "gem": lambda frames: (np.maximum(frames.astype(float), 1e-6) ** 3).mean(0) ** (1 / 3),
}


def expected(kind, sounds, pooling="mean", layer=-1):
    return np.array([POOLS[pooling](hidden_of(kind, sound, layer)) for sound in sounds])


class Shown(nn.Module):
    """Gives back the samples it is shown: their number, mean, smallest and largest."""

    def forward(self, samples):
        n = torch.full((len(samples),), float(samples.shape[1]))
        return torch.stack([n, samples.mean(1), samples.amin(1), samples.amax(1)], 1)


class Counted(nn.Module):
    """One vector per frame of 100 samples; counts the rows it is shown."""

    rows = 0

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.linear = nn.Linear(100, 4)

    def forward(self, samples):
        type(self).rows += len(samples)
        return torch.tanh(self.linear(samples.unfold(1, 100, 100)))


def make_counted():
    return Counted()


# The answer


@pytest.mark.parametrize("pooling", ["auto", "mean", "max", "last", "gem"])
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_a_plain_loop(tmp_path, kind, pooling):
    save_audio(tmp_path, kind)
    if kind == "ast" and pooling == "last":
        with pytest.raises(ValueError, match="pooling='last': the model has none"):
            extractor(tmp_path, pooling=pooling).fit_transform(SOUNDS)
        return
    if kind == "ast" and pooling == "auto":
        wanted = np.array([class_tokens(sound).mean(0) for sound in SOUNDS])
    else:
        wanted = expected(kind, SOUNDS, "mean" if pooling == "auto" else pooling)
    assert np.ptp(wanted, axis=0).max() > 1e-2, "sounds must differ for this test to see anything"
    for batch_size in ("auto", 1, 4):
        features = extractor(tmp_path, pooling=pooling, batch_size=batch_size).fit_transform(SOUNDS)
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [*KINDS, "wavlm", "unispeech", "unispeech_sat"])
@pytest.mark.filterwarnings("error")
def test_what_else_is_in_the_batch_does_not_matter(tmp_path, kind):
    save_audio(tmp_path, kind)
    one = extractor(tmp_path).fit(SOUNDS)
    together, reversed_ = one.transform(SOUNDS), one.transform(SOUNDS[::-1])[::-1]
    np.testing.assert_allclose(reversed_, together, atol=1e-5)
    for i, sound in enumerate(SOUNDS):
        np.testing.assert_allclose(one.transform([sound])[0], together[i], atol=1e-5)


def test_padding_would_change_a_model_normalised_over_time():
    """Why such sounds are batched by length: this fails if the model's own behaviour changes."""
    model = audio_model("wav2vec2_group")
    sound = torch.from_numpy(SOUNDS[1])[None]
    padded = nn.functional.pad(sound, (0, 5000))
    mask = (torch.arange(8000) < 3000)[None].long()
    with torch.no_grad():
        alone = model(sound).last_hidden_state
        beside = model(padded, attention_mask=mask).last_hidden_state[:, : alone.shape[1]]
    assert (alone - beside).abs().max() > 1e-2


def batches_of(one, sounds):
    """Numbers of rows in the batches that an extractor makes."""
    device = torch.device("cpu")
    network = one._network(device)
    rows = one._read_rows(sounds)
    return [batch.inputs for batch in one._batches(rows, range(len(rows)), network, device)]


def test_batches(tmp_path):
    save_audio(tmp_path / "layer", "wav2vec2")
    save_audio(tmp_path / "group", "wav2vec2_group")
    (padded,) = batches_of(extractor(tmp_path / "layer").fit(SOUNDS), SOUNDS)
    assert padded["input_values"].shape == (6, 9000)
    lengths = [9000, 8000, 8000, 5003, 3000, 1234]
    assert sorted(padded["attention_mask"].sum(1).tolist()) == sorted(lengths)
    by_length = batches_of(extractor(tmp_path / "group").fit(SOUNDS), SOUNDS)
    assert [tuple(b["input_values"].shape) for b in by_length] == [
        (1, 9000), (2, 8000), (1, 5003), (1, 3000), (1, 1234)]  # fmt: skip
    assert all("attention_mask" not in b for b in by_length)
    long = [np.zeros(RATE * 20, np.float32) + i / 100 for i in range(7)]
    by_seconds = batches_of(extractor(tmp_path / "layer").fit(long), long)
    assert [len(b["input_values"]) for b in by_seconds] == [3, 3, 1]  # 60 seconds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", [0, 1, -2, 2])
def test_layer(tmp_path, kind, layer):
    save_audio(tmp_path, kind)
    cache = EmbeddingCache()
    last = extractor(tmp_path, cache=cache).fit_transform(SOUNDS[:3])
    features = extractor(tmp_path, cache=cache, layer=layer).fit_transform(SOUNDS[:3])
    if layer == 2:  # the last by its number
        np.testing.assert_array_equal(features, last)
        return
    if kind == "ast":
        wanted = np.array([class_tokens(sound, layer).mean(0) for sound in SOUNDS[:3]])
    else:
        wanted = expected(kind, SOUNDS[:3], layer=layer)
    np.testing.assert_allclose(features, wanted, atol=1e-5, rtol=1e-4)
    assert np.abs(features - last).max() > 1e-3


def test_layer_out_of_range(tmp_path):
    save_audio(tmp_path)
    with pytest.raises(ValueError, match=r"layer=7: .*0 \(embeddings\) to 2"):
        extractor(tmp_path, layer=7).fit_transform(SOUNDS)
    with pytest.raises(ValueError, match="layer=0: the model shows its last layer only"):
        extractor(Counted(), layer=0).fit_transform(SOUNDS)


@pytest.mark.parametrize("kind", [*WAVES, "whisper"])
@pytest.mark.parametrize("pooling", ["cls", "pooler"])
def test_speech_models_have_no_pooler(tmp_path, kind, pooling):
    save_audio(tmp_path, kind)
    with pytest.raises(ValueError, match=f"pooling='{pooling}': the model has none.*'mean'"):
        extractor(tmp_path, pooling=pooling).fit_transform(SOUNDS)


def test_class_tokens_of_ast(tmp_path):
    save_audio(tmp_path, "ast")
    tokens = np.array([class_tokens(sound) for sound in SOUNDS])
    found = extractor(tmp_path, pooling="cls").fit_transform(SOUNDS)
    np.testing.assert_allclose(found, tokens[:, 0], atol=1e-5)
    found = extractor(tmp_path, pooling="pooler").fit_transform(SOUNDS)
    np.testing.assert_allclose(found, tokens.mean(1), atol=1e-5)
    with pytest.raises(ValueError, match=r"pooling='pooler'.*layer=-1"):
        extractor(tmp_path, pooling="pooler", layer=1).fit_transform(SOUNDS)


def test_features_are_differentiable(tmp_path):
    """A frozen pass and a training pass are the same function."""
    for kind in KINDS:
        save_audio(tmp_path / kind, kind)
        one = extractor(tmp_path / kind).fit(SOUNDS)
        network = one._network(torch.device("cpu"))
        module = copy.deepcopy(network.module).requires_grad_(True)
        inputs = batches_of(one, SOUNDS[:2])[0]
        features = one._features(network._replace(module=module), inputs)
        features.square().sum().backward()
        grads = [p.grad for p in module.parameters() if p.requires_grad]
        assert any(g is not None and g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(tmp_path, precision):
    save_audio(tmp_path, "whisper")
    full = extractor(tmp_path).fit_transform(SOUNDS)
    half = extractor(tmp_path, precision=precision).fit_transform(SOUNDS)
    assert half.dtype == np.float32 and not np.array_equal(half, full)
    assert np.abs(half - full).mean() < 0.2 * np.abs(full).mean()


# Length


@pytest.mark.parametrize("kind", KINDS)
def test_long_sounds_raise_before_anything_is_computed(tmp_path, kind, monkeypatch):
    save_audio(tmp_path, kind)
    limit = {"whisper": 1.0, "ast": 0.6649}.get(kind, 0.5)
    given = {} if kind in ("whisper", "ast") else {"max_seconds": 0.5}
    long = [*SOUNDS[1:3], tone(20000, 300), tone(30000, 300)]
    one = extractor(tmp_path, **given).fit(long)
    monkeypatch.setattr(AudioExtractor, "_features", None)
    text = rf"2 of 4 sounds are longer than {limit:.4g} seconds \(row 3 of X has 1.875\).*'window'"
    with pytest.raises(ValueError, match=text):
        one.transform(long)


def test_any_length_goes_through_wav2vec2(tmp_path):
    save_audio(tmp_path)
    long = [tone(50000, 300)]
    found = extractor(tmp_path).fit_transform(long)
    np.testing.assert_allclose(found, expected("wav2vec2", long), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_long_sounds(tmp_path, kind):
    """The mean of the features of the parts, worked out part by part."""
    save_audio(tmp_path, kind)
    short, long, longer = SOUNDS[1], tone(12001, 300), tone(23000, 700, 1)
    one = extractor(tmp_path, max_seconds=0.5, long="window").fit([short])
    found = one.transform([long, short, longer, long[:9000]])
    parts = {
        0: [long[:6001], long[6000:]],  # two windows of 6001 samples, one sample in both
        1: [short],
        2: [longer[:7667], longer[7666 : 7666 + 7667], longer[-7667:]],
        3: [long[:4500], long[4500:9000]],
    }
    for row, pieces in parts.items():
        wanted = extractor(tmp_path).fit_transform(pieces).mean(0)
        np.testing.assert_allclose(found[row], wanted, atol=1e-5, rtol=1e-4)
    again = clone(one).set_params(batch_size=1).fit_transform([longer])
    np.testing.assert_allclose(again[0], found[2], atol=1e-5)


def test_many_windows_go_through_in_parts(tmp_path, monkeypatch):
    one = extractor(Counted(), max_seconds=0.01, long="window")  # 160 samples
    sound = tone(160 * 21, 400)
    found = one.fit_transform([sound])
    wanted = extractor(Counted()).fit_transform(list(sound.reshape(21, 160))).mean(0)
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_cut_sounds_are_counted(tmp_path):
    save_audio(tmp_path, "whisper")
    sounds = [SOUNDS[0], tone(20000, 400), tone(40000, 500)]
    with pytest.warns(UserWarning, match="2 of 3 sounds.*rest of them was not read") as caught:
        found = extractor(tmp_path, long="truncate").fit_transform(sounds)
    assert len(caught) == 1
    wanted = expected("whisper", [s[:RATE] for s in sounds])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "seconds", "match"),
    [("whisper", 1.5, "at most 1"), ("ast", 5, "at most 0.66"), ("wav2vec2", 1e-3, "at least")],
)
def test_max_seconds_out_of_range(tmp_path, kind, seconds, match):
    save_audio(tmp_path, kind)
    with pytest.raises(ValueError, match=f"max_seconds={seconds}.*{match}"):
        extractor(tmp_path, max_seconds=seconds).fit_transform(SOUNDS)


@pytest.mark.parametrize(("kind", "needs"), [("wav2vec2", 25), ("ast", 400), ("whisper", 2)])
def test_sounds_shorter_than_a_frame(tmp_path, kind, needs):
    save_audio(tmp_path, kind)
    sounds = [SOUNDS[1], SOUNDS[1][: needs - 1], np.zeros(0, np.float32), SOUNDS[2][:needs]]
    if kind == "whisper":  # one sample is a sound
        assert np.isfinite(extractor(tmp_path).fit_transform(sounds[1:2])).all()
        with pytest.raises(ValueError, match=r"row 0 of X.*0 samples.*needs 1"):
            extractor(tmp_path).fit_transform(sounds[2:3])
        return
    with pytest.raises(ValueError, match=rf"row 1 of X.*{needs - 1} samples.*needs {needs}"):
        extractor(tmp_path).fit_transform(sounds)
    with pytest.warns(UserWarning, match="2 sounds are left out.*row 1.*row 2"):
        found = extractor(tmp_path, errors="skip").fit_transform(sounds)
    assert np.isnan(found[1:3]).all() and np.isfinite(found[[0, 3]]).all()


# Samples


def shown(X, model_rate=RATE, **params):
    return extractor(Shown(), model_rate=model_rate, **params).fit_transform(X)


@pytest.mark.parametrize(("rate", "new"), [(44100, 16000), (8000, 16000), (48000, 16000),
                                           (22050, 16000), (16000, 8000)])  # fmt: skip
def test_resampling_keeps_a_sine(rate, new):
    time = np.arange(rate) / rate
    wave = np.sin(2 * np.pi * 440 * time + 0.3).astype(np.float32)
    found = resample(wave, rate, new)
    assert len(found) == new and found.dtype == np.float32
    exact = np.sin(2 * np.pi * 440 * np.arange(new) / new + 0.3)
    inside = slice(new // 50, -new // 50)  # the ends see the silence around
    np.testing.assert_allclose(found[inside], exact[inside], atol=2e-3)


def test_resampling_does_not_alias():
    """11 kHz cannot be heard at 16 kHz; taking every third sample would give 5 kHz."""
    wave = np.sin(2 * np.pi * 11000 * np.arange(48000) / 48000).astype(np.float32)
    assert np.abs(resample(wave, 48000, 16000)[500:-500]).max() < 0.01
    assert np.abs(wave[::3]).max() > 0.9


def test_resampling_is_part_of_the_features(tmp_path):
    save_audio(tmp_path)
    at_8k = tone(4000, 300, rate=8000)
    found = extractor(tmp_path, sampling_rate=8000).fit_transform([at_8k])
    wanted = expected("wav2vec2", [resample(at_8k, 8000, RATE)])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    as_it_is = extractor(tmp_path).fit_transform([at_8k])
    assert np.abs(found - as_it_is).max() > 1e-3
    assert shown([at_8k], model_rate=8000, sampling_rate=8000)[0, 0] == 4000
    assert shown([at_8k], sampling_rate=8000)[0, 0] == 8000


@pytest.mark.parametrize("n_channels", [1, 2, 3])
@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4", "f8"])
def test_every_kind_of_wav_file(tmp_path, kind, n_channels):
    """Values by SciPy's reader, and by hand."""
    rng = np.random.default_rng(0)
    if kind[0] == "f":
        data, scale, middle = rng.uniform(-1, 1, (500, n_channels)).astype(kind), 1, 0
    else:
        info = np.iinfo(kind)
        data = rng.integers(info.min, info.max, (500, n_channels), dtype=kind, endpoint=True)
        scale = 2 ** (info.bits - 1)
        middle = 128 if kind == "u1" else 0
    path = tmp_path / "a.wav"
    wavfile.write(path, 8000, data[:, 0] if n_channels == 1 else data)
    rate, theirs = wavfile.read(path)
    with open(path, "rb") as file:
        form = read_header(file)
        ours = read_samples(file, form)
    assert (form.rate, form.n_channels, form.n_samples) == (rate, n_channels, 500)
    theirs = (theirs.reshape(500, n_channels).astype(float) - middle) / scale
    np.testing.assert_allclose(ours, theirs, atol=1e-7)
    mono = theirs.mean(1)
    np.testing.assert_allclose(to_wave(path, 8000), mono, atol=1e-6)
    seen = shown([path], model_rate=8000)
    np.testing.assert_allclose(seen[0], [500, mono.mean(), mono.min(), mono.max()], atol=1e-6)


def riff(form, data, extra=b"", size=None):
    """Bytes of a WAV file, chunk by chunk."""
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + extra
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


PCM24 = struct.pack("<HHIIHH", 1, 2, 8000, 48000, 6, 24)
STEREO24 = b"".join(  # two channels at full scale, half and a quarter; negative ones too
    value.to_bytes(3, "little", signed=True)
    for value in (2**23 - 1, -(2**23), 2**22, 2**22, -(2**21), 2**21)
)


def test_24_bits_by_hand():
    data = riff(PCM24, STEREO24, extra=b"LIST" + struct.pack("<I", 3) + b"abc\0")
    np.testing.assert_allclose(to_wave(data, 8000), [-(2**-24), 0.5, 0], atol=1e-8)
    assert wavfile.read(io.BytesIO(data))[1].shape == (3, 2), "SciPy reads it as we do"


def test_extensible_and_streamed_headers():
    guid = struct.pack("<H", 1) + bytes.fromhex("000000001000800000aa00389b71")
    form = struct.pack("<HHIIHH", 0xFFFE, 1, 8000, 16000, 2, 16) + struct.pack("<HHI", 22, 16, 4)
    samples = np.array([16384, -16384, 0, 8192], "<i2")
    data = riff(form + guid, samples.tobytes())
    np.testing.assert_array_equal(to_wave(data, 8000), [0.5, -0.5, 0, 0.25])
    streamed = riff(form + guid, samples.tobytes(), size=0xFFFFFFFF)
    np.testing.assert_array_equal(to_wave(streamed, 8000), [0.5, -0.5, 0, 0.25])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "ends in its header"),
        (b"ID3\x04 an mp3 file, or so it seems", "no WAV file.*sampling_rate="),
        (riff(PCM24, STEREO24)[:-1], "ends early: 17 of 18 bytes"),
        (riff(PCM24, STEREO24)[:30], "ends in its header"),
        (riff(PCM24, STEREO24)[:38], "has no samples"),
        (riff(struct.pack("<HHIIHH", 7, 1, 8000, 8000, 1, 8), b"abc"), "format 7, 8 bits.*PCM"),
        (riff(struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16), b"ab"), "at 0 Hz"),
        (riff(struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16), b"ab"), "0 channels"),
    ],
)
def test_bad_files_are_named_or_skipped(tmp_path, data, match):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    wavfile.write(good, RATE, SOUNDS[1])
    bad.write_bytes(data)
    with pytest.raises(ValueError, match=rf"row 1 of X \('.*bad.wav'\).*{match}.*errors='skip'"):
        shown([good, bad])
    with pytest.warns(UserWarning, match="1 sound is left out, as rows of NaN: row 1"):
        seen = shown([good, bad, good], errors="skip")
    assert np.isnan(seen[1]).all() and np.isfinite(seen[[0, 2]]).all()


def test_bad_files_of_equal_content_are_all_counted(tmp_path):
    good, bad, other = (tmp_path / f"{name}.wav" for name in ("good", "bad", "other"))
    wavfile.write(good, RATE, SOUNDS[1])
    bad.write_bytes(b"no sound")
    other.write_bytes(b"no sound")
    match = r"4 sounds are left out, as rows of NaN: row 1.*; row 4.*\(and rows 2, 5\)"
    with pytest.warns(UserWarning, match=match) as caught:
        shown([good, bad, other, good, None, bad], errors="skip")
    assert len(caught) == 1


def test_a_missing_file(tmp_path):
    gone = str(tmp_path / "gone.wav")
    with pytest.raises(ValueError, match=r"row 0 of X \('.*gone.wav'\).*No such file"):
        shown([gone])
    with pytest.warns(UserWarning, match="row 0"):  # nothing but bad files
        seen = shown([gone], errors="skip")
    assert seen.shape == (1, 4) and np.isnan(seen).all()


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_rows_are_bad_rows(tmp_path, missing):
    wavfile.write(tmp_path / "good.wav", RATE, SOUNDS[1])
    good = str(tmp_path / "good.wav")
    frame = pd.DataFrame({"sound": [good, missing, good]})
    for rows in (["sound"], "sound"):
        table = ColumnTransformer([("sound", extractor(Counted(), errors="skip"), rows)])
        with pytest.warns(UserWarning, match="1 sound is left out.*row 1 of X .*it is missing"):
            found = table.fit_transform(frame)
        np.testing.assert_array_equal(found[::2], extractor(Counted()).fit_transform([good, good]))
        assert np.isnan(found[1]).all()


def test_scales_of_arrays():
    for array in (
        np.array([16384, -16384, 0], np.int16), np.array([2**30, -(2**30), 0], np.int32),
        np.array([0.5, -0.5, 0]), np.array([0.5, -0.5, 0], np.float16),
        np.array([192, 64, 128], np.uint8), [0.5, -0.5, 0.0], torch.tensor([0.5, -0.5, 0]),
    ):  # fmt: skip
        np.testing.assert_allclose(shown([array]), [[3, 0, -0.5, 0.5]], atol=1e-7)


@pytest.mark.parametrize("shape", ["samples first", "channels first"])
def test_channels_are_averaged(shape):
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], 1)
    seen = shown([stereo if shape == "samples first" else stereo.T])
    np.testing.assert_allclose(seen, [[100, 0.125, 0.125, 0.125]])


def test_sounds_in_every_container(tmp_path):
    paths = [tmp_path / f"{i}.wav" for i in range(6)]
    for path, sound in zip(paths, SOUNDS, strict=True):
        wavfile.write(path, RATE, (sound * 32767).astype(np.int16))
    text = [str(p) for p in paths]
    pieces = [wavfile.read(p)[1] for p in paths]
    as_array = np.empty(6, object)
    as_array[:] = pieces
    wanted = shown(paths)
    for X in (text, np.array(text), np.array(text)[:, None], pd.Series(text),
              pd.DataFrame({"sound": text}), pl.Series(text), pl.DataFrame({"sound": text}),
              [p.read_bytes() for p in paths], pieces, tuple(pieces), as_array, pd.Series(pieces),
              [{"array": s, "sampling_rate": RATE, "path": None} for s in pieces]):  # fmt: skip
        np.testing.assert_allclose(shown(X), wanted, atol=1e-7)
    matrix = np.stack([s[:1000] for s in SOUNDS])
    for X in (matrix, torch.from_numpy(matrix), pl.Series(matrix.tolist())):
        np.testing.assert_allclose(shown(X), shown(list(matrix)), atol=1e-7)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_in_a_column_transformer(tmp_path, frame):
    for i, sound in enumerate(SOUNDS):
        wavfile.write(tmp_path / f"{i}.wav", RATE, sound)
    data = frame({
        "sound": [str(tmp_path / f"{i}.wav") for i in range(6)], "age": [1.0, 2, 3, 4, 5, 6],
    })  # fmt: skip
    both = ColumnTransformer([
        ("sound", extractor(Counted()), "sound"), ("rest", StandardScaler(), ["age"]),
    ])  # fmt: skip
    features = both.fit_transform(data)
    np.testing.assert_allclose(features[:, :4], extractor(Counted()).fit_transform(SOUNDS))
    assert both.get_feature_names_out()[0] == "sound__audioextractor0"


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ("a.wav", TypeError, r"A single row is a list of one"),
        (SOUNDS[0], ValueError, r"shape \(8000,\).*\[sound\]"),
        (np.zeros((2, 3, 4)), ValueError, r"shape \(2, 3, 4\)"),
        ([3.0], TypeError, "row 0 of X is float"),
        ([SOUNDS[0], None], ValueError, "row 1 of X .*it is missing.*errors='skip'"),
        ([SOUNDS[0], 3.5], TypeError, "row 1 of X is float"),
        ([np.zeros((50, 60))], ValueError, r"row 0 of X has shape \(50, 60\).*16 channels"),
        ([SOUNDS[0], SOUNDS[0] * 32768], ValueError, "row 1 of X.*from -1 to 1.*32768"),
        ([np.full(100, np.nan)], ValueError, "row 0 of X.*up to nan"),
        ([np.arange(100)], ValueError, "row 0 of X.*int64.*int16"),
    ],
)
def test_rows_that_are_no_sounds(X, error, match):
    with pytest.raises(error, match=match):
        shown(X)


def test_arrays_need_a_rate():
    with pytest.raises(ValueError, match=r"row 0 of X.*Give sampling_rate="):
        shown(SOUNDS, sampling_rate=None)


def test_no_rows():
    assert extractor(Counted()).fit(SOUNDS).transform([]).shape == (0, 4)


def test_input_is_left_alone():
    frozen = np.stack([s[:1000] for s in SOUNDS])
    frozen.setflags(write=False)
    before = frozen.copy()
    for X in (frozen, list(frozen), (frozen * 32767).astype(np.int16)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shown(X)
    np.testing.assert_array_equal(frozen, before)


# Models


def test_a_model_and_its_feature_extractor_as_objects():
    for kind in KINDS:
        model, prepare = audio_model(kind), audio_feature_extractor(kind)
        one = extractor(model, feature_extractor=prepare, cache=EmbeddingCache())
        pooling = "pooler" if kind == "ast" else "auto"
        found = clone(one).set_params(pooling=pooling).fit_transform(SOUNDS)
        wanted = (
            np.array([class_tokens(s).mean(0) for s in SOUNDS])
            if kind == "ast" else expected(kind, SOUNDS)
        )  # fmt: skip
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-4)
        clone(one).set_params(pooling=pooling).fit_transform(SOUNDS)
        assert len(one.cache) == 6, "the same settings find the same rows"
        if kind in ("whisper", "ast"):  # torch pickles no module with a weight norm
            again = pickle.loads(pickle.dumps(clone(one).set_params(cache=None).fit(SOUNDS)))
            np.testing.assert_allclose(again.transform(SOUNDS[:1]), found[:1], atol=1e-5)


def test_another_feature_extractor_is_another_key():
    cache = EmbeddingCache()
    found = []
    for do_normalize in (True, False):
        prepare = transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
        one = extractor(audio_model("wav2vec2"), feature_extractor=prepare, cache=cache)
        found.append(one.fit_transform(SOUNDS))
    assert len(cache) == 12 and np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize("kind", ["whisper", "ast"])
def test_a_model_of_spectrograms_needs_its_feature_extractor(kind):
    with pytest.raises(ValueError, match="give feature_extractor="):
        extractor(audio_model(kind)).fit_transform(SOUNDS)


def test_an_unknown_feature_extractor():
    prepare = transformers.EncodecFeatureExtractor()
    with pytest.raises(ValueError, match=r"EncodecFeatureExtractor.*Wav2Vec2FeatureExtractor"):
        extractor(audio_model("wav2vec2"), feature_extractor=prepare).fit_transform(SOUNDS)


def test_a_directory_without_settings(tmp_path):
    save_audio(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"preprocessor_config\.json there, or give"):
        extractor(tmp_path).fit_transform(SOUNDS)
    given = extractor(tmp_path, feature_extractor=audio_feature_extractor("wav2vec2"))
    found = given.fit_transform(SOUNDS)
    np.testing.assert_allclose(found, expected("wav2vec2", SOUNDS), atol=1e-5)


def test_a_checkpoint_of_a_recogniser_is_loaded_without_its_head(tmp_path):
    """Such files often lack the vector that hides frames in training: nothing depends on it."""
    body = save_audio(tmp_path)
    model = transformers.Wav2Vec2ForCTC(body.config)
    model.wav2vec2.load_state_dict(body.state_dict())
    state = {k: v for k, v in model.state_dict().items() if "masked_spec_embed" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    found = extractor(tmp_path).fit_transform(SOUNDS)
    np.testing.assert_allclose(found, expected("wav2vec2", SOUNDS), atol=1e-5)


def test_weights_that_are_missing_are_an_error(tmp_path):
    model = save_audio(tmp_path)
    state = {k: v for k, v in model.state_dict().items() if "layers.1.attention" not in k}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="would be random"):
        extractor(tmp_path).fit_transform(SOUNDS)


def test_modules_may_return_maps_or_vectors():
    class Map(nn.Module):
        def forward(self, samples):
            return samples[:, None, :1000].unflatten(2, (10, 100)).repeat(1, 2, 1, 1)

    found = extractor(Map()).fit_transform(SOUNDS)
    np.testing.assert_allclose(found[:, 1], [s[:1000].mean() for s in SOUNDS], atol=1e-6)
    with pytest.raises(ValueError, match="pooling='max': the model returns one vector per sound"):
        extractor(Shown(), pooling="max").fit_transform(SOUNDS)

    class Scalar(nn.Module):
        def forward(self, samples):
            return samples.mean(1)

    with pytest.raises(ValueError, match="the model returned shape"):
        extractor(Scalar()).fit_transform(SOUNDS)


def test_factory():
    one = extractor("test_audio_extractor:make_counted").fit(SOUNDS)
    wanted = extractor(Counted()).fit_transform(SOUNDS)
    np.testing.assert_allclose(one.transform(SOUNDS), wanted, atol=1e-6)
    assert len(pickle.dumps(one)) < 2000


# Cache, copies


def test_a_search_runs_each_sound_once():
    Counted.rows = 0
    sounds = [tone(500 + i % 3, 100 + 30 * i, i) for i in range(60)]
    pipe = make_pipeline(extractor(Counted(), cache=EmbeddingCache()), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1, 10]}, cv=3)
    search.fit(sounds, np.arange(60) % 2)
    assert Counted.rows == 60
    search.fit(sounds, np.arange(60) % 2)
    assert Counted.rows == 60


def test_a_sound_is_known_by_its_content(tmp_path):
    cache = EmbeddingCache()
    one = extractor(Counted(), cache=cache)
    path = tmp_path / "a.wav"
    wavfile.write(path, RATE, SOUNDS[0])
    one.fit_transform([path, path.read_bytes()])
    assert len(cache) == 1
    wavfile.write(path, RATE, SOUNDS[1])  # another sound under the same name
    one.fit_transform([path])
    assert len(cache) == 2
    one.fit_transform([SOUNDS[0], SOUNDS[0].copy()])
    assert len(cache) == 3
    slow = clone(one).set_params(sampling_rate=8000).fit([SOUNDS[0]])
    slow.transform([SOUNDS[0]])
    assert len(cache) == 4, "the same samples at another rate are another sound"
    for params in ({"pooling": "max"}, {"max_seconds": 20}, {"model_rate": 8000}):
        n = len(cache)
        clone(one).set_params(**params).fit_transform([SOUNDS[0]])
        assert len(cache) == n + 1


@pytest.mark.parametrize("kind", KINDS)
def test_names_before_any_sound_went_through(tmp_path, kind):
    save_audio(tmp_path, kind)
    for params in ({}, {"max_seconds": 0.1}, {"layer": 1, "errors": "skip"}):
        one = extractor(tmp_path, **params).fit([])
        assert list(one.get_feature_names_out()) == [f"audioextractor{i}" for i in range(16)]
        assert one.transform([]).shape == (0, 16)


def test_settings_of_a_processor(tmp_path):
    """Speech recognisers are saved with a tokenizer beside; its file holds both settings."""
    import json

    save_audio(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    found = extractor(tmp_path).fit_transform(SOUNDS)
    np.testing.assert_allclose(found, expected("wav2vec2", SOUNDS), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_copies_and_pickles(tmp_path, kind, monkeypatch):
    model = save_audio(tmp_path, kind)
    one = extractor(tmp_path).fit(SOUNDS)
    features = one.transform(SOUNDS)
    data = pickle.dumps(one)
    assert len(data) < 2000
    _models._LOADED.clear()
    loads, load = [], base.load_pretrained
    monkeypatch.setattr(base, "load_pretrained", lambda *a: loads.append(a) or load(*a))
    np.testing.assert_array_equal(pickle.loads(data).transform(SOUNDS), features)
    np.testing.assert_array_equal(clone(one).fit_transform(SOUNDS), features)
    assert len(loads) == 1, "one model per process"
    saved = model.encoder.state_dict() if kind == "whisper" else model.state_dict()
    module = one._network(torch.device("cpu")).module
    assert all(torch.equal(t, saved[n]) for n, t in module.state_dict().items())
    assert len(one.get_feature_names_out()) == features.shape[1] == 16
    frame = one.set_output(transform="pandas").transform(SOUNDS)
    assert frame.columns[0] == "audioextractor0"


def test_changed_weights_on_disk_are_another_model(tmp_path):
    cache = EmbeddingCache(tmp_path / "rows")
    save_audio(tmp_path / "model")
    one = extractor(tmp_path / "model", cache=cache).fit(SOUNDS)
    before = one.transform(SOUNDS)
    save_audio(tmp_path / "model", seed=1)
    with pytest.raises(ValueError, match="other weights than when this AudioExtractor was fitted"):
        one.transform(SOUNDS)
    after = one.fit_transform(SOUNDS)
    assert np.abs(after - before).max() > 1e-2
    np.testing.assert_allclose(after, extractor(tmp_path / "model").fit_transform(SOUNDS))


@pytest.mark.parametrize(
    "params",
    [{"sampling_rate": 0}, {"sampling_rate": 16e3}, {"model_rate": 0}, {"pooling": "median"},
     {"layer": 1.5}, {"max_seconds": 0}, {"long": "cut"}, {"errors": "ignore"},
     {"feature_extractor": 3}, {"batch_size": 0}],
    ids=lambda p: next(iter(p)),
)  # fmt: skip
def test_bad_parameters(params):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        extractor(Counted()).set_params(**params).fit(SOUNDS)
