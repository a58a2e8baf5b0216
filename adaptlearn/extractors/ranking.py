"""Which pretrained model? Candidates scored on the task at hand, without training a head."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from tqdm.auto import tqdm

from .._components import did_you_mean
from .._containers import as_container, n_rows, stack_rows
from .._domains import read_fit
from .._labels import to_array
from ..metrics.distances import proxy_a_distance
from ..metrics.transferability import (
    h_score,
    leep_score,
    logme_score,
    looks_continuous,
    nce_score,
    transrate_score,
)
from ._candidates import check_candidate, look_at, name_candidates
from ._ranking_result import COLUMNS, ExtractorRanking
from ._rows import column

__all__ = ["ExtractorRanking", "rank_extractors"]


def rank_extractors(
    candidates,
    X,
    y,
    X_target=None,
    *,
    sample_domain=None,
    source_proba=None,
    rank_by="logme",
    task="auto",
    max_samples=None,
    random_state=0,
    verbose=0,
):
    """Score pretrained models on a task by their features of its rows, and rank them.

    Each row goes through each candidate once. No head is trained, so it costs little more than the
    extraction, which the cache keeps for later.

    Parameters
    ----------
    candidates : dict of str to candidate, or list of candidates
        A candidate is an extractor, any transformer or Pipeline, fitted (used as it is) or not (a
        clone is fitted on the labelled rows, without their labels); or an array of features with
        one row for each row of X, followed by those of `X_target`. In a list, names are made from
        what the candidates are.
    X : container of rows
        Raw rows as the candidates take them: texts, images, an array. None when every candidate is
        an array.
    y : array-like of shape (n_rows,)
        Labels. Rows with a mask (-1, "-1", NaN) are the target (see `adaptlearn.pack`).
    X_target : container of rows, optional
        Target rows, whose labels are not known; or their number when X is None. They are needed for
        the distance between the sides as a model sees them.
    sample_domain : int or array-like of shape (n_rows,), optional
        ``>= 0`` a source domain, ``< 0`` the target. Without it, unlabelled rows are the target.
        Labels of target rows are never used.
    source_proba : dict of str to array-like of shape (n_rows, n_source_classes), optional
        By candidate, what the head that it was trained with says of the rows of X: class
        probabilities, for LEEP and NCE. A fitted candidate with ``predict_proba`` is asked itself.
    rank_by : str or list of str, default="logme"
        Columns that decide the rank: "logme", "h_score", "transrate", "leep", "nce",
        "a_distance", "features", "parameters", "ms_per_row". Candidates are ordered by the mean of
        their ranks in these columns, each read in its own direction; one without a value is last in
        that column. Equal means are settled by the time per row, then by the number of features.
    task : {"auto", "classification", "regression"}, default="auto"
        "auto" is regression when `y` holds fractions. In regression, LogME is the only score.
    max_samples : int, default=None
        Most rows of each side to look at, >= 2, drawn at random; None is all.
    random_state : int, RandomState or None, default=0
        Draws the rows, and the folds of the distance.
    verbose : int, default=0
        1 shows progress.

    Returns
    -------
    ExtractorRanking
        Prints as a table, best first, and says how each column is read. ``frame`` is a pandas
        DataFrame, ``best`` the name of the first, ``plot()`` draws cost against score.

    Raises
    ------
    ValueError, TypeError
        If a candidate is no transformer, an array has not one row for each row, or no candidate has
        a value that the rank is to go by.

    See Also
    --------
    adaptlearn.metrics.logme_score, adaptlearn.metrics.h_score : The scores themselves.

    Notes
    -----
    The time per row is measured on the rows that went through the network in this call, on this
    machine, without loading the weights. It is missing where all came from the cache, and for
    arrays. Parameters are those of a torch network, where there is one. Rows of which a candidate
    makes NaN (``errors="skip"``) do not count for it.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import rank_extractors
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(90) % 3
    >>> X = rng.normal(size=(90, 12)) + 3 * np.eye(12)[y]
    >>> candidates = {"all": X, "half": X[:, 2:], "none": X[:, 3:]}
    >>> rank_extractors(candidates, None, y)
          rank   LogME  H-score  TransRate  features
    all      1  -0.264    1.517      1.472        12
    half     2  -0.657    0.729      0.727        10
    none     3  -0.857    0.085      0.558         9
    <BLANKLINE>
    rank: by LogME.
    Higher is better: LogME, H-score, TransRate.
    Lower is better: features.
    """
    named = name_candidates(candidates)
    rank_by = _rank_columns(rank_by)
    if max_samples is not None and not (isinstance(max_samples, Integral) and max_samples >= 2):
        raise ValueError(f"max_samples={max_samples!r} must be None or an integer >= 2.")
    rows = _read_rows(X, y, X_target, sample_domain, task, max_samples, random_state)
    source_proba = {} if source_proba is None else dict(source_proba)
    for name in source_proba:
        if name not in named:
            raise ValueError(f"source_proba names {name!r}; {did_you_mean(name, named)}")
    for name, candidate in named.items():
        check_candidate(name, candidate, rows.X, rows.n_rows)
    table = {key: np.full(len(named), np.nan) for key in COLUMNS}
    bar = tqdm(named.items(), desc="rank_extractors", unit="model", disable=not verbose)
    for k, (name, candidate) in enumerate(bar):
        for key, value in _scores(name, candidate, rows, source_proba.get(name), random_state):
            table[key][k] = value
    for key in rank_by:
        if np.isnan(table[key]).all():
            raise ValueError(
                f"rank_by={key!r} is known of no candidate. 'a_distance' needs target rows, 'leep' "
                "and 'nce' need source_proba, 'h_score' and 'transrate' need classes, 'ms_per_row' "
                "rows that are not in the cache."
            )
    return ExtractorRanking.of(list(named), table, rank_by)


class _Rows(NamedTuple):
    """Rows of both sides, and which of them are looked at."""

    X: object  # raw rows of both sides; None when all candidates are arrays
    n_rows: int
    source: np.ndarray  # row numbers of the labelled rows
    target: np.ndarray  # row numbers of the target
    y: np.ndarray  # labels of the rows `source`
    regression: bool


def _read_rows(X, y, X_target, sample_domain, task, max_samples, random_state):
    if task not in ("auto", "classification", "regression"):
        raise ValueError(
            f"task={task!r} is not known; allowed are 'auto', 'classification' and 'regression'."
        )
    labels, X, n_target = to_array(y), as_container(X), None
    regression = task == "regression" or (task == "auto" and looks_continuous(labels))
    n = len(labels) if X is None else n_rows(X)
    if X_target is not None:
        known = X is None and isinstance(X_target, Integral)
        n_target = int(X_target) if known else n_rows(as_container(X_target))
        X = None if X is None else _stacked(X, as_container(X_target))
    read = read_fit(
        labels, n, n_target=n_target, sample_domain=sample_domain, regression=regression
    )
    source, target = np.flatnonzero(read.labelled), np.flatnonzero(read.domain < 0)
    if max_samples is not None:
        rng = check_random_state(random_state)
        source, target = (np.sort(rng.permutation(r)[:max_samples]) for r in (source, target))
    classes = [] if regression else np.unique(read.y[source]).tolist()
    if len(classes) == 1:
        raise ValueError(f"y holds one class only, {classes}; at least two are needed.")
    return _Rows(X, len(read.y), source, target, read.y[source], regression)


def _stacked(X, X_target):
    """Rows of both sides; columns of texts, paths or sounds may be of different containers."""
    blocks = [X, X_target]
    if type(X) is not type(X_target) and all(len(getattr(b, "shape", (0,))) == 1 for b in blocks):
        blocks = [column(block, "rows") for block in blocks]
    return stack_rows(blocks, "X and X_target")


def _rank_columns(rank_by):
    columns = [rank_by] if isinstance(rank_by, str) else list(rank_by)
    for name in columns:
        if name not in COLUMNS:
            raise ValueError(f"rank_by={name!r} is not known; {did_you_mean(name, COLUMNS)}")
    if not columns:
        raise ValueError("rank_by is empty; give at least one column.")
    return columns


def _scores(name, candidate, rows, proba, random_state):
    """Pairs of a column and a value, as far as there is one."""
    seen = look_at(name, candidate, rows, proba)
    n = len(rows.source)
    source, target = seen.features[:n], seen.features[n:]
    readable, target = np.isfinite(source).all(axis=1), target[np.isfinite(target).all(axis=1)]
    X, y = source[readable], rows.y[readable]
    if len(X) < 2 or (not rows.regression and len(np.unique(y)) < 2):
        raise ValueError(
            f"candidate {name!r} gives finite features for {len(X)} of {n} labelled rows, too few "
            "to score it. See why the others are NaN."
        )
    yield "features", X.shape[1]
    yield "parameters", seen.n_parameters
    yield "ms_per_row", seen.ms_per_row
    yield "logme", logme_score(X, y, task="regression" if rows.regression else "classification")
    if not rows.regression:
        yield "h_score", h_score(X, y)
        yield "transrate", transrate_score(X, y)
        if seen.proba is not None:
            yield "leep", leep_score(seen.proba, rows.y)
            yield "nce", nce_score(seen.proba.argmax(axis=1), rows.y)
    if len(target) >= 2:
        yield "a_distance", proxy_a_distance(X, target, random_state=random_state)
