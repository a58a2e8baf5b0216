"""Forward passes of a fitted estimator: checked input, blocks of one domain, arrays out."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from .._containers import n_rows, take_rows
from .._scored import read_scored
from ._raw import RawBatches, RawRows, embedded, is_raw
from ._rows import check_finite, chunks, dense, to_tensor

_DTYPES = [np.float64, np.float32, np.float16, np.uint8, np.int8, np.int16, np.uint16]


class InferenceMixin:
    """Input checks and forward passes, for `DeepEstimator`."""

    @property
    def _network(self):
        """The network itself, also when it was compiled."""
        return getattr(self.net_.module_, "_orig_mod", self.net_.module_)

    def _pick_device(self):
        if self.device != "auto":
            try:
                return torch.device(self.device)
            except RuntimeError as error:
                raise ValueError(f"device={self.device!r} is not known: {error}") from error
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def _check_X(self, X, reset, name="X", body=None, keep=False):
        """X as an array or matrix of numbers, or as `RawRows` of the extractor that is trained.

        `body` is that extractor's network in a fit that starts afresh; with `keep`, rows are wanted
        more than once.
        """
        if self._embedder is not None:
            return embedded(self._embedder, X, name)
        if self._reads_raw:
            return RawRows(self._network.backbone if body is None else body, X, keep)
        _refuse_raw(X, name)
        X = validate_data(
            self, X, reset=reset, accept_sparse="csr", dtype=_DTYPES, ensure_all_finite=False,
            allow_nd=self.backbone is not None, ensure_min_samples=2 if reset else 1,
        )  # fmt: skip
        check_finite(X, getattr(self, "feature_names_in_", None))
        return X

    def _forward(self, X, sample_domain, features=False):
        """Features (None unless asked for: they may outgrow X) and logits of all rows."""
        check_is_fitted(self)
        X = self._check_X(X, reset=False)
        slots = self._domain_index.read(sample_domain, X.shape[0])
        net = self.net_
        net._set_training(False)
        device = torch.device(net.device)
        batches = RawBatches([X], self._dtype, device) if is_raw(X) else None
        all_features = all_logits = None
        with torch.inference_mode():
            for slot in np.flatnonzero(np.bincount(slots)):
                for rows in self._blocks(X, slots == slot, batches):
                    if batches is None:
                        x, n = self._padded(dense(X, rows), int(slot), device)
                        length = len(x)
                    else:
                        x, n = batches.take(rows), len(rows)
                        length = n
                    with net.autocast():
                        f, z = self._network(x, [(int(slot), 0, length)])
                    if all_logits is None:
                        all_logits = np.empty((X.shape[0], z.shape[1]))
                        if features:
                            all_features = np.empty((X.shape[0], f.shape[1]), np.float32)
                    all_logits[rows] = z[:n].double().cpu().numpy()
                    if features:
                        all_features[rows] = f[:n].float().cpu().numpy()
        return all_features, all_logits

    def _predict_labelled(self, X, y, sample_weight, sample_domain):
        """Labels, predictions and weights of the labelled rows, for ``score``."""
        check_is_fitted(self)
        check_consistent_length(X, y)
        scored = read_scored(
            y, sample_domain, classes=getattr(self, "classes_", ()), sample_weight=sample_weight
        )
        if len(scored.rows) < n_rows(X):  # rows of a memory map are copied only if they must be
            X = take_rows(X, scored.rows)
        predicted = self.predict(X, sample_domain=scored.domain)
        return scored.y, predicted, scored.weight

    def _padded(self, block, slot, device):
        """Tensor of a block of rows, and how many of its rows these are."""
        x = to_tensor(block, np.full(1, slot), self._scaler, self._dtype).to(device)
        n = len(x)
        # Matrix kernels treat a last few rows differently: with whole multiples of eight, the
        # answer for a row does not depend on the rows beside it.
        if n % 8:
            x = torch.cat([x, x.new_zeros((-n % 8, *x.shape[1:]))])
        return x, n

    def _blocks(self, X, chosen, batches=None):
        """Slices (or index arrays) of the chosen rows, small enough for one forward pass."""
        if batches is not None:
            places = torch.from_numpy(np.flatnonzero(chosen))
            yield from (places[block] for block in batches.blocks(places))
            return
        limit = 1024 if self.backbone is None else max(self.batch_size, 256)
        if chosen.all():
            for rows in chunks(X):
                for start in range(rows.start, rows.stop, limit):
                    yield slice(start, min(start + limit, rows.stop))
            return
        places = np.flatnonzero(chosen)
        step = min(limit, chunks(X)[0].stop)
        for start in range(0, len(places), step):
            yield places[start : start + step]


def _refuse_raw(X, name):
    """Raw text and images need an extractor; say so before NumPy fails on them."""
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else X
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if isinstance(first, str) or kind == "U":
        raise ValueError(
            f"{name} holds strings. This estimator needs numeric features: give "
            "backbone=TextExtractor(...) (or ImageExtractor for image paths), or turn text into "
            "numbers first, for example with sklearn's TfidfVectorizer in a Pipeline."
        )
    if hasattr(first, "convert") and hasattr(first, "getbands"):
        raise ValueError(
            f"{name} holds PIL images. Give backbone=ImageExtractor(...); or stack them with "
            "numpy.stack([numpy.asarray(im) for im in images]) and give a module as backbone."
        )
