"""Scores of a pretrained model on a new task, from one pass over the data and without training."""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._domains import is_unlabelled
from .._labels import is_continuous, read_labels, to_array
from .predictions import _check_proba

__all__ = ["h_score", "leep_score", "logme_score", "nce_score", "transrate_score"]

# Ratios of prior to noise precision that LogME looks at, in units of the largest squared singular
# value, and the golden sections of the interval after that.
_GRID, _SECTIONS = np.logspace(-12, 8, 41), 40


def logme_score(X, y, *, task="auto"):
    r"""Logarithm of maximum evidence (LogME): how well a Bayesian linear model explains the labels.

    .. math::
        \frac{1}{n} \max_{\alpha, \beta} \log \int p(y \mid X w, \beta^{-1})\,
        p(w \mid 0, \alpha^{-1} I)\, dw
        = \frac{1}{n} \max_{\alpha, \beta} \log \mathcal N\!\left(y \mid 0,\
        \beta^{-1} I + \alpha^{-1} X X^\top \right)

    in regression; in classification the mean of this over the classes, y being 1 on the rows of
    the class and 0 elsewhere. Higher is better. It does not reward a model for many features: the
    weights are integrated out, not fitted.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
        Features of the rows, from the pretrained model.
    y : array-like of shape (n_rows,)
        Labels; rows with a mask (-1, "-1", NaN) are left out. Give ``task="regression"`` for
        numbers among which -1 is a value.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" is regression when `y` holds fractions.

    Returns
    -------
    score : float
        Per row, in nats. Comparable among feature sets for one `y`, not among tasks.

    Notes
    -----
    For a given ratio :math:`t = \alpha / \beta` the best :math:`\beta` is known, which leaves one
    number to look for: on a grid, then by golden sections. The fixed points of the published
    iteration are the maxima of the same function, but it may stop early or run away. Labels without
    noise have a finite score: t is at least :math:`10^{-12}` of the largest squared singular value.

    References
    ----------
    You et al., "LogME: practical assessment of pre-trained models for transfer learning", 2021,
    eq. 2; You et al., "Ranking and tuning pre-trained models", 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.metrics import logme_score
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> noise = rng.normal(size=(200, 5))
    >>> telling = noise + 3 * y[:, None]
    >>> print(f"{logme_score(noise, y):.2f} {logme_score(telling, y):.2f}")
    -1.06 -0.30
    """
    X, targets, _ = _read(X, y, task)
    n = len(X)
    squares, parts = _spectrum(X, targets)
    inside = np.square(parts)  # (rank, n_outputs): squared length of y along each direction of X
    length = np.square(targets).sum(axis=0)
    # What no combination of the columns explains; rounding must not make it negative.
    outside = np.maximum(length - inside.sum(axis=0), np.finfo(float).eps * length)
    largest = squares.max(initial=0.0) or 1.0

    def evidence(t):
        """Of each output; t holds one number for all outputs, or one for each."""
        ratio = squares[:, None] / t
        variance = ((inside / (1 + ratio)).sum(axis=0) + outside) / n
        variance = np.maximum(variance, np.finfo(float).tiny)
        return -0.5 * (np.log(2 * np.pi * variance) + 1 + np.log1p(ratio).sum(axis=0) / n)

    grid = _GRID * largest
    values = np.array([evidence(np.full(1, t)) for t in grid])
    best = values.argmax(axis=0)
    low, high = (np.log(grid[np.clip(best + k, 0, len(grid) - 1)]) for k in (-1, 1))
    golden = (np.sqrt(5) - 1) / 2
    for _ in range(_SECTIONS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        go_left = evidence(np.exp(left)) > evidence(np.exp(right))
        low, high = np.where(go_left, low, left), np.where(go_left, right, high)
    found = np.maximum(evidence(np.exp((low + high) / 2)), values.max(axis=0))
    return float(found.mean())


def h_score(X, y):
    r"""H-score with a shrunk covariance: variance between classes over total variance.

    .. math:: \operatorname{tr}\!\left(\Sigma_a^{-1}\, (1 - a)\, \Sigma_B \right), \qquad
        \Sigma_a = (1 - a)\, \Sigma + a\, \frac{\operatorname{tr} \Sigma}{d}\, I

    with :math:`\Sigma` the covariance of the d features, :math:`\Sigma_B` the covariance of the
    class means (each row replaced by the mean of its class), and a the shrinkage of Ledoit and
    Wolf. Higher is better. The plain H-score (Bao et al., 2019) is a = 0; with as many features as
    rows it is K - 1 whatever the features are, which is why it is not offered.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,)
        Class labels; rows with a mask are left out.

    Returns
    -------
    score : float
        Between 0 and the number of classes less one.

    References
    ----------
    Ibrahim et al., "Newer is not always better: rethinking transferability metrics, their
    peculiarities, stability and performance", 2022, eq. 5; Bao et al., "An information-theoretic
    approach to transferability in task transfer learning", 2019.

    Examples
    --------
    >>> from adaptlearn.metrics import h_score
    >>> X, y = [[-1.1], [-0.9], [0.9], [1.1]], ["a", "a", "b", "b"]
    >>> round(h_score(X, y), 4)  # one column: nothing to shrink
    0.9901
    """
    X, targets, _ = _read(X, y, "classification")
    X = X - X.mean(axis=0)
    n, d = X.shape
    squares, parts = _spectrum(X, targets)
    if not len(squares):  # every row the same
        return 0.0
    variances = squares / n
    shrinkage = _ledoit_wolf(X, variances)
    inverse = 1 / ((1 - shrinkage) * variances + shrinkage * variances.sum() / d)
    # Along direction i the class means lie at s_i z_ic / n_c.
    between = (np.square(parts) / targets.sum(axis=0)).sum(axis=1) * squares / n
    return float((1 - shrinkage) * (between * inverse).sum())


def transrate_score(X, y, *, distortion=1e-4, normalize=True):
    r"""TransRate: bits that the labels take off the description of the features.

    .. math::
        R(X) - \sum_c \frac{n_c}{n} R(X_c), \qquad
        R(Z) = \frac{1}{2} \log \det\!\left(I + \frac{1}{m\, \epsilon} Z^\top Z\right)

    for m rows Z; X is centred first. Higher is better.

    Parameters
    ----------
    X : array-like of shape (n_rows, n_features)
    y : array-like of shape (n_rows,)
        Class labels; rows with a mask are left out.
    distortion : float, default=1e-4
        :math:`\epsilon` > 0: the squared error that the description may make.
    normalize : bool, default=True
        Scale X (by one number) to rows of mean squared length 1.

    Returns
    -------
    score : float
        In nats, not negative but for rounding.

    Notes
    -----
    It asks whether classes take up different directions, not whether they lie apart: two classes on
    one line score 0. It needs many more rows of each class than features; with fewer, noise scores
    high. Differs from the paper: `normalize`, without which larger features score higher.

    References
    ----------
    Huang et al., "Frustratingly easy transferability estimation", 2022, eq. 4-6.

    Examples
    --------
    >>> from adaptlearn.metrics import transrate_score
    >>> X = [[-1, 0], [1, 0], [0, -1], [0, 1]]
    >>> print(f"{transrate_score(X, [0, 0, 1, 1]):.2f} {transrate_score(X, [0, 1, 0, 1]):.2f}")
    3.91 0.00
    """
    if not distortion > 0:
        raise ValueError(f"distortion={distortion!r} must be greater than 0.")
    X, targets, _ = _read(X, y, "classification")
    X = X - X.mean(axis=0)
    if normalize:
        X = X / (np.sqrt(np.square(X).sum() / len(X)) or 1.0)

    def rate(Z):
        # The determinant is the same from rows or columns; the smaller matrix is cheaper.
        gram = Z.T @ Z if Z.shape[1] <= len(Z) else Z @ Z.T
        gram = gram / (len(Z) * distortion)
        gram.flat[:: len(gram) + 1] += 1
        return 0.5 * np.linalg.slogdet(gram)[1]

    within = [column.mean() * rate(X[column > 0]) for column in targets.T]
    return float(rate(X) - sum(within))


def leep_score(source_proba, y):
    r"""LEEP: log likelihood of the labels, read off the source classes that a model predicts.

    With :math:`\theta(x)_z` the predicted probability of source class z,

    .. math::
        \frac{1}{n} \sum_i \log \sum_z \hat P(y_i \mid z)\, \theta(x_i)_z, \qquad
        \hat P(y \mid z) = \frac{\sum_{i : y_i = y} \theta(x_i)_z}{\sum_i \theta(x_i)_z}

    Higher is better; it needs the head that the model was trained with.

    Parameters
    ----------
    source_proba : array-like of shape (n_rows, n_source_classes)
        Probabilities of the source classes: not negative, rows summing to 1.
    y : array-like of shape (n_rows,)
        Class labels of the new task; rows with a mask are left out.

    Returns
    -------
    score : float
        At most 0, in nats.

    References
    ----------
    Nguyen et al., "LEEP: a new measure to evaluate transferability of learned representations",
    2020, eq. 2.

    Examples
    --------
    >>> from adaptlearn.metrics import leep_score
    >>> leep_score([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], ["cat", "cat", "dog"])
    0.0
    """
    proba, targets, _ = _read(_check_proba(source_proba), y, "classification")
    joint = targets.T @ proba
    total = joint.sum(axis=0)
    conditional = joint / np.where(total > 0, total, 1)
    likelihood = ((targets @ conditional) * proba).sum(axis=1)
    return float(np.log(likelihood).mean()) + 0.0


def nce_score(source_labels, y):
    r"""Negative conditional entropy of the labels given the source class that a model predicts.

    .. math:: -H(Y \mid Z) = \sum_{y, z} \hat P(y, z) \log \frac{\hat P(y, z)}{\hat P(z)}

    Higher is better.

    Parameters
    ----------
    source_labels : array-like of shape (n_rows,)
        The predicted source class of each row: any labels.
    y : array-like of shape (n_rows,)
        Class labels of the new task; rows with a mask are left out.

    Returns
    -------
    score : float
        Between -log(n_classes) and 0, in nats.

    References
    ----------
    Tran et al., "Transferability and hardness of supervised classification tasks", 2019, eq. 3.

    Examples
    --------
    >>> from adaptlearn.metrics import nce_score
    >>> print(round(nce_score(["x", "x", "x", "x"], [0, 0, 1, 1]), 4))
    -0.6931
    """
    codes = np.unique(column_or_1d(source_labels), return_inverse=True)[1]
    _, targets, kept = _read(np.zeros((len(codes), 1)), y, "classification")
    joint = targets.T @ np.eye(codes.max(initial=0) + 1)[codes[kept]] / len(targets)
    total = joint.sum(axis=0)
    return float(xlogy(joint, joint).sum() - xlogy(total, total).sum()) + 0.0


def _read(X, y, task):
    """Labelled rows of X, their targets as columns (one per class, or the number), and which."""
    if task not in ("auto", "classification", "regression"):
        raise ValueError(
            f"task={task!r} is not known; allowed are 'auto', 'classification' and 'regression'."
        )
    X = check_array(X, dtype=[np.float64, np.float32], input_name="X", ensure_all_finite=False)
    y = to_array(y)
    check_consistent_length(X, y)
    regression = task == "regression" or (task == "auto" and looks_continuous(y))
    labelled = ~is_unlabelled(y, () if regression else None)
    if labelled.sum() < 2:
        raise ValueError(f"y has {labelled.sum()} labelled rows; at least two are needed.")
    X = X[labelled].astype(np.float64)
    if not np.isfinite(X).all():
        row = np.flatnonzero(labelled)[~np.isfinite(X).all(axis=1)][0]
        raise ValueError(
            f"X contains NaN or infinity in row {row}. Drop rows that could not be read, or impute."
        )
    if regression:
        return X, y[labelled].astype(np.float64)[:, None], labelled
    classes, codes = np.unique(read_labels(y)[0][labelled], return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only, {classes.tolist()}; at least two are needed.")
    return X, np.eye(len(classes))[codes], labelled


def looks_continuous(y):
    """Whether labels, in an array of any kind, are numbers with fractions."""
    labels, null = read_labels(y)
    return is_continuous(labels[~null])


def _spectrum(X, targets):
    """Squared singular values of X, and the targets in the basis of its left singular vectors.

    From the smaller of the two Gram matrices, which is much quicker than the decomposition of X.
    Directions that rounding cannot tell from zero (constant, repeated columns) are left out.
    """
    n, d = X.shape
    wide = d > n
    squares, vectors = np.linalg.eigh(X @ X.T if wide else X.T @ X)
    kept = squares > squares.max(initial=0.0) * max(n, d) * np.finfo(float).eps
    squares, vectors = squares[kept], vectors[:, kept]
    if wide:
        return squares, vectors.T @ targets
    return squares, vectors.T @ (X.T @ targets) / np.sqrt(squares)[:, None]


def _ledoit_wolf(X, variances):
    """Shrinkage of Ledoit and Wolf (2004), from centred rows and the spectrum of their covariance.

    The same as scikit-learn's, without its sum over all pairs of columns.
    """
    n, d = X.shape
    squared = np.square(variances).sum()
    spread = squared - variances.sum() ** 2 / d  # of the eigenvalues around their mean
    noise = (np.square(np.square(X).sum(axis=1)).sum() / n - squared) / n
    return min(noise / spread, 1.0) if spread > 0 else 0.0
