"""What re-training a head consists of: its rows, rescaling, and descent on balanced batches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .._containers import n_rows, take_rows
from ..imbalance._offsets import Objective
from ..imbalance.sampling import ClassSampler
from ._trainer import SCHEDULES

# Candidates of tau="auto": from the head as it is, without its bias, to weights of length 1.
_TAUS = np.linspace(0, 1, 11)


class LabelledRows(NamedTuple):
    """What a head is trained on; tensors on the estimator's device."""

    features: torch.Tensor  # (n_rows, n_features_out)
    codes: torch.Tensor  # (n_rows,) int64
    weight: torch.Tensor  # (n_rows,) mean 1


def labelled_rows(estimator, X, fit_rows):
    """Features and classes of the rows whose labels count."""
    weight = np.ones(len(fit_rows.y)) if fit_rows.weight is None else fit_rows.weight
    index = np.flatnonzero(fit_rows.labelled & (weight > 0))
    labels, classes, weight = fit_rows.y[index], estimator.classes_, weight[index]
    unknown = np.setdiff1d(labels, classes).tolist()
    if unknown:
        raise ValueError(
            f"y holds the labels {unknown}, not among the classes {classes.tolist()} of the frozen "
            "estimator. Leave these rows out, or fit the estimator on all classes."
        )
    missing = np.setdiff1d(classes, labels).tolist()
    if missing:
        raise ValueError(
            f"y holds no row (of a weight above 0) of the classes {missing}, which the estimator "
            "knows, so its head cannot be trained for them. Give such rows, or use "
            "method='tau_norm' with a number as tau, which needs none."
        )
    X = take_rows(X, index) if len(index) < n_rows(X) else X
    features, _ = estimator._forward(X, fit_rows.domain[index], features=True)
    device, dtype = torch.device(estimator.net_.device), estimator._dtype
    return LabelledRows(
        torch.from_numpy(features).to(device, dtype),
        torch.from_numpy(np.searchsorted(classes, labels)).to(device),
        torch.from_numpy(weight / weight.mean()).to(device, dtype),
    )


@torch.no_grad()
def rescale(head, scales):
    """Multiply the logits of each class of a linear head by a factor."""
    head.weight *= scales[:, None]
    head.bias *= scales


def normalising_scales(head, tau):
    """One over the length of each class's weights, to the power tau."""
    return head.weight.detach().norm(dim=1).clamp_min(1e-12) ** -tau


def normalise(head, tau):
    """Divide weights by their length to the power tau and drop the bias; returns the factors."""
    scales = normalising_scales(head, tau)
    torch.nn.init.zeros_(head.bias)  # zeros instead of none: the head keeps its form on disk
    rescale(head, scales)
    return scales


def best_tau(head, rows):
    """Candidate with the best balanced accuracy on these rows, the largest of several."""
    codes, weight = rows.codes.cpu().numpy(), rows.weight.double().cpu().numpy()
    objective = Objective("balanced_accuracy", codes, np.arange(len(head.weight)), weight)
    with torch.no_grad():
        logits = F.linear(rows.features, head.weight)
        predicted = [(logits * normalising_scales(head, tau)).argmax(1) for tau in _TAUS]
    scores = np.array([objective.score(p.cpu().numpy()) for p in predicted])
    return float(_TAUS[np.flatnonzero(scores == scores.max())[-1]])


def balanced_descent(
    parameters, logits_of, rows, *, n_steps, batch_size, learning_rate, weight_decay, seed
):
    """Minimise the cross-entropy of `logits_of(index)` over class-balanced batches with AdamW."""
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=weight_decay)
    sampler = ClassSampler(rows.codes.cpu())
    generator = torch.Generator().manual_seed(seed)
    for step in range(n_steps):
        factor = SCHEDULES["cosine"]((step + 0.5) / n_steps)
        optimizer.param_groups[0]["lr"] = learning_rate * factor
        index = sampler.draw(batch_size, generator).to(rows.codes.device)
        losses = F.cross_entropy(logits_of(index), rows.codes[index], reduction="none")
        optimizer.zero_grad()
        (losses * rows.weight[index]).mean().backward()
        optimizer.step()
    optimizer.zero_grad()  # gradients are no part of the fitted estimator
