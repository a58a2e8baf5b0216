"""Fine-tuning of networks that hear, and of any torch module on arrays."""

import pickle

import numpy as np
import pytest
import torch
from fine_tuned import LABELS, MODES, check_trained_groups, equal, small, weights
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from tiny_models import save_audio
from torch import nn

from adaptlearn import (
    AudioExtractor,
    DomainAdaptationClassifier,
    FineTuneClassifier,
    FineTuneRegressor,
    ModuleExtractor,
    MultiTaskClassifier,
    load,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*no target rows:UserWarning")
AUDIO = ["wav2vec2", "wav2vec2_group", "hubert_group", "whisper", "ast"]
RATE = 16000
LENGTHS = np.array([1600, 2400, 1600, 3000] * 6)
SOUNDS = [
    0.5 * np.sin(2 * np.pi * (200 + 800 * label) * np.arange(n) / RATE).astype(np.float32)
    for n, label in zip(LENGTHS, LABELS, strict=True)
]
TABLE = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32) + LABELS[:, None]


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    made = {}

    def extractor(kind, **params):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            save_audio(made[kind], kind)
        return AudioExtractor(str(made[kind]), **({"sampling_rate": RATE} | params))

    return extractor


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6))


# --- sounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", AUDIO)
@pytest.mark.parametrize("mode", MODES)
def test_sounds_in_every_mode(audio, kind, mode, tmp_path):
    clf = small(audio(kind), finetune=mode, max_epochs=1).fit(SOUNDS, LABELS)
    proba = clf.predict_proba(SOUNDS)
    clf.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(SOUNDS), proba)
    assert np.array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(SOUNDS), proba)
    if mode == "full":
        np.random.seed(1)  # noqa: NPY002 - nothing is drawn from it
        assert equal(weights(clone(clf).fit(SOUNDS, LABELS)), weights(clf))
    # Rows beside a row change nothing but rounding, whatever their lengths.
    alone = np.concatenate([clf.predict_proba([sound]) for sound in SOUNDS[:4]])
    np.testing.assert_allclose(alone, proba[:4], atol=1e-5)


@pytest.mark.parametrize("kind", AUDIO)
def test_exactly_the_layers_asked_for_change(audio, kind):
    original = audio(kind)._open()._network_for_training().module
    for mode in ("head", "last:1", "last:2", "full", "gradual", "lora"):
        estimator = small(audio(kind), finetune=mode, normalize="source").fit(SOUNDS, LABELS)
        check_trained_groups(estimator, original, 3)


@pytest.mark.parametrize("kind", AUDIO)
def test_search_over_modes(audio, kind):
    model = small(audio(kind), max_epochs=1)
    search = GridSearchCV(model, {"finetune": MODES}, cv=2, error_score="raise")
    search.fit(SOUNDS, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.cv_results_["params"]) == 6
    assert np.isin(search.predict(SOUNDS), LABELS).all()


@pytest.mark.parametrize("kind", AUDIO)
def test_an_untrained_network_hears_what_the_extractor_does(audio, kind):
    extractor = audio(kind)
    params = {"finetune": "head", "max_epochs": 1, "normalize": None, "hidden_layer_sizes": ()}
    clf = small(extractor, **params).fit(SOUNDS, LABELS)
    scale = clf.net_.module_.scale
    expected = (torch.from_numpy(extractor.fit_transform(SOUNDS)) - scale.mean[-1]) / scale.std[-1]
    np.testing.assert_allclose(clf.transform(SOUNDS), expected, atol=2e-3)


def test_gradients_reach_the_first_layer_through_sounds_of_many_lengths(audio):
    before = audio("wav2vec2")
    clf = small(before, finetune="full", early_stopping=False).fit(SOUNDS, LABELS)
    start = before._open()._network_for_training().module.state_dict()
    after = clf.net_.module_.backbone.module.state_dict()
    moved = [name for name in start if not torch.equal(start[name], after[name])]
    assert any(name.startswith("feature_extractor.conv_layers.0") for name in moved)


def test_augmentation_target_and_retention_with_sounds(audio):
    clf = small(
        audio("whisper"), DomainAdaptationClassifier, finetune="last:1", augment="spec_augment",
        regularization="l2_sp", rehearsal=4, max_epochs=1,
    )  # fmt: skip
    clf.fit(SOUNDS, LABELS, X_target=SOUNDS[:8])
    assert "l2_sp_loss" in clf.history_[0]
    clf.partial_fit(SOUNDS[:8], LABELS[:8])


def test_sounds_that_are_too_long(audio):
    clf = small(audio("wav2vec2", max_seconds=0.1), finetune="full", max_epochs=1)
    with pytest.raises(ValueError, match="long='truncate' reads their beginning alone"):
        clf.fit(SOUNDS, LABELS)
    clf.set_params(backbone__long="truncate")
    with pytest.warns(UserWarning, match="the rest of them was not read"):
        clf.fit(SOUNDS, LABELS)
    short = [sound[:1600] for sound in SOUNDS]
    with pytest.warns(UserWarning, match="the rest of them was not read"):
        long = clf.predict_proba(SOUNDS)
    np.testing.assert_allclose(clf.predict_proba(short), long, atol=1e-6)
    clf.set_params(backbone__long="window")
    with pytest.raises(ValueError, match=r"long='window' takes the mean.*finetune='frozen'"):
        clf.fit(SOUNDS, LABELS)
    clf.set_params(finetune="frozen").fit(SOUNDS, LABELS).predict(SOUNDS)


def test_a_sound_that_cannot_be_read_is_named(audio, tmp_path):
    (tmp_path / "no.wav").write_bytes(b"not a sound")
    rows = [*SOUNDS[:23], str(tmp_path / "no.wav")]
    with pytest.raises(ValueError, match=r"row 23 of X.*no\.wav.*leave it out"):
        small(audio("wav2vec2"), finetune="full").fit(rows, LABELS)


def test_a_sound_that_is_gone_when_a_batch_needs_it_is_named(audio, monkeypatch):
    clf = small(audio("wav2vec2"), finetune="full", max_epochs=1).fit(SOUNDS, LABELS)

    def gone(row, rate):
        raise OSError("it is gone")

    monkeypatch.setattr("adaptlearn.extractors._training_waves.to_wave", gone)
    with pytest.raises(ValueError, match="row 3 of X cannot be read as a sound: it is gone"):
        clf.predict(SOUNDS[:4])  # the longest first


# --- modules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [FineTuneClassifier, FineTuneRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("mode", MODES)
def test_modules_in_every_mode(cls, mode, tmp_path):
    module = network()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    model = small(ModuleExtractor(module), cls, finetune=mode).fit(TABLE, LABELS)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model", components={"Sequential": network})
    assert np.array_equal(again.predict(TABLE), model.predict(TABLE))
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(TABLE), model.predict(TABLE))
    assert equal(before, dict(module.state_dict()))


def test_a_module_learns_as_a_backbone_does():
    # Deeper than its hidden layer nothing is used: the rest stays as it was.
    model = small(
        ModuleExtractor(network(), layer="1"), finetune="full", early_stopping=False,
        hidden_layer_sizes=(),
    )  # fmt: skip
    model.fit(TABLE, LABELS)
    start, after = network().state_dict(), model.net_.module_.backbone.module.state_dict()
    moved = {name for name in start if not torch.equal(start[name], after[name])}
    assert moved == {"0.weight", "0.bias"}
    assert model.transform(TABLE).shape == (24, 8)


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_rows_of_another_shape_are_refused(mode):
    model = small(ModuleExtractor(network()), finetune=mode, max_epochs=1).fit(TABLE, LABELS)
    with pytest.raises(ValueError, match="X has 4 features"):
        model.predict(TABLE[:, :4])
    wider = nn.Sequential(nn.Linear(4, 3))
    model.set_params(backbone=ModuleExtractor(wider)).fit(TABLE[:, :4], LABELS)  # a fresh fit


def test_augmentations_know_what_a_module_reads():
    model = small(ModuleExtractor(network()), finetune="full", augment="noise", max_epochs=1)
    model.fit(TABLE, LABELS)
    pictures = np.random.default_rng(0).normal(size=(24, 3, 8, 8)).astype(np.float32)
    flat = ModuleExtractor(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    small(flat, finetune="full", augment="flip_crop", mixing="cutmix", max_epochs=1).fit(
        pictures, LABELS
    )
    with pytest.raises(ValueError, match="the network's inputs are 'values'"):
        model.set_params(augment="flip_crop").fit(TABLE, LABELS)


def test_a_compiled_network_is_embedded_but_not_trained(tmp_path):
    torch.jit.trace(network().eval(), torch.zeros(2, 5)).save(tmp_path / "net.pt")
    extractor = ModuleExtractor(str(tmp_path / "net.pt"))
    model = small(extractor, finetune="frozen").fit(TABLE, LABELS)
    assert model.predict(TABLE).shape == (24,)
    with pytest.raises(ValueError, match=r"cannot be trained further.*finetune='frozen'"):
        model.set_params(finetune="full").fit(TABLE, LABELS)
