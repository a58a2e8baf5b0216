"""Alignments: losses that make target features look like source features."""

from .base import Alignment, Domain, Step, reverse_gradient
from .cdan import CDAN
from .coral import CORAL
from .dann import DANN
from .entropy import Entropy
from .mcc import MCC
from .mmd import JMMD, MMD
from .spl import SPL

__all__ = [
    "CDAN",
    "CORAL",
    "DANN",
    "JMMD",
    "MCC",
    "MMD",
    "SPL",
    "Alignment",
    "Domain",
    "Entropy",
    "Step",
    "reverse_gradient",
]
