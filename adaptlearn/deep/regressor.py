"""The deep domain adaptation regressor."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from ._retention import RetentionMixin
from .base import DeepEstimator
from .persistence import SaveMixin


class DomainAdaptationRegressor(SaveMixin, RegressorMixin, RetentionMixin, DeepEstimator):
    """Neural network that predicts a number on rows of an unlabelled target domain.

    As `DomainAdaptationClassifier`, with a numeric `y`; NaN masks the rows without a label. `y` is
    standardised with the source's mean and scale inside.

    Parameters
    ----------
    backbone : None, Extractor, nn.Module, class or factory, default=None
        None: a multi-layer perceptron on numeric features. An extractor (`TextExtractor`,
        `ImageExtractor`, `AudioExtractor`, `ModuleExtractor`): X then is texts, images, sounds or
        arrays as it takes them. A module is copied, never trained in place. A class or factory is
        called with the number of features if it requires an argument (the shape of one row for
        image-like input). Its output is flattened to (n_rows, ...).
    finetune : str or FineTuning, default="auto"
        How the backbone is trained: "frozen", "head", "last:N", "gradual", "full" or "lora", or a
        `FineTuning` with more settings. "auto" embeds the rows of an extractor once, and trains a
        module with the rest of the network.
    augment : None, str, Augmentation, callable or list of these, default=None
        Changes the input of the network in training: "flip_crop", "color" or "rand_augment" for
        images, "token_dropout" for texts, "spec_augment" for sounds, "noise" for numbers, an object
        such as ``FlipCrop(flip=0)`` (see `Augmentation`), several in a list; or a function of a
        dict of tensors (rows first) and a generator that returns such a dict.
    hidden_layer_sizes : tuple of int, default=(256,)
        Widths of the perceptron's hidden layers; ``()`` is linear. For numeric features
        and behind a pretrained backbone; ignored with a module under ``finetune="auto"``.
    bottleneck : int or None, default=None
        Width of the layer between backbone and head: the features that are aligned, and what
        ``transform`` returns. None: the backbone's output is.
    alignment : None, str, Alignment, list of these or "auto", default="auto"
        What makes target features like source features: "coral", "mmd", "dann", ... or an object
        such as ``CORAL(weight=10)``, several in a list. "auto" is "coral".
    alignment_weight : float, default=1.0
        Factor >= 0 on the weights of all alignments.
    normalize : {"domain", "source", "batch"} or None, default="domain"
        "domain": each domain is standardised with its own statistics, at fit and at predict, and
        so is batch norm inside a backbone; columns that mostly hold one value count down to half
        as much as others, and discrete columns (at most ten values, which the domains share) have
        one mean and standard deviation for all domains. "source": inputs use the source's
        statistics. "batch": the same, with batch norm after each hidden layer. None: inputs as
        they are. Rows that are not vectors (images) are never rescaled.
    criterion : str or Criterion, default="mse"
        Task loss on labelled rows: "mse", "huber", "density_weighted" (rare values count more), or
        an object from `adaptlearn.imbalance`.
    sampling : {"instance"}, default="instance"
        Labelled batches: every row equally often. The other ways need classes.
    regularization : None, "l2_sp", "ewc", "lwf", "delta" or Regularization, default=None
        Against forgetting: distance to the weights that a call begins from (`L2SP`), to those of
        earlier calls where they matter (`EWC`), to old outputs (`LwF`) or features (`Delta`). From
        the second ``partial_fit`` (or ``fit`` with `warm_start`) on; `L2SP` and `Delta` also in a
        first fit with a `backbone`, taken as pretrained (`Delta` without layers of your own above
        it: ``hidden_layer_sizes=()``).
    rehearsal : int, default=0
        Source rows of earlier calls to keep, as many of each domain, and to train on again in
        later ones. They are held as given, in memory and in pickles.
    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="adamw"
        "sgd" has Nesterov momentum 0.9.
    learning_rate : float, default=0.003
        Initial rate, > 0.
    schedule : {"inverse", "cosine", "linear", "constant"} or callable, default="inverse"
        Factor on the rate over the progress p of this fit, from 0 to 1. "inverse" is
        :math:`(1 + 10 p)^{-3/4}`.
    batch_size : int, default=64
        Rows of each side in a step.
    max_epochs : int or "auto", default="auto"
        Passes over the longer side; the shorter one is repeated. "auto": as many as make 400
        steps, at least 12 and at most 100 (with an extractor that is trained 3 and 50).
    weight_decay : float, default=0.01
        L2 penalty, >= 0.
    dropout : float, default=0.0
        Share of hidden units dropped, in [0, 1).
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labels on target rows take part in training.
    early_stopping : bool, "source", "target" or "auto", default=False
        Hold out source rows and keep the epoch with the lowest loss on them; numbers say nothing of
        the target, so True, "source" and "target" are the same here. "auto": where at least 20 rows
        are held out.
    validation_fraction : float, default=0.1
        Share of source rows held out, in (0, 1).
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops.
    device : str, default="auto"
        "auto": a CUDA device when there is one.
    precision : {"float32", "float64", "bfloat16"}, default="float32"
        "bfloat16" is mixed precision.
    compile : bool, default=False
        Whether to compile the network with ``torch.compile``.
    warm_start : bool, default=False
        Whether ``fit`` continues from the last one. What makes the network, its losses, its batches
        and its input statistics then stays as it was; `learning_rate`, `schedule`, `batch_size`,
        `max_epochs` and early stopping are as they are set now.
    checkpoint : path-like, optional
        Directory for checkpoints. The same call, repeated after an interruption, resumes from the
        last whole epoch and ends as if undisturbed.
    callbacks : list of skorch callbacks, optional
        Copied before use.
    net_params : dict, optional
        Settings of the skorch net, ``{"optimizer__eps": 1e-6}``.
    random_state : int, RandomState or None, default=None
        With an integer, two fits on one machine give bit-equal weights.
    verbose : int, default=0
        0 silent, 1 one progress bar for the fit, 2 a line an epoch.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Column names, when X is a frame with string names.
    history_ : list of dict
        Losses, rate and seconds of each epoch.
    net_ : skorch.NeuralNet
        The trained net.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import DomainAdaptationRegressor
    >>> rng = np.random.default_rng(0)
    >>> X_source = rng.normal(size=(300, 2))
    >>> y = X_source @ [1.0, -2.0] + 3
    >>> X_target = 5 * X_source[:100] + 20
    >>> reg = DomainAdaptationRegressor(max_epochs=20, random_state=0)
    >>> reg = reg.fit(X_source, y, X_target=X_target)
    >>> bool(reg.score(X_target, y[:100]) > 0.8)
    True
    """

    _slots = ("alignment", "augment", "criterion", "finetune", "regularization")
    _regression = True
    _auto_alignment = "coral"

    def __init__(
        self,
        *,
        backbone=None,
        finetune="auto",
        augment=None,
        hidden_layer_sizes=(256,),
        bottleneck=None,
        alignment="auto",
        alignment_weight=1.0,
        normalize="domain",
        criterion="mse",
        sampling="instance",
        regularization=None,
        rehearsal=0,
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="inverse",
        batch_size=64,
        max_epochs="auto",
        weight_decay=1e-2,
        dropout=0.0,
        target_labels="ignore",
        early_stopping=False,
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
        self.alignment = alignment
        self.alignment_weight = alignment_weight
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

    def partial_fit(self, X, y, *, sample_domain=None, sample_weight=None):
        """Train one more epoch on these rows.

        Parameters
        ----------
        X, y, sample_domain, sample_weight
            As in ``fit``. The first call settles domains and the statistics of inputs and y.
            A sequence of domains needs no ``sample_domain``; numbers that the first call had not
            raise.

        Returns
        -------
        self : object
        """
        fresh = not hasattr(self, "net_")
        self._fit(X, y, sample_domain, None, sample_weight, fresh, epochs=1)
        return self

    def predict(self, X, *, sample_domain=None):
        """Predicted number of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        values = self._forward(X, sample_domain)[1][:, 0]
        return values * self._y_scale + self._y_mean

    def score(self, X, y, sample_weight=None, *, sample_domain=None):
        """Coefficient of determination on the labelled rows.

        When `y` holds NaN, its labelled rows are source rows and are predicted as such; when it
        holds none, all rows are target rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        sample_weight : array-like of shape (n_rows,), optional
        sample_domain : int or array-like of shape (n_rows,), optional

        Returns
        -------
        float
        """
        y, predicted, weight = self._predict_labelled(X, y, sample_weight, sample_domain)
        return r2_score(y, predicted, sample_weight=weight)

    _n_outputs = 1

    def _encode(self, fit_rows, fresh):
        """Standardised targets, task weights and the targets of the labelled rows."""
        source = fit_rows.labelled & (fit_rows.domain >= 0)
        if fresh:
            y = fit_rows.y[source]
            weight = None if fit_rows.weight is None else fit_rows.weight[source]
            self._y_mean = float(np.average(y, weights=weight))
            self._y_scale = (
                float(np.sqrt(np.average((y - self._y_mean) ** 2, weights=weight))) or 1.0
            )
        values = np.where(fit_rows.labelled, (fit_rows.y - self._y_mean) / self._y_scale, 0.0)
        return values, fit_rows.weight, torch.from_numpy(values[fit_rows.labelled])
