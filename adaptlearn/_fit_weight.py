"""How an estimator, or the last step of a pipeline, takes weights of rows."""

from __future__ import annotations

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter


def weight_name(estimator):
    """Name under which ``estimator.fit`` takes `sample_weight`.

    Raises
    ------
    ValueError
        If it takes none: weights are never dropped silently.
    """
    if has_fit_parameter(estimator, "sample_weight"):
        return "sample_weight"
    if isinstance(estimator, Pipeline):
        if get_config()["enable_metadata_routing"]:  # steps ask for it themselves
            return "sample_weight"
        name, last = estimator.steps[-1]
        if has_fit_parameter(last, "sample_weight"):
            return f"{name}__sample_weight"
    raise ValueError(
        f"sample_weight was given, but {type(estimator).__name__}.fit takes none. Leave it out, or "
        "use an estimator that takes sample_weight."
    )
