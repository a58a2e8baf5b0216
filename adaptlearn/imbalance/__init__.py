"""Class imbalance: task losses and batch sampling."""

from .asymmetric import Asymmetric
from .class_balanced import ClassBalanced
from .criterion import Criterion, CrossEntropy
from .focal import Focal
from .ldam import LDAM
from .logit_adjusted import LogitAdjusted
from .regression import DensityWeighted, Huber, MeanSquaredError
from .sampling import ClassSampler, InstanceSampler
from .target_prior import estimate_target_prior

__all__ = [
    "LDAM",
    "Asymmetric",
    "ClassBalanced",
    "ClassSampler",
    "Criterion",
    "CrossEntropy",
    "DensityWeighted",
    "Focal",
    "Huber",
    "InstanceSampler",
    "LogitAdjusted",
    "MeanSquaredError",
    "estimate_target_prior",
]
