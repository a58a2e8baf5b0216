"""Re-training the head of a deep classifier, for long tails."""

from __future__ import annotations

import copy
from numbers import Integral, Real

import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from .._compat import Interval, StrOptions, validate_parameter_constraints
from .._containers import as_container, n_rows
from .._domains import read_fit
from ..imbalance._wrapper import ClassifierWrapper
from ._head_training import balanced_descent, best_tau, labelled_rows, normalise, rescale
from ._network import CosineHead
from ._trainer import draw_seed, own_randomness
from .classifier import DomainAdaptationClassifier


class HeadRetrainer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierWrapper):
    r"""Deep classifier whose head is trained anew for rare classes, its features left alone.

    Long tails harm the last layer more than the features below it. So the network is trained as
    usual, and then the head alone is corrected, with weights :math:`w_c` and bias :math:`b_c`:

    - ``"crt"``: a new head of the same kind, trained by cross-entropy on batches that hold every
      class equally often.
    - ``"lws"``: :math:`f_c (w_c \cdot x + b_c)` with the head fixed and one factor per class,
      learned in the same way.
    - ``"tau_norm"``: :math:`w_c \cdot x / \lVert w_c \rVert^\tau`, without a bias and without
      training.

    Parameters
    ----------
    estimator : DomainAdaptationClassifier, a preset, or FrozenEstimator of a fitted one
        A clone is fitted first. With ``sklearn.frozen.FrozenEstimator(fitted)`` only the head is
        trained, on a copy: the estimator given does not change.
    method : {"crt", "lws", "tau_norm"}, default="crt"
        A cosine head (criterion "ldam") has weights of one length by itself and goes with "crt"
        alone.
    tau : float or "auto", default=1.0
        Exponent >= 0 of ``"tau_norm"``: 0 only drops the bias, 1 gives all classes weights of
        length 1. "auto" is the one of 0, 0.1, ..., 1 with the best balanced accuracy on the
        labelled rows; the largest of several best. See Notes for which rows these are.
    n_steps : int, default=1000
        Steps of "crt" and "lws", >= 1.
    batch_size : int, default=256
        Rows of a step, >= 1.
    learning_rate : float, default=0.01
        Initial rate of AdamW, > 0; it falls to 0 along half a cosine.
    weight_decay : float, default=0.01
        L2 penalty of "crt", >= 0. The factors of "lws" have none.
    random_state : int, RandomState or None, default=None
        Seed of the new head and its batches. With an integer, also of an `estimator` that is
        fitted here and has none of its own; two fits then give bit-equal weights.

    Attributes
    ----------
    estimator_ : DomainAdaptationClassifier
        The fitted estimator with the re-trained head. It predicts, and can be saved.
    head_ : nn.Module
        The re-trained head, ``estimator_.net_.module_.head``.
    scales_ : ndarray of shape (n_classes,) or None
        What the weights of each class were multiplied with; None for "crt".
    tau_ : float or None
        The exponent of "tau_norm"; None for the others.
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of str
        Column names, when X is a frame with string names.

    See Also
    --------
    TunedThresholdsClassifier : One offset per class, for any classifier.

    Notes
    -----
    The head is trained on the rows whose labels the estimator itself may use (source rows; labelled
    target rows with its ``target_labels="use"``). Their features are computed once, each with the
    statistics of its own domain, without dropout. Its ``class_weight`` has no part in it.

    The network was trained on these rows, so they are not held out, and ``tau="auto"`` is
    optimistic about rare classes. To choose tau on held-out rows, keep labelled source rows back,
    fit the estimator without them, and give ``FrozenEstimator(fitted)`` and those rows.

    Networks trained for a few hundred steps differ little in the length of their weights, and the
    old head hardly knows the rarest classes: "crt" helps most by far.

    Learn the features with ``sampling="instance"`` and a plain loss: Kang et al. found them best.
    After "crt" and "lws" the probabilities stand for equally frequent classes; those of "tau_norm"
    are taken to, which a small tau does not reach.

    References
    ----------
    Kang et al., "Decoupling representation and classifier for long-tailed recognition", 2020,
    section 4. Differs from the paper: AdamW instead of SGD, a number of steps instead of epochs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.frozen import FrozenEstimator
    >>> from adaptlearn import DomainAdaptationClassifier, HeadRetrainer
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], [300, 15])
    >>> X = rng.normal(size=(315, 2)) + 2 * y[:, None]
    >>> clf = DomainAdaptationClassifier(max_epochs=5, label_shift=None, random_state=0)
    >>> clf = clf.fit(X, y, X_target=X + 10)
    >>> balanced = HeadRetrainer(FrozenEstimator(clf), random_state=0).fit(X, y)
    >>> rare = X[y == 1] + 10
    >>> bool(balanced.score(rare, y[y == 1]) > clf.score(rare, y[y == 1]))
    True
    """

    # No router: the estimator is one of ours, and gets what this one asks for.
    __metadata_request__fit = {"sample_domain": True, "X_target": False, "sample_weight": None}

    _parameter_constraints = {
        "method": [StrOptions({"crt", "lws", "tau_norm"})],
        "tau": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator,
        method="crt",
        *,
        tau=1.0,
        n_steps=1000,
        batch_size=256,
        learning_rate=0.01,
        weight_decay=0.01,
        random_state=None,
    ):
        self.estimator = estimator
        self.method = method
        self.tau = tau
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.random_state = random_state

    def fit(self, X, y, *, sample_domain=None, X_target=None, sample_weight=None):
        """Fit a clone of the estimator (a frozen one is copied), then re-train its head.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows,)
            Labels; the mask (-1, "-1" or NaN) on unlabelled rows.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain; for a frozen estimator, domains that
            it saw. Without it, unlabelled rows are the target.
        X_target : {array-like, sparse matrix} of shape (n_target, ...), optional
            Target rows, for direct fits; all rows of X are source rows then. A frozen estimator
            needs none.
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row in the losses of the estimator and of the head.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_domain, X_target, sample_weight)
        return self

    def fit_transform(self, X, y=None, *, sample_domain=None, X_target=None, sample_weight=None):
        """Fit, then give the features of each row of X with the statistics of its own domain.

        Parameters
        ----------
        X, y, sample_domain, X_target, sample_weight
            As in ``fit``.

        Returns
        -------
        ndarray of shape (n_rows, n_features_out)
        """
        domain = self._fit(X, y, sample_domain, X_target, sample_weight)
        return self.transform(X, sample_domain=domain[: n_rows(as_container(X))])

    def transform(self, X, *, sample_domain=None):
        """Features that the head sees; parameters as in ``predict``."""
        return self._respond("transform", X, sample_domain)

    def decision_function(self, X, *, sample_domain=None):
        """Logits; with two classes their difference. Parameters as in ``predict``."""
        return self._respond("decision_function", X, sample_domain)

    @property
    def head_(self):
        """The re-trained head."""
        return self._fitted()._network.head

    @property
    def _n_features_out(self):
        return self.head_.in_features

    def get_metadata_routing(self):
        """Which metadata this estimator asks for."""
        return BaseEstimator.get_metadata_routing(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _fit(self, X, y, sample_domain, X_target, sample_weight):
        estimator, frozen = self._check()
        seed = draw_seed(self.random_state)
        X, X_target = as_container(X), as_container(X_target)
        if frozen:
            estimator._check_X(X, reset=False)  # "tau_norm" would not look at it
            estimator = copy.deepcopy(estimator)
        else:
            estimator = clone(estimator)
            if estimator.random_state is None and self.random_state is not None:
                estimator.set_params(random_state=seed)
            estimator.fit(
                X, y, sample_domain=sample_domain, X_target=X_target, sample_weight=sample_weight
            )
        fit_rows = read_fit(
            y,
            n_rows(X),
            n_target=None if X_target is None else n_rows(X_target),
            sample_domain=sample_domain,
            sample_weight=sample_weight,
            target_labels=estimator.target_labels,
            classes=estimator.classes_ if frozen else None,
        )
        head = estimator._network.head
        needs_rows = self.method != "tau_norm" or self.tau == "auto"
        rows = labelled_rows(estimator, X, fit_rows) if needs_rows else None
        tau = scales = None
        if self.method == "crt":
            self._train_new(head, rows, seed)
        elif self.method == "lws":
            scales = self._learn_scales(head, rows, seed)
        else:
            tau = best_tau(head, rows) if self.tau == "auto" else float(self.tau)
            scales = normalise(head, tau)
        if not all(torch.isfinite(p).all() for p in head.parameters()):
            raise FloatingPointError(
                "re-training diverged: the head's weights are not finite. Try a smaller tau, a "
                f"smaller learning_rate (a tenth of {self.learning_rate:.3g}), or scaled inputs."
            )
        known = estimator._priors.source > 0
        estimator._priors = estimator._priors._replace(trained=known / known.sum(), smoothed=False)
        self.estimator_, self.tau_ = estimator, tau
        self.scales_ = None if scales is None else scales.double().cpu().numpy()
        return fit_rows.domain

    def _check(self):
        """The deep estimator and whether it is frozen; raises before anything is trained."""
        params = {name: getattr(self, name) for name in self._parameter_constraints}
        name = type(self).__name__
        validate_parameter_constraints(self._parameter_constraints, params, caller_name=name)
        estimator, frozen = self.estimator, isinstance(self.estimator, FrozenEstimator)
        if frozen:
            estimator = estimator.estimator
        if not isinstance(estimator, DomainAdaptationClassifier):
            raise TypeError(
                f"estimator={self.estimator!r} must be a deep classifier of adaptlearn "
                "(DomainAdaptationClassifier or a preset), or a FrozenEstimator of a fitted one. "
                f"With a Pipeline, let {name} be its last step."
            )
        if frozen:
            check_is_fitted(estimator)
            cosine = isinstance(estimator._network.head, CosineHead)
        else:
            cosine = estimator._check_parameters()[1].cosine_head
        if cosine and self.method != "crt":
            raise ValueError(
                f"method={self.method!r} rescales the weights of each class, but "
                f"criterion={estimator.criterion!r} has a cosine head, which ignores their length. "
                "Use method='crt', or another criterion such as 'cross_entropy'."
            )
        return estimator, frozen

    def _train_new(self, head, rows, seed):
        with own_randomness(seed, rows.features.device):
            head.reset_parameters()
        self._descend(
            head.parameters(), lambda i: head(rows.features[i]), rows, self.weight_decay, seed
        )

    def _learn_scales(self, head, rows, seed):
        with torch.no_grad():
            logits = head(rows.features)
        scales = torch.ones_like(logits[0], requires_grad=True)
        self._descend([scales], lambda i: scales * logits[i], rows, 0.0, seed)
        scales = scales.detach()
        rescale(head, scales)
        return scales

    def _descend(self, parameters, logits_of, rows, weight_decay, seed):
        balanced_descent(
            parameters, logits_of, rows, n_steps=self.n_steps, batch_size=self.batch_size,
            learning_rate=self.learning_rate, weight_decay=weight_decay, seed=seed,
        )  # fmt: skip
