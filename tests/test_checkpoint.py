"""A fit that is killed and started again ends as if it had never been disturbed."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from imblearn.over_sampling import RandomOverSampler
from skorch.callbacks import Callback
from torch import nn

from adaptlearn import CORAL, DomainAdaptationClassifier, DomainAdaptationRegressor, Mixup
from adaptlearn.deep import _checkpoint

SMALL = {"max_epochs": 4, "hidden_layer_sizes": (8,), "bottleneck": 4, "random_state": 0}


def toy(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 3)) + 2 * y[:, None]
    return X, y, X[: n // 2] * 2 + 3


def weights(model):
    modules = model.net_.module_, model.net_.criterion_
    return {(k, n): v for k, m in enumerate(modules) for n, v in m.state_dict().items()}


def equal(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def files(folder):
    return sorted(p.name for p in Path(folder).iterdir())


# --- kill -9 ----------------------------------------------------------------------------------

LONG = SMALL | {"max_epochs": 30, "batch_size": 16}
VARIANTS = {
    "sgd": {"optimizer": "sgd", "alignment": "dann", "dropout": 0.2, "sampling": "balanced"},
    "mixed": {"mixing": "smote", "resampler": RandomOverSampler()},
    "adamw": {
        "optimizer": "adamw", "learning_rate": 1e-3, "alignment": ["cdan", "mcc"],
        "early_stopping": True, "n_iter_no_change": 1000,
    },
}  # fmt: skip

SCRIPT = """
import sys, time
import numpy as np, torch
from skorch.callbacks import Callback
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_checkpoint import LONG, VARIANTS, toy
from adaptlearn import DomainAdaptationClassifier

class Slow(Callback):  # time to be killed in the middle of an epoch
    def on_batch_end(self, net, **kwargs):
        time.sleep(0.004)

X, y, Xt = toy(200)
params = LONG | VARIANTS[sys.argv[3]]
model = DomainAdaptationClassifier(**params, checkpoint=sys.argv[2], callbacks=[Slow()])
model.fit(X, y, X_target=Xt)
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_kill_in_the_middle(variant, tmp_path):
    folder, X, y, Xt = tmp_path / "checkpoints", *toy(200)
    params = LONG | VARIANTS[variant]
    undisturbed = DomainAdaptationClassifier(**params).fit(X, y, X_target=Xt)
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(folder), variant]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 120
    while epoch_of(folder) < 3 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= epoch_of(folder) < 30
    resumed = DomainAdaptationClassifier(**params, checkpoint=folder).fit(X, y, X_target=Xt)
    assert equal(undisturbed, resumed)
    np.testing.assert_array_equal(undisturbed.predict_proba(Xt), resumed.predict_proba(Xt))
    assert len(resumed.history_) == len(undisturbed.history_) == 30
    for one, two in zip(undisturbed.history_, resumed.history_, strict=True):
        assert {**one, "dur": 0} == {**two, "dur": 0}
    # Both go on alike.
    for model in (undisturbed, resumed):
        domain = np.repeat([0, -1], 100)
        model.set_params(checkpoint=None).partial_fit(X, y, sample_domain=domain)
    assert equal(undisturbed, resumed)


def epoch_of(folder):
    """Epoch of the newest whole checkpoint; every file under the final name must be readable."""
    found = list(Path(folder).glob("*.ckpt"))
    assert len(found) <= 1
    return torch.load(found[0], weights_only=True)["epoch"] if found else 0


# --- in one process ---------------------------------------------------------------------------


class StopAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


def interrupted(folder, epoch=3, X=None, cls=DomainAdaptationClassifier, **params):
    data = toy() if X is None else X
    model = cls(**(SMALL | params), checkpoint=folder, callbacks=[StopAt(epoch)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(data[0], data[1], X_target=data[2])
    return model


def epochs_run(model, X, y, Xt):
    """Number of epochs that a fit trained itself, by what skorch saw."""
    return len(model.fit(X, y, X_target=Xt).net_.history)


@pytest.mark.parametrize("early_stopping", [False, "source", "target"])
@pytest.mark.parametrize("cls", [DomainAdaptationClassifier, DomainAdaptationRegressor])
def test_resume_after_ctrl_c(cls, early_stopping, tmp_path):
    X, y, Xt = toy()
    params = SMALL | {"early_stopping": early_stopping}
    interrupted(tmp_path, cls=cls, early_stopping=early_stopping)
    model = cls(**params, checkpoint=tmp_path)
    assert epochs_run(model, X, y, Xt) == 2
    assert equal(model, cls(**params).fit(X, y, X_target=Xt))
    assert [r["epoch"] for r in model.history_] == [1, 2, 3, 4]
    # A finished fit is read back without training.
    assert epochs_run(cls(**params, checkpoint=tmp_path), X, y, Xt) == 0


def test_a_stopped_fit_is_read_back_as_stopped(tmp_path):
    X, y, Xt = toy()
    params = SMALL | {
        "early_stopping": "source", "n_iter_no_change": 1, "max_epochs": 40, "learning_rate": 0.5,
    }  # fmt: skip
    model = DomainAdaptationClassifier(**params, checkpoint=tmp_path).fit(X, y, X_target=Xt)
    assert len(model.history_) < 40, "the toy must stop early"
    again = DomainAdaptationClassifier(**params, checkpoint=tmp_path)
    assert epochs_run(again, X, y, Xt) == 0
    assert equal(model, again) and len(again.history_) == len(model.history_)


@pytest.mark.parametrize("random_state", [None, 7], ids=str)
def test_without_random_state_a_fit_resumes_its_own_draws(random_state, tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path, random_state=random_state)
    model = DomainAdaptationClassifier(
        **(SMALL | {"random_state": random_state}), checkpoint=tmp_path
    )
    assert epochs_run(model, X, y, Xt) == 2


@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": 0.02},
        {"max_epochs": 5},
        {"random_state": 1},
        {"alignment": CORAL(weight=99.0)},
        {"schedule": "cosine"},
        {"class_weight": {0: 1, 1: 3}},
        {"early_stopping": True},
        {"mixing": "smote"},
        {"mixing": Mixup(alpha=0.5)},
        {"resampler": RandomOverSampler(random_state=0)},
    ],
    ids=str,
)
def test_another_call_starts_from_the_beginning(params, tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path)
    params = SMALL | params
    model = DomainAdaptationClassifier(**params, checkpoint=tmp_path)
    assert epochs_run(model, X, y, Xt) == params["max_epochs"]
    assert equal(model, DomainAdaptationClassifier(**params).fit(X, y, X_target=Xt))
    assert len(files(tmp_path)) == 2


def test_other_data_start_from_the_beginning(tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path)
    other = X.copy()
    other[5, 1] += 1e-6
    model = DomainAdaptationClassifier(**SMALL, checkpoint=tmp_path)
    assert epochs_run(model, other, y, Xt) == 4
    assert epochs_run(model, X, 1 - y, Xt) == 4
    assert epochs_run(model, X, y, Xt[:-1]) == 4
    model.fit(X, y, X_target=Xt, sample_weight=np.arange(60.0))
    assert len(model.net_.history) == 4
    assert epochs_run(model, X, y, Xt) == 2


def test_what_does_not_matter_does_not_matter(tmp_path, capsys):
    X, y, Xt = toy()
    interrupted(tmp_path)
    model = DomainAdaptationClassifier(**SMALL, checkpoint=str(tmp_path), verbose=1, device="cpu")
    assert epochs_run(model, X, y, Xt) == 2
    capsys.readouterr()


class Body(nn.Module):
    def __init__(self, n_features=3, width=5):
        super().__init__()
        self.layer = nn.Linear(n_features, width)

    def forward(self, x):
        return self.layer(x).relu()


def seeded_body(seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Body()


def test_a_module_is_known_by_its_weights(tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path, backbone=seeded_body(0))
    model = DomainAdaptationClassifier(**SMALL, checkpoint=tmp_path)
    assert epochs_run(model.set_params(backbone=seeded_body(1)), X, y, Xt) == 4
    assert epochs_run(model.set_params(backbone=seeded_body(0)), X, y, Xt) == 2


@pytest.mark.parametrize(
    "make", [lambda: Body, lambda: functools.partial(seeded_body, 3)], ids=["class", "partial"]
)
def test_descriptions_hold_no_address(make):
    text = _checkpoint._described({"backbone": make(), "schedule": lambda p: 1 - p})
    assert "0x" not in text
    assert _checkpoint._described([CORAL(weight=1)]) != _checkpoint._described([CORAL(weight=2)])
    one, two = (_checkpoint._described(f) for f in (lambda p: 1 - p, lambda p: 1 - p * p))
    assert one != two


class Fixed:
    """A schedule that is no function."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, progress):
        return self.factor


@pytest.mark.parametrize(
    "make",
    [lambda factor: lambda p: factor, Fixed, lambda factor: eval(f"lambda p: {factor}")],
    ids=["closure", "object", "constant"],
)
def test_a_function_is_known_by_its_numbers(make, tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path, schedule=make(1.0))
    model = DomainAdaptationClassifier(**SMALL, checkpoint=tmp_path)
    assert epochs_run(model.set_params(schedule=make(0.5)), X, y, Xt) == 4
    assert epochs_run(model.set_params(schedule=make(1.0)), X, y, Xt) == 2


def test_partial_fit_and_warm_start_are_fits_of_their_own(tmp_path):
    X, y, Xt = toy()
    packed = np.concatenate([X, Xt]), np.concatenate([y, np.full(len(Xt), -1)])
    domain = np.repeat([0, -1], [len(X), len(Xt)])
    params = SMALL | {"warm_start": True}
    models = [DomainAdaptationClassifier(**params, checkpoint=c) for c in (None, tmp_path)]
    for model in models:
        for _ in range(3):
            model.partial_fit(*packed, sample_domain=domain)
        model.fit(*packed, sample_domain=domain).partial_fit(*packed, sample_domain=domain)
    assert equal(*models)
    assert len(models[1].history_) == len(models[0].history_) == 8


def test_damaged_checkpoint(tmp_path):
    X, y, Xt = toy()
    interrupted(tmp_path)
    (name,) = files(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    model = DomainAdaptationClassifier(**SMALL, checkpoint=tmp_path)
    for content in (b"", whole[: len(whole) // 2], b"no checkpoint at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint .*cannot be read.*Delete it"):
            model.fit(X, y, X_target=Xt)
        assert path.read_bytes() == content
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match=r"checkpoint .*Delete it"):
        model.fit(X, y, X_target=Xt)
    path.unlink()
    assert epochs_run(model, X, y, Xt) == 4


def test_a_malicious_checkpoint_is_not_executed(tmp_path):
    mark = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return open, (str(mark), "w")

    folder = tmp_path / "c"
    interrupted(folder)
    path = folder / files(folder)[0]
    torch.save({"epoch": Bomb()}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        DomainAdaptationClassifier(**SMALL, checkpoint=folder).fit(*toy()[:2], X_target=toy()[2])
    assert not mark.exists()


def test_no_torn_file(tmp_path, monkeypatch):
    """Writing breaks off: the old state stays, nothing else is left behind."""
    X, y, Xt = toy()
    interrupted(tmp_path)
    (name,) = files(tmp_path)
    before = (tmp_path / name).read_bytes()

    def torn(state, file):
        file.write(b"half a fi")
        raise OSError("No space left on device")

    monkeypatch.setattr(_checkpoint.torch, "save", torn)
    with pytest.raises(OSError, match="No space left"):
        DomainAdaptationClassifier(**SMALL, checkpoint=tmp_path).fit(X, y, X_target=Xt)
    assert files(tmp_path) == [name] and (tmp_path / name).read_bytes() == before


def test_a_directory_is_made_and_shared(tmp_path):
    X, y, Xt = toy()
    folder = tmp_path / "a" / "b"
    for seed in (0, 1):
        params = SMALL | {"random_state": seed, "max_epochs": 1}
        DomainAdaptationClassifier(**params, checkpoint=folder).fit(X, y, X_target=Xt)
    assert len(files(folder)) == 2
    assert all(name.endswith(".ckpt") for name in files(folder))
