"""From text to token ids, and the limits that a model puts on their number."""

from __future__ import annotations

import inspect
import json

import numpy as np
import torch

from ._front_end import model_type
from ._models import first_line

_NO_LIMIT = 10**6  # tokenizers without a limit of their own state a number of 30 digits


def load_tokenizer(directory, name):
    """The tokenizer beside a model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise ValueError(
            f"model={str(name)!r}: transformers cannot load a tokenizer from {directory} "
            f"({first_line(error)}). Give one as tokenizer=."
        ) from error


def is_full_tokenizer(tokenizer):
    """Whether this is a tokenizer of transformers, and not a plain callable."""
    return hasattr(tokenizer, "pad_token_id") and hasattr(tokenizer, "model_max_length")


def encode(tokenizer, texts, limit):
    """Token ids of each text, as arrays, and how many texts were cut to `limit` tokens."""
    if not is_full_tokenizer(tokenizer):
        ids = [np.asarray(row, np.int64) for row in tokenizer(texts)]
        if len(ids) != len(texts) or any(row.ndim != 1 for row in ids):
            raise ValueError(
                f"tokenizer={tokenizer!r} must turn a list of texts into one sequence of integers "
                f"for each; it made {len(ids)} entries for {len(texts)} texts."
            )
        n_cut = sum(limit is not None and len(row) > limit for row in ids)
        return [_never_empty(row[:limit], 0) for row in ids], n_cut
    # A lone surrogate (from a wrongly decoded file) is no character: tokenizers refuse it.
    texts = [t if t.isascii() else t.encode("utf-8", "replace").decode() for t in texts]
    options = {"padding": False, "return_attention_mask": False, "verbose": False}
    ids = tokenizer(texts, truncation=False, **options)["input_ids"]
    long = [] if limit is None else [i for i, row in enumerate(ids) if len(row) > limit]
    if long:  # again, so that closing special tokens stay
        cut = tokenizer([texts[i] for i in long], truncation=True, max_length=limit, **options)
        for i, row in zip(long, cut["input_ids"], strict=True):
            ids[i] = row
    # Decoders add no special token, so that an empty text has no token at all.
    known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, 0)
    filler = next(token for token in known if token is not None)
    return [_never_empty(np.asarray(row, np.int64), filler) for row in ids], len(long)


def _never_empty(ids, filler):
    return ids if len(ids) else np.full(1, filler, np.int64)


def padding_id(tokenizer, n_known):
    """Id to pad with; the mask hides it, so that any id will do that the network knows."""
    asked = (getattr(tokenizer, "pad_token_id", None), getattr(tokenizer, "eos_token_id", None), 0)
    # A padding token that was added to a decoder's tokenizer is often unknown to its network.
    return next(t for t in asked if t is not None and (n_known is None or t < n_known))


def padded(ids, filler):
    """Ids and mask as tensors of shape (n, longest), padding on the right."""
    lengths = np.array([len(row) for row in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    block = np.full(mask.shape, filler, np.int64)
    block[mask] = np.concatenate(ids)
    return {
        "input_ids": torch.from_numpy(block),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }


def most_tokens(module, tokenizer):
    """Most tokens that the network takes in a row, None if any number."""
    limits = [getattr(tokenizer, "model_max_length", None)]
    positions = getattr(getattr(module, "config", None), "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa counts positions from one past the padding id.
        table = getattr(getattr(module, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        limits.append(positions - (0 if padding is None else padding + 1))
    limits = [n for n in limits if isinstance(n, int) and 0 < n < _NO_LIMIT]
    return min(limits, default=None)


def known_tokens(module):
    """Number of tokens that the network has embeddings for, None if it does not say."""
    try:
        table = module.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # no model of transformers, or one that has none
        return None
    return getattr(table, "num_embeddings", None)


def trained_tokens(directory):
    """Number of tokens that a sentence-transformers model was trained with, or None."""
    settings = _json(directory, "sentence_bert_config.json")
    return settings.get("max_seq_length")


def trained_pooling(directory):
    """Pooling that a sentence-transformers model was trained with, or None."""
    settings = _json(directory, "1_Pooling/config.json")
    names = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_lasttoken": "last",
    }
    chosen = [how for name, how in names.items() if settings.get(name)]
    return chosen[0] if len(chosen) == 1 else None


def _json(directory, name):
    path = None if directory is None else directory / name
    return json.loads(path.read_text(encoding="utf-8")) if path and path.is_file() else {}


def reading_half(module):
    """The half that reads of a model whose other half sees, as CLIP and SigLIP; else all of it."""
    return getattr(module, "text_model", module)


def reads_left_to_right(module):
    """Whether only the last token has read the whole text."""
    kind = model_type(module)
    if kind is None:
        return False
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return causal and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def call(module, inputs, all_layers):
    """Answer of a network to ids and mask, by name or by position."""
    if isinstance(module, torch.jit.ScriptModule):  # has no signature that Python can read
        accepted = [argument.name for argument in module.forward.schema.arguments[1:]]
    else:
        accepted = inspect.signature(module.forward).parameters
    if "input_ids" in accepted:
        options = {"use_cache": False} if "use_cache" in accepted else {}
        if all_layers:
            options["output_hidden_states"] = True
        if "attention_mask" not in accepted:
            return module(input_ids=inputs["input_ids"], **options)
        return module(**inputs, **options)
    takes_mask = len(accepted) > 1
    return module(*inputs.values()) if takes_mask else module(inputs["input_ids"])
