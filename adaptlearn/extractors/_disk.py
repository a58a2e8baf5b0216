"""Embeddings on disk: append-only files of fixed-size records, one file for each vector length.

A record is ``key (16 bytes) | check (8 bytes) | vector (float32)``; a file is a header and records.
Records are found by reading the column of keys, so that there is no index that could disagree with
the data. What a killed process leaves is at most one unfinished record at the end, which the next
writer writes over. The check covers key and vector: a record that fails it is not there.

Writers hold a file lock. Readers hold none: they see whole records only, and a file is never
rewritten in place (eviction moves a new file over the old one, whose readers keep the old content).
"""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from ._lock import file_lock

_HEADER = np.dtype([("magic", "S8"), ("length", "<u8"), ("generation", "V16")])
_MAGIC = b"adaptle1"
_CHECK = 8
_KEPT = 0.75  # share of the size limit that eviction leaves, so that it is not needed each time


def record_dtype(length):
    """Layout of one record."""
    return np.dtype([("key", "V16"), ("check", f"V{_CHECK}"), ("vector", "<f4", (length,))])


def check_of(key, vector):
    """Checksum of one record; `vector` is contiguous float32."""
    return blake2b(vector.data, key=key, digest_size=_CHECK).digest()


class DiskStore:
    """Vectors by key in a directory.

    Parameters
    ----------
    directory : path-like
        Made on the first write.
    max_bytes : int
        The oldest records are dropped when the files outgrow this.
    """

    def __init__(self, directory, max_bytes):
        self.directory, self.max_bytes = Path(directory), max_bytes
        self._files = {}
        self._mutex = threading.RLock()

    def get(self, keys):
        """Places in `keys` that are stored, and their vectors, shape (n_found, length)."""
        with self._mutex:
            best = [], np.empty((0, 0), np.float32)
            for path in sorted(self._paths()):
                found = self._file(path).get(keys)
                if len(found[0]) > len(best[0]):  # the keys of one model have one length
                    best = found
            return best

    def put(self, keys, vectors):
        """Append the vectors whose keys are not there yet."""
        vectors = np.ascontiguousarray(vectors, "<f4")
        with self._mutex:
            self.directory.mkdir(parents=True, exist_ok=True)
            with file_lock(self.directory / "lock"):
                path = self.directory / f"rows-{vectors.shape[1]}.bin"
                self._file(path).append(keys, vectors)
                self._evict(path)

    def clear(self):
        """Remove all records."""
        with self._mutex:
            if self.directory.is_dir():
                with file_lock(self.directory / "lock"):
                    for path in [*self._paths(), *self.directory.glob("rows-*.bin.*.tmp")]:
                        path.unlink(missing_ok=True)
            self._files = {}

    def __len__(self):
        with self._mutex:
            return sum(len(self._file(path).refresh()) for path in self._paths())

    @property
    def nbytes(self):
        """Bytes of all files."""
        return sum(map(_size, self._paths()))

    def _paths(self):
        files = self.directory.glob("rows-*.bin")
        return [path for path in files if path.stem.removeprefix("rows-").isdigit()]

    def _file(self, path):
        return self._files.setdefault(path, _File(path))

    def _evict(self, written):
        """Drop whole files not written for longest, then the oldest records of this one."""
        excess = self.nbytes - self.max_bytes
        if excess <= 0:
            return
        others = [path for path in self._paths() if path != written]
        for path in sorted(others, key=lambda p: p.stat().st_mtime_ns):
            if excess <= 0:
                return
            excess -= _size(path)
            path.unlink(missing_ok=True)
        if excess > 0:
            self._file(written).keep_newest(int(_KEPT * self.max_bytes))


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _File:
    """Records of one vector length; what has been read of it is remembered."""

    def __init__(self, path):
        self.path = path
        self.length = int(path.stem.split("-")[1])
        self.dtype = record_dtype(self.length)
        self._forget(None)

    def _forget(self, generation):
        self.generation, self.n_read, self.index = generation, 0, {}

    def _records(self):
        """Memory map of the whole records, or None where there is no readable file."""
        try:
            with open(self.path, "rb") as file:
                header = np.frombuffer(file.read(_HEADER.itemsize), np.uint8)
                n = (os.fstat(file.fileno()).st_size - _HEADER.itemsize) // self.dtype.itemsize
                header = self._header(header)
                if header is None or n < 1:
                    self._forget(None if header is None else header)
                    return None
                if header != self.generation:  # evicted or cleared, here or elsewhere
                    self._forget(header)
                return np.memmap(file, self.dtype, "r", offset=_HEADER.itemsize, shape=(n,))
        except FileNotFoundError:
            self._forget(None)
            return None

    def _header(self, raw):
        """Generation that a header names; None if this is no file of ours."""
        if len(raw) < _HEADER.itemsize:
            return None
        header = raw.view(_HEADER)[0]
        ours = header["magic"] == _MAGIC and header["length"] == self.length
        return header["generation"].tobytes() if ours else None

    def refresh(self):
        """Index of the records as the file is now."""
        self._read_new(self._records())
        return self.index

    def _read_new(self, records):
        n = 0 if records is None else len(records)
        if n < self.n_read:  # cut by someone else
            self._forget(self.generation)
        if n > self.n_read:
            new = records["key"][self.n_read :].tobytes()
            keys = (new[i : i + 16] for i in range(0, len(new), 16))
            self.index.update(zip(keys, range(self.n_read, n), strict=True))
        self.n_read = n

    def get(self, keys):
        records = self._records()
        self._read_new(records)
        hits = [(i, self.index[key]) for i, key in enumerate(keys) if key in self.index]
        if not hits:
            return [], np.empty((0, self.length), np.float32)
        block = records[np.array([place for _, place in hits])]  # a copy, in memory
        vectors = np.ascontiguousarray(block["vector"])
        checks = block["check"].tobytes()
        places, good = [], []
        for row, (i, _) in enumerate(hits):
            check = checks[row * _CHECK : (row + 1) * _CHECK]
            if check == check_of(keys[i], vectors[row]):
                places.append(i)
                good.append(row)
            else:  # damaged, or still being written: computed again, then found further down
                del self.index[keys[i]]
        return places, vectors if len(good) == len(hits) else vectors[good]

    def append(self, keys, vectors):
        """Add records at the end; the caller holds the lock."""
        known = self.refresh()
        new = [i for i, key in enumerate(keys) if key not in known]
        if not new:
            return
        size = self._repair()
        try:
            with open(self.path, "r+b", buffering=0) as file:
                file.seek(size)
                _write_all(file, self._pack([keys[i] for i in new], vectors[new]))
        except OSError:
            # A full disk: leave whole records only. What is whole stays: where another process has
            # mapped it to read it, cutting it off would kill that process.
            with suppress(OSError):
                os.truncate(self.path, self._repair())
            raise

    def _pack(self, keys, vectors):
        block = np.empty(len(keys), self.dtype)
        block["key"] = np.frombuffer(b"".join(keys), "V16")
        checks = b"".join(check_of(key, row) for key, row in zip(keys, vectors, strict=True))
        block["check"] = np.frombuffer(checks, f"V{_CHECK}")
        block["vector"] = vectors
        return memoryview(block.view(np.uint8))

    def _repair(self):
        """Make the file ready to append to; where its whole records end."""
        size = _size(self.path)
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            if self._header(np.frombuffer(file.read(_HEADER.itemsize), np.uint8)) is None:
                size = 0  # not ours, or cut within the header
        if size < _HEADER.itemsize:
            self._replace([])
            return _HEADER.itemsize
        # An unfinished record of a killed writer is written over: the next one is longer.
        return size - (size - _HEADER.itemsize) % self.dtype.itemsize

    def keep_newest(self, n_bytes):
        """Drop the oldest records, so that at most `n_bytes` stay."""
        records = self._records()
        if records is None:
            return
        n = max(0, (n_bytes - _HEADER.itemsize) // self.dtype.itemsize)
        self._replace([records[max(0, len(records) - n) :]] if n else [])

    def _replace(self, blocks):
        """Move a new file, of a new generation, over the old one; the caller holds the lock."""
        for left in self.path.parent.glob(f"{self.path.name}.*.tmp"):  # by a killed process
            left.unlink(missing_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.tmp")
        header = np.zeros(1, _HEADER)
        generation = uuid.uuid4().bytes
        header["magic"], header["length"] = _MAGIC, self.length
        header["generation"] = np.frombuffer(generation, "V16")
        try:
            with open(temporary, "wb", buffering=0) as file:
                _write_all(file, header.tobytes())
                for block in blocks:
                    for start in range(0, len(block), 4096):
                        part = np.ascontiguousarray(block[start : start + 4096])
                        _write_all(file, memoryview(part.view(np.uint8)))
            os.replace(temporary, self.path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        self._forget(generation)


def _write_all(file, data):
    """Write every byte: a raw file may take fewer than it is given."""
    view = memoryview(data).cast("B")
    while len(view):
        view = view[file.write(view) :]
