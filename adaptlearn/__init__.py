"""Domain adaptation and class imbalance with a scikit-learn interface."""

from importlib import import_module

__version__ = "0.1.0"

# Public name -> module that defines it. Loaded on first use, so that importing adaptlearn is quick
# and does not import torch.
_PUBLIC = {
    "pack": "_packing",
    "unpack": "_packing",
    "register": "_components",
    "Alignment": "alignment",
    "CDAN": "alignment",
    "CORAL": "alignment",
    "DANN": "alignment",
    "Entropy": "alignment",
    "JMMD": "alignment",
    "MCC": "alignment",
    "MMD": "alignment",
    "SPL": "alignment",
    "Augmentation": "augmentation",
    "ColorJitter": "augmentation",
    "FlipCrop": "augmentation",
    "GaussianNoise": "augmentation",
    "RandAugment": "augmentation",
    "SpecAugment": "augmentation",
    "TokenDropout": "augmentation",
    "CDANClassifier": "deep",
    "DANNClassifier": "deep",
    "DeepCORALClassifier": "deep",
    "DomainAdaptationClassifier": "deep",
    "DomainAdaptationRegressor": "deep",
    "FineTuneClassifier": "deep",
    "FineTuneRegressor": "deep",
    "FineTuning": "deep",
    "HeadRetrainer": "deep",
    "MCCClassifier": "deep",
    "MMDClassifier": "deep",
    "MultiTaskClassifier": "deep",
    "load": "deep",
    "AudioExtractor": "extractors",
    "EmbeddingCache": "extractors",
    "ImageExtractor": "extractors",
    "ModuleExtractor": "extractors",
    "TextExtractor": "extractors",
    "rank_extractors": "extractors",
    "CutMix": "imbalance",
    "DomainResampler": "imbalance",
    "FeatureSMOTE": "imbalance",
    "Mixing": "imbalance",
    "Mixup": "imbalance",
    "Remix": "imbalance",
    "ResampledClassifier": "imbalance",
    "ResampledRegressor": "imbalance",
    "TunedThresholdsClassifier": "imbalance",
    "LabelShiftClassifier": "imbalance",
    "estimate_label_shift": "imbalance",
    "Delta": "regularization",
    "EWC": "regularization",
    "L2SP": "regularization",
    "LwF": "regularization",
    "Regularization": "regularization",
    "DomainStratifiedKFold": "model_selection",
    "EntropyScorer": "model_selection",
    "ImportanceWeightedScorer": "model_selection",
    "LabelledScorer": "model_selection",
    "WithTarget": "model_selection",
}
_SUBPACKAGES = (
    "alignment",
    "augmentation",
    "datasets",
    "deep",
    "extractors",
    "imbalance",
    "metrics",
    "model_selection",
    "regularization",
)

__all__ = [*sorted(_PUBLIC), *_SUBPACKAGES, "__version__"]


def __getattr__(name):
    if name in _PUBLIC:
        value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _SUBPACKAGES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
