"""Fine-tuning together with augmentation, regularisation against forgetting, and rehearsal."""

import copy
import pickle

import numpy as np
import pytest
import torch
from fine_tuned import IMAGES, LABELS, MODES, TEXTS, Models, equal, extractor, rows, small, weights
from transformers import AutoTokenizer

from adaptlearn import (
    L2SP,
    ColorJitter,
    CutMix,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    FineTuneClassifier,
    FineTuneRegressor,
    FlipCrop,
    MultiTaskClassifier,
    TokenDropout,
    load,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*no target rows:UserWarning")
ESTIMATORS = [
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    FineTuneClassifier,
    FineTuneRegressor,
    MultiTaskClassifier,
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory)


# --- augmentation -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind, name", [("vit", "flip_crop"), ("bert", "token_dropout")])
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_augmentation_by_name(models, kind, name, cls):
    backbone = extractor(models, kind)
    params = {"finetune": "frozen", "max_epochs": 1}
    plain = small(backbone, cls, **(params | {"finetune": "head"})).fit(rows(kind), LABELS)
    changed = small(backbone, cls, augment=name, **params).fit(rows(kind), LABELS)
    assert changed._embedder is None  # each row is another one each time
    assert not equal(weights(plain), weights(changed))


def test_augmentation_learns_from_the_extractor_what_it_must_know(models):
    texts = small(extractor(models, "bert"), augment=TokenDropout(), finetune="head", max_epochs=1)
    texts.fit(TEXTS, LABELS)
    filled = texts.net_.augment
    tokenizer = AutoTokenizer.from_pretrained(models("bert"))
    assert filled.mask_id == tokenizer.mask_token_id
    assert set(filled.special_ids) == set(tokenizer.all_special_ids)
    assert texts.augment.mask_id is None  # the user's own stays as it was
    pictures = small(
        extractor(models, "vit"),
        augment=["flip_crop", ColorJitter()],
        finetune="head",
        max_epochs=1,
    ).fit(IMAGES, LABELS)
    color = pictures.net_.augment.members[1]
    assert len(color.mean) == len(color.std) == 3


def test_parameters_of_an_augmentation_are_reached_by_name(models):
    clf = small(extractor(models, "vit"), augment="flip_crop").set_params(augment__flip=0)
    assert clf.augment.flip == 0


@pytest.mark.parametrize(
    "kind, params, text",
    [
        ("bert", {"augment": "flip_crop"}, "'pixel_values', and the network's inputs are"),
        ("vit", {"augment": "token_dropout"}, "'input_ids', and the network's inputs are"),
        ("vit", {"augment": "flipcrop"}, "Did you mean 'flip_crop'"),
        ("vit", {"augment": FlipCrop(flip=2)}, "flip"),
        ("bert", {"mixing": "cutmix"}, "'pixel_values', and the network's inputs are"),
        ("bert", {"regularization": "l2sp"}, "Did you mean 'l2_sp'"),
        ("bert", {"rehearsal": -1}, "rehearsal"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(models, kind, params, text):
    clf = small(extractor(models, kind), finetune="full", **params)
    with pytest.raises(ValueError, match=text):
        clf.fit(rows(kind), LABELS)
    assert not hasattr(clf, "net_")


def test_an_augmentation_of_images_is_refused_for_columns_before_training():
    clf = small(None, augment="flip_crop")
    with pytest.raises(ValueError, match="'pixel_values', and the network's inputs are 'values'"):
        clf.fit(np.random.default_rng(0).normal(size=(24, 3)), LABELS)
    assert not hasattr(clf, "net_")


def test_augmentation_and_regularization_are_saved(models, tmp_path):
    params = {"augment": ["flip_crop", ColorJitter(0.2)], "regularization": L2SP(weight=0.3)}
    clf = small(extractor(models, "vit"), finetune="head", max_epochs=1, **params)
    clf.fit(IMAGES, LABELS).save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.augment[0] == "flip_crop" and repr(again.augment[1]) == repr(params["augment"][1])
    assert repr(again.regularization) == repr(params["regularization"])
    assert np.array_equal(again.predict_proba(IMAGES), clf.predict_proba(IMAGES))


@pytest.mark.parametrize("cls", [DomainAdaptationClassifier, FineTuneClassifier])
def test_cutmix_of_raw_images(models, cls):
    params = {"finetune": "full", "max_epochs": 1, "early_stopping": False}
    mixed = small(extractor(models, "resnet"), cls, mixing=CutMix(), **params)
    mixed.fit(IMAGES, LABELS, X_target=IMAGES[:8])
    plain = small(extractor(models, "resnet"), cls, **params).fit(
        IMAGES, LABELS, X_target=IMAGES[:8]
    )
    assert not equal(weights(mixed), weights(plain))


@pytest.mark.parametrize("aligned", [False, True])
def test_what_is_kept_is_compared_on_the_rows_that_were_mixed(aligned):
    # The first step of the second call: new and old outputs are of one network and one input.
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 6 * 6, 4))
    pixels = np.random.default_rng(0).normal(size=(24, 3, 6, 6)).astype(np.float32)
    clf = DomainAdaptationClassifier(
        backbone=module, mixing="cutmix", regularization="delta", batch_size=24, max_epochs=1,
        alignment="coral" if aligned else None, normalize=None, warm_start=True, random_state=0,
        label_shift=None, dropout=0.0,
    )  # fmt: skip
    clf.fit(pixels, LABELS, X_target=pixels[:8] if aligned else None)
    assert clf.history_[0]["delta_loss"] == pytest.approx(0.0, abs=1e-9)


# --- against forgetting -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["l2_sp", "ewc", "lwf", "delta"])
@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_each_regularization_holds_a_fine_tuned_network(models, kind, name):
    X = rows(kind)
    clf = small(
        extractor(models, kind), finetune="last:1", regularization=name, max_epochs=1,
        early_stopping=False, normalize="source", hidden_layer_sizes=(),
    )  # fmt: skip
    clf.fit(X, LABELS)
    acts = name in ("l2_sp", "delta")  # the others need a head that has learned something
    assert (f"{name}_loss" in clf.history_[0]) == acts
    clf.partial_fit(X[:12], LABELS[:12])
    assert np.isfinite(clf.history_[-1][f"{name}_loss"])
    again = pickle.loads(pickle.dumps(clf))
    assert equal(
        weights(again.partial_fit(X[12:], LABELS[12:])),
        weights(clf.partial_fit(X[12:], LABELS[12:])),
    )


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_huge_l2_sp_keeps_the_pretrained_weights(models, mode):
    params = {"finetune": mode, "max_epochs": 3, "learning_rate": 1e-4, "early_stopping": False}
    params["hidden_layer_sizes"] = ()  # the features are those of the network
    start = extractor(models, "bert")
    moved = []
    for regularization in (None, L2SP(weight=1e6)):
        clf = small(start, regularization=regularization, **params)
        features = clf.fit(TEXTS, LABELS).transform(TEXTS)
        moved.append(features)
    fixed = small(start, **(params | {"finetune": "head"})).fit(TEXTS, LABELS)
    kept = fixed.transform(TEXTS)
    assert np.abs(moved[1] - kept).max() < 0.1 * np.abs(moved[0] - kept).max()


def test_a_frozen_extractor_has_no_pretrained_layers_to_hold(models):
    params = {"finetune": "frozen", "max_epochs": 1}
    held = small(extractor(models, "bert"), regularization=L2SP(weight=100.0), **params)
    plain = small(extractor(models, "bert"), **params).fit(TEXTS, LABELS)
    assert equal(weights(held.fit(TEXTS, LABELS)), weights(plain))
    held.partial_fit(TEXTS, LABELS)
    assert "l2_sp_loss" in held.history_[-1]


@pytest.mark.parametrize("kind", ["bert", "vit"])
@pytest.mark.parametrize("mode", ["frozen", "head"])
@pytest.mark.parametrize("cls", [FineTuneClassifier, FineTuneRegressor])
def test_raw_rows_are_rehearsed(models, kind, mode, cls):
    X = rows(kind)
    params = {"finetune": mode, "max_epochs": 1, "early_stopping": False, "normalize": "source"}
    clf = small(extractor(models, kind), cls, rehearsal=6, **params).fit(X[:16], LABELS[:16])
    kept = clf._rehearsal
    assert len(kept.y) == 6
    plain = copy.deepcopy(clf).set_params(rehearsal=0)
    clf.partial_fit(X[16:], LABELS[16:])
    both = list(X[16:]) + list(kept.X)
    plain.partial_fit(
        both if kind == "bert" else np.stack(both), np.concatenate([LABELS[16:], kept.y])
    )
    assert equal(weights(clf), weights(plain))


@pytest.mark.parametrize("mode", ["frozen", "head"])
def test_rehearsed_rows_may_differ_in_shape(models, mode):
    larger = np.random.default_rng(1).integers(0, 256, (24, 50, 60, 3), dtype=np.uint8)
    params = {"finetune": mode, "max_epochs": 1, "early_stopping": False, "normalize": "source"}
    clf = small(extractor(models, "vit"), rehearsal=40, **params)
    clf.partial_fit(list(rows("vit")), LABELS)
    for X in (list(larger), list(larger), larger):
        clf.partial_fit(X, LABELS)
        assert {image.shape for image in clf._rehearsal.X} == {(34, 40, 3), (50, 60, 3)}
        assert len(clf._rehearsal.y) == 40
    clf = small(extractor(models, "vit"), rehearsal=20, **params).partial_fit(rows("vit"), LABELS)
    before = weights(clf)
    with pytest.raises(ValueError, match=r"rehearsal keeps.*as lists"):
        clf.partial_fit(larger, LABELS)
    assert equal(weights(clf), before)


# --- several tasks ----------------------------------------------------------------------------

TWO = np.column_stack([LABELS.astype(float), np.linspace(0.05, 3, len(LABELS))])
TWO[::5, 0] = np.nan
TWO[1::6, 1] = np.nan


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_several_tasks_on_one_pretrained_network(models, kind, mode, tmp_path):
    X = rows(kind)
    clf = small(extractor(models, kind), MultiTaskClassifier, finetune=mode, early_stopping=True)
    clf.fit(X, TWO, X_target=X[:6])
    assert clf.tasks_ == ["classification", "regression"]
    clf.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict(X), clf.predict(X))
    assert set(clf.score_by_task(X, TWO)) == {0, 1}
    assert equal(weights(clf), weights(copy.deepcopy(clf).fit(X, TWO, X_target=X[:6])))
    again.partial_fit(X, TWO)


@pytest.mark.parametrize("mode", ["frozen", "gradual", "full", "lora"])
def test_gradnorm_with_a_pretrained_network(models, mode):
    params = {"finetune": mode, "task_weighting": "gradnorm", "max_epochs": 3}
    if mode != "frozen":  # no layer above those of the network
        params["hidden_layer_sizes"] = ()
    clf = small(extractor(models, "bert"), MultiTaskClassifier, **params).fit(TEXTS, TWO)
    assert np.ptp(clf.task_weights_) > 0
    assert len(clf.net_.criterion_.shared) == 1  # the last layer that rows go through


def test_gradnorm_needs_a_layer_that_is_trained(models):
    params = {"finetune": "head", "task_weighting": "gradnorm", "hidden_layer_sizes": ()}
    clf = small(extractor(models, "bert"), MultiTaskClassifier, **params)
    with pytest.raises(ValueError, match="layer that is trained, and there is none"):
        clf.fit(TEXTS, TWO)
    assert not hasattr(clf, "net_")
    clf.set_params(bottleneck=4).fit(TEXTS, TWO)


def test_delta_keeps_no_features_of_new_layers(models):
    clf = small(extractor(models, "bert"), finetune="full", regularization="delta")
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(8,\) a new layer makes them"):
        clf.fit(TEXTS, LABELS)
