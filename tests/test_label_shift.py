"""Estimated class ratios: formulas by hand, consistency, warnings, intervals."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax

from adaptlearn import benchmark
from adaptlearn.datasets import make_label_shift
from adaptlearn.imbalance import estimate_label_shift
from adaptlearn.imbalance._bbse import bbse
from adaptlearn.imbalance._calibration import fit_calibration
from adaptlearn.imbalance._label_shift_checks import misfit, spectrum
from adaptlearn.imbalance._mlls import em_step, mlls, mlls_covariance
from adaptlearn.imbalance._predictions import log_proba, read_predictions
from adaptlearn.imbalance._qp import qp
from adaptlearn.imbalance._rlls import rlls
from adaptlearn.imbalance.label_shift import _bootstrap

METHODS = ["mlls", "auto", "rlls", "bbse", "qp"]
every_method = pytest.mark.parametrize("method", METHODS)

# Ten source rows: six of class 0 (five found), four of class 1 (three found).
JOINT = np.array([[0.5, 0.1], [0.1, 0.3]])


def one_hot(codes, n_classes=2):
    return np.eye(n_classes)[np.asarray(codes)]


def ten_rows(n_target_of_0, n_target=10):
    codes = np.repeat([0, 1], [6, 4])
    predicted = np.array([0] * 5 + [1] + [1] * 3 + [0])
    target = np.repeat([0, 1], [n_target_of_0, n_target - n_target_of_0])
    return one_hot(predicted), codes, one_hot(target)


def estimate(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return estimate_label_shift(*args, **kwargs)


# --- formulas ---------------------------------------------------------------------------------


def test_moments_are_the_joint_confusion_matrix():
    predictions = read_predictions(*ten_rows(4))
    joint, marginal = predictions.moments()
    np.testing.assert_allclose(joint, JOINT)
    np.testing.assert_allclose(marginal, [0.4, 0.6])
    np.testing.assert_allclose(predictions.prior, [0.6, 0.4])
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    joint, marginal = read_predictions(proba, [0, 0, 1], proba[:2]).moments(soft=True)
    np.testing.assert_allclose(joint, [[1.5 / 3, 0.2 / 3], [0.5 / 3, 0.8 / 3]])
    np.testing.assert_allclose(marginal, [0.75, 0.25])


def test_bbse_by_hand():
    # C^-1 = [[.3, -.1], [-.1, .5]] / .14
    np.testing.assert_allclose(bbse(JOINT, np.array([0.4, 0.6])), [3 / 7, 13 / 7])
    np.testing.assert_allclose(bbse(JOINT, np.array([0.1, 0.9])), [0, 22 / 7])


def test_qp_by_hand():
    np.testing.assert_allclose(qp(JOINT, np.array([0.4, 0.6])), [3 / 7, 13 / 7], rtol=1e-5)
    # on .6 w0 + .4 w1 = 1 with w0 at its bound
    np.testing.assert_allclose(qp(JOINT, np.array([0.1, 0.9])), [0, 2.5], atol=1e-5)


@pytest.mark.parametrize("n_source", [0.2, 0.5, 2, 1000])
@pytest.mark.parametrize("marginal", [[0.4, 0.6], [0.1, 0.9]])
def test_rlls_against_a_grid(n_source, marginal):
    """Strengths of the penalty from "nothing moves" to "almost none"."""
    marginal = np.array(marginal)
    log_term = 2 * np.log(2 * 2 / 0.05)
    rho = 0.01 * 3 * (log_term / (3 * n_source) + np.sqrt(log_term / n_source))

    def loss(theta0, theta1):
        r0 = 0.5 * theta0 + 0.1 * theta1 - (marginal[0] - 0.6)  # C 1 = (.6, .4)
        r1 = 0.1 * theta0 + 0.3 * theta1 - (marginal[1] - 0.4)
        return np.hypot(r0, r1) + rho * np.hypot(theta0, theta1)

    grid = loss(*np.meshgrid(np.linspace(-1, 3, 1601), np.linspace(-1, 3, 1601)))
    found = rlls(JOINT, marginal, n_source) - 1
    assert (found >= -1 - 1e-9).all()
    assert loss(*found) <= grid.min() + 1e-6


def test_rlls_uses_the_predicted_source_marginal():
    """A classifier that is wrong in a lopsided way gives exactly 1 where nothing shifted."""
    joint = np.array([[0.5, 0.3], [0.1, 0.1]])
    np.testing.assert_allclose(rlls(joint, joint.sum(1), 100), [1, 1])


def test_em_step_by_hand():
    proba, half = np.array([[0.8, 0.2], [0.4, 0.6]]), np.full(2, 0.5)
    once = em_step(np.ones(2), proba, half, half)
    np.testing.assert_allclose(once, [1.2, 0.8])
    # rows: .96 / (.96 + .16) = 6 / 7, and .48 / (.48 + .48)
    np.testing.assert_allclose(em_step(once, proba, half, half), [19 / 14, 9 / 14])


def test_em_raises_the_likelihood_and_acceleration_finds_its_limit():
    rng = np.random.default_rng(0)
    proba, weight = rng.dirichlet([1, 2, 0.5], size=200), rng.dirichlet(np.full(200, 2.0))
    prior, ratio = np.array([0.3, 0.5, 0.2]), np.ones(3)
    likelihood = []
    for _ in range(5000):
        likelihood.append(weight @ np.log(proba @ ratio))
        ratio = em_step(ratio, proba, prior, weight)
        assert ratio @ prior == pytest.approx(1)
    assert (np.diff(likelihood) >= -1e-14).all() and likelihood[-1] > likelihood[0]
    np.testing.assert_allclose(mlls(proba, prior, weight), ratio, atol=1e-5)


def test_mlls_takes_a_class_to_zero():
    proba = np.array([[0.9, 0.1], [0.8, 0.2]])
    np.testing.assert_allclose(mlls(proba, np.full(2, 0.5), np.full(2, 0.5)), [2, 0], atol=1e-5)


# --- calibration ------------------------------------------------------------------------------


def test_calibration_recovers_temperature_and_bias():
    data = make_label_shift(60_000, 1, n_classes=3, source_prior=[0.5, 0.3, 0.2], random_state=0)
    bias = np.array([0.8, -0.5, -0.3])
    wrong = softmax(2.5 * (log_proba(data.proba_source) - bias), axis=1)
    found = fit_calibration(wrong, data.codes_source)
    np.testing.assert_allclose(1 / found.scale, 2.5, atol=0.06)
    np.testing.assert_allclose(found.bias, bias, atol=0.04)
    np.testing.assert_allclose(found.apply(wrong), data.proba_source, atol=0.03)


def test_calibration_keeps_the_prior_and_is_a_minimum():
    data = make_label_shift(500, 1, n_classes=4, calibration="overconfident", random_state=1)
    weight = np.random.default_rng(0).uniform(0.5, 2, 500)
    found = fit_calibration(data.proba_source, data.codes_source, weight)
    prior = np.bincount(data.codes_source, weight) / weight.sum()
    mean = weight @ found.apply(data.proba_source) / weight.sum()
    np.testing.assert_allclose(mean, prior, atol=1e-5)

    def loss(step):
        a, b = found.scale + step[0], found.bias + step[1:]
        total = 0.0
        for p, y, w in zip(data.proba_source, data.codes_source, weight, strict=True):
            z = a * np.log(np.maximum(p, 1e-12)) + b
            total -= w * (z[y] - np.log(np.exp(z - z.max()).sum()) - z.max())
        return total / weight.sum()

    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-4
        assert (loss(step) - loss(-step)) / 2e-4 == pytest.approx(0, abs=2e-5)
        assert loss(10 * step) > loss(np.zeros(5)) < loss(-10 * step)


def test_vector_calibration_is_closer_where_classes_differ():
    data = make_label_shift(60_000, 1, n_classes=3, random_state=0)
    scale, bias = np.array([0.4, 0.7, 1.3]), np.array([0.5, -0.5, 0.0])
    wrong = softmax((log_proba(data.proba_source) - bias) / scale, axis=1)
    # Normalising has mixed the scales: no calibration of probabilities undoes it altogether.
    vector = fit_calibration(wrong, data.codes_source, kind="vector")
    common = fit_calibration(wrong, data.codes_source, kind="bcts")
    off = [np.abs(c.apply(wrong) - data.proba_source).mean() for c in (vector, common)]
    assert off[0] < 0.5 * off[1]
    np.testing.assert_allclose(
        vector.apply(wrong).mean(0), np.bincount(data.codes_source) / 60_000, atol=1e-4
    )


def test_a_scale_for_each_class_is_taken_where_the_rows_ask_for_it():
    taken = {"overconfident": 0, "distorted": 0}
    for seed in range(20):
        for wrong in taken:
            data = make_label_shift(1000, 1, calibration=wrong, random_state=seed)
            found = fit_calibration(data.proba_source, data.codes_source)
            same = fit_calibration(data.proba_source, data.codes_source, kind=found.kind)
            np.testing.assert_allclose(found.scale, same.scale, rtol=1e-3)
            taken[wrong] += found.kind == "vector"
    assert taken["overconfident"] <= 1 and taken["distorted"] >= 15


def test_resamples_are_calibrated_as_all_rows_are(monkeypatch):
    kinds = []

    def fit(proba, codes, weight, kind, start):
        kinds.append(kind)
        return fit_calibration(proba, codes, weight, kind, start)

    monkeypatch.setattr("adaptlearn.imbalance.label_shift.fit_calibration", fit)
    data = make_label_shift(1000, 500, calibration="distorted", random_state=0)
    found = estimate_label_shift(*data[:3], n_bootstrap=3, random_state=0)
    assert kinds == ["auto"] + 3 * [found.calibration.kind] == ["auto"] + 3 * ["vector"]


def test_calibration_of_perfect_predictions_is_finite():
    codes = np.arange(60) % 3
    found = fit_calibration(one_hot(codes, 3), codes)
    assert np.isfinite(found.scale).all() and np.isfinite(found.bias).all()
    np.testing.assert_array_equal(found.apply(one_hot(codes, 3)).argmax(1), codes)


# --- estimates --------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("n_classes", [2, 3, 5, 10])
def test_many_rows_give_the_true_ratio(method, n_classes):
    data = make_label_shift(
        40_000, 40_000, n_classes=n_classes, alpha=1.0, class_sep=4.0, random_state=n_classes
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = estimate_label_shift(*data[:3], method=method)
    np.testing.assert_allclose(found.ratio, data.ratio, rtol=0.08, atol=0.05)
    np.testing.assert_allclose(found.target_prior, data.target_prior, atol=0.01)
    assert found.ratio @ found.source_prior == pytest.approx(1)
    assert (found.ratio >= 0).all()


def test_calibration_is_what_makes_likelihood_hold():
    wrong = {"bcts": 0.0, None: 0.0}
    for seed in range(10):
        data = make_label_shift(calibration="overconfident", random_state=seed)
        for calibration in wrong:
            ratio = estimate_label_shift(*data[:3], calibration=calibration).ratio
            wrong[calibration] += np.mean((ratio - data.ratio) ** 2)
    assert wrong["bcts"] < wrong[None] / 2


@pytest.mark.parametrize("method", ["mlls", "bbse", "qp"])
@pytest.mark.parametrize("soft", [False, True])
def test_weights_are_repetitions(method, soft):
    data = make_label_shift(300, 200, n_classes=3, random_state=0)
    times = np.random.default_rng(0).integers(0, 4, 300)
    source, codes = data.proba_source, data.codes_source
    weighted = estimate(
        source, codes, data.proba_target, method=method, soft=soft, sample_weight=times * 0.5
    )
    repeated = estimate(
        source.repeat(times, 0), codes.repeat(times), data.proba_target, method=method, soft=soft
    )
    np.testing.assert_allclose(weighted.ratio, repeated.ratio, atol=1e-5)
    np.testing.assert_allclose(weighted.source_prior, repeated.source_prior)


@every_method
def test_a_class_without_source_rows(method):
    data = make_label_shift(600, 500, n_classes=4, random_state=2)
    kept = data.codes_source != 1
    found = estimate(data.proba_source[kept], data.codes_source[kept], data.proba_target,
                     method=method, n_bootstrap=3, random_state=0)  # fmt: skip
    assert found.ratio[1] == found.target_prior[1] == found.source_prior[1] == 0
    assert found.target_prior.sum() == pytest.approx(1)
    assert found.interval[0][1] == found.interval[1][1] == 0
    for prior in ("target", "uniform", [0.1, 0.7, 0.1, 0.1]):
        corrected = found.correct(data.proba_target, prior)
        np.testing.assert_allclose(corrected.sum(1), 1)
        if found.shrinkage:  # else the classifier's own probabilities, as they are
            assert (corrected[:, 1] == 0).all()


@every_method
def test_a_class_that_is_never_predicted(method):
    data = make_label_shift(600, 500, n_classes=3, random_state=0)
    source, target = (p.copy() for p in (data.proba_source, data.proba_target))
    for proba in (source, target):
        proba[:, 0] += proba[:, 2]
        proba[:, 2] = 0
    found = estimate(source, data.codes_source, target, method=method)
    assert np.isfinite(found.ratio).all()
    assert found.target_prior.sum() == pytest.approx(1)


@every_method
def test_one_class(method):
    found = estimate(np.ones((5, 1)), np.zeros(5, dtype=int), np.ones((4, 1)), method=method)
    np.testing.assert_array_equal(found.ratio, [1])


def test_inputs_are_unchanged_and_may_be_read_only():
    data = make_label_shift(100, 100, n_classes=3, random_state=0)
    copies = [part.copy() for part in data[:3]]
    for part in data[:3]:
        part.setflags(write=False)
    estimate(*data[:3], method="auto", n_bootstrap=2)
    for part, copy in zip(data[:3], copies, strict=True):
        np.testing.assert_array_equal(part, copy)
    single = [part.astype(np.float32) if part.dtype.kind == "f" else part for part in data[:3]]
    np.testing.assert_allclose(estimate(*single).ratio, estimate(*data[:3]).ratio, atol=1e-3)


# --- noise: covariance, shrinkage, intervals --------------------------------------------------


@pytest.mark.parametrize("kind", ["bcts", "vector"])
def test_covariance_is_that_of_repeated_draws(kind):
    found, stated = [], []
    for seed in range(200):
        data = make_label_shift(
            500, 700, n_classes=3, target_prior=[0.2, 0.3, 0.5], calibration="overconfident",
            random_state=seed,
        )  # fmt: skip
        shift = estimate_label_shift(*data[:3], calibration=kind)
        found.append(shift.ratio)
        calibrated = [shift.calibration.apply(p) for p in (data.proba_source, data.proba_target)]
        stated.append(
            mlls_covariance(
                shift.ratio, log_proba(data.proba_source), calibrated[0], data.codes_source,
                np.full(500, 1 / 500), log_proba(data.proba_target), calibrated[1], kind=kind,
            )
        )  # fmt: skip
    true = np.cov(np.array(found).T)
    # 200 draws: a variance is known to about 10 %
    np.testing.assert_allclose(np.mean(stated, 0), true, atol=0.3 * true.max())
    np.testing.assert_allclose(np.diag(np.mean(stated, 0)), np.diag(true), rtol=0.3)


def test_auto_keeps_still_where_nothing_shifted():
    errors, untouched = {"auto": 0.0, "mlls": 0.0}, 0
    for seed in range(20):
        data = make_label_shift(alpha=None, calibration="overconfident", random_state=seed)
        for method in errors:
            found = estimate_label_shift(*data[:3], method=method)
            errors[method] += np.mean((found.ratio - 1) ** 2)
        untouched += (found.ratio == 1).all() if method == "auto" else 0
        auto = estimate_label_shift(*data[:3], method="auto")
        untouched += (auto.ratio == 1).all()
        assert (auto.shrinkage == 0) == (auto.ratio == 1).all()
    assert errors["auto"] < errors["mlls"] / 3
    assert untouched >= 5


def test_auto_follows_a_clear_shift():
    data = make_label_shift(target_prior=[0.6, 0.3, 0.06, 0.03, 0.01], random_state=0)
    full = estimate_label_shift(*data[:3])
    auto = estimate_label_shift(*data[:3], method="auto")
    assert auto.shrinkage > 0.95 and full.shrinkage == 1
    np.testing.assert_allclose(auto.ratio - 1, auto.shrinkage * (full.ratio - 1))


def test_auto_follows_a_shift_that_leaves_classes_out():
    """Ratios at zero are no noise, however little the target says about them."""
    for seed in range(10):
        data = make_label_shift(900, 100, n_classes=10, alpha=0.1, class_sep=4.0, random_state=seed)
        assert estimate(*data[:3], method="auto").shrinkage > 0.8


@pytest.mark.parametrize("method", ["mlls", "bbse"])
def test_intervals_cover(method):
    covered = []
    for seed in range(20):
        data = make_label_shift(400, 400, n_classes=3, alpha=2.0, random_state=seed)
        found = estimate(*data[:3], method=method, n_bootstrap=60, random_state=0)
        low, high = found.interval
        assert (low <= high).all() and (low >= 0).all() and (high <= 1).all()
        covered.append((low <= data.target_prior) & (data.target_prior <= high))
    assert 0.78 <= np.mean(covered) <= 0.98  # 60 intervals of 90 %


def test_intervals_hold_their_share_of_the_gaps():
    predictions, drawn = read_predictions(*ten_rows(4)), []

    def solve(sample, start):
        drawn.append(np.array([len(drawn), 1.0]) / sample.prior)
        return drawn[-1], None

    # 19 draws 0, ..., 18 have 20 gaps beside and between them: 18 of 20 lie in from 0 to 18.
    low, high = _bootstrap(predictions, solve, None, 19, 0.9, np.random.RandomState(0))
    np.testing.assert_allclose([low[0], high[0]], [0, 18])
    np.testing.assert_allclose([low[1], high[1]], 1)


def test_intervals_follow_the_seed_and_the_level():
    data = make_label_shift(200, 200, n_classes=3, random_state=0)
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002

    def interval(seed, confidence=0.9):
        return np.array(
            estimate(*data[:3], n_bootstrap=30, random_state=seed, confidence=confidence).interval
        )

    np.testing.assert_array_equal(interval(1), interval(1))
    assert not np.array_equal(interval(1), interval(2))
    wide, narrow = interval(1, 0.9), interval(1, 0.5)
    assert (np.diff(wide, axis=0) > np.diff(narrow, axis=0)).all()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert estimate(*data[:3]).interval is None


# --- warnings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", ["exact", "overconfident", "distorted"])
def test_clean_data_warn_of_nothing(calibration):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(15):
            data = make_label_shift(calibration=calibration, random_state=seed)
            found = estimate_label_shift(*data[:3], method="auto")
            assert found.problems == () and found.unexplained < 0.1


def test_few_rows_of_a_class_warn():
    data = make_label_shift(400, 400, n_classes=3, class_sep=4.0, random_state=0)
    for kept, fires in ((9, True), (10, False)):
        rows = np.r_[
            np.flatnonzero(data.codes_source < 2), np.flatnonzero(data.codes_source == 2)[:kept]
        ]
        given = data.proba_source[rows], data.codes_source[rows], data.proba_target
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = estimate_label_shift(*given, classes=["a", "b", "rare"])
        few = [w for w in caught if "Few held-out source rows" in str(w.message)]
        assert len(few) == fires
        if fires:
            assert "{'rare': 9}" in str(few[0].message) and few[0].category is UserWarning
            assert few[0].filename == __file__
            assert any("Few" in text for text in found.problems)


@pytest.mark.parametrize("method", ["mlls", "bbse"])
def test_classes_that_look_alike_warn(method):
    data = make_label_shift(1000, 1000, n_classes=4, random_state=0)
    rng = np.random.default_rng(0)
    mixed = []
    for proba in (data.proba_source, data.proba_target):
        share = rng.uniform(0.3, 0.7, len(proba))
        both = proba[:, 1] + proba[:, 3]
        proba = proba.copy()
        proba[:, 1], proba[:, 3] = share * both, (1 - share) * both
        mixed.append(proba)
    with pytest.warns(UserWarning, match=r"does not tell the classes \['b', 'd'\] apart"):
        estimate_label_shift(
            mixed[0], data.codes_source, mixed[1], method=method, classes=["a", "b", "c", "d"]
        )


@pytest.mark.parametrize(
    "n_rare, problem", [(12, "knows class 'rare', of which 12 source rows"), (5, "Few held-out")]
)
def test_a_rare_class_that_is_hardly_known_warns(n_rare, problem):
    data = make_label_shift(2000, 500, n_classes=3, class_sep=1.5, random_state=0)
    rare = data.codes_source == 2
    rows = np.flatnonzero(~rare | (rare.cumsum() <= n_rare))
    given = data.proba_source[rows], data.codes_source[rows], data.proba_target
    with pytest.warns(UserWarning, match=problem):
        found = estimate_label_shift(*given, classes=["a", "b", "rare"])
    assert len(found.problems) == 1


def moved(data, how_far=0.4):
    """The target's predictions lose confidence, as under domain shift."""
    flat = data.proba_target**how_far
    return data._replace(proba_target=flat / flat.sum(1, keepdims=True))


def test_domain_shift_warns_and_auto_stands_back():
    data = moved(make_label_shift(random_state=0))
    with pytest.warns(UserWarning, match="fit no mixture .* Label shift alone does not explain"):
        found = estimate_label_shift(*data[:3], method="auto")
    assert (found.ratio == 1).all() and found.shrinkage == 0 and found.unexplained > 0.05
    np.testing.assert_array_equal(found.target_prior, found.source_prior)
    assert found.correct(data.proba_target) is data.proba_target
    assert (estimate(*data[:3], method="mlls").ratio != 1).any()


def test_p_values_are_even_under_label_shift():
    predictions = [
        read_predictions(*make_label_shift(500, 800, n_classes=4, random_state=seed)[:3])
        for seed in range(150)
    ]
    p = np.array([misfit(one).p_value for one in predictions])
    assert 0.01 < np.mean(p < 0.1) < 0.22
    assert 0.35 < np.mean(p < 0.5) < 0.65


def test_noise_of_the_smallest_singular_value():
    found = []
    for seed in range(200):
        data = make_label_shift(400, 5, n_classes=2, random_state=seed)
        found.append(spectrum(read_predictions(*data[:3]), True)[1:3])
    smallest, noise = np.array(found).T
    assert noise.mean() == pytest.approx(smallest.std(), rel=0.25)


# --- the result -------------------------------------------------------------------------------


def test_correction_by_hand():
    found = estimate(*ten_rows(4), method="bbse")
    np.testing.assert_allclose(found.ratio, [3 / 7, 13 / 7])
    proba = np.array([[0.5, 0.5], [0.8, 0.2]])
    np.testing.assert_allclose(found.correct(proba), [[3 / 16, 13 / 16], [12 / 25, 13 / 25]])
    np.testing.assert_allclose(found.correct(proba, "uniform")[0], [0.4, 0.6])
    np.testing.assert_allclose(found.correct(proba, [9, 1])[0], [6 / 7, 1 / 7])
    assert found.correct(proba, "source") is proba
    for wrong in (proba[0], np.ones((2, 3)) / 3):
        with pytest.raises(ValueError, match=r"proba has shape .* of the 2 classes"):
            found.correct(wrong)


def test_correction_is_on_calibrated_probabilities():
    data = make_label_shift(calibration="overconfident", random_state=0)
    found = estimate(*data[:3])
    calibrated = softmax(
        np.log(data.proba_target) * found.calibration.scale + found.calibration.bias, axis=1
    )
    expected = calibrated * found.ratio
    np.testing.assert_allclose(
        found.correct(data.proba_target), expected / expected.sum(1, keepdims=True)
    )
    assert estimate(*data[:3], calibration=None).calibration is None


def test_a_row_that_loses_all_keeps_its_probabilities():
    found = estimate(one_hot([0, 1] * 9), [0, 1] * 9, one_hot([0] * 9), method="qp")
    np.testing.assert_allclose(found.ratio, [2, 0], atol=1e-6)
    found.ratio[1] = 0
    np.testing.assert_array_equal(found.correct(one_hot([1])), [[0, 1]])


def test_it_prints():
    found = estimate(*ten_rows(4), method="bbse", classes=["no", "<yes>"], n_bootstrap=9,
                     random_state=0)  # fmt: skip
    lines = repr(found).splitlines()
    assert lines[0] == "LabelShift(method='bbse', n_source=10, n_target=10)"
    assert lines[1].split() == ["class", "source", "target", "ratio", "90%", "interval"]
    assert lines[2].split()[:4] == ["no", "0.600", "0.257", "0.43"]
    assert len({len(line) for line in lines[1:]}) == 1
    html = found._repr_html_()
    assert "&lt;yes&gt;" in html and "<yes>" not in html and "Few held-out" in html
    assert "shrinkage=" in repr(estimate(*ten_rows(4), method="auto"))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "em"}, "method='em' is not known; allowed are 'auto', 'mlls'"),
        ({"calibration": True}, "calibration=True is not known; allowed are 'auto', 'bcts'"),
        ({"soft": "yes"}, "soft='yes'"),
        ({"n_bootstrap": -1}, "n_bootstrap=-1"),
        ({"confidence": 90}, "confidence=90"),
        ({"classes": ["a"]}, "classes has shape"),
        ({"proba_source": np.ones((10, 2))}, "proba_source must hold probabilities.*softmax"),
        ({"proba_source": np.ones(10)}, r"proba_source must have shape \(n_rows, n_classes\)"),
        ({"proba_target": np.full((3, 2), np.nan)}, "proba_target must hold probabilities"),
        ({"proba_target": np.zeros((0, 2))}, "proba_target must have shape"),
        ({"proba_target": np.eye(3)}, "proba_target has 3 columns and proba_source has 2"),
        ({"codes": np.zeros(9, dtype=int)}, "codes must hold one integer for each of the 10"),
        ({"codes": np.zeros(10)}, "codes must hold one integer"),
        ({"codes": np.full(10, -1)}, "codes must lie in 0 .. 1"),
        ({"sample_weight": np.zeros(10)}, "sample_weight must be finite"),
    ],
)
def test_errors_name_the_parameter(change, message):
    given = dict(zip(("proba_source", "codes", "proba_target"), ten_rows(4), strict=True))
    with pytest.raises(ValueError, match=message):
        estimate_label_shift(**(given | change))


# --- generator --------------------------------------------------------------------------------


def test_generated_probabilities_are_the_right_ones():
    prior = np.array([0.6, 0.3, 0.1])
    data = make_label_shift(50_000, 10, n_classes=3, source_prior=prior, random_state=0)
    np.testing.assert_allclose(data.proba_source.mean(0), prior, atol=0.01)
    for k in range(3):
        for low in (0.1, 0.4, 0.7):
            rows = (data.proba_source[:, k] > low) & (data.proba_source[:, k] < low + 0.2)
            share = np.mean(data.codes_source[rows] == k)
            assert share == pytest.approx(data.proba_source[rows, k].mean(), abs=0.03)


def test_generated_shift():
    data = make_label_shift(10, 50_000, n_classes=4, alpha=1.0, random_state=3)
    found = np.bincount(data.codes_target, minlength=4) / 50_000
    np.testing.assert_allclose(found, data.target_prior, atol=0.01)
    np.testing.assert_allclose(data.ratio, 4 * data.target_prior)
    again = make_label_shift(10, 50_000, n_classes=4, alpha=1.0, random_state=3)
    np.testing.assert_array_equal(again.proba_target, data.proba_target)
    assert (make_label_shift(10, 10, alpha=None, random_state=0).ratio == 1).all()


@pytest.mark.parametrize(
    "params, message",
    [
        ({"n_source": 0}, "n_source=0"),
        ({"alpha": 0}, "alpha=0"),
        ({"calibration": "bad"}, "calibration='bad' is not known"),
        ({"source_prior": [1, 0, 0, 0, 0]}, "source_prior must be above 0"),
        ({"target_prior": [1, 2]}, "target_prior"),
    ],
)
def test_generator_errors(params, message):
    with pytest.raises(ValueError, match=message):
        make_label_shift(**params)


# --- benchmark --------------------------------------------------------------------------------


def test_benchmark_prints_its_tables(capsys):
    sizes = ["--shifts", "2", "--interval-shifts", "1", "--bootstrap", "3"]
    assert benchmark.main(["label-shift-estimators", *sizes]) == 0
    out = capsys.readouterr().out
    for name in ("exact", "long tail", "| bbse, soft |", "| mlls |", "| auto |", "90% interval"):
        assert name in out
    assert "nan" not in out.split("Share of classes")[0]
    with pytest.raises(SystemExit):
        benchmark.main(["label-shift-estimators", "--shifts", "0"])
