"""The cache of embeddings: nothing stale, nothing damaged, nothing lost but a last batch."""

import copy
import errno
import pickle
import subprocess
import sys
import threading
import time
import warnings
from hashlib import blake2b

import numpy as np
import pytest

from adaptlearn import EmbeddingCache
from adaptlearn.extractors import _disk
from adaptlearn.extractors._disk import _HEADER, record_dtype
from adaptlearn.extractors._lock import file_lock
from adaptlearn.extractors.cache import open_cache

LENGTH = 6


def key(i):
    return blake2b(str(i).encode(), digest_size=16).digest()


def vector(i, length=LENGTH):
    return np.random.default_rng(i).normal(size=length).astype(np.float32)


def some(numbers, length=LENGTH):
    return [key(i) for i in numbers], np.stack([vector(i, length) for i in numbers])


def assert_holds(cache, numbers, length=LENGTH):
    """All of `numbers` are there, and right."""
    places, vectors = cache.get([key(i) for i in numbers])
    assert list(places) == list(range(len(numbers)))
    np.testing.assert_array_equal(vectors, np.stack([vector(i, length) for i in numbers]))


def assert_nothing_wrong(cache, numbers):
    """What is there of `numbers` is right; returns how many."""
    numbers = list(numbers)
    places, vectors = cache.get([key(i) for i in numbers])
    for place, found in zip(places, vectors, strict=True):
        np.testing.assert_array_equal(found, vector(numbers[place]))
    return len(places)


@pytest.fixture(params=["memory", "disk"])
def cache(request, tmp_path):
    return EmbeddingCache(None if request.param == "memory" else tmp_path / "store")


def store_file(directory):
    (path,) = directory.glob("rows-*.bin")
    return path


def test_finds_what_was_put(cache):
    assert list(cache.get([key(0)])[0]) == []
    cache.put(*some(range(10)))
    cache.put(*some(range(10, 15)))
    assert_holds(cache, range(15))
    assert_holds(cache, [14, 3, 9])
    places, vectors = cache.get([key(99), key(4), key(98)])
    assert list(places) == [1]
    np.testing.assert_array_equal(vectors, [vector(4)])
    assert len(cache) == 15
    assert cache.nbytes >= 15 * LENGTH * 4


def test_put_again_takes_no_room(cache):
    cache.put(*some(range(5)))
    before = cache.nbytes
    cache.put(*some(range(5)))
    assert cache.nbytes == before
    assert len(cache) == 5


def test_clear(cache):
    cache.put(*some(range(5)))
    cache.clear()
    assert len(cache) == 0
    assert list(cache.get([key(1)])[0]) == []
    cache.put(*some(range(3)))
    assert_holds(cache, range(3))


def test_vectors_of_several_lengths(cache):
    cache.put(*some(range(5)))
    cache.put(*some(range(10, 14), length=3))
    assert_holds(cache, range(5))
    assert_holds(cache, range(10, 14), length=3)
    assert len(cache) == 9


def test_what_was_given_may_be_overwritten(cache):
    keys, vectors = some(range(3))
    cache.put(keys, vectors)
    vectors[:] = 0
    assert_holds(cache, range(3))


def test_size_limit_in_memory_drops_what_was_not_used():
    cache = EmbeddingCache(max_bytes=10 * LENGTH * 4)
    cache.put(*some(range(10)))
    cache.get([key(0)])
    cache.put(*some([50]))
    assert_holds(cache, [0, 50])
    assert list(cache.get([key(1)])[0]) == []
    assert cache.nbytes <= cache.max_bytes


def test_size_limit_on_disk_drops_the_oldest(tmp_path):
    record = record_dtype(LENGTH).itemsize
    cache = EmbeddingCache(tmp_path, max_bytes=_HEADER.itemsize + 20 * record)
    other = EmbeddingCache(tmp_path)
    cache.put(*some(range(20)))
    assert_holds(other, range(20))
    cache.put(*some(range(20, 22)))
    assert cache.nbytes <= cache.max_bytes
    for view in (cache, other):  # other learns that the file was replaced
        assert_holds(view, range(10, 22))
        assert list(view.get([key(0), key(1)])[0]) == []
        assert assert_nothing_wrong(view, range(22)) == len(cache)


def test_what_a_killed_eviction_left_is_removed(tmp_path):
    left = tmp_path / f"rows-{LENGTH}.bin.0123.tmp"
    left.write_bytes(b"half of a file")
    (tmp_path / "rows-of-mine.bin").write_bytes(b"not ours")
    cache = EmbeddingCache(tmp_path, max_bytes=_HEADER.itemsize + record_dtype(LENGTH).itemsize * 5)
    cache.put(*some(range(3)))
    assert_holds(cache, range(3))
    cache.put(*some(range(3, 9)))
    assert assert_nothing_wrong(cache, range(9)) == len(cache) > 0
    assert not left.exists() and (tmp_path / "rows-of-mine.bin").exists()


def test_size_limit_on_disk_drops_files_of_other_lengths_first(tmp_path):
    record = record_dtype(LENGTH).itemsize
    cache = EmbeddingCache(tmp_path, max_bytes=2 * _HEADER.itemsize + 20 * record)
    cache.put(*some(range(100, 105), length=3))
    cache.put(*some(range(20)))
    assert_holds(cache, range(20))
    assert list(cache.get([key(100)])[0]) == []


def test_one_row_larger_than_the_limit(tmp_path):
    for directory in (None, tmp_path):
        cache = EmbeddingCache(directory, max_bytes=1)
        cache.put(*some(range(2)))
        assert assert_nothing_wrong(cache, range(2)) == 0


def test_survives_the_process(tmp_path):
    EmbeddingCache(tmp_path).put(*some(range(5)))
    assert_holds(EmbeddingCache(str(tmp_path)), range(5))


def test_sees_what_another_cache_writes_and_clears(tmp_path):
    one, two = EmbeddingCache(tmp_path), EmbeddingCache(tmp_path)
    one.put(*some(range(5)))
    assert_holds(two, range(5))
    two.put(*some(range(5, 9)))
    assert_holds(one, range(9))
    two.clear()
    assert list(one.get([key(0)])[0]) == []
    two.put(*some(range(30, 40)))  # another file with more rows than were known
    assert_holds(one, range(30, 40))
    assert list(one.get([key(0)])[0]) == []


@pytest.mark.parametrize("column", ["key", "check", "vector"])
def test_a_damaged_record_counts_as_absent(tmp_path, column):
    cache = EmbeddingCache(tmp_path)
    cache.put(*some(range(10)))
    dtype = record_dtype(LENGTH)
    with open(store_file(tmp_path), "r+b") as file:
        file.seek(_HEADER.itemsize + 4 * dtype.itemsize + dtype.fields[column][1] + 1)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    for view in (cache, EmbeddingCache(tmp_path)):  # with and without an index made before
        places, _ = view.get([key(i) for i in range(10)])
        assert list(places) == [i for i in range(10) if i != 4]
        assert assert_nothing_wrong(view, range(10)) == 9
    cache.put(*some([4]))
    assert_holds(cache, range(10))
    assert_holds(EmbeddingCache(tmp_path), range(10))


def test_a_record_under_another_key_is_not_believed(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(*some(range(2)))
    path, dtype = store_file(tmp_path), record_dtype(LENGTH)
    raw = bytearray(path.read_bytes())
    first, second = _HEADER.itemsize, _HEADER.itemsize + dtype.itemsize
    raw[first : first + 16], raw[second : second + 16] = (
        raw[second : second + 16], raw[first : first + 16])  # fmt: skip
    path.write_bytes(raw)
    assert list(EmbeddingCache(tmp_path).get([key(0), key(1)])[0]) == []


@pytest.mark.parametrize("n_left", [0, 5, _HEADER.itemsize, _HEADER.itemsize + 7, -1, -40])
def test_a_file_cut_anywhere(tmp_path, n_left):
    cache = EmbeddingCache(tmp_path)
    cache.put(*some(range(10)))
    assert_holds(cache, range(10))  # knows where all of them were
    path = store_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:n_left])
    records = (len(whole[:n_left]) - _HEADER.itemsize) // record_dtype(LENGTH).itemsize
    for view in (cache, EmbeddingCache(tmp_path)):
        assert assert_nothing_wrong(view, range(10)) == max(0, records)
    cache.put(*some(range(10)))
    assert_holds(cache, range(10))
    assert_holds(EmbeddingCache(tmp_path), range(10))


@pytest.mark.parametrize("content", [b"", b"something else", b"\0" * 4000])
def test_a_file_that_is_not_ours(tmp_path, content):
    (tmp_path / f"rows-{LENGTH}.bin").write_bytes(content)
    cache = EmbeddingCache(tmp_path)
    assert assert_nothing_wrong(cache, range(5)) == 0
    cache.put(*some(range(5)))
    assert_holds(cache, range(5))


def test_zeros_are_no_record(tmp_path):
    """What a crash of the whole machine may leave: a file that is longer than what was written."""
    cache = EmbeddingCache(tmp_path)
    cache.put(*some(range(5)))
    with open(store_file(tmp_path), "ab") as file:
        file.write(bytes(3 * record_dtype(LENGTH).itemsize))
    view = EmbeddingCache(tmp_path)
    assert list(view.get([bytes(16)])[0]) == []
    assert_holds(view, range(5))


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from test_embedding_cache import *
cache = EmbeddingCache({directory!r})
start, stop, batch = {start}, {stop}, {batch}
for first in range(start, stop, batch):
    cache.put(*some(range(first, min(first + batch, stop))))
    print(first + batch, flush=True)
"""


def child(directory, start, stop, batch):
    code = CHILD.format(
        tests=str(__import__("pathlib").Path(__file__).parent), directory=str(directory),
        start=start, stop=stop, batch=batch,
    )  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_killed_while_writing_loses_at_most_the_last_batch(tmp_path):
    batch, start = 50, 0
    for turn in range(3):
        writer = child(tmp_path, start, start + 10**6, batch)
        confirmed = start
        while confirmed < start + (turn + 2) * batch:
            confirmed = int(writer.stdout.readline())
        time.sleep(0.003 * turn)
        writer.kill()
        confirmed = max([confirmed, *map(int, writer.stdout.read().split())])
        writer.wait()
        cache = EmbeddingCache(tmp_path)
        found = assert_nothing_wrong(cache, range(start, confirmed + batch))
        assert found >= confirmed - start, "a batch that was reported as written is gone"
        start += 10**6
        cache.put(*some([-turn + 10**9]))  # the store goes on working
        assert_holds(cache, [-turn + 10**9])


def test_two_processes_at_once(tmp_path):
    """Both write, some rows both, while a third view reads."""
    writers = [child(tmp_path, 0, 600, 7), child(tmp_path, 300, 900, 11)]
    cache = EmbeddingCache(tmp_path)
    while any(writer.poll() is None for writer in writers):
        assert_nothing_wrong(cache, range(0, 900, 13))
    assert [writer.wait() for writer in writers] == [0, 0]
    [writer.stdout.close() for writer in writers]
    assert_holds(cache, range(900))
    size = store_file(tmp_path).stat().st_size
    assert size == _HEADER.itemsize + 900 * record_dtype(LENGTH).itemsize, "rows written twice"


def test_writers_wait_for_each_other(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(*some([0]))
    with file_lock(tmp_path / "lock"):
        writer = threading.Thread(target=cache.put, args=some(range(1, 5)))
        writer.start()
        writer.join(0.3)
        assert writer.is_alive() and len(EmbeddingCache(tmp_path)) == 1
    writer.join()
    assert_holds(EmbeddingCache(tmp_path), range(5))


def test_a_full_disk_warns_once_and_goes_on_in_memory(tmp_path, monkeypatch):
    cache = EmbeddingCache(tmp_path)
    cache.put(*some(range(5)))
    write_all = _disk._write_all

    def full(file, data):
        write_all(file, memoryview(data).cast("B")[: len(memoryview(data).cast("B")) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_disk, "_write_all", full)
    with pytest.warns(RuntimeWarning, match="No space left on device") as caught:
        cache.put(*some(range(5, 10)))
        cache.put(*some(range(10, 15)))
    assert len(caught) == 1
    assert_holds(cache, range(15))
    monkeypatch.undo()
    fresh = EmbeddingCache(tmp_path)
    n_whole = 5 + 2  # of the next five, half were written
    assert assert_nothing_wrong(fresh, range(15)) == n_whole, "the half-written row is gone"
    size = (tmp_path / f"rows-{LENGTH}.bin").stat().st_size
    assert size == _HEADER.itemsize + n_whole * record_dtype(LENGTH).itemsize
    fresh.put(*some(range(5, 10)))
    assert_holds(fresh, range(10))


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cache = EmbeddingCache(tmp_path / "file" / "store")
    with pytest.warns(RuntimeWarning, match="kept in memory"):
        cache.put(*some(range(5)))
    assert_holds(cache, range(5))


def test_reading_makes_no_directory(tmp_path):
    cache = EmbeddingCache(tmp_path / "store")
    cache.get([key(0)])
    assert len(cache) == 0
    cache.clear()
    assert not (tmp_path / "store").exists()


def test_copies_share_and_pickles_name_the_directory(tmp_path):
    cache = EmbeddingCache(tmp_path, max_bytes=10**6)
    cache.put(*some(range(3)))
    assert copy.deepcopy(cache) is cache and copy.copy(cache) is cache
    data = pickle.dumps(cache)
    assert len(data) < 500
    again = pickle.loads(data)
    assert again.max_bytes == 10**6
    assert_holds(again, range(3))
    memory = EmbeddingCache()
    memory.put(*some(range(3)))
    assert len(pickle.loads(pickle.dumps(memory))) == 0


def test_open_cache(tmp_path):
    assert open_cache("memory") is open_cache("memory")
    assert open_cache(tmp_path) is open_cache(str(tmp_path))
    assert open_cache(tmp_path) is not open_cache(tmp_path / "other")
    mine = EmbeddingCache()
    assert open_cache(mine) is mine
    nothing = open_cache(None)
    nothing.put(*some(range(3)))
    assert list(nothing.get([key(0)])[0]) == []


def test_threads_share_a_cache(cache):
    from concurrent.futures import ThreadPoolExecutor

    def work(start):
        for first in range(start, start + 60, 5):
            cache.put(*some(range(first, first + 5)))
            assert_nothing_wrong(cache, range(0, 100, 7))

    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        list(pool.map(work, [0, 20, 40, 60]))
    assert_holds(cache, range(120))


@pytest.mark.parametrize("bad", [0, -1, 1.5, "1GB", None])
def test_max_bytes_is_checked(bad):
    with pytest.raises(ValueError, match="max_bytes"):
        EmbeddingCache(max_bytes=bad)


def test_directory_is_checked():
    with pytest.raises(TypeError, match="directory=3"):
        EmbeddingCache(3)
