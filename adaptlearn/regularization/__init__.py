"""Regularisation against forgetting: losses that keep a network close to what it was."""

from .base import Regularization, RowBatch, StepOutputs
from .delta import Delta
from .ewc import EWC
from .l2_sp import L2SP
from .lwf import LwF

__all__ = ["EWC", "L2SP", "Delta", "LwF", "Regularization", "RowBatch", "StepOutputs"]
