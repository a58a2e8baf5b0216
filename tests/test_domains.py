"""The data convention: masks, domains, pack and unpack in every container."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import KFold, StratifiedKFold

from adaptlearn import pack, unpack
from adaptlearn._domains import DomainIndex, is_unlabelled, read_domains, read_fit

NAN = float("nan")

# name -> labels whose rows 1 and 3 carry no label, and the classes left
MASKED = {
    "list of int": ([0, -1, 1, -1], [0, 1]),
    "int8": (np.array([0, -1, 1, -1], np.int8), [0, 1]),
    "int32": (np.array([20, -1, 40, -1], np.int32), [20, 40]),
    "float": (np.array([0.0, -1.0, 1.0, -1.0]), [0, 1]),
    "float with NaN": (np.array([0, NAN, 1, NAN]), [0, 1]),
    "float32 with NaN and -1": (np.array([0, NAN, 2, -1], np.float32), [0, 2]),
    "uint8 with None": ([np.uint8(0), None, np.uint8(3), None], [0, 3]),
    "list with None": ([0, None, 1, None], [0, 1]),
    "list with NaN": ([0, NAN, 1, NAN], [0, 1]),
    "list of str with NaN": (["cat", NAN, "dog", NAN], ["cat", "dog"]),
    "list with pd.NA": ([0, pd.NA, 1, pd.NA], [0, 1]),
    "bool with None": ([True, None, False, None], [False, True]),
    "str": (np.array(["cat", "-1", "dog", "-1"]), ["cat", "dog"]),
    "object str": (np.array(["cat", None, "dog", "-1"], object), ["cat", "dog"]),
    "object int": (np.array([0, None, 1, -1], object), [0, 1]),
    "column": (np.array([[0], [-1], [1], [-1]]), [0, 1]),
    "pandas Int64": (pd.Series([0, None, 1, -1], dtype="Int64"), [0, 1]),
    "pandas Float32": (pd.Series([0, None, 1, None], dtype="Float32"), [0, 1]),
    "pandas boolean": (pd.Series([True, None, False, None], dtype="boolean"), [False, True]),
    "pandas string": (pd.Series(["cat", None, "dog", "-1"], dtype="string"), ["cat", "dog"]),
    "pandas str": (pd.Series(["cat", None, "dog", "-1"]), ["cat", "dog"]),
    "pandas category": (pd.Series(["b", None, "a", None], dtype="category"), ["a", "b"]),
    "pandas category of int": (pd.Series([5, -1, 7, None], dtype="category"), [5, 7]),
    "pd.Categorical": (pd.Categorical(["b", None, "a", "-1"]), ["a", "b"]),
    "pd.array": (pd.array([1, None, 2, None], dtype="Int64"), [1, 2]),
    "pandas frame": (pd.DataFrame({"y": [0, -1, 1, -1]}), [0, 1]),
    "odd index": (pd.Series([0, -1, 1, -1], index=[7, 7, 3, 0]), [0, 1]),
    "polars int": (pl.Series([0, None, 1, -1]), [0, 1]),
    "polars str": (pl.Series(["cat", None, "dog", "-1"]), ["cat", "dog"]),
    "polars bool": (pl.Series([True, None, False, None]), [False, True]),
    "polars categorical": (pl.Series(["b", None, "a", None], dtype=pl.Categorical), ["a", "b"]),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize("name", MASKED)
def test_masks_are_read_in_every_dtype(name):
    y, classes = MASKED[name]
    masked = [False, True, False, True]
    assert is_unlabelled(y).tolist() == masked
    assert is_unlabelled(y, classes).tolist() == masked
    is_target, labelled = read_domains(y)
    assert is_target.tolist() == masked
    assert labelled.tolist() == [True, False, True, False]
    rows = read_fit(y, 4)
    assert rows.labelled.tolist() == [True, False, True, False]
    assert rows.domain.tolist() == [0, -1, 0, -1]
    assert np.unique(rows.y[rows.labelled]).tolist() == classes
    assert rows.y.dtype.kind in "bifU"
    assert rows.weight is None


def test_column_of_labels_warns():
    with pytest.warns(DataConversionWarning):
        read_fit(np.array([[0], [1]]), 2)


def test_null_is_read_without_pandas(monkeypatch):
    monkeypatch.delitem(sys.modules, "pandas")
    y = np.array(["a", None, np.float32("nan"), "b"], object)
    assert is_unlabelled(y).tolist() == [False, True, True, False]


@pytest.mark.skipif(
    not hasattr(getattr(np, "dtypes", None), "StringDType"), reason="NumPy 1 has no such type"
)
def test_numpy_string_dtype():
    assert is_unlabelled(np.array(["a", "-1"], np.dtypes.StringDType())).tolist() == [False, True]


PLUS_MINUS = [[-1, 1, 1, -1], [-1.0, 1.0, 1.0, -1.0], ["-1", "1", "1", "-1"]]


@pytest.mark.parametrize("y", PLUS_MINUS)
def test_minus_one_is_a_class_of_plain_binary_labels(y):
    rows = read_fit(np.array(y), 4)
    assert rows.labelled.all()
    assert (rows.domain == 0).all()
    assert not is_unlabelled(y).any()
    is_target, labelled = read_domains(y)  # no masks: rows of the target, as in predict
    assert is_target.all() and labelled.all()


@pytest.mark.parametrize("y", PLUS_MINUS)
def test_minus_one_masks_target_rows_once_a_domain_is_given(y):
    domain = [-1, 0, 0, -1]  # the rows with -1 are target rows: no source row carries it
    rows = read_fit(np.array(y), 4, sample_domain=domain, target_labels="use")
    assert rows.labelled.tolist() == [False, True, True, False]
    assert read_domains(y, domain)[1].tolist() == [False, True, True, False]


@pytest.mark.parametrize("y", PLUS_MINUS)
def test_minus_one_is_a_class_when_a_source_row_carries_it(y):
    rows = read_fit(np.array(y), 4, sample_domain=[0, 0, -1, -1], target_labels="use")
    assert rows.labelled.all()
    assert read_domains(y, [0, 0, -1, -1])[1].all()
    assert read_fit(np.array(y), 4, sample_domain=[0, 0, -1, -1]).labelled.tolist() == [
        True, True, False, False,
    ]  # fmt: skip


def test_minus_one_is_a_class_with_X_target():
    rows = read_fit(np.array([-1, 0, 1]), 3, n_target=2)
    assert rows.labelled.tolist() == [True] * 3 + [False] * 2
    assert rows.domain.tolist() == [0, 0, 0, -1, -1]
    assert rows.y[:3].tolist() == [-1, 0, 1]


def test_null_marks_the_target_among_plus_minus_one():
    rows = read_fit(np.array([-1, 1, NAN, NAN]), 4)
    assert rows.labelled.tolist() == [True, True, False, False]
    assert rows.domain.tolist() == [0, 0, -1, -1]


def test_classes_decide_after_fit():
    y = np.array([-1, 1, 1])
    assert is_unlabelled(y, [0, 1]).tolist() == [True, False, False]
    assert not is_unlabelled(y, [-1, 1]).any()
    assert not is_unlabelled(["-1", "1"], ["-1", "1"]).any()
    assert read_domains(y, classes=[0, 1])[0].tolist() == [True, False, False]
    assert read_fit(np.array([1, 1, -1, -1]), 4, classes=[0, 1]).domain.tolist() == [0, 0, -1, -1]
    assert read_fit(np.array([-1, -1]), 2, classes=[-1, 1]).labelled.all()


def test_regression_reads_nan_alone():
    y = np.array([-1.0, 0.5, NAN, NAN])
    assert is_unlabelled(y).tolist() == [False, False, True, True]
    assert is_unlabelled([-1.0, NAN], ()).tolist() == [False, True]
    assert read_domains([-1, NAN], [0, -1], ())[1].tolist() == [True, False]
    for given in (y, y.tolist(), pd.Series(y), pd.Series(y, dtype="Float64"), pl.Series(y)):
        rows = read_fit(given, 4, regression=True)
        assert rows.labelled.tolist() == [True, True, False, False]
        assert rows.y[:2].tolist() == [-1.0, 0.5]
        assert rows.y.dtype == np.float64 and np.isfinite(rows.y).all()
    assert read_fit(np.array([-1, 2, -1]), 3, regression=True).labelled.all()


def test_read_domains_of_a_validation_fold():
    is_target, labelled = read_domains([0, 1, -1], classes=[0, 1])
    assert is_target.tolist() == [False, False, True]  # masks: labelled rows are source rows
    assert labelled.tolist() == [True, True, False]
    is_target, labelled = read_domains([0, 1, 0], classes=[0, 1])
    assert is_target.all() and labelled.all()  # no masks: target rows
    for domain, answer in (("source", False), ("target", True), (2, False), (-2, True)):
        assert (read_domains([0, 1, 0], domain, [0, 1])[0] == answer).all()


# --- sample_domain --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        list,
        lambda v: np.array(v, np.int8),
        lambda v: np.array(v, np.float64),
        lambda v: np.array(v, object),
        lambda v: pd.Series(v, index=np.zeros(len(v))),
        lambda v: pd.Series(v, dtype="Int64"),
        pl.Series,
    ],
)
def test_sample_domain_in_every_form(make):
    domain = [0, 3, -1, -2, -2, -1, 3, 0]
    rows = read_fit([0, 1] * 4, 8, sample_domain=make(domain))
    assert rows.domain.tolist() == domain
    assert rows.domain.dtype == np.int64
    assert read_fit([0, 1], 2, sample_domain=np.array([7, 7], np.uint8)).domain.tolist() == [7, 7]


@pytest.mark.parametrize("scalar", [2, np.int64(2), np.array(2), 2.0])
def test_sample_domain_scalar_is_broadcast(scalar):
    assert read_fit([0, 1, 0], 3, sample_domain=scalar).domain.tolist() == [2, 2, 2]
    assert read_fit([0, 1], 2, sample_domain=scalar, n_target=2).domain.tolist() == [2, 2, -1, -1]
    index = DomainIndex.of(np.array([2, 2, -1]))
    assert index.read(scalar, 4).tolist() == [0] * 4


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([0, 1], ValueError, "sample_domain has 2 entries for 4 rows"),
        ([0.5, 0, 0, 0], ValueError, "sample_domain holds fractions"),
        ([NAN, 0, 0, 0], ValueError, "sample_domain holds fractions, NaN"),
        (["a"] * 4, TypeError, "sample_domain must be one integer .*dtype <U1"),
        ("target", TypeError, "sample_domain must be one integer"),
        ([True, False] * 2, TypeError, "dtype bool"),
        (True, TypeError, "dtype bool"),
        ([0, 0, None, -1], TypeError, "dtype object"),
        (np.zeros((4, 1), int), TypeError, r"shape \(4, 1\).* Number the domains"),
        ([-1, -1, -2, -2], ValueError, "no source row"),
        ([0, 0, 0, -1], ValueError, r"domain \[-1\] has only 1 sample .* Add rows"),
    ],
)
def test_bad_sample_domain(given, error, message):
    with pytest.raises(error, match=message):
        read_fit([0, 1, 0, 1], 4, sample_domain=given)


def test_domain_index():
    index = DomainIndex.of(np.array([3, -2, 0, -1, 3, -2]))
    assert index.sources == (0, 3) and index.targets == (-1, -2)
    assert index.ids == (0, 3, -1, -2) and index.n_slots == 6
    assert index.slots(np.array([-2, 0, 3])).tolist() == [3, 0, 1]
    assert index.read(None, 2).tolist() == [5, 5]  # several targets: pooled
    assert index.read("target", 1).tolist() == [5]
    assert index.read("source", 1).tolist() == [4]
    assert index.read(-1, 1).tolist() == [2]
    assert index.read([3, -2], 2).tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"\[-7, 9\], not seen in fit \(seen: \[0, 3, -1, -2\]"):
        index.read([9, -7, 0], 3)
    with pytest.raises(ValueError, match="sample_domain='src' is not known; allowed are 'source'"):
        index.read("src", 3)
    with pytest.raises(ValueError, match="2 entries for 3 rows"):
        index.read([0, 3], 3)
    one = DomainIndex.of(np.array([5, -4]))
    assert one.read(None, 1).tolist() == [1] and one.read("source", 1).tolist() == [0]
    plain = DomainIndex.of(np.array([0, 0]))
    assert plain.read(None, 1).tolist() == [0] == plain.read("source", 1).tolist()
    assert DomainIndex.of(np.array([0, 1])).read(None, 1).tolist() == [2]


# --- fit: errors, weights, target labels ----------------------------------------------------


@pytest.mark.parametrize(
    ("y", "kwargs", "error", "message"),
    [
        (None, {}, ValueError, "requires y to be passed"),
        ([0, 1], {}, ValueError, "X has 4 rows, y has 2"),
        ([-1] * 4, {}, ValueError, "no source row"),
        ([None] * 4, {}, ValueError, "no source row"),
        ([NAN] * 4, {"regression": True}, ValueError, "no source row"),
        ([0, 1, "a", 1], {}, TypeError, "y holds labels of types int, str; .* '-1'"),
        ([0, 1, 1j, 1], {}, TypeError, "types complex, int"),
        ([0.5, 1.5, 2.5, 3.1], {}, ValueError, "Unknown label type: continuous"),
        ([[0, 1]] * 4, {}, ValueError, "1d array"),
        ([1, NAN, 2, -1], {"n_target": 3}, ValueError, "no label on 1 rows that are source rows"),
        (
            [1, 2, 1, 2],
            {"n_target": 3, "sample_domain": [0, 0, 0, -1]},
            ValueError,
            "sample_domain holds negative numbers .* in one way only",
        ),
        ([1, None, 2, 1], {"sample_domain": 0}, ValueError, r"1 rows that sample_domain marks"),
        ([1, NAN, 2, 1], {"sample_domain": 0, "regression": True}, ValueError, "no label on 1"),
        ([1, 2, 1, np.inf], {"regression": True}, ValueError, "y contains infinity"),
        (["a", "b", "c", "d"], {"regression": True}, ValueError, "y must hold numbers"),
        ([0, 1, 0, 1], {"n_target": 1}, ValueError, r"domain \[-1\] has only 1 sample"),
        ([0, 1, 0, 1], {"sample_weight": [1, 2]}, ValueError, "sample_weight has 2 entries for 4"),
        ([0, 1, 0, 1], {"sample_weight": [1, NAN, 1, 1]}, ValueError, "must be finite"),
        ([0, 1, 0, 1], {"sample_weight": [1, -1, 1, 1]}, ValueError, "not negative"),
        (
            [0, 1, -1, -1],
            {"sample_weight": [0, 0, 1, 1]},
            ValueError,
            "not all zero on labelled rows",
        ),
        ([0, 1, 0, 1], {"sample_weight": np.ones((4, 1))}, ValueError, "1D array or scalar"),
    ],
)
def test_errors_of_fit(y, kwargs, error, message):
    with pytest.raises(error, match=message):
        read_fit(y, 4, **kwargs)


def test_target_labels():
    y, domain = np.array([0, 1, 1, -1, 0]), [0, 0, -1, -1, -1]
    ignored = read_fit(y, 5, sample_domain=domain)
    assert ignored.labelled.tolist() == [True, True, False, False, False]
    used = read_fit(y, 5, sample_domain=domain, target_labels="use")
    assert used.labelled.tolist() == [True, True, True, False, True]


def test_no_target_is_plain_supervised():
    rows = read_fit(["a", "b", "a"], 3)
    assert rows.labelled.all() and (rows.domain == 0).all()


def test_sample_weight():
    assert read_fit([0, 1], 2, sample_weight=3).weight.tolist() == [3.0, 3.0]
    rows = read_fit([0, 1], 2, sample_weight=[1, 2], n_target=2)
    assert rows.weight.tolist() == [1.0, 2.0, 1.0, 1.0]
    assert rows.weight.dtype == np.float64


def test_read_only_inputs_are_unchanged():
    arrays = [np.array([0, -1, 1, -1]), np.array([0, -1, 0, -1]), np.ones(4)]
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    y, domain, weight = arrays
    read_fit(y, 4, sample_domain=domain, sample_weight=weight)
    read_fit(y, 4, sample_weight=weight, n_target=None)
    read_fit(np.abs(y), 4, sample_domain=np.abs(domain), n_target=2, sample_weight=weight)
    read_domains(y, domain), is_unlabelled(y)
    X = np.ones((4, 2))
    X.flags.writeable = False
    unpack(*pack(X, np.abs(y), X, sample_weight=weight)[:3])
    for a, b in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, b)


# --- pack and unpack ------------------------------------------------------------------------

RNG = np.random.default_rng(0)
XS, YS, XT = RNG.normal(size=(5, 3)), np.array([0, 1, 2, 1, 0]), RNG.normal(size=(8, 3))


def to_pandas(X):
    return pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X))[::-1])


CONTAINERS = {
    "float64": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "int": lambda X: (10 * X).astype(np.int16),
    "image": lambda X: np.tile(X[:, :, None, None], (1, 1, 2, 2)),
    "csr": sp.csr_matrix,
    "csr array": sp.csr_array,
    "coo": sp.coo_matrix,
    "pandas": to_pandas,
    "pandas column": lambda X: pd.Series([str(v) for v in X[:, 0]]),
    "polars": lambda X: pl.DataFrame(X, schema=["a", "b", "c"]),
    "lists": lambda X: X.tolist(),
    "text": lambda X: [str(v) for v in X[:, 0]],
    "text array": lambda X: np.array([str(v) for v in X[:, 0]], object),
}


def dense(X):
    if sp.issparse(X):
        return X.toarray()
    return X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)


@pytest.mark.parametrize("name", CONTAINERS)
def test_round_trip(name):
    Xs, Xt = CONTAINERS[name](XS), CONTAINERS[name](XT)
    X, y, domain = pack(Xs, YS, Xt)
    kind = (
        list
        if name == "text"
        else type(Xs)
        if name not in ("lists", "coo", "csr array")
        else object
    )
    assert isinstance(X, kind) and sp.issparse(X) == sp.issparse(Xs)
    assert y.tolist().count(-1) == 8 and domain.tolist().count(-1) == 8
    if name.startswith("pandas"):
        assert X.index.tolist() == list(range(13))
    for out in (unpack(X, y, domain), unpack(X, y)):
        np.testing.assert_array_equal(dense(out.X_source), dense(Xs))
        np.testing.assert_array_equal(dense(out.X_target), dense(Xt))
        np.testing.assert_array_equal(out.y_source, YS)
        assert out.y_target is None


@pytest.mark.parametrize("name", CONTAINERS)
def test_round_trip_of_several_domains(name):
    make = CONTAINERS[name]
    sources, targets = [XS, XS[:3] + 1], [XT, XT[:2] - 1, XT[:4] + 2]
    X, y, domain = pack([make(x) for x in sources], [YS, YS[:3]], [make(x) for x in targets])
    assert sorted(set(domain.tolist())) == [-3, -2, -1, 0, 1]
    out = unpack(X, y, domain)
    for got, given in zip(out.X_source + out.X_target, sources + targets, strict=True):
        np.testing.assert_array_equal(dense(got), dense(make(given)))
    assert [v.tolist() for v in out.y_source] == [YS.tolist(), YS[:3].tolist()]
    assert out.y_target is None


def test_list_of_one_domain():
    assert pack([XS], [YS], [XT])[0].shape == (13, 3)
    assert pack([XS], YS, XT)[1].tolist() == pack(XS, YS, XT)[1].tolist()
    assert pack(XS[:1], [4], XT[:1])[1].tolist() == [4, -1]


def test_rows_that_are_images_stay_one_list():
    image = pytest.importorskip("PIL.Image")
    rows = [image.new("RGB", (4, 4), (k, 0, 0)) for k in range(6)]
    X, y, domain = pack(rows[:2], ["a", "b"], rows[2:])
    assert isinstance(X, list) and all(any(x is row for row in rows) for x in X)
    assert unpack(X, y, domain).X_source == rows[:2]


def test_lists_of_arrays_that_are_images():
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    expected = pack(images[:4], [0, 1, 0, 1], images[4:])
    for source in (images[:4], list(images[:4])):
        for target in (images[4:], list(images[4:])):
            for found, given in zip(pack(source, [0, 1, 0, 1], target), expected, strict=True):
                np.testing.assert_array_equal(found, given)
    sizes = [images[0], images[1, :3]]  # two sizes stay a list
    X, _, domain = pack(sizes, np.array([0, 1]), sizes[::-1])
    assert [row.shape for row in X] == [(4, 5, 3), (3, 5, 3), (3, 5, 3), (4, 5, 3)]
    assert domain.tolist() == [0, -1, 0, -1]
    two = pack(list(images[:4]), [0, 1, 0, 1], [list(images[4:]), list(images[:1])])
    assert sorted(set(two[2].tolist())) == [-2, -1, 0]
    three = pack([images[:2], images[2:4]], [[0, 1], [0, 1]], images[4:])  # domains, as ever
    assert sorted(set(three[2].tolist())) == [-1, 0, 1]


def test_sparse_and_dense_mix():
    X, _, _ = pack(sp.csr_matrix(XS), YS, XT)
    assert sp.issparse(X) and X.shape == (13, 3)


@pytest.mark.parametrize(
    ("ys", "mask", "kind"),
    [
        ([0, 1, 2, 1, 0], -1, "i"),
        (np.array([0, 1, 2, 1, 0], np.uint8), -1, "i"),
        (np.array([0, 1, 200, 1, 0], np.uint8), -1, "i"),
        (np.array([0, 1, 100, 1, 0], np.int8), -1, "i"),
        (np.array([True, False, True, True, False]), -1, "i"),
        (np.array([0.0, 1.0, 2.0, 1.0, 0.0]), -1, "f"),
        (["a", "b", "long", "b", "a"], "-1", "U"),
        (np.array(["a", "b", "c", "b", "a"], object), "-1", "U"),
        (pd.Series(["a", "b", "c", "b", "a"], dtype="category"), "-1", "U"),
        (pl.Series(["a", "b", "c", "b", "a"]), "-1", "U"),
        (pd.Series([1, 2, 3, 2, 1], dtype="UInt8"), -1, "i"),
        (np.array([0.5, -1.0, 2.0, 1.0, 0.0]), NAN, "f"),
    ],
)
def test_pack_writes_the_right_mask(ys, mask, kind):
    _, y, domain = pack(XS, ys, XT)
    assert y.dtype.kind == kind
    np.testing.assert_array_equal(y[domain < 0], np.full(8, mask))
    assert y[domain >= 0].tolist() == list(ys)
    regression = kind == "f" and mask != mask
    assert is_unlabelled(y).tolist() == (domain < 0).tolist()
    assert read_fit(y, 13, regression=regression).domain.tolist() == domain.tolist()
    if kind != "f":  # the mask survives scikit-learn's own tools
        list(StratifiedKFold(2).split(np.zeros(26), np.tile(y, 2)))


def test_pack_whole_numbers_for_regression():
    ys = np.array([151.0, -1.0, 141.0, 206.0, 135.0])
    for given in (ys, ys.astype(int)):
        _, y, domain = pack(XS, given, XT, regression=True)
        assert np.isnan(y[domain < 0]).all()
        assert y[domain == 0].tolist() == ys.tolist()
    assert unpack(np.zeros((13, 1)), y, domain).y_source.tolist() == ys.tolist()
    with pytest.raises(TypeError, match="regression=True"):
        pack(XS, list("abcde"), XT, regression=True)


@pytest.mark.parametrize(
    "ys",
    [
        [0, 1, -1, 1, 0],
        [-1, 1, 1, 1, -1],
        ["a", "-1", "b", "a", "b"],
        [0, None, 1, 1, 0],
        [0.0, NAN, 1.0, 1.0, 0.0],
        [0.5, NAN, 1.5, 1.0, 0.0],
        pd.Series([0, None, 1, 1, 0], dtype="Int64"),
    ],
)
def test_pack_refuses_labels_that_hold_the_mask(ys):
    with pytest.raises(ValueError, match=r"ys holds the mask .* recode .*np\.where"):
        pack(XS, ys, XT)


def test_pack_y_target():
    yt = np.array([2, 2, 1, 0, 0, 1, 2, -1])  # the last is not known
    X, y, domain = pack(XS, YS, XT, y_target=yt)
    out = unpack(X, y, domain)
    np.testing.assert_array_equal(out.y_target, yt)
    rows = read_fit(y, 13, sample_domain=domain, target_labels="use")
    assert rows.labelled.sum() == 12
    assert read_fit(y, 13, sample_domain=domain).labelled.tolist() == (domain >= 0).tolist()
    X, y, domain = pack(XS, YS, [XT, XT[:2]], y_target=[None, [1, 2]])
    out = unpack(X, y, domain)
    assert out.y_target[0] is None and out.y_target[1].tolist() == [1, 2]
    _, y, _ = pack(XS, list("aabab"), XT, y_target=["longer", None] * 4)
    assert y.dtype == "<U6" and (y == "longer").sum() == 4 and (y == "-1").sum() == 4


def test_pack_sample_weight():
    weight = np.arange(1, 6)
    X, _, domain, packed = pack(XS, YS, XT, sample_weight=weight)
    assert packed[domain == 0].tolist() == weight.tolist()
    assert (packed[domain < 0] == 1).all()
    assert len(X) == len(packed)
    packed = pack([XS, XS], [YS, YS], XT, sample_weight=[weight, 2 * weight])
    assert packed[3][packed[2] == 1].tolist() == (2 * weight).tolist()


@pytest.mark.parametrize(
    "sizes", [(5, 13), (100, 7), (6, 5, 5), (5, 5, 8, 91), (9, 1000, 11), (7,)]
)
def test_plain_folds_hold_every_domain_and_order_is_kept(sizes):
    blocks = [np.arange(n)[:, None] + 1000.0 * k for k, n in enumerate(sizes)]
    sources, targets = blocks[:-1] or blocks, blocks[-1:]
    X, y, domain = pack(sources, [np.arange(len(s)) % 3 for s in sources], targets)
    again = pack(sources, [np.arange(len(s)) % 3 for s in sources], targets)
    np.testing.assert_array_equal(X, again[0])  # deterministic
    for d in np.unique(domain):
        assert (np.diff(X[domain == d, 0]) == 1).all()
    for n_folds in (2, 3, 5):
        for train, test in KFold(n_folds).split(X):
            assert set(domain[test]) == set(domain[train]) == set(domain), (n_folds, test)
    assert len(y) == len(X)


def test_rows_of_two_lengths_are_a_list():
    """Sounds of one second here and of two there."""
    source, target = [np.ones(10)] * 3, [np.ones(20)] * 2
    X, y, domain = pack(source, [0, 1, 0], target)
    assert [len(row) for row in X] == np.where(domain < 0, 20, 10).tolist()
    assert (y[domain < 0] == -1).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pack(XS, YS[:3], XT), ValueError, "ys has 3 labels for 5 rows"),
        (lambda: pack(None, YS, XT), ValueError, "Xs is None; give the source rows"),
        (lambda: pack(XS, None, XT), ValueError, "ys is None; give the labels"),
        (lambda: pack(XS, YS, None), ValueError, "Xt is None; give the target rows"),
        (lambda: pack(XS, YS, XT, y_target=[1]), ValueError, "y_target has 1 labels for 8 rows"),
        (lambda: pack([XS, XS], YS, XT), ValueError, "ys must hold one array per domain"),
        (lambda: pack([XS, XS], [YS], XT), ValueError, "there are 2 domains, got 1"),
        (lambda: pack(XS, YS, XT[:, :2]), ValueError, "different numbers of features"),
        (lambda: pack(sp.csr_matrix(XS), YS, XT[:, :2]), ValueError, "different numbers"),
        (lambda: pack(to_pandas(XS), YS, XT), TypeError, r"different kinds \(array, pandas\)"),
        (
            lambda: pack(to_pandas(XS), YS, to_pandas(XT).rename(columns={"a": "z"})),
            ValueError,
            r"different columns: \['a', 'z'\]",
        ),
        (
            lambda: pack(XS, YS, XT, y_target=["a"] * 8),
            TypeError,
            "mix strings and numbers",
        ),
        (
            lambda: pack(XS, YS, XT, sample_weight=[1, 2]),
            ValueError,
            r"sample_weight has \[2\] entries for \[5\] source rows",
        ),
    ],
)
def test_errors_of_pack(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_frames_with_columns_in_another_order():
    X, _, domain = pack(to_pandas(XS), YS, to_pandas(XT)[["c", "a", "b"]])
    assert list(X.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(X[domain < 0], XT)
    polars = pl.DataFrame(XS, schema=["a", "b", "c"])
    other = pl.DataFrame(XT[:, ::-1].astype(np.float32), schema=["c", "b", "a"])
    X, _, domain = pack(polars, YS, other)
    np.testing.assert_allclose(X.to_numpy()[domain < 0], XT, rtol=1e-6)


def test_memory_map(tmp_path):
    np.save(tmp_path / "X.npy", XT)
    X, _, domain = pack(XS, YS, np.load(tmp_path / "X.npy", mmap_mode="r"))
    np.testing.assert_array_equal(X[domain < 0], XT)


def test_unpack_without_target():
    out = unpack(XS, YS)
    np.testing.assert_array_equal(out.X_source, XS)
    assert out.X_target == [] and out.y_target is None
