"""Estimated class proportions, and the normalisation that rests on them."""

import numpy as np
import pytest
import torch

from adaptlearn import Alignment, DomainAdaptationClassifier, load, pack
from adaptlearn._domains import DomainIndex, FitRows
from adaptlearn.deep._label_shift import class_ratio
from adaptlearn.deep._scaling import DomainScaler
from adaptlearn.imbalance import estimate_target_prior, target_prior
from adaptlearn.imbalance.target_prior import (
    Sample,
    counts_changed,
    match_target,
    move_statistics,
    moved_share,
    plainly_moved_share,
    standardise_sides,
)


def problem(seed, share, n=600, unit=1.5, offset=1.0):
    """Five classes; the target has `share` of class 1, and another unit and offset."""
    rng = np.random.default_rng(seed)
    ys = np.arange(n) % 5
    yt = np.where(np.arange(n) < share * n, 1, np.arange(n) % 4)
    yt[(yt == 1) & (np.arange(n) >= share * n)] = 4
    Xs = rng.normal(size=(n, 6)) + 4.0 * np.eye(6)[ys]
    Xt = rng.normal(size=(n, 6)) + 4.0 * np.eye(6)[yt]
    return Xs, ys, unit * Xt + offset, yt


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
@pytest.mark.parametrize(("unit", "offset"), [(1.0, 0.0), (1.5, 1.0), (5.0, 30.0)])
def test_proportions_are_found(share, unit, offset):
    found = [
        estimate_target_prior(Xs, ys, Xt, 5)[1]
        for Xs, ys, Xt, _ in (problem(seed, share, unit=unit, offset=offset) for seed in range(3))
    ]
    # Another unit is not told from other proportions altogether: half-way there, at least.
    assert abs(np.mean(found) - share) <= 0.02 + 0.5 * abs(0.2 - share)
    assert abs(np.mean(found) - share) <= 0.1 or unit > 1


def test_without_evidence_the_proportions_are_those_of_the_source():
    Xs, ys, Xt, _ = problem(0, 0.2, unit=1.0, offset=0.0)
    np.testing.assert_array_equal(estimate_target_prior(Xs, ys, Xt, 5), np.full(5, 0.2))


def test_two_classes_have_the_proportions_of_the_source():
    rng = np.random.default_rng(0)
    ys, Xt = np.arange(100) % 4 // 3, rng.normal(size=(80, 3)) + 5
    Xs = rng.normal(size=(100, 3)) + 5 * ys[:, None]
    np.testing.assert_array_equal(estimate_target_prior(Xs, ys, Xt, 2), [0.75, 0.25])


def test_plainly_moved_share_by_hand():
    """Standard deviation 1 on the source; means move by 3, 1 and 2, the last scale by 4."""
    source = np.array([[-1.0, -1, -1, -1], [1, 1, 1, 1]])
    target = np.array([[2.0, 0, 1, -4], [4, 2, 3, 4]])
    sample = Sample(source, np.array([0, 1]), target, 2)
    np.testing.assert_allclose(plainly_moved_share(sample), [1, 0, 0.5, 0.5], atol=1e-12)
    smaller = sample._replace(target=target / 32)  # an eighth of the scale
    np.testing.assert_allclose(plainly_moved_share(smaller)[3], 1)
    fixed = np.array([True, False, False, False])
    np.testing.assert_allclose(plainly_moved_share(sample, fixed), [0, 0, 0.5, 0.5], atol=1e-12)
    constant = sample._replace(source=np.zeros((2, 4)), target=np.zeros((2, 4)))
    np.testing.assert_array_equal(plainly_moved_share(constant), np.zeros(4))


def test_units_of_columns_do_not_matter():
    Xs, ys, Xt, _ = problem(0, 0.6)
    unit, offset = np.array([1e-3, 10, 1, 300, 1, 1]), np.array([5, -1000, 0, 2, 0, 0])
    one = estimate_target_prior(Xs, ys, Xt, 5)
    two = estimate_target_prior(Xs * unit + offset, ys, Xt * unit + offset, 5)
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_it_sums_to_one_and_knows_absent_classes():
    Xs, ys, Xt, _ = problem(0, 0.5)
    found = estimate_target_prior(Xs, 2 * ys, Xt, 10)  # every other class has no row
    assert found.sum() == pytest.approx(1)
    assert (found[1::2] == 0).all() and (found[::2] > 0).all()


def small_sample():
    """Two classes with means 0 and 4 in the first column, and nothing but noise in the second."""
    source = np.array([[-1.0, 0], [1, 2], [3, 0], [5, 2]])
    target = np.array([[5.0, 10], [5, 12], [7, 14], [7, 12]])
    return Sample(source, np.array([0, 0, 1, 1]), target, 2)


def test_moved_share_by_hand():
    """Column 0: source mean 2, class means 0 and 4, target mean 6. Column 1: 1, 1 and 1, 12."""
    even = moved_share(small_sample(), np.array([0.5, 0.5]))
    np.testing.assert_allclose(even, [16 / (16 + 4), 1.0])
    # Under proportions .25 and .75 the source's mean is 3: gap 3, class means 3 and 1 away.
    other = moved_share(small_sample(), np.array([0.25, 0.75]))
    np.testing.assert_allclose(other, [9 / (9 + 5), 1.0])
    fixed = moved_share(small_sample(), np.array([0.5, 0.5]), np.array([True, False]))
    np.testing.assert_allclose(fixed, [0.0, 1.0])


def test_sides_are_standardised_as_far_as_they_moved():
    sample = small_sample()
    source, target = standardise_sides(
        sample, np.array([0.5, 0.5]), np.array([0.8, 1.0]), clip=None
    )
    scale = np.sqrt(5.0)  # of column 0: squared deviations 9, 1, 1, 9
    np.testing.assert_allclose(source[:, 0], (sample.source[:, 0] - 2) / scale)
    mean, target_scale = 2 + 0.8 * 4, scale * (1 / scale) ** 0.8
    np.testing.assert_allclose(target[:, 0], (sample.target[:, 0] - mean) / target_scale)
    np.testing.assert_allclose(target[:, 1].mean(), 0, atol=1e-12)  # moved altogether
    np.testing.assert_allclose(target[:, 1].std(), 1)


@pytest.mark.parametrize(
    ("labels", "expected", "evidence"),
    [
        # D = .3 and c = .1 + 1/16: s = 1 - (.1625 / .3)^2 = .7066, q = .25 + .7066 (.55 - .25)
        ([0.55, 0.15, 0.15, 0.15], [0.461979, 0.17934, 0.17934, 0.17934], 0.706597),
        ([0.35, 0.25, 0.25, 0.15], [0.25, 0.25, 0.25, 0.25], 0.0),  # D = .1 is less than c
    ],
)
def test_evidence_by_hand(labels, expected, evidence, monkeypatch):
    monkeypatch.setattr(
        target_prior,
        "closed_form_labels",
        lambda source, y, target, *rest: torch.tensor(labels).expand(len(target), 4),
    )
    rng = np.random.default_rng(0)
    sample = Sample(rng.normal(size=(8, 2)), np.arange(8) % 4, rng.normal(size=(5, 2)), 4)
    found = match_target(sample)
    np.testing.assert_allclose(found.prior, expected, atol=1e-5)
    assert found.evidence == pytest.approx(evidence, abs=1e-5)


def test_moved_statistics_by_hand():
    source = np.array([1.0, 0, 3]), np.array([2.0, 1, 0])
    target = np.array([5.0, 4, 3]), np.array([8.0, 9, 0])
    mean, scale = move_statistics(source, target, np.array([0.5, 1, 0.5]))
    np.testing.assert_allclose(mean, [3, 4, 3])
    np.testing.assert_allclose(scale, [4, 9, 0])  # geometric; a constant column stays one


def test_scaler_moves_target_statistics_only():
    Xs = np.array([[0.0], [4]] * 20) + np.linspace(0, 1e-3, 40)[:, None]
    Xt = np.array([[6.0], [22]] * 20) + np.linspace(0, 1e-3, 40)[:, None]
    slots, index = np.repeat([0, 1], 40), DomainIndex((0,), (-1,))
    given = [Xs, Xt], slots, index
    own = DomainScaler.fit(*given, by_domain=True)
    half = DomainScaler.fit(*given, by_domain=True, moved=np.array([0.5]))
    np.testing.assert_allclose(own.mean[[0, 1], 0], [2, 14], atol=1e-2)
    np.testing.assert_allclose(half.mean[:, 0], [2, 8, 2, 8], atol=1e-2)
    np.testing.assert_allclose(half.scale[:, 0], [2, 4, 2, 4], atol=1e-2)


def test_constant_and_equal_columns():
    sample = Sample(np.zeros((4, 2)), np.array([0, 0, 1, 1]), np.array([[0.0, 3]] * 3), 2)
    even = np.array([0.5, 0.5])
    np.testing.assert_array_equal(moved_share(sample, even), [0, 1])
    for side in standardise_sides(sample, even, moved_share(sample, even)):
        assert np.isfinite(side).all()


@pytest.mark.parametrize(
    ("counts", "changed"), [((10, 10), False), ((11, 9), False), ((8, 12), False), ((13, 7), True)]
)
def test_changed_counts_by_hand(counts, changed):
    """Classes at -1 and 1, ten rows each: shares of .5, .55 and .4 are as good as the same."""
    sides = [np.repeat([[-1.0], [1.0]], n, axis=0) for n in ((10, 10), counts)]
    sample = Sample(sides[0], np.repeat([0, 1], 10), sides[1], 2)
    assert counts_changed(sample, np.zeros(1)) is changed
    # Other units and offsets are no change where statistics are the target's own.
    moved = sample._replace(target=5 * sample.target + 100)
    assert counts_changed(moved, np.zeros(1))
    assert counts_changed(moved, np.ones(1)) is changed


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_it_is_nearer_than_the_source_under_both_shifts(alpha):
    """Random proportions, columns with another gain and offset: over ten draws."""
    found, source = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        q = rng.dirichlet(np.full(4, alpha))
        ys, yt = rng.integers(4, size=400), rng.choice(4, size=400, p=q)
        means = 2 * rng.normal(size=(4, 12))
        Xs, Xt = (rng.normal(size=(400, 12)) + means[y] for y in (ys, yt))
        Xt = Xt * rng.uniform(0.5, 2, size=12) + rng.normal(size=12)
        true = np.bincount(yt, minlength=4) / 400
        found.append(np.abs(estimate_target_prior(Xs, ys, Xt, 4) - true).sum() / 2)
        source.append(np.abs(np.bincount(ys, minlength=4) / 400 - true).sum() / 2)
    assert np.mean(found) < 0.4 * np.mean(source)


def rows(Xs, ys, Xt):
    n, m = len(Xs), len(Xt)
    domain = np.repeat([0, -1], [n, m])
    codes = np.concatenate([ys, np.zeros(m, dtype=int)])
    return FitRows(codes, domain == 0, domain, None), (domain < 0).astype(int), codes


def test_source_rows_are_weighted_to_the_target_proportions():
    Xs, ys, Xt, _ = problem(0, 0.6)
    ratio = class_ratio(np.array([0.05, 0.8, 0.05, 0.05, 0.05]), *rows(Xs, ys, Xt))
    source = ratio[0][ys]
    assert source[ys == 1].sum() / source.sum() == pytest.approx(0.8, abs=0.08)
    assert source.mean() == pytest.approx(1)
    assert (ratio[1] == 1).all()


def test_small_data_keep_the_source_proportions():
    Xs, ys, Xt, _ = problem(0, 0.9)
    model = DomainAdaptationClassifier(max_epochs=1, random_state=0)
    assert model.fit(Xs[:15], ys[:15], X_target=Xt).target_prior_ is None


def test_domain_normalisation_survives_other_class_proportions():
    """Plain statistics per domain lose here: three in five target rows are of one class."""
    accuracy = {"auto": [], None: []}
    for seed in range(3):
        Xs, ys, Xt, yt = problem(seed, 0.6)
        for label_shift, scores in accuracy.items():
            clf = DomainAdaptationClassifier(alignment=None, random_state=seed)
            clf.set_params(label_shift=label_shift).fit(Xs, ys, X_target=Xt)
            scores.append(clf.score(Xt, yt))
    assert np.mean(accuracy["auto"]) > np.mean(accuracy[None]) + 0.05


class Recorder(Alignment):
    """Keeps the weights that alignments get."""

    seen = []

    def loss(self, source, target, step, net):
        Recorder.seen.append((source.y, source.weight, target.weight))
        return target.logits.sum() * 0.0


def test_alignments_get_the_source_under_the_target_proportions(tmp_path):
    """Also in a later `partial_fit`, of a model that was saved and loaded in between."""
    Xs, ys, Xt, _ = problem(0, 0.6)
    model = DomainAdaptationClassifier(alignment=Recorder(), max_epochs=3, random_state=0)
    model.fit(Xs, ys, X_target=Xt).save(tmp_path / "model")
    loaded = load(tmp_path / "model", components={"Recorder": Recorder})
    for again in (model, loaded):
        Recorder.seen.clear()
        again.partial_fit(*pack(Xs, ys, Xt)[:2])
        y, weight, target_weight = (torch.cat(parts) for parts in zip(*Recorder.seen, strict=True))
        share = (weight[y == 1].sum() / weight.sum()).item()
        assert share == pytest.approx(model.target_prior_[1], abs=0.02)
        assert share > 0.45
        assert weight.mean().item() == pytest.approx(1, abs=0.05)
        assert (target_weight == 1).all()


@pytest.mark.parametrize("normalize", ["domain", "source", None])
def test_without_label_shift_alignments_get_the_source_as_it_is(normalize):
    Xs, ys, Xt, _ = problem(0, 0.6)
    Recorder.seen.clear()
    model = DomainAdaptationClassifier(
        alignment=Recorder(), normalize=normalize, label_shift=None, max_epochs=1
    )
    model.fit(Xs, ys, X_target=Xt)
    assert all((weight == 1).all() for _, weight, _ in Recorder.seen)


def test_codes_and_rows_of_any_kind():
    Xs, ys, Xt, _ = problem(0, 0.5, n=200)
    expected = estimate_target_prior(Xs, ys, Xt, 5)
    for codes in (ys.astype(np.int8), ys.astype(np.uint16), ys.tolist()):
        np.testing.assert_array_equal(estimate_target_prior(Xs.tolist(), codes, Xt, 5), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": [0, 1]}, "codes must hold one integer for each of the 200 rows of X_source"),
        ({"codes": np.full(200, -1)}, "codes must lie in 0 .. 4, as n_classes=5"),
        ({"n_classes": 3}, "codes must lie in 0 .. 2, as n_classes=3"),
        ({"X_target": np.zeros((9, 2))}, "X_source has 6 columns and X_target 2"),
        ({"X_target": np.full((9, 6), np.nan)}, "X_target contains NaN"),
    ],
)
def test_errors_name_the_parameter(change, message):
    Xs, ys, Xt, _ = problem(0, 0.5, n=200)
    given = {"X_source": Xs, "codes": ys, "X_target": Xt, "n_classes": 5} | change
    with pytest.raises(ValueError, match=message):
        estimate_target_prior(**given)
