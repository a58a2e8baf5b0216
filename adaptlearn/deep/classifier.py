"""The deep domain adaptation classifier."""

from __future__ import annotations

import numpy as np

from ..imbalance.sampling import nearest_sampling
from ._class_labels import ClassLabelsMixin
from ._class_prediction import PredictionMixin
from ._mixing import make_mixing
from ._raw import is_extractor
from ._retention import RetentionMixin
from .base import DeepEstimator
from .finetune import settings_of, settled_mode
from .persistence import SaveMixin


class DomainAdaptationClassifier(
    SaveMixin, PredictionMixin, ClassLabelsMixin, RetentionMixin, DeepEstimator
):
    """Neural network that classifies rows of an unlabelled target domain.

    It trains on labelled source rows and unlabelled target rows together: a task loss on the
    source, alignment losses that make target features look like source features, and
    normalisation with the statistics of each domain.

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
        such as ``CORAL(weight=10)``, several in a list. "auto" is ``["spl", "entropy", "mmd"]``:
        selective pseudo-labels (`SPL`), a little entropy (`Entropy`), and `MMD` under the target's
        class proportions; or ``["mcc", "mmd"]`` where classes that hold a quarter of the source
        are estimated to have less than half their share on the target: pseudo-labels go wrong
        there. With two classes and ``label_shift="auto"`` it is ``["spl", "mmd"]``, or
        ``["spl"]`` where a linear model counts proportions on the target that differ by more
        than .1 from those on the source: `MMD` pulls on what only proportions moved. With
        ``normalize="domain"`` it gave a mean target accuracy of .69 on gas drift, .53 on
        Office-Caltech SURF and .63 on MNIST/USPS (logistic regression on the source: .53, .46,
        .27; ``python -m adaptlearn.benchmark accuracy``). These three decided, but for two
        choices: `MCC`, about as good on them, fell below source-only on Amazon reviews and
        heart; and `MMD` is there because it helps on Amazon reviews.
    alignment_weight : float, default=1.0
        Factor >= 0 on the weights of all alignments.
    normalize : {"domain", "source", "batch"} or None, default="domain"
        "domain": each domain is standardised with its own statistics, at fit and at predict; the
        source's are re-weighted to the target's class proportions
        (`adaptlearn.imbalance.estimate_target_prior`), and so are its rows in every alignment, so
        that other proportions do not pass for moved inputs. With two classes nothing tells these
        apart: the target then has the source's statistics, but for columns that moved by several
        standard deviations. Columns that mostly hold one value (border pixels, rare words) count
        down to half as much as others; discrete columns (at most ten values, which the domains
        share) have one mean and standard deviation for all domains. Batch norm inside a backbone
        keeps statistics per domain. "source": inputs use
        the source's statistics. "batch": the same, with batch norm after each hidden layer.
        None: inputs as they are. Standardised inputs are clipped to [-3, 3]. Rows that are not
        vectors (images) are never rescaled; the features that a pretrained backbone gives at first
        are.
    criterion : str or Criterion, default="cross_entropy"
        Task loss on labelled rows: "cross_entropy", "focal", "asymmetric", or, against rare
        classes, "class_balanced", "ldam" and "logit_adjusted", or an object from
        `adaptlearn.imbalance` such as ``LogitAdjusted(tau=0.5)``. The three that rebalance
        go only with ``sampling="auto"`` or "instance", and without `class_weight`, `resampler` or
        a `mixing` that rebalances.
    sampling : str, default="auto"
        Labelled batches: "instance", every row equally often; "balanced", every class equally
        often; "sqrt", by the square root of its rows; "progressive", from instance to balanced
        over the training; "domain_balanced", every domain equally often and every class within
        it. "auto" is the one of the first three whose classes come closest to the estimated
        proportions of the target; "instance" without an estimate, and where `criterion`,
        `class_weight`, `mixing` or `resampler` counters imbalance already. Where the target's
        class proportions were estimated, alignments weight the source rows by q_T(y) / q_S(y) of
        what is drawn, so that nothing is corrected twice.
    target_sampling : {"uniform", "pseudo_balanced"}, default="uniform"
        Target batches: every row equally often, or every class of the network's own labels, made
        anew each epoch (after the first tenth of the training).
    label_shift : {"auto", "bbse", "rlls", "mlls"} or None, default="auto"
        How the class proportions of the target are estimated, before training. They decide the
        statistics of ``normalize="domain"``, the weights of source rows in every alignment, and
        ``prior="target"``. "auto" allows for inputs that moved as well
        (`adaptlearn.imbalance.estimate_target_prior`); it needs columns of numbers, 20 rows a side
        and three classes, and takes the source's proportions otherwise. "bbse", "rlls" and "mlls"
        take it that only the proportions changed: see `adaptlearn.imbalance.estimate_label_shift`.
        They train the network three more times, without alignment, on two thirds of the source,
        for held-out predictions. Texts, images and sounds are read through the embeddings of the
        extractor, before it is trained. None: the target is taken to have the source's
        proportions.
    prior : {"source", "uniform", "target"}, array-like of shape (n_classes,) or None, default=None
        Class proportions that predictions are for; read at predict, so it can be changed without
        another fit. None: as trained. "target": the estimated ones, for accuracy on target rows
        (source rows are answered under the source's). "uniform": every class counts the same, for
        balanced accuracy. "source": those of the labelled source rows. An array: proportions that
        you know, in the order of `classes_`. What `sampling`, `criterion` and weights did to the
        trained proportions is divided out, so that nothing is corrected twice.
    mixing : None, "mixup", "remix", "smote", "cutmix" or Mixing, default=None
        Labelled rows that the task loss is taken on, made anew in each batch among the features:
        pairs of a row and one of any class ("mixup", `Mixup`), the same with labels that lean to
        the rarer class ("remix", `Remix`), or more rows of rare classes ("smote", `FeatureSMOTE`).
        Alignments see the rows as they are. These counter imbalance, so they go neither with a
        criterion that does nor with `class_weight`; ``Mixup(balanced=False)`` does not. Nor does
        "cutmix" (`CutMix`), which cuts boxes out of images in a 4-D X.
    resampler : imbalanced-learn sampler, DomainResampler or None, default=None
        Resamples the labelled rows of each domain before training, ``SMOTE()`` for example;
        unlabelled rows stay as they are. For numeric input of two dimensions; neighbours are found
        among the columns as given, so put a scaler before where their units differ. A made-up row
        has the mean weight of its class in its domain. The statistics of `normalize` are those of
        the rows as given. A sampler without a ``random_state`` follows that of the estimator.
    regularization : None, "l2_sp", "ewc", "lwf", "delta" or Regularization, default=None
        Against forgetting: distance to the weights that a call begins from (`L2SP`), to those of
        earlier calls where they matter (`EWC`), to old outputs (`LwF`) or features (`Delta`). From
        the second ``partial_fit`` (or ``fit`` with `warm_start`) on; `L2SP` and `Delta` also in a
        first fit with a `backbone`, taken as pretrained (`Delta` without layers of your own above
        it: ``hidden_layer_sizes=()``).
    rehearsal : int, default=0
        Source rows of earlier calls to keep, as many of each class in each domain, and to train on
        again in later ones. They are held as given, in memory and in pickles.
    optimizer : {"sgd", "adam", "adamw"} or torch optimizer class, default="adamw"
        "sgd" has Nesterov momentum 0.9.
    learning_rate : float, default=0.001
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
    dropout : float, default=0.5
        Share of hidden units dropped, in [0, 1).
    class_weight : dict, "balanced" or None, default=None
        Weight of each class in the task loss, as in scikit-learn. "balanced" goes with
        ``sampling="auto"`` or "instance" alone.
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labels on target rows take part in training.
    early_stopping : bool, "source", "target" or "auto", default=False
        Hold out source rows and keep the best epoch: by their loss ("source"), or by their loss
        plus the guarded entropy of target predictions ("target", what True means). "auto": by
        their loss, where at least 20 rows are held out and no `resampler` copies rows.
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
    classes_ : ndarray of shape (n_classes,)
        Class labels; never contains the mask.
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Column names, when X is a frame with string names.
    target_prior_ : ndarray of shape (n_classes,) or None
        Estimated class proportions of the target rows.
    source_prior_ : ndarray of shape (n_classes,)
        Class proportions of the labelled source rows.
    alignment_ : list of Alignment
        What was trained; tells what ``alignment="auto"`` came to.
    sampling_ : str
        What ``sampling="auto"`` came to.
    history_ : list of dict
        Losses, rate and seconds of each epoch.
    net_ : skorch.NeuralNet
        The trained net: ``net_.module_`` is the network, ``net_.history`` skorch's own record.

    See Also
    --------
    adaptlearn.pack : Source and target rows in one ``X, y``, for pipelines and searches.
    DomainAdaptationRegressor : The same for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import DomainAdaptationClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> X_source = rng.normal(size=(200, 2)) + 3 * y[:, None]
    >>> X_target = 5 * X_source[:100] + 20  # another unit, another offset
    >>> clf = DomainAdaptationClassifier(max_epochs=5, random_state=0)
    >>> clf = clf.fit(X_source, y, X_target=X_target)
    >>> bool(clf.score(X_target, y[:100]) > 0.9)
    True
    """

    _slots = ("alignment", "augment", "criterion", "finetune", "mixing", "regularization")
    _auto_alignment = ("spl", "entropy", "mmd")
    # What it comes to with label_shift, by whether "auto" has two classes and whether their
    # proportions changed. Pseudo-labels go wrong where classes are all but gone, MMD pulls on what
    # only proportions moved; of two classes the pseudo-labels are the hedged ones.
    _auto_settled = {
        (False, False): _auto_alignment,
        (False, True): ("mcc", "mmd"),
        (True, False): ("spl", "mmd"),
        (True, True): ("spl",),
    }

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
        criterion="cross_entropy",
        sampling="auto",
        target_sampling="uniform",
        label_shift="auto",
        prior=None,
        mixing=None,
        resampler=None,
        regularization=None,
        rehearsal=0,
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="inverse",
        batch_size=64,
        max_epochs="auto",
        weight_decay=1e-2,
        dropout=0.5,
        class_weight=None,
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
        self.target_sampling = target_sampling
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

    def partial_fit(self, X, y, *, classes=None, sample_domain=None, sample_weight=None):
        """Train one more epoch on these rows.

        Parameters
        ----------
        X, y, sample_domain, sample_weight
            As in ``fit``. The first call settles domains, classes and input statistics.
            A sequence of domains needs no ``sample_domain``; numbers that the first call had not
            raise.
        classes : array-like, optional
            All classes, at the first call; default the labels of that call.

        Returns
        -------
        self : object
        """
        fresh = not hasattr(self, "net_")
        self._given_classes = None if classes is None else np.unique(classes)
        try:
            self._fit(X, y, sample_domain, None, sample_weight, fresh, epochs=1)
            return self
        finally:
            del self._given_classes

    def _settle(self, shift):
        """What ``alignment="auto"`` comes to once the class proportions are known, else None."""
        if self.alignment != "auto" or self._auto_settled is None or shift is None:
            return None
        two_classes = len(shift.source_prior) == 2 and self.label_shift == "auto"
        return self._auto_settled[two_classes, shift.changed]

    def _settle_sampling(self, criterion, class_counts, shift):
        """Sampling of a fit once the class proportions are known."""
        if self.sampling != "auto":
            return self.sampling
        mixing = make_mixing(self.mixing)
        balanced_otherwise = (
            criterion.rebalances
            or self.class_weight is not None
            or self.resampler is not None
            or (mixing is not None and mixing.rebalances)
        )
        if shift is None or balanced_otherwise:
            return "instance"
        return nearest_sampling(class_counts.numpy(), shift.target_prior)

    def _unaligned(self, seed):
        """Unfitted classifier like this one, of the source alone: nothing corrected or aligned."""
        params = {n: getattr(self, n) for n in DomainAdaptationClassifier._get_param_names()}
        params |= {
            "alignment": None,
            "label_shift": None,
            "prior": None,
            "normalize": "source" if self.normalize == "domain" else self.normalize,
            "target_sampling": "uniform",
            "early_stopping": False,
            "warm_start": False,
            "checkpoint": None,
            "callbacks": None,
            "regularization": None,
            "rehearsal": 0,
            "random_state": seed,
            "verbose": 0,
        }
        mode = settled_mode(self)
        if is_extractor(self.backbone):  # proportions are estimated from embeddings
            params |= {"backbone": None, "finetune": "auto", "augment": None}
        elif mode != "plain":  # what "auto" is differs between classes
            params["finetune"] = settings_of(self.finetune).set_params(mode=mode)
        return DomainAdaptationClassifier(**params)
