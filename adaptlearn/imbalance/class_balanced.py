"""Cross-entropy weighted by the effective number of rows of a class."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import torch
import torch.nn.functional as F

from .._compat import Interval
from .._components import register
from .criterion import SMOOTHING, Buffers, Criterion, evenly, unsmoothed

BETA = [Interval(Real, 0, 1, closed="left")]


def effective_number_weights(class_counts, beta):
    r"""Weights :math:`w_c \propto (1 - \beta) / (1 - \beta^{n_c})` with mean 1 over the classes.

    Parameters
    ----------
    class_counts : array-like of shape (n_classes,)
        Rows per class. A class without rows gets the weight of the rarest one and takes no part in
        the mean, so that it changes nothing for the others.
    beta : float
        In [0, 1): 0 weighs all classes alike, towards 1 it is inverse frequency.

    Returns
    -------
    Tensor of shape (n_classes,), float64
    """
    counts = torch.as_tensor(class_counts).double()
    present = counts > 0
    counts = torch.where(present, counts, counts[present].min())
    # expm1: for beta close to 1 the power is close to 1, and the difference has no digits left.
    decay = math.log(beta) if beta > 0 else -math.inf
    weight = -1.0 / torch.expm1(counts * decay)  # the factor 1 - beta cancels
    return weight / weight[present].mean()


@register("criterion", "class_balanced")
class ClassBalanced(Criterion):
    r"""Cross-entropy with class weights by effective number of rows.

    .. math::
        \ell = w_y \, \mathrm{CE}(z, y), \quad
        w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}, \quad \sum_c w_c = K

    with :math:`n_c` the labelled rows of class c. The idea: the more rows a class has, the more
    they overlap, and n rows are worth :math:`(1 - \beta^n) / (1 - \beta)`.

    As the weights sum to K over classes, the mean weight of the *rows* is below 1 on imbalanced
    data, so that a given ``alignment_weight`` weighs relatively more than beside cross-entropy.

    Parameters
    ----------
    beta : float, default=0.99
        :math:`\beta` in [0, 1), worth a grid. 0 is cross-entropy, towards 1 inverse frequency:
        for 500 and 10 rows the ratio of the weights is 10.4 at .99 and 48.8 at .9999.
    label_smoothing : float, default=0.1
        :math:`\epsilon` in [0, 1), as in `CrossEntropy`. The row is weighted as a whole by the
        weight of its class, its smoothed part too (PyTorch's ``weight=`` weighs that part by
        the other classes, which pulls every row towards rare ones).

    References
    ----------
    Cui et al., "Class-balanced loss based on effective number of samples", 2019, eq. 2 and 4.
    Differs from the paper: nothing but the smoothing, and the default of beta (.9999 there, for
    larger data).

    Examples
    --------
    >>> from adaptlearn.imbalance import ClassBalanced
    >>> ClassBalanced(beta=0.999)
    ClassBalanced(beta=0.999)
    """

    rebalances = True

    _parameter_constraints = {"beta": BETA, "label_smoothing": SMOOTHING}

    def __init__(self, beta=0.99, label_smoothing=0.1):
        self.beta = beta
        self.label_smoothing = label_smoothing

    def build(self, class_counts):
        """Class weights of one fit."""
        return Buffers(weight=effective_number_weights(class_counts, self.beta))

    def loss(self, logits, y, progress, net):
        """Weighted cross-entropy of each row."""
        smoothing = self.label_smoothing
        values = F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
        return net.weight[y] * values

    def trained_prior(self, sampled, class_counts):
        """Proportions of the drawn rows times the weights of their classes."""
        return reweighted(sampled, effective_number_weights(class_counts, self.beta).numpy())

    def posterior(self, proba, class_counts):
        """Probabilities with label smoothing undone."""
        return unsmoothed(proba, self.label_smoothing, evenly(proba.shape[1]))


def reweighted(sampled, weight):
    """Class proportions of weighted rows."""
    prior = np.asarray(sampled) * weight
    return prior / prior.sum()
