"""What all extractors share: rows that are new go through the network, the rest is remembered."""

from __future__ import annotations

import os
from abc import ABCMeta, abstractmethod
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from .._compat import Interval, StrOptions, validate_parameter_constraints
from ._fingerprint import (
    describe,
    digest,
    directory_fingerprint,
    file_fingerprint,
    file_signature,
    module_fingerprint,
    signature,
)
from ._models import (
    call_factory,
    find_directory,
    is_factory,
    load_pretrained,
    need_transformers,
    once_per_process,
    own_randomness,
    pick_device,
    prepared,
    torch_randomness,
    weight_files,
)
from ._training import TrainableMixin
from .cache import EmbeddingCache, lookup, open_cache

_FORMAT = 3  # raise it when what an extractor computes changes: old cached rows are not found then
_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Network(NamedTuple):
    """A network ready to run, and where it comes from."""

    module: torch.nn.Module
    fingerprint: str
    directory: object  # pathlib.Path; None for a module or a factory
    companion: object  # what a factory returned beside the module
    has_random_pooler: bool


class Batch(NamedTuple):
    """Input of one forward pass."""

    places: np.ndarray  # which of the rows asked for
    inputs: dict  # name -> tensor, rows first


class Extractor(
    TrainableMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base of the extractors: a frozen network as a scikit-learn transformer.

    A subclass reads one kind of raw data. It tells how a row is recognised (`_digests`), how rows
    become tensors (`_batches`) and how the network's answer becomes features (`_features`). The
    base loads the network when it is first needed, once per process and shared by clones; runs each
    distinct row that is not in the cache; and puts the features back in the order of the rows.

    The network is never changed: it runs in evaluation mode, without gradients. Global random
    generators are left as they are. Estimators that fine-tune (``backbone=``) train a copy.

    See Also
    --------
    TextExtractor, ImageExtractor, AudioExtractor, ModuleExtractor : The extractors.
    """

    _row_is = "rows"
    # Parameters on which the embedding of a row depends, apart from the model.
    _decisive = ("precision",)

    _parameter_constraints = {
        "model": [str, os.PathLike, torch.nn.Module],
        "normalize": ["boolean"],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "precision": [StrOptions({"float32", "bfloat16", "float16"})],
        "cache": [str, os.PathLike, EmbeddingCache, None],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def _read_rows(self, X):
        """`X` as a sequence of rows; raises on what cannot be read."""

    @abstractmethod
    def _digests(self, rows):
        """A digest of the content of each row; None for a row to be left out (NaN)."""

    @abstractmethod
    def _batches(self, rows, numbers, network, device):
        """Generator of `Batch`; rows it leaves out are NaN. `numbers`: which rows of X they are."""

    @abstractmethod
    def _features(self, network, inputs):
        """Features of one batch, tensor of shape (n, n_features)."""

    @abstractmethod
    def _example(self):
        """A row from which the number of features can be learned."""

    def _companions(self):
        """Text for what else decides an embedding (a tokenizer given beside the model)."""
        return ""

    def fit(self, X, y=None):
        """Check parameters and that the model can be found. Nothing is learned from `X`.

        A module is copied, so that later changes to it change nothing here. A hub id of which there
        is no local copy is downloaded.

        Parameters
        ----------
        X : container of rows
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        self._check()
        self._read_rows(X)
        self._find_model()
        return self

    def _check(self):
        """Raise for parameters that make no sense."""
        params = self.get_params(deep=False)
        constraints = {k: v for k, v in self._parameter_constraints.items() if k in params}
        validate_parameter_constraints(constraints, params, caller_name=type(self).__name__)
        self._check_parameters()
        pick_device(self.device)

    def _find_model(self):
        """Copy the module, or find the directory of the model."""
        self._module = self._directory = None
        # Filled by the first rows, as transform sets no attribute.
        self._size, self._first_weights = [], {}
        if isinstance(self.model, torch.nn.Module):
            self._module = prepared(self.model, "cpu")
            self._module_print = module_fingerprint(self._module)
        elif not is_factory(os.fspath(self.model)):
            self._directory = self._find_directory()
        self._fitted = True

    def _find_directory(self):
        """Directory of a model given by name."""
        need_transformers(type(self).__name__)
        return str(find_directory(self.model))  # a pickled Path is of one operating system

    def _place(self):
        """Directory of `fit`; where it is gone (in a pickle, say) the model is found again."""
        if self._directory is None:
            return None
        kept = Path(self._directory)
        return kept if (kept / "config.json").is_file() else Path(self._find_directory())

    def _check_parameters(self):
        """Checks of parameters that are more than types and ranges."""

    def __sklearn_is_fitted__(self):
        return getattr(self, "_fitted", False)

    def transform(self, X):
        """Features of each row.

        Parameters
        ----------
        X : container of rows
            One column: a list, a Series, an array, or a frame with a single column.

        Returns
        -------
        features : ndarray of shape (n_rows, n_features), float32
            In the order of the rows. Set another container with ``set_output``.
        """
        check_is_fitted(self)
        rows = self._read_rows(X)
        features = self._embed(rows, open_cache(self.cache))
        if self.normalize:  # after the cache, which then serves both
            length = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(length, np.finfo(np.float32).tiny)
        return features

    @property
    def _n_features_out(self):
        check_is_fitted(self)
        if not self._size:
            self._embed([self._example()], open_cache(None))
        return self._size[0]

    def _embed(self, rows, cache):
        model_print, weights = self._model_print(), self._weights()
        self._check_weights(weights)
        prefix, digests = self._prefix(model_print), self._digests(rows)
        distinct = dict.fromkeys(d for d in digests if d is not None)
        slot = {key: i for i, key in enumerate(distinct)}
        inverse = np.array([-1 if d is None else slot[d] for d in digests], np.intp)
        first = np.empty(len(distinct), np.intp)  # the row that stands for its duplicates
        known = inverse >= 0
        first[inverse[known][::-1]] = np.flatnonzero(known)[::-1]
        keys = [digest(prefix, key) for key in distinct]

        table, missing = None, np.ones(len(keys), bool)
        for places, vectors in lookup(cache, keys):
            table = _table(table, len(keys), vectors.shape[1])
            table[places], missing[places] = vectors, False
        wanted = np.flatnonzero(missing)
        if len(wanted):
            numbers = first[wanted]
            new = [rows[i] for i in numbers]
            for places, vectors in self._compute(new, numbers, model_print):
                table = _table(table, len(keys), vectors.shape[1])
                table[wanted[places]] = vectors
                cache.put([keys[i] for i in wanted[places]], vectors)
        if table is None:  # no row, or none that could be read
            return np.full((len(rows), self._n_features_out), np.nan, np.float32)
        self._size[:] = [table.shape[1]]
        self._first_weights.update(weights)
        if known.all() and len(keys) == len(rows):
            return table
        features = table[inverse]
        features[~known] = np.nan
        return features

    def _prefix(self, model_print):
        """Digest of all that decides an embedding apart from the row."""
        settings = {name: getattr(self, name) for name in self._decisive}
        # A GPU may round convolutions to fewer digits: its rows never mix with those of a CPU.
        kinds = [str(_FORMAT), type(self).__qualname__, pick_device(self.device).type]
        return digest(*kinds, describe(settings), self._companions(), model_print)

    def _model_print(self):
        if self._module is not None:
            return self._module_print
        if self._directory is not None:
            from transformers import __version__ as version

            place = self._place()
            return f"{directory_fingerprint(place, signature(place))} {version}"
        return self._network(torch.device("cpu")).fingerprint

    def _weights(self):
        """Digests of weights that lie elsewhere, by file: those of a module travel with it."""
        if self._module is not None:
            return {}
        if self._directory is not None:
            files = weight_files(self._place())
            return {path.name: file_fingerprint(path, file_signature(path)) for path in files}
        return {"factory": self._network(torch.device("cpu")).fingerprint.split()[0]}

    def _check_weights(self, weights):
        """Raise where weights are not those that rows went through first since `fit`."""
        first = self._first_weights  # a file that only one of two copies has tells nothing
        if any(first.get(name, found) != found for name, found in weights.items()):
            raise ValueError(
                f"model={str(self.model)!r} has other weights than when this "
                f"{type(self).__name__} was fitted and used, and what was trained on its features "
                "does not fit them. Restore the weights, or call fit again, of all that follows "
                "it, too. (A factory must make the same weights each time.)"
            )

    def _network(self, device):
        """The network on a device, loaded on first use and shared by clones."""
        if self._module is not None:
            if device.type == "cpu":
                return self._own(self._module)
            key = ("module", self._module_print, str(device))
            return once_per_process(key, lambda: self._own(prepared(self._module, device)))
        if self._directory is not None:
            place = self._place()
            key = (str(place), signature(place), str(device))
            return once_per_process(key, lambda: self._pretrained(place, device))
        key = ("factory", self.model)  # what it makes may be random: make it once, then copy
        made = once_per_process(key, self._made)
        if device.type == "cpu":
            return made
        key = (*key, made.fingerprint, str(device))
        return once_per_process(key, lambda: _moved(made, device))

    def _own(self, module):
        return Network(module, self._module_print, None, None, False)

    def _pretrained(self, place, device):
        with own_randomness():
            module, random_pooler = load_pretrained(place, self.model)
        module = module.to(device).eval().requires_grad_(False)
        # Read after the weights: if they were replaced meanwhile, it is not what was asked for.
        return Network(module, self._model_print(), place, None, random_pooler)

    def _made(self):
        with own_randomness():
            module, companion = call_factory(self.model)
        module = prepared(module, "cpu")
        tensors = dict([*module.named_parameters(), *module.named_buffers()])
        weights = digest(describe(tensors)).hex()  # first, as it alone must stay the same
        all_of_it = f"{weights} {module_fingerprint(module)} {describe(companion)}"
        return Network(module, all_of_it, None, companion, False)

    def _compute(self, rows, numbers, model_print):
        """Yields places in `rows` and their features, batch by batch."""
        device = pick_device(self.device)
        network = self._network(device)
        if network.fingerprint != model_print:
            raise RuntimeError(
                f"the files of model={str(self.model)!r} changed while they were being read. Call "
                "again when they are complete."
            )
        bar = tqdm(total=len(rows), desc=type(self).__name__, unit="row", disable=not self.verbose)
        batches = self._batches(rows, numbers, network, device)
        try:
            while True:
                # Entered for each batch: between two, the caller's code runs (and may interrupt).
                with torch_randomness(device), torch.inference_mode():
                    batch = next(batches, None)
                    if batch is None:
                        return
                    vectors = self._run(network, batch.inputs, device)
                if vectors.ndim != 2 or len(vectors) != len(batch.places):
                    raise ValueError(
                        f"the model returned shape {tuple(vectors.shape)} for "
                        f"{len(batch.places)} {self._row_is}; one vector per row is needed."
                    )
                yield batch.places, vectors.float().cpu().numpy()
                bar.update(len(batch.places))
        finally:
            batches.close()
            bar.close()

    def _run(self, network, inputs, device):
        """One forward pass; in halves if the device's memory does not hold it."""
        n = len(next(iter(inputs.values())))
        try:
            moved = {name: x.to(device, non_blocking=True) for name, x in inputs.items()}
            dtype = _AUTOCAST.get(self.precision)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                return self._features(network, moved)
        except torch.OutOfMemoryError:
            if n == 1 or self.batch_size != "auto":
                raise
        torch.cuda.empty_cache()
        halves = [slice(0, n // 2), slice(n // 2, n)]
        parts = [{name: x[half] for name, x in inputs.items()} for half in halves]
        return torch.cat([self._run(network, part, device) for part in parts])

    def __getstate__(self):
        state = super().__getstate__()
        module = state.get("_module")
        if module is not None and module_fingerprint(self.model) == self._module_print:
            state = {**state, "_module": "as model"}  # the parameter holds the same weights
        return state

    def __setstate__(self, state):
        if state.get("_module") == "as model":
            state = {**state, "_module": prepared(state["model"], "cpu")}
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = []
        tags.requires_fit = True
        return tags


def _moved(network, device):
    return network._replace(module=prepared(network.module, device))


def _table(table, n, length):
    """The table of features, made when their number is first known."""
    if table is None:
        return np.full((n, length), np.nan, np.float32)
    if table.shape[1] != length:
        raise ValueError(
            f"the model gives {length} features for some rows and {table.shape[1]} for others; an "
            "extractor needs one size. Use a pooling that does not depend on the row's size."
        )
    return table
