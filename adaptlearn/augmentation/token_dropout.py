"""Words left out of a text."""

from __future__ import annotations

from numbers import Integral

import torch

from .._compat import Interval, StrOptions
from .._components import register
from .base import SHARE, Augmentation, draw


@register("augment", "token_dropout")
class TokenDropout(Augmentation):
    r"""Leave out each token of a text with some probability.

    A token is replaced by the mask token, or hidden: its place in ``attention_mask`` becomes 0, so
    that the network reads around it and pooling does not count it. Positions stay. Special tokens
    are never left out, and of the others at least one stays in each text.

    Parameters
    ----------
    p : float, default=0.1
        Probability, in [0, 1].
    by : {"auto", "mask", "hide"}, default="auto"
        "mask": replaced by `mask_id`. "hide": hidden. "auto": replaced where `mask_id` is known,
        else hidden.
    mask_id : int or None, default=None
        Id that takes the place of a token: a tokenizer's ``mask_token_id`` or ``unk_token_id``.
        None: the mask token of the network's tokenizer where that is known.
    special_ids : sequence of int or None, default=None
        Ids that stay: a tokenizer's ``all_special_ids``. None: those of the network's tokenizer
        where that is known; else a tensor ``special_tokens_mask`` of the batch counts; without
        that, the first and the last token of each text stay.

    References
    ----------
    Iyyer et al., "Deep unordered composition rivals syntactic methods for text classification",
    2015, section 3.1 (word dropout). Differs from the paper: one token always stays.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import TokenDropout
    >>> ids = torch.tensor([[101, 7, 8, 9, 102, 0]])
    >>> batch = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    >>> drop = TokenDropout(p=0.5, mask_id=103, special_ids=[0, 101, 102])
    >>> drop(batch, torch.Generator().manual_seed(0))["input_ids"]
    tensor([[101,   7, 103, 103, 102,   0]])
    >>> drop = TokenDropout(p=0.5)
    >>> drop(batch, torch.Generator().manual_seed(0))["attention_mask"]
    tensor([[1, 1, 0, 0, 1, 0]])
    """

    applies_to = "input_ids"

    _parameter_constraints = {
        "p": SHARE,
        "by": [StrOptions({"auto", "mask", "hide"})],
        "mask_id": [None, Interval(Integral, 0, None, closed="left")],
        "special_ids": [None, list, tuple],
    }

    def __init__(self, p=0.1, by="auto", mask_id=None, special_ids=None):
        self.p = p
        self.by = by
        self.mask_id = mask_id
        self.special_ids = special_ids

    def check(self):
        """Raise for ids that are no integers."""
        ids = self.special_ids
        if ids is not None and not all(isinstance(i, Integral) for i in ids):
            raise ValueError(f"special_ids={ids!r} of TokenDropout must be integers.")

    def __call__(self, inputs, generator):
        """The batch with tokens left out."""
        ids, mask = inputs[self.tensor_name(inputs)], inputs.get("attention_mask")
        replaces = self._replaces(mask)
        may_go = self._may_go(inputs, ids, mask)
        u = draw(ids.shape, generator, ids)
        dropped = may_go & (u < self.p)
        # The highest draw of a text is below p only if all are: then this one stays.
        last_one = torch.where(may_go, u, -1.0).argmax(1, keepdim=True)
        dropped = dropped.scatter(1, last_one, False)
        if replaces:
            return {**inputs, "input_ids": ids.masked_fill(dropped, self.mask_id)}
        return {**inputs, "attention_mask": mask.masked_fill(dropped, 0)}

    def _replaces(self, mask):
        """Whether tokens are replaced, not hidden."""
        if self.by == "mask" and self.mask_id is None:
            raise ValueError(
                "by='mask' of TokenDropout needs an id to put in place of a token, and none is "
                "known. Give mask_id= (tokenizer.mask_token_id), or by='hide'."
            )
        if self.by == "hide" or self.mask_id is None:
            if mask is None:
                raise ValueError(
                    "TokenDropout hides tokens through 'attention_mask', which this batch has not. "
                    "Give mask_id= (tokenizer.mask_token_id) to replace them instead."
                )
            return False
        return True

    def _may_go(self, inputs, ids, mask):
        """Tokens that are neither padding nor special, bool of the shape of ids."""
        real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask > 0
        if self.special_ids is not None:
            special = torch.tensor(list(self.special_ids), dtype=ids.dtype, device=ids.device)
            return real & ~torch.isin(ids, special)
        if "special_tokens_mask" in inputs:
            return real & (inputs["special_tokens_mask"] == 0)
        count = real.cumsum(1)
        return real & (count > 1) & (count < count[:, -1:])
