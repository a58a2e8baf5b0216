"""Saving without pickle: safetensors for weights, JSON for parameters, one file."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from sklearn.utils.validation import check_is_fitted

from .._domains import DomainIndex
from ._label_shift import Priors
from ._retention import learned, make_regularization
from ._saved_values import UnknownComponent, decode, encode, find_component, shaping_forms
from ._scaling import DomainScaler

_FORMAT = 1
_KEY, _SUM = "adaptlearn", "checksum"
_FITTED = ("n_features_in_", "sampling_", "_recipe", "_y_mean", "_y_scale")
_FITTED += ("tasks_", "task_names_", "_one_column", "_task_classes", "_task_counts")


class SaveMixin:
    """``save`` for deep estimators; `load` is the other half."""

    def save(self, path):
        """Write the fitted estimator to one file, without pickle.

        Weights are stored as safetensors, parameters as JSON in the file's header, and what
        ``regularization`` learned of earlier calls with them. Training history and optimiser state
        are not kept, nor are the rows of ``rehearsal``, which are your data (a pickle holds them).

        Parameters
        ----------
        path : path-like

        Raises
        ------
        ValueError
            If a parameter cannot be represented (a lambda, a random generator, callbacks), or one
            that shapes the network was set after it was fitted; nothing is written then.

        Warns
        -----
        UserWarning
            If ``rehearsal`` has kept rows.
        """
        check_is_fitted(self)
        for name, form in shaping_forms(self).items():
            if self._built_with.get(name, form) != form:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} was set after fit, and the network was made "
                    "with another value, so that no file would fit. Set it back, or fit again."
                )
        network, objective = self._network, self.net_.criterion_
        tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
        tensors |= {f"objective.{k}": v for k, v in objective.state_dict().items()}
        memory, numbers = _memory(self)
        tensors |= memory
        if self._scaler is not None:
            tensors["scaler.mean"] = torch.from_numpy(self._scaler.mean)
            tensors["scaler.scale"] = torch.from_numpy(self._scaler.scale)
        if self._class_ratio is not None:
            tensors["class_ratio"] = torch.from_numpy(self._class_ratio)
        if self._class_counts is not None:
            tensors["class_counts"] = self._class_counts
            *shares, smoothed = self._priors
            for name, share in zip(Priors._fields, shares, strict=False):
                if share is not None:
                    tensors[f"prior.{name}"] = torch.from_numpy(share)
        header = {
            "format": _FORMAT,
            "class": type(self).__name__,
            "params": {k: encode(v, f"{k}=") for k, v in self.get_params(deep=False).items()},
            "input_shape": list(self._input_shape),
            "domains": [list(self._domain_index.sources), list(self._domain_index.targets)],
            "fitted": {k: encode(getattr(self, k), k) for k in _FITTED if hasattr(self, k)},
            "epochs_done": int(self._epochs_done),
            "clip": encode(getattr(self._scaler, "clip", None), "clip"),
            "seed": int(self.net_.seed),
            "embedder": _model_print(self),
            "row_shape": encode(_row_shape(self), "X of shape "),
            "memory": numbers,
        }
        if self._class_counts is not None:
            header["smoothed"] = smoothed
        for name in ("classes_", "feature_names_in_"):
            if name in vars(self):
                values = getattr(self, name)
                header[name] = {"dtype": values.dtype.str, "values": values.tolist()}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        text = json.dumps(header)
        content = serialise(tensors, {_KEY: text, _SUM: _checksum(text, tensors)})
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"path={str(path)!r}: there is no folder {str(path.parent)!r}.")
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        kept = getattr(self, "_rehearsal", None)
        if kept is not None and len(kept.y):
            warnings.warn(
                f"rehearsal={self.rehearsal}: the {len(kept.y)} rows kept of earlier calls are not "
                "written, since they are your data; a loaded estimator begins without them. A "
                "pickle holds them.",
                UserWarning,
                stacklevel=2,
            )


def _memory(estimator):
    """What the regularisation learned of earlier calls: tensors by key, and the rest."""
    tensors, numbers = {}, {}
    for attribute, value in learned(getattr(estimator, "_regularization", None)).items():
        if isinstance(value, dict) and all(isinstance(v, torch.Tensor) for v in value.values()):
            tensors |= {f"memory.{attribute}.{name}": v for name, v in value.items()}
        else:
            numbers[attribute] = encode(value, f"{attribute} of regularization=")
    return tensors, numbers


def _remember(estimator, tensors, numbers, components):
    """Give the estimator back what `_memory` wrote; takes its tensors out of `tensors`."""
    state = {name: decode(value, components) for name, value in numbers.items()}
    for key in [key for key in tensors if key.startswith("memory.")]:
        _, attribute, name = key.split(".", 2)
        state.setdefault(attribute, {})[name] = tensors.pop(key)
    if state:
        component = make_regularization(estimator)
        if component is None or not all(n.isidentifier() and n.endswith("_") for n in state):
            raise ValueError(f"memory {sorted(state)} belongs to no regularization")
        vars(component).update(state)
        estimator._regularization = component


def _model_print(estimator):
    """Fingerprint of the model that a frozen extractor embeds with, which is not in the file."""
    embedder = estimator._embedder
    return None if embedder is None else embedder._model_print()


def _row_shape(estimator):
    """Shape of a row, where an extractor learned it from those of ``fit``; else None."""
    reader = estimator._embedder
    if estimator._reads_raw:
        reader = estimator._network.backbone.reader
    return getattr(reader, "_row_shape", None)


def _checksum(text, tensors):
    """Hex digest of everything in a file, so that a flipped bit is noticed."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def load(path, components=None):
    """Read an estimator written by its ``save`` method.

    Only registered components are built; nothing in the file is ever executed.

    Parameters
    ----------
    path : path-like
    components : dict of str to class or callable, optional
        What stands behind names that are not registered: your backbone class, your own alignment,
        your subclass of an estimator, by class name.

    Returns
    -------
    estimator : object
        Fitted; predicts as before and can be trained further with ``partial_fit``.

    Raises
    ------
    ValueError
        If the file is foreign or damaged, or names a component that is not known.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from pathlib import Path
    >>> from adaptlearn import DANNClassifier, load
    >>> X, y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2
    >>> clf = DANNClassifier(max_epochs=1, random_state=0).fit(X, y, X_target=X + 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(Path(folder) / "model.safetensors")
    ...     again = load(Path(folder) / "model.safetensors")
    >>> bool((again.predict(X) == clf.predict(X)).all())
    True
    """
    components = dict(components or {})
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r} is not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, ValueError, OSError, KeyError, UnicodeError) as error:
        raise ValueError(
            f"{path} is not a model saved by adaptlearn, or it is damaged ({error}). Files are "
            "written by estimator.save(path)."
        ) from error
    if _KEY not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not one written by adaptlearn.")
    if metadata.get(_SUM) != _checksum(metadata[_KEY], tensors):
        raise ValueError(f"{path} is damaged: its checksum does not fit. Save the model again.")
    try:
        header = json.loads(metadata[_KEY])
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']!r} is not known, expected {_FORMAT}")
        estimator = _build(header, tensors, components)
    except UnknownComponent as error:
        raise ValueError(str(error)) from None
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    return estimator


def _build(header, tensors, components):
    estimator = _estimator_class(header["class"], components)()
    params = {k: decode(v, components) for k, v in header["params"].items()}
    estimator.set_params(**params)
    for name, value in header["fitted"].items():
        if name not in _FITTED:
            raise ValueError(f"attribute {name!r} is not known")
        setattr(estimator, name, decode(value, components))
    for name in ("classes_", "feature_names_in_"):
        if name in header:
            column = header[name]
            setattr(estimator, name, np.array(column["values"], dtype=np.dtype(column["dtype"])))
    alignments, criterion = estimator._check_parameters()
    alignments = estimator._settled(alignments)
    estimator._domain_index = DomainIndex(*(tuple(ids) for ids in header["domains"]))
    estimator._scaler = None
    if "scaler.mean" in tensors:
        mean, scale = tensors.pop("scaler.mean"), tensors.pop("scaler.scale")
        if len(mean) != estimator._domain_index.n_slots or mean.shape != scale.shape:
            raise ValueError("statistics and domains do not fit together")
        estimator._scaler = DomainScaler(
            mean.numpy(), scale.numpy(), decode(header["clip"], components)
        )
    ratio = tensors.pop("class_ratio", None)
    index = estimator._domain_index
    if ratio is not None and ratio.shape != (len(index.ids), estimator._n_outputs):
        raise ValueError("class ratios, domains and classes do not fit together")
    estimator._class_ratio = None if ratio is None else ratio.numpy()
    if not estimator._regression:
        shares = [tensors.pop(f"prior.{name}", None) for name in Priors._fields[:3]]
        if {len(share) for share in shares if share is not None} != {estimator._n_outputs}:
            raise ValueError("priors and classes do not fit together")
        shares = [None if share is None else share.numpy() for share in shares]
        estimator._priors = Priors(*shares, bool(header["smoothed"]))
    body = estimator._open_backbone()
    if header.get("embedder") != _model_print(estimator):
        raise ValueError(
            "the extractor's model is not the one that the estimator was fitted with; its files or "
            "weights have changed"
        )
    row_shape = decode(header.get("row_shape"), components)
    for reader in (estimator._embedder, getattr(body, "reader", None)):
        if reader is not None and row_shape is not None:
            reader._row_shape = row_shape
    device = estimator._pick_device()
    counts = tensors.pop("class_counts", torch.empty(0))  # none in regression
    shape = tuple(int(n) for n in header["input_shape"])
    estimator._build(shape, alignments, criterion, counts, int(header["seed"]), device, body)
    for prefix, module in (
        ("network.", estimator._network),
        ("objective.", estimator.net_.criterion_),
    ):
        names = [name for name in tensors if name.startswith(prefix)]
        module.load_state_dict({name.removeprefix(prefix): tensors.pop(name) for name in names})
    _remember(estimator, tensors, header.get("memory", {}), components)
    if tensors:
        raise ValueError(f"tensors {sorted(tensors)} are not known")
    estimator._epochs_done = int(header["epochs_done"])
    estimator.net_.module_.eval()
    return estimator


def _estimator_class(name, components):
    from .. import deep

    if name in deep.__all__ and hasattr(getattr(deep, name), "save"):
        return getattr(deep, name)
    return find_component(name, components, deep.__all__)
