"""CutMix: a box of one image in another."""

from __future__ import annotations

from numbers import Real

import torch

from .._compat import Interval
from .._components import register
from .criterion import POSITIVE
from .mixing import Mixed, Mixing, draw_partners, symmetric_beta, take


@register("mixing", "cutmix")
class CutMix(Mixing):
    r"""Each image gets a box of another one, and the other's label for that share of its area.

    .. math::
        \tilde x = M \odot x_i + (1 - M) \odot x_j, \quad
        \ell = \overline{M}\, \ell(\tilde x, y_i) + (1 - \overline{M})\, \ell(\tilde x, y_j)

    M is 0 in a box and 1 elsewhere, :math:`\overline{M}` its mean over the pixels. With
    :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)` the box has the sides
    :math:`H \sqrt{1 - \lambda}` and :math:`W \sqrt{1 - \lambda}` and its centre anywhere; what
    reaches beyond the image is cut off. The partner j is any labelled row of the same domain and
    batch.

    It mixes inputs: images of shape (channels, height, width), given as a 4-D array with a
    ``backbone=`` of your own. Alignments see the rows as they are, so that beside one the mixed
    rows go through the network in addition, and a step takes longer.

    Parameters
    ----------
    alpha : float, default=1.0
        :math:`\alpha > 0`; 1 draws :math:`\lambda` evenly, less favours very small and very large
        boxes.
    p : float, default=1.0
        Probability that a row is mixed, in [0, 1].

    Notes
    -----
    A row counts by its own weight, and partners are drawn in proportion to theirs. It does not
    counter imbalance.

    References
    ----------
    Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable
    features", 2019. Differs from the paper: each row has a box of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from torch import nn
    >>> from adaptlearn import CutMix, DomainAdaptationClassifier
    >>> images, labels = np.random.default_rng(0).random((40, 3, 8, 8)), np.arange(40) % 2
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    >>> clf = DomainAdaptationClassifier(
    ...     backbone=network, mixing=CutMix(p=0.5), max_epochs=1, random_state=0
    ... )
    >>> clf.fit(images[:20], labels[:20], X_target=images[20:]).predict(images[20:]).shape
    (20,)
    """

    on = "inputs"

    _parameter_constraints = {"alpha": POSITIVE, "p": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, alpha=1.0, p=1.0):
        self.alpha = alpha
        self.p = p

    def check_rows(self, shape):
        """Raise for rows that are no images with channels first."""
        if len(shape) == 3 and not (min(shape[:2]) >= 8 and shape[2] in (1, 3, 4)):
            return
        if len(shape) == 3:
            way_out = "move the channels first: X.transpose(0, 3, 1, 2)"
        else:
            way_out = "give X as a 4-D array with a backbone, or take mixing='mixup'"
        raise ValueError(
            "mixing='cutmix' needs images of shape (channels, height, width) as rows; these have "
            f"shape {tuple(shape)}. It cuts boxes out of images, not out of features: {way_out}."
        )

    def mix(self, features, y, weight, net):
        """Every image with its partner's box."""
        partner = draw_partners(y, weight, balanced=False)
        inside, area = self._boxes(y, *features.shape[2:])
        mixed = torch.where(inside[:, None], take(features, partner), features)
        n_pixels = features[0, 0].numel()
        share = (n_pixels - area) / n_pixels  # of whole numbers: exact to the last digit
        return Mixed(mixed, y, y[partner], share, weight)

    def _boxes(self, y, height, width):
        """Boxes as masks (n, height, width), and the number of pixels in each."""
        n, device = len(y), y.device
        side = (1 - symmetric_beta(self.alpha, y)).sqrt()
        side = torch.where(torch.rand(n, device=device) < self.p, side, 0.0)
        inside, area = torch.ones((n, 1, 1), dtype=torch.bool, device=device), 1
        for size, shape in ((height, (n, height, 1)), (width, (n, 1, width))):
            half = (side * size).long() // 2
            centre = (torch.rand(n, device=device) * size).long()
            start, stop = (centre - half).clamp_min(0), (centre + half).clamp_max(size)
            place = torch.arange(size, device=device)
            inside_line = (place >= start[:, None]) & (place < stop[:, None])
            inside, area = inside & inside_line.view(shape), area * (stop - start)
        return inside, area
