"""Gaussian noise."""

from __future__ import annotations

from numbers import Real

import torch

from .._compat import Interval
from .._components import register
from .base import Augmentation


@register("augment", "noise")
class GaussianNoise(Augmentation):
    r"""Add :math:`\mathcal{N}(0, \sigma^2)` to every number.

    For columns of numbers, and for images and audio.

    Parameters
    ----------
    std : float, default=0.1
        :math:`\sigma \ge 0`, in the units of what the network gets: of standard deviations, where
        inputs are standardised.

    References
    ----------
    Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995. Differs from the
    paper: nothing.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import GaussianNoise
    >>> batch = {"values": torch.zeros(1000, 5)}
    >>> noisy = GaussianNoise(std=0.5)(batch, torch.Generator().manual_seed(0))["values"]
    >>> round(noisy.std().item(), 2)
    0.5
    """

    applies_to = "values", "pixel_values", "input_values", "input_features"

    _parameter_constraints = {"std": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, std=0.1):
        self.std = std

    def augment(self, x, generator):
        """Every number with its noise."""
        if not x.is_floating_point():
            raise ValueError(f"GaussianNoise needs numbers in floating point; it got {x.dtype}.")
        noise = torch.randn(x.shape, generator=generator, device=generator.device)
        return x + self.std * noise.to(x.device, x.dtype)
