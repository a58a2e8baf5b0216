"""Generated predictions of a classifier on two sides that differ in class proportions alone."""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax
from sklearn.utils import check_random_state

from ._synthetic import _check_priors, _check_sizes

CALIBRATIONS = ("exact", "overconfident", "distorted")


class LabelShiftData(NamedTuple):
    """What `make_label_shift` returns."""

    proba_source: np.ndarray  # (n_source, n_classes)
    codes_source: np.ndarray  # (n_source,)
    proba_target: np.ndarray  # (n_target, n_classes)
    codes_target: np.ndarray  # (n_target,)
    source_prior: np.ndarray  # (n_classes,)
    target_prior: np.ndarray  # (n_classes,)
    ratio: np.ndarray  # (n_classes,): target prior / source prior


def make_label_shift(
    n_source=1000,
    n_target=2000,
    *,
    n_classes=5,
    alpha=0.5,
    calibration="exact",
    class_sep=2.0,
    source_prior=None,
    target_prior=None,
    random_state=None,
):
    r"""Make predictions of held-out source rows and of target rows under label shift.

    Classes are unit Gaussians about centres at the same distance of each other, so that the right
    probabilities under the source prior are known: the logits are :math:`s x_y + \log p_S(y)` with
    s the `class_sep` / √2.

    Parameters
    ----------
    n_source, n_target : int, default=1000 and 2000
        Rows of each side. Their classes are drawn from the priors.
    n_classes : int, default=5
    alpha : float or None, default=0.5
        The target prior is drawn from a symmetric Dirichlet distribution with this parameter: the
        smaller, the stronger the shift. None: the target prior is the source prior.
    calibration : {"exact", "overconfident", "distorted"}, default="exact"
        "exact": the right probabilities. "overconfident": their logits doubled and a random number
        (standard deviation 0.5) added to each class, as of a classifier fitted too long.
        "distorted": each class's logit is multiplied by a random factor between 0.5 and 3, which
        no temperature undoes, and has a random number added.
    class_sep : float, default=2.0
        Distance of the class centres, in standard deviations.
    source_prior : array-like of shape (n_classes,), default=None
        None: equal shares.
    target_prior : array-like of shape (n_classes,), default=None
        In place of a draw with `alpha`.
    random_state : int, RandomState or None, default=None
        Makes the call repeatable.

    Returns
    -------
    LabelShiftData
        Named tuple ``(proba_source, codes_source, proba_target, codes_target, source_prior,
        target_prior, ratio)``.

    Raises
    ------
    ValueError
        On sizes below 1, an unknown calibration, `alpha` not above 0, or priors that do not fit.

    Examples
    --------
    >>> from adaptlearn.datasets import make_label_shift
    >>> data = make_label_shift(4, 6, n_classes=2, target_prior=[0.75, 0.25], random_state=0)
    >>> data.proba_source.shape, data.proba_target.shape
    ((4, 2), (6, 2))
    >>> data.ratio
    array([1.5, 0.5])
    """
    _check_sizes(n_source=n_source, n_target=n_target, n_classes=n_classes)
    if calibration not in CALIBRATIONS:
        raise ValueError(
            f"calibration={calibration!r} is not known; allowed are "
            f"{', '.join(map(repr, CALIBRATIONS))}."
        )
    if alpha is not None and not alpha > 0:
        raise ValueError(f"alpha={alpha!r} must be above 0, or None for no shift.")
    rng = check_random_state(random_state)
    source_prior = _check_priors("source_prior", source_prior, n_classes)
    if not (source_prior > 0).all():
        raise ValueError("source_prior must be above 0 for each class.")
    if target_prior is not None:
        target_prior = _check_priors("target_prior", target_prior, n_classes)
    elif alpha is None:
        target_prior = source_prior
    else:
        target_prior = rng.dirichlet(np.full(n_classes, float(alpha)))
    factor, offset = np.ones(n_classes), np.zeros(n_classes)
    if calibration != "exact":
        offset = rng.normal(scale=0.5, size=n_classes)
        factor = 2 * factor if calibration == "overconfident" else rng.uniform(0.5, 3, n_classes)
    distance = class_sep / np.sqrt(2)

    def predict(n, prior):
        codes = rng.choice(n_classes, size=n, p=prior)
        x = rng.normal(size=(n, n_classes))
        x[np.arange(n), codes] += distance
        return softmax(factor * (distance * x + np.log(source_prior)) + offset, axis=1), codes

    proba_source, codes_source = predict(n_source, source_prior)
    proba_target, codes_target = predict(n_target, target_prior)
    ratio = target_prior / source_prior
    return LabelShiftData(
        proba_source, codes_source, proba_target, codes_target, source_prior, target_prior, ratio
    )
