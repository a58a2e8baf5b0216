"""What a regularisation against forgetting is."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple

import torch
from sklearn.base import BaseEstimator

from .._compat import Interval

NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]


class StepOutputs(NamedTuple):
    """What the network says of one batch; every tensor has the batch's n rows.

    Attributes
    ----------
    features : Tensor of shape (n, n_features)
        What the head sees.
    logits : Tensor of shape (n, n_outputs)
    run : callable
        ``run(other)`` gives features and logits of the same rows by another network.
    """

    features: torch.Tensor
    logits: torch.Tensor
    run: Any


class RowBatch(NamedTuple):
    """Labelled rows of one domain.

    Attributes
    ----------
    x : Tensor of shape (n, ...), or dict of str to Tensor
    y : Tensor of shape (n,)
        Class codes (int64) or numbers.
    segments : list of one tuple (domain, 0, n)
        Second argument of the network.
    """

    x: Any
    y: torch.Tensor
    segments: list


class Regularization(BaseEstimator):
    """Base class of regularisations. Subclass it and write ``loss``.

    What is learned from a network is kept in attributes that end in an underscore. The estimator
    works on a clone. In a call that begins from weights worth keeping (a pretrained backbone, or
    what an earlier call learned) it calls ``start``, and ``loss`` in each step; after any call,
    ``finish``. Attributes left after ``finish`` are there again in the next call, and in a pickle.

    A network is called as ``network(x, segments)`` and returns features and logits.

    Class attributes
    ----------------
    needs_earlier_call : bool
        Whether there is nothing to keep in a first fit, although the backbone is pretrained: the
        method reads outputs of the head, which is new, or rows of an earlier call.
    """

    needs_earlier_call = False
    weight = 1.0

    _parameter_constraints = {"weight": NOT_NEGATIVE}

    def start(self, network, batches=None, loss_fn=None, shared=None):
        """Before training: remember what is to be kept.

        Parameters
        ----------
        network : nn.Module
            With the weights that training begins from.
        batches : iterable of RowBatch
            Labelled rows of this call, in random order.
        loss_fn : callable
            ``loss_fn(logits, y)`` gives the task loss of each row.
        shared : set of str, optional
            Names of the parameters that hold earlier knowledge: those of a pretrained backbone in
            a first fit. None: all.
        """

    def loss(self, network, outputs):
        """Scalar loss of one step, ``weight`` included.

        Parameters
        ----------
        network : nn.Module
        outputs : StepOutputs

        Returns
        -------
        Tensor of shape ()
        """
        raise TypeError(f"{type(self).__name__} must define loss(network, outputs).")

    def finish(self, network, batches=None, loss_fn=None):
        """After training: take down what a later call needs, drop the rest.

        Parameters
        ----------
        network : nn.Module
            As trained.
        batches, loss_fn
            As in ``start``.
        """


def parameters_of(network, names=None):
    """Named parameters of a network, in order; those in `names` alone unless it is None."""
    return {k: p for k, p in network.named_parameters() if names is None or k in names}


def frozen_copy(network):
    """The network as it is now, in evaluation mode."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@contextmanager
def evaluating(network):
    """Evaluation mode inside the block."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def forget(component, *names):
    """Drop attributes, where there are any."""
    for name in names:
        vars(component).pop(name, None)
