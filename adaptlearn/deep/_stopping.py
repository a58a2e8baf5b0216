"""Early stopping on held-out source rows and, without labels, on the target."""

from __future__ import annotations

import copy

import torch

from ..metrics import guarded_entropy

_ENOUGH_HELD_OUT = 20  # rows, for early_stopping="auto"


class EarlyStopping:
    """Keep the best epoch; ask to stop when it lies `patience` epochs back.

    The criterion is the weighted task loss on held-out source rows; with ``kind="target"`` the
    guarded entropy of the predictions on target rows is added
    (`adaptlearn.metrics.guarded_entropy`), which needs no target label and does not reward a model
    that predicts one class.

    Parameters
    ----------
    kind : {"source", "target"}
    patience : int
        Epochs without improvement, >= 1.
    valid : Tensor
        Row numbers of the held-out source rows.
    prior : ndarray of shape (n_classes,) or None
        Class proportions of the source; None in regression (then the source loss alone counts).
    """

    def __init__(self, kind, patience, valid, prior):
        self.kind, self.patience, self.valid, self.prior = kind, patience, valid, prior
        self.best, self.best_epoch, self.best_state = float("inf"), 0, None

    def __call__(self, trainer, data, record):
        """Evaluate the epoch, add what was measured to `record`; true when it is time to stop."""
        objective = trainer.criterion_
        _, logits = trainer.forward_rows(data.rows, self.valid, data.slots[self.valid])
        weight = None if data.task_weight is None else data.task_weight[self.valid]
        loss = objective.held_out_loss(logits, data.y[self.valid], weight)
        score = record["valid_loss"] = float(loss)
        if self.kind == "target" and len(data.target) and self.prior is not None:
            _, logits = trainer.forward_rows(data.rows, data.target, data.slots[data.target])
            proba = logits.double().softmax(1).cpu().numpy()
            record["target_criterion"] = guarded_entropy(proba, self.prior)
            score += record["target_criterion"]
        if score < self.best:
            self.best, self.best_epoch = score, record["epoch"]
            self.best_state = copy.deepcopy([trainer.module_.state_dict(), objective.state_dict()])
        return record["epoch"] - self.best_epoch >= self.patience

    def restore(self, trainer):
        """Give the network the weights of the best epoch."""
        if self.best_state is not None:
            trainer.module_.load_state_dict(self.best_state[0])
            trainer.criterion_.load_state_dict(self.best_state[1])

    def state_dict(self):
        """What a checkpoint needs."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_state": self.best_state}

    def load_state_dict(self, state):
        """Continue from `state_dict`."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.best_state = state["best_state"]


def stopping_kind(estimator, n_source):
    """What ``early_stopping=`` comes to with so many labelled source rows.

    Returns
    -------
    {"source", "target"} or False
    """
    kind = estimator.early_stopping
    if kind != "auto":
        return "target" if kind is True else kind
    # Copies of rows that are held out must not be trained on.
    resampled = getattr(estimator, "resampler", None) is not None
    enough = estimator.validation_fraction * n_source >= _ENOUGH_HELD_OUT
    return "source" if enough and not resampled else False


def hold_out(estimator, kind, labelled, is_source, y, seed, device):
    """Rows left for training and the `EarlyStopping` that holds the others.

    Parameters
    ----------
    estimator : DeepEstimator
        Whose ``validation_fraction`` and ``n_iter_no_change`` are meant.
    kind : {"source", "target"}
    labelled : Tensor
        Numbers of the labelled rows.
    is_source : Tensor of shape (n_rows,), bool
    y : Tensor of shape (n_rows,) or (n_rows, n_tasks)
        Codes, or floats in regression; with several tasks NaN stands for a missing label.
    """
    source, fraction = labelled[is_source[labelled]], estimator.validation_fraction
    classes = not y.is_floating_point()
    if y.ndim == 2:
        valid = spread_validation(source, ~y.isnan(), fraction, seed)
    else:
        valid = split_validation(source, y, fraction, seed, classes)[1]
    if not len(valid):
        raise ValueError(
            f"validation_fraction={fraction} of {len(source)} source rows holds no row; raise it "
            "or set early_stopping=False."
        )
    prior = None
    if classes:
        counts = torch.bincount(y[source], minlength=estimator._n_outputs).double()
        prior = (counts / counts.sum()).numpy()
    left = labelled[~torch.isin(labelled, valid)]
    return left, EarlyStopping(kind, estimator.n_iter_no_change, valid.to(device), prior)


def split_validation(labelled, y, fraction, seed, stratify):
    """Training and validation row numbers; stratified by class where that is possible."""
    generator = torch.Generator().manual_seed(seed)
    if not stratify:
        order = labelled[torch.randperm(len(labelled), generator=generator)]
        n = min(max(1, round(fraction * len(order))), len(order) - 1)
        return order[n:].sort().values, order[:n].sort().values
    train, valid = [], []
    for code in torch.unique(y[labelled]):
        rows = labelled[y[labelled] == code]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        n = min(round(fraction * len(rows)), len(rows) - 1)
        train.append(rows[n:])
        valid.append(rows[:n])
    return torch.cat(train).sort().values, torch.cat(valid).sort().values


def spread_validation(labelled, known, fraction, seed):
    """Validation row numbers that hold the labels of each task in proportion.

    Rows are spread evenly over an order by which tasks they have labels of. A task all of whose
    labels would be held out keeps them for training.

    Parameters
    ----------
    labelled : Tensor of row numbers
    known : Tensor of shape (n_rows, n_tasks), bool
    fraction : float
    seed : int
    """
    generator = torch.Generator().manual_seed(seed)
    order = labelled[torch.randperm(len(labelled), generator=generator)]
    pattern = torch.unique(known[order], dim=0, return_inverse=True)[1]
    order = order[torch.argsort(pattern, stable=True)]
    n = min(max(1, round(fraction * len(order))), len(order) - 1)
    held_out = torch.zeros(len(order), dtype=torch.bool)
    held_out[((torch.arange(n) + 0.5) * (len(order) / max(n, 1))).long()] = True
    for task in known[order].unbind(1):
        if not (task & ~held_out).any():
            held_out &= ~task
    return order[held_out].sort().values
