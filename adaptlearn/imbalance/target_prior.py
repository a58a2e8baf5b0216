"""Class proportions of an unlabelled target whose columns moved as well."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_array

from .._pseudo_labels import closed_form_labels, ridge_scores
from ._predictions import read_codes

_ROUNDS, _DAMPING = 8, 0.5
_SHARPNESS, _RIDGE = 10.0, 1.0
# Class proportions counted from a linear method's labels differ by this much where nothing changed.
_NOISE, _FLOOR = 0.1, 1e-3
# Movement of a column from which on its statistics follow, and at which they have arrived, in
# standard deviations of the source.
_MOVED_FROM, _MOVED_AT = 1.0, 3.0


def estimate_target_prior(X_source, codes, X_target, n_classes, *, clip=3.0):
    r"""Estimate class proportions q of target rows under an affine shift of every column.

    A target in which another share of rows is of one class has other column means, and so has one
    whose inputs moved; standardised by its own mean and scale, the first would be taken for the
    second. So both are found together. The first answer is one for inputs that did not move. Then,
    in each of eight rounds

    1. the source is standardised under the class proportions q, and the target by statistics that
       go from the source's to its own only as far as class proportions do not explain the
       difference (`moved_share`),
    2. a linear method labels the target rows, selective pseudo-labelling in closed form (see
       `adaptlearn.SPL`),
    3. q moves half-way to the mean of these labels' probabilities.

    In the end q is moved towards the source's proportions p, to :math:`p + s (q - p)` with
    :math:`s = \max(0, 1 - (c / D)^2)`, :math:`c = 0.1 + 1 / K^2` for K classes and D the total
    variation between q and p. Labels are never all right, so q differs by about c where nothing
    changed; the fewer the classes, the less do their errors cancel.

    With two classes there is no answer: a change of proportions and a shift of the inputs both move
    the target along the one line between the classes. q is p then. Where you know that inputs did
    not move, see `estimate_label_shift`.

    Parameters
    ----------
    X_source, X_target : array-like of shape (n, d)
        Some hundred rows of each side suffice; time grows with the cube of the smaller of rows and
        columns.
    codes : array-like of shape (n_source,)
        Class codes 0 .. n_classes - 1.
    n_classes : int
    clip : float or None, default=3.0
        Standardised values are clipped to [-clip, clip].

    Returns
    -------
    ndarray of shape (n_classes,)
        Sums to 1; a class without source rows gets 0.

    Raises
    ------
    ValueError
        If the sides have different columns, hold NaN, or codes are none of `n_classes`.

    References
    ----------
    Zhang et al., "Domain adaptation under target and conditional shift", 2013 (proportions and an
    affine shift, found together). Wang & Breckon, "Unsupervised domain adaptation via structured
    prediction based selective pseudo-labeling", 2020 (the labels).

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.imbalance import estimate_target_prior
    >>> rng = np.random.default_rng(0)
    >>> codes = np.arange(500) % 5
    >>> X_source = rng.normal(size=(500, 6)) + 4 * np.eye(6)[codes]
    >>> target_codes = np.where(np.arange(500) < 250, 1, codes)  # .6 of class 1
    >>> X_target = 1.5 * (rng.normal(size=(500, 6)) + 4 * np.eye(6)[target_codes]) + 1
    >>> q = estimate_target_prior(X_source, codes, X_target, 5)
    >>> bool(0.5 < q[1] < 0.65)
    True
    """
    source, target = (
        check_array(X, dtype=np.float64, input_name=name)
        for name, X in (("X_source", X_source), ("X_target", X_target))
    )
    if source.shape[1] != target.shape[1]:
        raise ValueError(
            f"X_source has {source.shape[1]} columns and X_target {target.shape[1]}; give both "
            "sides in the same columns."
        )
    codes = read_codes(codes, len(source), n_classes, "X_source", f"as n_classes={n_classes}")
    return match_target(Sample(source, codes, target, n_classes), clip=clip).prior


class Sample(NamedTuple):
    """Some rows of both sides."""

    source: np.ndarray  # (n_source, d)
    codes: np.ndarray  # (n_source,)
    target: np.ndarray  # (n_target, d)
    n_classes: int

    @property
    def class_share(self):
        """Class proportions of the source rows."""
        return np.bincount(self.codes, minlength=self.n_classes) / len(self.codes)


class Match(NamedTuple):
    """Class proportions, and how much there is to them."""

    prior: np.ndarray  # (n_classes,)
    evidence: float  # s, see `estimate_target_prior`; 0: the proportions of the source


def match_target(sample, *, fixed=None, column_weight=1.0, clip=3.0):
    """Proportions of `estimate_target_prior`, for columns of which some do not move.

    Parameters
    ----------
    sample : Sample
    fixed : ndarray of shape (d,), bool, optional
        Columns with the same statistics on both sides.
    column_weight : float or ndarray of shape (d,), default=1.0
        Factor on the standardised columns.
    clip : float or None, default=3.0

    Returns
    -------
    Match
    """
    q, y = sample.class_share, torch.from_numpy(sample.codes)
    if sample.n_classes == 2:
        return Match(q, 0.0)
    for r in range(_ROUNDS + 1):
        # A target of nearly one class, standardised by itself, looks like noise, and stays so:
        # the first answer is one for inputs that did not move.
        share = moved_share(sample, q, fixed if r else True)
        sides = standardise_sides(sample, q, share, clip)
        source, target = (torch.from_numpy(z * column_weight).float() for z in sides)
        found = closed_form_labels(source, y, target, sample.n_classes, _SHARPNESS, _RIDGE)
        damping = _DAMPING if r else 0.0
        q = damping * q + (1 - damping) * found.double().mean(0).numpy()
        # The linear method spreads a little mass over all classes, also over those without rows.
        q = np.where(sample.class_share > 0, q, 0.0)
        q /= q.sum()
    distance = np.abs(q - sample.class_share).sum() / 2
    noise = _NOISE + 1 / sample.n_classes**2
    evidence = 1 - (noise / distance) ** 2 if distance > noise else 0.0
    return Match(sample.class_share + evidence * (q - sample.class_share), evidence)


def counts_changed(sample, share, *, column_weight=1.0, clip=3.0):
    """Whether a linear model of the source counts other class proportions on the target.

    Ridge regression on the source's labels takes each row for one of two classes; the share of
    target rows in a class differs from that of source rows by more than errors of labels explain.
    That tells that something changed, not what: inputs that moved change the counts as well.

    Parameters
    ----------
    sample : Sample
        Of two classes.
    share : ndarray of shape (d,)
        How far each column's statistics go to the target's own, see `plainly_moved_share`.
    column_weight, clip
        As in `match_target`.

    Returns
    -------
    bool
    """
    sides = standardise_sides(sample, sample.class_share, share, clip)
    x = torch.from_numpy(np.vstack(sides) * column_weight).float()
    n_source = len(sample.source)
    weight = (torch.arange(len(x)) < n_source).float()  # target rows are scored alone
    y_hot = torch.zeros(len(x), 2)
    y_hot[:n_source] = torch.from_numpy(np.eye(2)[sample.codes])
    scores = ridge_scores(x, y_hot, weight, _RIDGE)
    second = (scores[:, 1] > scores[:, 0]).double()
    return bool((second[n_source:].mean() - second[:n_source].mean()).abs() > _NOISE)


def standardise_sides(sample, prior, share, clip=3.0):
    """Source under the class proportions `prior`, target by statistics that moved by `share`."""
    weight = _row_weight(sample, prior)
    mean, scale = _statistics(sample.source, weight)
    target_mean, target_scale = _statistics(sample.target)
    floor = _FLOOR * np.sqrt((sample.source.var(0) + sample.target.var(0)) / 2) + 1e-12
    scale, target_scale = np.maximum(scale, floor), np.maximum(target_scale, floor)
    target_mean, target_scale = move_statistics((mean, scale), (target_mean, target_scale), share)
    sides = (sample.source - mean) / scale, (sample.target - target_mean) / target_scale
    return sides if clip is None else [np.clip(z, -clip, clip) for z in sides]


def move_statistics(source, target, share):
    """Mean and scale on the way from the source's to the target's, by `share` of it.

    Parameters
    ----------
    source, target : pairs of ndarrays of shape (..., d)
        Mean and scale; scales of both are positive, or 0 where a column never varies.
    share : ndarray of shape (d,), in [0, 1]
    """
    (mean, scale), (target_mean, target_scale) = source, target
    growth = np.divide(
        target_scale, scale, out=np.ones(np.shape(target_scale)), where=scale > 0
    )  # fmt: skip
    return mean + share * (target_mean - mean), scale * growth**share


def moved_share(sample, prior, fixed=None):
    r"""How far the statistics of each column are to go from the source's to the target's own.

    .. math:: \lambda_j = \frac{b_j^2}{b_j^2 + \sigma_j^2}

    with :math:`b_j` the difference of the column's means, source rows weighted to the class
    proportions `prior`, and :math:`\sigma_j^2` the variance of its class means. Proportions are
    never known exactly, and where class means lie far apart a small error in them moves the mean
    as much as a shift of the inputs would.

    Returns
    -------
    ndarray of shape (d,), in [0, 1]
    """
    counts = np.bincount(sample.codes, minlength=sample.n_classes)
    member = (np.arange(sample.n_classes)[:, None] == sample.codes) / np.maximum(counts, 1)[:, None]
    mean, _ = _statistics(sample.source, _row_weight(sample, prior))
    between = np.square((member @ sample.source)[counts > 0] - mean).mean(0)
    gap = np.square(sample.target.mean(0) - mean)
    share = np.divide(gap, gap + between, out=np.zeros_like(mean), where=gap + between > 0)
    return share if fixed is None else np.where(fixed, 0.0, share)


def plainly_moved_share(sample, fixed=None):
    r"""`moved_share` for two classes, whose proportions on the target cannot be told.

    .. math:: \lambda_j = \min\Big(1, \max\Big(0, \frac{m_j - 1}{2}\Big)\Big), \qquad
        m_j^2 = \Big(\frac{b_j}{s_j}\Big)^2 + \Big(\log_2 \frac{t_j}{s_j}\Big)^2

    with :math:`b_j` the difference of the column's means and :math:`s_j`, :math:`t_j` its standard
    deviations on source and target. Other proportions move a mean by one standard deviation at most
    where the classes are balanced, and seldom double a scale; a mean that moved by three, or an
    eightfold scale, has another unit or offset.

    Returns
    -------
    ndarray of shape (d,), in [0, 1]
    """
    (mean, scale), (target_mean, target_scale) = map(_statistics, (sample.source, sample.target))
    floor = _FLOOR * np.sqrt((scale**2 + target_scale**2) / 2) + 1e-12
    scale, target_scale = np.maximum(scale, floor), np.maximum(target_scale, floor)
    growth = np.log2(target_scale / scale)
    move = np.hypot((target_mean - mean) / scale, growth)
    share = np.clip((move - _MOVED_FROM) / (_MOVED_AT - _MOVED_FROM), 0, 1)
    return share if fixed is None else np.where(fixed, 0.0, share)


def _row_weight(sample, prior):
    """Weights of the source rows under which they have the class proportions `prior`."""
    ratio = np.divide(prior, sample.class_share, out=np.zeros(sample.n_classes), where=prior > 0)
    weight = ratio[sample.codes]
    return weight / weight.sum()


def _statistics(x, weight=None):
    mean = np.average(x, axis=0, weights=weight)
    return mean, np.sqrt(np.average(np.square(x - mean), axis=0, weights=weight))
