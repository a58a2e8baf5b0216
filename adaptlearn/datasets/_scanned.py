"""Handwritten digits read by two scanners: real data that ships with scikit-learn."""

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.utils import check_random_state

SCANNER = {
    "slant": 0.2,  # pixels to the right a row, about the middle row
    "shift": 0.4,  # pixels to the right
    "blur": 0.4,  # standard deviation of the Gaussian, pixels
    "contrast": 0.7,  # share of the ink that is left
    "noise": 0.03,  # standard deviation of the sensor noise, share of full ink
    "white_level": 0.08,  # subtracted; what falls below is empty paper, share of full ink
}
"""The other scanner, in the order its effects are applied. Full ink is 16."""

TARGET_WEIGHTS = (3, 5, 6, 7, 8, 9, 10, 9, 6.5, 4)
"""How frequent each digit 0 to 9 is among the target rows, to the most frequent one's 10.

The source has about a tenth of each.
"""


def scan(images, random_state=None):
    """Pass images through the other scanner of :func:`load_scanned_digits`.

    Slant, shift, blur, loss of contrast, sensor noise and a cut at the white level, in this
    order, with the amounts of ``adaptlearn.datasets.SCANNER``.

    Parameters
    ----------
    images : array of shape (n_samples, 8, 8)
        Ink from 0 to 16. Not written to.
    random_state : int, RandomState or None, default=None
        For the noise.

    Returns
    -------
    images : array of shape (n_samples, 8, 8), float64
        In [0, 16].

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.datasets import scan
    >>> full = scan(np.full((100, 8, 8), 16.0), random_state=0)
    >>> round(float(full[:, 4, 4].mean()), 1)
    9.9
    """
    images = np.asarray(images, dtype=float)
    if images.ndim != 3:
        raise ValueError(
            f"images has shape {images.shape}; allowed is (n_samples, height, width). "
            "Reshape flattened rows first: X.reshape(-1, 8, 8)."
        )
    ink = images / 16
    middle = (images.shape[1] - 1) / 2
    # Output pixel (n, r, c) is read at (n, r, c - shift + slant * (r - middle)).
    matrix = np.array([[1, 0, 0], [0, 1, 0], [0, SCANNER["slant"], 1]])
    offset = np.array([0, 0, -SCANNER["shift"] - SCANNER["slant"] * middle])
    ink = ndimage.affine_transform(ink, matrix, offset, order=1)
    ink = ndimage.gaussian_filter(ink, (0, SCANNER["blur"], SCANNER["blur"]))
    noise = check_random_state(random_state).normal(scale=SCANNER["noise"], size=ink.shape)
    # Without the cut, noise on empty paper would meet pixels that are constant in the source and
    # a source-standardised model would see nothing else.
    return 16 * np.clip(SCANNER["contrast"] * ink + noise - SCANNER["white_level"], 0, 1)


def load_scanned_digits(random_state=0, *, target_weights=TARGET_WEIGHTS):
    """Load handwritten digits with a clean source and a target from another scanner.

    scikit-learn's 1797 bundled digits are split into two halves of different rows. The source is
    one half as it is, with about equal classes. The target is drawn from the other half with class
    proportions of its own, by default ``TARGET_WEIGHTS`` (most frequent to rarest about 3.3 to 1),
    and passed through :func:`scan`. Both shifts come at once, as in practice: the inputs and the
    class proportions move.

    Parameters
    ----------
    random_state : int, RandomState or None, default=0
        Which rows go where, and the scanner's noise.
    target_weights : array-like of shape (10,), default=TARGET_WEIGHTS
        How frequent each digit is among the target rows, >= 0. There are as many rows as the
        scarcest digit, relative to its weight, allows.

    Returns
    -------
    X_source : array of shape (898, 64), float64
        Flattened 8 x 8 images in [0, 16].
    y_source : array of shape (898,), int
        0 to 9.
    X_target : array of shape (n_target, 64), float64
        About 530 rows by default; at most 899.
    y_target : array of shape (n_target,), int
        For evaluation only.

    Examples
    --------
    >>> from adaptlearn.datasets import load_scanned_digits
    >>> X_source, y_source, X_target, y_target = load_scanned_digits()
    >>> X_source.shape, X_target.shape[1]
    ((898, 64), 64)
    """
    weights = np.asarray(target_weights, dtype=float)
    if weights.shape != (10,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise ValueError(
            f"target_weights={target_weights!r} must be 10 numbers >= 0, one for each digit, not "
            "all of them 0."
        )
    rng = check_random_state(random_state)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    source, pool = order[: len(order) // 2], order[len(order) // 2 :]
    members = [pool[digits.target[pool] == digit] for digit in range(10)]
    unit = min(len(rows) / weight for rows, weight in zip(members, weights, strict=True) if weight)
    counts = np.floor(unit * weights + 1e-9).astype(int)
    target = rng.permutation(
        np.concatenate([rows[:count] for rows, count in zip(members, counts, strict=True)])
    )
    pages = scan(digits.images[target], rng)
    return (
        digits.data[source],
        digits.target[source].astype(np.int64),
        pages.reshape(len(pages), -1),
        digits.target[target].astype(np.int64),
    )
