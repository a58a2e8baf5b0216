"""Whether the data can tell class proportions at all, in plain words where they cannot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.special import chdtrc

_FEW_ROWS = 10
# Smallest singular value over its standard error; two like classes give about 1.
_CLEAR = 3.0
# Share of target predictions that may fit no mixture, and the p-value that says it is no chance.
# Counts of few rows make small p-values several times too small, hence so strict a bound.
_UNEXPLAINED = 0.05
_P_VALUE = 1e-5
_ROWS_PER_BIN = 15


class Spectrum(NamedTuple):
    """Singular values of the confusion matrix."""

    condition: float
    smallest: float
    noise: float  # standard error of the smallest
    direction: np.ndarray  # its right singular vector: classes that look alike


def spectrum(predictions, soft):
    """Singular values of the joint confusion matrix, the smallest with its standard error.

    With u, v its singular vectors, the smallest value is the mean of ``u[predicted] * v[true]``
    over rows, which has a standard error as any mean.
    """
    joint, _ = predictions.moments(soft)
    left, values, right = np.linalg.svd(joint)
    u, v = left[:, -1], right[-1]
    on_left = predictions.source @ u if soft else u[predictions.source.argmax(1)]
    terms, weight = on_left * v[predictions.codes], predictions.source_weight
    variance = weight @ (terms - weight @ terms) ** 2
    condition = values[0] / values[-1] if values[-1] > 0 else np.inf
    noise = np.sqrt(variance / predictions.effective_rows)
    return Spectrum(float(condition), float(values[-1]), float(noise), v)


class Misfit(NamedTuple):
    """How far the target's predictions are from every mixture of the source's classes."""

    share: float  # of target predictions that are left over, beyond noise
    p_value: float  # of the chi-square test
    dispersion: float  # chi-square over degrees of freedom, at least 1


def misfit(predictions):
    """Distance of the target's predictions from mixtures of the source's, class by class.

    Rows of both sides are counted in cells: predicted class by up to three ranges of its
    probability. Under label shift alone the target's shares are a mixture of the source's shares
    class by class. The mixture with the least chi-square is found by least squares. The share
    is the total variation between target and mixture, less what noise alone would give.
    """
    source, target, n_cells = _cells(predictions.source, predictions.target)
    n_classes = predictions.source.shape[1]
    if n_cells <= n_classes:
        return Misfit(0.0, 1.0, 1.0)
    weight = predictions.source_weight
    flat = np.bincount(source * n_classes + predictions.codes, weight, n_cells * n_classes)
    by_class = flat.reshape(n_cells, n_classes)
    by_class = by_class / by_class.sum(0)
    found = np.bincount(target, minlength=n_cells) / len(target)
    n_of_class = np.bincount(predictions.codes, weight) ** 2
    n_of_class = n_of_class / np.bincount(predictions.codes, weight**2)
    sum_row, whiten = 1e3, np.eye(n_cells)
    for _ in range(3):
        matrix = np.vstack([whiten @ by_class, np.full(n_classes, sum_row)])
        mixture = nnls(matrix, np.concatenate([whiten @ found, [sum_row]]))[0]
        fitted = by_class @ mixture
        covariance = _multinomial((found + fitted) / 2) / len(target)
        scaled = by_class * (mixture**2 / n_of_class)  # the same for each class of the source
        covariance += np.diag(scaled.sum(1)) - scaled @ by_class.T
        # One row more in each cell: no row seen is not a share known to be 0.
        one_more = np.sum((mixture / n_of_class) ** 2) + len(target) ** -2.0
        covariance[np.diag_indices(n_cells)] += one_more
        deviation = np.sqrt(np.diag(covariance))
        # Deviations add up to 0: a constant changes no distance, and makes the matrix regular.
        covariance += covariance.max()
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    residual = found - fitted
    degrees = n_cells - max(1, np.count_nonzero(mixture > 1e-9))
    chi_square = np.square(whiten @ residual).sum()
    by_chance = np.sqrt(2 / np.pi) * deviation.sum()
    share = max(0.0, np.abs(residual).sum() - by_chance) / 2
    dispersion = max(1.0, chi_square / degrees)
    return Misfit(float(share), float(chdtrc(degrees, chi_square)), float(dispersion))


def _multinomial(share):
    return np.diag(share) - np.outer(share, share)


def _cells(source, target):
    """Cell numbers of the rows of both sides, and how many cells there are."""
    n_classes = source.shape[1]
    predicted = [side.argmax(1) for side in (source, target)]
    top = [side.max(1) for side in (source, target)]
    cells = [np.zeros(len(side), dtype=np.int64) for side in predicted]
    n_cells = 0
    for k in range(n_classes):
        rows = [side == k for side in predicted]
        n_bins = min(3, *(max(1, side.sum() // _ROWS_PER_BIN) for side in rows))
        if not (rows[0].any() or rows[1].any()):
            continue
        edges = np.quantile(top[0][rows[0]], np.arange(1, n_bins) / n_bins) if n_bins > 1 else []
        edges = np.unique(edges)
        for side in (0, 1):
            cells[side][rows[side]] = n_cells + np.searchsorted(edges, top[side][rows[side]])
        n_cells += len(edges) + 1
    return *cells, n_cells


def describe_problems(predictions, spectrum, misfit, names):
    """What stands in the way of an estimate, as sentences, and whether it is domain shift.

    Parameters
    ----------
    predictions : Predictions
    spectrum : Spectrum
    misfit : Misfit
    names : list
        What the user calls each class.

    Returns
    -------
    problems : tuple of str
    domain_shift : bool
    """
    problems = []
    counts = np.bincount(predictions.codes, minlength=len(predictions.present))
    present = [name for name, there in zip(names, predictions.present, strict=True) if there]
    few = {name: int(n) for name, n in zip(present, counts, strict=False) if n < _FEW_ROWS}
    if few:
        problems.append(
            f"Few held-out source rows (fewer than {_FEW_ROWS}) of these classes: {few}. Their "
            "ratios are mostly noise; merge rare classes, or hold out more rows."
        )
    if len(present) > 1 and spectrum.smallest < _CLEAR * spectrum.noise:
        size = np.abs(spectrum.direction)
        alike = [present[k] for k in np.sort(np.flatnonzero(size > 0.4 * size.max()))]
        numbers = (
            f"(smallest singular value of its confusion matrix {spectrum.smallest:.2g}, standard "
            f"error {spectrum.noise:.2g})"
        )
        if len(alike) > 1:
            problems.append(
                f"The classifier does not tell the classes {alike} apart on held-out source rows "
                f"{numbers}, so their proportions on the target cannot be told either. Use a "
                "better classifier, or merge these classes."
            )
        elif alike[0] not in few:  # one class, rare or hardly ever predicted
            rows = counts[present.index(alike[0])]
            problems.append(
                f"It is uncertain whether the classifier knows class {alike[0]!r}, of which {rows} "
                f"source rows were held out {numbers}, and so is its proportion on the target. "
                "Use a better classifier, get more rows of the class, or merge it with another."
            )
    domain_shift = misfit.p_value < _P_VALUE and misfit.share > _UNEXPLAINED
    if domain_shift:
        problems.append(
            "Target predictions fit no mixture of the source's predictions class by class: "
            f"{misfit.share:.0%} of them are left over. Label shift alone does not explain it: the "
            "inputs moved as well (domain shift). Adapt to that first, for example with "
            "adaptlearn.DomainAdaptationClassifier."
        )
    return tuple(problems), domain_shift
