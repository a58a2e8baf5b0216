"""Alignments: losses that make target features look like source features."""

from .base import Alignment, Domain, Step, reverse_gradient
from .cdan import CDAN
from .coral import CORAL
from .dann import DANN
from .mcc import MCC
from .mmd import JMMD, MMD

__all__ = [
    "CDAN",
    "CORAL",
    "DANN",
    "JMMD",
    "MCC",
    "MMD",
    "Alignment",
    "Domain",
    "Step",
    "reverse_gradient",
]
