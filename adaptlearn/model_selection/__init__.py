"""Choosing a model without target labels: splitters, scorers and `WithTarget`."""

from .entropy import EntropyScorer
from .importance_weighted import ImportanceWeightedScorer
from .labelled import LabelledScorer
from .split import DomainStratifiedKFold
from .with_target import WithTarget

__all__ = [
    "DomainStratifiedKFold",
    "EntropyScorer",
    "ImportanceWeightedScorer",
    "LabelledScorer",
    "WithTarget",
]
