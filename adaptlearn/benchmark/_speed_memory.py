"""Memory that a fit on a memory-mapped array needs, in a process of its own.

``python -m adaptlearn.benchmark._speed_memory FILE N_ROWS N_COLUMNS`` prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 2**20


def anonymous_bytes():
    """RssAnon of this process: memory that it made itself, not pages of mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon line; the measurement needs Linux.")


@contextlib.contextmanager
def peak_memory(interval=0.005):
    """List whose only entry is the largest RssAnon seen inside the block."""
    peak, done = [anonymous_bytes()], threading.Event()

    def sample():
        while not done.wait(interval):
            peak[0] = max(peak[0], anonymous_bytes())

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak[0] = max(peak[0], anonymous_bytes())


class TensorPeak(TorchDispatchMode):
    """Largest number of bytes of tensors made inside the block that were alive at one time."""

    def __enter__(self):
        self.alive, self.peak = {}, 0
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Note the storages of what an operator returns."""
        out = func(*args, **(kwargs or {}))
        given = {ref.cdata for ref, _ in map(_storage, _tensors((args, kwargs)))}
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        for ref, size in map(_storage, _tensors(out)):
            if ref.cdata not in given:
                self.alive[ref.cdata] = ref, size
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return out


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _storage(tensor):
    storage = tensor.untyped_storage()
    return StorageWeakRef(storage), storage.nbytes()


def write_rows(path, n_rows, n_columns, block=20_000):
    """File of float32 noise; the columns tell the label ``row number modulo 2``."""
    rng = np.random.default_rng(0)
    with open(path, "wb") as file:
        for start in range(0, n_rows, block):
            n = min(block, n_rows - start)
            rows = rng.standard_normal((n, n_columns), dtype=np.float32)
            rows += ((start + np.arange(n)) % 2)[:, None]
            file.write(rows.data)


def measure_fit(path, n_rows, n_columns, params=None):
    """Peaks of RssAnon above the import, in bytes, of one epoch and of ``predict``.

    Every second row is a source row; the others carry the mask.

    Returns
    -------
    dict
        ``fit``, ``predict`` (bytes), ``fit_seconds``, ``predict_seconds``.
    """
    from ..deep import DomainAdaptationClassifier

    torch.set_num_threads(1)
    before = anonymous_bytes()
    X = np.memmap(path, dtype=np.float32, mode="r", shape=(n_rows, n_columns))
    y = (np.arange(n_rows) % 2).astype(np.int8)
    y[np.arange(n_rows) // 2 % 2 == 1] = -1
    params = {"max_epochs": 1, "batch_size": 128, "device": "cpu", "random_state": 0} | (
        params or {}
    )
    clf = DomainAdaptationClassifier(**params)
    out = {}
    for name, call in {"fit": lambda: clf.fit(X, y), "predict": lambda: clf.predict(X)}.items():
        started = time.perf_counter()
        with peak_memory() as peak:
            call()
        out[name], out[f"{name}_seconds"] = peak[0] - before, time.perf_counter() - started
    return out


def measure_in_child(n_rows, n_columns, folder=None, params=None):
    """As `measure_fit`, in a new process on a file that is written first and removed after."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "rows.f32"
        write_rows(path, n_rows, n_columns)
        command = [sys.executable, "-m", __name__, str(path), str(n_rows), str(n_columns)]
        command.append(json.dumps(params or {}))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"the measured process failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    path, n_rows, n_columns, params = sys.argv[1:5]
    print(json.dumps(measure_fit(path, int(n_rows), int(n_columns), json.loads(params))))
