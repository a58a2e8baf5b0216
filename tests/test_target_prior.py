"""Estimated class proportions, and the normalisation that rests on them."""

import numpy as np
import pytest
import torch

from adaptlearn import Alignment, DomainAdaptationClassifier, load, pack
from adaptlearn._domains import FitRows
from adaptlearn.deep._scaling import target_class_ratio
from adaptlearn.imbalance import estimate_target_prior


def problem(seed, share, n=600, unit=5.0, offset=30.0):
    """Two classes; the target has `share` of class 1 and another unit."""
    rng = np.random.default_rng(seed)
    ys = np.arange(n) % 2
    yt = (np.arange(n) < share * n).astype(int)
    Xs = rng.normal(size=(n, 4)) + 3.0 * ys[:, None] * [1, 1, 0, 0]
    Xt = rng.normal(size=(n, 4)) + 3.0 * yt[:, None] * [1, 1, 0, 0]
    return Xs, ys, unit * Xt + offset, yt


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_proportions_are_found_under_another_unit(share):
    found = [
        estimate_target_prior(Xs, ys, Xt, 2)[1]
        for Xs, ys, Xt, _ in (problem(seed, share) for seed in range(3))
    ]
    assert np.mean(found) == pytest.approx(share, abs=0.08)


def test_units_and_offsets_do_not_matter():
    Xs, ys, Xt, _ = problem(0, 0.8)
    one = estimate_target_prior(Xs, ys, Xt, 2)
    two = estimate_target_prior(Xs, ys, (Xt - 30) / 5 * 300 - 1000, 2)
    np.testing.assert_allclose(one, two, atol=1e-3)


def test_it_sums_to_one_and_knows_absent_classes():
    Xs, ys, Xt, _ = problem(0, 0.5)
    found = estimate_target_prior(Xs, 2 * ys, Xt, 4)  # classes 1 and 3 have no row
    assert found.sum() == pytest.approx(1)
    assert found[1] == found[3] == 0


def test_strong_shrinkage_keeps_the_source_proportions():
    Xs, ys, Xt, _ = problem(0, 0.9)
    np.testing.assert_allclose(
        estimate_target_prior(Xs, ys, Xt, 2, shrinkage=100.0), [0.5, 0.5], atol=0.02
    )


def rows(Xs, ys, Xt):
    n, m = len(Xs), len(Xt)
    domain = np.repeat([0, -1], [n, m])
    codes = np.concatenate([ys, np.zeros(m, dtype=int)])
    return FitRows(codes, domain == 0, domain, None), (domain < 0).astype(int), codes


def test_source_rows_are_weighted_to_the_target_proportions():
    Xs, ys, Xt, _ = problem(0, 0.8)
    ratio = target_class_ratio([Xs, Xt], *rows(Xs, ys, Xt), 2, 3.0, seed=0)
    source = ratio[0][ys]
    assert source[ys == 1].sum() / source.sum() == pytest.approx(0.8, abs=0.08)
    assert source.mean() == pytest.approx(1)
    assert (ratio[1] == 1).all()


def test_wide_or_small_data_keep_the_source_proportions():
    Xs, ys, Xt, _ = problem(0, 0.9)
    wide = [np.hstack([X, np.zeros((len(X), 400))]) for X in (Xs, Xt)]
    for blocks, y in ((wide, ys), ([Xs[:15], Xt[:15]], ys[:15])):
        given = rows(blocks[0], y, blocks[1])
        assert (target_class_ratio(blocks, *given, 2, 3.0, seed=0) == 1).all()


def test_domain_normalisation_survives_other_class_proportions():
    """Plain statistics per domain would lose here: nine in ten target rows are of one class."""
    accuracy = {"domain": [], "plain": []}
    for seed in range(3):
        Xs, ys, Xt, yt = problem(seed, 0.9)
        clf = DomainAdaptationClassifier(alignment=None, random_state=seed)
        accuracy["domain"].append(clf.fit(Xs, ys, X_target=Xt).score(Xt, yt))
        Zs, Zt = ((X - X.mean(0)) / X.std(0) for X in (Xs, Xt))
        clf.set_params(normalize=None)
        accuracy["plain"].append(clf.fit(Zs, ys, X_target=Zt).score(Zt, yt))
    assert np.mean(accuracy["domain"]) > 0.95
    assert np.mean(accuracy["domain"]) > np.mean(accuracy["plain"]) + 0.05


class Recorder(Alignment):
    """Keeps the weights that alignments get."""

    seen = []

    def loss(self, source, target, step, net):
        Recorder.seen.append((source.y, source.weight, target.weight))
        return target.logits.sum() * 0.0


def test_alignments_get_the_source_under_the_target_proportions(tmp_path):
    """Also in a later `partial_fit`, of a model that was saved and loaded in between."""
    Xs, ys, Xt, _ = problem(0, 0.8)
    model = DomainAdaptationClassifier(alignment=Recorder(), max_epochs=3, random_state=0)
    model.fit(Xs, ys, X_target=Xt).save(tmp_path / "model")
    loaded = load(tmp_path / "model", components={"Recorder": Recorder})
    for again in (model, loaded):
        Recorder.seen.clear()
        again.partial_fit(*pack(Xs, ys, Xt)[:2])
        y, weight, target_weight = (torch.cat(parts) for parts in zip(*Recorder.seen, strict=True))
        share = (weight[y == 1].sum() / weight.sum()).item()
        assert share == pytest.approx(0.8, abs=0.08)
        assert weight.mean().item() == pytest.approx(1, abs=0.05)
        assert (target_weight == 1).all()


@pytest.mark.parametrize("normalize", ["source", None])
def test_without_domain_normalisation_alignments_get_the_source_as_it_is(normalize):
    Xs, ys, Xt, _ = problem(0, 0.8)
    Recorder.seen.clear()
    model = DomainAdaptationClassifier(alignment=Recorder(), normalize=normalize, max_epochs=1)
    model.fit(Xs, ys, X_target=Xt)
    assert all((weight == 1).all() for _, weight, _ in Recorder.seen)
