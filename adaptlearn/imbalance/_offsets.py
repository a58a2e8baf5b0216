"""Search for class offsets that make predictions best by a metric of one's choice."""

from __future__ import annotations

import numpy as np

# Where a metric is flat, the mean recall says which way is up.
_TIE = 1e-6
# A recall below this is one of 0.
_NONE = 1e-12


def _recalls(correct, predicted, support):
    return correct / support


def _balanced_accuracy(*counts):
    return _recalls(*counts).mean(axis=-1)


def _worst_class_recall(*counts):
    return _recalls(*counts).min(axis=-1)


def _geometric_mean(*counts):
    recalls = _recalls(*counts)
    return recalls.prod(axis=-1) ** (1 / recalls.shape[-1])


def _f1_macro(correct, predicted, support):
    return (2 * correct / (predicted + support)).mean(axis=-1)


# Right predictions, predictions and rows of each class, (..., n_classes) -> (...).
METRICS = {
    "balanced_accuracy": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "geometric_mean": _geometric_mean,
    "worst_class_recall": _worst_class_recall,
}


class Objective:
    """A metric of predicted class codes, for one prediction and for many at once.

    Parameters
    ----------
    metric : str or callable
        Key of `METRICS`, or ``metric(y_true, y_pred) -> float``, higher is better.
    codes : ndarray of shape (n_rows,)
        Class codes; each of 0, ..., n_classes - 1 occurs.
    classes : ndarray of shape (n_classes,)
        Labels that a callable is given.
    weight : ndarray of shape (n_rows,), optional
        Weights of the rows, > 0.
    """

    def __init__(self, metric, codes, classes, weight=None):
        self.metric, self.codes, self.classes = metric, codes, classes
        self.weight = np.ones(len(codes)) if weight is None else weight
        self._given = {} if weight is None else {"sample_weight": weight}
        self.support = np.bincount(codes, self.weight, minlength=len(classes))

    def score(self, predicted):
        """Value of the metric for one prediction."""
        if callable(self.metric):
            y_true, y_pred = self.classes[self.codes], self.classes[predicted]
            return float(self.metric(y_true, y_pred, **self._given))
        return float(METRICS[self.metric](*self._counts(predicted), self.support))

    def value(self, predicted):
        """The same with a small part of the mean recall, which breaks ties."""
        correct, _ = self._counts(predicted)
        return self.score(predicted) + _TIE * float((correct / self.support).mean())

    def _counts(self, predicted):
        right = self.weight * (predicted == self.codes)
        return tuple(
            np.bincount(predicted, w, minlength=len(self.classes)) for w in (right, self.weight)
        )

    def values(self, rival, order, cuts, k):
        """Values when the first ``cuts[c]`` rows of `order` are predicted k, the others `rival`."""
        if callable(self.metric):
            out = []
            for cut in cuts:
                predicted = rival.copy()
                predicted[order[:cut]] = k
                out.append(self.value(predicted))
            return np.array(out)
        n_classes = len(self.classes)
        own, other, weight = self.codes[order], rival[order], self.weight[order]
        # Changes between one cut and the next, summed up from the prediction without k.
        bucket = np.searchsorted(cuts, np.arange(len(order)), side="right") * n_classes

        def running(classes, rows):
            sums = np.bincount(
                bucket + classes, weight * rows, minlength=(len(cuts) + 1) * n_classes
            )
            return sums.reshape(-1, n_classes)[: len(cuts)].cumsum(axis=0)

        correct, predicted = self._counts(rival)
        correct = correct + running(k, own == k) - running(own, own == other)
        # Weights that cancel leave rounding, of which the root of a product would make much.
        correct[correct < _NONE * self.support] = 0.0
        predicted = predicted + running(k, 1) - running(other, 1)
        counts = correct, predicted, self.support
        return METRICS[self.metric](*counts) + _TIE * _balanced_accuracy(*counts)


def tune_offsets(scores, objective, *, max_candidates=512, max_sweeps=20):
    """Offsets b such that ``argmax(scores + b)`` does well by the objective.

    Coordinate search, from b = 0 and from b = -log prior: for one class after the other, all
    thresholds that change a prediction (or `max_candidates` of them, evenly spaced) are tried.
    The result is never worse on these rows than b = 0.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_classes)
        Logarithms of class probabilities, finite.
    objective : Objective
    max_candidates, max_sweeps : int

    Returns
    -------
    ndarray of shape (n_classes,)
        With mean 0.
    """
    zero = np.zeros(scores.shape[1])
    prior = objective.support / objective.support.sum()
    found = [
        _climb(scores, objective, start, max_candidates, max_sweeps)
        for start in (zero, -np.log(prior))
    ]
    reached = [objective.score((scores + b).argmax(axis=1)) for b in (zero, *found)]
    best = (zero, *found)[int(np.argmax(reached))]  # the first of equals
    return best - best.mean()


def _climb(scores, objective, start, max_candidates, max_sweeps):
    b = start.copy()
    value = objective.value((scores + b).argmax(axis=1))
    for _ in range(max_sweeps):
        before = value
        for k in range(len(b)):
            step = b.copy()
            step[k] = _best_threshold(scores, objective, b, k, max_candidates)
            reached = objective.value((scores + step).argmax(axis=1))
            if reached > value + 1e-12:
                b, value = step, reached
        if value == before:
            break
    return b


def _best_threshold(scores, objective, b, k, max_candidates):
    """Best offset of class k, the others held; of equals the nearest to the present one."""
    z = scores + b
    z[:, k] = -np.inf
    rival = z.argmax(axis=1)
    gap = z[np.arange(len(z)), rival] - scores[:, k]  # class k wins where its offset is larger
    order = np.argsort(gap, kind="stable")
    gap = gap[order]
    cuts = np.flatnonzero(np.diff(gap) > 1e-9) + 1
    if len(cuts) > max_candidates:
        cuts = cuts[np.linspace(0, len(cuts) - 1, max_candidates).astype(np.intp)]
    thresholds = np.concatenate([[gap[0] - 1], (gap[cuts - 1] + gap[cuts]) / 2, [gap[-1] + 1]])
    cuts = np.concatenate([[0], cuts, [len(gap)]])
    values = objective.values(rival, order, cuts, k)
    best = np.flatnonzero(values >= values.max() - 1e-12)
    return thresholds[best[np.abs(thresholds[best] - b[k]).argmin()]]
