"""Resampling within domains, and estimators that resample inside ``fit``."""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from imblearn.combine import SMOTEENN, SMOTETomek
from imblearn.over_sampling import ADASYN, SMOTE, BorderlineSMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from imblearn.under_sampling import ClusterCentroids, NearMiss, RandomUnderSampler, TomekLinks
from imblearn.utils.estimator_checks import parametrize_with_checks
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter
from two_sides import PerSide

from adaptlearn import (
    DomainAdaptationClassifier,
    DomainResampler,
    LabelledScorer,
    ResampledClassifier,
    ResampledRegressor,
    WithTarget,
    pack,
)

SMOTE3 = SMOTE(k_neighbors=3, random_state=0)
OVER = RandomOverSampler(random_state=0)
UNDER = RandomUnderSampler(random_state=0)
SHRUNK = RandomOverSampler(shrinkage=0.1, random_state=0)
CENTROIDS = ClusterCentroids(random_state=0, voting="soft")
SAMPLERS = [SMOTE3, ADASYN(random_state=0), OVER, SHRUNK, UNDER, NearMiss(), TomekLinks()]
SAMPLERS += [SMOTEENN(random_state=0), CENTROIDS]


CHECKED = [SMOTE3, OVER, SHRUNK, UNDER, TomekLinks()]


@pytest.mark.filterwarnings("ignore:A column-vector y")
@parametrize_with_checks([DomainResampler(sampler) for sampler in CHECKED])
def test_imblearn_checks(estimator, check):
    check(estimator)


def two_domains(n=40, seed=0):
    """Domains 0 and 1, a thousand apart, 4:1 and 1:3; a target in between, without labels."""
    rng = np.random.default_rng(seed)
    y = np.r_[np.repeat([0, 1], [4 * n // 5, n // 5]), np.repeat([0, 1], [n // 4, 3 * n // 4])]
    domain = np.repeat([0, 1, -1], [n, n, n])
    y = np.r_[y, np.full(n, -1)]
    X = rng.normal(size=(3 * n, 2)) + 1000 * np.array([0, 1, 0.5])[np.repeat([0, 1, 2], n)][:, None]
    X[:, 0] += 3 * (y == 1)
    order = rng.permutation(3 * n)
    return X[order], y[order], domain[order]


def counts(y, domain):
    pairs, n = np.unique(np.column_stack([domain, y]), axis=0, return_counts=True)
    return dict(zip(map(tuple, pairs.tolist()), n.tolist(), strict=True))


# --- DomainResampler --------------------------------------------------------------------------


def test_smote_never_crosses_domains():
    X, y, domain = two_domains()
    resampler = DomainResampler(SMOTE3)
    X_new, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    d_new = resampler.sample_domain_
    balanced = {(0, 0): 32, (0, 1): 32, (1, 0): 30, (1, 1): 30, (-1, -1): 40}
    assert counts(y_new, d_new) == balanced
    for d in (0, 1):
        box = X[domain == d].min(0), X[domain == d].max(0)
        inside = ((X_new >= box[0]) & (X_new <= box[1])).all(1)
        assert (inside == (d_new == d)).all()
    # What a sampler that knows no domains does to the same rows: pairs in between.
    crossed, _ = SMOTE(k_neighbors=15, random_state=0).fit_resample(X, np.where(y == 1, 1, 0))
    assert ((crossed[:, 1] > 20) & (crossed[:, 1] < 980)).sum() > 40


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_originals_come_first_and_masks_pass(sampler):
    X, y, domain = two_domains()
    before = X.copy(), y.copy(), domain.copy()
    for array in (X, y, domain):
        array.flags.writeable = False
    resampler = DomainResampler(sampler)
    X_new, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    index, d_new = resampler.sample_indices_, resampler.sample_domain_
    assert len(X_new) == len(y_new) == len(index) == len(d_new)
    # The rows that are left come first, in their order, bit-equal.
    kept = np.unique(index[index >= 0])
    assert (index[: len(kept)] == kept).all()
    np.testing.assert_array_equal(X_new[: len(kept)], X[kept])
    known = index >= 0
    np.testing.assert_array_equal(y_new[known], y[index[known]])
    np.testing.assert_array_equal(d_new[known], domain[index[known]])
    if sampler is not SHRUNK:
        np.testing.assert_array_equal(X_new[known], X[index[known]])
    else:  # a smoothed bootstrap: no row twice
        assert len(np.unique(X_new, axis=0)) == len(X_new) > len(kept)
    # Unlabelled rows: each once, nothing like them anywhere else.
    assert sorted(index[y_new == -1]) == np.flatnonzero(y == -1).tolist()
    for given, original in zip((X, y, domain), before, strict=True):
        np.testing.assert_array_equal(given, original)


@pytest.mark.parametrize(
    "sampler, traced",
    [(SMOTE3, "over"), (OVER, "all"), (UNDER, "all"), (SMOTETomek(random_state=0), "over"),
     (SMOTEENN(random_state=0), "over"), (CENTROIDS, "none")],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)  # fmt: skip
def test_sample_indices(sampler, traced):
    X, y, domain = two_domains()
    resampler = DomainResampler(sampler)
    X_new, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    made_up = resampler.sample_indices_ < 0
    if traced == "all":
        assert not made_up.any()
    elif traced == "none":
        assert made_up.sum() == (y_new != -1).sum() > 0
    else:  # made-up rows are the ones that the input does not hold
        rows = {row.tobytes() for row in X}
        assert made_up.any()
        assert [row.tobytes() not in rows for row in X_new] == made_up.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.float16])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["array", "csr"])
def test_small_numbers_do_not_wrap_around(container, dtype):
    if container is sp.csr_matrix and dtype is np.float16:
        return  # scipy has no such matrices
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [50, 10])
    X = rng.integers(1, 127, size=(60, 3)).astype(dtype)
    X_new, y_new = DomainResampler(SMOTE3).fit_resample(container(X), y)
    X_new = X_new.toarray() if sp.issparse(X_new) else X_new
    made = X_new[60:].astype(float)
    assert len(made) == 40 and (y_new[60:] == 1).all()
    assert (made >= X[50:].min(0)).all() and (made <= X[50:].max(0)).all()


def test_one_domain_is_what_the_sampler_does():
    X, y, _ = two_domains()
    X, y = X[y != -1], y[y != -1]
    expected = SMOTE3.fit_resample(X, y)
    for found in zip(expected, DomainResampler(SMOTE3).fit_resample(X, y), strict=True):
        np.testing.assert_array_equal(*found)
    assert DomainResampler(SMOTE3).fit(X, y).sampling_strategy_ == {0: {1: 4}}


@pytest.mark.parametrize("mask", [-1, "-1", None, np.nan], ids=repr)
def test_masks_of_every_kind(mask):
    X, y, domain = two_domains()
    kind = str if isinstance(mask, str) else (float if mask is np.nan else object)
    masked = np.array([mask if label == -1 else kind(label) if kind is not object else int(label)
                       for label in y.tolist()], dtype=kind)  # fmt: skip
    resampler = DomainResampler(OVER)
    X_new, y_new = resampler.fit_resample(X, masked, sample_domain=domain)
    plain = DomainResampler(OVER)
    X_plain, _ = plain.fit_resample(X, y, sample_domain=domain)
    np.testing.assert_array_equal(X_new, X_plain)
    assert y_new.dtype == masked.dtype
    assert [str(v) for v in y_new] == [str(masked[i]) for i in plain.sample_indices_]
    # Without sample_domain the masks tell the sides apart: both sources count as one domain.
    again = DomainResampler(OVER)
    _, y_again = again.fit_resample(X, masked)
    assert set(again.sample_domain_) == {0, -1}
    assert (again.sample_domain_ == -1).sum() == 40
    source = again.sample_domain_ == 0
    assert len(set(np.unique(y_again[source].astype(str), return_counts=True)[1])) == 1


def test_minus_one_is_a_class_in_plain_use():
    X, y = np.arange(10.0)[:, None], np.repeat([-1, 1], [7, 3])
    _, y_new = DomainResampler(OVER).fit_resample(X, y)
    assert np.sum(y_new == -1) == np.sum(y_new == 1) == 7


def test_target_labels_are_not_used_unless_told():
    X, y, domain = two_domains()
    y = np.where(y == -1, X[:, 0] > np.median(X[y == -1, 0]) + 1, y)
    resampler = DomainResampler(OVER)
    _, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    target = resampler.sample_domain_ < 0
    np.testing.assert_array_equal(y_new[target], y[domain < 0])
    _, y_new = resampler.set_params(target_labels="use").fit_resample(X, y, sample_domain=domain)
    target = resampler.sample_domain_ < 0
    assert np.sum(y_new[target] == 0) == np.sum(y_new[target] == 1) > 20


def test_containers():
    X, y, domain = two_domains()
    expected, y_expected = DomainResampler(SMOTE3).fit_resample(X, y, sample_domain=domain)

    def run(X, y=y, sampler=SMOTE3):
        return DomainResampler(sampler).fit_resample(X, y, sample_domain=domain)

    frame = pd.DataFrame({"a": X[:, 0].astype(np.float32), "b": X[:, 1]}, index=np.arange(120) + 7)
    X_new, y_new = run(frame, pd.Series(y, name="label", index=frame.index))
    assert X_new.dtypes.tolist() == frame.dtypes.tolist() and y_new.name == "label"
    assert X_new.index.tolist() == y_new.index.tolist() == list(range(len(expected)))
    np.testing.assert_allclose(X_new, expected, rtol=1e-5)
    X_new, y_new = run(pl.DataFrame(X, schema=["a", "b"]), pl.Series("label", y))
    assert X_new.columns == ["a", "b"] and isinstance(y_new, pl.Series)
    np.testing.assert_array_equal(X_new.to_numpy(), expected)
    for convert in (sp.csr_matrix, sp.csc_matrix, sp.csr_array):
        X_new, y_new = run(convert(X))
        assert type(X_new) is convert
        np.testing.assert_allclose(X_new.toarray(), expected)
        np.testing.assert_array_equal(y_new, y_expected)
    X_new, y_new = run(X.tolist(), y.tolist())
    assert (X_new, y_new) == (expected.tolist(), y_expected.tolist())
    X_new, _ = run(X.astype(np.float32), sampler=SHRUNK)
    assert X_new.dtype == np.float32
    resampler = DomainResampler(SMOTE3).fit(frame, y, sample_domain=domain)
    assert resampler.n_features_in_ == 2 and list(resampler.feature_names_in_) == ["a", "b"]
    assert list(resampler.get_feature_names_out()) == ["a", "b"]


@pytest.mark.parametrize("sampler", [OVER, UNDER], ids=["over", "under"])
def test_rows_of_any_kind(sampler):
    X, y, domain = two_domains()
    resampler = DomainResampler(sampler).fit(X, y, sample_domain=domain)
    index = resampler.sample_indices_
    images = np.random.default_rng(0).normal(size=(120, 3, 4, 4))
    texts = [f"row {i}" for i in range(120)]
    frame = pd.DataFrame({"text": texts, "gap": [np.nan] * 120})
    run = {"sample_domain": domain}
    np.testing.assert_array_equal(resampler.fit_resample(images, y, **run)[0], images[index])
    assert resampler.fit_resample(texts, y, **run)[0] == [texts[i] for i in index]
    pictures = list(images)
    found = resampler.fit_resample(pictures, y, **run)[0]
    assert all(a is pictures[i] for a, i in zip(found, index, strict=True))
    found = resampler.fit_resample(frame, y, **run)[0]
    assert found["text"].tolist() == [texts[i] for i in index] and found["gap"].isna().all()
    found = resampler.fit_resample(pl.DataFrame({"text": texts}), y, **run)[0]
    assert found["text"].to_list() == [texts[i] for i in index]
    for X in (images, texts):
        with pytest.raises(ValueError, match=r"SMOTE needs a table.*RandomOverSampler"):
            DomainResampler(SMOTE3).fit_resample(X, y, **run)


def test_a_domain_of_one_class_passes():
    X, y, domain = two_domains()
    y[domain == 1] = 0
    resampler = DomainResampler(SMOTE3)
    with pytest.warns(UserWarning, match=r"domain 1 has one class only, \[0\]"):
        _, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    assert counts(y_new, resampler.sample_domain_) == {
        (0, 0): 32, (0, 1): 32, (1, 0): 40, (-1, -1): 40
    }  # fmt: skip


@pytest.mark.parametrize("cls", [SMOTE, BorderlineSMOTE])
def test_fewer_neighbours_and_lone_rows(cls):
    X, y, domain = two_domains()
    few = np.flatnonzero((domain == 0) & (y == 1))
    y[few[3:]] = 0
    y[few[0]] = 2  # class 1 has two rows there, class 2 a single one
    sampler = cls(random_state=0)
    resampler = DomainResampler(sampler)
    with pytest.warns(UserWarning) as caught:
        X_new, y_new = resampler.fit_resample(X, y, sample_domain=domain)
    (message,) = [str(w.message) for w in caught]
    assert "k_neighbors=5 has too few rows in domain 0 (class counts {1: 2, 2: 1})" in message
    assert "k_neighbors=1 is used there and the single row of 2 is repeated" in message
    found = counts(y_new, resampler.sample_domain_)
    assert found[0, 2] == found[0, 0] == 37
    if cls is SMOTE:  # BorderlineSMOTE grows no class that is not in danger
        assert found == {(0, 0): 37, (0, 1): 37, (0, 2): 37, (1, 0): 30, (1, 1): 30, (-1, -1): 40}
        ends = X[few[1:3]]
        grown = X_new[(y_new == 1) & (resampler.sample_domain_ == 0)]
        along = (grown - ends[0]) @ (ends[1] - ends[0]) / np.sum((ends[1] - ends[0]) ** 2)
        np.testing.assert_allclose(ends[0] + along[:, None] * (ends[1] - ends[0]), grown)
    assert (resampler.sample_indices_[y_new == 2] == few[0]).all()
    np.testing.assert_array_equal(X_new[y_new == 2], np.tile(X[few[0]], (37, 1)))
    assert sampler.k_neighbors == 5 and sampler.sampling_strategy == "auto"


def test_a_class_that_is_not_grown_needs_no_neighbours():
    X = np.arange(20.0)[:, None]
    y = np.repeat([0, 1, 2], [12, 7, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, y_new = DomainResampler(SMOTE(sampling_strategy={1: 9})).fit_resample(X, y)
    assert np.bincount(y_new).tolist() == [12, 9, 1]


@pytest.mark.parametrize(
    "resampler, change, message",
    [
        (DomainResampler(SMOTE), {}, "SMOTE.* must be an imbalanced-learn sampler object"),
        (DomainResampler("smote"), {}, "'smote' must be an imbalanced-learn sampler"),
        (DomainResampler(target_labels="all"), {}, "target_labels='all'"),
        (DomainResampler(SMOTE3), {"y": [0] * 120}, "one class only among the 80"),
        (DomainResampler(SMOTE3), {"domain": -1}, "no labelled row"),
        (DomainResampler(SMOTE3), {"domain": [0]}, "1 entries for 120 rows"),
        (DomainResampler(SMOTE3), {"y": [0, 1]}, "y has 2"),
        (DomainResampler(SMOTE3), {"y": None}, "requires y"),
        (
            DomainResampler(SMOTE(sampling_strategy={7: 50})),
            {},
            r"SMOTE refuses domain 0, .*\{0: 32, 1: 8\}: The \{.*7.*\} target class.*a function",
        ),
        (
            DomainResampler(ADASYN(n_neighbors=60)),
            {},
            r"ADASYN refuses domain 0.*n_neighbors.*fewer neighbours.*RandomOverSampler",
        ),
    ],
)
def test_errors(resampler, change, message):
    X, y, domain = two_domains()
    y, domain = change.get("y", y), change.get("domain", domain)
    with pytest.raises((TypeError, ValueError), match=f"(?s){message}"):
        resampler.fit_resample(X, y, sample_domain=domain)


def test_nan_is_refused_where_values_are_looked_at():
    X, y, domain = two_domains()
    X[np.flatnonzero(domain == 1)[0], 0] = np.nan
    with pytest.raises(ValueError, match=r"(?s)refuses domain 1.*NaN.*fill missing ones"):
        DomainResampler(SMOTE3).fit_resample(X, y, sample_domain=domain)
    words = pd.DataFrame({"number": X[:, 1], "word": "a"})
    with pytest.raises(ValueError, match=r"SMOTE refuses.*to float.*encode text first"):
        DomainResampler(SMOTE3).fit_resample(words, y, sample_domain=domain)
    DomainResampler(OVER).fit_resample(X, y, sample_domain=domain)


def test_no_sampler_and_copies():
    X, y, domain = two_domains()
    none = DomainResampler()
    X_new, y_new = none.fit_resample(X, y, sample_domain=domain)
    np.testing.assert_array_equal(X_new, X)
    np.testing.assert_array_equal(y_new, y)
    assert none.sample_indices_.tolist() == list(range(120)) and none.sampling_strategy_ == {}
    sampler = SMOTE(random_state=np.random.RandomState(0))
    state = copy.deepcopy(sampler.random_state.get_state())
    resampler = DomainResampler(sampler).fit(X, y, sample_domain=domain)
    assert "nn_k_" not in vars(sampler) and "sampling_strategy_" not in vars(sampler)
    np.testing.assert_array_equal(sampler.random_state.get_state()[1], state[1])
    again = pickle.loads(pickle.dumps(resampler))
    np.testing.assert_array_equal(again.sample_indices_, resampler.sample_indices_)
    assert not hasattr(clone(resampler), "sample_indices_")
    assert repr(DomainResampler(SMOTE())) == "DomainResampler(sampler=SMOTE())"
    assert resampler.set_params(sampler__k_neighbors=2).sampler.k_neighbors == 2


# --- ResampledClassifier ----------------------------------------------------------------------


class Recorder(ClassifierMixin, BaseEstimator):
    """Keeps what it was fitted on; column 0 of X is the row number."""

    __metadata_request__fit = {"sample_domain": True, "sample_weight": True, "group": True}
    __metadata_request__predict = {"sample_domain": True}

    def fit(
        self, X, y, *, sample_domain=None, sample_weight=None, group=None, alpha=None, X_target=None
    ):
        self.classes_ = np.unique(np.asarray(y)[np.asarray(y) != -1])
        self.seen_ = X, y, sample_domain, sample_weight, group, alpha
        self.X_target_ = X_target
        return self

    def predict(self, X, *, sample_domain=None):
        self.domain_ = sample_domain
        return np.full(len(X), self.classes_[0])


def numbered():
    X, y, domain = two_domains()
    return np.column_stack([np.arange(len(y), dtype=float), X]), y, domain


@pytest.mark.parametrize("sampler", [OVER, UNDER, None], ids=["over", "under", "none"])
def test_every_per_row_argument_follows(routing, sampler):
    X, y, domain = numbered()
    row = X[:, 0]
    given = {"sample_domain": domain, "sample_weight": row / 2, "group": list(row * 3)}
    clf = ResampledClassifier(Recorder(), sampler).fit(X, y, **given)
    X_new, y_new, d_new, w_new, g_new, _ = clf.estimator_.seen_
    index = X_new[:, 0].astype(int)
    np.testing.assert_array_equal(X_new, X[index])
    np.testing.assert_array_equal(y_new, y[index])
    np.testing.assert_array_equal(d_new, domain[index])
    np.testing.assert_array_equal(w_new, index / 2)
    np.testing.assert_array_equal(g_new, index * 3)
    size = {OVER: 164, UNDER: 76, None: 120}[sampler]  # 2·32 + 2·30 + 40, 2·8 + 2·10 + 40
    assert len(index) == size
    assert clf.predict(X).shape == (120,) and clf.estimator_.domain_ is None
    clf.predict(X, sample_domain=domain)
    assert clf.estimator_.domain_ is domain


@pytest.mark.parametrize("sampler", [OVER, SMOTE3], ids=["over", "smote"])
def test_target_rows_are_no_argument_per_row(sampler):
    X, y, domain = numbered()
    X, y = X[domain == 0], y[domain == 0]
    X_target = X + 100  # as many rows as X
    clf = ResampledClassifier(Recorder(), sampler).fit(X, y, X_target=X_target)
    assert clf.estimator_.X_target_ is X_target and len(clf.estimator_.seen_[0]) > len(X)


def test_weights_of_rows_made_up():
    X, y, domain = numbered()
    weight = np.random.default_rng(0).uniform(1, 2, len(y))
    clf = ResampledClassifier(Recorder(), SMOTE3)
    clf.fit(X, y, sample_domain=domain, sample_weight=weight, alpha=0.5)
    _, y_new, d_new, w_new, _, alpha = clf.estimator_.seen_
    assert alpha == 0.5
    np.testing.assert_array_equal(w_new[:120], weight)  # over-sampling keeps all rows
    made = np.arange(120, len(y_new))
    assert len(made) == 24 + 20
    for d, label in ((0, 1), (1, 0)):
        rows = made[(d_new[made] == d) & (y_new[made] == label)]
        mean = weight[(domain == d) & (y == label)].mean()
        np.testing.assert_allclose(w_new[rows], mean)
        assert len(rows) in (24, 20)
    with pytest.raises(ValueError, match=r"group holds one entry per row.*44 rows.*RandomOver"):
        clf.fit(X, y, sample_domain=domain, group=weight)


def test_weights_go_where_they_are_taken(routing):
    X, y, _ = two_domains()
    weight = np.where(y == 1, 5.0, 1.0)
    clf = ResampledClassifier(make_pipeline(StandardScaler(), LogisticRegression()), OVER)
    if routing:
        with pytest.raises(ValueError, match=r"sample_weight.*not explicitly set"):
            clf.fit(X, y, sample_weight=weight)
        clf.estimator[0].set_fit_request(sample_weight=False)
        clf.estimator[1].set_fit_request(sample_weight=True)
    clf.fit(X, y, sample_weight=weight)
    index = DomainResampler(OVER).fit(X, y).sample_indices_
    index = index[y[index] != -1]
    scaled = StandardScaler().fit_transform(X[index])
    plain = LogisticRegression().fit(scaled, y[index], sample_weight=weight[index])
    np.testing.assert_allclose(clf.estimator_[-1].coef_, plain.coef_, rtol=1e-4)
    if not routing:  # scikit-learn's meta-estimators ask whether weights are taken
        assert has_fit_parameter(clf, "sample_weight")
        with pytest.raises(ValueError, match=r"KNeighborsClassifier\.fit takes none"):
            ResampledClassifier(KNeighborsClassifier()).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="3 entries for 120 rows"):
        clf.fit(X, y, sample_weight=[1, 1, 1])


def test_masks_without_domains():
    X, y, _ = numbered()
    clf = ResampledClassifier(Recorder(), OVER).fit(X, y)
    _, y_new, d_new, *_ = clf.estimator_.seen_
    np.testing.assert_array_equal(d_new, np.where(y_new == -1, -1, 0))
    assert np.bincount(y_new + 1).tolist() == [40, 42, 42]


@pytest.mark.parametrize("mask", [-1, "-1", None])
def test_a_mask_never_becomes_a_class(mask):
    X, y, _ = two_domains()
    kind = object if mask is None else np.array([mask]).dtype.kind
    names = y.astype(str) if kind == "U" else y
    y_given = np.array([mask if a == -1 else b for a, b in zip(y, names, strict=True)], dtype=kind)
    for sampler in (OVER, None):
        clf = ResampledClassifier(LogisticRegression(), sampler).fit(X, y_given)
        assert clf.classes_.tolist() == (["0", "1"] if kind == "U" else [0, 1])
        known = y != -1
        index = DomainResampler(sampler).fit(X, y).sample_indices_
        index = index[known[index]]
        plain = LogisticRegression().fit(X[index], y[index])
        np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X), rtol=1e-6)
        assert clf.score(X, y_given) == plain.score(X[known], y[known])


def test_index_alignment_in_a_search(routing):
    X, y, domain = numbered()
    row = X[:, 0]

    class Checked(Recorder):
        def fit(self, X, y_new, **given):
            super().fit(X, y_new, **given)
            X_new, y_new, d_new, w_new, *_ = self.seen_
            index = X_new[:, 0].astype(int)
            np.testing.assert_array_equal(y_new, y[index])
            np.testing.assert_array_equal(d_new, domain[index])
            np.testing.assert_array_equal(w_new, index / 2)
            # numbers of labelled rows: balanced within each domain
            for d in (0, 1):
                a, b = np.bincount(y_new[d_new == d], minlength=2)
                assert a == b, "not resampled"
            return self

        fit.__signature__ = inspect.signature(Recorder.fit)  # says which arguments it takes

    grid = {"sampler": [OVER, UNDER]}
    scoring = LabelledScorer()
    if routing:
        scoring.set_score_request(sample_weight=False)
    search = GridSearchCV(
        ResampledClassifier(Checked()), grid, cv=3, scoring=scoring, error_score="raise"
    )
    search.fit(X, y, sample_domain=domain, sample_weight=row / 2)
    assert 0 < search.best_score_ < 1
    assert len(search.predict(X)) == 120


def test_pipelines_and_searches_on_packed_data(packed, routing):
    X, y, domain = packed
    rare = (y == 1) & (np.arange(len(y)) % 4 > 0)
    X, y, domain = X[~rare], y[~rare], domain[~rare]
    given = {"sample_domain": domain} if routing else {}
    pipe = make_pipeline(StandardScaler(), ResampledClassifier(PerSide(), SMOTE3))
    grid = {
        "resampledclassifier__sampler": [None, SMOTE3, UNDER],
        "resampledclassifier__estimator__sharpness": [0.5, 1.0],
    }
    search = GridSearchCV(pipe, grid, cv=3, scoring=LabelledScorer("worst_class_recall"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*too few rows")
        search.fit(X, y, **given)
    assert search.best_score_ > 0.9 and len(search.predict(X)) == len(X)
    source = LabelledScorer()(search, X, y)
    assert source > 0.95, "source rows were predicted as target rows"
    # A pipeline inside: the last step gets the domains, resampled.
    inner = make_pipeline(StandardScaler(), PerSide())
    clf = ResampledClassifier(inner, OVER).fit(X, y, sample_domain=domain)
    assert set(clf.classes_) == {0, 1, 2}
    assert clf.score(X, y, sample_domain=domain) > 0.5
    assert clf.transform(X[:3], sample_domain="source").shape == (3, 2)


def test_deep_estimator_inside(packed):
    X, y, domain = packed
    deep = DomainAdaptationClassifier(max_epochs=2, random_state=0)
    clf = ResampledClassifier(deep, OVER).fit(X, y, sample_domain=domain)
    resampler = DomainResampler(OVER)
    rows = resampler.fit_resample(X, y, sample_domain=domain)
    expected = clone(deep).fit(*rows, sample_domain=resampler.sample_domain_)
    np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))
    assert not hasattr(deep, "classes_")


def test_inside_with_target(sides):
    Xs, ys, Xt, _ = sides
    keep = (ys != 1) | (np.arange(len(ys)) % 4 == 0)
    inner = ResampledClassifier(PerSide(), SMOTE3)
    clf = WithTarget(inner, Xt).fit(Xs[keep], ys[keep])
    X, y, _ = pack(Xs[keep], ys[keep], Xt)
    np.testing.assert_array_equal(clf.predict(Xt), inner.fit(X, y).predict(Xt))
    assert (clf.estimator_.sampling_strategy_[0]).keys() >= {1}


def test_domain_resampler_brings_its_target_labels():
    X, y, domain = numbered()
    y = np.where(domain < 0, np.arange(len(y)) % 4 == 0, y)
    sizes = []
    for sampler in (OVER, DomainResampler(OVER), DomainResampler(OVER, target_labels="use")):
        clf = ResampledClassifier(Recorder(), sampler).fit(X, y, sample_domain=domain)
        sizes.append(np.sum(clf.estimator_.seen_[2] < 0))
    assert sizes[0] == sizes[1] == 40 < sizes[2]


def test_misaligned_domains_in_an_imblearn_pipeline(packed, routing):
    X, y, domain = packed
    y = np.where((y == 1) & (np.arange(len(y)) % 2 == 0), 0, y)
    deep = DomainAdaptationClassifier(max_epochs=1)
    name = "sample_domain" if routing else "domainadaptationclassifier__sample_domain"
    for sampler in (OVER, DomainResampler(OVER)):
        pipe = make_imblearn_pipeline(StandardScaler(), sampler, deep)
        with pytest.raises(ValueError, match=r"(?s)sample_domain has .*Pipeline.*ResampledClassif"):
            pipe.fit(X, y, **{name: domain})
    # The way out that it names.
    pipe = make_imblearn_pipeline(StandardScaler(), ResampledClassifier(deep, OVER))
    name = "sample_domain" if routing else "resampledclassifier__sample_domain"
    pipe.fit(X, y, **{name: domain})
    # Without sample_domain, the masks are enough for DomainResampler in such a pipeline.
    make_imblearn_pipeline(StandardScaler(), DomainResampler(OVER), deep).fit(X, y)


def test_resampled_classifier_is_an_estimator():
    X, y, domain = two_domains()
    clf = ResampledClassifier(LogisticRegression(), DomainResampler(SMOTE3))
    assert not hasattr(clf, "classes_") and not hasattr(clf, "n_features_in_")
    clf.fit(X, y, sample_domain=domain)
    same = ResampledClassifier(LogisticRegression(), SMOTE3).fit(X, y, sample_domain=domain)
    np.testing.assert_array_equal(clf.predict_proba(X), same.predict_proba(X))
    assert clf.n_features_in_ == 2 and clf.sampling_strategy_ == {0: {1: 24}, 1: {0: 20}}
    assert not hasattr(clf, "transform") and hasattr(clf, "decision_function")
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_log_proba(X), clf.predict_log_proba(X))
    assert len(pickle.dumps(clf)) < 4000, "rows travel in the pickle"
    assert "ResampledClassifier" in clf._repr_html_()
    frame = pd.DataFrame(X, columns=["a", "b"])
    clf.fit(frame, y, sample_domain=domain)
    assert clf.feature_names_in_.tolist() == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.predict(frame)
    fitted = ResampledClassifier(LogisticRegression(), SMOTE3).fit(sp.csr_array(X), y)
    assert fitted.predict(sp.csr_array(X)).shape == (120,)


@pytest.mark.parametrize(
    "estimator, message",
    [
        (ResampledClassifier(Ridge(), OVER), "Ridge.* is not a classifier"),
        (ResampledRegressor(LogisticRegression(), OVER), "not a regressor; use ResampledClass"),
        (ResampledClassifier(LogisticRegression(), "smote"), "sampler='smote'"),
        (ResampledClassifier(LogisticRegression(), target_labels=1), "target_labels=1"),
        (ResampledRegressor(Ridge(), SMOTE3, bins=2), "no number to regress on.*RandomUnder"),
        (ResampledRegressor(Ridge(), OVER, bins=1), "bins=1 must be"),
        (ResampledRegressor(Ridge(), OVER, bins=[3, 2]), "increasing edges"),
    ],
)
def test_errors_of_estimators(estimator, message):
    X, y, _ = two_domains()
    X, y = X[y != -1], y[y != -1]
    with pytest.raises((TypeError, ValueError), match=message):
        estimator.fit(X, y)


# --- ResampledRegressor -----------------------------------------------------------------------


class NumberRecorder(RegressorMixin, BaseEstimator):
    def fit(self, X, y, *, sample_domain=None, sample_weight=None):
        self.seen_ = X, y, sample_domain, sample_weight
        return self

    def predict(self, X):
        return np.zeros(len(X))


@pytest.mark.parametrize("sampler, size", [(OVER, 8), (UNDER, 2)], ids=["over", "under"])
def test_regressor_balances_bins(sampler, size):
    y = np.r_[np.linspace(0, 1, 8), [5.5, 9.9, 10.0], [np.nan] * 4]
    X = np.column_stack([np.arange(15.0), np.zeros(15)])
    domain = np.r_[np.zeros(11, int), np.full(4, -1)]
    reg = ResampledRegressor(NumberRecorder(), sampler, bins=[3, 8])
    given = {"sample_domain": domain, "sample_weight": X[:, 0]}
    X_new, y_new, d_new, w_new = reg.fit(X, y, **given).estimator_.seen_
    index = X_new[:, 0].astype(int)
    np.testing.assert_array_equal(y_new, y[index])  # numbers, not bins
    np.testing.assert_array_equal(d_new, domain[index])
    np.testing.assert_array_equal(w_new, index)
    smallest = {8: 8, 2: 1}[size]
    found = [np.sum((y_new >= a) & (y_new < b)) for a, b in ((0, 3), (3, 8), (8, 11))]
    assert found == [smallest] * 3 and np.isnan(y_new).sum() == 4
    # The same without being told of the domains; equally wide bins.
    reg = ResampledRegressor(NumberRecorder(), sampler, bins=3).fit(X, y)
    np.testing.assert_allclose(reg.bin_edges_, [10 / 3, 20 / 3])
    _, y_new, d_new, _ = reg.estimator_.seen_
    np.testing.assert_array_equal(d_new, np.where(np.isnan(y_new), -1, 0))


def test_regressor_on_packed_data(routing):
    rng = np.random.default_rng(0)
    ys = rng.exponential(size=200)
    X, y, domain = pack(ys[:, None] + rng.normal(size=(200, 3)), ys, rng.normal(size=(60, 3)))
    pipe = make_pipeline(StandardScaler(), ResampledRegressor(Ridge(), OVER))
    grid = {"resampledregressor__sampler": [None, OVER, UNDER]}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*least populated class")
        search = GridSearchCV(pipe, grid, cv=3, scoring=LabelledScorer("r2")).fit(X, y)
    assert search.best_score_ > 0.5
    source = domain == 0
    plain = Ridge().fit(X[source], y[source])  # without a sampler: the labelled rows alone
    found = ResampledRegressor(Ridge()).fit(X, y)
    np.testing.assert_allclose(found.predict(X), plain.predict(X))
    assert found.score(X, y) == pytest.approx(plain.score(X[source], y[source]))
    one_value = ResampledRegressor(Ridge(), OVER)
    with pytest.warns(UserWarning, match="one class only"):
        one_value.fit(X, np.where(source, 2.0, np.nan))
