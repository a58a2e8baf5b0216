"""Class imbalance and label shift: task losses, batch sampling, class proportions."""

from ._label_shift_result import LabelShift
from .criterion import Criterion, CrossEntropy, Huber, MeanSquaredError
from .label_shift import estimate_label_shift
from .label_shift_classifier import LabelShiftClassifier
from .sampling import BalancedSampler, InstanceSampler
from .target_prior import estimate_target_prior

__all__ = [
    "BalancedSampler",
    "Criterion",
    "CrossEntropy",
    "Huber",
    "InstanceSampler",
    "LabelShift",
    "LabelShiftClassifier",
    "MeanSquaredError",
    "estimate_label_shift",
    "estimate_target_prior",
]
