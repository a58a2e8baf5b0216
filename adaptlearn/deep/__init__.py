"""Deep estimators: a network trained on both domains, with a scikit-learn interface."""

from ._task_weighting import FixedWeights, GradNorm, TaskWeighting, UncertaintyWeighting
from .classifier import DomainAdaptationClassifier
from .finetune import FineTuning
from .finetune_estimators import FineTuneClassifier, FineTuneRegressor
from .head import HeadRetrainer
from .multitask import MultiTaskClassifier
from .persistence import load
from .presets import (
    CDANClassifier,
    DANNClassifier,
    DeepCORALClassifier,
    MCCClassifier,
    MMDClassifier,
)
from .regressor import DomainAdaptationRegressor

__all__ = [
    "CDANClassifier",
    "DANNClassifier",
    "DeepCORALClassifier",
    "DomainAdaptationClassifier",
    "DomainAdaptationRegressor",
    "FineTuneClassifier",
    "FineTuneRegressor",
    "FineTuning",
    "FixedWeights",
    "GradNorm",
    "HeadRetrainer",
    "MCCClassifier",
    "MMDClassifier",
    "MultiTaskClassifier",
    "TaskWeighting",
    "UncertaintyWeighting",
    "load",
]
