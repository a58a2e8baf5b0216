"""Text as features: a pretrained language model as a scikit-learn transformer."""

from __future__ import annotations

import warnings
from functools import partial
from numbers import Integral

import numpy as np
import torch

from .._compat import HasMethods, Interval, StrOptions
from ._fingerprint import describe, digest
from ._front_end import model_type
from ._layers import run_to
from ._models import once_per_process
from ._pooling import pool_tokens, trained_pooler
from ._rows import column, is_missing
from ._tokens import (
    call,
    encode,
    is_full_tokenizer,
    known_tokens,
    load_tokenizer,
    most_tokens,
    padded,
    padding_id,
    reading_half,
    reads_left_to_right,
    trained_pooling,
    trained_tokens,
)
from .base import Batch, Extractor

_WINDOW = 4096  # texts tokenised at a time, so that memory does not grow with the data
_TOKENS = {"cpu": 4096, "cuda": 65536}  # in one batch, padding included
_MOST_ROWS = 256


class TextExtractor(Extractor):
    r"""Turn texts into the features of a pretrained language model.

    The model is frozen: ``fit`` learns nothing, and any number of candidates of a search share one
    forward pass for each text, through the cache. Encoders (BERT, RoBERTa, DistilBERT, MiniLM) and
    decoders (GPT-2 and others) are loaded by name with the extra ``pretrained``; a torch module or
    a factory needs no extra.

    Texts are sorted by length before they are put in batches, so that little is padded; the answer
    is in the order of the rows, and does not depend on the batch (to 1e-5 in float32).

    Parameters
    ----------
    model : str, path-like or torch.nn.Module
        A directory written by ``save_pretrained``, a hub id (the local copy if there is one, else
        it is downloaded), a module, or a factory ``"package.module:callable"`` that is called
        without arguments and returns a module or ``(module, tokenizer)``, the same each time (see
        the notes). A module is called with ``input_ids`` and ``attention_mask``, both of shape (n,
        n_tokens), by name if it has an argument ``input_ids``, else in this order. It returns one
        vector per token (n, n_tokens, d), one per text (n, d), or an output of transformers.
    tokenizer : tokenizer of transformers or callable, default=None
        None takes the one beside the model. A callable turns a list of texts into one sequence of
        integers for each.
    pooling : {"auto", "cls", "mean", "last", "max", "gem", "pooler"}, default="auto"
        How the vectors of the tokens become one. "auto" is what a sentence-transformers model was
        trained with, else "last" for decoders (only the last token has read the whole text) and
        "mean" for the rest. "gem" is the generalised mean with exponent 3, "pooler" the model's own
        pooled output (of BERT, a layer trained to tell whether one sentence follows another), an
        error where the model has none or a random one. Padding never counts.
    layer : int, default=-1
        Layer whose vectors are pooled: -1 is the last, 0 the token embeddings. Layers above it are
        not run: half of them takes half of the time.
    max_length : int, default=None
        Most tokens of a text that are read, special tokens included. None is the number that the
        model was made for. A warning says how many texts were cut.
    normalize : bool, default=False
        Scale each row to length 1.
    batch_size : int, default="auto"
        Texts in one forward pass. "auto" puts about the same number of tokens in each, and halves
        a batch that does not fit in the memory of a GPU.
    device : str or torch.device, default="auto"
        "auto" is a GPU if there is one.
    precision : {"float32", "bfloat16", "float16"}, default="float32"
        Of the forward pass (mixed precision). Features are float32.
    cache : "memory", path-like, EmbeddingCache or None, default="memory"
        Where embeddings are kept. "memory" is shared by all extractors of this process, a directory
        by all processes.
    verbose : int, default=0
        1 shows progress, rate and time left.

    See Also
    --------
    ImageExtractor : The same for images.
    EmbeddingCache : What is kept, and for how long.

    Notes
    -----
    A pickle holds no weights of a model given by name: they are loaded from the same directory, or,
    where that is gone, found by the name again (a hub id in another local copy of the hub, say). A
    module travels with the pickle. A factory is called once per process, perhaps again when many
    other models were used meanwhile; it must make the same weights each time, whatever files it
    reads. Where weights are not those of ``fit``, ``transform`` raises an error.

    Examples
    --------
    Any torch module will do; ``TextExtractor("sentence-transformers/all-MiniLM-L6-v2")`` needs no
    tokenizer.

    >>> import torch
    >>> from adaptlearn import TextExtractor
    >>> def tokenizer(texts):
    ...     return [[hash_ % 50 for hash_ in text.encode()] for text in texts]
    >>> _ = torch.manual_seed(0)
    >>> extractor = TextExtractor(torch.nn.Embedding(50, 8), tokenizer=tokenizer)
    >>> extractor.fit_transform(["a text", "another, longer text", ""]).shape
    (3, 8)
    """

    _row_is = "texts"
    _decisive = ("precision", "pooling", "layer", "max_length")

    _parameter_constraints = {
        **Extractor._parameter_constraints,
        "tokenizer": [callable, HasMethods(["encode"]), None],
        "pooling": [StrOptions({"auto", "cls", "mean", "last", "max", "gem", "pooler"})],
        "layer": [Integral],
        "max_length": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        model,
        *,
        tokenizer=None,
        pooling="auto",
        layer=-1,
        max_length=None,
        normalize=False,
        batch_size="auto",
        device="auto",
        precision="float32",
        cache="memory",
        verbose=0,
    ):
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.layer = layer
        self.max_length = max_length
        self.normalize = normalize
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.verbose = verbose

    def _check_parameters(self):
        if isinstance(self.model, torch.nn.Module) and self.tokenizer is None:
            raise ValueError(
                "model is a module, which has no tokenizer beside it; give tokenizer=, a tokenizer "
                "of transformers or a callable from a list of texts to lists of integers."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags

    def _read_rows(self, X):
        texts = column(X, self._row_is)
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                if is_missing(text):
                    raise ValueError(
                        f"row {row} of X is {text!r}, not a text. Put '' for missing texts."
                    )
                how = "Decode it." if isinstance(text, bytes) else "Convert it with str()."
                raise TypeError(f"row {row} of X is {text!r}, not a text. {how}")
        return texts

    def _digests(self, rows):
        return [digest(text) for text in rows]

    def _companions(self):
        return describe(self.tokenizer)

    def _example(self):
        return "a"

    def _own_tokenizer(self, network):
        if self.tokenizer is not None:
            return self.tokenizer
        if network.companion is not None:
            return network.companion
        if network.directory is None:
            raise ValueError(
                f"model={self.model!r}: the factory returned a module alone. Return (module, "
                "tokenizer), or give tokenizer=."
            )
        key = ("tokenizer", str(network.directory), network.fingerprint)
        return once_per_process(key, lambda: load_tokenizer(network.directory, self.model))

    def _batches(self, rows, numbers, network, device):
        tokenizer = self._own_tokenizer(network)
        limit = self._limit(network, tokenizer)
        filler = padding_id(tokenizer, known_tokens(reading_half(network.module)))
        # Longest first: what does not fit in memory fails at once, and the end comes early.
        order = np.argsort([-len(text) for text in rows], kind="stable")
        n_cut = 0
        for start in range(0, len(order), _WINDOW):
            window = order[start : start + _WINDOW]
            ids, n = self._encode(tokenizer, [rows[i] for i in window], limit, network)
            n_cut += n
            lengths = np.array([len(row) for row in ids])
            by_length = np.argsort(-lengths, kind="stable")
            at = 0
            while at < len(by_length):
                size = self._rows_in_batch(lengths[by_length[at]], device)
                chosen = by_length[at : at + size]
                yield Batch(window[chosen], padded([ids[i] for i in chosen], filler))
                at += size
        self._warn_cut(n_cut, len(rows), network, tokenizer, limit)

    def _encode(self, tokenizer, texts, limit, network):
        ids, n_cut = encode(tokenizer, texts, limit)
        known = known_tokens(reading_half(network.module))
        highest = max(row.max() for row in ids)
        if known is not None and highest >= known:  # on a GPU this would end the process
            given = type(tokenizer).__name__ if self.tokenizer is None else repr(self.tokenizer)
            raise ValueError(
                f"tokenizer={given} made the token {highest}, and the model knows {known} (0 to "
                f"{known - 1}): they do not belong together. Give the tokenizer that the model "
                "was trained with as tokenizer=."
            )
        return ids, n_cut

    def _rows_in_batch(self, longest, device):
        if self.batch_size != "auto":
            return self.batch_size
        budget = _TOKENS.get(device.type, _TOKENS["cpu"])
        return int(np.clip(budget // longest, 1, _MOST_ROWS))

    def _limit(self, network, tokenizer):
        most = most_tokens(reading_half(network.module), tokenizer)
        if self.max_length is None:
            trained = trained_tokens(network.directory)
            return min((n for n in (most, trained) if n is not None), default=None)
        if most is not None and self.max_length > most:
            raise ValueError(
                f"max_length={self.max_length} is more than the model takes; it must be at most "
                f"{most}."
            )
        if is_full_tokenizer(tokenizer):
            special = tokenizer.num_special_tokens_to_add()
            if self.max_length <= special:
                raise ValueError(
                    f"max_length={self.max_length} leaves no room for text: {special} tokens are "
                    f"special. It must be at least {special + 1}."
                )
        return self.max_length

    def _warn_cut(self, n_cut, n_rows, network, tokenizer, limit):
        if n_cut:
            warnings.warn(
                f"{n_cut} of {n_rows} texts have more than {limit} tokens: the rest of them was "
                f"not read. {self._advice(network, tokenizer, limit)}",
                UserWarning,
                stacklevel=3,
            )

    def _advice(self, network, tokenizer, limit):
        most = most_tokens(reading_half(network.module), tokenizer)
        if most is None or limit < most:
            up_to = "" if most is None else f" (at most {most})"
            return f"Raise max_length{up_to}, or split long texts."
        return "The model takes no more; split long texts if their end matters."

    def _features(self, network, inputs):
        module = reading_half(network.module)
        hidden, answer = run_to(module, self.layer, partial(call, inputs=inputs))
        if self.pooling == "pooler" and hidden.ndim == 3:
            if str(model_type(module)).startswith("siglip"):
                raise ValueError(
                    "pooling='pooler': that of SigLIP reads the last place of a batch, where "
                    "shorter texts have padding; use 'auto', 'cls' or 'mean'."
                )
            if self.layer != -1:
                raise ValueError("pooling='pooler' is made from the last layer; use layer=-1.")
            return trained_pooler(answer, network, "'auto', 'cls' or 'mean'")
        if hidden.ndim == 2:
            if self.pooling != "auto":
                raise ValueError(
                    f"pooling={self.pooling!r}: the model returns one vector per text; use 'auto'."
                )
            return hidden
        if hidden.ndim != 3 or hidden.shape[:2] != inputs["input_ids"].shape:
            raise ValueError(
                f"the model returned shape {tuple(hidden.shape)} for token ids of shape "
                f"{tuple(inputs['input_ids'].shape)}; one vector per token (n, n_tokens, d) or per "
                "text (n, d) is needed."
            )
        return pool_tokens(hidden, inputs["attention_mask"], self._pooling(network))

    def _pooling(self, network):
        if self.pooling != "auto":
            return self.pooling
        trained = trained_pooling(network.directory)
        return trained or ("last" if reads_left_to_right(network.module) else "mean")

    def _trained_part(self, module):
        return reading_half(module)

    def _prepare(self, rows, network, keep):
        tokenizer = self._own_tokenizer(network)
        limit, ids, n_cut = self._limit(network, tokenizer), [], 0
        for start in range(0, len(rows), _WINDOW):
            some, n = self._encode(tokenizer, rows[start : start + _WINDOW], limit, network)
            ids += some
            n_cut += n
        self._warn_cut(n_cut, len(rows), network, tokenizer, limit)
        return ids

    def _tensors(self, prepared, network, device):
        known = known_tokens(reading_half(network.module))
        return padded(prepared, padding_id(self._own_tokenizer(network), known))

    def _lengths(self, prepared):
        return np.array([len(ids) for ids in prepared])

    def _rows_at_once(self, longest, device):
        return self._rows_in_batch(longest, device)

    def _known(self, network):
        tokenizer = self._own_tokenizer(network)
        special = getattr(tokenizer, "all_special_ids", None)
        return {"special_ids": special, "mask_id": getattr(tokenizer, "mask_token_id", None)}
