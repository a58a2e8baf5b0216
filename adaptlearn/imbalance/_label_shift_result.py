"""What an estimate of label shift says, and what can be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from .._tables import html_table, text_table
from ._calibration import Calibration


@dataclass(frozen=True, repr=False, eq=False)
class LabelShift:
    """Estimated class proportions of the target, with what is known about their quality.

    Made by `estimate_label_shift`.

    Attributes
    ----------
    ratio : ndarray of shape (n_classes,)
        w = target prior / source prior; 0 for a class without source rows.
    target_prior, source_prior : ndarrays of shape (n_classes,)
        Class proportions; each has sum 1.
    interval : tuple of two ndarrays of shape (n_classes,), or None
        Lower and upper ends of the bootstrap intervals of the target prior.
    confidence : float
        Level of `interval`.
    method : str
    n_source, n_target : int
        Rows behind the estimate.
    condition, smallest_singular_value : float
        Condition number and smallest singular value of the joint confusion matrix that the method
        rests on (of probabilities for "mlls" and "auto", of hard predictions for the others).
    unexplained : float
        Share of target predictions that no mixture of the source's classes explains, beyond noise.
    shrinkage : float
        Share of the estimated shift that was kept, for ``method="auto"``; 1 for the others.
    calibration : Calibration or None
        Maps predictions to the calibrated ones that the estimate rests on.
    problems : tuple of str
        What was warned about.
    classes : ndarray of shape (n_classes,)
        Names of the classes.
    """

    ratio: np.ndarray
    target_prior: np.ndarray
    source_prior: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None
    confidence: float
    method: str
    n_source: int
    n_target: int
    condition: float
    smallest_singular_value: float
    unexplained: float
    shrinkage: float
    calibration: Calibration | None
    problems: tuple[str, ...]
    classes: np.ndarray

    def correct(self, proba, prior="target"):
        r"""Class probabilities under other class proportions.

        .. math:: p(y \mid x) \propto p_S(y \mid x) \, \pi(y) / p_S(y)

        on calibrated probabilities where the method calibrates. Where the estimate is that nothing
        shifted (all ratios exactly 1), ``"target"`` gives `proba` back as it is.

        Parameters
        ----------
        proba : ndarray of shape (n_rows, n_classes)
            Predictions of the classifier under the source prior.
        prior : {"target", "uniform", "source"} or array-like of shape (n_classes,)
            Class proportions :math:`\pi`; ``"source"`` gives `proba` back as it is.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
        """
        prior = read_prior(prior, len(self.ratio))
        if np.ndim(proba) != 2 or np.shape(proba)[1] != len(self.ratio):
            raise ValueError(
                f"proba has shape {np.shape(proba)}; give one column for each of the "
                f"{len(self.ratio)} classes of the estimate, as predict_proba does."
            )
        if isinstance(prior, str) and prior == "target":
            ratio = self.ratio
            if (ratio == 1).all():
                return proba
        elif isinstance(prior, str) and prior == "source":
            return proba
        else:
            ratio = prior_ratio(prior, self.source_prior)
        return reweight(proba, ratio, self.calibration)

    def __repr__(self):
        facts = f"method={self.method!r}, n_source={self.n_source}, n_target={self.n_target}"
        if self.method == "auto":
            facts += f", shrinkage={self.shrinkage:.2f}"
        return f"LabelShift({facts})\n" + text_table(*self._table(), n_left=0)

    def _repr_html_(self):
        notes = "".join(f"<p>{escape(text)}</p>" for text in self.problems)
        return html_table(*self._table()) + notes

    def _table(self):
        """Column titles and cells, as text."""
        header = ["class", "source", "target", "ratio"]
        columns = [self.source_prior, self.target_prior]
        rows = [
            [str(name), *(f"{column[k]:.3f}" for column in columns), f"{self.ratio[k]:.2f}"]
            for k, name in enumerate(self.classes.tolist())
        ]
        if self.interval is not None:
            header.append(f"{self.confidence:.0%} interval")
            for row, low, high in zip(rows, *self.interval, strict=True):
                row.append(f"{low:.3f} to {high:.3f}")
        return header, rows


def prior_ratio(prior, source_prior):
    """Ratio of "uniform" or of an array to the source prior; 0 for classes without source rows."""
    known = source_prior > 0
    target = known.astype(float) if isinstance(prior, str) else prior
    return np.divide(target, source_prior, out=np.zeros(len(known)), where=known)


def reweight(proba, ratio, calibration=None):
    """Probabilities times `ratio`, with sum 1; rows that lose all keep what they were."""
    proba = np.asarray(proba, dtype=np.float64)
    if calibration is not None:
        proba = calibration.apply(proba)
    weighted = proba * ratio
    total = weighted.sum(1, keepdims=True)
    return np.divide(weighted, total, out=proba.copy(), where=total > 0)


def read_prior(prior, n_classes):
    """`prior` as one of the names, or as an array with sum 1."""
    if isinstance(prior, str):
        if prior in ("source", "uniform", "target"):
            return prior
    else:
        try:
            values = np.asarray(prior, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.zeros(())
        valid = values.shape == (n_classes,) and np.isfinite(values).all()
        if valid and (values >= 0).all() and values.sum() > 0:
            return values / values.sum()
    raise ValueError(
        f"prior={prior!r:.80} must be 'source', 'uniform', 'target' or an array of one share for "
        f"each of the {n_classes} classes, not negative and not all zero."
    )
