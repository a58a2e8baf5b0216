import os

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from adaptlearn import datasets

# loader: file(s), shape of X, rows of each domain, values of y
LOADERS = {
    "load_gas_drift": (
        "gas_drift_8batches.npz", (6697, 128), [445, 1244, 1586, 161, 197, 2300, 294, 470],
        range(1, 7)),
    "load_office_caltech_surf": (
        "office_caltech10_surf.npz", (2533, 800), [958, 1123, 157, 295], range(1, 11)),
    "load_office31_features": (
        "office31_mnv2_feat.npz", (4110, 1280), [2817, 498, 795], range(31)),
    "load_office31_images": (
        "office31_jpeg112_dslr_webcam.npz", (1293,), [498, 795], range(31)),
    "load_amazon_bow": (
        "amazon_dann_bow5000.npz", (27677, 5000), [6465, 5586, 7681, 7945], (-1, 1)),
    "load_amazon_reviews": ("amazon_raw_text.npz", (8000,), [2000] * 4, range(2)),
    "load_spam": ("spam_youtube_sms.npz", (7530,), [350, 350, 438, 448, 370, 5574], range(2)),
    "load_digits_domains": ("digits_usps.npz", (19298, 256), [10000, 9298], range(10)),
    "load_heart": ("heart4.npz", (920, 13), [303, 294, 123, 200], range(2)),
    "load_spoken_digits": ("fsdd_logmel40x50.npz", (3000, 2000), [500] * 6, range(10)),
    "load_wine_quality": ("wine_red_white.npz", (6497, 11), [1599, 4898], range(3, 10)),
}  # fmt: skip


def needs(file):
    home = datasets.get_data_home()
    if home is None or not (home / file).is_file():
        pytest.skip(f"{file} is not in a data home: set ADAPTLEARN_DATA to its folder")


@pytest.mark.parametrize("name", LOADERS)
def test_loader_returns_the_benchmark(name):
    file, shape, rows, labels = LOADERS[name]
    needs(file)
    data = getattr(datasets, name)()
    assert data.X.shape == shape
    assert data.y.shape == data.domain.shape == shape[:1]
    assert np.bincount(data.domain).tolist() == rows
    assert len(data.domains) == len(rows)
    assert np.unique(data.y).tolist() == list(labels)
    assert len(data.classes) == len(list(labels))
    assert data.y.dtype == np.int64  # unsigned labels could not hold a mask
    assert isinstance(data.DESCR, str) and data.DESCR
    if not sparse.issparse(data.X) and data.X.dtype != object:
        assert data.X.dtype == np.float32


def test_loader_details():
    needs("heart4.npz")
    needs("digits_usps.npz")
    heart = datasets.load_heart()
    chol = heart.feature_names.index("chol")
    assert np.isnan(heart.X[heart.domain == 2, chol]).all()  # coded 0 in Switzerland
    assert np.array_equal(heart.y, heart.severity > 0)
    digits = datasets.load_digits_domains()
    assert digits.images.shape == (19298, 16, 16)
    assert digits.X.min() >= 0 and digits.X.max() <= 1 + 1e-6


@pytest.mark.parametrize("name", LOADERS)
def test_missing_file_names_both_ways_to_give_it(name, tmp_path, monkeypatch):
    loader = getattr(datasets, name)
    monkeypatch.delenv("ADAPTLEARN_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"data_home=.*ADAPTLEARN_DATA"):
        loader()
    with pytest.raises(FileNotFoundError, match=r"(?s)data home.*data_home=.*ADAPTLEARN_DATA"):
        loader(data_home=tmp_path)
    monkeypatch.setenv("ADAPTLEARN_DATA", os.fspath(tmp_path))
    with pytest.raises(FileNotFoundError, match=tmp_path.name):
        loader()


@pytest.mark.parametrize("content", ["pickle", "text", "truncated", "empty"])
def test_foreign_and_damaged_files_are_refused(content, tmp_path):
    path = tmp_path / "heart4.npz"
    fired = tmp_path / "fired"

    class Bomb:
        def __reduce__(self):
            return (fired.touch, ())

    if content == "pickle":
        np.savez(path, X=np.array([Bomb()], dtype=object))
    elif content == "truncated":
        np.savez(path, X=np.zeros(1000))
        path.write_bytes(path.read_bytes()[:300])
    else:
        path.write_bytes(b"" if content == "empty" else b"age,sex\n1,2\n")
    with pytest.raises(ValueError, match=r"heart4\.npz.*not a readable"):
        datasets.load_heart(data_home=tmp_path)
    assert not fired.exists()


def test_data_home_argument_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAPTLEARN_DATA", "elsewhere")
    assert datasets.get_data_home(tmp_path) == tmp_path
    assert datasets.get_data_home().name == "elsewhere"
    monkeypatch.setenv("ADAPTLEARN_DATA", "")
    assert datasets.get_data_home() is None


def test_resizing_keeps_grey_and_averages_areas():
    from adaptlearn.datasets._loaders import _resize

    image = np.zeros((1, 28, 28), dtype=np.float32)
    image[0, :14] = 1
    small = _resize(image, 16)
    assert small.shape == (1, 16, 16)
    np.testing.assert_allclose(small[0, :8], 1, rtol=1e-6)
    np.testing.assert_allclose(small[0, 8:], 0, atol=1e-6)
    # 28 / 16 = 1.75: the first output pixel covers one whole pixel and three quarters of the next.
    image[:] = 0
    image[0, 0, 0] = 1
    np.testing.assert_allclose(_resize(image, 16)[0, 0, 0], 1 / 1.75**2, rtol=1e-6)


def test_domain_pair():
    X, y = np.arange(6)[:, None], np.arange(6)
    data = Bunch(X=X, y=y, domain=np.array([0, 1, 2, 0, 1, 2]), domains=["a", "b", "c"])
    parts = datasets.domain_pair(data, ["a", "c"], "b")
    assert [part.ravel().tolist() for part in parts] == [[0, 2, 3, 5]] * 2 + [[1, 4]] * 2
    with pytest.raises(ValueError, match="target='d' is not a domain"):
        datasets.domain_pair(data, "a", "d")


def test_scanned_digits_are_repeatable_and_disjoint():
    first = datasets.load_scanned_digits(random_state=3)
    again = datasets.load_scanned_digits(random_state=3)
    other = datasets.load_scanned_digits(random_state=4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    X_source, _, X_target, y_target = first
    assert X_source.shape == (898, 64) and X_target.shape == (len(y_target), 64)
    assert 0 <= X_target.min() and X_target.max() <= 16
    # The source rows are rows of the bundled set; whatever is left made the target.
    bundled = load_digits()
    rest = {row.tobytes() for row in bundled.data} - {row.tobytes() for row in X_source}
    assert len(rest) == len(bundled.data) - len(X_source)


def test_scanned_digits_target_rows_are_not_source_rows(monkeypatch):
    from adaptlearn.datasets import _scanned

    seen = []
    monkeypatch.setattr(_scanned, "scan", lambda images, rng: seen.append(images) or images)
    X_source, _, X_target, y_target = datasets.load_scanned_digits()
    source = {row.tobytes() for row in X_source}
    assert not any(row.tobytes() in source for row in X_target)
    counts = np.bincount(y_target)
    weights = np.array(datasets.TARGET_WEIGHTS)
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=0.005)


def test_scanner_leaves_its_input_and_global_generator_alone():
    images = load_digits().images[:20]
    before = images.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    scanned = datasets.scan(images, random_state=0)
    assert np.array_equal(images, before)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    assert np.array_equal(scanned, datasets.scan(images, random_state=0))
    with pytest.raises(ValueError, match="Reshape"):
        datasets.scan(images.reshape(20, -1))


def test_scanned_digits_lose_accuracy_that_domain_normalisation_recovers():
    X_source, y_source, X_target, y_target = datasets.load_scanned_digits()
    linear = LogisticRegression(C=0.1, max_iter=500)
    model = make_pipeline(StandardScaler(), linear)
    source_only = model.fit(X_source, y_source).score(X_target, y_target)
    with_labels = cross_val_score(model, X_target, y_target, cv=4).mean()

    def normalised(X):
        return (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 0.3)

    adapted = linear.fit(normalised(X_source), y_source).score(normalised(X_target), y_target)
    assert 0.55 < source_only < 0.75
    assert adapted > source_only + 0.15
    assert with_labels > 0.93


@pytest.mark.parametrize("make", [datasets.make_shifted_blobs, datasets.make_domain_shift])
def test_synthetic_shapes_priors_and_repeatability(make):
    priors = [0.7, 0.3] if make is datasets.make_domain_shift else [0.7, 0.2, 0.1]
    Xs, ys, Xt, yt = make(60, 40, target_priors=priors, random_state=0)
    assert Xs.shape == (60, 2) and Xt.shape == (40, 2)
    assert np.bincount(ys).tolist() == [60 // len(priors)] * len(priors)
    assert np.bincount(yt).tolist() == [round(40 * prior) for prior in priors]
    for a, b in zip((Xs, ys, Xt, yt), make(60, 40, target_priors=priors, random_state=0),
                    strict=True):  # fmt: skip
        assert np.array_equal(a, b)
    with pytest.raises(ValueError, match="target_priors"):
        make(target_priors=[1.0])
    with pytest.raises(ValueError, match="n_source=0"):
        make(0)


def test_blobs_move_by_the_stated_distance():
    near = datasets.make_shifted_blobs(50, 50, n_features=4, shift=0.0, random_state=1)
    far = datasets.make_shifted_blobs(50, 50, n_features=4, shift=2.5, random_state=1)
    assert np.array_equal(near[0], far[0])
    np.testing.assert_allclose(np.linalg.norm(far[2] - near[2], axis=1), 2.5)


def test_moons_move_as_stated():
    base = datasets.make_domain_shift(shift="none", random_state=1)
    moved = {
        shift: datasets.make_domain_shift(shift=shift, random_state=1)[2]
        for shift in ("translation", "scale", "rotation")
    }
    np.testing.assert_allclose(moved["translation"], base[2] + [1, 0.5])
    np.testing.assert_allclose(moved["scale"], base[2] * [2, 0.5])
    np.testing.assert_allclose(
        np.linalg.norm(moved["rotation"], axis=1), np.linalg.norm(base[2], axis=1)
    )
    with pytest.raises(ValueError, match="shift='turn'"):
        datasets.make_domain_shift(shift="turn")


def test_scanned_digits_take_proportions():
    weights = [0, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    X, _, _, y_target = datasets.load_scanned_digits(target_weights=weights)
    counts = np.bincount(y_target, minlength=10)
    assert counts[0] == 0 and counts[2] in (2 * counts[1], 2 * counts[1] + 1) and counts[1] > 30
    assert np.array_equal(X, datasets.load_scanned_digits()[0])  # the source stays
    for wrong in ([1] * 9, [0] * 10, [-1] + [1] * 9, [np.nan] * 10):
        with pytest.raises(ValueError, match=r"target_weights=.*10 numbers"):
            datasets.load_scanned_digits(target_weights=wrong)


def test_spam_texts_by_hand():
    texts, y, messages, y_target = datasets.make_spam_texts(2000, 3000, random_state=3)
    assert (len(texts), len(messages)) == (2000, 3000)
    assert y.tolist().count(1) == 1000 and y_target.tolist().count(1) == 390  # half, and 13 %
    assert min(len(t.split()) for t in [*texts, *messages]) >= 3
    again = datasets.make_spam_texts(2000, 3000, random_state=3)
    assert np.array_equal(texts, again[0]) and np.array_equal(messages, again[2])

    def share(word, rows):
        return np.mean([word in text.split() for text in rows])

    # Words of one channel, of one class in both channels, and of one class in one channel.
    assert share("video", texts) > 0.2 and share("video", messages) == 0
    assert share("free", texts[y == 1]) > 0.05 < share("free", messages[y_target == 1])
    assert share("free", texts[y == 0]) == share("free", messages[y_target == 0]) == 0
    assert share("claim", messages[y_target == 1]) > 0.1
    assert share("claim", messages[y_target == 0]) == share("claim", texts) == 0


def test_spam_texts_take_any_share():
    _, y, _, y_target = datasets.make_spam_texts(10, 7, source_spam=0, target_spam=1)
    assert y.sum() == 0 and y_target.all()
    with pytest.raises(ValueError, match=r"target_spam=1\.5 is not a share"):
        datasets.make_spam_texts(target_spam=1.5)
    with pytest.raises(ValueError, match="n_source=0"):
        datasets.make_spam_texts(0)
