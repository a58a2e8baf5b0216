"""Random crops and mirror images."""

from __future__ import annotations

import math

import torch

from .._components import register
from ._pixels import read_images, sample
from .base import SHARE, Augmentation, check_range, draw


@register("augment", "flip_crop")
class FlipCrop(Augmentation):
    r"""Enlarge a random part of each image to full size, and mirror it with some probability.

    A part of :math:`s` of the image's area, :math:`s \sim U(\text{scale})`, and of aspect
    :math:`r`, :math:`\log r \sim U(\log \text{ratio})`, is

    .. math::
        w = \sqrt{s\, r\, H W}, \quad h = \sqrt{s\, H W / r}

    wide and high, anywhere in the image of width W and height H. It is resized to W x H,
    bilinearly.

    Parameters
    ----------
    flip : float, default=0.5
        Probability of a mirror image (left and right exchanged), in [0, 1]. Set 0 where sides
        matter: digits, letters, traffic signs.
    scale : tuple of float, default=(0.5, 1.0)
        Smallest and largest share of the area, in (0, 1]. ``(1, 1)``: no crop, and no pixel is
        changed but for the mirror. ImageNet models are trained from (0.08, 1), with far more rows.
    ratio : tuple of float, default=(3/4, 4/3)
        Smallest and largest width divided by height, in pixels, > 0. Where no part of that area
        and aspect fits into the image, the area holds and the aspect gives way.

    See Also
    --------
    RandAugment : Rotations, shears and colours.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", 2015, section 6. Differs from the paper:
    nothing.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import FlipCrop
    >>> row = torch.arange(4.0).expand(1, 3, 4, 4)
    >>> mirror = FlipCrop(flip=1.0, scale=(1, 1))
    >>> mirror({"pixel_values": row}, torch.Generator())["pixel_values"][0, 0, 0]
    tensor([3., 2., 1., 0.])
    """

    applies_to = "pixel_values"

    _parameter_constraints = {"flip": SHARE, "scale": [tuple, list], "ratio": [tuple, list]}

    def __init__(self, flip=0.5, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3)):
        self.flip = flip
        self.scale = scale
        self.ratio = ratio

    def check(self):
        """Raise for ranges that are none."""
        check_range(self, "scale", 0, 1)
        check_range(self, "ratio", 0, math.inf)

    def augment(self, x, generator):
        """Each image's part, resized to full size."""
        images = read_images(x, self)
        u = draw((5, len(x)), generator, x)
        flipped = u[0] < self.flip
        if tuple(self.scale) == (1, 1):
            return torch.where(flipped[:, None, None, None], x.flip(-1), x)
        return sample(images, self._theta(flipped, u[1:], images), "border").to(x.dtype)

    def _theta(self, flipped, u, x):
        """Where the pixels of each part come from, (n, 2, 3)."""
        h, w = x.shape[2:]
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]
        low, high = (math.log(r) for r in self.ratio)
        # In units of the image's own aspect: from s to 1 / s, a part of area s fits.
        aspect = (low + (high - low) * u[1]).exp() * (h / w)
        aspect = torch.minimum(torch.maximum(aspect, area), 1 / area)
        width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
        theta = x.new_zeros((len(x), 2, 3))
        theta[:, 0, 0] = torch.where(flipped, -width, width)
        theta[:, 1, 1] = height
        theta[:, 0, 2] = (1 - width) * (2 * u[2] - 1)
        theta[:, 1, 2] = (1 - height) * (2 * u[3] - 1)
        return theta
