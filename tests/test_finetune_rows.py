"""Fine-tuning with raw rows: containers, two sides, scikit-learn's tools, errors, saving."""

import inspect
import pickle
import re

import numpy as np
import pytest
import torch
from fine_tuned import (
    IMAGES,
    LABELS,
    TEXTS,
    Models,
    equal,
    extractor,
    rows,
    small,
    weights,
)
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import save_text
from torch import nn
from toy_networks import ROWS, Mixer, letters

from adaptlearn import (
    DANNClassifier,
    DomainAdaptationClassifier,
    DomainAdaptationRegressor,
    EmbeddingCache,
    FineTuneClassifier,
    FineTuneRegressor,
    FineTuning,
    HeadRetrainer,
    ImageExtractor,
    LabelledScorer,
    TextExtractor,
    WithTarget,
    load,
    pack,
)
from adaptlearn.deep._norm import DomainBatchNorm


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory)


# --- rows, as people have them ----------------------------------------------------------------


def text_containers():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    return [
        TEXTS, np.array(TEXTS), np.array(TEXTS, object), pandas.Series(TEXTS),
        pandas.DataFrame({"text": TEXTS}), polars.Series(TEXTS), np.array(TEXTS)[:, None],
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_containers_of_texts(models, mode):
    expected = small(extractor(models, "bert"), finetune=mode).fit(TEXTS, LABELS)
    for X in text_containers():
        estimator = small(extractor(models, "bert"), finetune=mode).fit(X, LABELS)
        assert equal(weights(estimator), weights(expected))
        np.testing.assert_array_equal(estimator.predict_proba(X), expected.predict_proba(TEXTS))
        assert estimator.score(X, LABELS) == expected.score(TEXTS, LABELS)


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_containers_of_images(models, mode, tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{i}.png" for i in range(24)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    expected = small(extractor(models, "vit"), finetune=mode).fit(IMAGES, LABELS)
    for X in (paths, list(map(str, paths)), [Image.fromarray(i) for i in IMAGES], list(IMAGES)):
        estimator = small(extractor(models, "vit"), finetune=mode).fit(X, LABELS)
        assert equal(weights(estimator), weights(expected))
        np.testing.assert_array_equal(estimator.predict(X), expected.predict(IMAGES))


def test_images_that_do_not_fit_are_read_batch_by_batch(models, monkeypatch):
    expected = weights(small(extractor(models, "vit"), finetune="full").fit(IMAGES, LABELS))
    kept = []
    prepare = ImageExtractor._prepare

    def watch(self, rows, network, keep):
        kept.append(prepare(self, rows, network, keep))
        return kept[-1]

    monkeypatch.setattr(ImageExtractor, "_prepare", watch)
    again = small(extractor(models, "vit"), finetune="full").fit(IMAGES, LABELS)
    assert [type(prepared[0]) for prepared in kept if len(prepared) == 24] == [torch.Tensor]
    assert kept[0][0].dtype == torch.uint8 and kept[0][0].shape == (3, 32, 32)
    monkeypatch.setattr("adaptlearn.extractors.image._KEPT_BYTES", 24 * 3 * 32 * 32 - 1)
    lazy = small(extractor(models, "vit"), finetune="full").fit(IMAGES, LABELS)
    unread = [prepared[0] for prepared in kept if len(prepared) == 24][-1]
    assert unread.number == 0 and isinstance(unread.row, np.ndarray)
    assert equal(weights(lazy), expected) and equal(weights(again), expected)


def test_texts_are_tokenised_once_in_a_fit():
    calls = []

    def tokenizer(texts):
        calls.extend(texts)
        return letters(texts)

    backbone = TextExtractor(Mixer(), tokenizer=tokenizer)
    small(backbone, finetune="full", max_epochs=5, early_stopping=False).fit(TEXTS, LABELS)
    assert sum(text in TEXTS for text in calls) == 24


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_answers_do_not_depend_on_the_rows_beside(models, kind):
    X = rows(kind)
    estimator = small(extractor(models, kind), finetune="full").fit(X, LABELS)
    together = estimator.predict_proba(X)
    for i in (0, 3, 17):
        np.testing.assert_allclose(estimator.predict_proba(X[i : i + 1])[0], together[i], atol=1e-5)
    np.testing.assert_allclose(estimator.predict_proba(X[::-1])[::-1], together, atol=1e-5)


def test_a_search_over_a_frozen_backbone_runs_each_row_once():
    backbone = TextExtractor(Mixer(seed=5), tokenizer=letters, cache=EmbeddingCache())
    search = GridSearchCV(
        DomainAdaptationClassifier(backbone=backbone, max_epochs=1, random_state=0),
        {"learning_rate": [1e-3, 1e-2], "bottleneck": [None, 4]},
        cv=3,
        scoring=LabelledScorer("accuracy"),
    )
    X, y, _ = pack(TEXTS, LABELS, [f"{text} far" for text in TEXTS])
    del ROWS[:]
    search.fit(X, y)
    assert sum(ROWS) == len(set(X)) == 20
    search.fit(X, y)
    assert sum(ROWS) == 20


# --- two sides, and scikit-learn's tools ------------------------------------------------------


@pytest.mark.parametrize("mode", ["frozen", "full", "lora"])
@pytest.mark.parametrize("alignment", ["auto", "dann", ["cdan", "mcc"]], ids=str)
def test_alignment_of_two_sides(models, mode, alignment):
    target = [f"{text} on the mat" for text in TEXTS[:15]]
    estimator = small(
        extractor(models, "bert"), DomainAdaptationClassifier, finetune=mode, alignment=alignment
    )
    direct = estimator.fit(TEXTS, LABELS, X_target=target)
    assert direct.predict(target).shape == (15,)
    X, y, domain = pack(TEXTS, LABELS, target)
    packed = clone(estimator).fit(X, y)
    assert packed.predict_proba(X, sample_domain=domain).shape == (39, 2)
    assert np.isfinite(packed.score(X, y))
    alone = clone(estimator).set_params(alignment_weight=0).fit(X, y)
    assert not equal(weights(alone), weights(packed)), "the alignment trained nothing"


def test_resnet_keeps_statistics_of_each_domain(models):
    estimator = small(extractor(models, "resnet"), DANNClassifier, finetune="last:1")
    estimator.fit(IMAGES, LABELS, X_target=255 - IMAGES)
    norms = [m for m in estimator.net_.module_.modules() if isinstance(m, DomainBatchNorm)]
    assert norms and not torch.equal(norms[0].running_mean[0], norms[0].running_mean[1])
    both = [estimator.predict_proba(IMAGES, sample_domain=side) for side in ("source", "target")]
    assert not np.allclose(*both)


@pytest.mark.parametrize("label_shift", ["auto", "mlls"])
def test_class_proportions_are_estimated_from_embeddings(models, label_shift):
    """One text in four of the target is about dogs."""
    target = [TEXTS[i % 2 if i % 4 == 1 else 0] + " far" * (i % 3) for i in range(48)]
    given = {"label_shift": label_shift, "max_epochs": 1, "alignment": "mmd"}
    frozen, full = (
        small(extractor(models, "bert"), DomainAdaptationClassifier, finetune=mode, **given).fit(
            TEXTS * 2, np.tile(LABELS, 2), X_target=target
        )
        for mode in ("frozen", "full")
    )
    np.testing.assert_array_equal(full.target_prior_, frozen.target_prior_)
    assert full.target_prior_.sum() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:The classifier does not tell")
def test_tools_of_scikit_learn(models):
    backbone = extractor(models, "bert")
    X, y, _ = pack(TEXTS, LABELS, TEXTS[:12])
    strip = FunctionTransformer(lambda texts: [text.strip() for text in texts])
    for mode in ("frozen", "last:1"):
        pipe = make_pipeline(strip, small(backbone, DomainAdaptationClassifier, finetune=mode))
        assert len(pipe.fit(X, y).predict(X)) == 36
        scores = cross_val_score(pipe, X, y, cv=2, scoring=LabelledScorer("accuracy"))
        assert np.isfinite(scores).all()
        head = HeadRetrainer(small(backbone, finetune=mode), n_steps=5, random_state=0)
        assert len(head.fit(TEXTS, LABELS).predict(TEXTS)) == 24
        shared = WithTarget(small(backbone, DomainAdaptationClassifier, finetune=mode), TEXTS[:12])
        assert len(shared.fit(TEXTS, LABELS).predict(TEXTS)) == 24
        shifted = small(
            backbone, DomainAdaptationClassifier, finetune=mode, label_shift="bbse", max_epochs=1
        )
        assert shifted.fit(X, y).target_prior_.sum() == pytest.approx(1)
    assert small(backbone).set_params(backbone__pooling="cls").backbone.pooling == "cls"


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precision(models, precision):
    for kind in ("bert", "resnet"):
        estimator = small(extractor(models, kind), finetune="full", precision=precision)
        assert np.isfinite(estimator.fit(rows(kind), LABELS).predict_proba(rows(kind))).all()
        dtype = torch.float64 if precision == "float64" else torch.float32
        assert {p.dtype for p in estimator.net_.module_.parameters()} == {dtype}


def test_early_stopping_keeps_the_best_epoch(models):
    X, y = TEXTS * 10, np.tile(LABELS, 10)
    estimator = small(
        extractor(models, "bert"), finetune="full", max_epochs=6, learning_rate=0.02, batch_size=32
    ).fit(X, y)
    losses = [
        record["valid_loss"] for record in estimator.history_
    ]  # 240 rows: "auto" holds out 24
    best = 1 + int(np.argmin(losses))
    shorter = estimator.net_.history
    assert len(shorter) == len(losses) >= best
    few = small(extractor(models, "bert"), finetune="full").fit(TEXTS, LABELS)
    assert "valid_loss" not in few.history_[0], "24 rows are too few to hold some out"


@pytest.mark.filterwarnings("error")
def test_regression_and_no_word_of_a_target(models):
    y = np.array([len(text) for text in TEXTS], float)
    reg = FineTuneRegressor(
        extractor(models, "bert"), finetune="full", learning_rate=0.01, random_state=0
    )
    assert reg.fit(TEXTS, y).score(TEXTS, y) > 0.5
    both = small(extractor(models, "bert"), DomainAdaptationRegressor, finetune="last:1")
    assert both.fit(TEXTS, y, X_target=TEXTS[::-1]).predict(TEXTS).shape == (24,)
    FineTuneClassifier(max_epochs=1, random_state=0).fit(np.eye(24), LABELS)


def test_fine_tuning_learns(models):
    """Texts that differ in one word out of several."""
    for mode in ("full", "gradual", "lora"):
        estimator = small(
            extractor(models, "bert"),
            finetune=mode,
            learning_rate=0.02,
            max_epochs=25,
            hidden_layer_sizes=(),
        )
        assert estimator.fit(TEXTS, LABELS).score(TEXTS, LABELS) == 1


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "finetune, message",
    [
        ("lst:2", r"finetune='lst:2' is not known; allowed are 'auto'.*'last:N'"),
        ("last:0", r"finetune='last:0' is not known"),
        ("last:9", r"the backbone has 3 layer groups, so that N is at most 3"),
        (FineTuning("full", layer_decay=0), r"'layer_decay' parameter of FineTuning"),
        (FineTuning("full", warmup=1.0), r"'warmup' parameter of FineTuning"),
        (FineTuning("full", accumulate=0), r"'accumulate' parameter of FineTuning"),
    ],
    ids=str,
)
def test_bad_settings(models, finetune, message):
    with pytest.raises(ValueError, match=message):
        small(extractor(models, "bert"), finetune=finetune).fit(TEXTS, LABELS)


def test_other_errors(models, monkeypatch):
    X = np.random.default_rng(0).normal(size=(24, 3))
    with pytest.raises(ValueError, match=r"finetune='full' .*backbone=None.*Give backbone="):
        FineTuneClassifier(finetune="full").fit(X, LABELS)
    with pytest.raises(TypeError, match=r"finetune=3 of type int must be one of 'auto'"):
        FineTuneClassifier(finetune=3).fit(X, LABELS)
    with pytest.raises(TypeError, match=r"backbone=TextExtractor is a class; give an object"):
        FineTuneClassifier(TextExtractor).fit(TEXTS, LABELS)
    for mode in ("frozen", "full"):
        fitted = small(extractor(models, "bert"), finetune=mode, max_epochs=1).fit(TEXTS, LABELS)
        with pytest.raises(ValueError, match="0 samples"):
            fitted.predict([])
        with pytest.raises(TypeError, match="A single row is a list of one"):
            fitted.predict("the cat")
    with pytest.raises(ValueError, match=r"row 1 of X is None, not a text"):
        small(extractor(models, "bert"), finetune="full").fit(["a", None] * 12, LABELS)
    with pytest.raises(ValueError, match=r"row 2 of X.*no_such.png.* cannot be read as an image"):
        bad = [*IMAGES[:2], "no_such.png", *IMAGES[3:]]
        small(extractor(models, "vit"), finetune="full").fit(bad, LABELS)
    monkeypatch.setattr("adaptlearn.extractors.image._KEPT_BYTES", 0)  # read when a batch needs it
    fitted = small(extractor(models, "vit"), finetune="full", max_epochs=1).fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match=r"row 2 of X.*no_such.png.*: leave it out"):
        fitted.predict(bad)
    with pytest.raises(ValueError, match=r"row 2 of X.*no_such.png.*: leave it out"):
        fitted.fit([IMAGES[0], IMAGES[1], "no_such.png", *IMAGES[3:]], LABELS)
    with pytest.raises(ValueError, match=r"row 2 of X.*Leave it out; or errors='skip'"):
        small(extractor(models, "vit"), finetune="frozen").fit(bad, LABELS)
    skipping = extractor(models, "vit", errors="skip")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match=r"X .*finite embedding \(rows 2\).*leave them out of X"),
    ):
        small(skipping, finetune="frozen").fit(bad, LABELS)
    with pytest.raises(ValueError, match=r"no linear projection or convolution.*'full'"):
        small(TextExtractor(Mixer(), tokenizer=letters), finetune="lora").fit(TEXTS, LABELS)
    from imblearn.over_sampling import RandomOverSampler

    with pytest.raises(ValueError, match=r"needs rows of numbers"):
        small(extractor(models, "bert"), finetune="full", resampler=RandomOverSampler()).fit(
            TEXTS, LABELS
        )
    frozen = small(extractor(models, "bert"), finetune="frozen", resampler=RandomOverSampler())
    assert len(frozen.fit(TEXTS[:20], np.arange(20) % 3 % 2).predict(TEXTS)) == 24


@pytest.mark.parametrize("mode", ["frozen", "full"])
def test_labels_are_checked_before_rows_are_read(mode):
    def tokenizer(texts):
        raise AssertionError("texts were read")

    estimator = small(TextExtractor(Mixer(), tokenizer=tokenizer), finetune=mode)
    with pytest.raises(ValueError, match="3"):
        estimator.fit(TEXTS, LABELS[:3])


@pytest.mark.parametrize(
    "cls, base, fixed",
    [
        (FineTuneClassifier, DomainAdaptationClassifier, {"target_sampling"}),
        (FineTuneRegressor, DomainAdaptationRegressor, set()),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_parameters_of_the_estimators_without_target(cls, base, fixed):
    left_out = {"alignment", "alignment_weight"} | fixed
    assert set(base._get_param_names()) - set(cls._get_param_names()) == left_out
    estimator = cls()
    for name, parameter in inspect.signature(cls).parameters.items():
        assert getattr(estimator, name) is parameter.default
        assert re.search(rf"^    ([a-z_]+, )*{name}( :|,|$)", cls.__doc__, re.MULTILINE), name
    assert "alignment" not in estimator.get_params()


def test_a_refit_with_columns_forgets_the_texts(models):
    estimator = small(extractor(models, "bert"), finetune="last:1").fit(TEXTS, LABELS)
    X = np.random.default_rng(0).normal(size=(24, 3))
    estimator.set_params(backbone=None, finetune="auto").fit(X, LABELS)
    assert estimator.predict(X).shape == (24,) and estimator.n_features_in_ == 3
    estimator.set_params(backbone=extractor(models, "bert")).fit(TEXTS, LABELS)
    assert estimator.predict(TEXTS).shape == (24,) and not hasattr(estimator, "n_features_in_")
    with pytest.raises(ValueError, match="row 1 of X is None"):
        estimator.fit(["a", None] * 12, LABELS)
    assert estimator.predict(TEXTS).shape == (24,), "a refused fit leaves the earlier one"


def test_nested_parameters():
    clf = FineTuneClassifier(finetune="gradual").set_params(finetune__warmup=0.3)
    assert clf.finetune.mode == "gradual" and clf.finetune.warmup == 0.3
    assert clf.get_params()["finetune__layer_decay"] == 0.8
    with pytest.raises(ValueError, match="Did you mean 'layer_decay'"):
        clf.set_params(finetune__layer_dacay=0.5)
    with pytest.raises(ValueError, match="Did you mean 'finetune'"):
        clf.set_params(fine_tune="full")
    with pytest.raises(ValueError, match="alignment"):
        clf.set_params(alignment="dann")


def test_a_saved_frozen_model_knows_its_extractor(tmp_path):
    save_text(tmp_path, "bert")
    estimator = small(TextExtractor(str(tmp_path)), finetune="frozen").fit(TEXTS, LABELS)
    estimator.save(tmp_path / "saved")
    save_text(tmp_path, "bert", seed=1)  # other weights in the same place
    with pytest.raises(ValueError, match="not the one that the estimator was fitted with"):
        load(tmp_path / "saved")


def test_saving_an_extractor_around_a_module(tmp_path):
    estimator = small(
        TextExtractor(Mixer(), tokenizer=letters), finetune=FineTuning("full", warmup=0.2)
    ).fit(TEXTS, LABELS)
    estimator.save(tmp_path / "saved")
    with pytest.raises(ValueError, match="'Mixer'"):
        load(tmp_path / "saved")
    again = load(tmp_path / "saved", components={"Mixer": Mixer, "letters": letters})
    np.testing.assert_array_equal(again.predict_proba(TEXTS), estimator.predict_proba(TEXTS))
    assert again.finetune.warmup == 0.2


def test_a_pickle_holds_given_and_trained_weights_once_each():
    module = nn.Embedding(64, 10_000)
    estimator = small(
        TextExtractor(module, tokenizer=letters), finetune="head", hidden_layer_sizes=()
    ).fit(TEXTS, LABELS)
    assert len(pickle.dumps(estimator)) < 2 * module.weight.nbytes + 500_000


def test_a_pickle_of_a_frozen_named_model_holds_no_weights(models):
    estimator = small(extractor(models, "bert"), finetune="frozen").fit(TEXTS, LABELS)
    names = [name for name, _ in estimator.net_.module_.named_parameters()]
    assert names and not any("module" in name for name in names)
    assert not any(isinstance(value, nn.Module) for value in vars(estimator._embedder).values())
