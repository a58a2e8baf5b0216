"""Class imbalance and label shift: task losses, batch sampling, class proportions."""

from .criterion import Criterion, CrossEntropy, Huber, MeanSquaredError
from ._label_shift_result import LabelShift
from .label_shift import estimate_label_shift
from .sampling import BalancedSampler, InstanceSampler
from .target_prior import estimate_target_prior

__all__ = [
    "BalancedSampler",
    "Criterion",
    "CrossEntropy",
    "Huber",
    "InstanceSampler",
    "LabelShift",
    "MeanSquaredError",
    "estimate_label_shift",
    "estimate_target_prior",
]
