"""imbalanced-learn's samplers, one domain at a time."""

from __future__ import annotations

import numbers
import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from imblearn.base import BaseSampler
from imblearn.over_sampling import RandomOverSampler
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.under_sampling import RandomUnderSampler
from imblearn.utils import check_sampling_strategy, check_target_type
from sklearn.base import clone
from sklearn.utils.validation import validate_data

from .._containers import as_container, n_rows, stack_rows, take_rows
from .._domains import DomainIndex
from ._wrapper import group_means, read_rows, rows_to_learn

__all__ = ["DomainResampler"]


class Resampled(NamedTuple):
    """Rows after resampling; arrays of shape (n_rows_new,)."""

    X: object
    origin: np.ndarray  # row number before; -1 for a row that was made up
    label_row: np.ndarray  # a row before that has the same label and domain
    strategy: dict  # domain -> what its sampler set out to do


class DomainResampler(BaseSampler):
    """Resample each domain by itself with any imbalanced-learn sampler; a sampler as well.

    A sampler that is given packed data takes the mask (-1) for a class and interpolates between
    rows of different domains. Here only labelled rows are resampled, within their own domain, and
    rows without a label pass through untouched.

    Parameters
    ----------
    sampler : imbalanced-learn sampler or None, default=None
        An object with ``fit_resample``. A clone of it is fitted on each domain. None leaves all
        rows as they are, so that a grid can hold ``[None, SMOTE(), RandomUnderSampler()]``.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labelled target rows (``sample_domain < 0``) are resampled as well. By default they
        pass through, so that labels meant for evaluation do not leak through class proportions.

    Attributes
    ----------
    sample_indices_ : ndarray of shape (n_rows_new,)
        Row of the input that each row of the output is, or repeats; -1 for a row made up by the
        sampler (all rows that can not be traced, as those of ``ClusterCentroids``).
    sample_domain_ : ndarray of shape (n_rows_new,)
        Domain of each row of the output; rows made up have the domain they were made in.
    sampling_strategy_ : dict
        For each resampled domain, the ``sampling_strategy_`` of its sampler.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of str
        Names of the features, when X is a frame with string names.

    See Also
    --------
    ResampledClassifier : Resamples inside ``fit`` and keeps `sample_domain` and weights aligned.

    Notes
    -----
    The rows kept come first, bit-equal and in their own order, then the rows added, domain by
    domain. Frames, sparse matrices and lists come back as such. ``RandomOverSampler`` and
    ``RandomUnderSampler`` never look at the values, so they take anything with rows: images of
    shape (n, ...), lists of texts or of paths, frames with missing values.

    A domain whose labelled rows are all of one class passes through with a warning. Where a class
    to be grown has too few rows for an over-sampler's integer `k_neighbors`, fewer neighbours are
    used in that domain, and a single row is repeated, with a warning. What else a sampler refuses
    is an error that names the domain and its class counts.

    References
    ----------
    Lemaître et al., "Imbalanced-learn: a Python toolbox to tackle the curse of imbalanced datasets
    in machine learning", 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.over_sampling import SMOTE
    >>> from adaptlearn import DomainResampler
    >>> X = np.array([[0.0], [1.0], [2.0], [0.5], [1.5], [70.0], [80.0]])
    >>> y = np.array([0, 0, 0, 1, 1, -1, -1])
    >>> resampler = DomainResampler(SMOTE(k_neighbors=1, random_state=0))
    >>> X_new, y_new = resampler.fit_resample(X, y)
    >>> y_new
    array([ 0,  0,  0,  1,  1, -1, -1,  1])
    >>> resampler.sample_indices_
    array([ 0,  1,  2,  3,  4,  5,  6, -1])
    >>> resampler.sample_domain_
    array([ 0,  0,  0,  0,  0, -1, -1,  0])
    """

    # What sklearn's routing reads: the metadata that each method asks for by itself.
    __metadata_request__fit = {"sample_domain": True}
    __metadata_request__fit_resample = {"sample_domain": True}

    _sampling_type = "bypass"

    def __init__(self, sampler=None, *, target_labels="ignore"):
        self.sampler = sampler
        self.target_labels = target_labels

    def fit(self, X, y, *, sample_domain=None):
        """Resample and keep the attributes only; parameters as in ``fit_resample``."""
        self.fit_resample(X, y, sample_domain=sample_domain)
        return self

    def fit_resample(self, X, y, *, sample_domain=None):
        """Resample the labelled rows of each domain.

        Parameters
        ----------
        X : {array-like, sparse matrix, frame, list} of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
            Class labels; the mask (-1, "-1", None or NaN) on rows without one.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain. Without it, labelled rows are domain
            0 and the others domain -1.

        Returns
        -------
        X_new : same container as `X`, of n_rows_new rows
        y_new : same container as `y`, of n_rows_new rows

        Raises
        ------
        ValueError
            If there is no labelled row to resample, if they are all of one class, or if a sampler
            refuses a domain.
        """
        check_sampler(self.sampler)
        X, y = as_container(X), as_container(y)
        codes = check_target_type(y, indicate_one_vs_all=True)[0] if _is_wide(y) else y
        labels, labelled, domain = read_rows(codes, n_rows(X), sample_domain)
        validate_data(self, X=X, reset=True, skip_check_array=True)
        eligible = rows_to_learn(labelled, domain, self.target_labels)
        if self.sampler is not None:
            check_two_classes(labels[eligible])
        out = resample(self.sampler, X, labels, domain, eligible)
        self.sample_indices_ = out.origin
        self.sample_domain_ = domain[out.label_row]
        self.sampling_strategy_ = out.strategy
        return out.X, take_rows(y, out.label_row)

    def _fit_resample(self, X, y):  # abstract in the base class, whose fit_resample is replaced
        return self.fit_resample(X, y)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.sampler_tags.sample_indices = True
        return tags


# --- reading --------------------------------------------------------------------------------


def _is_wide(y):
    """Whether labels come as one column per class, as imbalanced-learn allows."""
    return np.ndim(y) == 2 and np.shape(y)[1] > 1


def check_sampler(sampler, name="sampler"):
    """Raise unless the parameter `name` is what it should be."""
    if sampler is not None and (isinstance(sampler, type) or not hasattr(sampler, "fit_resample")):
        raise TypeError(
            f"{name}={sampler!r} must be an imbalanced-learn sampler object, which has "
            "fit_resample, such as SMOTE() or RandomUnderSampler(); or None."
        )


def check_two_classes(labels):
    """Raise unless there is something to balance."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only among the {len(labels)} labelled rows to resample, "
            f"{classes.tolist()}; there is nothing to balance. Give rows of another class, or "
            "sampler=None."
        )


# --- resampling -----------------------------------------------------------------------------


def resample(sampler, X, labels, domain, eligible):
    """Resample the `eligible` rows within each domain; the others stay as they are."""
    kept = ~eligible if sampler is not None else np.ones(len(labels), dtype=bool)
    strategy, blocks, origins, label_rows = {}, [], [], []
    for d in DomainIndex.of(domain[eligible]).ids if sampler is not None else ():
        rows = np.flatnonzero(eligible & (domain == d))
        classes, first_row = np.unique(labels[rows], return_index=True)
        if len(classes) < 2:
            warnings.warn(
                f"domain {d} has one class only, {classes.tolist()}: its {len(rows)} rows are not "
                "resampled.",
                UserWarning,
                stacklevel=3,
            )
            kept[rows] = True
            continue
        made, origin, y_new, strategy[d] = _resample_domain(sampler, X, labels[rows], rows, d)
        first = _first_places(origin, len(rows))
        kept[rows[origin[first]]] = True
        added = np.delete(np.arange(len(origin)), first)
        if len(added):
            blocks.append(take_rows(made, added))
            origins.append(np.where(origin[added] >= 0, rows[origin[added]], -1))
            # Any row of the class will do where the row itself has no counterpart.
            of_class = rows[first_row[np.searchsorted(classes, y_new[added])]]
            label_rows.append(np.where(origins[-1] >= 0, origins[-1], of_class))
    kept = np.flatnonzero(kept)
    return Resampled(
        _append(X, kept, blocks),
        np.concatenate([kept, *origins]),
        np.concatenate([kept, *label_rows]),
        strategy,
    )


def resampled_weight(weight, new, domain, labels, eligible):
    """Weights of the rows after resampling; a made-up row has its class's mean in its domain."""
    codes = np.unique(labels, return_inverse=True)[1]
    mean = group_means(weight, np.column_stack([domain, codes, eligible]))
    return np.where(new.origin < 0, mean[new.label_row], weight[new.origin])


def _first_places(origin, n_before):
    """Of the new rows that go back to one row before, where the first one stands."""
    place = np.full(n_before, -1)
    traced = np.flatnonzero(origin >= 0)[::-1]
    place[origin[traced]] = traced  # written last to first: the first one stays
    return place[place >= 0]


def _resample_domain(sampler, X, y, rows, d):
    """New rows of one domain, the position each comes from (-1: made up), labels, strategy."""
    sampler = clone(sampler)
    name, (classes, counts) = type(sampler).__name__, np.unique(y, return_counts=True)
    counts = dict(zip(classes.tolist(), counts.tolist(), strict=True))
    # These two draw row numbers and never look at values: give them the row numbers.
    blind = isinstance(sampler, RandomUnderSampler) or (
        isinstance(sampler, RandomOverSampler) and sampler.shrinkage is None
    )
    table = rows[:, None] if blind else _as_table(take_rows(X, rows), name)
    try:
        sampler, lonely = _make_room(sampler, y, counts, d)
        made, y_new = sampler.fit_resample(table, y)
    except ValueError as error:
        shown = ", ".join(f"{label!s}: {count}" for label, count in counts.items())
        raise ValueError(
            f"{name} refuses domain {d}, whose labelled rows are by class {{{shown}}}: {error} "
            "Each domain is resampled by itself. Where rows are too few, let the sampler ask for "
            "less (fewer neighbours; a sampling_strategy that is 'auto' or a function of y) or "
            "merge small domains in sample_domain. Where values are the trouble, fill missing ones "
            "and encode text first (SMOTENC takes categories). RandomOverSampler() takes any rows."
        ) from error
    y_new, origin = np.asarray(y_new), _origin(sampler, len(y), len(y_new))
    if lonely:
        single = [np.flatnonzero(y == label)[0] for label in lonely]
        repeated = np.repeat(single, list(lonely.values()))
        made = _append(made, np.arange(len(y_new)), [take_rows(table, repeated)])
        origin, y_new = np.concatenate([origin, repeated]), np.concatenate([y_new, y[repeated]])
    if blind:
        made = take_rows(X, np.asarray(made).ravel())
    return made, origin, y_new, getattr(sampler, "sampling_strategy_", None)


def _make_room(sampler, y, counts, d):
    """Fit an over-sampler's `k_neighbors` to the smallest class that it is to grow.

    Returns the sampler, and for classes of a single row, which has no neighbour, how often to
    repeat it.
    """
    k = getattr(sampler, "k_neighbors", None)
    if not (isinstance(sampler, BaseOverSampler) and isinstance(k, numbers.Integral)):
        return sampler, {}
    new = check_sampling_strategy(sampler.sampling_strategy, y, "over-sampling")
    new = {label: n for label, n in new.items() if n > 0}
    small = {label: counts[label] for label in new if counts[label] <= k}
    if not small:
        return sampler, {}
    lonely = {label: n for label, n in new.items() if counts[label] == 1}
    k_new = min([k, *(count - 1 for count in small.values() if count > 1)])
    what = []
    if k_new < k:
        what.append(f"k_neighbors={k_new} is used there")
    if lonely:
        what.append(f"the single row of {', '.join(map(str, lonely))} is repeated")
    shown = ", ".join(f"{label!s}: {count}" for label, count in small.items())
    warnings.warn(
        f"{type(sampler).__name__} with k_neighbors={k} has too few rows in domain {d} (class "
        f"counts {{{shown}}}): {' and '.join(what)}.",
        UserWarning,
        stacklevel=5,
    )
    totals = {label: counts[label] + n for label, n in new.items() if label not in lonely}
    return sampler.set_params(k_neighbors=k_new, sampling_strategy=totals), lonely


def _origin(sampler, n_before, n_after):
    """Position before of each row after resampling, -1 where there is none."""
    if hasattr(sampler, "sample_indices_"):
        return np.asarray(sampler.sample_indices_, dtype=np.intp)
    positions = np.arange(n_after)
    cleaner = getattr(sampler, "tomek_", None) or getattr(sampler, "enn_", None)
    if cleaner is not None:  # SMOTETomek, SMOTEENN: over-sampled, then cleaned
        positions = np.asarray(cleaner.sample_indices_, dtype=np.intp)
    elif not isinstance(sampler, BaseOverSampler):
        return np.full(n_after, -1)
    return np.where(positions < n_before, positions, -1)  # over-samplers append


# --- containers -----------------------------------------------------------------------------


def _as_table(X, name):
    """Rows in a container that imbalanced-learn takes."""
    if hasattr(X, "iloc"):
        return X
    table = X if sp.issparse(X) else np.asarray(X)
    if table.ndim != 2:
        raise ValueError(
            f"{name} needs a table of shape (n_rows, n_features), X has shape {table.shape}. "
            "RandomOverSampler() and RandomUnderSampler() take rows of any kind."
        )
    if table.dtype.kind in "ui":  # differences of small integers wrap around
        table = table.astype(np.int64, copy=False)
    return table


def _append(X, kept, blocks):
    """Rows `kept` of X, then the blocks, in the container that X is."""
    head = take_rows(X, kept)
    if not blocks:
        return head
    if isinstance(X, (list, tuple)):
        for block in blocks:
            head = head + (block.tolist() if hasattr(block, "tolist") else block)
        return head
    if hasattr(X, "columns") and not hasattr(X, "iloc"):  # polars, which comes back as an array
        blocks = [
            block if hasattr(block, "columns") else type(X)(block, schema=X.columns).cast(X.schema)
            for block in blocks
        ]
    if getattr(getattr(X, "dtype", None), "kind", "") == "f":  # a smoothed bootstrap is float64
        blocks = [block.astype(X.dtype, copy=False) for block in blocks]
    out = stack_rows([head, *blocks])
    return out.asformat(X.format) if sp.issparse(X) else out
