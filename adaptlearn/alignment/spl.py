"""SPL: learn from the surest pseudo-labels of the target, more of them as training goes on."""

from __future__ import annotations

from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from .._compat import Interval
from .._components import register
from .base import POSITIVE, Alignment, ramp


class _PseudoLabels(nn.Module):
    """Pseudo-label of each target row and its rank among the rows of that label.

    Made anew each epoch, so nothing of it is saved.
    """

    def __init__(self):
        super().__init__()
        for name in ("position", "label", "rank"):
            self.register_buffer(name, None, persistent=False)

    def __getstate__(self):
        """A pickled model holds weights, nothing of the training rows."""
        return {**super().__getstate__(), "_buffers": dict.fromkeys(self._buffers)}


def unit_rows(x):
    """Rows of `x` scaled to length 1; a row of zeros stays."""
    return F.normalize(x, dim=1)


def structured_labels(source, y, target, n_classes, sharpness, n_iter=5):
    """Class probabilities of target scores from source class means and target clusters.

    Both sides are centred together and put on the unit sphere, where a row belongs to a centre by
    the softmax of `sharpness` times their cosine. The centres are the source's class means, or
    those of soft k-means on the target started from there; of the two answers the surer counts.

    Returns
    -------
    Tensor of shape (n_target, n_classes)
    """
    centre = torch.cat([source, target]).mean(0)
    s, t = unit_rows(source - centre), unit_rows(target - centre)
    members = F.one_hot(y, n_classes).to(s.dtype)
    means = unit_rows(members.T @ s / members.sum(0).clamp_min(1)[:, None])
    by_source = (sharpness * t @ means.T).softmax(1)
    by_cluster = by_source
    for _ in range(n_iter + 1):
        centres = unit_rows(by_cluster.T @ t)
        by_cluster = (sharpness * t @ centres.T).softmax(1)
    surer = torch.maximum(by_source, by_cluster)
    return surer / surer.sum(1, keepdim=True)


def rank_within_label(label, confidence):
    """Share of the rows with the same label that are surer than each row, in [0, 1)."""
    order = torch.argsort(confidence, descending=True, stable=True)
    order = order[torch.argsort(label[order], stable=True)]
    counts = torch.bincount(label)
    starts = counts.cumsum(0) - counts
    sorted_label = label[order]
    place = torch.arange(len(label), device=label.device) - starts[sorted_label]
    rank = torch.empty(len(label), device=label.device)
    rank[order] = place / counts[sorted_label]
    return rank


@register("alignment", "spl")
class SPL(Alignment):
    r"""Selective pseudo-labelling: the target's surest rows are learned like labelled ones.

    At the start of each epoch every target row is given a label from the scores z of all rows: by
    the nearest source class mean or the nearest target cluster, whichever is surer (see Notes).
    With progress p from 0 to 1, of each predicted class the surest share p of rows takes part:

    .. math::
        \ell = \lambda(p)\, \frac{1}{n_t} \sum_{i \in S_p} \mathrm{CE}(z_i, \hat y_i), \qquad
        \lambda(p) = \frac{2}{1 + e^{-10 p}} - 1

    Selection within each predicted class keeps rare classes alive.

    Parameters
    ----------
    sharpness : float, default=10.0
        Factor > 0 on cosines before the softmax.
    label_smoothing : float, default=0.1
        Smoothing of the pseudo-labels, in [0, 1).
    warmup : float, default=0.1
        Progress in [0, 1) before which no pseudo-label is made.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    Scores of both sides are centred together and scaled to length 1. Source centres are class
    means; target centres come from five rounds of soft k-means started at the source's answer.
    Differs from the paper: a network trained by gradient steps instead of a new linear projection
    in each round, soft instead of hard k-means, and scores as the space of the centres.

    References
    ----------
    Wang & Breckon, "Unsupervised domain adaptation via structured prediction based selective
    pseudo-labeling", 2020.

    Examples
    --------
    >>> from adaptlearn import SPL
    >>> SPL(warmup=0.2)
    SPL(warmup=0.2)
    """

    needs_classes = True
    refresh_features = False

    _parameter_constraints = {
        **Alignment._parameter_constraints,
        "sharpness": POSITIVE,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(self, sharpness=10.0, label_smoothing=0.1, warmup=0.1, weight=1.0):
        self.sharpness = sharpness
        self.label_smoothing = label_smoothing
        self.warmup = warmup
        self.weight = weight

    def build(self, n_features, n_classes, class_counts, n_domains, generator):
        """Room for the pseudo-labels."""
        return _PseudoLabels()

    def refresh(self, source, target, step, net):
        """Label every target row and rank it among the rows of its label."""
        if step.progress < self.warmup:
            net.label = None
            return
        proba = structured_labels(
            source.logits, source.y, target.logits, source.logits.shape[1], self.sharpness
        )
        confidence, net.label = proba.max(1)
        net.rank = rank_within_label(net.label, confidence)
        net.position = target.index.new_full((int(target.index.max()) + 1,), -1)
        net.position[target.index] = torch.arange(len(target.index), device=target.index.device)

    def loss(self, source, target, step, net):
        """Cross-entropy of the selected target rows, over all target rows of the batch."""
        if net.label is None:
            return target.logits.sum() * 0.0
        place = net.position[target.index]
        values = F.cross_entropy(
            target.logits,
            net.label[place],
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        chosen = net.rank[place] < step.progress
        total = (values * target.weight * chosen).sum() / target.weight.sum()
        return ramp(step.progress) * total
