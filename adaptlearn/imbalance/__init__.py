"""The classes moved: task losses, sampling, mixing, resampling, label shift, thresholds."""

from importlib import import_module

# Loaded on first use: what needs no network does not wait for torch, nor a network for imblearn.
_MODULES = {
    "LDAM": "ldam",
    "Asymmetric": "asymmetric",
    "ClassBalanced": "class_balanced",
    "ClassSampler": "sampling",
    "Criterion": "criterion",
    "CrossEntropy": "criterion",
    "CutMix": "cutmix",
    "DensityWeighted": "regression",
    "DomainResampler": "resampling",
    "FeatureSMOTE": "feature_smote",
    "Focal": "focal",
    "Huber": "regression",
    "InstanceSampler": "sampling",
    "LabelShift": "_label_shift_result",
    "LabelShiftClassifier": "label_shift_classifier",
    "LogitAdjusted": "logit_adjusted",
    "MeanSquaredError": "regression",
    "Mixed": "mixing",
    "Mixing": "mixing",
    "Mixup": "mixup",
    "Remix": "remix",
    "ResampledClassifier": "resampled",
    "ResampledRegressor": "resampled",
    "TunedThresholdsClassifier": "thresholds",
    "estimate_label_shift": "label_shift",
    "estimate_target_prior": "target_prior",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
