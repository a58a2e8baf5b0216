"""What every augmentation promises, and how ``augment=`` is read."""

import copy
import pickle
from functools import partial

import pytest
import torch
from sklearn.base import clone
from torch.utils._python_dispatch import TorchDispatchMode

from adaptlearn import (
    CORAL,
    Augmentation,
    ColorJitter,
    FlipCrop,
    GaussianNoise,
    RandAugment,
    SpecAugment,
    TokenDropout,
    register,
)
from adaptlearn._components import ComponentParamsMixin, registered, resolve
from adaptlearn.augmentation import make_augmentation

OFF = "off"


def images(n, dtype=torch.float32, h=12, w=9, seed=0):
    made = torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(seed))
    return {"pixel_values": made.clamp(-1.5, 1.5).to(dtype)}


def texts(n, dtype=None):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 500, (n, 14), generator=generator)
    length = torch.randint(3, 15, (n, 1), generator=generator)
    mask = (torch.arange(14) < length).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def spectra(n, dtype=torch.float32):
    made = torch.randn(n, 16, 30, generator=torch.Generator().manual_seed(2))
    return {"input_features": made.to(dtype)}


def waves(n, dtype=torch.float32):
    made = torch.randn(n, 90, generator=torch.Generator().manual_seed(3))
    return {"input_values": made.to(dtype)}


def numbers(n, dtype=torch.float32):
    made = torch.randn(n, 7, generator=torch.Generator().manual_seed(4))
    return {"values": made.to(dtype)}


# Each augmentation, what it is called with, and the same one with nothing to do.
CASES = {
    "flip_crop": (FlipCrop(), images, FlipCrop(flip=0, scale=(1, 1))),
    "crop": (FlipCrop(flip=0), images, FlipCrop(flip=0, scale=[1.0, 1.0])),
    "flip": (FlipCrop(scale=(1, 1)), images, FlipCrop(flip=0.0, scale=(1, 1))),
    "color": (ColorJitter(), images, ColorJitter(0, 0, 0)),
    "rand_augment": (RandAugment(), images, RandAugment(ops=["identity"])),
    "geometry": (RandAugment(4, 9, ["rotate", "shear_x", "shear_y", "translate_x", "translate_y"]),
                 images, RandAugment(ops=("identity",), magnitude=10)),
    "hidden": (TokenDropout(0.4), texts, TokenDropout(0)),
    "masked": (TokenDropout(0.4, mask_id=3, special_ids=[0]), texts, TokenDropout(0.0, mask_id=3)),
    "spec_augment": (SpecAugment(3, 0.5, 3, 0.5), spectra, SpecAugment(0, 0.5, 0)),
    "waves": (SpecAugment(3, 0.5), waves, SpecAugment(4, 0.0, 4, 0)),
    "noise": (GaussianNoise(), numbers, GaussianNoise(std=0)),
    "noisy_images": (GaussianNoise(), images, GaussianNoise(std=0.0)),
    "list": (make_augmentation([FlipCrop(), "color", "noise"]), images,
             make_augmentation([FlipCrop(flip=0, scale=(1, 1)), ColorJitter(0, 0, 0)])),
}  # fmt: skip
each = pytest.mark.parametrize(("augmentation", "make", "nothing"), CASES.values(), ids=CASES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_every_name_is_a_case():
    assert {"flip_crop", "color", "rand_augment", "token_dropout", "spec_augment", "noise"} <= set(
        registered("augment")
    )
    tried = {type(case[0]) for case in CASES.values()}
    ours = [c for c in registered("augment").values() if c.__module__.startswith("adaptlearn.")]
    assert set(ours) <= tried


# --- the contract -----------------------------------------------------------------------------


@each
def test_one_seed_one_result(augmentation, make, nothing):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, two = augmentation(make(50), generator()), augmentation(make(50), generator())
    assert equal(one, two)
    assert not equal(one, augmentation(make(50), generator(1)))
    source = generator()
    assert equal(one, augmentation(make(50), source))
    assert not equal(one, augmentation(make(50), source)), "the generator moves on"
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_rows_have_draws_of_their_own(augmentation, make, nothing):
    alike = {name: x[:1].expand(60, *x.shape[1:]).clone() for name, x in make(3).items()}
    if "attention_mask" in alike:
        alike["attention_mask"] = torch.ones_like(alike["attention_mask"])
        alike["input_ids"] = torch.arange(10, 24).expand(60, -1).clone()
    told = augmentation(alike, generator())
    changed = [name for name in told if not torch.equal(told[name], alike[name])]
    assert len(changed) == 1
    rows = {tuple(row.flatten().tolist()) for row in told[changed[0]]}
    only_mirrored = type(augmentation) is FlipCrop and augmentation.scale == (1, 1)
    assert len(rows) == 2 if only_mirrored else len(rows) > 15


@each
def test_nothing_given_is_changed(augmentation, make, nothing):
    given = make(20)
    copies, objects = {k: v.clone() for k, v in given.items()}, dict(given)
    told = augmentation(given, generator())
    assert told is not given and equal(given, copies)
    assert all(given[k] is objects[k] for k in given) and given.keys() == objects.keys()
    assert not equal(told, given)
    state = repr(augmentation.get_params())
    assert repr(clone(augmentation).get_params()) == state
    for x in given.values():  # read-only views of one row
        x.copy_(x[:1].expand_as(x).clone())
    views = {k: v[:1].expand_as(v) for k, v in given.items()}
    augmentation(views, generator())
    assert equal(views, given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@each
def test_shape_type_and_device_are_kept(augmentation, make, nothing, dtype):
    given = make(6, dtype)
    told = augmentation(given, generator())
    assert told.keys() == given.keys()
    for name, x in told.items():
        old = given[name]
        assert (x.shape, x.dtype, x.device) == (old.shape, old.dtype, old.device)
        assert torch.isfinite(x).all()
    if dtype == torch.float64:  # the same draws, to the digits of the shorter type
        single = augmentation(make(6), generator())
        for name in told:
            torch.testing.assert_close(told[name], single[name].to(told[name].dtype),
                                       atol=1e-4, rtol=1e-4)  # fmt: skip


@each
def test_rows_do_not_depend_on_rows_beside(augmentation, make, nothing):
    strange = {k: v.clone() for k, v in make(8).items()}
    for name, x in strange.items():
        if x.is_floating_point():
            x[1:] = 100.0
        elif name == "input_ids":
            x[1:] = 77
    a, b = augmentation(make(8), generator()), augmentation(strange, generator())
    assert all(torch.equal(a[name][0], b[name][0]) for name in a)


@each
def test_nothing_to_do_changes_nothing(augmentation, make, nothing):
    given = make(30)
    assert equal(nothing(given, generator()), given)


@pytest.mark.parametrize("n", [0, 1])
@each
def test_few_rows(augmentation, make, nothing, n):
    told = augmentation({k: v[:n] for k, v in make(2).items()}, generator())
    assert all(len(x) == n for x in told.values())


@pytest.mark.parametrize("name", ["flip_crop", "color", "rand_augment", "geometry", "noisy_images"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (64, 5), (31, 224)])
def test_images_of_any_size(name, size):
    told = CASES[name][0](images(4, h=size[0], w=size[1]), generator())["pixel_values"]
    assert told.shape == (4, 3, *size) and torch.isfinite(told).all()


class Counter(TorchDispatchMode):
    """Counts calls of torch."""

    def __init__(self):
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += 1
        return func(*args, **(kwargs or {}))


@each
def test_calls_do_not_grow_with_rows(augmentation, make, nothing):
    counts = []
    for n in (2, 10_000):
        given = make(n)
        with Counter() as counter:
            augmentation(given, generator())
        counts.append(counter.n)
    assert counts[0] == counts[1] > 0


@each
def test_mixed_precision_around_it_changes_nothing(augmentation, make, nothing):
    wanted = augmentation(make(9), generator())
    with torch.autocast("cpu", torch.bfloat16):
        assert equal(augmentation(make(9), generator()), wanted)


@each
def test_gradient_flows_to_numbers(augmentation, make, nothing):
    given = make(5)
    names = [k for k, v in given.items() if v.is_floating_point()]
    for name in names:
        given[name].requires_grad_()
        told = augmentation(given, generator())[name]
        assert torch.autograd.grad(told.sum(), given[name])[0].abs().sum() > 0


@each
def test_objects(augmentation, make, nothing):
    for twin in (clone(augmentation), copy.deepcopy(augmentation)):
        assert equal(twin(make(5), generator()), augmentation(make(5), generator()))
    again = pickle.loads(pickle.dumps(augmentation))
    assert equal(again(make(5), generator()), augmentation(make(5), generator()))


# --- the slot ---------------------------------------------------------------------------------


def test_what_a_spec_becomes():
    assert make_augmentation(None) is None and make_augmentation([]) is None
    assert type(make_augmentation("color")) is ColorJitter
    mine = FlipCrop(flip=0.25)
    assert make_augmentation(mine) is not mine and make_augmentation([mine]).flip == 0.25
    both = make_augmentation(["flip_crop", ColorJitter(0.1)])
    given = images(9)
    source = generator()
    expected = ColorJitter(0.1)(FlipCrop()(given, source), source)
    assert equal(both(given, generator()), expected)
    assert both.applies_to == ("pixel_values", "pixel_values")
    assert equal(make_augmentation(both)(given, generator()), expected)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("flipcrop", ValueError, r"augment='flipcrop' is not known; .*mean 'flip_crop'\?"),
        (["color", "randaugment"], ValueError, r"augment='randaugment' .*mean 'rand_augment'\?"),
        (FlipCrop, TypeError, r"augment=FlipCrop is a class; give an object \(FlipCrop\(\)\)"),
        (3, TypeError, "augment=3 of type int is not a component; .*'flip_crop'"),
        (CORAL(), TypeError, r"augment holds CORAL\(\) of type CORAL; .*rand_augment.*subclass"),
        (FlipCrop(flip=1.1), ValueError, "'flip' parameter of FlipCrop"),
        (FlipCrop(scale=0.5), ValueError, "'scale' parameter of FlipCrop"),
        (FlipCrop(scale=(0.9, 0.5)), ValueError, r"scale=\(0.9, 0.5\) .* two numbers above 0"),
        (FlipCrop(scale=(0, 0.5)), ValueError, r"scale=\(0, 0.5\)"),
        (FlipCrop(scale=(0.5, 1.5)), ValueError, r"scale=.* the second at most 1"),
        (FlipCrop(scale=(0.5,)), ValueError, "scale="),
        (FlipCrop(ratio=(0.0, 2)), ValueError, r"ratio=\(0.0, 2\) of FlipCrop must be two numbers"),
        (FlipCrop(ratio=("a", "b")), ValueError, "ratio="),
        (ColorJitter(brightness=-1), ValueError, "'brightness' parameter of ColorJitter"),
        (ColorJitter(std=0), ValueError, "std=0 of ColorJitter must be .* > 0"),
        (ColorJitter(mean=()), ValueError, r"mean=\(\) of ColorJitter"),
        (RandAugment(mean=("a",)), ValueError, "mean=.* of RandAugment"),
        (RandAugment(n=0), ValueError, "'n' parameter of RandAugment"),
        (RandAugment(magnitude=11), ValueError, "'magnitude' parameter of RandAugment"),
        (RandAugment(ops=["rotat"]), ValueError, r"ops of RandAugment .*'rotat'; .*'rotate'\?"),
        (RandAugment(ops=[]), ValueError, "ops of RandAugment is empty"),
        (TokenDropout(p=-0.1), ValueError, "'p' parameter of TokenDropout"),
        (TokenDropout(by="delete"), ValueError, "'by' parameter of TokenDropout"),
        (TokenDropout(mask_id=-1), ValueError, "'mask_id' parameter of TokenDropout"),
        (TokenDropout(special_ids=["[CLS]"]), ValueError, "special_ids=.* must be integers"),
        (SpecAugment(time_masks=-1), ValueError, "'time_masks' parameter of SpecAugment"),
        (SpecAugment(freq_width=2), ValueError, "'freq_width' parameter of SpecAugment"),
        (SpecAugment(fill="zero"), ValueError, "'fill' parameter of SpecAugment"),
        (GaussianNoise(std=-1), ValueError, "'std' parameter of GaussianNoise"),
    ],
)  # fmt: skip
def test_bad_specs(spec, error, message):
    with pytest.raises(error, match=message):
        make_augmentation(spec)


@pytest.mark.parametrize(
    ("spec", "inputs", "message"),
    [
        ("flip_crop", texts(2), r"FlipCrop\(\) changes 'pixel_values', .* are 'input_ids', 'att"),
        (["noise", "color"], numbers(2), r"ColorJitter\(\) changes 'pixel_values', .* 'values'"),
        ("spec_augment", images(2), "'input_features' or 'input_values', .* are 'pixel_values'"),
        ("token_dropout", {"input_ids": torch.ones(2, 5)}, "TokenDropout hides"),
        (TokenDropout(by="mask"), texts(2), "by='mask' of TokenDropout .*Give mask_id="),
        ("color", {"pixel_values": torch.zeros(3, 8, 8)}, r"got shape \(3, 8, 8\)"),
        ("flip_crop", {"pixel_values": torch.zeros((1, 3, 8, 8), dtype=torch.uint8)}, "uint8"),
        ("rand_augment", {"pixel_values": torch.zeros(2, 1, 8, 8)}, "3 values for .*1 channels"),
        ("spec_augment", {"input_features": torch.zeros(2, 8)}, r"input_features .*got \(2, 8\)"),
        ("noise", {"values": torch.zeros((2, 3), dtype=torch.int64)}, "floating point.*int64"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(spec, inputs, message):
    with pytest.raises(ValueError, match=message):
        make_augmentation(spec)(inputs, generator())


def test_functions():
    def negative(inputs, generator):
        return {"values": -inputs["values"] + torch.rand(1, generator=generator)}

    given = numbers(3)
    both = make_augmentation([negative, "noise"])
    source = generator()
    wanted = GaussianNoise()(negative(given, source), source)
    assert equal(both(given, generator()), wanted)
    assert equal(clone(both).filled(mean=0)(given, generator()), wanted)
    assert equal(make_augmentation(both)(given, generator()), wanted)
    assert both.tensor_name(["values"]) == "values"
    assert make_augmentation(negative).tensor_name(["values"]) is None


def test_which_tensor_is_changed():
    assert FlipCrop().tensor_name(["input_ids", "pixel_values"]) == "pixel_values"
    assert SpecAugment().tensor_name({"input_values": 1}) == "input_values"
    assert make_augmentation(["noise", "color"]).tensor_name(["pixel_values"]) == "pixel_values"
    with pytest.raises(ValueError, match="TokenDropout"):
        make_augmentation(["noise", "token_dropout"]).tensor_name(["pixel_values"])


def test_what_is_known_fills_what_was_left_open():
    known = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "special_ids": [0, 1], "mask_id": 4}
    mine = ColorJitter(mean=0.0)
    told = mine.filled(**known)
    assert (told.mean, told.std, told.brightness) == (0.0, (0.5,) * 3, 0.4)
    assert mine.std is None
    text = TokenDropout(mask_id=9).filled(**known)
    assert (text.mask_id, text.special_ids) == (9, [0, 1])
    assert repr(GaussianNoise(0.3).filled(**known)) == "GaussianNoise(std=0.3)"
    both = make_augmentation(["flip_crop", "color"]).filled(**known)
    assert both.members[1].mean == (0.5,) * 3


def test_nested_parameters():
    class Estimator(ComponentParamsMixin, Augmentation):
        _slots = ("augment",)

        def __init__(self, augment=None):
            self.augment = augment

    est = Estimator("color").set_params(augment__contrast=0.1)
    assert repr(est.augment) == "ColorJitter(contrast=0.1)"
    est = Estimator(["flip_crop", "color"]).set_params(augment__flip_crop__flip=0.0)
    assert est.augment[0].flip == 0.0
    with pytest.raises(ValueError, match=r"'flap' of augment FlipCrop; .*mean 'flip'\?"):
        est.set_params(augment__flip_crop__flap=1)


def test_an_augmentation_of_the_user():
    @register("augment", "negative")
    class Negative(Augmentation):
        applies_to = "values"

        def augment(self, x, generator):
            return -x

    given = numbers(4)
    told = make_augmentation(["negative", "negative", Negative()])(given, generator())
    assert torch.equal(told["values"], -given["values"])
    assert type(resolve("augment", "negative")) is Negative

    class Empty(Augmentation):
        applies_to = "values"

    with pytest.raises(TypeError, match=r"Empty must define augment\(x, generator\)"):
        Empty()(given, generator())
    with pytest.raises(TypeError, match="Augmentation must set applies_to, such as"):
        Augmentation()(given, generator())


# --- what it is for ---------------------------------------------------------------------------


def shifted_images(n, seed, size=12):
    """A cross or a square anywhere in the image."""
    source = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.3 * torch.randn(n, 1, size, size, generator=source)
    place = torch.randint(0, size - 4, (n, 2), generator=source)
    cross, square = torch.zeros(5, 5), torch.ones(5, 5)
    cross[2], cross[:, 2], square[1:4, 1:4] = 1, 1, 0
    for i in range(n):
        top, left = place[i].tolist()
        x[i, 0, top : top + 5, left : left + 5] += (cross, square)[int(y[i])]
    return {"pixel_values": x}, y


def sided_images(n, seed, size=12, mirrored=True):
    """A bar at the left, high or low; half of them at the right instead if `mirrored`."""
    source = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randn(n, 1, size, size, generator=source)
    x[y == 0, :, :6, :4] += 1
    x[y == 1, :, 6:, :4] += 1
    return {"pixel_values": torch.cat([x[: n // 2], x[n // 2 :].flip(-1)]) if mirrored else x}, y


def accuracy(augmentation, train, test, seed, n_steps=150):
    """Of a perceptron after some steps on all training rows."""
    (inputs, y), (new, y_new) = train, test
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 64), torch.nn.ReLU(),
                                      torch.nn.Linear(64, 2))  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(n_steps):
        batch = inputs if augmentation is None else augmentation(inputs, source)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch["pixel_values"]), y).backward()
        optimizer.step()
    with torch.no_grad():
        return (network(new["pixel_values"]).argmax(1) == y_new).double().mean().item()


def gains(augmentation, make_train, make_test):
    """Accuracy with it less that without, over five seeds."""
    told = []
    for seed in range(5):
        sides = make_train(100, seed), make_test(600, 1000 + seed)
        with_it, without = (accuracy(a, *sides, seed) for a in (augmentation, None))
        told.append(with_it - without)
    return told


def test_shifts_help_where_things_stand_anywhere():
    """A perceptron does not know that they may: it must be shown."""
    moved = make_augmentation(
        [RandAugment(2, 6, ["translate_x", "translate_y"], mean=0, std=1), FlipCrop(scale=(1, 1))]
    )
    told = gains(moved, shifted_images, shifted_images)
    assert min(told) > 0.05 and sum(told) / 5 > 0.1, told


def test_mirrors_help_where_sides_do_not_matter():
    """Every training row is seen from one side, new rows from both."""
    told = gains(FlipCrop(scale=(1, 1)), partial(sided_images, mirrored=False), sided_images)
    assert min(told) > 0.1, told
