"""Rows that are read beside the network: the same answers, in order, few of them at a time."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from adaptlearn import AudioExtractor, ImageExtractor
from adaptlearn.extractors import audio, image
from adaptlearn.extractors._ahead import n_readers, read_ahead

THREADS = [0, 1, 3]


def test_a_cpu_is_left_to_the_network():
    assert n_readers(torch.device("cpu")) == 0
    assert n_readers(torch.device("cuda")) >= 1


@pytest.mark.parametrize("n_threads", THREADS)
def test_in_order(n_threads):
    def slow_at_first(i):
        time.sleep(0.01 if i % 4 == 0 else 0)
        return i * i

    found = [get() for get in read_ahead(slow_at_first, range(20), n_threads, 5)]
    assert found == [i * i for i in range(20)]
    assert list(read_ahead(slow_at_first, [], n_threads, 5)) == []


@pytest.mark.parametrize("n_threads", THREADS)
def test_an_error_belongs_to_its_item(n_threads):
    gets = read_ahead(lambda i: 1 / i, [1, 0, 2], n_threads, 3)
    found = []
    for get in gets:
        try:
            found.append(get())
        except ZeroDivisionError as error:
            found.append(type(error))
    assert found == [1.0, ZeroDivisionError, 0.5]


def test_no_more_than_asked_for_is_ahead():
    started = []
    gets = read_ahead(started.append, range(100), 2, 4)
    for n_asked in range(1, 20):
        next(gets)()
        assert len(started) <= n_asked - 1 + 4
    gets.close()


def test_closing_ends_the_threads():
    before = threading.active_count()
    started = []

    def slow(i):
        started.append(i)
        time.sleep(0.01)

    gets = read_ahead(slow, range(1000), 3, 50)
    next(gets)
    gets.close()
    assert threading.active_count() == before
    assert len(started) < 50


def test_a_result_of_a_thread_is_a_plain_tensor():
    """Reading happens outside inference mode, and its tensors go through the network in it."""
    with torch.inference_mode():
        (get,) = read_ahead(lambda i: torch.ones(2), [0], 1, 1)
        assert (get() * 2).tolist() == [2, 2]


class Mean(nn.Module):
    def forward(self, x):
        return x.flatten(2).mean(2) if x.ndim == 4 else x.mean(1, keepdim=True)


@pytest.mark.parametrize("n_threads", THREADS)
def test_extractors(monkeypatch, n_threads):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (20 + i % 3, 30, 3), dtype=np.uint8) for i in range(40)]
    sounds = [rng.uniform(-1, 1, 500 + i % 5).astype(np.float32) for i in range(40)]
    images[7], sounds[9] = b"no image", b"no sound"
    params = {"cache": None, "errors": "skip", "batch_size": 4}
    makers = [
        (ImageExtractor(Mean(), image_size=16, **params), images, 7),
        (AudioExtractor(Mean(), sampling_rate=8000, **params), sounds, 9),
    ]
    wanted = []
    for one, rows, bad in makers:
        with pytest.warns(UserWarning, match=f"row {bad} "):
            wanted.append(one.fit_transform(rows))
    for module in (image, audio):
        monkeypatch.setattr(module, "n_readers", lambda device: n_threads)
    before = threading.active_count()
    for (one, rows, bad), features in zip(makers, wanted, strict=True):
        with pytest.warns(UserWarning, match=f"row {bad} "):
            found = one.transform(rows)
        np.testing.assert_allclose(found, features, atol=1e-6)
        assert np.isnan(found[bad]).all() and np.isfinite(np.delete(found, bad, 0)).all()
        with pytest.raises(ValueError, match=f"row {bad} of X"):
            one.set_params(errors="raise").transform(rows)
    assert threading.active_count() == before
