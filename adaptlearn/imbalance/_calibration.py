"""Bias-corrected temperature scaling of class probabilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import softmax

from ._predictions import log_proba

# Holds the solution back where held-out rows are separated without error; else too small to matter.
_RIDGE = 1e-6


class Calibration(NamedTuple):
    r"""Map of probabilities, :math:`\mathrm{softmax}(\log p / T + b)`.

    A bias of minus infinity takes a class out.
    """

    temperature: float
    bias: np.ndarray  # (n_classes,)

    def apply(self, proba):
        """Calibrated probabilities of shape (n_rows, n_classes)."""
        return softmax(log_proba(proba) / self.temperature + self.bias, axis=1)


def fit_calibration(proba, codes, weight=None, start=None):
    r"""Fit bias-corrected temperature scaling on held-out rows by maximum likelihood.

    .. math::
        \min_{a, b} \; -\sum_i \omega_i \log \mathrm{softmax}(a \log p_i + b)_{y_i}

    with :math:`a = 1/T` at least 0.01. The problem is convex. At the solution the mean of the
    calibrated probabilities is the class prior of the held-out rows (the gradient in b is zero),
    which is what label shift estimation by likelihood needs.

    Parameters
    ----------
    proba : ndarray of shape (n_rows, n_classes)
    codes : ndarray of shape (n_rows,)
        Class codes; every class should occur.
    weight : ndarray of shape (n_rows,), optional
    start : Calibration, optional
        Where to start; a close one saves time.

    Returns
    -------
    Calibration

    References
    ----------
    Alexandari, Kundaje, Shrikumar, "Maximum likelihood with bias-corrected calibration is
    hard-to-beat at label shift adaptation", ICML 2020.
    """
    logits = log_proba(proba)
    n_rows, n_classes = logits.shape
    weight = np.full(n_rows, 1.0 / n_rows) if weight is None else weight / weight.sum()
    rows = np.arange(n_rows)
    prior = np.bincount(codes, weight, n_classes)
    of_label = weight @ logits[rows, codes]

    def objective(parameters):
        scale, bias = parameters[0], parameters[1:]
        z = scale * logits + bias
        z -= z.max(1, keepdims=True)
        of_true = z[rows, codes]
        p = np.exp(z, out=z)
        total = p.sum(1)
        away = parameters - identity
        loss = weight @ (np.log(total) - of_true) + _RIDGE / 2 * away @ away
        p *= (weight / total)[:, None]
        gradient = np.concatenate([[np.vdot(p, logits) - of_label], p.sum(0) - prior])
        return loss, gradient + _RIDGE * away

    identity = np.concatenate([[1.0], np.zeros(n_classes)])
    first = identity if start is None else np.concatenate([[1 / start.temperature], start.bias])
    found = minimize(
        objective, first, jac=True, method="L-BFGS-B",
        bounds=[(0.01, None)] + [(None, None)] * n_classes,
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-6},
    ).x  # fmt: skip
    return Calibration(float(1 / found[0]), found[1:] - found[1:].mean())
