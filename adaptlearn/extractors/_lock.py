"""One process at a time: a lock on a file, which the system releases when its holder dies."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextmanager
def file_lock(path):
    """Hold the exclusive lock on `path`, waiting for it; the file is made if missing."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(handle)
        yield
    finally:
        os.close(handle)  # releases the lock, as the end of the process would


def _acquire(handle):
    if fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return
    while True:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            return
        except OSError:  # held by another process
            time.sleep(0.01)
