"""Rows, runs, scores and tables of the benchmark of label shift under domain shift."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from adaptlearn import benchmark
from adaptlearn._components import registered
from adaptlearn.benchmark import _draws, _methods, _protocol, label_shift
from adaptlearn.benchmark._label_shift_tables import format_tables


@pytest.fixture
def data_home(tmp_path):
    """A data home with spam in miniature, so that these tests need no download."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], [40, 40, 120])  # two videos, then SMS
    y = rng.integers(0, 2, size=200)
    # 80 words of each class, a fifth of a text from the other's; "target" is in none of the source.
    kind = y[:, None] ^ (rng.random((200, 30)) < 0.2)
    chosen = 80 * kind + rng.integers(0, 80, size=(200, 30))
    texts = [" ".join(f"word{i}" for i in row) for row in chosen]
    texts = [text + " target" if d == 2 else text for text, d in zip(texts, domain, strict=True)]
    text = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    offsets = np.cumsum([0, *map(len, texts)])
    home = tmp_path / "home"
    home.mkdir()
    np.savez(
        home / "spam_youtube_sms.npz", text=text, text_off=offsets, y=y.astype(np.uint8),
        domain=domain.astype(np.uint8), domains=np.array(["Psy", "Eminem", "SMS"]),
    )  # fmt: skip
    return str(home)


def proportions(y, n_classes):
    return np.bincount(y, minlength=n_classes) / len(y)


# --- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [3.0, 0.5, 0.3])
@pytest.mark.parametrize("seed", [0, 7])
def test_target_has_the_proportions_drawn(alpha, seed):
    y = np.random.default_rng(1).permutation(np.repeat([0, 1, 2, 3], 5000))
    rows = label_shift.dirichlet_rows(y, alpha, seed)
    assert len(np.unique(rows)) == len(rows) and (np.diff(rows) > 0).all()
    asked = np.random.default_rng([seed, int(alpha * 100)]).dirichlet([alpha] * 4)
    np.testing.assert_allclose(proportions(y[rows], 4), asked, atol=1e-3)
    assert np.bincount(y[rows]).max() == pytest.approx(5000, abs=1)  # as many as there are
    assert np.array_equal(rows, label_shift.dirichlet_rows(y, alpha, seed))
    assert not np.array_equal(rows, label_shift.dirichlet_rows(y, alpha, seed + 1))


def test_rows_in_proportions_by_hand():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [1000, 100])
    for q, counts in (
        ([0.5, 0.5], [100, 100]),  # as many as there are
        ([0.1, 0.9], [20, 100]),  # class 1 allows 111 rows, 200 are asked for
        ([1.0, 0.0], [1000, 0]),
    ):
        assert np.bincount(y[_draws.in_proportions(y, np.array(q), rng)], minlength=2).tolist() == (
            counts
        )
    few = np.repeat([0, 1], [4, 30])  # half of the rows: 17
    rows = _draws.in_proportions(few, np.array([0.9, 0.1]), rng)
    assert np.bincount(few[rows]).tolist() == [4, 2]
    rows = _draws.in_proportions(np.array([0, 0, 0, 1]), np.array([0.4, 0.6]), rng)
    assert len(rows) >= 2


@pytest.mark.parametrize("seed", range(4))
def test_reversed_tails(seed):
    y_source, y_target = np.repeat([0, 1, 2], 900), np.repeat([0, 1, 2], [700, 800, 750])
    source, target = label_shift.reversed_rows(y_source, y_target, seed)
    counts = np.bincount(y_source[source]), np.bincount(y_target[target])
    for found in counts:
        a, b, c = np.sort(found)
        assert c / a == pytest.approx(10, rel=0.05) and c / b == pytest.approx(10**0.5, rel=0.05)
    assert np.argsort(counts[0]).tolist() == np.argsort(counts[1])[::-1].tolist()
    orders = {
        tuple(
            np.argsort(np.bincount(y_source[label_shift.reversed_rows(y_source, y_target, s)[0]]))
        )
        for s in range(40)
    }
    assert len(orders) == 6


def test_reversed_tails_where_the_target_lacks_a_class():
    y_source, y_target = np.repeat([0, 1, 2], 900), np.repeat([0, 2], 900)
    for seed in range(4):
        source, target = label_shift.reversed_rows(y_source, y_target, seed)
        a, b = (np.bincount(y[rows], minlength=3)[[0, 2]] for y, rows in
                ((y_source, source), (y_target, target)))  # fmt: skip
        assert a[0] / a[1] == pytest.approx(b[1] / b[0], rel=0.1)


def test_tasks_of_one_pair(data_home):
    def task(shift, seed=0):
        return label_shift.make_task(f"spam/{shift}", "youtube->sms", seed, data_home)

    whole = task("none")
    assert whole.X_source.shape[0] == 80 and len(whole.y_target) == 120
    assert whole.X_source.dtype == whole.X_target.dtype == np.float32
    for shift in label_shift.SHIFTS[1:-1]:
        moved = task(shift)
        assert np.array_equal(moved.X_source, whole.X_source)
        assert len(moved.y_target) == len(moved.X_target) < 120
    moved = task("reversed")
    a, b = np.bincount(moved.y_source), np.bincount(moved.y_target)
    assert (a[0] - a[1]) * (b[0] - b[1]) < 0
    assert not np.array_equal(task("0.5", 1).y_target, task("0.5", 2).y_target)


def test_texts_are_prepared_by_the_source_alone():
    ham, spam = ["see you at home", "you are home"] * 3, ["free prize", "free click now"] * 3
    source = np.array([*ham, *spam], dtype=object)
    # 100 components need as many words.
    source = np.array([f"{t} w{i} w{i + 1}" for i, t in enumerate(np.tile(source, 10))])
    one, first = _protocol._text_components(source, source[:5])
    other, again = _protocol._text_components(source, np.array([*source[:5], "other words"] * 50))
    assert one.shape == (120, 100) and np.array_equal(one, other)
    np.testing.assert_allclose(first, again[:5], atol=1e-8)
    np.testing.assert_allclose(one.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(one.std(axis=0), 1, atol=1e-8)


# --- scores -------------------------------------------------------------------------------------

RUN = {"set": "spam/0.5", "pair": "youtube->sms", "method": "mine", "seed": 0, "fingerprint": "f"}


def test_scores_by_hand(data_home, monkeypatch):
    truth = label_shift.make_task(RUN["set"], RUN["pair"], 0, data_home).y_target
    n = np.bincount(truth)
    assert n.min() > 0

    def predict(task, seed):
        plain, right = np.zeros(len(truth), int), truth.copy()
        return label_shift.Answers(plain, right, 1 - right, np.array([0.25, 0.75]))

    method = _methods.Method("mine", predict, dict, False)
    monkeypatch.setattr(label_shift, "METHODS", {"mine": method})
    record = label_shift.work(RUN, data_home)
    assert record["accuracy"] == 1 and record["balanced_accuracy"] == 0
    assert record["plain_accuracy"] == pytest.approx(n[0] / n.sum(), abs=1e-6)
    assert record["plain_balanced_accuracy"] == 0.5
    assert record["prior_error"] == pytest.approx(abs(0.25 - n[0] / n.sum()), abs=1e-6)
    monkeypatch.setitem(
        label_shift.METHODS, "mine",
        method._replace(predict=lambda task, seed: label_shift.Answers(*[truth] * 3)),
    )  # fmt: skip
    assert "prior_error" not in label_shift.work(RUN, data_home)


def test_total_variation_by_hand():
    y = np.array([0, 0, 1, 2])
    assert label_shift.total_variation(np.array([0.5, 0.25, 0.25]), y) == 0
    assert label_shift.total_variation(np.array([1.0]), y) == 0.5
    assert label_shift.total_variation(np.array([0, 0, 0, 1.0]), y) == 1


class Priors:
    """Stands in for the estimator: says which prior it predicted under."""

    def __init__(self, estimate):
        self.estimate, self.prior = estimate, None

    def fit(self, X, y, X_target):
        self.target_prior_, self.classes_ = self.estimate, np.unique(y)
        return self

    def set_params(self, prior):
        self.prior = prior
        return self

    def predict(self, X):
        return np.full(len(X), {None: 0, "target": 1, "uniform": 2}[self.prior])


@pytest.mark.parametrize("estimate", [None, np.array([0.25, 0.75])], ids=["none", "estimated"])
def test_each_score_has_its_prior(estimate, monkeypatch):
    monkeypatch.setattr(_methods, "classifier", lambda parameters, seed: Priors(estimate))
    X = np.zeros((4, 1))
    task = SimpleNamespace(X_source=X, y_source=np.array([0, 2, 0, 2]), X_target=X)
    answers = label_shift._our_answers({})(task, 0)
    assert answers.plain.tolist() == [0] * 4 and answers.uniform.tolist() == [2] * 4
    if estimate is None:
        assert answers.target is answers.plain and answers.prior is None
    else:
        assert answers.target.tolist() == [1] * 4
        assert answers.prior.tolist() == [0.25, 0, 0.75]  # by class code


@pytest.mark.parametrize("name", ["logistic", "default"])
def test_target_labels_are_for_the_score_alone(name, data_home):
    task = label_shift.make_task("spam/1", "youtube->sms", 0, data_home)
    predict = label_shift.METHODS[name].predict
    kept = predict(task, 0)
    other = predict(task._replace(y_target=np.full(len(task.y_target), -7)), 0)
    for a, b in zip(kept, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(len(a) == len(task.y_target) for a in kept[:3])


# --- runs and tables ----------------------------------------------------------------------------


def test_plan():
    sets = label_shift.SETS
    runs = label_shift.plan(sets, ["logistic"], seeds=2)
    assert len(runs) == (6 + 7 + 2 + 4 + 1 + 1) * 6 * 2
    assert [run["seed"] for run in runs] == [0] * 126 + [1] * 126
    for name, pairs in label_shift.PAIRS.items():
        assert set(pairs) <= set(_protocol.pair_names(name))
    sides = [pair.split("->") for pair in label_shift.PAIRS["amazon"]]
    assert len({a for a, _ in sides}) == len({b for _, b in sides}) == 4
    quick = label_shift.plan(sets, ["logistic"], seeds=1, quick=True)
    assert [run["set"] for run in quick] == label_shift.QUICK


def test_every_alignment_is_run_bare_and_with_options():
    ours = {
        n
        for n, c in registered("alignment").items()
        if c.__module__.startswith("adaptlearn.alignment.")
    }
    for name in ours:
        assert label_shift.OURS[name] == {"alignment": name}
        bare = label_shift.OURS[f"{name}_bare"]
        assert bare == {
            "alignment": name, "normalize": None, "label_shift": None, "sampling": "instance",
        }  # fmt: skip
    assert label_shift.OURS["default"] == {}
    runs = label_shift.plan(["gas/1"], label_shift.METHODS, 1)
    prints = {run["method"]: run["fingerprint"] for run in runs}
    assert len(set(prints.values())) == len(label_shift.METHODS)


def record(set_, pair, method, seed, value, **more):
    figures = {"accuracy": value, "balanced_accuracy": value / 2, "plain_accuracy": value,
               "plain_balanced_accuracy": value, "seconds": 2.0}  # fmt: skip
    return {"set": set_, "pair": pair, "method": method, "seed": seed, **figures, **more}


def test_tables_by_hand():
    records = [
        *(record("gas/1", "p", "default", s, v) for s, v in enumerate((0.75, 0.85))),
        *(record("gas/1", "p", "mcc", s, v) for s, v in enumerate((0.70, 0.70))),
        *(
            record("heart/1", "q", "default", s, v, prior_error=0.1)
            for s, v in ((0, 0.6), (1, 0.6))
        ),
        *(record("heart/1", "q", "mcc", s, v) for s, v in enumerate((0.5, 0.5))),
        record("heart/3", "q", "default", 0, 0.9),
    ]
    sets, n_pairs = ["gas/1", "heart/1", "gas/3", "heart/3"], {"gas/1": 1, "heart/1": 1}
    text = format_tables(records, sets, ["mcc", "default", "dann"], n_pairs | {"heart/3": 2})
    tables = {part.splitlines()[0]: part.splitlines()[3:] for part in text.split("\n\n")}
    title = 'accuracy under prior="target", {}'
    assert [line.split() for line in tables[title.format("shift 1")]] == [
        ["mcc", "0.700", "0.500", "0.600"], ["default", "0.800", "0.600", "0.700"]
    ]  # fmt: skip
    # gas: 5 and 15 points, standard deviation 7.07 over the root of 2; heart: 10 and 10.
    ahead = "shift 1: default minus the method in points, ± standard error"
    (line,) = tables[title.format(ahead)]
    assert re.split("  +", line) == ["mcc", "+10.0 ± 5.0", "+10.0 ± 0.0", "+10.0 ± 2.5"]
    by_shift = tables[title.format("mean over the sets by shift")]
    assert [line.split() for line in by_shift] == [
        ["mcc", "0.600", "-"], ["default", "0.700", "0.900*"]
    ]  # fmt: skip
    error = "total variation between the estimated and the true class proportions"
    (line,) = tables[f"{error}, mean over the sets by shift"]
    assert line.split() == ["default", "0.100*", "-"]
    assert text.endswith("* some sets or pairs are missing.") and "dann" not in text


def test_command(data_home, tmp_path, capsys):
    path = tmp_path / "r.jsonl"
    chosen = ["logistic", "spl_bare", "default"]
    args = ["label-shift", "--data-home", data_home, "--quick", "--sets", "spam/0.5",
            "--n-jobs", "1", "--results", str(path), "--methods", *chosen]  # fmt: skip
    assert benchmark.main(args) == 0
    out = capsys.readouterr().out
    assert 'balanced accuracy under prior="uniform", shift 0.5' in out
    records = [json.loads(line) for line in path.open()]
    assert [("prior_error" in r) for r in records] == [False, False, True]
    assert all(0 <= r["accuracy"] <= 1 for r in records)
    assert benchmark.main([*args, "--tables"]) == 0
    assert capsys.readouterr().out == out
    with pytest.raises(SystemExit):
        benchmark.main(["label-shift", "--sets", "spam"])
    assert "'spam' is not one of office31/none" in capsys.readouterr().err
