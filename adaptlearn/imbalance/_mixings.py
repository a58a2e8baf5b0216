"""Every mixing, imported so that its name is known."""

from . import cutmix, feature_smote, mixup, remix  # noqa: F401
