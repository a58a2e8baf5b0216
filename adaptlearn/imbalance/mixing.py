"""What a mixing is: rows of a batch combined into new ones, for the task loss alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator


class Mixed(NamedTuple):
    """Rows that the task loss is taken on, all of shape (m, ...)."""

    features: torch.Tensor  # inputs, from a mixing on inputs
    y: torch.Tensor
    other_y: torch.Tensor | None = None  # second label of each row; None: rows have one
    share: torch.Tensor | None = None  # of the first label, in [0, 1]
    weight: torch.Tensor | None = None  # None: all one


class Mixing(BaseEstimator):
    """Base class of mixings. Subclass it and write ``mix``.

    A mixing describes; what it keeps during a fit stands in the module that ``build`` returns.

    It combines *features*, what the head sees, and only of labelled rows, for the task loss; the
    head is applied to the result. Alignments see the rows as they are. So a step has one pass
    through the network, whatever the input is. Features come after the normalisation of each
    domain, so rows of different source domains may be combined.

    With ``on = "inputs"`` it combines what the network sees instead (`CutMix`). It is then called
    for the rows of each domain by themselves, and must return as many. Where an alignment is
    trained, the network sees these rows beside the rows as they are; without one, in their place.

    Class attributes
    ----------------
    on : {"features", "inputs"}
        What is combined; "features" by default.
    applies_to : str
        For a mixing on inputs: which tensor, where a network has several; "pixel_values" by
        default.
    rebalances : bool
        Whether rare classes count more in the mixed rows. A loss that rebalances and class weights
        are then refused, which would counter imbalance twice.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import Mixing, register
    >>> from adaptlearn.imbalance import Mixed
    >>> @register("mixing", "noise")
    ... class Noise(Mixing):
    ...     def mix(self, features, y, weight, net):
    ...         noisy = features + 0.1 * torch.randn_like(features)
    ...         return Mixed(noisy, y, weight=weight)
    """

    on = "features"
    applies_to = "pixel_values"
    rebalances = False

    def check_rows(self, shape):
        """Raise ValueError if inputs of this shape (of one row) cannot be combined.

        Called before training, for a mixing on inputs.
        """

    def build(self, class_counts):
        """Make the buffers of one fit.

        Parameters
        ----------
        class_counts : Tensor of shape (n_classes,), int64
            Labelled rows per class; some may be 0.

        Returns
        -------
        nn.Module or None
            Moved and saved with the estimator; handed to ``mix`` as `net`.
        """
        return None

    def mix(self, features, y, weight, net):
        """Rows to take the task loss on.

        Random numbers come from torch's own generator, which each epoch of a fit seeds and a fit
        leaves as it was.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
            With ``on = "inputs"``, inputs of shape (n, ...).
        y : Tensor of shape (n,), int64
        weight : Tensor of shape (n,) or None
            Task weights, 0 included; None: all one.
        net : nn.Module or None
            What ``build`` returned.

        Returns
        -------
        Mixed
            Its loss is the mean of weight times (share times the loss of the first label, plus
            1 - share times that of the other).
        """
        raise TypeError(f"{type(self).__name__} must define mix(features, y, weight, net).")

    def sampled_prior(self, sampled, class_counts, batch_size):
        """Class proportions of the labels in the mixed rows.

        A correction to another prior starts from these: they take the place of the proportions
        drawn in ``Criterion.trained_prior``.

        Parameters
        ----------
        sampled : ndarray of shape (n_classes,)
            Class proportions of the rows as drawn (and weighted) in training; sums to 1.
        class_counts : array-like of shape (n_classes,)
            What ``build`` received.
        batch_size : int
            Labelled rows of a batch.

        Returns
        -------
        ndarray of shape (n_classes,)
            Sums to 1; `sampled` itself unless the mixing rebalances.
        """
        return sampled


def take(values, index):
    """Rows of a tensor, by the operation whose gradient is bit-equal on repetition."""
    return values[index] if values.is_cuda else values.index_select(0, index)


def draw_partners(y, weight, balanced):
    """A partner for each row, drawn from the same rows in proportion to their weight.

    Every class that occurs is drawn equally often if `balanced`; rows of weight 0 never are.
    """
    n, device = len(y), y.device
    mass = torch.ones(n, device=device) if weight is None else weight
    if balanced:
        # A matrix product, not a scatter: sums in a fixed order on every device.
        of_class = (y[:, None] == y).to(mass.dtype) @ mass
        mass = torch.where(mass > 0, mass / of_class, 0.0)
    mass = mass.cumsum(0)
    # One place in each n-th part, in random order: a class has its share to within a row.
    place = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
    drawn = torch.searchsorted(mass, place.to(mass.dtype) * mass[-1], right=True)
    return drawn.clamp_max(n - 1)  # all weights 0: any row will do


def mix_pairs(features, partner, share):
    """Each row times its share plus its partner times the rest."""
    return torch.lerp(take(features, partner), features, share.to(features.dtype)[:, None])


def symmetric_beta(alpha, like):
    r"""Draws of :math:`\mathrm{Beta}(\alpha, \alpha)`, as many as `like` has rows."""
    alpha = torch.full((len(like),), float(alpha), device=like.device)
    return torch.distributions.Beta(alpha, alpha, validate_args=False).sample()


def even_in_batches(sampled, batch_size):
    r"""Expected class proportions when the classes that occur in a batch count equally.

    A rare class is missing from many batches, so this lies between the proportions of the rows
    and equal shares. With :math:`p_c = 1 - (1 - s_c)^n` the chance that class c is among n rows,
    taken as independent of the others,

    .. math::
        E\Big[\frac{1_c}{\sum_k 1_k}\Big]
        = p_c \int_0^1 \prod_{k \ne c} (1 - p_k + p_k t)\, dt

    Parameters
    ----------
    sampled : ndarray of shape (n_classes,)
    batch_size : int

    Returns
    -------
    ndarray of shape (n_classes,)
    """
    occurs = 1 - (1 - np.asarray(sampled)) ** batch_size
    # Gauss-Legendre is exact for polynomials, here of degree n_classes - 1.
    node, node_weight = np.polynomial.legendre.leggauss(len(occurs) // 2 + 1)
    factors = 1 - occurs + occurs * (node[:, None] + 1) / 2
    share = occurs * (node_weight @ (factors.prod(axis=1, keepdims=True) / factors))
    return share / share.sum()
