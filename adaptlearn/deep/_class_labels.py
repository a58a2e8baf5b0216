"""Labels of a classifier as class codes."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import unique_labels

from ..imbalance._label_shift_result import read_prior


class ClassLabelsMixin:
    """How labels become tensors, for `DomainAdaptationClassifier`."""

    @property
    def _n_outputs(self):
        return len(self.classes_)

    def _known_classes(self, fresh):
        return getattr(self, "_given_classes", None) if fresh else self.classes_

    def _encode(self, fit_rows, fresh):
        """Class codes, task weights and class counts; sets ``classes_``."""
        given = self._known_classes(fresh)
        seen = unique_labels(fit_rows.y[fit_rows.labelled])
        if fresh:
            self.classes_ = seen if given is None else given
        unknown = [v for v in seen.tolist() if v not in self.classes_.tolist()]
        if unknown:
            raise ValueError(
                f"y holds the labels {unknown}, not among the classes {self.classes_.tolist()}; "
                "give all of them as classes= in the first partial_fit, or fit again."
            )
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_.tolist()}; at least two are needed."
            )
        if self.prior is not None:
            read_prior(self.prior, len(self.classes_))
        codes = np.zeros(len(fit_rows.y), dtype=np.int64)
        labelled = fit_rows.labelled
        codes[labelled] = np.searchsorted(self.classes_, fit_rows.y[labelled])
        counts = np.bincount(codes[labelled], minlength=len(self.classes_))
        weight = fit_rows.weight
        if self.class_weight is not None:
            by_class = _class_weights(
                self.class_weight, self.classes_, fit_rows.y[labelled], counts
            )
            weight = by_class[codes] * (1.0 if weight is None else weight)
        return codes, weight, torch.from_numpy(counts)


def _class_weights(class_weight, classes, y, counts):
    """Weight of each class; "balanced" among those that occur, as a call need not hold all."""
    if class_weight != "balanced":
        return compute_class_weight(class_weight, classes=classes, y=y)
    by_class, seen = np.ones(len(classes)), counts > 0
    by_class[seen] = compute_class_weight("balanced", classes=classes[seen], y=y)
    return by_class
