"""Each augmentation by hand."""

import math

import numpy as np
import pytest
import torch

from adaptlearn import (
    ColorJitter,
    FlipCrop,
    GaussianNoise,
    RandAugment,
    SpecAugment,
    TokenDropout,
)
from adaptlearn.augmentation import make_augmentation
from adaptlearn.augmentation import rand_augment as module

PLAIN = {"mean": 0.0, "std": 1.0}
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(*shape, seed=0):
    """What an augmentation draws first."""
    return torch.rand(shape, generator=generator(seed))


def on_images(augmentation, x, seed=0):
    return augmentation({"pixel_values": x}, generator(seed))["pixel_values"]


def colours(n=6, c=3, h=5, w=4, seed=9):
    return torch.rand((n, c, h, w), generator=generator(seed), dtype=torch.float64)


# --- flip and crop ----------------------------------------------------------------------------


def test_flip_by_hand():
    x = colours(400)
    told = on_images(FlipCrop(flip=0.3, scale=(1, 1)), x)
    mirrored = draws(5, 400)[0] < 0.3
    assert 80 < mirrored.sum() < 160
    for i in range(400):
        assert torch.equal(told[i], x[i].flip(-1) if mirrored[i] else x[i])
    assert torch.equal(on_images(FlipCrop(flip=1.0, scale=(1, 1)), x), x.flip(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crop_of_everything_is_the_image(dtype):
    """Through the resampling, too: the range is so narrow that no pixel moves."""
    x = colours(8, h=24, w=31).to(dtype)
    atol = 1e-5 if dtype == torch.float32 else 1e-9
    for flip, wanted in ((0.0, x), (1.0, x.flip(3))):
        told = on_images(FlipCrop(flip, scale=(1 - 1e-12, 1)), x)
        torch.testing.assert_close(told, wanted, atol=atol, rtol=0)


def slow_sample(image, y, x):
    """One pixel of an image (c, h, w) by bilinear interpolation, its border continued."""
    _, h, w = image.shape
    y, x = min(max(y, 0), h - 1), min(max(x, 0), w - 1)
    top, left = min(math.floor(y), h - 1), min(math.floor(x), w - 1)
    bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
    v, u = y - top, x - left
    return ((1 - v) * ((1 - u) * image[:, top, left] + u * image[:, top, right])
            + v * ((1 - u) * image[:, bottom, left] + u * image[:, bottom, right]))  # fmt: skip


def test_crop_by_a_slow_loop():
    """In pixels, from the formula of the docstring."""
    x, h, w = colours(12, h=10, w=14), 10, 14
    told = on_images(FlipCrop(flip=0.5, scale=(0.2, 0.6), ratio=(0.5, 2.0)), x)
    u = draws(5, 12).double()
    sizes = set()
    for n in range(12):
        area = (0.2 + 0.4 * u[1, n]) * h * w
        ratio = math.exp(math.log(0.5) + math.log(4) * u[2, n])
        ratio = min(max(ratio, area / h**2), w**2 / area)  # what fits
        wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
        assert wide <= w + 1e-6 and high <= h + 1e-6 and wide * high == pytest.approx(float(area))
        left, top = (w - wide) * u[3, n], (h - high) * u[4, n]
        for i in range(h):
            for j in range(w):
                k = w - 1 - j if u[0, n] < 0.5 else j
                place = top + (i + 0.5) * high / h - 0.5, left + (k + 0.5) * wide / w - 0.5
                wanted = slow_sample(x[n], *map(float, place))
                torch.testing.assert_close(told[n, :, i, j], wanted, atol=2e-6, rtol=0)
        sizes.add(round(wide / high, 3))
    assert len(sizes) == 12


def test_crops_lie_within_the_image_and_keep_their_ranges():
    """Ramps show where a part was taken from."""
    n, h, w = 4000, 20, 40
    ramp = torch.stack([torch.arange(w).expand(h, w), torch.arange(h)[:, None].expand(h, w)])
    x = torch.cat([ramp, ramp[:1]]).double().expand(n, 3, h, w)
    told = on_images(FlipCrop(flip=0.0, scale=(0.1, 0.4), ratio=(0.8, 1.25)), x)
    # The slope of a ramp in the middle tells the size of the part.
    wide = (told[:, 0, 10, 25] - told[:, 0, 10, 15]) / 10 * w
    high = (told[:, 1, 12, 20] - told[:, 1, 8, 20]) / 4 * h
    area, ratio = wide * high / (h * w), wide / high
    assert area.min() > 0.1 - 1e-5 and area.max() < 0.4 + 1e-5
    assert ratio.min() > 0.8 - 1e-4 and ratio.max() < 1.25 + 1e-4
    for place in (0.25, 0.5, 0.75):
        assert area.quantile(place).item() == pytest.approx(0.1 + 0.3 * place, abs=0.01)
        level = math.log(0.8) + (math.log(1.25) - math.log(0.8)) * place
        assert ratio.log().quantile(place).item() == pytest.approx(level, abs=0.015)
    middle = told[:, :2, 9:11, 19:21].mean((0, 2, 3))
    assert middle[0].item() == pytest.approx(w / 2 - 0.5, abs=0.4)
    assert middle[1].item() == pytest.approx(h / 2 - 0.5, abs=0.2)


def test_a_ratio_that_does_not_fit_gives_way():
    x = torch.arange(40.0).expand(50, 1, 10, 40)  # four times as wide as high
    told = on_images(FlipCrop(flip=0.0, scale=(0.9, 0.9)), x)
    width = (told[:, 0, 5, 30] - told[:, 0, 5, 10]) / 20 * 40
    torch.testing.assert_close(width, torch.full((50,), 36.0), atol=1e-3, rtol=0)


# --- colours ----------------------------------------------------------------------------------


def slow_adjust(image, brightness, contrast, saturation):
    """The three formulas, pixel by pixel."""
    _, h, w = image.shape
    out = image.clone() * brightness

    def grey(p):
        return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]

    mean = sum(grey(out[:, i, j]) for i in range(h) for j in range(w)) / (h * w)
    out = contrast * out + (1 - contrast) * mean
    for i in range(h):
        for j in range(w):
            out[:, i, j] = saturation * out[:, i, j] + (1 - saturation) * grey(out[:, i, j])
    return out


@pytest.mark.parametrize("amounts", [(0.4, 0.3, 0.5), (0.8, 0, 0), (0, 2.0, 0), (0, 0, 1.0)])
@pytest.mark.parametrize("normalised", [False, True])
def test_colours_by_a_slow_loop(amounts, normalised):
    x = colours()
    mean, std = (v.double()[:, None, None] for v in IMAGENET)
    given, params = ((x - mean) / std, {}) if normalised else (x, PLAIN)
    told = on_images(ColorJitter(*amounts, **params), given)
    u, cut = draws(3, 6).double(), 0
    for n in range(6):
        factors = [max(0, 1 - a) + (1 + a - max(0, 1 - a)) * u[k, n] for k, a in enumerate(amounts)]
        wanted = slow_adjust(x[n], *factors)
        cut += int(((wanted < 0) | (wanted > 1)).sum())
        wanted = wanted.clamp(0, 1)
        torch.testing.assert_close(told[n] * std + mean if normalised else told[n], wanted,
                                   atol=1e-6, rtol=0)  # fmt: skip
    assert cut > 0 or max(amounts) <= 1


def test_black_grey_and_flat():
    """The ends of each scale: what an image is blended with."""
    x = colours()
    ones = torch.ones(6, 1, 1, 1, dtype=torch.float64)
    assert torch.equal(module.adjust(x, ones, ones, ones), x)
    assert (module.adjust(x, 0 * ones, None, None) == 0).all()
    grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    told = module.adjust(x, None, None, 0 * ones)
    torch.testing.assert_close(told, grey[:, None].expand_as(x))
    told = module.adjust(x, None, 0 * ones, None)
    torch.testing.assert_close(told, grey.mean((1, 2))[:, None, None, None].expand_as(x))


def test_other_numbers_of_channels():
    x = colours(c=1)
    told = on_images(ColorJitter(0, 0, 0.9, **PLAIN), x)
    torch.testing.assert_close(told, x)  # grey as it is
    told = on_images(ColorJitter(0.5, 0, 0, mean=(0.1, 0.1), std=2), colours(c=2))
    assert told.shape == (6, 2, 5, 4)


def test_values_of_another_normalisation_are_not_destroyed():
    x = colours() * 255  # forgotten to be scaled
    told = on_images(ColorJitter(0.2, 0, 0, **PLAIN), x)
    assert told.std() > 50 and told.max() <= 255
    assert all(told[n].max() <= x[n].max() + 1e-9 for n in range(6))


# --- RandAugment ------------------------------------------------------------------------------


def one(name, magnitude=10.0, **params):
    return RandAugment(1, magnitude, [name], **(PLAIN | params))


def signs(n, seed=0):
    """Direction in which each of n rows goes, for one operation."""
    return torch.where(draws(2, n, 1, seed=seed)[1, :, 0] < 0.5, 1, -1)


def test_translation_moves_pixels():
    x = colours(8, h=20, w=40)
    sign = signs(8)
    told = on_images(one("translate_x", 10 * 0.1 / 0.45), x)  # a tenth: 4 pixels
    for n in range(8):
        wanted = torch.zeros_like(x[n])
        if sign[n] > 0:
            wanted[:, :, :-4] = x[n, :, :, 4:]
        else:
            wanted[:, :, 4:] = x[n, :, :, :-4]
        torch.testing.assert_close(told[n], wanted, atol=1e-6, rtol=0)
    told = on_images(one("translate_y", 10 * 0.1 / 0.45), x)  # a tenth: 2 pixels
    for n in range(8):
        wanted = torch.zeros_like(x[n])
        if sign[n] > 0:
            wanted[:, :-2] = x[n, :, 2:]
        else:
            wanted[:, 2:] = x[n, :, :-2]
        torch.testing.assert_close(told[n], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("h", "w"), [(15, 15), (12, 20)])
@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
def test_geometry_by_a_slow_loop(name, h, w):
    """In pixels around the middle; what comes from outside is 0."""
    x = colours(4, h=h, w=w)
    told = on_images(one(name, 8.0), x)
    sign = signs(4)
    assert len(set(sign.tolist())) == 2
    inside = 0
    for n in range(4):
        s = float(sign[n])
        angle, k = math.radians(24) * s, 0.3 * 0.8 * s
        for i in range(h):
            for j in range(w):
                dy, dx = i - (h - 1) / 2, j - (w - 1) / 2
                if name == "rotate":
                    sx = math.cos(angle) * dx - math.sin(angle) * dy
                    sy = math.sin(angle) * dx + math.cos(angle) * dy
                elif name == "shear_x":
                    sx, sy = dx + k * dy, dy
                else:
                    sx, sy = dx, dy + k * dx
                sy, sx = sy + (h - 1) / 2, sx + (w - 1) / 2
                if 0 <= sy <= h - 1 and 0 <= sx <= w - 1:
                    wanted, inside = slow_sample(x[n], sy, sx), inside + 1
                elif sy < -1 or sy > h or sx < -1 or sx > w:
                    wanted = torch.zeros(3, dtype=torch.float64)
                else:
                    continue  # half inside
                torch.testing.assert_close(told[n, :, i, j], wanted, atol=1e-5, rtol=0)
    assert inside > 2 * h * w


def test_two_operations_are_one_after_the_other():
    """One resampling of both equals the place where each would look."""
    matrices = torch.tensor(module._matrices(("rotate", "shear_x"), 0.5, 12, 20))
    image = torch.tensor(module._matrices(("rotate", "shear_x"), 0.5, 12, 20), dtype=torch.float64)
    point = torch.tensor([0.3, -0.2, 1.0], dtype=torch.float64)
    first, second = image[0, 1], image[1, 0]
    # rotated(p) = x(first p); then sheared(p) = rotated(second p) = x(first second p).
    torch.testing.assert_close(first @ (second @ point), (first @ second) @ point)
    assert matrices.shape == (2, 2, 3, 3)
    # And in one call: rows that drew both, in either order, by the draws.
    x = colours(40, h=12, w=20)
    told = on_images(RandAugment(2, 5.0, ["rotate", "shear_x"], **PLAIN), x)
    u = draws(2, 40, 2)
    op, sign = (u[0] * 2).long(), (u[1] < 0.5).long()
    theta = image[op[:, 0], sign[:, 0]] @ image[op[:, 1], sign[:, 1]]
    assert len({tuple(row.tolist()) for row in op}) == 4
    torch.testing.assert_close(told, module.sample(x, theta[:, :2], "zeros"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_blends(name):
    x = colours(8)
    told = on_images(one(name, 6.0), x)
    for n, sign in enumerate(signs(8).tolist()):
        factor = {name: 1 + 0.54 * sign}
        wanted = slow_adjust(x[n], *(factor.get(k, 1.0) for k in module.BLENDS[:3])).clamp(0, 1)
        torch.testing.assert_close(told[n], wanted, atol=1e-6, rtol=0)


def test_sharpness_by_a_slow_loop():
    x = colours(4, h=6, w=5)
    told = on_images(one("sharpness", 5.0), x)
    kernel = [[1, 1, 1], [1, 5, 1], [1, 1, 1]]
    for n, sign in enumerate(signs(4).tolist()):
        factor, smooth = 1 + 0.45 * sign, x[n].clone()
        for i in range(1, 5):
            for j in range(1, 4):
                smooth[:, i, j] = (
                    sum(
                        kernel[a][b] * x[n, :, i + a - 1, j + b - 1]
                        for a in range(3)
                        for b in range(3)
                    )
                    / 13
                )
        wanted = (factor * x[n] + (1 - factor) * smooth).clamp(0, 1)
        torch.testing.assert_close(told[n], wanted, atol=1e-6, rtol=0)


def test_autocontrast_posterize_and_solarize():
    x = colours(4)
    x[0, 1] = 0.25  # a constant channel
    told = on_images(one("autocontrast"), x)
    for n in range(4):
        for c in range(3):
            low, high = x[n, c].min(), x[n, c].max()
            wanted = x[n, c] if high == low else (x[n, c] - low) / (high - low)
            torch.testing.assert_close(told[n, c], wanted)
    bytes_ = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    for magnitude, kept in ((10.0, 4), (7.0, 6), (1.0, 8)):
        told = on_images(one("posterize", magnitude), bytes_)
        wanted = [(value >> (8 - kept)) << (8 - kept) for value in range(256)]
        got = (told[0, 0] * 255).round().long().flatten()
        assert got.tolist() == wanted
        torch.testing.assert_close(told[0, 0] * 255, (told[0, 0] * 255).round())
    told = on_images(one("solarize", 3.0), x)
    torch.testing.assert_close(told, torch.where(x >= 0.7 * 256 / 255, 1 - x, x))


def test_magnitude_zero():
    x = colours(30, h=11, w=8)
    ops = [op for op in module.OPERATIONS if op != "autocontrast"]  # which has no strength
    told = on_images(RandAugment(3, 0, ops, **PLAIN), x)
    torch.testing.assert_close(told, x, atol=4e-3, rtol=0)  # posterize to eight bits: 1 / 255
    told = on_images(RandAugment(3, 0, [op for op in ops if op != "posterize"], **PLAIN), x)
    torch.testing.assert_close(told, x, atol=1e-5, rtol=0)


def test_rows_without_an_operation_are_bit_equal():
    x = colours(300).float()
    told = on_images(RandAugment(1, 9, ["identity", "rotate", "brightness"]), x)
    op = (draws(2, 300, 1)[0, :, 0] * 3).long()
    same = (told == x).flatten(1).all(1)
    assert torch.equal(same, op == 0) and 60 < same.sum() < 140


def test_operations_are_drawn_evenly():
    x = colours(6000, h=4, w=4)
    op = (draws(2, 6000, 2)[0] * 13).long()
    counts = torch.bincount(op.flatten(), minlength=13)
    assert len(module.OPERATIONS) == 13 and ((counts - 12000 / 13).abs() < 130).all()
    told = on_images(RandAugment(), x)
    assert told.shape == x.shape and torch.isfinite(told).all()


def test_colours_follow_the_normalisation():
    x = colours().float()
    mean, std = (v[:, None, None] for v in IMAGENET)
    told = on_images(RandAugment(1, 8, ["solarize", "contrast"]), (x - mean) / std)
    wanted = on_images(RandAugment(1, 8, ["solarize", "contrast"], **PLAIN), x)
    torch.testing.assert_close(told * std + mean, wanted, atol=1e-6, rtol=0)


# --- text -------------------------------------------------------------------------------------


def rows_of_text(n=1, length=12, pad=3, left=False):
    """[CLS] words [SEP] [PAD]..., as ids 101, 10.., 102, 0."""
    ids = torch.zeros((n, length), dtype=torch.int64)
    real = length - pad
    ids[:, 0], ids[:, 1 : real - 1], ids[:, real - 1] = 101, torch.arange(10, 8 + real), 102
    mask = (ids > 0).long()
    if left:
        ids, mask = ids.roll(pad, 1), mask.roll(pad, 1)
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("special", [None, [0, 101, 102], "mask"], ids=str)
@pytest.mark.parametrize("by", ["hide", "mask"])
def test_tokens_go_with_their_probability(by, special, left):
    given = rows_of_text(20_000, left=left)
    ids, mask = given["input_ids"], given["attention_mask"]
    params = {"special_ids": special}
    if special == "mask":
        params = {}
        given["special_tokens_mask"] = ((ids < 10) | (ids > 100)).long()
    told = TokenDropout(0.3, by=by, mask_id=99, **params)(given, generator())
    words = (ids >= 10) & (ids < 100)
    if by == "hide":
        assert told["input_ids"] is ids
        gone = told["attention_mask"] != mask
        assert (told["attention_mask"][gone] == 0).all()
    else:
        assert told["attention_mask"] is mask
        gone = told["input_ids"] != ids
        assert (told["input_ids"][gone] == 99).all()
    assert not (gone & ~words).any()
    rate = gone[words].double().mean().item()
    assert rate == pytest.approx(0.3, abs=0.006)  # seven words: 0.3 ** 7 is nothing
    n_gone = gone.sum(1)
    assert n_gone.double().var().item() == pytest.approx(7 * 0.3 * 0.7, rel=0.05)


@pytest.mark.parametrize("n_words", [0, 1, 2, 5])
@pytest.mark.parametrize("by", ["hide", "mask"])
def test_one_token_always_stays(by, n_words):
    given = rows_of_text(500, n_words + 5)
    told = TokenDropout(1.0, by=by, mask_id=99)(given, generator())
    ids = told["input_ids"] if by == "mask" else given["input_ids"] * told["attention_mask"]
    words = (ids >= 10) & (ids < 99)
    assert (words.sum(1) == min(1, n_words)).all()
    assert (ids[:, 0] == 101).all()
    if n_words > 1:  # any of them
        assert (words.sum(0) > 0).sum() == n_words


def test_an_unpadded_batch_without_a_mask():
    ids = torch.arange(10, 20).expand(1000, 10)
    told = TokenDropout(0.5, mask_id=3, special_ids=[])({"input_ids": ids}, generator())
    gone = told["input_ids"] == 3
    assert gone.double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert list(told) == ["input_ids"] and gone[:, 0].any()


def test_bool_and_float_masks():
    given = rows_of_text(50)
    for dtype in (torch.bool, torch.float32, torch.int32):
        given["attention_mask"] = given["attention_mask"].to(dtype)
        told = TokenDropout(0.5)(given, generator())["attention_mask"]
        assert told.dtype == dtype and told.sum() < given["attention_mask"].sum()


# --- audio ------------------------------------------------------------------------------------


def blanks(x, told):
    return (told != x).squeeze(0)


def runs(line):
    """Lengths of the stretches of True in a row of booleans."""
    edges = np.flatnonzero(np.diff(np.r_[0, line.numpy().astype(np.int8), 0]))
    return (edges[1::2] - edges[::2]).tolist()


def test_lengths_and_places_of_one_stretch():
    x = torch.ones(20_000, 4, 20)
    told = SpecAugment(1, 0.3, 0, fill=0.0)({"input_features": x}, generator())["input_features"]
    blank = told == 0
    assert torch.equal(blank, blank[:, :1].expand_as(blank))  # all bands alike
    length = blank[:, 0].sum(1)
    assert all(len(runs(line)) <= 1 for line in blank[:500, 0])
    share = torch.bincount(length).double() / 20_000
    assert len(share) == 7  # 0, 1, ... 6 of 20 frames, equally often
    assert ((share - 1 / 7).abs() < 0.01).all()
    first = blank[:, 0].byte().argmax(1)[length == 6]
    share = torch.bincount(first).double() / len(first)
    assert len(share) == 15 and ((share - 1 / 15).abs() < 0.015).all()


def test_bands():
    x = torch.ones(5000, 8, 30)
    told = SpecAugment(0, 0, 1, 0.5, fill=-1.0)({"input_features": x}, generator())
    blank = told["input_features"] == -1
    assert torch.equal(blank, blank[:, :, :1].expand_as(blank))  # all frames alike
    share = torch.bincount(blank[:, :, 0].sum(1)).double() / 5000
    assert len(share) == 5 and ((share - 0.2).abs() < 0.02).all()
    # The other order of axes, as AST has it
    turned = SpecAugment(0, 0, 1, 0.5, fill=-1.0)({"input_values": x.mT}, generator())
    assert torch.equal(turned["input_values"].mT, told["input_features"])


def test_several_stretches():
    x = torch.ones(300, 200)
    told = SpecAugment(3, 0.05, fill=0.0)({"input_values": x}, generator())["input_values"]
    n_runs = [runs(line) for line in told == 0]
    assert max(map(len, n_runs)) == 3 and max(map(sum, n_runs)) <= 30
    assert np.mean([sum(r) for r in n_runs]) == pytest.approx(15, abs=1)


def test_padding_is_neither_counted_nor_changed():
    x = torch.randn(2000, 40, generator=generator())
    x[:, 30:] = 0
    mask = torch.zeros(2000, 40, dtype=torch.int64)
    mask[:, :30] = 1
    given = {"input_values": x, "attention_mask": mask}
    told = SpecAugment(1, 0.2, fill=9.0)(given, generator())
    blank = told["input_values"] == 9
    assert told["attention_mask"] is mask and not blank[:, 30:].any()
    assert blank.sum(1).max() == 6 and blank[:, 29].any()
    left = {"input_values": x.flip(1), "attention_mask": mask.flip(1)}
    blank = SpecAugment(1, 0.2, fill=9.0)(left, generator())["input_values"] == 9
    assert not blank[:, :10].any() and blank[:, 10].any() and blank[:, 39].any()
    spectrum = {"input_features": x[:, None].expand(-1, 5, -1), "attention_mask": mask}
    blank = SpecAugment(2, 0.2, 2, 0.5, 9.0)(spectrum, generator())["input_features"] == 9
    assert not blank[:, :, 30:].any() and blank[:, 4].any()
    # All padding: nothing to do, nothing breaks.
    nothing = {"input_values": x, "attention_mask": mask * 0}
    assert torch.equal(SpecAugment(2, 0.5)(nothing, generator())["input_values"], x)


def test_blanks_hold_the_mean_of_the_recording():
    x = torch.randn(5, 6, 30, generator=generator(), dtype=torch.float64)
    mask = (torch.arange(30) < torch.tensor([[30], [20], [10], [5], [1]])).long()
    given = {"input_features": x, "attention_mask": mask}
    told = SpecAugment(2, 0.5, 2, 0.5)(given, generator())["input_features"]
    for i in range(5):
        changed = told[i] != x[i]
        wanted = x[i][:, mask[i] > 0].mean()
        torch.testing.assert_close(told[i][changed], wanted.expand(int(changed.sum())))
    assert (told != x)[:3].flatten(1).any(1).all()


def test_a_mask_of_other_places_is_left_aside():
    """Whisper's spectrograms have a mask of samples in some versions."""
    x = torch.ones(4, 6, 30)
    given = {"input_features": x, "attention_mask": torch.ones(4, 4800)}
    assert SpecAugment()(given, generator())["input_features"].shape == x.shape


# --- noise ------------------------------------------------------------------------------------


def test_noise():
    x = torch.full((4000, 5), 2.0)
    told = GaussianNoise(0.5)({"values": x}, generator())["values"] - x
    assert told.mean().item() == pytest.approx(0, abs=0.01)
    assert told.std().item() == pytest.approx(0.5, abs=0.01)
    both = {"values": x, "pixel_values": x}
    assert make_augmentation("noise")(both, generator())["pixel_values"] is x
