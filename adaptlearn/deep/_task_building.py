"""What the base of the deep estimators asks an estimator with several tasks for."""

from __future__ import annotations

import numpy as np
import torch

from .._compat import HasMethods, StrOptions
from .._components import resolve
from ._parameters import check_values, make_alignments
from ._preparation import CLIP
from ._scaling import DomainScaler
from ._task_alignment import align_tasks
from ._task_losses import (
    Task,
    TaskCriterion,
    TaskObjective,
    check_criterion,
    last_shared_layer,
    task_criteria,
)
from ._task_sampling import balance_tasks
from ._task_weighting import FixedWeights, TaskWeighting


class TaskBuildingMixin:
    """Checks, input statistics, network and batches, for `MultiTaskClassifier`."""

    # To the base, labels are floats without class proportions.
    _regression = True
    _objective_class = TaskObjective

    def _expand_slot(self, slot, spec):
        if slot == "criterion" and spec == "auto":
            return "cross_entropy"
        return super()._expand_slot(slot, spec)

    def _check_parameters(self):
        """Components of this fit as far as they do not depend on the tasks."""
        check_values(
            self,
            tasks=[str, list, tuple, dict, np.ndarray],
            task_weighting=[str, HasMethods("total"), "array-like"],
            alignment_tasks=[None, list, tuple],
            sampling=[StrOptions({"tasks", "instance"})],
            early_stopping=["boolean"],
            criterion=[str, HasMethods("loss"), dict, list, tuple],
        )
        check_criterion(self.criterion)
        alignments = make_alignments(self._expand_slot("alignment", self.alignment), False)
        weighting = self.task_weighting
        if not (isinstance(weighting, str) or hasattr(weighting, "get_params")):
            weighting = FixedWeights(weighting)
        weighting = resolve("task_weighting", weighting)
        if not isinstance(weighting, TaskWeighting):
            raise TypeError(
                f"task_weighting={self.task_weighting!r} must be a name, numbers, or a "
                "TaskWeighting object (subclass adaptlearn.deep.TaskWeighting to write your own)."
            )
        return alignments, TaskCriterion([], weighting)

    def _settle_sampling(self, criterion, class_counts, shift):
        return "instance"  # see `_training_set`

    def _fit_scaler(self, parts, slots, fit_rows, codes, seed):
        """Input statistics; the class proportions of many tasks are left alone."""
        self._scaler = None
        if self.normalize is not None and len(parts[0].shape) == 2:
            self._scaler = DomainScaler.fit(
                parts, slots, self._domain_index,
                by_domain=self.normalize == "domain", weight=fit_rows.weight,
                clip=None if "regression" in self.tasks_ else CLIP,
            )  # fmt: skip

    def _build(self, input_shape, alignments, criterion, labels, seed, device, body=None):
        """Network and objective of these tasks; raises for components that do not fit them."""
        regression = [kind == "regression" for kind in self.tasks_]
        if len(labels):
            self._task_counts = [
                None if flag else n.tolist() for flag, n in zip(regression, labels, strict=True)
            ]
        else:  # a network that is made to be filled from a file
            labels = [torch.tensor([] if n is None else n) for n in self._task_counts]
        criteria = task_criteria(self.criterion, self.task_names_, regression)
        tasks = [
            Task(*of_task)
            for of_task in zip(self.task_names_, regression, self._columns(), criteria, strict=True)
        ]
        if self.alignment == "auto" and all(regression):
            alignments = [resolve("alignment", "coral")]
        alignments = align_tasks(alignments, tasks, self.alignment_tasks, labels)
        criterion = TaskCriterion(tasks, criterion.weighting)
        super()._build(input_shape, alignments, criterion, labels, seed, device, body)
        shared = last_shared_layer(self._network, self.net_.optimizer_)
        self.net_.criterion_.shared = shared
        if criterion.weighting.balances_gradients and not shared:
            raise ValueError(
                f"task_weighting={self.task_weighting!r} balances gradients at the last shared "
                "layer that is trained, and there is none; give hidden_layer_sizes (or bottleneck, "
                "with a backbone), or task_weighting='uniform'."
            )

    def _training_set(self, *given):
        data, stopping = super()._training_set(*given)
        return balance_tasks(data) if self.sampling == "tasks" else data, stopping
