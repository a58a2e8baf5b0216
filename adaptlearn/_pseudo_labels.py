"""Labels that a linear method gives target rows from the source's: selective pseudo-labelling."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Rounds of the closed form.
_ROUNDS = 10
# Two classes: log-odds at a class mean are +-4, and rows less sure than this are never selected.
_SLOPE, _SURE = 2.0, 0.6


def unit_rows(x):
    """Rows of `x` scaled to length 1; a row of zeros stays."""
    return F.normalize(x, dim=1)


def structured_labels(source, y, target, n_classes, sharpness, n_iter=5):
    """Class probabilities of target scores from source class means and target clusters.

    With two classes, see `two_class_labels`. With more, both sides are centred together and put on
    the unit sphere, where a row belongs to a centre by the softmax of `sharpness` times their
    cosine. The centres are the source's class means, or those of soft k-means on the target started
    from there; of the two answers the surer counts.

    Returns
    -------
    Tensor of shape (n_target, n_classes)
    """
    if n_classes == 2:
        return two_class_labels(source, y, target)
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


def two_class_labels(source, y, target):
    r"""Class probabilities of target scores where one threshold decides.

    With t the place of a row on the line through the source's class means, 1 apart from their
    middle, the second class has probability :math:`1 / (1 + e^{-2 t})`. Half of target rows on
    either side of the joint mean is right if inputs moved, the middle of the class means if the
    class proportions changed, and nothing on a line tells which. So both are asked: where they
    agree the less sure one counts, elsewhere both classes have 1/2.

    Returns
    -------
    Tensor of shape (n_target, 2)
    """
    members = F.one_hot(y, 2).to(source.dtype)
    first, second = members.T @ source / members.sum(0).clamp_min(1)[:, None]
    middle, half = (first + second) / 2, (second - first) / 2
    along = half / (half @ half).clamp_min(1e-12)
    by_means = (target - middle) @ along
    by_joint = (target - torch.cat([source, target]).mean(0)) @ along
    nearer = torch.where(by_means.abs() < by_joint.abs(), by_means, by_joint)
    second = torch.sigmoid(_SLOPE * torch.where(by_means * by_joint > 0, nearer, 0.0))
    return torch.stack([1 - second, second], 1)


def ridge_scores(x, y_hot, weight, ridge, products=None):
    r"""Scores of all rows by ridge regression on one-hot labels, without intercept.

    The penalty is `ridge` times the mean eigenvalue of the weighted covariance of `x`; the smaller
    of the primal and the dual system is solved. A row of weight 0 is scored and not fitted.

    Parameters
    ----------
    x : Tensor of shape (n_rows, d)
        Far from 0 in the mean, digits are lost.
    y_hot : Tensor of shape (n_rows, n_classes)
    weight : Tensor of shape (n_rows,)
    ridge : float
    products : Tensor of shape (n_rows, n_rows), optional
        ``x @ x.T``, of which the dual system is made: for who solves several.

    Returns
    -------
    Tensor of shape (n_rows, n_classes)
    """
    used = weight.nonzero()[:, 0]
    share, y_used = weight[used] / weight[used].sum(), y_hot[used]
    root = share.sqrt()
    b = root[:, None] * (y_used - share @ y_used)  # sums to 0 under `root`: centres x as well
    if x.shape[1] > len(used):
        gram = x[used] @ x[used].T if products is None else products[used][:, used]
        gram.mul_(root[:, None]).mul_(root)
        mean = gram @ root
        mean -= (mean @ root) / 2 * root
        gram.addr_(mean, root, alpha=-1).addr_(root, mean, alpha=-1)
        dual = torch.zeros_like(y_hot)
        dual[used] = root[:, None] * torch.linalg.solve(_with_ridge(gram, ridge), b)
        scores = x @ (x.T @ dual) if products is None else products @ dual
    else:
        a = x[used].mul_(root[:, None])
        centre = root @ a
        gram = (a.T @ a).addr_(centre, centre, alpha=-1)
        scores = x @ torch.linalg.solve(_with_ridge(gram, ridge), a.T @ b)
    return scores - share @ scores[used]


def _with_ridge(gram, ridge):
    gram.diagonal().add_(ridge * gram.trace().clamp_min(1e-12) / len(gram))
    return gram


def closed_form_labels(source, y, target, n_classes, sharpness, ridge):
    """Class probabilities of target inputs by selective pseudo-labelling in closed form.

    In round r of R, ridge regression on source rows and the surest share (r - 1) / R of the target
    rows of each label gives scores, and `structured_labels` of the scores gives labels. Both sides
    weigh the same, a target row 1 / n_target whether or not the others take part.
    """
    x, n_source = torch.cat([source, target]), len(source)
    x -= x.mean(0)
    products = x @ x.T if len(x) <= x.shape[1] else None  # never larger than x
    label = y.new_zeros(len(target))
    weight = x.new_zeros(len(x))
    weight[:n_source] = 1 / n_source
    for r in range(1, _ROUNDS + 1):
        y_hot = F.one_hot(torch.cat([y, label]), n_classes).to(x.dtype)
        scores = ridge_scores(x, y_hot, weight, ridge, products)
        proba = structured_labels(scores[:n_source], y, scores[n_source:], n_classes, sharpness)
        label, rank = label_and_rank(proba)
        weight[n_source:] = (rank < r / _ROUNDS) / len(target)
    return proba


def label_and_rank(proba):
    """Label of each row, and the share of the rows with the same label that are surer.

    Of two classes, rows that are not sure of either have rank 1, which is never selected.
    """
    confidence, label = proba.max(1)
    rank = rank_within_label(label, confidence)
    if proba.shape[1] == 2:
        rank = torch.where(confidence < _SURE, torch.ones_like(rank), rank)
    return label, rank


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
