"""Fine-tuning: every family in every mode, and what each mode trains."""

import copy
import pickle

import numpy as np
import pytest
import torch
from fine_tuned import (
    IMAGE,
    LABELS,
    MODES,
    N_GROUPS,
    TEXT,
    TEXTS,
    Models,
    check_trained_groups,
    equal,
    extractor,
    rows,
    small,
    weights,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback
from tiny_models import image_model, save_text, text_model
from torch import nn
from toy_networks import Mixer, letters

from adaptlearn import (
    DomainAdaptationClassifier,
    FineTuneClassifier,
    FineTuning,
    TextExtractor,
    load,
    pack,
)
from adaptlearn.deep._norm import DomainBatchNorm
from adaptlearn.extractors._fingerprint import module_fingerprint


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory)


# --- every family in every mode ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [*TEXT, *IMAGE])
def test_family_in_every_mode(models, kind, tmp_path):
    X, backbone = rows(kind), extractor(models, kind)
    shared = backbone.fit(X)._network(torch.device("cpu")).module
    before = module_fingerprint(shared)
    for mode in MODES:
        estimator = small(backbone, finetune=mode, max_epochs=1).fit(X, LABELS)
        proba = estimator.predict_proba(X)
        assert proba.shape == (24, 2) and np.isfinite(proba).all()
        assert np.array_equal(estimator.classes_, [0, 1])
        assert estimator.transform(X).shape == (24, estimator._n_features_out)
        for twin in (pickle.loads(pickle.dumps(estimator)), copy.deepcopy(estimator)):
            assert equal(weights(twin), weights(estimator))
            np.testing.assert_array_equal(twin.predict_proba(X), proba)
        estimator.save(tmp_path / "model")
        again = load(tmp_path / "model")
        np.testing.assert_array_equal(again.predict_proba(X), proba)
        again.partial_fit(X, LABELS)
        assert not equal(weights(again), weights(estimator))
        fresh = clone(estimator)
        assert not [k for k in vars(fresh) if k.endswith("_")]
        assert equal(weights(fresh.fit(X, LABELS)), weights(estimator)), "refits differ"
    assert module_fingerprint(shared) == before, "the network that all extractors share was trained"


@pytest.mark.parametrize("kind", [*TEXT, *IMAGE])
def test_search_over_modes(models, kind):
    search = GridSearchCV(
        small(extractor(models, kind), max_epochs=1),
        {"finetune": MODES},
        cv=2,
        error_score="raise",
    )
    search.fit(rows(kind), LABELS)
    assert search.cv_results_["param_finetune"].tolist() == MODES
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = small(extractor(models, kind), max_epochs=1, **search.best_params_)
    again = best.fit(rows(kind), LABELS).predict_proba(rows(kind))
    np.testing.assert_array_equal(search.predict_proba(rows(kind)), again)


# --- what each mode trains --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*TEXT, *IMAGE])
def test_exactly_the_layers_asked_for_change(models, kind):
    original = text_model(kind) if kind in TEXT else image_model(kind)
    original = getattr(original, "vision_model", original)
    for mode in ("head", "last:1", "last:2", "full", "gradual", "lora"):
        estimator = small(extractor(models, kind), finetune=mode, normalize="source")
        estimator.fit(rows(kind), LABELS)
        check_trained_groups(estimator, original, N_GROUPS.get(kind, 3))


def test_layers_above_the_one_that_is_read_are_not_counted(tmp_path):
    save_text(tmp_path, "bert")  # embeddings and two layers

    def changed(layer, mode):
        clf = small(TextExtractor(str(tmp_path), layer=layer), finetune=mode, max_epochs=1)
        network = clf.fit(TEXTS, LABELS).net_.module_.backbone
        module = next(m.module for m in network.modules() if hasattr(m, "reader"))
        start = text_model("bert").state_dict()
        moved = {n for n, p in module.named_parameters() if not torch.equal(p, start[n])}
        return {n.partition("layer.")[2][:1] or "embeddings" for n in moved}

    assert changed(-1, "last:1") == {"1"}
    assert changed(1, "last:1") == changed(-2, "last:1") == {"0"}
    assert changed(1, "last:2") == {"0", "embeddings"}
    with pytest.raises(ValueError, match="2 layer groups, so that N is at most 2"):
        changed(1, "last:3")


def test_a_frozen_extractor_is_a_pipeline(models):
    X, y, _ = pack(TEXTS, LABELS, TEXTS[::-1])
    backbone, params = extractor(models, "bert"), {"max_epochs": 3, "random_state": 0}
    inside = DomainAdaptationClassifier(backbone=backbone, **params).fit(X, y)
    outside = make_pipeline(backbone, DomainAdaptationClassifier(**params)).fit(X, y)
    np.testing.assert_array_equal(inside.predict_proba(TEXTS), outside.predict_proba(TEXTS))
    assert equal(weights(inside), weights(outside[-1]))


def test_automatic_modes(models):
    backbone = extractor(models, "bert")
    given = {"max_epochs": 1, "random_state": 0, "alignment": None, "normalize": None}
    assert (
        DomainAdaptationClassifier(backbone=backbone, **given).fit(TEXTS, LABELS).net_.plan.mode
        == "frozen"
    )
    assert small(backbone, max_epochs=1).fit(TEXTS, LABELS).net_.plan.mode == "gradual"
    X = np.random.default_rng(0).normal(size=(24, 3))
    module = nn.Linear(3, 4)
    plain = DomainAdaptationClassifier(backbone=module, **given).fit(X, LABELS)
    assert plain.net_.plan.mode == "plain" and len(plain.net_.optimizer_.param_groups) == 1
    frozen = DomainAdaptationClassifier(backbone=module, finetune="frozen", **given).fit(X, LABELS)
    assert torch.equal(frozen.net_.module_.backbone.weight, module.weight)
    assert FineTuneClassifier(module, max_epochs=1).fit(X, LABELS).net_.plan.mode == "gradual"
    assert FineTuneClassifier(max_epochs=1).fit(X, LABELS).net_.plan.mode == "plain"


def test_layers_that_are_not_trained_neither_drop_nor_update_statistics():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(
                nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)) for _ in "ab"
            )

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    X = np.random.default_rng(0).normal(size=(24, 3)) + 5
    seen = {}

    class Look(Callback):
        def on_batch_end(self, net, **_):
            backbone = net.module_.backbone
            seen.update({name: module.training for name, module in backbone.named_modules()})

    def fit(**params):
        given = {"normalize": "source", "callbacks": [Look()], "finetune": "last:1"}
        return small(Net(), **(given | params)).fit(X, LABELS).net_.module_.backbone.layers

    lower, upper = fit()
    assert seen["layers.1.2"] and seen["layers.1.1"] and seen["layers.1"]
    assert not (seen["layers.0.2"] or seen["layers.0.1"] or seen["layers.0"])
    assert torch.equal(lower[1].running_mean, torch.zeros(3)) and lower[1].num_batches_tracked == 0
    assert not torch.equal(upper[1].running_mean, torch.zeros(3))
    fixed = fit(finetune=FineTuning("full", freeze_batch_norm=True))
    for layer in fixed:
        assert torch.equal(layer[1].running_mean, torch.zeros(3))
        assert torch.equal(layer[1].weight, torch.ones(3))
    assert not torch.equal(fixed[0][0].weight, lower[0].weight)
    for target, learns in ((X + 1, True), (None, False)):  # statistics of two domains; no weights
        both = small(Net(), normalize="domain", finetune="head").fit(X, LABELS, X_target=target)
        norm = both.net_.module_.backbone.layers[0][1]
        assert isinstance(norm, DomainBatchNorm) and torch.equal(norm.weight, torch.ones(3))
        assert torch.equal(norm.running_mean[0], torch.zeros(3)) != learns


# --- nothing of the user's is changed; runs repeat --------------------------------------------


class Codes(nn.Module):
    """One vector per text: its first codes."""

    def forward(self, ids):
        return nn.functional.pad(ids, (0, 3))[:, :3].float()


@pytest.mark.parametrize("mode", MODES)
def test_the_users_module_is_left_alone(mode):
    module = Mixer().train() if mode != "lora" else nn.Sequential(Codes(), nn.Linear(3, 64))
    before = {k: v.clone() for k, v in module.state_dict().items()}
    backbone = TextExtractor(module, tokenizer=letters)
    estimator = small(backbone, finetune=mode).fit(TEXTS, LABELS)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert module.training and all(p.requires_grad for p in module.parameters())
    assert not hasattr(backbone, "_fitted") and estimator.backbone is backbone
    assert all(p.grad is None for p in module.parameters())


def test_global_generators_are_untouched(models):
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    for mode in MODES:
        small(extractor(models, "bert"), finetune=mode, max_epochs=1).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


class Interrupt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **_):
        if len(net.history) > self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("mode", ["frozen", "gradual", "lora"])
def test_resuming_ends_as_if_undisturbed(models, mode, tmp_path):
    given = {"finetune": mode, "max_epochs": 4}
    whole = small(extractor(models, "bert"), **given).fit(TEXTS, LABELS)
    given["checkpoint"] = tmp_path
    estimator = small(extractor(models, "bert"), callbacks=[Interrupt(2)], **given)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(TEXTS, LABELS)
    resumed = estimator.set_params(callbacks=None).fit(TEXTS, LABELS)
    assert equal(weights(resumed), weights(whole))
    other = small(extractor(models, "bert"), **given).fit([t + " red" for t in TEXTS], LABELS)
    assert not equal(weights(other), weights(whole)), "other texts took up the checkpoint"
