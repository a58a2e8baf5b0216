"""Alignments that read class scores, in a network with several tasks."""

from __future__ import annotations

import torch
from torch import nn

from .._components import did_you_mean, member_name
from ..alignment.base import Alignment, Domain
from ._objective import _empty_to_none, _module_or_empty, _overrides


class PerTask(Alignment):
    """Mean over classification tasks of an alignment that reads class scores.

    For each task the alignment gets that task's logits, head and labels; a row without a label of
    the task has y = -1 in ``loss`` and ``update``, and is left out of the source in ``refresh``.

    Parameters
    ----------
    alignment : Alignment
    places : list of int
        Columns of y.
    columns : list of slice
        Columns of the logits, for each of `places`.
    class_counts : list of Tensor
    """

    needs_classes = True

    def __init__(self, alignment, places, columns, class_counts):
        self.alignment = alignment
        self.places = places
        self.columns = columns
        self.class_counts = class_counts

    @property
    def called(self):
        """Name in the record of losses."""
        return member_name("alignment", self.alignment)

    @property
    def hooks(self):
        """Whether the alignment has an ``update`` and a ``refresh`` of its own."""
        return _overrides(self.alignment, "update"), _overrides(self.alignment, "refresh")

    weight = property(lambda self: self.alignment.weight)
    adversarial = property(lambda self: self.alignment.adversarial)
    refresh_features = property(lambda self: self.alignment.refresh_features)
    refresh_inputs = property(lambda self: self.alignment.refresh_inputs)

    def build(self, **sizes):
        """What the alignment builds, for each task."""
        return nn.ModuleList(
            _module_or_empty(
                self.alignment.build(**(sizes | {"n_classes": len(n), "class_counts": n}))
            )
            for n in self.class_counts
        )

    def loss(self, source, target, step, net):
        """Mean loss over the tasks."""
        values = [
            self.alignment.loss(*sides, step._replace(head=_Columns(step.head, columns)), inner)
            for sides, columns, inner in self._tasks(source, target, net)
        ]
        return torch.stack(values).mean()

    def update(self, source, target, net):
        """Let the alignment follow, in each task."""
        for sides, _, inner in self._tasks(source, target, net):
            self.alignment.update(*sides, inner)

    def refresh(self, source, target, step, net):
        """Hand each task's labelled rows to the alignment."""
        for (given, aim), columns, inner in self._tasks(source, target, net):
            known = given.y >= 0
            given = Domain(*(part if part is None else part[known] for part in given))
            step_of_task = step._replace(head=_Columns(step.head, columns))
            self.alignment.refresh(given, aim, step_of_task, inner)

    def _tasks(self, source, target, net):
        for place, columns, inner in zip(self.places, self.columns, net, strict=True):
            y = source.y[:, place].nan_to_num(-1).long()
            sides = (
                source._replace(y=y, logits=source.logits[:, columns]),
                target._replace(logits=target.logits[:, columns]),
            )
            yield sides, columns, _empty_to_none(inner)


class _Columns:
    """The head of one task."""

    def __init__(self, head, columns):
        self.head, self.columns = head, columns

    def __call__(self, features):
        return self.head(features)[:, self.columns]


def align_tasks(alignments, tasks, chosen, labels):
    """Alignments that read class scores wrapped in `PerTask`, the others as they are.

    Parameters
    ----------
    alignments : list of Alignment
    tasks : list of Task
    chosen : list or None
        Names of the tasks that such alignments act on; None: all classification tasks.
    labels : list of Tensor
        Class counts of classification tasks.
    """
    places = {task.name: k for k, task in enumerate(tasks) if not task.regression}
    for name in chosen or ():
        if name not in places:
            raise ValueError(
                f"alignment_tasks holds {name!r}, which is no classification task; "
                f"{did_you_mean(name, list(places))}"
            )
    places = list(places.values()) if chosen is None else [places[name] for name in chosen]
    for alignment in alignments:
        if alignment.needs_classes and not places:
            why = "every task is regression" if chosen is None else "alignment_tasks names no task"
            raise ValueError(
                f"alignment={alignment!r} reads class scores, and {why}; use 'coral', 'mmd' or "
                "'dann'."
            )
    columns, counts = [tasks[k].columns for k in places], [labels[k] for k in places]
    return [
        PerTask(alignment, places, columns, counts) if alignment.needs_classes else alignment
        for alignment in alignments
    ]
