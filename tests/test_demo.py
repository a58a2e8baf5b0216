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
    picture = tmp_path / "demo.png"
    assert demo.main(["--output", str(picture)]) == 0
    out = capsys.readouterr().out
    lines = [line.split("  ")[0] for line in out.splitlines()]
    places = [lines.index(name) for name in (*demo.METHODS, demo.CEILING)]
    assert places == sorted(places)
    assert picture.stat().st_size > 1000


def test_score_by_hand():
    name, accuracy, balanced, seconds = demo.score("m", [0, 0, 0, 1], [0, 0, 0, 0], 2.0)
    assert (name, accuracy, balanced, seconds) == ("m", 0.75, 0.5, 2.0)


def test_unknown_pair_is_refused():
    with pytest.raises(SystemExit, match=r"--pair must be in 0\.\.6"):
        demo.main(["--data", "gas", "--pair", "99"])
