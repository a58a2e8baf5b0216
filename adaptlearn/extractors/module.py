"""Arrays as features: any torch module as a scikit-learn transformer."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.validation import validate_data

from .._compat import StrOptions
from .._components import did_you_mean
from ._fingerprint import digest, file_fingerprint, file_signature
from ._models import load_file, once_per_process
from ._pooling import pool_tokens
from .base import Batch, Extractor, Network

_VALUES = {"cpu": 2**21, "cuda": 2**26}  # in one batch
_MOST_ROWS = {"cpu": 1024, "cuda": 16384}


class ModuleExtractor(Extractor):
    r"""Turn arrays into the output of any torch module, or of a layer inside it.

    For networks of one's own, and for those of torchvision or timm on images that are preprocessed
    already. Tables, sequences and stacks of images go in, one row of features for each row comes
    out. The module is frozen: ``fit`` learns nothing, and any number of candidates of a search
    share one forward pass for each row, through the cache.

    Parameters
    ----------
    model : torch.nn.Module, str or path-like
        A module, a factory ``"package.module:callable"`` that is called without arguments and
        returns one, the same each time (see the notes), or a file written by ``torch.jit.save`` or
        (``.pt2``) ``torch.export.save``.
    layer : str, default=None
        Name of the layer whose output is taken, as ``model.named_modules()`` has it ("layer4",
        "encoder.layers.2"). None is the module's own output.
    output : str, int or tuple of them, default=None
        Which part of an output that is a dict, a tuple or an output of transformers: a key, a
        place, or several from the outside in. None is for a tensor, or for a single part.
    pooling : {"auto", "mean", "max", "gem", "cls", "last", "flatten"}, default="auto"
        How an output of more than two dimensions becomes one vector per row. "auto" is "mean", over
        all places or steps. "gem" is the generalised mean with exponent 3, "cls" the first step,
        "last" the last one; "flatten" keeps everything.
    channels : {"auto", "first", "last"}, default="auto"
        Where the features are in an output of more than two dimensions. "auto" is last for three
        dimensions (n, n_steps, d), as transformers and recurrent networks have it, and first for
        more (n, d, height, width).
    dtype : {"float32", "int64"}, default="float32"
        What the module is given. "int64" is for networks that begin with an embedding.
    normalize : bool, default=False
        Scale each row to length 1.
    batch_size : int, default="auto"
        Rows in one forward pass. "auto" puts about two million numbers in each (on a GPU 32 times
        as many), and halves a batch that does not fit in the memory of a GPU.
    device : str or torch.device, default="auto"
        "auto" is a GPU if there is one.
    precision : {"float32", "bfloat16", "float16"}, default="float32"
        Of the forward pass (mixed precision). Features are float32.
    cache : "memory", path-like, EmbeddingCache or None, default="memory"
        Where embeddings are kept. "memory" is shared by all extractors of this process, a directory
        by all processes.
    verbose : int, default=0
        1 shows progress, rate and time left.

    Attributes
    ----------
    n_features_in_ : int
        Length of the second dimension of X in ``fit``.
    feature_names_in_ : ndarray of str
        Column names of X in ``fit``, where they are all strings.

    See Also
    --------
    ImageExtractor : Images of any size, and files, with their preprocessing.

    Notes
    -----
    A file is named by a pickle, and must still be there; a module travels with it. TorchScript
    modules cannot be pickled: give their file. A factory is called once per process, perhaps again
    when many other models were used meanwhile; it must make the same weights each time, whatever
    files it reads. Where weights are not those of ``fit``, ``transform`` raises an error.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from adaptlearn import ModuleExtractor
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    ... )
    >>> X = np.random.default_rng(0).normal(size=(20, 5))
    >>> ModuleExtractor(network).fit_transform(X).shape
    (20, 3)
    >>> ModuleExtractor(network, layer="1").fit_transform(X).shape
    (20, 16)
    """

    _row_is = "rows"
    _decisive = ("precision", "layer", "output", "pooling", "channels", "dtype")

    _parameter_constraints = {
        **Extractor._parameter_constraints,
        "layer": [str, None],
        "output": [str, Integral, tuple, None],
        "pooling": [StrOptions({"auto", "mean", "max", "gem", "cls", "last", "flatten"})],
        "channels": [StrOptions({"auto", "first", "last"})],
        "dtype": [StrOptions({"float32", "int64"})],
    }

    def __init__(
        self,
        model,
        *,
        layer=None,
        output=None,
        pooling="auto",
        channels="auto",
        dtype="float32",
        normalize=False,
        batch_size="auto",
        device="auto",
        precision="float32",
        cache="memory",
        verbose=0,
    ):
        self.model = model
        self.layer = layer
        self.output = output
        self.pooling = pooling
        self.channels = channels
        self.dtype = dtype
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.verbose = verbose

    def fit(self, X, y=None):
        """Check parameters and that the model can be found. Nothing is learned from `X`.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            A table, sequences (n_rows, n_steps, n_features), images (n_rows, 3, height, width), or
            whatever the module takes.
        y : None
            Ignored.

        Returns
        -------
        self : object
        """
        self._fitted = False
        self._row_shape = self._file = None  # what is read next says how rows look
        return super().fit(X)

    def _open(self):
        extractor = copy.copy(self)
        extractor._row_shape = extractor._file = None
        return super(ModuleExtractor, extractor)._open()

    def _network_for_training(self):
        network = self._network(torch.device("cpu"))
        if self._file is not None or isinstance(network.module, torch.jit.ScriptModule):
            raise ValueError(
                f"model={self.model!r} is a compiled or exported network, which cannot be trained "
                "further. Give the Python module, or take finetune='frozen'."
            )
        return super()._network_for_training()

    def _find_directory(self):
        self._file = str(self._find_file())

    def _find_file(self):
        path = Path(os.fspath(self.model)).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"model={str(self.model)!r}: there is no such file. Give a torch.nn.Module, a "
                "factory 'package.module:callable', or a file of torch.jit.save or "
                "torch.export.save."
            )
        return path.resolve()

    def _file_place(self):
        """File of `fit`; where it is gone (in a pickle, say) it is found again by its name."""
        kept = Path(self._file)
        return kept if kept.is_file() else self._find_file()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        return tags

    def _read_rows(self, X):
        if isinstance(X, torch.Tensor):
            X = X.detach().cpu().numpy()
        new = self._row_shape is None
        # Copied only if it must be: rows are read, never written.
        dtype = np.float32 if self.dtype == "float32" else "numeric"
        rows = validate_data(
            self, X, reset=new, dtype=dtype, allow_nd=True, ensure_min_samples=int(new)
        )
        if self.dtype == "int64":
            if rows.dtype.kind not in "iub":
                raise ValueError(
                    f"X holds {rows.dtype} numbers, and dtype='int64' asks for integers. Convert "
                    "X, or use dtype='float32'."
                )
            rows = rows.astype(np.int64, copy=False)
        if new:
            self._row_shape = rows.shape[1:]
        return np.ascontiguousarray(rows)

    def _digests(self, rows):
        return [digest(str(row.shape), row.data) for row in rows]

    def _example(self):
        return np.zeros(self._row_shape, self.dtype)

    def _model_print(self):
        if self._file is None:
            return super()._model_print()
        return f"{self._weights()['file']} {torch.__version__}"

    def _weights(self):
        if self._file is None:
            return super()._weights()
        place = self._file_place()
        return {"file": file_fingerprint(place, file_signature(place))}

    def _network(self, device):
        if self._file is None:
            return super()._network(device)
        place = self._file_place()
        key = (str(place), file_signature(place), str(device))
        return once_per_process(key, lambda: self._read_file(place, device))

    def _read_file(self, place, device):
        module = load_file(place, device)
        # Read after the weights: if they were replaced meanwhile, it is not what was asked for.
        return Network(module, self._model_print(), None, None, False)

    def _batches(self, rows, numbers, network, device):
        size = self.batch_size
        if size == "auto":
            kind = device.type if device.type in _VALUES else "cpu"
            size = int(np.clip(_VALUES[kind] // max(1, rows[0].size), 1, _MOST_ROWS[kind]))
        for start in range(0, len(rows), size):
            block = np.stack(rows[start : start + size])
            places = np.arange(start, start + len(block))
            yield Batch(places, {_name(block): torch.from_numpy(block)})

    def _features(self, network, inputs):
        (x,) = inputs.values()
        answer = network.module(x) if self.layer is None else self._at_layer(network.module, x)
        return self._pooled(self._part(answer))

    def _at_layer(self, module, inputs):
        layers = dict(module.named_modules())
        if self._file is not None or isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"layer={self.layer!r}: a compiled or exported network shows no layers. Give the "
                "Python module, or use layer=None."
            )
        if self.layer not in layers or self.layer == "":
            raise ValueError(
                f"layer={self.layer!r} is no layer of the model; "
                f"{did_you_mean(self.layer, [name for name in layers if name])}"
            )
        seen, thread = [], threading.get_ident()

        def keep(_, args, output):
            if threading.get_ident() == thread:  # clones share the module, and may run beside this
                seen.append(output)

        hook = layers[self.layer].register_forward_hook(keep)
        try:
            module(inputs)
        finally:
            hook.remove()
        if not seen:
            raise ValueError(f"layer={self.layer!r} is not called when the model is.")
        return seen[-1]

    def _part(self, answer):
        """The tensor that ``output=`` names."""
        path = self.output if isinstance(self.output, tuple) else (self.output,)
        for key in path:
            if isinstance(answer, torch.Tensor):
                break
            known = list(answer) if isinstance(answer, Mapping) else list(range(len(answer)))
            if key is None and len(known) == 1:
                key = known[0]
            if key not in known:
                raise ValueError(
                    f"output={self.output!r}: the model returns {type(answer).__name__}, of which "
                    f"one part must be named; {did_you_mean(key, known)}"
                )
            answer = answer[key]
        if not isinstance(answer, torch.Tensor):
            raise ValueError(
                f"output={self.output!r} is {type(answer).__name__} and no tensor; name the part "
                "of it, too: output=(key, place)."
            )
        return answer

    def _pooled(self, output):
        if output.ndim <= 2:
            if self.pooling not in ("auto", "flatten"):
                raise ValueError(
                    f"pooling={self.pooling!r}: the model returns one vector per row; use 'auto'."
                )
            return output[:, None] if output.ndim == 1 else output
        if self.pooling == "flatten":
            return output.flatten(1)
        first = output.ndim > 3 if self.channels == "auto" else self.channels == "first"
        steps = output.flatten(2).transpose(1, 2) if first else output.flatten(1, -2)
        return pool_tokens(steps, None, "mean" if self.pooling == "auto" else self.pooling)


def _name(block):
    """What augmentations call such an input."""
    if block.dtype.kind == "i":
        return "input_ids"
    return "pixel_values" if block.ndim == 4 else "values"
