"""What all deep estimators share: parameters, fitting, forward passes."""

from __future__ import annotations

from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .._components import ComponentParamsMixin
from .._containers import n_rows
from ._building import BuildingMixin
from ._inference import InferenceMixin
from ._objective import Objective
from ._preparation import PreparationMixin
from ._progress import ProgressBar
from ._raw import is_extractor


class DeepEstimator(
    PreparationMixin,
    BuildingMixin,
    InferenceMixin,
    ComponentParamsMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base of the deep estimators; not public.

    Subclasses say how labels become tensors (`_encode`) and how many outputs there are.
    """

    _slots = ("alignment", "augment", "criterion", "finetune")
    _regression = False
    _auto_alignment = None
    _objective_class = Objective
    _depth = 5  # calls from the user's to a warning in `_preparation`

    # Metadata routing: the domain of a row concerns every method; X_target is for direct fits.
    __metadata_request__fit = {"sample_domain": True, "X_target": False}
    __metadata_request__partial_fit = {"sample_domain": True, "classes": False}
    __metadata_request__predict = {"sample_domain": True}
    __metadata_request__transform = {"sample_domain": True}
    __metadata_request__score = {"sample_domain": True}

    # --- public methods -------------------------------------------------------------------

    def fit(self, X, y, *, sample_domain=None, X_target=None, sample_weight=None):
        """Fit on labelled source rows and unlabelled target rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, n_features) or (n_rows, ...)
            Source rows; source and target rows when packed (see `adaptlearn.pack`).
        y : array-like of shape (n_rows,)
            Labels; the mask (-1, "-1" or NaN) on unlabelled rows.
        sample_domain : int or array-like of shape (n_rows,), optional
            ``>= 0`` a source domain, ``< 0`` a target domain. Without it, unlabelled rows are the
            target.
        X_target : {array-like, sparse matrix} of shape (n_target, ...), optional
            Target rows, for direct fits; all rows of X are source rows then.
        sample_weight : array-like of shape (n_rows,), optional
            Weight of each row in the loss.

        Returns
        -------
        self : object
        """
        fresh = not (self.warm_start and hasattr(self, "net_"))
        self._fit(X, y, sample_domain, X_target, sample_weight, fresh, self.max_epochs)
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
        fresh = not (self.warm_start and hasattr(self, "net_"))
        domain = self._fit(X, y, sample_domain, X_target, sample_weight, fresh, self.max_epochs)
        n_target = 0 if X_target is None else n_rows(X_target)
        return self.transform(X, sample_domain=domain[: len(domain) - n_target])

    def transform(self, X, *, sample_domain=None):
        """Features that the head sees (the bottleneck's output).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_rows, ...)
        sample_domain : int, array-like, "source" or "target", optional
            Whose statistics normalise each row; default the target's.

        Returns
        -------
        ndarray of shape (n_rows, n_features_out)
        """
        return self._forward(X, sample_domain, features=True)[0]

    @property
    def _n_features_out(self):
        return self._network.head.in_features

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if is_extractor(self.backbone):
            tags.input_tags = self.backbone.__sklearn_tags__().input_tags
        tags.transformer_tags.preserves_dtype = []
        tags.target_tags.required = True
        return tags

    # --- fitting --------------------------------------------------------------------------

    def _fit(self, X, y, sample_domain, X_target, sample_weight, fresh, epochs):
        before = vars(self).copy()
        given = X, y, sample_domain, X_target, sample_weight
        try:
            domain, *training = self._prepare(*given, fresh, epochs)
        except BaseException:  # a refused fit leaves an earlier one as it was
            vars(self).clear()
            vars(self).update(before)
            raise
        self._train(*training)
        return domain

    def _train(self, iterator, stopping, epochs, checkpoint, state, seed):
        net, data = self.net_, iterator.data
        net.follow(self.learning_rate, self.schedule)
        start = 0
        if state is not None:
            start = state["epoch"]
            self._network.load_state_dict(state["network"])
            net.criterion_.load_state_dict(state["objective"])
            net.optimizer_.load_state_dict(state["optimizer"])
            self.history_ = state["history"]
            if stopping is not None:
                stopping.load_state_dict(state["stopping"])
        snapshot = self._weights() if self._epochs_done or start else None

        with ProgressBar(type(self).__name__, epochs, start, self.verbose) as progress:

            def after_epoch(record):
                nonlocal snapshot
                stop = stopping is not None and stopping(net, data, record)
                self.history_.append(record)
                snapshot = self._weights()
                if checkpoint is not None:
                    checkpoint.save(
                        self._state(record["epoch"] if not stop else epochs, stopping, seed)
                    )
                progress.update(record)
                return stop

            try:
                net.train(
                    iterator, epochs, start=start, offset=self._epochs_done, after_epoch=after_epoch
                )
            except BaseException:  # Ctrl-C, diverging losses, a callback that raises
                if snapshot is None:
                    del self.net_
                else:
                    self._network.load_state_dict(snapshot[0])
                    net.criterion_.load_state_dict(snapshot[1])
                raise
        self._epochs_done += epochs
        if stopping is not None:
            stopping.restore(net)
        net.module_.eval()

    def _weights(self):
        """Copy of all weights, to return to when training breaks off."""
        modules = self._network, self.net_.criterion_
        states = [module.state_dict() for module in modules]
        return [{name: value.clone() for name, value in state.items()} for state in states]

    def _state(self, epoch, stopping, seed):
        net = self.net_
        return {
            "seed": seed,
            "epoch": epoch,
            "network": self._network.state_dict(),
            "objective": net.criterion_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "history": self.history_,
            "stopping": None if stopping is None else stopping.state_dict(),
        }
