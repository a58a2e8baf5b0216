"""SMOTE among the features of a batch."""

from __future__ import annotations

from numbers import Integral

import torch

from .._compat import Interval
from .._components import register
from .mixing import Mixed, Mixing, even_in_batches, take


@register("mixing", "smote")
class FeatureSMOTE(Mixing):
    r"""New rows of rare classes, between neighbours in the feature space.

    .. math::
        \tilde f = f_i + u\, (f_j - f_i), \quad u \sim U(0, 1)

    with i a row of the class and j one of its k nearest of the same class in the batch. Each class
    that occurs in the batch gets as many new rows as it lacks to the most frequent one, so that
    all count equally in the mean of the task loss. Gradients reach both parents.

    Neighbours are found among features, which the training shapes, so this works for images and
    text as it does for tables.

    Parameters
    ----------
    k_neighbors : int, default=5
        Nearest rows to choose from, >= 1; all others of the class where there are fewer. A row that
        is alone in its class is repeated as it is.

    Notes
    -----
    A new row's weight lies between those of its parents, as its features do. Weights have no part
    in how many are made, but rows of weight 0 are neither counted nor parents.

    A class that is missing from a batch gets no rows there: with few rows of a class, take a larger
    ``batch_size``.

    References
    ----------
    Chawla et al., "SMOTE: synthetic minority over-sampling technique", 2002. Dablain et al.,
    "DeepSMOTE: fusing deep learning and SMOTE for imbalanced data", 2022. Differs from the papers:
    features instead of inputs (DeepSMOTE decodes them to images first), neighbours within the
    batch, anew in each step.

    Examples
    --------
    >>> from adaptlearn import FeatureSMOTE
    >>> FeatureSMOTE(k_neighbors=3)
    FeatureSMOTE(k_neighbors=3)
    """

    rebalances = True

    _parameter_constraints = {"k_neighbors": [Interval(Integral, 1, None, closed="left")]}

    def __init__(self, k_neighbors=5):
        self.k_neighbors = k_neighbors

    def mix(self, features, y, weight, net):
        """The rows as they are, then the new ones."""
        usable = torch.ones_like(y, dtype=torch.bool) if weight is None else weight > 0
        i, j = self._parents(features.detach(), y, usable)
        u = torch.rand(len(i), device=y.device).to(features.dtype)
        made = torch.lerp(take(features, i), take(features, j), u[:, None])
        if weight is not None:
            weight = torch.cat([weight, torch.lerp(weight[i], weight[j], u.to(weight.dtype))])
        return Mixed(torch.cat([features, made]), torch.cat([y, y[i]]), weight=weight)

    def _parents(self, features, y, usable):
        """Row and neighbour of each new row."""
        counts = torch.bincount(y, weights=usable.float()).long()
        lacking = torch.where(counts > 0, counts.max() - counts, 0)
        codes = torch.repeat_interleave(lacking)  # class of each new row
        of_class = counts[codes]
        # Usable rows sorted by class: row r of class c stands at starts[c] + r.
        order = torch.where(usable, y, len(counts)).argsort(stable=True)
        starts = counts.cumsum(0) - counts
        i = order[starts[codes] + _below(of_class)]
        n_near = (of_class - 1).clamp_max(self.k_neighbors)
        return i, torch.where(n_near > 0, self._near(features, y, usable)[i, _below(n_near)], i)

    def _near(self, features, y, usable):
        """The nearest rows of the same class, nearest first; beyond its last row, anything."""
        centred = features - features.mean(0)  # far from the origin, squares lose their digits
        distance = torch.cdist(centred, centred)
        strange = (y[:, None] != y) | ~usable
        distance = distance.masked_fill(strange, torch.inf).fill_diagonal_(torch.inf)
        return distance.topk(min(self.k_neighbors, len(y)), largest=False).indices

    def sampled_prior(self, sampled, class_counts, batch_size):
        """Even shares of the classes within each batch."""
        return even_in_batches(sampled, batch_size)


def _below(limits):
    """A random integer from 0 to below each limit; 0 for a limit of 0."""
    return (torch.rand(len(limits), device=limits.device) * limits).long()
