"""Fine-tuning alone: the deep estimators without alignment, for which no target is needed."""

from __future__ import annotations

from .classifier import DomainAdaptationClassifier
from .regressor import DomainAdaptationRegressor


class _WithoutTarget:
    """What both have in common: nothing is aligned, and a missing target is nothing to tell."""

    alignment, alignment_weight = None, 1.0
    _auto_alignment = None
    _auto_finetune = ("gradual", "gradual")

    def _warn_without_target(self, fit_rows, alignments):
        """Say nothing."""


class FineTuneClassifier(_WithoutTarget, DomainAdaptationClassifier):
    """Classifier that fine-tunes a pretrained network on a few labelled rows.

    `DomainAdaptationClassifier` without alignment, and with the settings that suit a pretrained
    network: layers thaw one after the other, lower layers learn more slowly, rates rise at first
    and then fall in a straight line, and the best epoch on held-out rows is kept. Target rows are
    not needed; where they are given, they take part in ``normalize="domain"``.

    Parameters
    ----------
    backbone : Extractor, nn.Module, class, factory or None, default=None
        What is fine-tuned: a `TextExtractor`, `ImageExtractor`, `AudioExtractor` or
        `ModuleExtractor` (X then is texts, images, sounds or arrays), a module (copied, never
        trained in place) or what makes one. None: a perceptron on numeric features.
    finetune : str or FineTuning, default="auto"
        "frozen", "head", "last:N", "gradual", "full" or "lora", or a `FineTuning` with more
        settings. "auto" is "gradual".
    augment : None, str, Augmentation, callable or list of these, default=None
        Changes the input of the network in training: "flip_crop", "color" or "rand_augment" for
        images, "token_dropout" for texts, "spec_augment" for sounds, "noise" for numbers, ...
    hidden_layer_sizes : tuple of int, default=(256,)
        Widths of the hidden layers between the features and the head; ``()`` is linear.
    bottleneck : int or None, default=None
        Width of a layer between backbone and head.
    normalize : {"domain", "source", "batch"} or None, default="domain"
        How numeric features, frozen embeddings and batch norm are normalised. Without target rows
        "domain" and "source" hardly differ.
    criterion : str or Criterion, default="cross_entropy"
        Task loss.
    sampling : str, default="auto"
        Which rows a batch holds; "balanced" against rare classes.
    label_shift : {"auto", "bbse", "rlls", "mlls"} or None, default="auto"
        How class proportions of a target are estimated, where there is one.
    prior : {"source", "uniform", "target"}, array-like or None, default=None
        Class proportions that predictions are for.
    mixing : None, "mixup", "remix", "smote", "cutmix" or Mixing, default=None
        Labelled rows mixed among the features, or as images ("cutmix").
    resampler : imbalanced-learn sampler, DomainResampler or None, default=None
        For numeric features and frozen embeddings.
    regularization : None, "l2_sp", "ewc", "lwf", "delta" or Regularization, default=None
        Against forgetting what the pretrained network ("l2_sp", "delta") or earlier calls (all)
        learned. "delta" needs ``hidden_layer_sizes=()``.
    rehearsal : int, default=0
        Rows of earlier calls to keep and to train on again, as many of each class.
    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="adamw"
    learning_rate : float, default=0.002
        Of the head; that of the backbone is a share of it, see `FineTuning`.
    schedule : {"inverse", "cosine", "linear", "constant"} or callable, default="linear"
        Factor on all rates over the progress of the fit.
    batch_size : int, default=64
    max_epochs : int or "auto", default="auto"
        Passes over the rows. "auto": as many as make 400 steps, with an extractor that is trained
        at least 3 and at most 50, else at least 12 and at most 100.
    weight_decay : float, default=0.01
    dropout : float, default=0.5
        Share of units dropped in the bottleneck and hidden layers; a backbone has its own.
    class_weight : dict, "balanced" or None, default=None
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labels on target rows take part, where there are such rows.
    early_stopping : bool, "source", "target" or "auto", default="auto"
        Keep the best epoch by the loss on held-out rows; "auto" where at least 20 rows can be held
        out: the best of fewer is left to chance.
    validation_fraction : float, default=0.1
        Share of labelled rows held out.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    device, precision, compile, warm_start, checkpoint, callbacks, net_params, random_state, verbose
        As in `DomainAdaptationClassifier`, which describes all of them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : list of dict
        Losses, rate and seconds of each epoch.
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    FineTuning : What of the backbone is trained, when, and at which rate.
    DomainAdaptationClassifier : All attributes; with alignment to a target.

    Examples
    --------
    ``FineTuneClassifier(TextExtractor("bert-base-uncased"))`` is all that a pretrained model needs.
    Here a small network stands in for one:

    >>> import torch
    >>> from adaptlearn import FineTuneClassifier, TextExtractor
    >>> def tokenizer(texts):
    ...     return [list(text.encode()) for text in texts]
    >>> _ = torch.manual_seed(0)
    >>> extractor = TextExtractor(torch.nn.Embedding(128, 16), tokenizer=tokenizer)
    >>> texts = [f"{'great' if i % 2 else 'awful'} item number {i}" for i in range(60)]
    >>> labels = ["good" if i % 2 else "bad" for i in range(60)]
    >>> clf = FineTuneClassifier(extractor, max_epochs=20, learning_rate=0.03, random_state=0)
    >>> clf.fit(texts, labels).predict(["a great one", "an awful one"])
    array(['good', 'bad'], dtype='<U4')
    """

    target_sampling = "uniform"
    _auto_settled = None

    def __init__(
        self,
        backbone=None,
        *,
        finetune="auto",
        augment=None,
        hidden_layer_sizes=(256,),
        bottleneck=None,
        normalize="domain",
        criterion="cross_entropy",
        sampling="auto",
        label_shift="auto",
        prior=None,
        mixing=None,
        resampler=None,
        regularization=None,
        rehearsal=0,
        optimizer="adamw",
        learning_rate=2e-3,
        schedule="linear",
        batch_size=64,
        max_epochs="auto",
        weight_decay=1e-2,
        dropout=0.5,
        class_weight=None,
        target_labels="ignore",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        device="auto",
        precision="float32",
        compile=False,
        warm_start=False,
        checkpoint=None,
        callbacks=None,
        net_params=None,
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.finetune = finetune
        self.augment = augment
        self.hidden_layer_sizes = hidden_layer_sizes
        self.bottleneck = bottleneck
        self.normalize = normalize
        self.criterion = criterion
        self.sampling = sampling
        self.label_shift = label_shift
        self.prior = prior
        self.mixing = mixing
        self.resampler = resampler
        self.regularization = regularization
        self.rehearsal = rehearsal
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.class_weight = class_weight
        self.target_labels = target_labels
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.compile = compile
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose


class FineTuneRegressor(_WithoutTarget, DomainAdaptationRegressor):
    """Regressor that fine-tunes a pretrained network on a few rows with known values.

    `DomainAdaptationRegressor` without alignment, and with the settings that suit a pretrained
    network, as in `FineTuneClassifier`.

    Parameters
    ----------
    backbone : Extractor, nn.Module, class, factory or None, default=None
        What is fine-tuned: a `TextExtractor`, `ImageExtractor`, `AudioExtractor` or
        `ModuleExtractor` (X then is texts, images, sounds or arrays), a module (copied, never
        trained in place) or what makes one. None: a perceptron on numeric features.
    finetune : str or FineTuning, default="auto"
        "frozen", "head", "last:N", "gradual", "full" or "lora", or a `FineTuning` with more
        settings. "auto" is "gradual".
    augment : None, str, Augmentation, callable or list of these, default=None
        Changes the input of the network in training: "flip_crop", "color" or "rand_augment" for
        images, "token_dropout" for texts, "spec_augment" for sounds, "noise" for numbers, ...
    hidden_layer_sizes : tuple of int, default=(256,)
        Widths of the hidden layers between the features and the head; ``()`` is linear.
    bottleneck : int or None, default=None
        Width of a layer between backbone and head.
    normalize : {"domain", "source", "batch"} or None, default="domain"
        How numeric features, frozen embeddings and batch norm are normalised. Without target rows
        "domain" and "source" hardly differ.
    criterion : str or Criterion, default="mse"
        Task loss.
    sampling : {"instance"}, default="instance"
        Which rows a batch holds.
    regularization : None, "l2_sp", "ewc", "lwf", "delta" or Regularization, default=None
        Against forgetting what the pretrained network ("l2_sp", "delta") or earlier calls (all)
        learned. "delta" needs ``hidden_layer_sizes=()``.
    rehearsal : int, default=0
        Rows of earlier calls to keep and to train on again.
    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="adamw"
    learning_rate : float, default=0.002
        Of the head; that of the backbone is a share of it, see `FineTuning`.
    schedule : {"inverse", "cosine", "linear", "constant"} or callable, default="linear"
        Factor on all rates over the progress of the fit.
    batch_size : int, default=64
    max_epochs : int or "auto", default="auto"
        Passes over the rows. "auto": as many as make 400 steps, with an extractor that is trained
        at least 3 and at most 50, else at least 12 and at most 100.
    weight_decay : float, default=0.01
    dropout : float, default=0.5
        Share of units dropped in the bottleneck and hidden layers; a backbone has its own.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labels on target rows take part, where there are such rows.
    early_stopping : bool, "source", "target" or "auto", default="auto"
        Keep the best epoch by the loss on held-out rows; "auto" where at least 20 rows can be held
        out: the best of fewer is left to chance.
    validation_fraction : float, default=0.1
        Share of labelled rows held out.
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    device, precision, compile, warm_start, checkpoint, callbacks, net_params, random_state, verbose
        As in `DomainAdaptationRegressor`, which describes all of them.

    Attributes
    ----------
    history_ : list of dict
        Losses, rate and seconds of each epoch.
    net_ : skorch.NeuralNet
        The trained net.

    See Also
    --------
    FineTuning : What of the backbone is trained, when, and at which rate.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from adaptlearn import FineTuneRegressor, ImageExtractor
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU())
    >>> rng = np.random.default_rng(0)
    >>> brightness = rng.uniform(50, 200, 60)
    >>> photos = rng.normal(brightness[:, None, None, None], 20, (60, 16, 16, 3))
    >>> photos = photos.clip(0, 255).astype(np.uint8)
    >>> extractor = ImageExtractor(network, image_size=16)
    >>> reg = FineTuneRegressor(extractor, batch_size=8, learning_rate=0.03, random_state=0)
    >>> bool(reg.fit(photos, brightness).score(photos, brightness) > 0.9)
    True
    """

    def __init__(
        self,
        backbone=None,
        *,
        finetune="auto",
        augment=None,
        hidden_layer_sizes=(256,),
        bottleneck=None,
        normalize="domain",
        criterion="mse",
        sampling="instance",
        regularization=None,
        rehearsal=0,
        optimizer="adamw",
        learning_rate=2e-3,
        schedule="linear",
        batch_size=64,
        max_epochs="auto",
        weight_decay=1e-2,
        dropout=0.5,
        target_labels="ignore",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        device="auto",
        precision="float32",
        compile=False,
        warm_start=False,
        checkpoint=None,
        callbacks=None,
        net_params=None,
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.finetune = finetune
        self.augment = augment
        self.hidden_layer_sizes = hidden_layer_sizes
        self.bottleneck = bottleneck
        self.normalize = normalize
        self.criterion = criterion
        self.sampling = sampling
        self.regularization = regularization
        self.rehearsal = rehearsal
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.target_labels = target_labels
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.precision = precision
        self.compile = compile
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.net_params = net_params
        self.random_state = random_state
        self.verbose = verbose
