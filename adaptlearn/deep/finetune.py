"""How a pretrained backbone is trained: what of it, when, and at which rate."""

from __future__ import annotations

import re
from numbers import Integral, Real

from sklearn.base import BaseEstimator, clone

from .._compat import Interval, validate_parameter_constraints
from ..extractors.base import Extractor
from ._raw import is_extractor

_MODES = ("auto", "frozen", "head", "gradual", "full", "lora")
_LAST = re.compile(r"last:[1-9][0-9]*")


class FineTuning(BaseEstimator):
    r"""How the backbone of a deep estimator is trained: the value of ``finetune=`` in full.

    ``finetune="gradual"`` is short for ``finetune=FineTuning("gradual")``, and
    ``finetune__warmup=0.2`` sets a parameter of either.

    A network is seen as layer groups, found by themselves: the embeddings (or the stem), each
    transformer block or stage, and what comes after the last of them with the last. What follows
    the backbone is always trained: perceptron (``hidden_layer_sizes``), bottleneck and head.

    Parameters
    ----------
    mode : str, default="auto"
        What is trained.

        - "frozen": nothing of the backbone. An extractor embeds each row once (and remembers it,
          see `EmbeddingCache`); the embeddings then are columns of numbers like any others: they
          are standardised by domain and read for label shift. By far the quickest.
          With ``augment=`` it is "head", because a row is another one each time then.
        - "head": nothing of the backbone, but rows go through it in each step. For augmentation,
          and for batch norm with statistics per domain. "frozen" with a module is the same.
        - "last:N", such as "last:2": the last N layer groups.
        - "gradual": the head first, then one layer group after the other from the last to the
          first, at even steps over the first half of the training (Howard & Ruder, 2018).
        - "full": everything.
        - "lora": small matrices beside each projection, :math:`W + \frac{\alpha}{r} B A` (Hu et
          al., 2022): with models of usual size less than 5 % of the weights, with tiny ones more
          (rank 1 is the least). The weights themselves are fixed.
        - "auto": "frozen" for an extractor ("gradual" in `FineTuneClassifier` and
          `FineTuneRegressor`); a module or factory is trained like the rest of the network, at one
          rate and without warm-up, because it may never have been trained before.
    backbone_lr : float, default=0.1
        Rate of the backbone's last layer group, as a share of ``learning_rate``, > 0. The head
        starts from nothing, the backbone does not. Adapters start from nothing, too, and have the
        full rate.
    layer_decay : float, default=0.8
        Rate of each layer group, as a share of that of the group after it, in (0, 1]: what is near
        the input is of use for most tasks as it is. With 12 blocks the embeddings get a fifteenth
        of the rate of the last block; in deeper networks they do so, too, and the share from one
        group to the next is larger (0.9 with 24 blocks).
    warmup : float, default=0.1
        Share of the steps, in [0, 1), over which all rates rise from 0.
    clip_norm : float or None, default=None
        Largest norm of the gradient of all that is trained, > 0; longer ones are cut to it.
    accumulate : int, default=1
        Batches whose gradients are averaged for one step, >= 1: large batches in little memory.
        For task losses that is the same as one batch; an alignment compares the rows of each batch
        by themselves.
    gradient_checkpointing : bool, default=False
        Compute the activations of each block a second time instead of keeping them: about a third
        more time, far less memory. For models of transformers.
    freeze_batch_norm : bool, default=False
        Leave statistics, scale and shift of all batch norm layers of the backbone as they are. That
        is always so in layer groups that are not trained, but for the statistics per domain of
        ``normalize="domain"`` where there are several domains.
    rank : int, default=8
        Of the adapters of "lora", >= 1. Lowered where an adapter would have more than a twentieth
        of the weights of its projection.
    alpha : float, default=16.0
        Adapters are scaled by ``alpha / rank``, > 0.

    See Also
    --------
    FineTuneClassifier, FineTuneRegressor : Fine-tuning without a target.

    Notes
    -----
    The features of the backbone are standardised, as columns of numbers are (by domain, with
    ``normalize="domain"``), with the statistics that they have before training: what comes after it
    starts from nothing, and learns as quickly whatever their size.

    Layer groups that are not trained are in evaluation mode: no dropout. Later calls of
    ``partial_fit``, or of ``fit`` with ``warm_start``, do not thaw a second time.

    `warmup`, `layer_decay` and `backbone_lr` are not used by "frozen", nor by "auto" with a module;
    the other parameters always are.

    The defaults of `layer_decay` and `warmup` are those of Clark et al. (2020, appendix B) for 12
    blocks, and what becomes of `layer_decay` with 24 is theirs, too (0.9). Their rates decay from
    3e-4 (small), 1e-4 (base) and 5e-5 (large), which the head has as well. Here the last group of
    a `FineTuneClassifier` has 2e-4, and the head, which starts from nothing, ten times that.

    References
    ----------
    Clark et al., "ELECTRA: Pre-training text encoders as discriminators rather than generators",
    2020; Howard & Ruder, "Universal language model fine-tuning for text classification", 2018,
    sections 3.2 and 3.3; Hu et al., "LoRA: Low-rank adaptation of large language models", 2022.
    Differs from the papers: groups thaw at even steps over half of the training, in place of one
    each epoch; adapters stand beside all projections.

    Examples
    --------
    >>> from adaptlearn import DomainAdaptationClassifier, FineTuning
    >>> clf = DomainAdaptationClassifier(finetune="last:2").set_params(finetune__warmup=0.2)
    >>> clf.finetune
    FineTuning(mode='last:2', warmup=0.2)
    """

    _parameter_constraints = {
        "mode": [str],
        "backbone_lr": [Interval(Real, 0, None, closed="neither")],
        "layer_decay": [Interval(Real, 0, 1, closed="right")],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "clip_norm": [None, Interval(Real, 0, None, closed="neither")],
        "accumulate": [Interval(Integral, 1, None, closed="left")],
        "gradient_checkpointing": ["boolean"],
        "freeze_batch_norm": ["boolean"],
        "rank": [Interval(Integral, 1, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        mode="auto",
        *,
        backbone_lr=0.1,
        layer_decay=0.8,
        warmup=0.1,
        clip_norm=None,
        accumulate=1,
        gradient_checkpointing=False,
        freeze_batch_norm=False,
        rank=8,
        alpha=16.0,
    ):
        self.mode = mode
        self.backbone_lr = backbone_lr
        self.layer_decay = layer_decay
        self.warmup = warmup
        self.clip_norm = clip_norm
        self.accumulate = accumulate
        self.gradient_checkpointing = gradient_checkpointing
        self.freeze_batch_norm = freeze_batch_norm
        self.rank = rank
        self.alpha = alpha


def as_finetuning(spec):
    """What a short form stands for; everything else as it is."""
    return FineTuning(spec) if isinstance(spec, str) else spec


def settings_of(spec):
    """Fresh `FineTuning` out of what the user gave as ``finetune=``, checked."""
    given = as_finetuning(spec)
    if not isinstance(given, FineTuning):
        raise TypeError(
            f"finetune={spec!r} of type {type(spec).__name__} must be one of "
            f"{', '.join(map(repr, _MODES))}, 'last:N', or a FineTuning object."
        )
    settings = clone(given)
    constraints, params = settings._parameter_constraints, settings.get_params()
    validate_parameter_constraints(constraints, params, caller_name="FineTuning")
    if settings.mode not in _MODES and not _LAST.fullmatch(settings.mode):
        raise ValueError(
            f"finetune={settings.mode!r} is not known; allowed are {', '.join(map(repr, _MODES))}, "
            "and 'last:N' with N >= 1 layer groups, such as 'last:2'."
        )
    return settings


def settled_mode(estimator):
    """What ``finetune=`` comes to with the backbone of this estimator.

    Returns
    -------
    {"plain", "frozen", "head", "last:N", "gradual", "full", "lora"}
        "plain": the network is trained as one.
    """
    mode, backbone = settings_of(estimator.finetune).mode, estimator.backbone
    if isinstance(backbone, type) and issubclass(backbone, Extractor):
        raise TypeError(
            f"backbone={backbone.__name__} is a class; give an object with the model that it "
            f"loads: {backbone.__name__}('organisation/model')."
        )
    if backbone is None:
        if mode != "auto":
            raise ValueError(
                f"finetune={mode!r} says how a backbone is trained, and backbone=None. Give "
                "backbone= (a TextExtractor, an ImageExtractor, a torch module), or "
                "finetune='auto'."
            )
        return "plain"
    if mode == "auto":
        mode = estimator._auto_finetune[0 if is_extractor(backbone) else 1]
    if mode == "frozen" and not (is_extractor(backbone) and estimator.augment is None):
        return "head"
    return mode
