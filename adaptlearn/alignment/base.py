"""What an alignment is: a loss that makes source and target features alike."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch import nn

from .._compat import Interval

# Constraint of the parameters that must be positive numbers.
POSITIVE = [Interval(Real, 0, None, closed="neither")]
WIDTH = [Interval(Integral, 1, None, closed="left")]


class Domain(NamedTuple):
    """One side of a batch; every tensor has the side's n rows.

    Attributes
    ----------
    x : Tensor of shape (n, ...)
        Input rows, normalised.
    y : Tensor of shape (n,) or None
        Class codes (int64) or regression targets; None on the target side.
    features : Tensor of shape (n, n_features)
        What the head sees.
    logits : Tensor of shape (n, n_classes)
        Head output; (n, 1) in regression.
    domain : Tensor of shape (n,)
        Domain number of each row: 0, 1, ... sources, then targets.
    index : Tensor of shape (n,)
        Place of each row in the training set.
    weight : Tensor of shape (n,)
        Weight of each row in the alignment, mean about 1.
    """

    x: torch.Tensor
    y: torch.Tensor | None
    features: torch.Tensor
    logits: torch.Tensor
    domain: torch.Tensor
    index: torch.Tensor
    weight: torch.Tensor


class Step(NamedTuple):
    """Where training stands.

    Attributes
    ----------
    head : callable
        Maps features to logits.
    progress : float
        (step + 1/2) / steps of this fit, in (0, 1).
    weight : float
        The weight of this alignment times ``alignment_weight``.
    """

    head: Any
    progress: float
    weight: float


class Alignment(BaseEstimator):
    """Base class of alignments. Subclass it and write ``loss``.

    An alignment describes; its networks, if it needs any, are made by ``build`` in each fit. It is
    a plain scikit-learn object: parameters in ``__init__``, no trained state.

    Class attributes
    ----------------
    adversarial : bool
        The method applies ``step.weight`` itself (to the reversed gradient). Otherwise the trainer
        multiplies the loss by it.
    needs_classes : bool
        The method reads logits as class scores, so a regressor refuses it.
    _parameter_constraints : dict
        Allowed values of parameters as in scikit-learn, checked before training; optional.
    """

    adversarial = False
    needs_classes = False
    refresh_features = True
    refresh_inputs = False
    weight = 1.0

    _parameter_constraints = {"weight": [Interval(Real, 0, None, closed="left")]}

    def build(self, n_features, n_classes, class_counts, n_domains, generator):
        """Make the networks and buffers of one fit.

        Parameters
        ----------
        n_features, n_classes : int
            Columns of features and of logits.
        class_counts : Tensor of shape (n_classes,) or None
            Labelled source rows per class; None in regression.
        n_domains : tuple of int
            Number of source and of target domains.
        generator : torch.Generator
            The estimator's own source of randomness.

        Returns
        -------
        nn.Module or None
            Trained, moved and saved with the estimator; handed to ``loss`` as `net`.
        """
        return None

    def loss(self, source, target, step, net):
        """Scalar loss of one batch.

        Parameters
        ----------
        source, target : Domain
        step : Step
        net : nn.Module or None
            What ``build`` returned.

        Returns
        -------
        Tensor of shape ()
        """
        raise TypeError(f"{type(self).__name__} must define loss(source, target, step, net).")

    def update(self, source, target, net):
        """After each optimiser step, without gradient: queues, prototypes."""

    def refresh(self, source, target, step, net):
        """Before each epoch, without gradient, on features and logits of all rows.

        ``features`` are None with ``refresh_features = False``. ``x`` is None without
        ``refresh_inputs = True``, and also with it unless rows are standardised columns of at most
        20 million cells. ``index`` is the same tensor in all epochs of a fit.
        """


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.scale * gradient, None


def reverse_gradient(x, scale=1.0):
    """Identity whose gradient is multiplied by ``-scale`` (Ganin & Lempitsky, 2015)."""
    return _ReverseGradient.apply(x, scale)


def ramp(progress):
    r"""Adversarial schedule :math:`\lambda = 2 / (1 + e^{-10 p}) - 1`, from 0 to 1."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


def attached_zero(*tensors):
    """Zero that stays on the graph, for terms that a batch is too small to give."""
    return sum(t.sum() * 0.0 for t in tensors)


def shares(weight):
    """Weights divided by their sum; all zero when they are all zero."""
    return weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


def pair_mass(share):
    r""":math:`\sum_{i \ne j} w_i w_j` of weights that sum to one; never quite zero."""
    return (1 - share.square().sum()).clamp_min(torch.finfo(share.dtype).eps)


def discriminator(n_inputs, hidden, n_outputs=1):
    """Three-layer ReLU network, the usual domain discriminator."""
    return nn.Sequential(
        nn.Linear(n_inputs, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, n_outputs),
    )
