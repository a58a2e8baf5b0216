"""Rows are read while the network is busy with those before them."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

_MOST_THREADS = 8


def n_readers(device):
    """Threads that read rows beside the network; 0 where all is done in one.

    A GPU would wait for a single one. On a CPU the network itself takes the cores.
    """
    return 0 if device.type == "cpu" else min(_MOST_THREADS, os.cpu_count() or 1)


def read_ahead(function, items, n_threads, n_ahead):
    """Yield, for each item in order, a callable that gives `function` of it, or its exception.

    Parameters
    ----------
    function : callable
        Leaves Python's lock where it matters, as decoding, resizing and resampling do.
    items : iterable
    n_threads : int
        0 computes each item when its callable is called.
    n_ahead : int
        Most items that are computed before they are asked for, which bounds memory.
    """
    if n_threads == 0:
        yield from (partial(function, item) for item in items)
        return
    items, waiting = iter(items), deque()
    with ThreadPoolExecutor(n_threads, "adaptlearn-reader") as pool:
        try:
            while True:
                for item in islice(items, n_ahead - len(waiting)):
                    waiting.append(pool.submit(function, item))
                if not waiting:
                    return
                yield waiting.popleft().result
        finally:
            pool.shutdown(cancel_futures=True)
