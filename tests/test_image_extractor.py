"""Vision models of transformers as image extractors; tiny ones, made here."""

import pickle
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import StandardScaler
from tiny_models import PREPROCESSING, image_model, save_image
from torch import nn

from adaptlearn import EmbeddingCache, ImageExtractor
from adaptlearn.extractors import _pixels, base, image
from adaptlearn.extractors._preprocessing import center_crop, from_directory, resize

PIL = pytest.importorskip("PIL")
Image = pytest.importorskip("PIL.Image")

PILLOW = int(PIL.__version__.split(".")[0])

KINDS = [
    "vit", "vit_classifier", "dinov2", "convnext", "swin", "resnet", "mobilenet_v1", "mobilenet_v2",
    "clip", "siglip", "clip_vision",
]  # fmt: skip
MEAN, STD = np.array(PREPROCESSING["image_mean"]), np.array(PREPROCESSING["image_std"])


def pictures(n=5, height=32, width=32, seed=0):
    """Colour gradients with noise: smooth enough to be like photographs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    angle = rng.uniform(0, 6, (n, 1, 1, 3))
    wave = 128 + 90 * np.sin(4 * (x[:, :, None] * np.cos(angle) + y[:, :, None]) + angle)
    return (wave + rng.normal(0, 12, (n, height, width, 3))).clip(0, 255).astype(np.uint8)


PICTURES = pictures()


def extractor(model, **params):
    return ImageExtractor(model, **({"cache": None} | params))


class Pixels(nn.Module):
    """Gives back what it was shown: the mean of each channel, or every value."""

    def __init__(self, every=False):
        super().__init__()
        self.every = every

    def forward(self, images):
        return images.flatten(1) if self.every else images


def shown(X, size=32, **params):
    """Pixel values that a network sees, in [0, 1], shape (n, 3, size, size)."""
    one = extractor(Pixels(every=True), image_size=size, mean=[0, 0, 0], std=[1, 1, 1], **params)
    seen = one.fit_transform(X)
    side = (size, size) if isinstance(size, int) else size
    return seen.reshape(len(seen), 3, *side)


# The answer


def expected_features(kind, X):
    """Forward pass by hand on images that need no resizing."""
    model = image_model(kind)
    x = torch.tensor((X / 255 - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        if kind == "vit_classifier":
            return model.vit(x).last_hidden_state[:, 0].numpy()
        out = getattr(model, "vision_model", model)(pixel_values=x)
    if kind in ("vit", "dinov2"):
        return out.last_hidden_state[:, 0].numpy()
    if kind in ("resnet", "mobilenet_v1", "mobilenet_v2"):
        return out.last_hidden_state.mean((2, 3)).numpy()
    return out.pooler_output.numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_each_family(tmp_path, kind):
    save_image(tmp_path, kind)
    expected = expected_features(kind, PICTURES)
    assert np.ptp(expected, axis=0).max() > 1e-3, "images must differ for this test to see anything"
    for batch_size in ("auto", 2):
        features = extractor(tmp_path, batch_size=batch_size).fit_transform(PICTURES)
        assert features.ndim == 2
        np.testing.assert_allclose(features, expected, atol=1e-5, rtol=1e-5)


def test_the_random_pooler_of_vit_is_never_used(tmp_path):
    save_image(tmp_path, "vit_classifier")
    with pytest.raises(ValueError, match=r"pooling='pooler'.*random"):
        extractor(tmp_path, pooling="pooler").fit_transform(PICTURES)
    save_image(tmp_path, "vit")  # has a trained pooler, for who wants it
    pooled = extractor(tmp_path, pooling="pooler").fit_transform(PICTURES)
    assert np.abs(pooled - extractor(tmp_path).fit_transform(PICTURES)).max() > 1e-3


@pytest.mark.parametrize("kind", ["dinov2", "resnet"])
def test_other_pooling(tmp_path, kind):
    model = save_image(tmp_path, kind)
    x = torch.tensor((PICTURES / 255 - MEAN) / STD, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        hidden = model(x).last_hidden_state
    flat = (hidden.flatten(2) if hidden.ndim == 4 else hidden.transpose(1, 2)).numpy()
    by_hand = {
        "mean": flat.mean(2),
        "max": flat.max(2),
        "gem": (np.maximum(flat, 1e-6) ** 3).mean(2) ** (1 / 3),
    }
    for pooling, expected in by_hand.items():
        features = extractor(tmp_path, pooling=pooling).fit_transform(PICTURES)
        np.testing.assert_allclose(features, expected, atol=1e-5, rtol=1e-4)
    if kind == "resnet":
        with pytest.raises(ValueError, match="pooling='cls'"):
            extractor(tmp_path, pooling="cls").fit_transform(PICTURES)


# Pixels


def test_resizing_leaves_channels_last():
    """Convolutions and the next steps are several times as quick on it."""
    picture = pictures(1, 40, 60)[0]
    for mode in ("bilinear", "bicubic"):
        for size in ((20, 30), (80, 120), (20, 120), (80, 30)):
            seen = resize(_pixels.to_tensor(picture), size, mode)
            assert seen.permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((480, 640), (224, 224)),
        ((100, 37), (224, 224)),
        ((333, 500), (256, 384)),
        ((32, 32), (32, 32)),
        ((7, 5), (3, 9)),
        ((40, 61), (384, 384)),
        ((2000, 10), (16, 16)),
        ((300, 200), (224, 224)),
        ((200, 300), (224, 224)),
    ],
)
def test_resizing_is_near_pillow(mode, before, after):
    picture = np.random.default_rng(0).integers(0, 256, (*before, 3), dtype=np.uint8)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    theirs = np.asarray(Image.fromarray(picture).resize(after[::-1], filters[mode]), int)
    ours = resize(_pixels.to_tensor(picture), after, mode)
    assert ours.dtype == torch.uint8 and tuple(ours.shape) == (3, *after)
    off = np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs)
    assert off.max() <= 1 and off.mean() <= 0.05
    exact = resize(_pixels.to_tensor(picture / 255), after, mode)
    assert exact.min() >= 0 and exact.max() <= 1
    assert np.abs(exact.permute(1, 2, 0).numpy() * 255 - theirs).max() <= 1.5  # theirs is rounded


def test_resizing_of_any_size_takes_the_passes_in_the_order_of_pillow():
    rng = np.random.default_rng(0)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    worst = {(mode, order): 0 for mode in filters for order in ("h", "v")}
    for _ in range(150):
        h, w, high, wide = np.exp(rng.uniform(np.log(4), np.log(150), 4)).astype(int).tolist()
        picture = rng.integers(0, 2, (h, w, 3), dtype=np.uint8) * 255  # overshoots all over
        image = Image.fromarray(picture)
        order = "v" if h - high > max(0, 2 * (w - wide)) else "h"
        for mode, kind in filters.items():
            first = (w, high) if order == "v" else (wide, h)
            theirs = image.resize(first, kind).resize((wide, high), kind)
            if PILLOW >= 13:  # older ones begin with the horizontal pass
                assert theirs == image.resize((wide, high), kind)
            ours = resize(_pixels.to_tensor(picture), (high, wide), mode).permute(1, 2, 0).numpy()
            off = np.abs(ours.astype(int) - np.asarray(theirs, int))
            worst[mode, order] = max(worst[mode, order], off.max())
    assert set(worst.values()) == {1}, "both orders were met"


PROCESSORS = {
    "vit": ("vit.image_processing_pil_vit", "ViTImageProcessorPil", {"height": 24, "width": 20}),
    "clip": ("clip.image_processing_pil_clip", "CLIPImageProcessorPil", {"shortest_edge": 24}),
    "convnext": (
        "convnext.image_processing_pil_convnext", "ConvNextImageProcessorPil", {"shortest_edge": 24}
    ),
    "convnext_384": (
        "convnext.image_processing_pil_convnext", "ConvNextImageProcessorPil",
        {"shortest_edge": 384},
    ),
    "bit": ("bit.image_processing_pil_bit", "BitImageProcessorPil", {"shortest_edge": 26}),
    "siglip": (
        "siglip.image_processing_pil_siglip", "SiglipImageProcessorPil", {"height": 20, "width": 28}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (18, 90)])
def test_preprocessing_is_that_of_transformers(tmp_path, name, shape):
    from importlib import import_module

    module, cls, size = PROCESSORS[name]
    crop = {"crop_size": {"height": 22, "width": 22}} if name in ("clip", "bit") else {}
    processor = getattr(import_module(f"transformers.models.{module}"), cls)(size=size, **crop)
    processor.save_pretrained(tmp_path)
    picture = pictures(1, *shape)[0]
    theirs = processor(Image.fromarray(picture), return_tensors="np")["pixel_values"]
    steps = from_directory(tmp_path, "m", None, None, None)
    ours = steps.normalize(steps.resize(_pixels.to_tensor(picture))[None]).numpy()
    assert ours.shape == np.asarray(theirs).shape
    one = 1 / 255 / min(processor.image_std)
    off = np.abs(ours - theirs) / one
    assert off.max() <= 2.02 and (off > 1.01).mean() <= 1e-4


@pytest.mark.parametrize(
    ("settings", "size", "crop"),
    [  # forms of older configurations
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 24}, (24, 24), None),
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 22,
          "do_center_crop": True}, 24, (22, 22)),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 28}, 32, (28, 28)),
        ({"size": [24, 20]}, (24, 20), None),
        ({"do_resize": False}, None, None),
    ],
)  # fmt: skip
def test_old_forms_of_preprocessing(tmp_path, settings, size, crop):
    import json

    kept = {k: v for k, v in PREPROCESSING.items() if k not in ("image_processor_type", "size")}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(kept | settings))
    steps = from_directory(tmp_path, "m", None, None, None)
    assert (steps.size, steps.crop) == (size, crop)


def test_processor_of_text_and_images(tmp_path):
    import json

    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": PREPROCESSING}))
    assert from_directory(tmp_path, "m", None, None, None).size == (32, 32)


def test_center_crop_by_hand():
    x = torch.arange(20).reshape(1, 4, 5)
    assert center_crop(x, (2, 3)).tolist() == [[[6, 7, 8], [11, 12, 13]]]
    padded = center_crop(x, (6, 3))
    assert padded[0, :, 0].tolist() == [0, 1, 6, 11, 16, 0]


def test_floating_point_images_are_not_rescaled_twice(tmp_path):
    save_image(tmp_path)
    one = extractor(tmp_path).fit(PICTURES)
    expected = one.transform(PICTURES)
    for dtype in (np.float64, np.float32):
        np.testing.assert_allclose(
            one.transform((PICTURES / 255).astype(dtype)), expected, atol=1e-5
        )
    np.testing.assert_allclose(shown(PICTURES), shown(PICTURES / 255.0), atol=1e-6)
    np.testing.assert_allclose(shown(PICTURES), PICTURES.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_every_layout_of_arrays():
    expected = shown(PICTURES)
    first = PICTURES.transpose(0, 3, 1, 2)
    wide = np.concatenate([PICTURES, np.full((5, 32, 32, 1), 9, np.uint8)], axis=3)
    for X in (first, list(PICTURES), list(first), wide, torch.from_numpy(first.copy()),
              [torch.from_numpy(x) for x in PICTURES], PICTURES.astype(np.int64),
              np.asfortranarray(PICTURES), pd.Series(list(PICTURES))):  # fmt: skip
        np.testing.assert_array_equal(shown(X), expected)


def test_grey_images():
    grey = PICTURES[:, :, :, 0]
    expected = np.repeat(grey[:, None], 3, axis=1) / 255
    for X in (grey, grey[:, :, :, None], grey[:, None], list(grey), grey / 255.0,
              [Image.fromarray(x) for x in grey]):  # fmt: skip
        np.testing.assert_allclose(shown(X), expected, atol=1e-6)
    np.testing.assert_array_equal(shown(grey > 99), np.repeat(grey[:, None] > 99, 3, axis=1))


def test_channels():
    odd = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="channels='first' or 'last'"):
        shown(odd, size=(8, 8))
    assert shown(odd, size=(8, 4), channels="first")[0, 0, 0, 0] == np.float32(
        odd[0, 0, 0, 0] / 255
    )
    last = shown(odd, size=(3, 8), channels="last")
    np.testing.assert_allclose(last[0, 0], odd[0, :, :, 0] / 255, atol=1e-6)
    with pytest.raises(ValueError, match="channels must come first or last"):
        shown(np.zeros((2, 8, 8, 5), np.uint8))
    with pytest.raises(ValueError, match="channels must come first"):
        shown(PICTURES, channels="first")


def test_kinds_of_pillow_images(tmp_path):
    picture = PICTURES[0]
    expected = shown(picture[None])
    rgba = Image.fromarray(picture).convert("RGBA")
    palette = Image.fromarray(picture).quantize(256)
    np.testing.assert_array_equal(shown([rgba]), expected)
    assert np.abs(shown([palette]) - expected).mean() < 0.05
    deep = picture[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")  # PIL's own conversion saturates
    np.testing.assert_allclose(
        shown([str(tmp_path / "deep.png")])[0, 0], picture[:, :, 0] / 255, atol=1e-6
    )


def test_photographs_are_turned_upright(tmp_path):
    picture = Image.fromarray(pictures(1, 32, 20)[0])
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was held on its side
    picture.save(tmp_path / "a.png", exif=tag)
    path = str(tmp_path / "a.png")
    upright = np.rot90(np.asarray(picture), -1)
    expected = upright.transpose(2, 0, 1)[None] / 255
    np.testing.assert_allclose(shown([path], size=(20, 32)), expected, atol=1e-6)
    with Image.open(path) as opened:
        np.testing.assert_allclose(shown([opened], size=(20, 32)), expected, atol=1e-6)


def test_images_of_many_sizes():
    sizes = [(20, 30), (64, 48), (32, 32), (5, 90), (20, 30)] * 3
    many = [pictures(1, *size, seed=i)[0] for i, size in enumerate(sizes)]
    one = extractor(Pixels(), image_size=16, batch_size=4).fit(many)
    features = one.transform(many)
    for i in (0, 3, 7, 14):
        np.testing.assert_allclose(one.transform([many[i]]), features[[i]], atol=1e-6)


def test_a_model_that_takes_any_size_sees_images_as_they_are(tmp_path):
    save_image(tmp_path, "resnet", do_resize=False)
    many = [pictures(1, 32 + 4 * (i % 7), 40, seed=i)[0] for i in range(20)]
    one = extractor(tmp_path, batch_size=2).fit(many)
    features = one.transform(many)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(one.transform(many[3:4]), features[[3]], atol=1e-5)


def test_memory_holds_a_few_batches_however_many_sizes(monkeypatch):
    alive, most = set(), [0]

    def tensor(row):
        x = torch.from_numpy(row).permute(2, 0, 1)
        alive.add(id(x))
        most[0] = max(most[0], len(alive))
        return x

    def batch(group, steps):
        alive.difference_update(id(x) for _, x in group)
        return real(group, steps)

    real = image._batch
    monkeypatch.setattr(image, "to_tensor", tensor)
    monkeypatch.setattr(image, "_batch", batch)
    monkeypatch.setattr("adaptlearn.extractors._preprocessing.Preprocessing.resize", lambda s, x: x)
    many = [np.zeros((1 + i % 50, 1 + i // 50, 3), np.uint8) + i % 251 for i in range(200)]
    extractor(Pixels(), batch_size=3, image_size=8, channels="last").fit_transform(many)
    assert 3 <= most[0] <= 12


def test_preprocessing_parameters(tmp_path):
    save_image(tmp_path, "resnet")
    wide = pictures(2, 40, 80)
    seen = shown(wide, size=20)  # the shorter edge, then the middle
    halves = resize(_pixels.to_tensor(wide[0]), (20, 40)).numpy() / 255
    np.testing.assert_allclose(seen[0], halves[:, :, 10:30], atol=1e-6)
    whole = resize(_pixels.to_tensor(wide[0]), (20, 30)).numpy() / 255
    np.testing.assert_allclose(shown(wide, size=(20, 30))[0], whole, atol=1e-6)
    one = extractor(Pixels(every=True), image_size=20, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    by_hand = (halves[:, :, 10:30] - np.c_[0.1, 0.2, 0.3].T[..., None]) / np.c_[0.5, 0.6, 0.7].T[
        ..., None
    ]
    np.testing.assert_allclose(one.fit_transform(wide)[0], by_hand.ravel(), atol=1e-5)
    assert not np.allclose(
        extractor(tmp_path).fit_transform(wide),
        extractor(tmp_path, mean=np.zeros(3)).fit_transform(wide),
    )


def test_a_module_is_shown_what_imagenet_models_are():
    seen = extractor(Pixels(every=True)).fit_transform(pictures(1, 224, 224))
    assert seen.shape == (1, 3 * 224 * 224)
    first = (pictures(1, 224, 224)[0, 0, 0, 0] / 255 - 0.485) / 0.229
    assert abs(seen[0, 0] - first) < 1e-5


def test_a_directory_without_preprocessing(tmp_path):
    save_image(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match="image_size=, mean= and std="):
        extractor(tmp_path).fit_transform(PICTURES)
    given = extractor(tmp_path, image_size=32, mean=MEAN, std=list(STD)).fit_transform(PICTURES)
    np.testing.assert_allclose(given, expected_features("vit", PICTURES), atol=1e-5)


# Files


@pytest.fixture
def paths(tmp_path):
    names = [tmp_path / f"{i}.png" for i in range(5)]
    for name, picture in zip(names, PICTURES, strict=True):
        Image.fromarray(picture).save(name)
    return names


def test_paths_in_every_container(paths):
    expected, text = shown(PICTURES), [str(p) for p in paths]
    for X in (paths, text, np.array(text), np.array(text)[:, None], pd.Series(text),
              pd.DataFrame({"photo": text}), pl.Series(text), pl.DataFrame({"photo": text}),
              [p.read_bytes() for p in paths], pd.Series([p.read_bytes() for p in paths]),
              [Image.open(p) for p in paths]):  # fmt: skip
        np.testing.assert_array_equal(shown(X), expected)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_in_a_column_transformer(paths, frame):
    data = frame({"photo": [str(p) for p in paths], "price": [1.0, 2, 3, 4, 5]})
    both = ColumnTransformer([
        ("photo", extractor(Pixels(), image_size=16), "photo"),
        ("rest", StandardScaler(), ["price"]),
    ])  # fmt: skip
    assert both.fit_transform(data).shape == (5, 4)
    assert both.get_feature_names_out()[0] == "photo__imageextractor0"


@pytest.fixture
def bad_paths(paths, tmp_path):
    whole = paths[1].read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    bad = [tmp_path / f"{name}.png" for name in ("cut", "text", "empty", "gone")]
    return [paths[0], bad[0], paths[2], *bad[1:], paths[4]]


@pytest.mark.parametrize("which", [1, 3, 4, 5])
def test_a_bad_file_is_named(bad_paths, which):
    rows = [bad_paths[0], bad_paths[2], bad_paths[which]]
    with pytest.raises(
        ValueError, match=rf"row 2 of X \('.*{bad_paths[which].name}'\).*errors='skip'"
    ):
        shown(rows)


def test_bad_files_are_skipped_as_rows_of_nan(bad_paths):
    with pytest.warns(UserWarning, match="left out") as caught:
        seen = shown(bad_paths, errors="skip")
    told = " ".join(str(w.message) for w in caught)
    assert all(f"row {i} of X" in told for i in (1, 3, 4)) and "row 0" not in told
    assert len(caught) == 1 and told.endswith("(and rows 5).")
    np.testing.assert_array_equal(np.isnan(seen).all((1, 2, 3)), [0, 1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(seen[[0, 2, 6]], shown(PICTURES[[0, 2, 4]]))
    with pytest.warns(UserWarning):  # nothing but bad files
        only = extractor(Pixels(), errors="skip").fit_transform(bad_paths[3:6])
    assert only.shape == (3, 3) and np.isnan(only).all()


def test_bad_files_of_equal_content_are_all_counted(bad_paths, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(bad_paths[3].read_bytes())
    rows = [bad_paths[0], bad_paths[3], other, bad_paths[5], bad_paths[2], bad_paths[3]]
    skipping = extractor(Pixels(), image_size=16, errors="skip").fit(rows)
    with pytest.warns(UserWarning, match="4 images are left out") as caught:
        seen = skipping.transform(rows)
    (told,) = caught
    assert re.search(r"row 1 of X.*; row 3 of X.*\(and rows 2, 5\)\.$", str(told.message))
    assert np.isnan(seen).all(axis=1).tolist() == [False, True, True, True, False, True]


def test_an_image_of_very_many_pixels_says_how_to_read_it(paths, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"row 0 of X.*PIL\.Image\.MAX_IMAGE_PIXELS = None"):
        shown(paths[:1])


@pytest.mark.parametrize(
    ("X", "match"),
    [
        (PICTURES.astype(float), "row 0 of X.*from 0 to 1"),
        (PICTURES / 255 - 0.5, "row 0 of X.*from 0 to 1"),
        (np.full((2, 8, 8, 3), np.nan), "row 0 of X"),
        (PICTURES.astype(np.int32) * 9, "row 0 of X.*from 0 to 255"),
        ([PICTURES[0], b"no image"], r"row 1 of X cannot be read"),
        ([PICTURES[0], np.zeros((0, 4, 3), np.uint8)], "row 1 of X.*no pixels"),
        (np.zeros((2, 3, 8, 8, 3)), r"shape \(2, 3, 8, 8, 3\)"),
        (PICTURES[0], r"shape \(32, 32, 3\).*A single image is a list of one: \[image\]"),
        ([PICTURES[0], np.zeros((2, 8, 8, 3))], r"row 1 of X has shape"),
    ],
)
def test_arrays_that_are_no_images(X, match):
    with pytest.raises(ValueError, match=match):
        shown(X)


MISSING = [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_missing_rows_are_bad_rows(missing):
    rows = [PICTURES[0], missing, PICTURES[1]]
    with pytest.raises(ValueError, match=r"row 1 of X .*it is missing.*errors='skip'"):
        shown(rows)
    with pytest.warns(UserWarning, match=r"1 image is left out.*row 1 of X .*it is missing"):
        seen = shown(rows, errors="skip")
    np.testing.assert_array_equal(seen[[0, 2]], shown(PICTURES[:2]))
    assert np.isnan(seen[1]).all()


def test_missing_paths_of_any_container(bad_paths):
    paths = [str(bad_paths[0]), None, str(bad_paths[2])]
    expected = extractor(Pixels()).fit_transform(paths[::2])
    frame = pd.DataFrame({"photo": paths, "size": [1, 2, 3]})
    table = ColumnTransformer([("photo", extractor(Pixels(), errors="skip"), ["photo"])])
    made = {
        "list": lambda: extractor(Pixels(), errors="skip").fit_transform(paths),
        "Series": lambda: extractor(Pixels(), errors="skip").fit_transform(frame["photo"]),
        "polars": lambda: extractor(Pixels(), errors="skip").fit_transform(pl.Series(paths)),
        "column": lambda: table.fit_transform(frame),
        "none but missing": lambda: table.transform(frame.assign(photo=None)),
    }
    for name, make in made.items():
        with pytest.warns(UserWarning, match=r"row 1 of X cannot be read as an image"):
            found = make()
        assert np.isnan(found[1]).all(), name
        if name != "none but missing":
            np.testing.assert_array_equal(found[::2], expected)


@pytest.mark.parametrize("X", ["photo.jpg", 3, [3], [3.5]])
def test_rows_that_are_no_images(X):
    with pytest.raises(TypeError, match="image"):
        shown(X)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 8, 8, 3), np.uint8)])
def test_no_rows(empty):
    assert extractor(Pixels(), image_size=16).fit(PICTURES).transform(empty).shape == (0, 3)


# Cache, copies, input


def test_an_image_is_known_by_its_content(paths, tmp_path):
    cache = EmbeddingCache()
    one = extractor(Pixels(), image_size=16, cache=cache).fit(paths)
    before = one.transform([paths[0]])
    (tmp_path / "copy.png").write_bytes(paths[0].read_bytes())
    one.transform([tmp_path / "copy.png"])
    one.transform([paths[0].read_bytes()])
    assert len(cache) == 1
    paths[0].write_bytes(paths[1].read_bytes())  # another image under the same name
    after = one.transform([paths[0]])
    assert np.abs(after - before).max() > 1e-3 and len(cache) == 2
    one.transform(PICTURES), one.transform(list(PICTURES)), one.transform(PICTURES.copy())
    assert len(cache) == 2 + 5
    clone(one).set_params(image_size=20).fit_transform(PICTURES)
    clone(one).set_params(mean=[0, 0, 0]).fit_transform(PICTURES)
    clone(one).set_params(pooling="max").fit_transform(PICTURES)
    assert len(cache) == 7 + 15


def test_preprocessing_on_disk_is_part_of_the_key(tmp_path):
    cache = EmbeddingCache()
    save_image(tmp_path)
    extractor(tmp_path, cache=cache).fit_transform(PICTURES)
    save_image(tmp_path, image_mean=[0, 0, 0])
    found = extractor(tmp_path, cache=cache).fit_transform(PICTURES)
    np.testing.assert_allclose(found, extractor(tmp_path).fit_transform(PICTURES), atol=1e-6)
    assert len(cache) == 10


def test_input_is_left_alone(tmp_path):
    mapped = np.memmap(tmp_path / "x.bin", np.uint8, "w+", shape=PICTURES.shape)
    mapped[:] = PICTURES
    frozen = PICTURES.copy()
    frozen.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for X in (mapped, frozen, list(frozen), frozen / 255):
            before = np.array(X, copy=True)
            np.testing.assert_allclose(shown(X), shown(PICTURES), atol=1e-6)
            np.testing.assert_array_equal(before, np.array(X))
    rows = [Image.fromarray(PICTURES[0]).convert("P")]
    shown(rows)
    assert rows[0].mode == "P" and rows[0].size == (32, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_copies_and_pickles(tmp_path, kind):
    model = save_image(tmp_path, kind)
    one = extractor(tmp_path).fit(PICTURES)
    features = one.transform(PICTURES)
    data = pickle.dumps(one)
    assert len(data) < 2000
    base.once_per_process.__globals__["_LOADED"].clear()
    np.testing.assert_array_equal(pickle.loads(data).transform(PICTURES), features)
    np.testing.assert_array_equal(clone(one).fit_transform(PICTURES), features)
    saved = {name.split(".", 1)[-1]: t for name, t in model.state_dict().items()}
    saved |= model.state_dict()
    module = one._network(torch.device("cpu")).module
    same = [torch.equal(t, saved[n]) for n, t in module.state_dict().items() if n in saved]
    assert same and all(same)
    assert len(one.get_feature_names_out()) == features.shape[1]


@pytest.mark.parametrize(
    "params",
    [
        {"image_size": 0},
        {"image_size": (3,)},
        {"image_size": (3, 0)},
        {"mean": [0, 0]},
        {"mean": ["a", "b", "c"]},
        {"std": [1, 1, 0]},
        {"channels": "middle"},
        {"errors": "ignore"},
        {"pooling": "last"},
    ],
    ids=str,
)
def test_bad_parameters(params):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        extractor(Pixels()).set_params(**params).fit(PICTURES)


def test_a_network_that_returns_something_else():
    class Deep(nn.Module):
        def forward(self, images):
            return images[:, :, :, :, None]

    with pytest.raises(ValueError, match="the model returned shape"):
        extractor(Deep(), image_size=8).fit_transform(PICTURES)
    with pytest.raises(ValueError, match="pooling='mean': the model returns one vector"):
        extractor(Pixels(every=True), image_size=8, pooling="mean").fit_transform(PICTURES)


def test_files_need_pillow(monkeypatch, paths):
    import builtins

    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "PIL":
            raise ImportError("No module named 'PIL'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"adaptlearn\[pretrained\]"):
        shown(paths)


def make_pixels():
    return Pixels()


def test_factory():
    one = extractor("test_image_extractor:make_pixels").fit(PICTURES)
    np.testing.assert_array_equal(
        one.transform(PICTURES), extractor(Pixels()).fit_transform(PICTURES)
    )
    assert len(pickle.dumps(one)) < 2000
