"""Class imbalance: task losses and batch sampling."""

from .criterion import Criterion, CrossEntropy, Huber, MeanSquaredError
from .sampling import BalancedSampler, InstanceSampler
from .target_prior import estimate_target_prior

__all__ = [
    "BalancedSampler",
    "Criterion",
    "CrossEntropy",
    "Huber",
    "InstanceSampler",
    "MeanSquaredError",
    "estimate_target_prior",
]
