"""Augmentations: each row of a training batch in another form, its label the same."""

from .base import Augmentation, make_augmentation
from .color import ColorJitter
from .flip_crop import FlipCrop
from .noise import GaussianNoise
from .rand_augment import RandAugment
from .spec_augment import SpecAugment
from .token_dropout import TokenDropout

__all__ = [
    "Augmentation",
    "ColorJitter",
    "FlipCrop",
    "GaussianNoise",
    "RandAugment",
    "SpecAugment",
    "TokenDropout",
    "make_augmentation",
]
