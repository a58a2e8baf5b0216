"""Rows, runs and tables of the benchmark of long-tailed sources."""

import json

import numpy as np
import pytest

from adaptlearn import benchmark
from adaptlearn.benchmark import imbalance


@pytest.fixture
def data_home(tmp_path):
    """A data home with the wine set in miniature, so that these tests need no download."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(3, 9), 100)
    X = (rng.normal(size=(600, 11)) + y[:, None]).astype(np.float32)
    home = tmp_path / "home"
    home.mkdir()
    np.savez(
        home / "wine_red_white.npz", X=X, y=y.astype(np.uint8),
        domain=np.repeat([0, 1], 300).astype(np.uint8), domains=np.array(["red", "white"]),
        features=np.array(list("abcdefghijk")),
    )  # fmt: skip
    return str(home)


def test_long_tail_by_hand():
    y = np.repeat([0, 1, 2], [100, 400, 400])
    seen = set()
    for seed in range(20):
        rows = imbalance.long_tail(y, 100, np.random.default_rng(seed))
        assert len(np.unique(rows)) == len(rows)
        counts = np.bincount(y[rows])
        seen.add(tuple(counts.tolist()))
        # 1, 1/10 and 1/100 of the most frequent class; 400 rows where class 0 is not that one.
        assert sorted(counts.tolist()) in ([4, 40, 400], [2, 10, 100])
        assert counts[0] == 100 if counts.max() == 100 else counts[0] in (4, 40)
    assert len(seen) == 6  # every order of the classes
    rows = imbalance.long_tail(y, 1000, np.random.default_rng(0))
    assert np.bincount(y[rows]).min() == 2


def test_balanced_by_hand():
    y = np.repeat([0, 1, 2], [7, 30, 5])
    rows = imbalance.balanced(y, np.random.default_rng(0))
    assert np.bincount(y[rows]).tolist() == [5, 5, 5] and len(np.unique(rows)) == 15


def test_task(data_home):
    task = imbalance.make_task("wine/10", "red->white", 3, data_home)
    assert task.X_source.shape == (len(task.y_source), 11) and task.X_source.dtype == np.float32
    counts = np.bincount(task.y_source)
    assert len(counts) == 4 and counts.max() == 10 * counts.min()
    assert np.ptp(np.bincount(task.y_target)) == 0
    again = imbalance.make_task("wine/10", "red->white", 3, data_home)
    assert np.array_equal(task.X_source, again.X_source)
    other = imbalance.make_task("wine/10", "red->white", 4, data_home)
    assert not np.array_equal(task.y_source, other.y_source)


def test_figures_by_hand(data_home, monkeypatch):
    """Class 0 always right, class 1 half, the others never."""

    def predict(task, seed):
        out = np.full(len(task.y_target), 0)
        ones = np.flatnonzero(task.y_target == 1)
        out[ones[::2]] = 1
        return out

    method = imbalance.Method("mine", predict, dict, False)
    monkeypatch.setattr(imbalance, "METHODS", {"mine": method})
    run = {"set": "wine/10", "pair": "red->white", "method": "mine", "seed": 0, "fingerprint": "f"}
    record = imbalance.work(run, data_home)
    assert record["balanced_accuracy"] == pytest.approx(1.5 / 4)
    assert record["worst_class_recall"] == 0 and record["accuracy"] == pytest.approx(1.5 / 4)


def test_plan():
    runs = imbalance.plan(imbalance.SETS, ["logistic", "default"], seeds=2)
    assert len(runs) == 4 * 3 * 2 * 2 * 2 and [r["seed"] for r in runs] == [0] * 48 + [1] * 48
    quick = imbalance.plan(imbalance.SETS, ["default"], seeds=1, quick=True)
    assert {run["set"] for run in quick} == {"digits/50", "gas/50", "wine/50"}
    assert len({run["fingerprint"] for run in imbalance.plan(["wine/10"], imbalance.METHODS, 1)}
               ) == len(imbalance.METHODS)  # fmt: skip


def test_command(data_home, tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    args = ["imbalance", "--data-home", data_home, "--quick", "--sets", "wine/50", "--n-jobs", "1",
            "--methods", "logistic", "smote_logistic", "balanced_forest", "both_balanced",
            "--results", str(path)]  # fmt: skip
    assert benchmark.main(args) == 0
    out = capsys.readouterr().out
    assert "balanced accuracy on the target" in out and "worst-class recall on the target" in out
    assert len(path.read_text().splitlines()) == 4
    assert all(0 <= json.loads(line)["worst_class_recall"] <= 1 for line in path.open())
    assert benchmark.main([*args, "--tables"]) == 0
    with pytest.raises(SystemExit):
        benchmark.main(["imbalance", "--sets", "wine"])
    assert "'wine' is not one of digits/10" in capsys.readouterr().err
