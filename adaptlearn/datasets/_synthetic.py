"""Generated source and target for tests and docs."""

import numpy as np
from sklearn.utils import check_random_state

SHIFTS = ("none", "translation", "scale", "rotation")


def _check_sizes(**sizes):
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name}={size!r} is not a whole number of at least 1.")


def _check_priors(name, priors, n_classes):
    if priors is None:
        return np.full(n_classes, 1 / n_classes)
    priors = np.asarray(priors, dtype=float)
    if priors.shape != (n_classes,) or not np.all(priors >= 0) or not priors.sum() > 0:
        raise ValueError(
            f"{name}={priors.tolist()!r} is not one non-negative share for each of the "
            f"{n_classes} classes; give a list of {n_classes} numbers with a positive sum."
        )
    return priors / priors.sum()


def _labels(n, priors, rng):
    """Exactly proportional classes (largest remainders), in random order."""
    exact = n * priors
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return rng.permutation(np.repeat(np.arange(len(priors)), counts))


def make_shifted_blobs(
    n_source=200,
    n_target=200,
    *,
    n_features=2,
    n_classes=3,
    shift=2.0,
    class_sep=3.0,
    source_priors=None,
    target_priors=None,
    random_state=None,
):
    """Make Gaussian classes whose target is moved as a whole along one random direction.

    Parameters
    ----------
    n_source, n_target : int, default=200
        Rows of each domain.
    n_features : int, default=2
        Columns.
    n_classes : int, default=3
        Classes, with unit variance about random centres.
    shift : float, default=2.0
        How far the target is moved, in standard deviations of a class.
    class_sep : float, default=3.0
        Standard deviation of the class centres.
    source_priors, target_priors : array-like of shape (n_classes,), default=None
        Class shares; ``None`` is equal shares.
    random_state : int, RandomState or None, default=None
        Makes the call repeatable.

    Returns
    -------
    X_source : array of shape (n_source, n_features)
    y_source : array of shape (n_source,)
        Integers from 0.
    X_target : array of shape (n_target, n_features)
    y_target : array of shape (n_target,)
        For evaluation.

    Raises
    ------
    ValueError
        On sizes below 1 or shares that do not fit ``n_classes``.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.datasets import make_shifted_blobs
    >>> Xs, ys, Xt, yt = make_shifted_blobs(9, 10, target_priors=[8, 1, 1], random_state=0)
    >>> np.bincount(ys).tolist(), np.bincount(yt).tolist()
    ([3, 3, 3], [8, 1, 1])
    """
    _check_sizes(n_source=n_source, n_target=n_target, n_features=n_features, n_classes=n_classes)
    source_priors = _check_priors("source_priors", source_priors, n_classes)
    target_priors = _check_priors("target_priors", target_priors, n_classes)
    rng = check_random_state(random_state)
    centres = rng.normal(scale=class_sep, size=(n_classes, n_features))
    direction = rng.normal(size=n_features)
    direction /= np.linalg.norm(direction)
    y_source = _labels(n_source, source_priors, rng)
    y_target = _labels(n_target, target_priors, rng)
    X_source = centres[y_source] + rng.normal(size=(n_source, n_features))
    X_target = centres[y_target] + rng.normal(size=(n_target, n_features)) + shift * direction
    return X_source, y_source, X_target, y_target


def make_domain_shift(
    n_source=300,
    n_target=300,
    *,
    shift="translation",
    strength=1.0,
    noise=0.15,
    source_priors=None,
    target_priors=None,
    random_state=None,
):
    """Make two moons whose target is translated, scaled or rotated, with other proportions.

    Parameters
    ----------
    n_source, n_target : int, default=300
        Rows of each domain.
    shift : {"translation", "scale", "rotation", "none"}, default="translation"
        How the target inputs move. Standardising each domain undoes translation and scale when the
        class proportions agree; a rotation it does not undo.
    strength : float, default=1.0
        ``"translation"``: the target moves by (strength, strength / 2). ``"scale"``: the target is
        multiplied by (1 + strength, 1 / (1 + strength)). ``"rotation"``: by 30 degrees x strength.
    noise : float, default=0.15
        Standard deviation about the moons.
    source_priors, target_priors : array-like of shape (2,), default=None
        Class shares; ``None`` is equal shares.
    random_state : int, RandomState or None, default=None
        Makes the call repeatable.

    Returns
    -------
    X_source : array of shape (n_source, 2)
    y_source : array of shape (n_source,)
        0 or 1.
    X_target : array of shape (n_target, 2)
    y_target : array of shape (n_target,)
        For evaluation.

    Raises
    ------
    ValueError
        On an unknown shift, sizes below 1 or shares that are not two numbers.

    Examples
    --------
    >>> from adaptlearn.datasets import make_domain_shift
    >>> Xs, ys, Xt, yt = make_domain_shift(100, 50, target_priors=[0.9, 0.1], random_state=0)
    >>> Xs.shape, Xt.shape, int(yt.sum())
    ((100, 2), (50, 2), 5)
    """
    _check_sizes(n_source=n_source, n_target=n_target)
    if shift not in SHIFTS:
        raise ValueError(
            f"shift={shift!r} is not known; allowed are {', '.join(map(repr, SHIFTS))}."
        )
    rng = check_random_state(random_state)

    def moons(n, priors):
        y = _labels(n, priors, rng)
        angle = rng.uniform(0, np.pi, size=n)
        x = np.where(y == 0, np.cos(angle), 1 - np.cos(angle)) - 0.5
        height = np.where(y == 0, np.sin(angle), 0.5 - np.sin(angle)) - 0.25
        return np.column_stack([x, height]) + rng.normal(scale=noise, size=(n, 2)), y

    X_source, y_source = moons(n_source, _check_priors("source_priors", source_priors, 2))
    X_target, y_target = moons(n_target, _check_priors("target_priors", target_priors, 2))
    if shift == "translation":
        X_target = X_target + strength * np.array([1.0, 0.5])
    elif shift == "scale":
        X_target = X_target * np.array([1 + strength, 1 / (1 + strength)])
    elif shift == "rotation":
        angle = np.deg2rad(30 * strength)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        X_target = X_target @ turn.T
    return X_source, y_source, X_target, y_target
