"""Pure functions: of two domains, of predictions, of features for a new task, of forgetting."""

from .by_class import ShotAccuracy, shot_accuracy, worst_class_recall
from .calibration import calibration_error
from .distances import importance_weights, mmd, proxy_a_distance
from .forgetting import ForgettingReport, forgetting_matrix, forgetting_report
from .predictions import (
    collapse_penalty,
    guarded_entropy,
    importance_weighted_score,
    prediction_entropy,
)
from .report import DomainReport, domain_report
from .transferability import h_score, leep_score, logme_score, nce_score, transrate_score

__all__ = [
    "DomainReport",
    "ForgettingReport",
    "ShotAccuracy",
    "calibration_error",
    "collapse_penalty",
    "domain_report",
    "forgetting_matrix",
    "forgetting_report",
    "geometric_mean_score",
    "guarded_entropy",
    "h_score",
    "importance_weighted_score",
    "importance_weights",
    "leep_score",
    "logme_score",
    "mmd",
    "nce_score",
    "prediction_entropy",
    "proxy_a_distance",
    "shot_accuracy",
    "transrate_score",
    "worst_class_recall",
]


def __getattr__(name):
    if name == "geometric_mean_score":  # imbalanced-learn's own, loaded on first use
        from imblearn.metrics import geometric_mean_score

        return geometric_mean_score
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
