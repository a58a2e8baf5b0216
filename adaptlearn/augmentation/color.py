"""Random brightness, contrast and saturation."""

from __future__ import annotations

from numbers import Real

from .._compat import Interval
from .._components import register
from ._pixels import (
    NORMALISATION,
    adjust,
    check_normalisation,
    clamp_like,
    normalisation,
    per_row,
    read_images,
)
from .base import Augmentation, draw

_AMOUNT = [Interval(Real, 0, None, closed="left")]


@register("augment", "color")
class ColorJitter(Augmentation):
    r"""Change brightness, contrast and saturation of each image.

    With colours :math:`x = z \cdot \text{std} + \text{mean}` in [0, 1], z being what the network
    gets, their grey :math:`g = .299 r + .587 g + .114 b`, and factors
    :math:`f \sim U(\max(0, 1 - a), 1 + a)` for the amount a of each, in this order:

    .. math::
        x \leftarrow f_b\, x, \quad
        x \leftarrow f_c\, x + (1 - f_c)\, \overline{g(x)}, \quad
        x \leftarrow f_s\, x + (1 - f_s)\, g(x)

    where :math:`\overline{g}` is the mean over the image. The result is cut to [0, 1].

    Parameters
    ----------
    brightness : float, default=0.4
        Amount, >= 0; 0 leaves it as it is.
    contrast : float, default=0.4
        Amount, >= 0.
    saturation : float, default=0.4
        Amount, >= 0.
    mean : float, tuple of float or None, default=None
        What was subtracted from colours in [0, 1] to make the network's input, for each channel or
        one number for all. None: the values of ImageNet. Images that are such colours as they are
        need ``mean=0, std=1``.
    std : float, tuple of float or None, default=None
        What colours were divided by then, > 0.

    Notes
    -----
    A row that reaches beyond [0, 1] before (because `mean` and `std` are not the ones that it was
    normalised with) is cut to its own range instead.

    References
    ----------
    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012;
    torchvision's ``ColorJitter``, from which it differs in that the order is fixed, that colours
    are cut once, at the end, and that it does not turn the hue.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import ColorJitter
    >>> grey = torch.full((2, 3, 4, 4), 0.5)
    >>> jitter = ColorJitter(brightness=0.5, contrast=0, saturation=0, mean=0, std=1)
    >>> jitter({"pixel_values": grey}, torch.Generator().manual_seed(0))["pixel_values"][:, 0, 0, 0]
    tensor([0.4981, 0.6341])
    """

    applies_to = "pixel_values"

    _parameter_constraints = {
        "brightness": _AMOUNT,
        "contrast": _AMOUNT,
        "saturation": _AMOUNT,
        **NORMALISATION,
    }

    def __init__(self, brightness=0.4, contrast=0.4, saturation=0.4, mean=None, std=None):
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.mean = mean
        self.std = std

    def check(self):
        """Raise for a mean or scale that is none."""
        check_normalisation(self)

    def augment(self, x, generator):
        """Each image in other colours."""
        images = read_images(x, self)
        mean, std = normalisation(self, images)
        u = draw((3, len(x)), generator, x)
        amounts = self.brightness, self.contrast, self.saturation
        if not any(amounts):
            return x.clone()
        colours = images * std + mean
        factors = [
            per_row((1 - a) + 2 * a * row if a <= 1 else (1 + a) * row, images) if a else None
            for a, row in zip(amounts, u, strict=True)
        ]
        changed = clamp_like(adjust(colours, *factors), colours)
        return ((changed - mean) / std).to(x.dtype)
