"""What the speed and memory of a fit rest on, checked without a clock."""

import json
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from adaptlearn import DomainAdaptationClassifier, rank_extractors
from adaptlearn.benchmark import main
from adaptlearn.deep._batches import BatchIterator, TrainingSet
from adaptlearn.imbalance.sampling import ClassSampler, InstanceSampler

MIB = 2**20


def small(**params):
    defaults = {"hidden_layer_sizes": (8,), "max_epochs": 2, "batch_size": 16, "random_state": 0}
    return DomainAdaptationClassifier(**{**defaults, **params})


def rows(n, n_columns=4):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=n)
    X = (rng.normal(size=(n, n_columns)) + 2 * y[:, None]).astype(np.float32)
    return X, y, 3 * X + 1


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only /proc tells own memory from mapped files"
)
def test_memory_mapped_rows_are_not_copied(tmp_path):
    from adaptlearn.benchmark._speed_memory import measure_in_child

    # The array has 391 MiB; every copy of it, or of half of it, would show.
    params = {"batch_size": 256, "hidden_layer_sizes": [16]}
    found = measure_in_child(400_000, 256, folder=tmp_path, params=params)
    assert found["fit"] < 250 * MIB
    assert found["predict"] < 250 * MIB


def _python_calls(call):
    """Calls of functions written in Python while `call` runs."""
    count = 0

    def profile(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("alignment", [None, "mcc", "mmd", "auto"])
def test_no_python_per_row(alignment):
    """With as many batches, ten times the rows take the same Python calls."""
    calls = {}
    for n in (160, 1600):
        X, y, X_target = rows(n)
        clf = small(alignment=alignment, batch_size=n // 10)
        clf.fit(X, y, X_target=X_target)
        calls[n] = (
            _python_calls(lambda: clf.fit(X, y, X_target=X_target)),  # noqa: B023
            _python_calls(lambda: clf.predict(X_target[: n // 2])),  # noqa: B023
        )
    for few, many in zip(calls[160], calls[1600], strict=True):
        assert many < few * 1.2 + 200


def test_python_of_a_batch_is_bounded():
    X, y, X_target = rows(1600)
    n_calls = [
        _python_calls(lambda: small(batch_size=b).fit(X, y, X_target=X_target))  # noqa: B023
        for b in (160, 16)
    ]
    assert (n_calls[1] - n_calls[0]) / (2 * 90) < 400


class Listener(Callback):
    """Counts what it is told."""

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.seen_.append("begin")

    def on_grad_computed(self, net, named_parameters, **kwargs):
        assert all(p.grad is not None for _, p in named_parameters)
        self.seen_.append("grad")

    def on_batch_end(self, net, batch=None, training=None, loss=None, y_pred=None, **kwargs):
        assert torch.isfinite(loss) and len(y_pred) == len(batch.x)
        assert net.history[-1]["batches"][-1]["train_loss"] == pytest.approx(loss.item())
        self.seen_.append("end")


def test_callbacks_hear_every_batch():
    X, y, X_target = rows(64)
    clf = small(callbacks=[Listener()]).fit(X, y, X_target=X_target)
    (_, listener), = clf.net_.callbacks_  # fmt: skip
    assert listener.seen_ == ["begin", "grad", "end"] * 4 * 2
    assert len(clf.net_.history) == 2
    assert all(not epoch["batches"] for epoch in clf.net_.history)
    plain = small().fit(X, y, X_target=X_target)
    np.testing.assert_array_equal(clf.predict_proba(X_target), plain.predict_proba(X_target))
    assert len(plain.net_.history) == 2


class _TakeRows:
    def __init__(self, X):
        self.X = X

    def take(self, index):
        return self.X[index]


@pytest.mark.parametrize(("n_source", "n_target"), [(50, 130), (130, 50), (130, 0)])
def test_batches_hold_every_row_with_its_own_columns(n_source, n_target):
    n = n_source + n_target
    domain = torch.arange(n) % 2 + 2 * (torch.arange(n) >= n_source)
    column = torch.arange(n, dtype=torch.float32)
    data = TrainingSet(
        rows=_TakeRows(column[:, None]),
        slots=domain,
        labelled=torch.arange(n_source),
        target=torch.arange(n_source, n),
        y=torch.arange(n) * 7,
        task_weight=column + 1,
        weight=column + 2,
        sampler=InstanceSampler(n_source),
    )
    seen = []
    for batch in BatchIterator(data, 32).batches(torch.Generator().manual_seed(0)):
        index = batch.index
        assert torch.equal(batch.x[:, 0], column[index])
        assert torch.equal(batch.weight, column[index] + 2)
        assert torch.equal(batch.domain, domain[index])
        labelled = index[: batch.n_labelled]
        assert (labelled < n_source).all() and (index[batch.n_labelled :] >= n_source).all()
        assert torch.equal(batch.y, labelled * 7)
        assert torch.equal(batch.task_weight, column[labelled] + 1)
        for slot, start, stop in batch.segments:
            assert (batch.domain[start:stop] == slot).all()
        assert sum(stop - start for _, start, stop in batch.segments) == len(index)
        seen.append(index)
    longer = torch.arange(n_source) if n_source > n_target else torch.arange(n_source, n)
    assert torch.isin(longer, torch.cat(seen)).all()


def test_predictions_do_not_depend_on_blocks():
    X, y, X_target = rows(3000, 16)
    clf = small(hidden_layer_sizes=(64,), max_epochs=1).fit(X, y, X_target=X_target)
    whole = clf.predict_proba(X_target)
    for stop in (1, 3, 8, 100, 1023, 1025, 2999):
        np.testing.assert_array_equal(clf.predict_proba(X_target[:stop]), whole[:stop])
    chosen = np.arange(7, 3000, 3)
    np.testing.assert_array_equal(clf.predict_proba(X_target[chosen]), whole[chosen])


@pytest.mark.parametrize("name", ["mlp", "larger"])
@pytest.mark.parametrize("alignment", ["none", "mcc"])
def test_the_hand_written_loop_does_the_same_work(name, alignment):
    from adaptlearn.benchmark import _speed_loops as loops

    task = loops.make_task(loops.NETS[name], alignment, 300, 64)
    clf, epochs = loops.fit_ours(task, 3)
    (net, *_), hand_epochs = loops.fit_hand(task, 3)
    assert len(epochs) == len(hand_epochs) == 2

    def sizes(module):
        return sorted(tuple(p.shape) for p in module.parameters())

    assert sizes(clf._network) == sizes(net)
    assert len(clf.history_) == 3 and len(loops.predict_hand((net, *_), task.X, False)) == 300


@pytest.mark.parametrize("name", ["mmd", "jmmd"])
def test_mmd_memory_does_not_grow_with_features_times_pairs(name):
    from adaptlearn.benchmark.speed import alignment_cost

    def peak(n_rows, n_features):
        return alignment_cost(name, n_rows, n_features, repetitions=0)["bytes"]

    # 512 stacked rows: one kernel has 1 MiB; an array of pairs times features would have 256.
    assert peak(256, 256) < 20 * MIB
    few, many = peak(256, 64), peak(256, 1024)
    assert many - few < 8 * 4 * 512 * 1024  # a few arrays of the batch's own size
    assert 3 < peak(512, 16) / peak(256, 16) < 5


def test_samplers_that_are_compared_do_the_same():
    from adaptlearn.benchmark import _speed_samplers as samplers

    codes = samplers.long_tail(20_000)
    assert torch.bincount(codes).max() > 50 * torch.bincount(codes).min()
    generator = torch.Generator().manual_seed(0)
    drawn = {
        "ours": ClassSampler(codes).draw(20_000, generator).tolist(),
        "weighted": list(samplers.weighted(codes)),
        "by row": list(samplers.ByRow(codes.numpy())),
    }
    for rows in drawn.values():
        assert len(rows) == 20_000 and all(isinstance(row, int) for row in rows)
        counts = torch.bincount(codes[rows])
        # Binomial: a standard deviation is 42; adaptlearn's are exact up to a few rows.
        assert len(counts) == 10 and (counts - 2000).abs().max() < 5 * 42
    assert (torch.bincount(codes[drawn["ours"]]) - 2000).abs().max() < 10


@pytest.mark.parametrize("n_rows", [10_000, 1_000_000])
def test_sampler_memory_is_a_few_numbers_a_row(n_rows):
    from adaptlearn.benchmark._speed_samplers import sampler_cost

    # Order, places, classes, fractions and the drawn rows, 8 bytes each, and one temporary.
    assert sampler_cost(n_rows, repetitions=0)["bytes"] < 49 * n_rows


def test_sampler_costs_are_of_those_that_run(monkeypatch):
    from adaptlearn.benchmark import _speed_samplers as samplers

    monkeypatch.setattr(samplers, "MOST_BY_ROW", 99)
    few, many = (samplers.sampler_cost(n, repetitions=1) for n in (99, 100))
    assert {"ours", "weighted", "by_row"} <= few.keys()
    assert "by_row" not in many and len(many["weighted"]) == 2


def test_smote_is_compared_on_as_many_rows_of_each_class():
    from adaptlearn.benchmark import _speed_samplers as samplers

    record = samplers.smote_cost(1010, 3, n_epochs=2)  # 1000 and 10 rows
    assert record["resampled_rows"] == 2000
    assert record["extra_bytes"] == 990 * 3 * 4
    assert record["mixed_epoch"] > 0


def test_command_is_known(capsys):
    with pytest.raises(SystemExit) as end:
        main(["speed", "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "--memmap" in out and "--samplers" in out


def test_samplers_alone(monkeypatch, capsys, tmp_path):
    from adaptlearn.benchmark import _speed_samplers as samplers

    monkeypatch.setattr(samplers, "SIZES", (1000, 2000))
    monkeypatch.setattr(samplers, "GOAL_ROWS", 2000)
    monkeypatch.setattr(samplers, "SMOTE_SIZES", ((1010, 3),))
    assert main(["speed", "--samplers", "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "Goal, 2,000 rows set up in under 0.2 s: " in out and "1010 x 3" in out
    assert json.loads((tmp_path / "out.json").read_text()).keys() == {
        "threads", "samplers", "smote"}  # fmt: skip


@pytest.mark.parametrize("what", ["images", "texts"])
def test_extractor_and_loop_that_are_compared_do_the_same(what):
    pytest.importorskip("PIL")
    from adaptlearn.benchmark._speed_extractors import LOOPS

    by_hand, ours = LOOPS[what](n=40)
    wanted = by_hand()
    assert np.ptp(wanted, axis=0).max() > 1e-3, "rows must differ for this to be a comparison"
    np.testing.assert_allclose(ours(), wanted, atol=1e-4 * np.abs(wanted).max())


def test_resizing_that_is_compared_does_the_same():
    pytest.importorskip("PIL")
    from adaptlearn.benchmark._speed_extractors import resize_cost

    for mode in ("bilinear", "bicubic"):
        record = resize_cost(100, 150, mode, repetitions=1, n=2)
        assert record["ratio"] > 0 and record["largest"] <= 2 and record["share"] <= 1e-4


def test_ranking_and_heads_that_are_compared_see_the_same():
    pytest.importorskip("PIL")
    from adaptlearn.benchmark._speed_extractors import embeddings, ranking_cost

    table, y = embeddings(100, 8, 3)
    assert all(rows.shape == (200, 8) and len(y) == 100 for rows in table.values())
    ranking = rank_extractors(table, None, y, 100)
    assert list(ranking.frame.index) == ["0", "1", "2"]  # they were made ever less telling
    assert (ranking.frame["a_distance"] > 0).all()  # the target was looked at
    record = ranking_cost(30, 4, n_candidates=2, max_epochs=1)
    assert record["candidates"] == 2 and min(record["ranking"], record["deep"]) > 0
    assert record["ratio"] == record["logistic"] / record["ranking"]


def test_the_extractor_tables(monkeypatch, capsys, tmp_path):
    pytest.importorskip("PIL")
    from adaptlearn.benchmark import _speed_extractors as table

    monkeypatch.setattr(table, "SIZES", ((40, 50),))
    loops = {name: lambda make=make: make(n=4) for name, make in table.LOOPS.items()}
    monkeypatch.setattr(table, "LOOPS", loops)
    monkeypatch.setattr(table, "RANKED", ((40, 5),))
    file = tmp_path / "speed.json"
    assert main(["speed", "--extractors", "--quick", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Goal, ") == 3 and "40 x 50" in printed and "40 x 5 " in printed
    found = json.loads(file.read_text())["extractors"]
    assert [record["mode"] for record in found["resize"]] == ["bilinear", "bicubic"]
    assert [record["rows"] for record in found["loops"]] == ["images", "texts"]
    assert [record["rows"] for record in found["ranking"]] == [40]
