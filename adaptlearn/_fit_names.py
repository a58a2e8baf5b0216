"""What the ``fit`` of an estimator, or of the last step of a pipeline, calls its arguments."""

from __future__ import annotations

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def fit_name(estimator, name):
    """Name under which ``estimator.fit`` takes the argument `name` without routing, or None."""
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        inner = fit_name(last, name)
        return None if inner is None else f"{step}__{inner}"
    return name if has_fit_parameter(estimator, name) else None


def weight_name(estimator):
    """Name under which ``estimator.fit`` takes `sample_weight`.

    Raises
    ------
    ValueError
        If it takes none: weights are never dropped silently.
    """
    if get_config()["enable_metadata_routing"] and isinstance(estimator, Pipeline):
        return "sample_weight"  # steps ask for it themselves
    name = fit_name(estimator, "sample_weight")
    if name is None:
        raise ValueError(
            f"sample_weight was given, but {type(estimator).__name__}.fit takes none. Leave it "
            "out, or use an estimator that takes sample_weight."
        )
    return name
