"""Class imbalance: task losses and batch sampling."""

from .criterion import Criterion, CrossEntropy, Huber, MeanSquaredError
from .sampling import BalancedSampler, InstanceSampler

__all__ = [
    "BalancedSampler",
    "Criterion",
    "CrossEntropy",
    "Huber",
    "InstanceSampler",
    "MeanSquaredError",
]
