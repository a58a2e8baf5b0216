"""What a fitted deep classifier answers: classes, probabilities, scores, class proportions."""

from __future__ import annotations

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted

from ._label_shift import corrected

_LOWEST = -1e3  # logarithm of a probability of 0


class PredictionMixin(ClassifierMixin):
    """Predictions and class proportions, for `DomainAdaptationClassifier`."""

    __metadata_request__predict_proba = {"sample_domain": True}
    __metadata_request__decision_function = {"sample_domain": True}

    def predict(self, X, *, sample_domain=None):
        """Most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        best = self._scores(X, sample_domain).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X, *, sample_domain=None):
        """Probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
        """
        return softmax(self._scores(X, sample_domain), axis=1)

    def decision_function(self, X, *, sample_domain=None):
        """Logits of each class; with two classes the difference of the second and the first.

        With ``prior=``, logarithms of the corrected probabilities in place of logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_classes)
        """
        scores = self._scores(X, sample_domain)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Accuracy on the labelled rows.

        When `y` holds masks, its labelled rows are source rows and are predicted as such; when it
        holds none, all rows are target rows. A label unseen in ``fit`` counts as wrong.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : int or array-like of shape (n_rows,), optional

        Returns
        -------
        float
        """
        y, predicted, weight = self._predict_labelled(X, y, sample_weight, sample_domain)
        return accuracy_score(y, predicted, sample_weight=weight)

    @property
    def source_prior_(self):
        """Class proportions of the labelled source rows."""
        check_is_fitted(self)
        return self._priors.source

    @property
    def target_prior_(self):
        """Estimated class proportions of the target rows; None where there is no estimate."""
        check_is_fitted(self)
        return self._priors.target

    @property
    def alignment_(self):
        """The alignments that were trained; tells what ``alignment="auto"`` came to."""
        check_is_fitted(self)
        return list(self.net_.criterion_.alignments)

    def _scores(self, X, sample_domain):
        """Logits, or logarithms of probabilities that were corrected for `prior`."""
        logits = self._forward(X, sample_domain)[1]
        if self.prior is None:
            return logits
        slots = self._domain_index.read(sample_domain, len(logits))
        with np.errstate(divide="ignore"):
            scores = np.log(corrected(self, softmax(logits, axis=1), slots))
        return np.maximum(scores, _LOWEST)  # differences stay finite
