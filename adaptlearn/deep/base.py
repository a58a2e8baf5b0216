"""What all deep estimators share: parameters, fitting, forward passes."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin

from .._components import ComponentParamsMixin
from .._containers import n_rows
from .._domains import MASK_HELP, DomainIndex, read_fit
from ..imbalance.sampling import make_sampler
from ._batches import BatchIterator, TrainingSet
from ._checkpoint import Checkpoint, fingerprint
from ._inference import InferenceMixin
from ._label_shift import Priors, class_ratio, estimate_shift, matched_weight
from ._mixing import make_mixing
from ._network import build_network
from ._objective import Objective
from ._parameters import OPTIMIZERS, check_parameters
from ._progress import ProgressBar
from ._rows import Rows
from ._scaling import DomainScaler
from ._stopping import hold_out
from ._trainer import Trainer, draw_seed, own_randomness

_CLIP = 3.0
# With max_epochs="auto": small data need many passes for as many steps, large data a few.
_AUTO_STEPS, _AUTO_EPOCHS = 400, (12, 100)


class DeepEstimator(
    InferenceMixin,
    ComponentParamsMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Base of the deep estimators; not public.

    Subclasses say how labels become tensors (`_encode`) and how many outputs there are.
    """

    _slots = ("alignment", "criterion")
    _regression = False
    _auto_alignment = None
    _objective_class = Objective

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

    def _prepare(self, X, y, sample_domain, X_target, sample_weight, fresh, epochs):
        """All that comes before training; raises for bad input."""
        alignments, criterion = self._check_parameters()
        X, parts = self._check_rows(X, X_target, fresh)
        n_target = None if X_target is None else parts[1].shape[0]
        fit_rows = self._read_fit(
            y, X.shape[0], fresh, n_target=n_target, sample_domain=sample_domain,
            sample_weight=sample_weight, target_labels=self.target_labels,
        )  # fmt: skip
        if fresh:
            self._domain_index = DomainIndex.of(fit_rows.domain)
        slots = self._domain_index.slots(fit_rows.domain)
        codes, task_weight, labels = self._encode(fit_rows, fresh)
        self._warn_without_target(fit_rows, alignments)
        device = self._pick_device()
        seed = draw_seed(self.random_state)
        checkpoint = state = None
        if self.checkpoint is not None:
            name_seed = None if self.random_state is None else seed
            start = None if fresh else self._network
            name = fingerprint(self, name_seed, epochs, parts, fit_rows, start)
            checkpoint = Checkpoint(self.checkpoint, name)
            state = checkpoint.load()
            seed = seed if state is None else state["seed"]
        if fresh:
            shift = self._fit_scaler(parts, slots, fit_rows, codes, seed)
            if shift is not None:
                alignments = self._settle(alignments, shift.source_prior, shift.target_prior)
            self.sampling_ = self._settle_sampling(criterion, labels, shift)
        given = fit_rows, codes
        if getattr(self, "resampler", None) is not None:
            from ._resampling import resample_rows  # imports imbalanced-learn

            parts, fit_rows, slots = resample_rows(self, parts, fit_rows, slots, seed)
            codes, task_weight, labels = self._encode(fit_rows, False)
        if fresh:
            known = shift is not None
            self._class_ratio = (
                class_ratio(shift.target_prior, fit_rows, slots, codes) if known else None
            )
        rows = Rows(parts, slots, self._scaler, self._dtype, device)
        if fresh:
            with own_randomness(seed, device):
                self._build(parts[0].shape[1:], alignments, criterion, labels, seed, device)
        data, stopping = self._training_set(rows, fit_rows, slots, codes, task_weight, seed, device)
        if fresh and not self._regression:
            objective = self.net_.criterion_
            self._priors = Priors.of(shift, *given, data, objective, labels, self.batch_size)
        iterator = BatchIterator(data, self.batch_size)
        if epochs == "auto":
            epochs = int(np.clip(-(-_AUTO_STEPS // len(iterator)), *_AUTO_EPOCHS))
        return given[0].domain, iterator, stopping, epochs, checkpoint, state, seed

    def _read_fit(self, y, n_rows, fresh, **given):
        classes = self._known_classes(fresh)
        return read_fit(y, n_rows, regression=self._regression, classes=classes, **given)

    def _known_classes(self, fresh):
        """Classes settled before this call, None when it settles them."""
        return None if fresh else getattr(self, "classes_", None)

    def _check_parameters(self):
        """Components of this fit; raises before anything is trained."""
        spec = self._expand_slot("alignment", self.alignment)
        return check_parameters(self, spec, regression=self._regression)

    def _expand_slot(self, slot, spec):
        return self._auto_alignment if slot == "alignment" and spec == "auto" else spec

    def _settle_sampling(self, criterion, class_counts, shift):
        return self.sampling

    def _check_rows(self, X, X_target, reset):
        """Validated X and the list of row blocks (X, then X_target)."""
        X = self._check_X(X, reset=reset)
        if X_target is None:
            return X, [X]
        return X, [X, self._check_X(X_target, reset=False, name="X_target")]

    def _warn_without_target(self, fit_rows, alignments):
        if (fit_rows.domain < 0).any() or not (alignments or self.normalize == "domain"):
            return
        warnings.warn(
            f"{type(self).__name__}: no target rows, so this is plain supervised learning. Give "
            "X_target=, or mask the target's labels in y (see adaptlearn.pack), or mark target "
            "rows with sample_domain < 0. " + MASK_HELP,
            UserWarning,
            stacklevel=5,
        )

    def _fit_scaler(self, parts, slots, fit_rows, codes, seed):
        """Input statistics, None where inputs are left as they are; returns the `Shift`."""
        self._scaler = shift = None
        if not self._regression:
            shift = estimate_shift(self, parts, fit_rows, slots, codes, seed)
        if self.normalize is not None and len(parts[0].shape) == 2:
            ratio, by_domain = None, self.normalize == "domain"
            if by_domain and shift is not None:
                ratio = class_ratio(shift.target_prior, fit_rows, slots, codes)
            self._scaler = DomainScaler.fit(
                parts, slots, self._domain_index,
                by_domain=by_domain,
                weight=matched_weight(ratio, fit_rows, slots, codes),
                moved=None if shift is None else shift.moved,
                # Far values carry no class but much gradient; a regression may depend on them.
                clip=None if self._regression else _CLIP,
            )  # fmt: skip
        return shift

    def _build(self, input_shape, alignments, criterion, labels, seed, device):
        index = self._domain_index
        class_counts = None if self._regression else labels
        network = build_network(
            self.backbone, input_shape, self._n_outputs,
            hidden_layer_sizes=self.hidden_layer_sizes, bottleneck=self.bottleneck,
            dropout=self.dropout, normalize=self.normalize, index=index,
            cosine_scale=criterion.scale if criterion.cosine_head else None,
        ).to(device, self._dtype)  # fmt: skip
        sizes = {
            "n_features": network.head.in_features,
            "n_classes": self._n_outputs,
            "class_counts": class_counts,
            "n_domains": (len(index.sources), len(index.targets)),
            "generator": torch.Generator().manual_seed(seed),
        }
        if not index.targets:
            alignments = []
        mixing = make_mixing(getattr(self, "mixing", None))
        given = criterion, alignments, self.alignment_weight, sizes, labels, mixing
        objective = self._objective_class(*given)
        optimizer = self.optimizer
        params = {"optimizer__weight_decay": self.weight_decay}
        if isinstance(optimizer, str):
            optimizer = OPTIMIZERS[optimizer]
            params["optimizer__fused"] = True
        if optimizer is torch.optim.SGD:
            params |= {"optimizer__momentum": 0.9, "optimizer__nesterov": True}
        self.net_ = Trainer(
            network,
            objective.to(device, self._dtype),
            seed=seed,
            schedule=self.schedule,
            precision=self.precision,
            optimizer=optimizer,
            lr=self.learning_rate,
            device=str(device),
            compile=self.compile,
            callbacks=copy.deepcopy(self.callbacks),  # skorch changes callbacks in place
            verbose=0,
            **(params | (self.net_params or {})),
        ).initialize()
        self._epochs_done, self.history_ = 0, []
        self._input_shape, self._class_counts = tuple(input_shape), class_counts

    def _training_set(self, rows, fit_rows, slots, codes, task_weight, seed, device):
        labelled = torch.from_numpy(np.flatnonzero(fit_rows.labelled))
        target = torch.from_numpy(np.flatnonzero(fit_rows.domain < 0))
        objective, network = self.net_.criterion_, self._network
        if not (objective.alignments or network.has_domain_norm):
            target = target[:0]
        y = torch.from_numpy(codes)
        y = y.to(self._dtype) if self._regression else y
        stopping = None
        if self.early_stopping:
            is_source = torch.from_numpy(fit_rows.domain >= 0)
            labelled, stopping = hold_out(self, labelled, is_source, y, seed, device)
        weight = np.ones(len(slots))
        pseudo_balanced = getattr(self, "target_sampling", None) == "pseudo_balanced"
        # Balanced target batches are met by balanced source weights, batch by batch.
        ratio = None if pseudo_balanced else self._class_ratio
        matched = matched_weight(ratio, fit_rows, slots, codes)
        if matched is not None:
            for side in (fit_rows.domain >= 0, fit_rows.domain < 0):
                mean = matched[side].mean() if side.any() else 0
                weight[side] = matched[side] / mean if mean > 0 else 1.0
        if task_weight is not None:
            mean = task_weight[labelled.numpy()].mean(axis=0)
            task_weight = task_weight / np.where(mean > 0, mean, 1.0)
            task_weight = torch.from_numpy(task_weight).to(device, self._dtype)
        domains = torch.from_numpy(slots)[labelled]
        sampler = make_sampler(self.sampling_, y[labelled], len(labelled), domains)
        data = TrainingSet(
            rows,
            torch.from_numpy(slots).to(device),
            labelled.to(device),
            target.to(device),
            y.to(device),
            task_weight,
            torch.from_numpy(weight).to(device, self._dtype),
            sampler,
            ratio is not None,
            pseudo_balanced,
        )
        return data, stopping

    def _train(self, iterator, stopping, epochs, checkpoint, state, seed):
        net, data = self.net_, iterator.data
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
