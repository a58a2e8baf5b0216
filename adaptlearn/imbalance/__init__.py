"""Class imbalance: task losses and batch sampling."""

from .asymmetric import Asymmetric
from .class_balanced import ClassBalanced
from .criterion import Criterion, CrossEntropy
from .focal import Focal
from .ldam import LDAM
from .logit_adjusted import LogitAdjusted
from .regression import DensityWeighted, Huber, MeanSquaredError
from .sampling import ClassSampler, InstanceSampler
from importlib import import_module

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
    "DomainResampler",
    "Huber",
    "InstanceSampler",
    "LogitAdjusted",
    "MeanSquaredError",
    "ResampledClassifier",
    "ResampledRegressor",
    "TunedThresholdsClassifier",
    "estimate_target_prior",
]

# Loaded on first use: imbalanced-learn is slow to import, and the deep estimators do without it.
_LAZY = {
    "DomainResampler": "resampling",
    "ResampledClassifier": "resampled",
    "ResampledRegressor": "resampled",
    "TunedThresholdsClassifier": "thresholds",
}


def __getattr__(name):
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
