"""A cache of embeddings by row, in memory or on disk, that never answers with a stale row."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from numbers import Integral
from pathlib import Path

import numpy as np

from ._disk import DiskStore

_BLOCK = 4096  # keys looked up at a time


class MemoryStore:
    """Vectors by key in memory; the least recently used go first."""

    def __init__(self, max_bytes):
        self.max_bytes, self.nbytes = max_bytes, 0
        self._rows = OrderedDict()
        self._mutex = threading.RLock()

    def get(self, keys):
        """Places in `keys` that are stored, and their vectors, shape (n_found, length)."""
        with self._mutex:
            places = [i for i, key in enumerate(keys) if key in self._rows]
            for i in places:
                self._rows.move_to_end(keys[i])
            vectors = [self._rows[keys[i]] for i in places]
        return places, np.stack(vectors) if vectors else np.empty((0, 0), np.float32)

    def put(self, keys, vectors):
        """Keep a copy of each vector."""
        with self._mutex:
            for key, vector in zip(keys, vectors, strict=True):
                if key not in self._rows:
                    self._rows[key] = np.array(vector, np.float32)
                    self.nbytes += self._rows[key].nbytes
            while self.nbytes > self.max_bytes:
                self.nbytes -= self._rows.popitem(last=False)[1].nbytes

    def clear(self):
        """Forget everything."""
        with self._mutex:
            self._rows.clear()
            self.nbytes = 0

    def __len__(self):
        return len(self._rows)


class EmbeddingCache:
    r"""Embeddings by row, in memory or in a directory on disk.

    The key of a row is a digest of the model's weights, of every parameter that its embedding
    depends on (preprocessing, pooling, layer, precision, kind of device) and of the row's own
    content. What changes has another key, so that nothing stale is ever found, and any mix of
    cached and new rows gives the embeddings that no cache would give.

    On disk, records are appended to memory-mapped files. Processes may share a directory: writers
    take turns. A process killed while it writes loses at most the batch it was writing. Each record
    carries a checksum; a damaged one counts as absent. When nothing can be written (a full disk, a
    read-only directory), the cache warns once and goes on in memory.

    Parameters
    ----------
    directory : path-like, default=None
        Where to keep embeddings. None keeps them in memory, for this process.
    max_bytes : int, default=2**30
        Size limit, at least 1. In memory the rows not used for longest are dropped, on disk the
        rows written first (together with some more, to make room).

    See Also
    --------
    TextExtractor, ImageExtractor : Take a cache, or a directory for one, as ``cache=``.

    Notes
    -----
    ``clone`` and ``copy.deepcopy`` share the cache. A pickle of it holds the directory, never rows.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import EmbeddingCache
    >>> cache = EmbeddingCache()
    >>> cache.put([b"a" * 16, b"b" * 16], np.eye(2, dtype=np.float32))
    >>> places, vectors = cache.get([b"x" * 16, b"b" * 16])
    >>> places, vectors
    ([1], array([[0., 1.]], dtype=float32))
    >>> cache.clear()
    >>> len(cache)
    0
    """

    def __init__(self, directory=None, max_bytes=2**30):
        if not isinstance(max_bytes, Integral) or max_bytes < 1:
            raise ValueError(f"max_bytes={max_bytes!r} must be an integer >= 1.")
        if directory is not None and not isinstance(directory, (str, os.PathLike)):
            raise TypeError(
                f"directory={directory!r} must be a path, or None for a cache in memory."
            )
        self.directory, self.max_bytes = directory, int(max_bytes)
        self._open()

    def _open(self):
        self._memory = MemoryStore(self.max_bytes)
        self._disk = None
        if self.directory is not None:
            place = Path(self.directory).expanduser().absolute()
            self._disk = DiskStore(place, self.max_bytes)
        self._warned = False

    def get(self, keys):
        """Vectors that are known.

        Parameters
        ----------
        keys : list of bytes
            16 bytes each. All stand for vectors of one length.

        Returns
        -------
        places : list of int
            Which of `keys` are known, ascending.
        vectors : ndarray of shape (len(places), length), float32
        """
        if self._disk is None:
            return self._memory.get(keys)
        places, vectors = self._try(self._disk.get, keys) or ([], None)
        if len(self._memory):  # written here when the disk took no more
            known = set(places)
            rest = [i for i in range(len(keys)) if i not in known]
            more, others = self._memory.get([keys[i] for i in rest])
            if more:
                vectors = np.concatenate([vectors, others]) if places else others
                places = [*places, *(rest[i] for i in more)]
                order = np.argsort(places)
                places, vectors = [places[i] for i in order], vectors[order]
        return places, np.empty((0, 0), np.float32) if vectors is None else vectors

    def put(self, keys, vectors):
        """Keep vectors.

        Parameters
        ----------
        keys : list of bytes
            16 bytes each.
        vectors : ndarray of shape (len(keys), length)
        """
        if len(keys) == 0:
            return
        if self._disk is not None and not self._warned:
            self._try(self._disk.put, keys, vectors)
            if not self._warned:
                return
        self._memory.put(keys, vectors)

    def clear(self):
        """Remove every embedding, also for other processes that share the directory."""
        self._memory.clear()
        if self._disk is not None:
            self._disk.clear()
        self._warned = False

    def __len__(self):
        return len(self._memory) + (0 if self._disk is None else len(self._disk))

    @property
    def nbytes(self):
        """Bytes of memory or disk in use."""
        return self._memory.nbytes + (0 if self._disk is None else self._disk.nbytes)

    def _try(self, call, *args):
        try:
            return call(*args)
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"the embedding cache in {self._disk.directory} cannot be used ({error}). "
                    "Results are right; new embeddings are kept in memory, for this process only.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None

    def __repr__(self):
        place = "" if self.directory is None else f"{str(self.directory)!r}, "
        return f"EmbeddingCache({place}max_bytes={self.max_bytes})"

    def __deepcopy__(self, memo):
        return self

    def __copy__(self):
        return self

    def __getstate__(self):
        return {"directory": self.directory, "max_bytes": self.max_bytes}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._open()


class NoCache:
    """Keeps nothing."""

    def get(self, keys):
        """Find nothing."""
        return [], np.empty((0, 0), np.float32)

    def put(self, keys, vectors):
        """Keep nothing."""


_SHARED = {}  # directory -> cache; None is the one in memory
_SHARED_MUTEX = threading.Lock()


def open_cache(spec):
    """The cache that a ``cache=`` parameter names, one for each directory in this process."""
    if spec is None:
        return NoCache()
    if isinstance(spec, EmbeddingCache):
        return spec
    place = None if spec == "memory" else str(Path(spec).expanduser().absolute())
    with _SHARED_MUTEX:
        if place not in _SHARED:
            _SHARED[place] = EmbeddingCache(place)
        return _SHARED[place]


def lookup(cache, keys):
    """Like ``cache.get``, in blocks: yields places in `keys` (an array) and their vectors."""
    for start in range(0, len(keys), _BLOCK):
        places, vectors = cache.get(keys[start : start + _BLOCK])
        if len(places):
            yield start + np.array(places), vectors
