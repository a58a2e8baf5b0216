"""Class proportions of an unlabelled target, from a classifier's predictions."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.utils import check_random_state

from ._bbse import bbse
from ._calibration import KINDS, Calibration, fit_calibration
from ._label_shift_checks import describe_problems, misfit, spectrum
from ._label_shift_result import LabelShift
from ._mlls import mlls, mlls_covariance
from ._predictions import log_proba, read_predictions
from ._qp import qp
from ._rlls import rlls

METHODS = ("auto", "mlls", "rlls", "bbse", "qp")


def estimate_label_shift(
    proba_source, codes, proba_target, *, method="mlls", calibration="auto", soft=False,
    n_bootstrap=0, confidence=0.9, sample_weight=None, classes=None, random_state=None,
):  # fmt: skip
    r"""Estimate :math:`w_y = p_T(y) / p_S(y)` from predictions on both sides.

    It takes that classes look the same on both sides and only their proportions differ: label
    shift, :math:`p_T(x \mid y) = p_S(x \mid y)`. A warning says in plain words where the data
    cannot tell, or contradict this.

    Parameters
    ----------
    proba_source : array-like of shape (n_source, n_classes)
        Predicted probabilities of source rows that the classifier was *not* fitted on (held out,
        or out of fold).
    codes : array-like of shape (n_source,)
        Class codes 0 .. n_classes - 1 of these rows.
    proba_target : array-like of shape (n_target, n_classes)
        Predicted probabilities of target rows.
    method : {"mlls", "auto", "rlls", "bbse", "qp"}, default="mlls"
        - "mlls": maximum likelihood (expectation maximisation) on calibrated predictions. The most
          accurate in most of our runs (``python -m adaptlearn.benchmark label-shift-estimators``).
        - "auto": the same, moved towards the source prior by as much as its noise asks for,
          :math:`1 + s (w - 1)` with :math:`s = \max(0, 1 - E\|noise\|^2 / \|w - 1\|^2)`. Norms are
          weighted by the source prior. The noise counts more the worse label shift alone explains
          the target's predictions. It gives exactly 1 for all classes where there is no evidence
          of a shift, and where the inputs clearly moved too (see `unexplained` of the result).
        - "bbse": confusion matrix inverted. "rlls": the same, held towards 1. "qp": constrained
          least squares.
    calibration : {"auto", "bcts", "vector"} or None, default="auto"
        What "mlls" and "auto" fit on the held-out source rows first: bias-corrected temperature
        scaling ("bcts"), or one temperature for each class ("vector"), for classifiers that are
        over-confident of some classes only. "auto" takes the second where these rows are clearly
        more likely under it (likelihood-ratio test at the level of 0.01); `calibration.kind` of the
        result says which one. None: nothing; over-confident predictions then mislead them.
    soft : bool, default=False
        Whether "bbse", "rlls" and "qp" use probabilities in place of the most probable class.
    n_bootstrap : int, default=0
        Resamples of both sides for the intervals of the target prior; 0: no intervals. 200 is a
        good number. With "auto" they belong to the estimate before it is moved towards 1.
    confidence : float, default=0.9
        Level of the intervals, in (0, 1).
    sample_weight : array-like of shape (n_source,), optional
        Weights of the source rows.
    classes : array-like of shape (n_classes,), optional
        Names of the classes, for warnings and tables.
    random_state : int, RandomState or None, default=None
        Draws the bootstrap; nothing else is random.

    Returns
    -------
    LabelShift

    Raises
    ------
    ValueError
        If an array is of the wrong shape or holds no probabilities, or a parameter is unknown.

    Warns
    -----
    UserWarning
        If a class has few held-out rows, the classifier does not tell classes apart, or target
        predictions fit no mixture of the source's classes (domain shift).

    Notes
    -----
    A class without source rows has ratio 0. Ratios are scaled so that the target prior has sum 1
    (BBSE and RLLS as published leave it near 1).

    Examples
    --------
    >>> from adaptlearn.datasets import make_label_shift
    >>> from adaptlearn.imbalance import estimate_label_shift
    >>> data = make_label_shift(1000, 2000, n_classes=3, alpha=0.5, random_state=0)
    >>> shift = estimate_label_shift(data.proba_source, data.codes_source, data.proba_target)
    >>> bool(abs(shift.target_prior - data.target_prior).max() < 0.04)
    True
    """
    check_parameters(method, calibration, soft, n_bootstrap, confidence)
    predictions = read_predictions(proba_source, codes, proba_target, sample_weight)
    present, n_classes = predictions.present, len(predictions.present)
    names = np.arange(n_classes) if classes is None else np.asarray(classes)
    if names.shape != (n_classes,):
        raise ValueError(
            f"classes has shape {names.shape}; give one name for each of the {n_classes} columns "
            "of proba_source."
        )
    likelihood = method in ("auto", "mlls")
    found, left_over = spectrum(predictions, soft or likelihood), misfit(predictions)
    problems, domain_shift = describe_problems(predictions, found, left_over, names.tolist())
    for text in problems:
        warnings.warn(text, UserWarning, stacklevel=2)
    solve = _Solver(method, calibration, soft)
    ratio, fitted = solve(predictions)
    interval = None
    if n_bootstrap:
        interval = np.zeros((2, n_classes))
        rng = check_random_state(random_state)
        interval[:, present] = _bootstrap(
            predictions, solve, fitted, int(n_bootstrap), confidence, rng
        )
        interval = tuple(interval)
    kept = 1.0
    if method == "auto":
        kept = 0.0
        if not domain_shift:
            kept = _kept_share(ratio, predictions, fitted, left_over.dispersion)
        ratio = 1 + kept * (ratio - 1)
    if fitted is not None and not present.all():
        bias = np.full(n_classes, -np.inf)
        bias[present] = fitted.bias
        fitted = fitted._replace(scale=_spread(fitted.scale, present), bias=bias)
    source_prior = _spread(predictions.prior, present)
    ratio = _spread(ratio, present)
    return LabelShift(
        ratio=ratio,
        target_prior=ratio * source_prior,
        source_prior=source_prior,
        interval=interval,
        confidence=confidence,
        method=method,
        n_source=len(predictions.codes),
        n_target=len(predictions.target),
        condition=found.condition,
        smallest_singular_value=found.smallest,
        unexplained=left_over.share,
        shrinkage=kept,
        calibration=fitted,
        problems=problems,
        classes=names,
    )


class _Solver:
    """One method with its settings: predictions in, ratio (and calibration) out."""

    def __init__(self, method, kind, soft):
        self.method, self.kind, self.soft = method, kind, soft

    def __call__(self, predictions, start=None):
        ratio, calibration = self._ratio(predictions, start)
        return ratio / (ratio @ predictions.prior), calibration

    def _ratio(self, predictions, start):
        if self.method in ("auto", "mlls"):
            return self._likelihood(predictions, start)
        joint, marginal = predictions.moments(self.soft)
        if self.method == "rlls":
            return rlls(joint, marginal, predictions.effective_rows), None
        return {"bbse": bbse, "qp": qp}[self.method](joint, marginal), None

    def _likelihood(self, predictions, start):
        source, target, calibration = predictions.source, predictions.target, None
        if self.kind is not None:
            weight = predictions.source_weight
            kind = self.kind if start is None else start.kind  # a resample has that of all rows
            calibration = fit_calibration(source, predictions.codes, weight, kind, start)
            source, target = calibration.apply(source), calibration.apply(target)
        # With the mean prediction as the prior, no shift gives w = 1 also without calibration.
        prior = predictions.source_weight @ source
        return mlls(target, prior, predictions.target_weight), calibration


def _bootstrap(predictions, solve, calibration, n_bootstrap, confidence, rng):
    """Percentile intervals of the target prior, of shape (2, n_classes); resamples both sides."""
    n_source, n_target = len(predictions.codes), len(predictions.target)
    n_classes = predictions.source.shape[1]
    priors = np.empty((n_bootstrap, n_classes))
    for b in range(n_bootstrap):
        # How often each row was drawn, as its weight: no row is copied.
        drawn = np.bincount(rng.randint(n_source, size=n_source), minlength=n_source)
        source_weight = predictions.source_weight * drawn
        drawn = np.bincount(rng.randint(n_target, size=n_target), minlength=n_target)
        sample = predictions._replace(
            source_weight=source_weight / source_weight.sum(), target_weight=drawn / n_target
        )
        priors[b] = solve(sample, calibration)[0] * sample.prior
    tail = (1 - confidence) / 2
    # "weibull": of n + 1 gaps between n draws as many lie inside as the level says.
    return np.quantile(priors, [tail, 1 - tail], axis=0, method="weibull")


def _kept_share(ratio, predictions, calibration, dispersion):
    """James-Stein's positive part: the share of the shift that is not noise.

    The noise is that of the model times `dispersion`, which grows with what the model leaves
    unexplained (as in quasi-likelihood).
    """
    if calibration is None:
        calibration = Calibration(np.ones(len(ratio)), np.zeros(len(ratio)))
    covariance = mlls_covariance(
        ratio,
        log_proba(predictions.source),
        calibration.apply(predictions.source),
        predictions.codes,
        predictions.source_weight,
        log_proba(predictions.target),
        calibration.apply(predictions.target),
        kind=calibration.kind,
    )
    noise = dispersion * (predictions.prior @ np.diag(covariance))
    distance = predictions.prior @ (ratio - 1) ** 2
    return float(max(0.0, 1 - noise / distance)) if distance > 0 else 0.0


def _spread(values, present):
    full = np.zeros(len(present))
    full[present] = values
    return full


def check_parameters(method, calibration, soft, n_bootstrap, confidence):
    """Raise for parameters of `estimate_label_shift` that are not allowed."""
    if method not in METHODS:
        raise ValueError(
            f"method={method!r} is not known; allowed are {', '.join(map(repr, METHODS))}."
        )
    if calibration not in (*KINDS, None):
        raise ValueError(
            f"calibration={calibration!r} is not known; allowed are {', '.join(map(repr, KINDS))} "
            "and None."
        )
    if not isinstance(soft, (bool, np.bool_)):
        raise ValueError(f"soft={soft!r} must be True or False.")
    whole = isinstance(n_bootstrap, (int, np.integer)) and not isinstance(n_bootstrap, bool)
    if not whole or n_bootstrap < 0:
        raise ValueError(
            f"n_bootstrap={n_bootstrap!r} must be a whole number: 0 for no intervals, else some "
            "hundred resamples."
        )
    if not isinstance(confidence, (float, np.floating)) or not 0 < confidence < 1:
        raise ValueError(
            f"confidence={confidence!r} must be a number between 0 and 1, such as 0.9."
        )
