"""Candidates of a ranking: their names, their features, and what they cost."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from .._containers import take_rows
from ._models import pick_device
from .base import Extractor
from .cache import EmbeddingCache, open_cache
from .module import ModuleExtractor


class Seen(NamedTuple):
    """What a candidate makes of the rows, and at what cost."""

    features: np.ndarray  # of the labelled rows, then of the target rows
    proba: np.ndarray | None  # (n_labelled, n_source_classes)
    n_parameters: float  # NaN: not known
    ms_per_row: float  # NaN: not measured


def name_candidates(candidates):
    """Dict of candidates; those of a list are named by what they are."""
    if not hasattr(candidates, "items"):
        if not isinstance(candidates, (list, tuple)):
            raise TypeError(
                f"candidates is a {type(candidates).__name__}; give a dict of names and "
                "candidates, or a list of candidates."
            )
        named = {}
        for candidate in candidates:
            stem = name = _name(candidate)
            while name in named:
                name = f"{stem}-{sum(n.startswith(stem) for n in named) + 1}"
            named[name] = candidate
        candidates = named
    if not candidates:
        raise ValueError("candidates is empty; give at least one.")
    return {str(name): candidate for name, candidate in candidates.items()}


def _name(candidate):
    model = getattr(candidate, "model", None)
    if isinstance(model, (str, Path)):
        return Path(model).name if isinstance(model, Path) else model.rstrip("/").split("/")[-1]
    if model is not None:
        return type(model).__name__.lower()
    if hasattr(candidate, "steps"):
        return "-".join(_name(step) for _, step in candidate.steps)
    return "array" if is_array(candidate) else type(candidate).__name__.lower()


def is_array(candidate):
    """Whether a candidate is its own table of features."""
    return hasattr(candidate, "__array__") and not hasattr(candidate, "transform")


def check_candidate(name, candidate, X, n_rows):
    """Raise for what cannot give features of the rows."""
    if is_array(candidate):
        shape = np.shape(candidate)
        if len(shape) != 2 or shape[0] != n_rows:
            raise ValueError(
                f"candidate {name!r} is an array of shape {shape}; features need one row for each "
                f"of the {n_rows} rows (those of X, then those of X_target)."
            )
    elif isinstance(candidate, type) or not hasattr(candidate, "transform"):
        what = candidate.__name__ if isinstance(candidate, type) else type(candidate).__name__
        raise TypeError(
            f"candidate {name!r} is no transformer ({what}). Give an extractor or another object "
            "with transform, or an array of features."
        )
    elif X is None:
        raise ValueError(
            f"X is None, but candidate {name!r} is no array of features. Give the raw rows as X."
        )


def look_at(name, candidate, rows, proba):
    """Features, source probabilities and costs of one candidate."""
    if proba is not None:
        proba = np.asarray(proba)
        if proba.ndim != 2 or len(proba) < rows.source.max() + 1:
            raise ValueError(
                f"source_proba[{name!r}] has shape {proba.shape}; it needs one row for each row of "
                "X and one column for each source class."
            )
        proba = proba[rows.source]
    wanted = np.concatenate([rows.source, rows.target])
    if is_array(candidate):
        features = np.asarray(candidate, dtype=np.float64)[wanted]
        return Seen(features, proba, np.nan, np.nan)
    X, n = take_rows(rows.X, wanted), len(rows.source)
    X_source = X if n == len(wanted) else take_rows(rows.X, rows.source)
    counter, model = None, candidate
    if isinstance(candidate, Extractor) or not is_fitted(candidate):
        model, counter = _prepared(candidate)
    try:
        began = time.perf_counter()
        if model is not candidate:
            model.fit(X_source)
        features = model.transform(X)
        elapsed = time.perf_counter() - began
        if proba is None and model is candidate and hasattr(model, "predict_proba"):
            proba = model.predict_proba(X_source)
    except Exception as error:
        without = "" if model is candidate else ", which is fitted without labels"
        error.add_note(f"rank_extractors: this is candidate {name!r}{without}.")
        raise
    n_computed = len(wanted) if counter is None else counter.n_computed
    ms = 1000 * elapsed / n_computed if n_computed else np.nan
    if counter is None and _extractors(model):  # cached rows cannot be told from others
        ms = np.nan
    features = features.toarray() if hasattr(features, "toarray") else np.asarray(features)
    return Seen(features, proba, n_parameters(model), ms)


def is_fitted(model):
    """Whether a model, and with a Pipeline each of its steps, is fitted."""
    if hasattr(model, "steps"):
        return all(s in (None, "passthrough") or is_fitted(s) for _, s in model.steps)
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError):
        return False
    return True


def _prepared(candidate):
    """Unfitted clone, its weights loaded, and the counter of rows that its networks compute."""
    model, found = clone(candidate), _extractors(candidate)
    if not found:
        return model, None
    counter = _Counter()
    for key, extractor in found.items():
        cache = _Counted(open_cache(extractor.cache), counter)
        model.set_params(**{f"{key}__cache" if key else "cache": cache})
        _load(extractor._open())
    return model, counter


def _load(extractor):
    """Load the network, for all clones, and run it once where it is known how rows look."""
    if isinstance(extractor, ModuleExtractor):
        extractor._network(pick_device(extractor.device))
    else:
        _ = extractor._n_features_out


def _extractors(model):
    """Extractors in a model, by the name of the parameter that holds them ("": itself)."""
    if isinstance(model, Extractor):
        return {"": model}
    params = model.get_params() if hasattr(model, "get_params") else {}
    return {key: value for key, value in params.items() if isinstance(value, Extractor)}


class _Counter:
    n_computed = 0

    def __deepcopy__(self, memo):  # clones count together
        return self


class _Counted(EmbeddingCache):
    """Another cache, with a count of the rows that were not in it."""

    def __init__(self, cache, counter):
        self.cache, self.counter = cache, counter

    def get(self, keys):
        return self.cache.get(keys)

    def put(self, keys, vectors):
        self.counter.n_computed += len(keys)
        self.cache.put(keys, vectors)


def _parts(model):
    """Models in a Pipeline, FeatureUnion or ColumnTransformer (the fitted ones); else None."""
    for name in ("steps", "transformer_list", "transformers_", "transformers"):
        if hasattr(model, name):
            return [part for _, part, *_ in getattr(model, name)]
    return None


def n_parameters(model):
    """Parameters of the torch networks in a model; NaN when there is none."""
    if isinstance(model, Extractor):
        module = model._network(pick_device(model.device)).module
    elif hasattr(model, "net_"):  # a fitted deep estimator
        module = model.net_.module_
    elif (parts := _parts(model)) is not None:
        counts = [n_parameters(part) for part in parts]
        known = [count for count in counts if not np.isnan(count)]
        return sum(known) if known else np.nan
    else:
        module = model
    if not isinstance(module, torch.nn.Module):
        return np.nan
    return float(sum(p.numel() for p in module.parameters()))
