"""What a task loss is, and the plain one: cross-entropy."""

from __future__ import annotations

from numbers import Real

import numpy as np
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from torch import nn

from .._compat import Interval
from .._components import register

# Constraints shared by the losses.
NON_NEGATIVE = [Interval(Real, 0, None, closed="left")]
POSITIVE = [Interval(Real, 0, None, closed="neither")]
SMOOTHING = [Interval(Real, 0, 1, closed="left")]

_RESIDUE = 1e-3


class Criterion(BaseEstimator):
    """Base class of task losses. Subclass it and write ``loss``.

    A criterion describes; what it keeps during a fit stands in the module that ``build`` returns.

    Class attributes
    ----------------
    regression : bool
        Whether y holds numbers (the output has shape (n, 1)) instead of class codes.
    rebalances : bool
        Whether the loss itself counters imbalance. Balanced sampling and class weights are then
        refused, which would counter it twice.
    cosine_head : bool
        Whether logits are to be ``scale`` times the cosines between features and class weights,
        without a bias. The head multiplies by the scale, so that the softmax of the logits is
        what ``predict_proba`` returns and what alignments read.
    scale : float
        Factor on the cosines; only read with a cosine head.
    """

    regression = False
    rebalances = False
    cosine_head = False
    scale = 1.0

    def build(self, class_counts):
        """Make the buffers of one fit.

        Parameters
        ----------
        class_counts : Tensor of shape (n_classes,), int64
            Labelled rows per class; some may be 0. In regression, the standardised labelled
            values instead, shape (n_labelled,), float64; none when the module is made to be filled
            from a file.

        Returns
        -------
        nn.Module or None
            Moved and saved with the estimator; handed to ``loss`` as `net`.
        """
        return None

    def loss(self, logits, y, progress, net):
        """Loss of each row, unreduced.

        Parameters
        ----------
        logits : Tensor of shape (n, n_classes) or (n, 1)
        y : Tensor of shape (n,)
            int64 class codes, or floats in regression.
        progress : float
            (step + 1/2) / steps of this fit, in (0, 1); 1 when held-out rows are evaluated.
        net : nn.Module or None
            What ``build`` returned.

        Returns
        -------
        Tensor of shape (n,)
        """
        raise TypeError(f"{type(self).__name__} must define loss(logits, y, progress, net).")

    def trained_prior(self, sampled, class_counts):
        """Class proportions that the trained probabilities stand for.

        The softmax of the logits (after `posterior`) is a posterior under these proportions, so
        a correction to another prior divides by them, and nothing is corrected twice.

        Parameters
        ----------
        sampled : ndarray of shape (n_classes,)
            Class proportions of the rows as drawn (and weighted) in training; sums to 1.
        class_counts : array-like of shape (n_classes,)
            What ``build`` received.

        Returns
        -------
        ndarray of shape (n_classes,)
            Sums to 1; `sampled` itself unless the loss rebalances.
        """
        return sampled

    def posterior(self, proba, class_counts):
        """Probabilities with label smoothing undone, to be taken before another prior is.

        A smoothed loss never lets a class fall below a floor. A change of prior multiplies rare
        classes by a large factor, and the floor of a rare class would win over a sure answer.

        Parameters
        ----------
        proba : ndarray of shape (n, n_classes)
            Softmax of the logits.
        class_counts : array-like of shape (n_classes,)
            What ``build`` received.

        Returns
        -------
        ndarray of shape (n, n_classes)
            Rows sum to 1; `proba` itself for losses without smoothing.
        """
        return proba


def unsmoothed(proba, smoothing, spread):
    r"""Undo label smoothing: rows proportional to :math:`p_k / (p \cdot s) - \epsilon`.

    The smoothed posterior is :math:`(1 - \epsilon)\, r + \epsilon s`, with s the spread; for
    `LogitAdjusted` it is so before the division by s, which cancels.

    Parameters
    ----------
    proba : ndarray of shape (n, n_classes)
    smoothing : float
    spread : ndarray of shape (n_classes,)
        How the smoothed mass is spread over classes; sums to 1.
    """
    if smoothing == 0:
        return proba
    # Trained networks miss the floor by a little. What is left of it below this is noise.
    raw = np.maximum(proba / (proba @ spread)[:, None] - smoothing, _RESIDUE)
    return raw / raw.sum(1, keepdims=True)


def evenly(n_classes):
    """Equal shares of all classes."""
    return np.full(n_classes, 1 / n_classes)


class Buffers(nn.Module):
    """Named tensors of one fit, on the device and in the checkpoint.

    Parameters
    ----------
    **tensors : Tensor
    """

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


@register("criterion", "cross_entropy")
class CrossEntropy(Criterion):
    r"""Cross-entropy of the softmax, :math:`-\sum_k q_k \log p_k`.

    Parameters
    ----------
    label_smoothing : float, default=0.1
        :math:`\epsilon` in [0, 1): the target is :math:`q = (1 - \epsilon)\, e_y + \epsilon / K`.

    Examples
    --------
    >>> from adaptlearn.imbalance import CrossEntropy
    >>> CrossEntropy(label_smoothing=0.2)
    CrossEntropy(label_smoothing=0.2)
    """

    _parameter_constraints = {"label_smoothing": SMOOTHING}

    def __init__(self, label_smoothing=0.1):
        self.label_smoothing = label_smoothing

    def loss(self, logits, y, progress, net):
        """Cross-entropy of each row."""
        return F.cross_entropy(logits, y, label_smoothing=self.label_smoothing, reduction="none")

    def posterior(self, proba, class_counts):
        """Probabilities with label smoothing undone."""
        return unsmoothed(proba, self.label_smoothing, evenly(proba.shape[1]))
