"""What comes before training: input is read, proportions are estimated, rows become batches."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from .._components import resolve
from .._containers import n_rows
from .._domains import MASK_HELP, DomainIndex, read_fit
from ..imbalance.sampling import make_sampler
from ._batches import BatchIterator, TrainingSet
from ._checkpoint import Checkpoint, fingerprint
from ._label_shift import (
    Priors,
    class_ratio,
    estimate_shift,
    matched_weight,
    refuse_unknown_target,
)
from ._parameters import check_parameters
from ._raw import RawBatches, embedded, is_extractor, is_raw
from ._retention import learned
from ._rows import Rows
from ._scaling import DomainScaler
from ._stopping import hold_out, stopping_kind
from ._trainer import draw_seed, own_randomness
from .finetune import as_finetuning

CLIP = 3.0  # standard deviations
_SCALE_ROWS = 256  # of each domain, that tell the size of pretrained features
# With max_epochs="auto": small data need many passes for as many steps, large data a few. A
# pretrained network needs fewer, and its steps are dear.
_AUTO_STEPS, _AUTO_EPOCHS, _AUTO_EPOCHS_RAW = 400, (12, 100), (3, 50)


class PreparationMixin:
    """Everything of a fit but its training, for `DeepEstimator`."""

    def _prepare(self, X, y, sample_domain, X_target, sample_weight, fresh, epochs):
        """All that comes before training; raises for bad input."""
        alignments, criterion = self._check_parameters()
        given = {
            "sample_domain": sample_domain,
            "sample_weight": sample_weight,
            "target_labels": self.target_labels,
        }
        body = self._open_backbone() if fresh else None
        if is_extractor(self.backbone):  # labels first: reading raw rows may take hours
            n_target = None if X_target is None else n_rows(X_target)
            self._read_fit(y, n_rows(X), fresh, n_target=n_target, **given)
        X, parts = self._check_rows(X, X_target, fresh, body)
        n_target = None if X_target is None else n_rows(parts[1])
        fit_rows = self._read_fit(y, n_rows(X), fresh, n_target=n_target, **given)
        if fresh:
            self._domain_index = DomainIndex.of(fit_rows.domain)
        slots = self._domain_index.slots(fit_rows.domain, training=True)
        codes, task_weight, labels = self._encode(fit_rows, fresh)
        self._warn_without_target(fit_rows, alignments)
        device = self._pick_device()
        seed = draw_seed(self.random_state)
        checkpoint = state = None
        if self.checkpoint is not None:
            name_seed = None if self.random_state is None else seed
            memory = learned(getattr(self, "_regularization", None))
            start = None if fresh else [self._network, memory]
            name = fingerprint(self, name_seed, epochs, parts, fit_rows, start)
            checkpoint = Checkpoint(self.checkpoint, name)
            state = checkpoint.load()
            seed = seed if state is None else state["seed"]
        if fresh:
            shift = self._fit_scaler(parts, slots, fit_rows, codes, seed)
            self._recipe = self._settle(shift)
            alignments = self._settled(alignments)
            self.sampling_ = self._settle_sampling(criterion, labels, shift)
        as_given = fit_rows, codes
        if getattr(self, "resampler", None) is not None:
            from ._resampling import resample_rows  # imports imbalanced-learn

            parts, fit_rows, slots = resample_rows(self, parts, fit_rows, slots, seed)
            codes, task_weight, labels = self._encode(fit_rows, False)
        if fresh:
            known = shift is not None
            self._class_ratio = (
                class_ratio(shift.target_prior, fit_rows, slots, codes) if known else None
            )
            with own_randomness(seed, device):
                self._build(parts[0].shape[1:], alignments, criterion, labels, seed, device, body)
        if is_raw(X):
            rows = RawBatches(parts, self._dtype, device)
        else:
            rows = Rows(parts, slots, self._scaler, self._dtype, device)
        if fresh and self._network.scale is not None:
            self._scale_features(rows, fit_rows, slots, codes, shift)
        data, stopping = self._training_set(rows, fit_rows, slots, codes, task_weight, seed, device)
        if fresh and not self._regression:
            objective = self.net_.criterion_
            self._priors = Priors.of(shift, *as_given, data, objective, labels, self.batch_size)
        iterator = BatchIterator(data, self.batch_size)
        if epochs == "auto":
            limits = _AUTO_EPOCHS_RAW if is_raw(X) else _AUTO_EPOCHS
            epochs = int(np.clip(-(-_AUTO_STEPS // len(iterator)), *limits))
        return as_given[0].domain, iterator, stopping, epochs, checkpoint, state, seed

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
        if slot == "finetune":
            return as_finetuning(spec)
        return self._auto_alignment if slot == "alignment" and spec == "auto" else spec

    def _settle(self, shift):
        return None

    def _settled(self, alignments):
        """Alignments of a fit: those checked, or what "auto" came to."""
        if self._recipe is None:
            return alignments
        return [resolve("alignment", name) for name in self._recipe]

    def _settle_sampling(self, criterion, class_counts, shift):
        return self.sampling

    def _check_rows(self, X, X_target, reset, body=None):
        """Validated X and the list of row blocks (X, then X_target)."""
        X = self._check_X(X, reset=reset, body=body, keep=True)
        if X_target is None:
            return X, [X]
        return X, [X, self._check_X(X_target, False, "X_target", body=body, keep=True)]

    def _warn_without_target(self, fit_rows, alignments):
        if (fit_rows.domain < 0).any() or not (alignments or self.normalize == "domain"):
            return
        warnings.warn(
            f"{type(self).__name__}: no target rows, so this is plain supervised learning. Give "
            "X_target=, or mask the target's labels in y (see adaptlearn.pack), or mark target "
            "rows with sample_domain < 0. Nothing is asked of a target with alignment=None and "
            "normalize='source'. " + MASK_HELP,
            UserWarning,
            stacklevel=self._depth,
        )

    def _fit_scaler(self, parts, slots, fit_rows, codes, seed):
        """Input statistics, None where inputs are left as they are; returns the `Shift`."""
        self._scaler = shift = None
        if not self._regression:
            columns = self._shift_columns(parts, fit_rows)
            shift = estimate_shift(self, columns, fit_rows, slots, codes, seed)
            if isinstance(self.prior, str) and self.prior == "target":  # before any training
                refuse_unknown_target(shift)
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
                clip=None if self._regression else CLIP,
            )  # fmt: skip
        return shift

    def _shift_columns(self, parts, fit_rows):
        """What class proportions are estimated from: of raw rows, their embeddings at first."""
        asked = self.label_shift is not None and (fit_rows.domain < 0).any()
        if not (asked and is_raw(parts[0])):
            return parts
        extractor = self.backbone._open()
        return [embedded(extractor, part.rows, "X") for part in parts]

    def _scale_features(self, rows, fit_rows, slots, codes, shift):
        """Fit the `FeatureScale` to the features of some rows of each domain as they are at first.

        They are treated as columns of numbers, and embeddings of a frozen extractor, are.
        """
        members = [np.flatnonzero(slots == slot) for slot in np.unique(slots)]
        few = [min(_SCALE_ROWS, len(m)) for m in members]
        some = [
            m[np.linspace(0, len(m) - 1, n).astype(int)] for m, n in zip(members, few, strict=True)
        ]
        some, device = np.concatenate(some), self.net_.device
        index, where = (torch.from_numpy(a).to(device) for a in (some, slots[some]))
        features = self.net_.backbone_rows(rows, index, where).double().cpu().numpy()
        by_domain = self.normalize == "domain"
        weight = matched_weight(self._class_ratio if by_domain else None, fit_rows, slots, codes)
        scaler = DomainScaler.fit(
            [features], slots[some], self._domain_index,
            by_domain=by_domain,
            weight=None if weight is None else weight[some],
            moved=None if shift is None else shift.moved,
        )  # fmt: skip
        self._network.scale.take(scaler.mean, scaler.scale)

    def _training_set(self, rows, fit_rows, slots, codes, task_weight, seed, device):
        labelled = torch.from_numpy(np.flatnonzero(fit_rows.labelled))
        target = torch.from_numpy(np.flatnonzero(fit_rows.domain < 0))
        objective, network = self.net_.criterion_, self._network
        if not (objective.alignments or network.has_domain_norm):
            target = target[:0]
        y = torch.from_numpy(codes)
        y = y.to(self._dtype) if self._regression else y
        stopping = None
        n_source = int((fit_rows.labelled & (fit_rows.domain >= 0)).sum())
        kind = stopping_kind(self, n_source)
        if kind:
            is_source = torch.from_numpy(fit_rows.domain >= 0)
            labelled, stopping = hold_out(self, kind, labelled, is_source, y, seed, device)
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
