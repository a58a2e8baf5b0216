"""The demo: its table, its picture, its order of methods."""

import numpy as np
import pytest

from adaptlearn.benchmark import demo


def test_demo_on_a_small_problem(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    X = rng.normal(size=(120, 5)) + 4 * np.eye(3, 5)[y]
    data = X, y, 3 * X + 10, y
    monkeypatch.setattr(demo, "load_data", lambda arguments: ("three blobs", data))
    short = {k: {**v, "max_epochs": 3} for k, v in demo.METHODS.items()}
    monkeypatch.setattr(demo, "METHODS", short)
    joint = {k: {**v, "max_epochs": 3} for k, v in demo.JOINT.items()}
    monkeypatch.setattr(demo, "JOINT", joint)
    asked = []
    monkeypatch.setattr(
        demo, "load_scanned_digits", lambda target_weights: asked.append(target_weights) or data
    )
    picture = tmp_path / "demo.png"
    assert demo.main(["--output", str(picture)]) == 0
    out = capsys.readouterr().out
    lines = [line.split("  ")[0] for line in out.splitlines()]
    places = [lines.index(name) for name in (*demo.METHODS, demo.CEILING)]
    assert places == sorted(places)
    second = lines[places[-1] + 1 :]
    places = [second.index(name) for name in (demo.LINEAR, *demo.JOINT)]
    assert places == sorted(places)
    assert len(asked) == demo.JOINT_DRAWS
    for weights in asked:  # each draw is the same tail, in another order
        assert max(weights) == pytest.approx(10 * min(weights)) and len(weights) == 10
    assert not np.allclose(asked[0], asked[1])
    assert picture.stat().st_size > 1000


def test_score_by_hand():
    name, accuracy, balanced, seconds = demo.score("m", [0, 0, 0, 1], [0, 0, 0, 0], 2.0)
    assert (name, accuracy, balanced, seconds) == ("m", 0.75, 0.5, 2.0)


def test_table_by_hand():
    table = demo.format_table([("a", 0.5, 0.25, 1), ("b", 1, 1, 2.04), ("c", 0, 0, 0)], {1})
    rule = "-" * 55
    assert table.splitlines() == [
        "method                      accuracy  balanced  seconds",
        rule,
        "a                              0.500     0.250      1.0",
        rule,
        "b                              1.000     1.000      2.0",
        "c                              0.000     0.000      0.0",
    ]


def test_other_data_has_the_first_table_alone(monkeypatch, capsys, tmp_path):
    data = np.zeros((2, 1)), [0, 1], np.zeros((2, 1)), [0, 1]
    monkeypatch.setattr(demo, "load_data", lambda arguments: ("gas", data))
    monkeypatch.setattr(demo, "run", lambda *data, seed: ({}, [("m", 0, 0, 0), ("n", 1, 1, 1)]))
    monkeypatch.setattr(demo, "draw", lambda *rest: "")
    assert demo.main(["--data", "gas"]) == 0
    out = capsys.readouterr().out
    assert out.count("accuracy") == 1 and demo.LINEAR not in out


def test_unknown_pair_is_refused():
    with pytest.raises(SystemExit, match=r"--pair must be in 0\.\.6"):
        demo.main(["--data", "gas", "--pair", "99"])
