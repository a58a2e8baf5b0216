"""What a fitted network with several tasks answers: one column per task."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._containers import n_rows, take_rows
from .._scored import read_scored


class TaskPredictionMixin(ClassifierMixin):
    """Predictions and scores, for `MultiTaskClassifier`."""

    __metadata_request__predict_proba = {"sample_domain": True}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.classifier_tags.multi_label = True
        return tags

    def predict(self, X, *, sample_domain=None):
        """Most probable class, or number, of each row in each task.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows, n_tasks)
            Of objects where some tasks have numbers and others strings, or some are regression and
            others not. Of shape (n_rows,) when ``fit`` was given a one-dimensional `y`.
        """
        columns = self._predict_columns(X, sample_domain)
        if self._one_column:
            return columns[0]
        kinds = {
            "strings" if column.dtype.kind == "U" else task
            for column, task in zip(columns, self.tasks_, strict=True)
        }
        if len(kinds) > 1:
            columns = [column.astype(object) for column in columns]
        return np.stack(columns, axis=1)

    def predict_proba(self, X, *, sample_domain=None):
        """Probability of each class in each task.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        list of ndarray of shape (n_rows, n_classes)
            One for each task, None for regression. The array itself when ``fit`` was given a
            one-dimensional `y`.
        """
        logits = self._forward(X, sample_domain)[1]
        proba = [
            None if kind == "regression" else softmax(logits[:, columns], axis=1)
            for kind, columns in zip(self.tasks_, self._columns(), strict=True)
        ]
        return proba[0] if self._one_column else proba

    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Mean over tasks of the accuracy, in regression of R², on the rows with a label.

        Tasks without a label in `y` are left out. When `y` holds rows without any label, the others
        are source rows and are predicted as such; when it holds none, all rows are target rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        y : array-like of shape (n_rows, n_tasks)
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : int or array-like of shape (n_rows,), optional

        Returns
        -------
        float
        """
        scores = self.score_by_task(X, y, sample_weight, sample_domain=sample_domain)
        return float(np.nanmean(list(scores.values())))

    def score_by_task(self, X, y, sample_weight=None, *, sample_domain=None):
        """Accuracy, in regression R², of each task on the rows with its label.

        Parameters
        ----------
        X, y, sample_weight, sample_domain
            As in ``score``.

        Returns
        -------
        dict
            Score by task name (the column of a frame, or its number); NaN without a label.
        """
        check_is_fitted(self)
        check_consistent_length(X, y)
        labels = self._read_labels(y)
        # Classes (): in this column of 0 and NaN only NaN is a mask.
        scored = read_scored(labels.any_known(), sample_domain, (), sample_weight)
        if len(scored.rows) < n_rows(X):
            X = take_rows(X, scored.rows)
        columns = self._predict_columns(X, scored.domain)
        scores = {}
        for k, (name, predicted) in enumerate(zip(labels.names, columns, strict=True)):
            truth = labels.values[scored.rows, k]
            known = ~np.isnan(truth)
            weight = None if scored.weight is None else scored.weight[known]
            truth, predicted = truth[known], predicted[known]
            if not known.any() or (weight is not None and not weight.any()):
                scores[name] = np.nan
            elif self.tasks_[k] == "regression":
                scores[name] = r2_score(truth, predicted, sample_weight=weight)
            else:
                codes = np.searchsorted(self._task_classes[k], predicted)
                scores[name] = accuracy_score(truth.astype(int), codes, sample_weight=weight)
                self._warn_unseen(labels.classes[k], k)
        return scores

    def _warn_unseen(self, classes, k):
        unseen = classes[len(self._task_classes[k]) :].tolist()
        if unseen:
            warnings.warn(
                f"y holds labels unseen in fit in task {self.task_names_[k]!r}, {unseen}: they "
                "count as wrong.",
                stacklevel=4,
            )

    def _predict_columns(self, X, sample_domain):
        logits = self._forward(X, sample_domain)[1]
        columns = []
        for k, place in enumerate(self._columns()):
            scores = logits[:, place]
            if self.tasks_[k] == "regression":
                columns.append(scores[:, 0] * self._y_scale[k] + self._y_mean[k])
            else:
                columns.append(self._task_classes[k][scores.argmax(axis=1)])
        return columns
