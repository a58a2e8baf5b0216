import io
import json
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import sklearn
from scipy import sparse

from adaptlearn import benchmark
from adaptlearn.benchmark import _methods, _peers, _protocol, _runner, accuracy
from adaptlearn.benchmark._results import (
    ResultStore,
    fingerprint,
    format_tables,
    paired_difference,
    summarise,
)
from adaptlearn.datasets import get_data_home


def record(pair, method, seed, value, set_="toy", print_="f"):
    return {"set": set_, "pair": pair, "method": method, "seed": seed, "fingerprint": print_,
            "accuracy": value, "balanced_accuracy": value / 2, "seconds": 2.0}  # fmt: skip


@pytest.fixture
def data_home(tmp_path):
    """A data home with a heart set in miniature, so that these tests need no download."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2, 3], [40, 30, 20, 25]).astype(np.uint8)
    y = rng.integers(0, 5, size=len(domain)).astype(np.uint8)
    X = (rng.normal(size=(len(domain), 13)) + y[:, None]).astype(np.float32)
    X[rng.random(X.shape) < 0.1] = np.nan
    home = tmp_path / "home"
    home.mkdir()
    np.savez(
        home / "heart4.npz", X=X, y=y, domain=domain,
        domains=np.array(["cleveland", "hungarian", "switzerland", "va"]),
        features=np.array(["age", "sex", "cp", "trestbps", "chol", *"abcdefgh"]),
    )  # fmt: skip
    return str(home)


@pytest.fixture
def counted(monkeypatch):
    """Two quick methods in place of all, and the list of the runs they did."""
    calls = []

    def constant(name):
        def predict(task, seed):
            calls.append((task.pair, name, seed))
            return np.full(len(task.y_target), seed % 2)

        return predict

    methods = {
        name: _methods.Method(name, constant(name), lambda name=name: {"name": name}, fixed)
        for name, fixed in (("logistic", True), ("mine", False))
    }
    monkeypatch.setattr(accuracy, "METHODS", methods)
    return calls


# tables ------------------------------------------------------------------------------------------


def test_paired_difference_by_hand():
    values = {"a": 0.9, "b": 0.7, "c": 0.5, "only here": 0.1}
    reference = {"a": 0.6, "b": 0.6, "c": 0.5, "only there": 1.0}
    difference, error = paired_difference(values, reference)
    # differences .3, .1, 0: mean .4 / 3; variance (.1667² + .0333² + .1333²) / 2 = .02333
    assert difference == pytest.approx(0.4 / 3)
    assert error == pytest.approx(math.sqrt(0.0700 / 3 / 3))
    difference, error = paired_difference({"a": 0.9}, reference)
    assert difference == pytest.approx(0.3) and math.isnan(error)
    assert all(math.isnan(value) for value in paired_difference({"x": 1.0}, reference))


def test_summary_averages_seeds_within_pairs_first():
    records = [
        record("p", "logistic", 0, 0.5),
        record("q", "logistic", 0, 0.7),
        # Three seeds on p, one on q: a set's figure is the mean over pairs, not over runs.
        *(record("p", "mine", seed, value) for seed, value in enumerate((0.5, 0.6, 0.7))),
        record("q", "mine", 0, 1.0),
    ]
    rows = {row["method"]: row for row in summarise(records)}
    assert rows["mine"]["accuracy"] == pytest.approx((0.6 + 1.0) / 2)
    assert rows["mine"]["balanced_accuracy"] == pytest.approx(0.4)
    assert rows["mine"]["difference"] == pytest.approx((0.1 + 0.3) / 2)
    # differences .1 and .3: standard deviation .1414, over the root of 2 pairs
    assert rows["mine"]["standard_error"] == pytest.approx(0.1)
    assert (rows["mine"]["pairs"], rows["mine"]["runs"]) == (2, 4)
    assert rows["logistic"]["difference"] == 0


def test_tables_show_every_figure_and_mark_what_is_missing():
    records = [record("p", "logistic", 0, 0.5), record("q", "logistic", 0, 0.7),
               record("p", "mine", 0, 0.625)]  # fmt: skip
    text = format_tables(records, ["toy", "other"], ["logistic", "mine"], {"toy": 2, "other": 1})
    lines = text.splitlines()
    assert lines[0] == "toy: mean over 2 pairs"
    assert lines[3].split() == ["logistic", "0.600", "0.300", "-", "-", "2.00", "2"]
    assert lines[4].split() == ["mine*", "0.625", "0.312", "+0.125", "-", "2.00", "1"]
    assert "other" not in text
    assert "mine      0.625*" in text
    assert max(map(len, lines)) <= 100


# keeping and continuing --------------------------------------------------------------------------


def test_fingerprint_tells_configurations_apart():
    assert fingerprint({"a": [1, {"b": 2}]}) == fingerprint({"a": [1, {"b": 2}]})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_our_fingerprints_follow_the_defaults(monkeypatch):
    from adaptlearn import DomainAdaptationClassifier

    def prints():
        return {
            name: fingerprint(_methods.METHODS[name].config())
            for name in ("default", "mcc", "coral")
        }

    before = prints()
    assert len(set(before.values())) == 3
    assert prints() == before
    monkeypatch.setattr(DomainAdaptationClassifier, "_auto_alignment", "coral")
    assert prints()["default"] != before["default"]
    assert prints()["mcc"] == before["mcc"]


def test_store_reads_back_what_was_appended(tmp_path):
    path = tmp_path / "new" / "results.jsonl"
    store = ResultStore(path)
    run = record("p", "mine", 0, 0.5)
    assert run not in store
    store.append(run)
    assert run in ResultStore(path)
    assert {**run, "fingerprint": "other"} not in ResultStore(path)
    assert ResultStore(path).select([{**run, "seed": 1}, run]) == [run]


@pytest.mark.parametrize("cut", [1, 5, 60])
def test_store_survives_a_line_cut_off_by_an_interruption(tmp_path, cut):
    path = tmp_path / "results.jsonl"
    store = ResultStore(path)
    for seed in range(3):
        store.append(record("p", "mine", seed, 0.5))
    path.write_bytes(path.read_bytes()[:-cut])
    store = ResultStore(path)
    assert len(store.records) == (3 if cut == 1 else 2)  # cut 1 took only the line's end
    store.append(record("p", "mine", 7, 0.5))
    assert {key[3] for key in ResultStore(path).records} >= {0, 1, 7}
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_store_refuses_a_file_of_something_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello\nworld\n")
    with pytest.raises(ValueError, match=r"Line 1 .*notes\.txt.*--results"):
        ResultStore(path)
    assert path.read_text() == "hello\nworld\n"


def test_interrupted_benchmark_goes_on_without_repeating(data_home, counted, tmp_path, monkeypatch):
    path = tmp_path / "results.jsonl"
    runs = accuracy.plan_runs(["heart"], ["logistic", "mine"], seeds=3)
    assert len(runs) == 7 * (1 + 3)
    work = partial(accuracy.work, data_home=data_home)
    append = ResultStore.append

    def interrupted(store, run):
        append(store, run)
        if len(store.records) == 10:
            raise KeyboardInterrupt

    quiet = io.StringIO()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResultStore, "append", interrupted)
        _runner.execute(runs, ResultStore(path), work, n_jobs=1, stream=quiet)
    kept = len(path.read_text().splitlines())
    assert kept == 10
    _runner.execute(runs, ResultStore(path), work, n_jobs=1, stream=quiet)
    assert len(path.read_text().splitlines()) == len(runs)
    assert len(counted) <= len(runs) + 1  # at most the one in progress is done twice
    counted.clear()
    _runner.execute(runs, ResultStore(path), work, n_jobs=1, stream=quiet)
    assert counted == []


def test_changed_configuration_runs_again(data_home, counted, tmp_path, capsys):
    args = ["accuracy", "--data-home", data_home, "--sets", "heart", "--seeds", "1",
            "--n-jobs", "1", "--results", str(tmp_path / "r.jsonl")]  # fmt: skip
    assert benchmark.main(args) == 0
    assert len(counted) == 14
    changed = accuracy.METHODS["mine"]._replace(config=lambda: {"name": "new"})
    accuracy.METHODS["mine"] = changed
    assert benchmark.main(args) == 0
    assert [name for _, name, _ in counted[14:]] == ["mine"] * 7
    assert "heart: mean over 7 pairs" in capsys.readouterr().out


def test_plan_is_seed_major_and_runs_deterministic_methods_once(counted):
    runs = accuracy.plan_runs(["heart", "gas"], ["logistic", "mine"], seeds=2)
    assert [run["seed"] for run in runs] == [0] * 28 + [1] * 14
    assert {run["method"] for run in runs if run["seed"] == 1} == {"mine"}
    quick = accuracy.plan_runs(list(_protocol.SETS), ["mine"], seeds=1, quick=True)
    assert {run["set"] for run in quick} == set(_protocol.SETS)
    assert len(quick) < 12


def test_one_failing_method_is_told_and_the_rest_goes_on(data_home, counted, tmp_path, capsys):
    def broken(task, seed):
        raise RuntimeError("no luck")

    accuracy.METHODS["mine"] = accuracy.METHODS["mine"]._replace(predict=broken)
    path = tmp_path / "r.jsonl"
    code = benchmark.main(["accuracy", "--data-home", data_home, "--sets", "heart", "--quick",
                           "--n-jobs", "1", "--results", str(path)])  # fmt: skip
    captured = capsys.readouterr()
    assert code == 1
    assert "mine seed 0: RuntimeError: no luck" in captured.err
    assert [json.loads(line)["method"] for line in path.read_text().splitlines()] == ["logistic"]
    assert "logistic" in captured.out


def test_balanced_accuracy_is_the_mean_recall_over_target_classes(data_home, monkeypatch):
    truth = _protocol.make_task("heart", "cleveland->hungarian", data_home).y_target

    def predict(task, seed):
        assert np.array_equal(task.y_target, truth)
        return np.where(np.arange(len(truth)) < 15, truth, 2)  # 2 is no class of the target

    method = _methods.Method("mine", predict, dict, False)
    monkeypatch.setattr(accuracy, "METHODS", {"mine": method})
    run = {"set": "heart", "pair": "cleveland->hungarian", "method": "mine", "seed": 0,
           "fingerprint": "f"}  # fmt: skip
    result = accuracy.work(run, data_home)
    hit = np.arange(len(truth)) < 15
    assert result["accuracy"] == pytest.approx(0.5)
    expected = np.mean([hit[truth == label].mean() for label in (0, 1)])
    assert result["balanced_accuracy"] == pytest.approx(expected, abs=1e-6)
    assert result["seconds"] >= 0


# protocol ----------------------------------------------------------------------------------------


def test_pairs_of_the_protocol():
    counts = {name: len(_protocol.pair_names(name)) for name in _protocol.SETS}
    assert counts == {"office31": 6, "gas": 7, "surf": 12, "amazon": 12, "digits": 2, "heart": 7,
                      "fsdd": 4}  # fmt: skip
    for name in _protocol.SETS:
        assert set(_protocol.pair_names(name, quick=True)) <= set(_protocol.pair_names(name))


def test_task_is_scaled_by_the_source_alone(data_home):
    task = _protocol.make_task("heart", "cleveland->va", data_home)
    assert task.X_source.shape == (40, 13) and task.X_target.shape == (25, 13)
    assert task.X_source.dtype == task.X_target.dtype == np.float32
    np.testing.assert_allclose(task.X_source.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(task.X_source.std(axis=0), 1, atol=1e-5)
    assert np.isfinite(task.X_target).all()
    assert set(np.unique(task.y_source)) <= {0, 1}
    with pytest.raises(ValueError, match="pair='va->va'"):
        _protocol.make_task("heart", "va->va", data_home)


@pytest.mark.parametrize(
    ("name", "pair", "n_source", "n_target", "n_features", "n_classes"),
    [
        ("office31", "dslr->webcam", 498, 795, 1280, 31),
        ("gas", "batch1->batch3", 445, 1586, 128, 6),
        ("surf", "dslr->webcam", 157, 295, 800, 10),
        ("amazon", "books->dvd", 2000, 2000, 5000, 2),
        ("digits", "mnist->usps", 2000, 2000, 256, 10),
        ("heart", "va->cleveland", 200, 303, 13, 2),
        ("fsdd", "theo->yweweler", 500, 500, 2000, 10),
        ("wine", "red->white", 1599, 4898, 11, 4),
        ("spam", "youtube->sms", 1956, 5574, 100, 2),
    ],
)
def test_protocol_on_the_real_sets(name, pair, n_source, n_target, n_features, n_classes):
    if get_data_home() is None:
        pytest.skip("no data home: set ADAPTLEARN_DATA to the folder of the benchmark files")
    problem = _protocol.available(name)
    if problem:
        pytest.skip(problem)
    task = _protocol.make_task(name, pair)
    assert task.X_source.shape == (n_source, n_features)
    assert task.X_target.shape == (n_target, n_features)
    assert np.unique(task.y_source).tolist() == list(range(n_classes))
    assert task.y_target.shape == (n_target,)
    assert sparse.issparse(task.X_source) == (name == "amazon")
    values = task.X_source.data if sparse.issparse(task.X_source) else task.X_source
    assert values.dtype == np.float32 and np.isfinite(values).all()


# command line ------------------------------------------------------------------------------------


def test_command_line_errors_are_clear(data_home, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ADAPTLEARN_DATA", raising=False)
    for arguments, message in (
        (["--sets", "hart"], "'hart' is not one of office31, gas"),
        (["--methods", "dan"], "'dan' is not one of logistic"),
        (["--seeds", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            benchmark.main(["accuracy", *arguments])
        assert message in capsys.readouterr().err
    assert benchmark.main(["accuracy", "--sets", "gas", "--methods", "logistic"]) == 2
    assert "ADAPTLEARN_DATA" in capsys.readouterr().err
    notes = tmp_path / "notes.txt"
    notes.write_text("hello\nworld\n")
    arguments = ["accuracy", "--data-home", data_home, "--sets", "heart", "--results", str(notes)]
    assert benchmark.main(arguments) == 2
    assert "not a benchmark record" in capsys.readouterr().err


def test_our_method_and_logistic_run_end_to_end(data_home, tmp_path, capsys):
    args = ["accuracy", "--data-home", data_home, "--quick", "--sets", "heart", "--n-jobs", "1",
            "--methods", "logistic", "default", "--results", str(tmp_path / "r.jsonl")]  # fmt: skip
    assert benchmark.main(args) == 0
    out = capsys.readouterr().out
    assert "default" in out and "vs logistic" in out
    assert benchmark.main([*args, "--tables"]) == 0
    assert capsys.readouterr().out == out


def test_tables_show_results_of_methods_that_cannot_run_here(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_peers, "skada_available", lambda: False)
    path = tmp_path / "r.jsonl"
    store = ResultStore(path)
    for run in accuracy.plan_runs(["gas"], ["logistic", "skada_mcc"], seeds=1):
        store.append({**run, "accuracy": 0.5, "balanced_accuracy": 0.5, "seconds": 1.0})
    assert benchmark.main(["accuracy", "--tables", "--results", str(path)]) == 0
    assert "skada_mcc" in capsys.readouterr().out


def test_import_reads_no_torch_and_changes_no_setting():
    code = (
        "import sys, sklearn, adaptlearn.benchmark.accuracy\n"
        "assert 'torch' not in sys.modules and 'skada' not in sys.modules\n"
        "assert not sklearn.get_config()['enable_metadata_routing']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not _peers.skada_available(), reason="the extra peers, skada, is optional")
@pytest.mark.parametrize("name", _peers.NAMES)
def test_peers_run_and_leave_scikit_learn_as_it_was(name, data_home, monkeypatch):
    monkeypatch.setitem(_peers.TRAINING, "steps", 4)
    before = sklearn.get_config()
    task = _protocol.make_task("heart", "cleveland->va", data_home)
    task = task._replace(
        X_source=np.tile(task.X_source, (4, 1)),
        y_source=np.tile(task.y_source, 4),
        y_target=np.full(25, -7),  # must not be read
    )
    predicted = _methods.METHODS[name].predict(task, 0)
    assert predicted.shape == (25,)
    assert set(np.unique(predicted)) <= {0, 1}
    assert sklearn.get_config() == before
    assert np.array_equal(predicted, _methods.METHODS[name].predict(task, 0))
