"""The only place with imports from private scikit-learn and skorch modules."""

from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

__all__ = ["HasMethods", "Interval", "Options", "StrOptions", "validate_parameter_constraints"]
