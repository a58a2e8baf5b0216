"""One network for several tasks: a shared body and a head for each column of y."""

from __future__ import annotations

from ._task_alignment import PerTask
from ._task_building import TaskBuildingMixin
from ._task_encoding import TaskLabelMixin
from ._task_prediction import TaskPredictionMixin
from .base import DeepEstimator
from .persistence import SaveMixin


class MultiTaskClassifier(
    SaveMixin, TaskPredictionMixin, TaskLabelMixin, TaskBuildingMixin, DeepEstimator
):
    r"""Neural network for several tasks at once, each with its own head on shared features.

    `y` has a column for each task, and any label may be missing: -1 (or "-1" among strings), NaN,
    None or ``pd.NA``; in a regression task NaN, None or ``pd.NA``. A row with a label of some task
    trains the shared layers and the heads of those tasks, so a task with few labels learns from
    the rows of the others. Tasks may be classification or regression, in any mixture.

    Rows of an unlabelled target take part as in `DomainAdaptationClassifier`: rows without any
    label, rows that ``sample_domain`` marks, or ``X_target=``.

    Parameters
    ----------
    tasks : {"auto", "classification", "regression"}, list or dict of these, default="auto"
        Kind of each column of y, in a list, or in a dict by name of the column (its number, when y
        is an array). "auto": numbers with fractions are regression, everything else is classes.
    task_weighting : str, TaskWeighting or array-like of shape (n_tasks,), default="uniform"
        How the task losses become one. "uniform": their mean. "uncertainty": by the noise of each
        task, learned (`UncertaintyWeighting`). "gradnorm": so that all tasks train at like rates
        (`GradNorm`). An array: weights of a weighted mean.
    backbone : None, Extractor, nn.Module, class or factory, default=None
        None: a multi-layer perceptron on numeric features. An extractor (`TextExtractor`,
        `ImageExtractor`, ...): X then is what it takes. A module is copied, never trained in
        place. A class or factory is called with the number of features if it requires an argument
        (the shape of one row for image-like input). Its output is flattened to (n_rows, ...).
    finetune : str or FineTuning, default="auto"
        How the backbone is trained: "frozen", "head", "last:N", "gradual", "full" or "lora", or a
        `FineTuning` with more settings. "auto" embeds the rows of an extractor once, and trains a
        module with the rest of the network.
    augment : None, str, Augmentation, callable or list of these, default=None
        Changes the input of the network in training: "flip_crop", "token_dropout", ..., an
        `Augmentation`, several in a list, or a function; as in `DomainAdaptationClassifier`.
    hidden_layer_sizes : tuple of int, default=(256,)
        Widths of the perceptron's hidden layers; ``()`` is linear, and then nothing is shared. For
        numeric features and behind a pretrained backbone; ignored with a module under
        ``finetune="auto"``.
    bottleneck : int or None, default=None
        Width of the layer between backbone and heads: the features that are aligned, and what
        ``transform`` returns. None: the backbone's output is.
    alignment : None, str, Alignment, list of these or "auto", default="auto"
        What makes target features like source features: "coral", "mmd", "dann", ... or an object
        such as ``CORAL(weight=10)``, several in a list. Those that compare features act once on
        the shared ones; those that read class scores ("cdan", "mcc", "spl", "entropy", "jmmd") act
        on the tasks of `alignment_tasks`, and the mean counts. "auto" is
        ``["spl", "entropy", "mmd"]``, or "coral" where all tasks are regression.
    alignment_tasks : list or None, default=None
        Names of the classification tasks (columns of y, or their numbers) whose class scores
        alignments read; None: all.
    alignment_weight : float, default=1.0
        Factor >= 0 on the weights of all alignments.
    normalize : {"domain", "source", "batch"} or None, default="domain"
        "domain": each domain is standardised with its own statistics, at fit and at predict, and
        so is batch norm inside a backbone; columns that mostly hold one value count down to half
        as much as others, and discrete columns (at most ten values, which the domains share) have
        one mean and standard deviation for all domains. "source": inputs use the source's
        statistics. "batch": the same, with batch norm after each hidden layer. None: inputs as
        they are. Standardised inputs are clipped to [-3, 3] unless a task is regression. Rows that
        are not vectors (images) are never rescaled.
    criterion : "auto", str, Criterion, list or dict of these, default="auto"
        Task loss. "auto": "cross_entropy" for classes, "mse" for numbers. A name or an object from
        `adaptlearn.imbalance` counts for the tasks of its kind; a list has one entry per task, a
        dict some by name. "ldam" is left out: it needs a head of its own form.
    sampling : {"tasks", "instance"}, default="tasks"
        Labelled batches, where labels are missing: "tasks", rows with a label of a rare task more
        often, so that each batch holds labels of every task; the losses are weighted to match.
        "instance", every row equally often.
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
    target_labels : {"ignore", "use"}, default="ignore"
        Whether labels on target rows take part in training.
    early_stopping : bool, default=False
        Hold out source rows, labels of each task in proportion, and keep the epoch with the lowest
        mean task loss on them.
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
    classes_ : list of ndarray
        Class labels of each task, None in regression. The array itself when `y` was
        one-dimensional, as in scikit-learn's trees.
    tasks_ : list of {"classification", "regression"}
        Kind of each task.
    task_names_ : list
        Columns of y: names, or 0, 1, ...
    task_weights_ : ndarray of shape (n_tasks,)
        Factors on the task losses at the end of training, before the mean over tasks.
    alignment_ : list of Alignment
        What was trained; tells what ``alignment="auto"`` came to.
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Column names, when X is a frame with string names.
    history_ : list of dict
        Losses, of each task too, rate and seconds of each epoch.
    net_ : skorch.NeuralNet
        The trained net. The head is one linear layer; the tasks own columns of its output.

    See Also
    --------
    DomainAdaptationClassifier : One task.
    adaptlearn.pack : Source and target rows in one ``X, y``; `y` may have several columns.

    Notes
    -----
    The loss of task i is :math:`L_i = \sum_j w_j \ell_{ji} / \sum_j w_j` over its labelled rows j,
    in expectation over batches. A missing label gives a gradient of exactly zero. In regression y
    is standardised inside.

    Labels that are exactly {-1, 1} in all class columns, with no domain given in any way, are two
    classes, as in the other estimators.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import MultiTaskClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> y = np.column_stack([X[:, 0] > 0, X[:, 0] + X[:, 1] > 0]).astype(int)
    >>> y[30:, 1] = -1  # the second task has 30 labels
    >>> X_target = 3 * rng.normal(size=(200, 3)) + 10
    >>> clf = MultiTaskClassifier(max_epochs=20, random_state=0).fit(X, y, X_target=X_target)
    >>> clf.predict(X_target).shape
    (200, 2)
    >>> clf.tasks_
    ['classification', 'classification']
    """

    _slots = ("alignment", "augment", "criterion", "finetune", "task_weighting")
    _auto_alignment = ("spl", "entropy", "mmd")

    def __init__(
        self,
        *,
        tasks="auto",
        task_weighting="uniform",
        backbone=None,
        finetune="auto",
        augment=None,
        hidden_layer_sizes=(256,),
        bottleneck=None,
        alignment="auto",
        alignment_tasks=None,
        alignment_weight=1.0,
        normalize="domain",
        criterion="auto",
        sampling="tasks",
        optimizer="adamw",
        learning_rate=1e-3,
        schedule="inverse",
        batch_size=64,
        max_epochs="auto",
        weight_decay=1e-2,
        dropout=0.5,
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
        self.tasks = tasks
        self.task_weighting = task_weighting
        self.backbone = backbone
        self.finetune = finetune
        self.augment = augment
        self.hidden_layer_sizes = hidden_layer_sizes
        self.bottleneck = bottleneck
        self.alignment = alignment
        self.alignment_tasks = alignment_tasks
        self.alignment_weight = alignment_weight
        self.normalize = normalize
        self.criterion = criterion
        self.sampling = sampling
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

    def fit(self, X, y, *, sample_domain=None, X_target=None, sample_weight=None):
        """Fit on rows with labels of any task, and on unlabelled target rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features) or (n_rows, ...)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows, n_tasks) or (n_rows,)
            Labels of each task, an array, an array of objects or a frame; -1, "-1", NaN, None or
            ``pd.NA`` where one is missing.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain. Without it, rows without any label
            are the target.
        X_target : {array-like, sparse matrix} of shape (n_target, ...), optional
            Target rows, for direct fits; all rows of X are source rows then.
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row in the losses of all tasks.

        Returns
        -------
        self : object
        """
        fresh = not (self.warm_start and hasattr(self, "net_"))
        self._fit(X, y, sample_domain, X_target, sample_weight, fresh, self.max_epochs)
        return self

    def partial_fit(self, X, y, *, classes=None, sample_domain=None, sample_weight=None):
        """Train one more epoch on these rows.

        Parameters
        ----------
        X, y, sample_domain, sample_weight
            As in ``fit``. The first call settles tasks, domains, classes and input statistics.
            A sequence of domains needs no ``sample_domain``; numbers that the first call had not
            raise.
        classes : list of array-like, optional
            All classes of each task (None in regression), at the first call; default the labels
            of that call. The classes themselves for a one-dimensional `y`.

        Returns
        -------
        self : object
        """
        fresh = not hasattr(self, "net_")
        if classes is not None:
            self._given_classes = classes
        try:
            self._fit(X, y, sample_domain, None, sample_weight, fresh, epochs=1)
            return self
        finally:
            vars(self).pop("_given_classes", None)

    @property
    def classes_(self):
        """Class labels of each task."""
        return self._task_classes[0] if self._one_column else list(self._task_classes)

    @property
    def alignment_(self):
        """The alignments that were trained."""
        trained = self.net_.criterion_.alignments
        return [a.alignment if isinstance(a, PerTask) else a for a in trained]

    @property
    def task_weights_(self):
        """Factors on the task losses at the end of training."""
        return self.net_.criterion_.current_weights()
