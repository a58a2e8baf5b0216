"""Calibration of class probabilities on held-out rows: bias-corrected temperature or vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import chi2

from ._predictions import log_proba

KINDS = ("auto", "bcts", "vector")
# Holds the solution back where held-out rows are separated without error; else too small to matter.
_RIDGE = 1e-6
# Strength with which "vector" holds the scales of the classes together; divided by the rows.
_TOGETHER = 30.0
# "auto" takes "vector" for nothing in one of a hundred cases at most.
_LEVEL = 0.01


class Calibration(NamedTuple):
    r"""Map of probabilities, :math:`\mathrm{softmax}(a \log p + b)`.

    A bias of minus infinity takes a class out.
    """

    scale: np.ndarray  # (n_classes,): one over the temperature
    bias: np.ndarray  # (n_classes,)
    kind: str = "bcts"  # or "vector"

    def apply(self, proba):
        """Calibrated probabilities of shape (n_rows, n_classes)."""
        return softmax(log_proba(proba) * self.scale + self.bias, axis=1)


def fit_calibration(proba, codes, weight=None, kind="auto", start=None):
    r"""Fit a calibration on held-out rows by maximum likelihood.

    .. math::
        \min_{a, b} \; -\sum_i \omega_i \log \mathrm{softmax}(a \log p_i + b)_{y_i}

    "bcts" is bias-corrected temperature scaling: one scale :math:`a = 1/T` for all classes, at
    least 0.01. "vector" has one scale for each class, held together by
    :math:`\frac{15}{n} \sum_k (a_k - \bar a)^2`. Both problems are convex. At the solution the mean
    of the calibrated probabilities is the class prior of the held-out rows (the gradient in b is
    zero), which is what label shift estimation by likelihood needs.

    "auto" is "vector" where the held-out rows speak for it: a likelihood-ratio test of n rows with
    K - 1 degrees of freedom rejects the one scale at the level of 0.01. A scale for each class that
    is not needed costs accuracy, most of all with long tails.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_classes)
    codes : ndarray of shape (n_rows,)
        Class codes; every class should occur.
    weight : ndarray of shape (n_rows,), optional
    kind : {"auto", "bcts", "vector"}, default="auto"
    start : Calibration, optional
        Where to start; a close one saves time.

    Returns
    -------
    Calibration

    References
    ----------
    Alexandari, Kundaje, Shrikumar, "Maximum likelihood with bias-corrected calibration is
    hard-to-beat at label shift adaptation", ICML 2020. The term that holds the scales together is
    ours.
    """
    logits = log_proba(proba)
    n_rows = len(logits)
    weight = np.full(n_rows, 1.0 / n_rows) if weight is None else weight / weight.sum()
    if kind != "auto":
        return _fit(logits, codes, weight, kind, start)
    common = _fit(logits, codes, weight, "bcts", start)
    vector = _fit(logits, codes, weight, "vector", common)
    gain = log_proba(vector.apply(proba)) - log_proba(common.apply(proba))
    effective_rows = 1 / np.square(weight).sum()
    deviance = 2 * effective_rows * (weight @ gain[np.arange(n_rows), codes])
    return vector if deviance > chi2.ppf(1 - _LEVEL, logits.shape[1] - 1) else common


def _fit(logits, codes, weight, kind, start):
    """Calibration of one kind; weights have sum 1."""
    n_rows, n_classes = logits.shape
    rows = np.arange(n_rows)
    prior = np.bincount(codes, weight, n_classes)
    of_label = np.bincount(codes, weight * logits[rows, codes], n_classes)
    # Parameters: the mean scale, deviations of the classes from it ("vector" alone), biases.
    n_deviations = n_classes if kind == "vector" else 0
    strength = together(weight)
    ridge = np.r_[_RIDGE, np.full(n_deviations, strength), np.full(n_classes, _RIDGE)]
    identity = np.r_[1.0, np.zeros(n_deviations + n_classes)]

    def unpack(parameters):
        deviation, bias = parameters[1:-n_classes], parameters[-n_classes:]
        return np.full(n_classes, parameters[0]) + (deviation if n_deviations else 0.0), bias

    def objective(parameters):
        scale, bias = unpack(parameters)
        z = logits * scale + bias
        z -= z.max(1, keepdims=True)
        of_true = z[rows, codes]
        p = np.exp(z, out=z)
        total = p.sum(1)
        away = parameters - identity
        loss = weight @ (np.log(total) - of_true) + ridge / 2 @ away**2
        p *= (weight / total)[:, None]
        by_class = np.einsum("ik,ik->k", p, logits) - of_label
        gradient = np.r_[by_class.sum(), by_class[:n_deviations], p.sum(0) - prior]
        return loss, gradient + ridge * away

    first = identity
    if start is not None:
        mean = start.scale.mean()
        first = np.r_[mean, (start.scale - mean)[:n_deviations], start.bias]
    found = minimize(
        objective, first, jac=True, method="L-BFGS-B",
        bounds=[(0.01, None)] + [(None, None)] * (len(identity) - 1),
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-6},
    ).x  # fmt: skip
    scale, bias = unpack(found)
    return Calibration(scale, bias - bias.mean(), kind)


def together(weight):
    """Curvature of the term that holds the scales of "vector" together; weights have sum 1."""
    return _TOGETHER * np.square(weight).sum()
