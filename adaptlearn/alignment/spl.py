"""SPL: learn from the surest pseudo-labels of the target, more of them as training goes on."""

from __future__ import annotations

from numbers import Real

import torch
import torch.nn.functional as F
from torch import nn

from .._compat import Interval
from .._components import register
from .._pseudo_labels import closed_form_labels, label_and_rank, structured_labels
from .base import POSITIVE, Alignment, ramp

# Size of the closed form's linear systems above which it is left out: solving costs the cube of
# it, ten times.
_LARGEST_SYSTEM = 3000


class _PseudoLabels(nn.Module):
    """Pseudo-label of each target row and its rank among the rows of that label.

    Made anew each epoch, and what the closed form says in each fit, so nothing of it is saved.
    """

    def __init__(self):
        super().__init__()
        for name in ("position", "label", "rank", "rows", "closed_form"):
            self.register_buffer(name, None, persistent=False)

    def __getstate__(self):
        """A pickled model holds weights, nothing of the training rows."""
        return {**super().__getstate__(), "_buffers": dict.fromkeys(self._buffers)}


@register("alignment", "spl")
class SPL(Alignment):
    r"""Selective pseudo-labelling: the target's surest rows are learned like labelled ones.

    At the start of each epoch every target row is given a label from the scores z of all rows: by
    the nearest source class mean or the nearest target cluster, whichever is surer (see Notes).
    A second opinion on the same footing, the paper's own linear method, is made once per fit from
    the standardised inputs and averaged with it, which keeps the network from confirming its own
    mistakes. With progress p from 0 to 1, of each predicted class the surest share p of rows takes
    part:

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
    ridge : float or None, default=1.0
        Penalty > 0 of the linear method's ridge regression, in units of the mean eigenvalue of
        the inputs' covariance; None: labels from the network alone.
    weight : float, default=1.0
        Weight of the loss, >= 0.

    Notes
    -----
    Scores of both sides are centred together and scaled to length 1. Source centres are class
    means; target centres come from five rounds of soft k-means started at the source's answer.
    The linear method runs ten rounds of: ridge regression on one-hot labels of source rows and the
    surest target rows, labels from its scores as above. It takes part when rows are numeric
    columns that the estimator standardises, of at most 20 million cells, and either the columns
    or the rows of both sides number at most 3000 (time grows with their cube).

    Two classes lie on a line, on which one threshold decides: the joint mean of both sides would be
    right where inputs moved, the middle of the source's class means where proportions changed. Rows
    that the two label differently, and rows with probabilities between .4 and .6, never take part;
    there are neither clusters nor `sharpness` then.

    Differs from the paper: ridge scores instead of locality preserving projections as the space of
    the centres, soft instead of hard k-means, and the network learning along.

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
    refresh_inputs = True

    _parameter_constraints = {
        **Alignment._parameter_constraints,
        "sharpness": POSITIVE,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "ridge": [*POSITIVE, None],
    }

    def __init__(self, sharpness=10.0, label_smoothing=0.1, warmup=0.1, ridge=1.0, weight=1.0):
        self.sharpness = sharpness
        self.label_smoothing = label_smoothing
        self.warmup = warmup
        self.ridge = ridge
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
        if net.rows is not target.index:  # a new fit
            net.rows, net.closed_form = target.index, self._closed_form(source, target)
        if net.closed_form is not None:
            proba = (proba + net.closed_form) / 2
        net.label, net.rank = label_and_rank(proba)
        net.position = target.index.new_full((int(target.index.max()) + 1,), -1)
        net.position[target.index] = torch.arange(len(target.index), device=target.index.device)

    def _closed_form(self, source, target):
        if self.ridge is None or source.x is None or target.x is None:
            return None
        if min(source.x.shape[1], len(source.x) + len(target.x)) > _LARGEST_SYSTEM:
            return None
        n_classes = source.logits.shape[1]
        return closed_form_labels(
            source.x, source.y, target.x, n_classes, self.sharpness, self.ridge
        )

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
