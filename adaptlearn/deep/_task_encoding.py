"""Labels of several tasks as codes and standardised numbers, and back."""

from __future__ import annotations

import numpy as np
import torch

from .._labels import is_table
from .._task_labels import TaskLabels, read_fit_tasks, read_task_labels


class TaskLabelMixin:
    """Reading of y with a column per task, for `MultiTaskClassifier`."""

    _given_classes = None

    def _read_fit(self, y, n_rows, fresh, **given):
        domain_given = given["n_target"] is not None or given["sample_domain"] is not None
        classes = self._given_classes
        if classes is not None:
            classes = list(classes) if is_table(y) else [classes]
            classes = [None if c is None else np.unique(c) for c in classes]
        labels = read_task_labels(
            y,
            self.tasks,
            known=None if fresh else self._settled_labels(),
            given_classes=classes if fresh else None,
            domain_given=domain_given,
        )
        if fresh:
            self.task_names_, self.tasks_ = labels.names, labels.kinds
            self._one_column = labels.one_column
            self._task_classes = classes or [None] * len(labels.names)
        self._seen_classes = labels.classes
        return read_fit_tasks(labels, n_rows, **given)

    def _read_labels(self, y):
        return read_task_labels(y, known=self._settled_labels())

    def _settled_labels(self):
        return TaskLabels(self.task_names_, self.tasks_, self._task_classes, None, self._one_column)

    def _encode(self, fit_rows, fresh):
        """Class codes and standardised numbers, their weights, and counts or values by task."""
        seen, y = vars(self).pop("_seen_classes"), fit_rows.y
        known = ~np.isnan(y)
        weight = known if fit_rows.weight is None else known * fit_rows.weight[:, None]
        codes, labels = np.full(y.shape, np.nan), []
        if fresh:
            self._y_mean, self._y_scale = [0.0] * len(seen), [1.0] * len(seen)
        for k, name in enumerate(self.task_names_):
            rows = known[:, k]
            if fresh and not weight[:, k].any():
                raise ValueError(
                    f"task {name!r} (column {k} of y) has no label to learn from: all are missing "
                    "or weigh nothing. Leave the column out, or give labels on source rows."
                )
            if self.tasks_[k] == "regression":
                if fresh:
                    self._settle_scale(k, y[:, k], weight[:, k] * (fit_rows.domain >= 0))
                codes[:, k] = (y[:, k] - self._y_mean[k]) / self._y_scale[k]
                labels.append(torch.from_numpy(codes[rows, k]))
            else:
                codes[rows, k] = self._settle_classes(k, seen[k], y[rows, k].astype(int))
                n = np.bincount(codes[rows, k].astype(int), minlength=len(self._task_classes[k]))
                labels.append(torch.from_numpy(n))
        if fit_rows.weight is None and known[fit_rows.labelled].all():
            return codes, None, labels
        return codes, weight.astype(np.float64), labels

    def _settle_scale(self, k, y, weight):
        weight = weight if weight.any() else ~np.isnan(y)
        y = np.where(weight > 0, y, 0.0)
        self._y_mean[k] = float(np.average(y, weights=weight))
        self._y_scale[k] = float(np.sqrt(np.average((y - self._y_mean[k]) ** 2, weights=weight)))
        self._y_scale[k] = self._y_scale[k] or 1.0

    def _settle_classes(self, k, seen, codes):
        """Codes into the classes of task k, which are those of its labelled rows."""
        used, inverse = np.unique(codes, return_inverse=True)
        name = self.task_names_[k]
        if self._task_classes[k] is None:
            self._task_classes[k] = seen[used]
            codes = inverse.ravel()
        n_classes = len(self._task_classes[k])
        if (codes >= n_classes).any():
            unknown = seen[used[used >= n_classes]].tolist()
            raise ValueError(
                f"task {name!r} holds the labels {unknown}, not among the classes "
                f"{self._task_classes[k].tolist()}; give all of them as classes= in the first "
                "partial_fit, or fit again."
            )
        if n_classes < 2:
            raise ValueError(
                f"task {name!r} holds one class only, {self._task_classes[k].tolist()}; at least "
                "two are needed (-1 marks a missing label: code two classes as 0 and 1)."
            )
        return codes

    def _columns(self):
        """Columns of the logits that each task owns."""
        widths = [1 if c is None else len(c) for c in self._task_classes]
        stops = np.cumsum(widths).tolist()
        return [slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)]

    @property
    def _n_outputs(self):
        return self._columns()[-1].stop
