"""Ranking pretrained models: agreement with trained heads, every kind of candidate, errors."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from adaptlearn import (
    DomainAdaptationClassifier,
    EmbeddingCache,
    ModuleExtractor,
    TextExtractor,
    metrics,
    pack,
    rank_extractors,
)
from adaptlearn.extractors._ranking_result import COLUMNS


def embeddings(X, seed, n_candidates=10):
    """Random networks on digits: other widths, bottlenecks, non-linearities, noise and units."""
    rng = np.random.default_rng(seed)
    made = {}
    for k in range(n_candidates):
        width, inner = int(rng.choice([16, 64, 128, 300])), int(rng.integers(3, 50))
        H = X @ rng.normal(size=(X.shape[1], inner))
        H = (H, np.maximum(H + rng.normal(size=inner), 0), np.tanh(H / np.sqrt(inner)))[k % 3]
        F = H @ rng.normal(size=(inner, width)) / np.sqrt(inner)
        F += rng.uniform(0, 3) * rng.normal(size=F.shape)
        offset = F.std() * rng.uniform(0, 3) * rng.normal(size=width)
        made[f"model {k}"] = 10 ** rng.uniform(-2, 2) * (F + offset)
    return made


@pytest.mark.parametrize(("n", "seed"), [(150, 0), (400, 1), (800, 2)])
def test_logme_agrees_with_the_accuracy_of_trained_heads(n, seed):
    X, y = load_digits(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))[: n + 500]
    X, y = X[rows] / 16, y[rows]
    made = embeddings(X, seed)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    accuracy = {k: head.fit(F[:n], y[:n]).score(F[n:], y[n:]) for k, F in made.items()}
    ranking = rank_extractors({k: F[:n] for k, F in made.items()}, None, y[:n])
    truth = [accuracy[name] for name in ranking.names]
    assert spearmanr(truth, -ranking.columns["rank"])[0] > 0.8
    assert spearmanr(truth, ranking.columns["logme"])[0] > 0.8
    assert accuracy[ranking.best] > max(truth) - 0.05


def arrays(n=60, n_target=0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n + n_target, 6))
    X[:n] += 3 * np.eye(6)[y]
    X[n:] += 3 * np.eye(6)[np.arange(n_target) % 3] + 1
    return X, y


def test_columns_are_the_metrics():
    X, y = arrays(60, 40)
    proba = np.random.default_rng(1).dirichlet(np.ones(4), size=60)
    candidates = {"a": X, "b": X[:, 1:]}
    ranking = rank_extractors(candidates, None, y, 40, source_proba={"b": proba})
    assert ranking.names == ["a", "b"] and ranking.best == "a"
    for k, F in enumerate(candidates.values()):
        column = {key: values[k] for key, values in ranking.columns.items()}
        assert column["logme"] == metrics.logme_score(F[:60], y)
        assert column["h_score"] == metrics.h_score(F[:60], y)
        assert column["transrate"] == metrics.transrate_score(F[:60], y)
        assert column["a_distance"] == metrics.proxy_a_distance(F[:60], F[60:])
        assert column["features"] == F.shape[1]
        assert np.isnan(column["ms_per_row"]) and np.isnan(column["parameters"])
    assert np.isnan(ranking.columns["leep"][0])
    assert ranking.columns["leep"][1] == metrics.leep_score(proba, y)
    assert ranking.columns["nce"][1] == metrics.nce_score(proba.argmax(axis=1), y)


def test_packed_rows_are_split_by_their_masks():
    X, y = arrays(60, 40)
    Xp, yp, domain = pack(X[:60], y, X[60:])
    apart = rank_extractors({"a": X}, None, y, 40)
    for given in ({}, {"sample_domain": domain}):
        packed = rank_extractors({"a": Xp}, None, yp, **given)
        for key in ("logme", "h_score", "features"):
            assert packed.columns[key][0] == pytest.approx(apart.columns[key][0])
        assert packed.columns["a_distance"][0] == pytest.approx(apart.columns["a_distance"][0])
    known = np.where(domain < 0, np.random.default_rng(0).integers(3, size=100), yp)
    used = rank_extractors({"a": Xp}, None, known, sample_domain=domain)
    assert used.columns["logme"][0] == packed.columns["logme"][0]  # target labels are not read


def test_labels_of_text_and_numbers():
    X, y = arrays()
    words = rank_extractors([X], None, y.astype(str))
    assert words.columns["logme"][0] == rank_extractors([X], None, y).columns["logme"][0]
    numbers = X @ np.arange(6.0) + 0.1
    ranking = rank_extractors({"all": X, "half": X[:, :3]}, None, numbers)
    assert ranking.best == "all"
    assert np.isnan(ranking.columns["h_score"]).all() and "H-score" not in repr(ranking)


def letters(texts):
    return [[min(ord(letter), 127) for letter in text] for text in texts]


class Embed(torch.nn.Module):
    """Counts the rows that it sees."""

    def __init__(self, size, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = torch.nn.Embedding(128, size)

    def forward(self, ids):
        SEEN.append(len(ids))
        return self.embed(ids)


SEEN = []
TEXTS = [f"{'great' if i % 2 else 'awful'} thing {i}" for i in range(40)]
LABELS = np.arange(40) % 2


def text_extractor(size=8, **params):
    return TextExtractor(Embed(size), tokenizer=letters, **params)


def test_extractors_are_measured_when_they_compute_and_not_when_the_cache_answers():
    cache, cold = EmbeddingCache(), text_extractor(cache=None)
    SEEN.clear()
    ranking = rank_extractors(
        [text_extractor(cache=cache), text_extractor(cache=cache)], TEXTS, LABELS
    )
    assert sorted(SEEN) == [1, 1, 40]  # one row to know the size, and each row once in total
    assert len(cache) == 40
    assert np.isfinite(ranking.columns["ms_per_row"]).sum() == 1
    again = rank_extractors({"cold": cold, "cached": text_extractor(cache=cache)}, TEXTS, LABELS)
    by_name = dict(zip(again.names, again.columns["ms_per_row"], strict=True))
    assert by_name["cold"] > 0 and np.isnan(by_name["cached"])
    assert (ranking.columns["parameters"] == 128 * 8).all()
    assert not hasattr(cold, "_fitted")  # the user's own was not touched


def test_extractors_inside_a_pipeline_count_too():
    cache = EmbeddingCache()
    pipe = make_pipeline(text_extractor(cache=cache), PCA(3), Normalizer())
    first = rank_extractors([pipe], TEXTS, LABELS)
    assert first.columns["features"][0] == 3 and first.columns["parameters"][0] == 1024
    assert first.columns["ms_per_row"][0] > 0
    assert np.isnan(rank_extractors([pipe], TEXTS, LABELS).columns["ms_per_row"][0])
    assert pipe.steps[0][1].cache is cache
    pipe.fit(TEXTS)
    fitted = rank_extractors([pipe], TEXTS, LABELS)
    assert fitted.columns["logme"][0] == pytest.approx(first.columns["logme"][0])


def test_modules_that_read_arrays_are_ranked():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 6)) + 2 * y[:, None]
    module = ModuleExtractor(torch.nn.Linear(6, 4), cache=None)
    found = rank_extractors(
        {"alone": module, "pipe": make_pipeline(StandardScaler(), module)}, X, y
    )
    frame = found.frame.loc[["alone", "pipe"]]
    assert frame["parameters"].tolist() == [28, 28] and (frame["ms_per_row"] > 0).all()
    assert (frame["features"] == 4).all()


def test_extractors_side_by_side_count_together():
    frame = pd.DataFrame({"text": TEXTS, "number": np.arange(len(TEXTS))})
    one, two = text_extractor(), text_extractor(size=4)
    columns = ColumnTransformer([("a", one, "text"), ("b", StandardScaler(), ["number"])])
    found = rank_extractors([columns, clone(columns).fit(frame)], frame, LABELS)
    assert found.columns["parameters"].tolist() == [128 * 8] * 2
    union = FeatureUnion([("a", one), ("b", two), ("c", "drop")])
    assert rank_extractors([union], TEXTS, LABELS).columns["parameters"] == [128 * 12]


def test_source_and_target_may_be_of_different_containers():
    ranking = rank_extractors([text_extractor()], TEXTS, LABELS, TEXTS[:9]).columns
    for X, X_target in [
        (pd.Series(TEXTS), TEXTS[:9]),
        (TEXTS, pd.Series(TEXTS[:9], index=range(5, 14))),
        (np.array(TEXTS, object), pd.Series(TEXTS[:9])),
        (tuple(TEXTS), np.array(TEXTS[:9])),
    ]:
        found = rank_extractors([text_extractor()], X, LABELS, X_target).columns
        assert found["a_distance"] == ranking["a_distance"]
    with pytest.raises(TypeError, match="X and X_target are containers of different kinds"):
        rank_extractors([text_extractor()], pd.DataFrame({"a": TEXTS}), LABELS, TEXTS[:9])


def test_unfitted_transformers_see_no_label():
    X, y = arrays(60, 40)
    seen = []

    class Spy(PCA):
        def fit(self, X, y=None):
            seen.append((len(X), y))
            return super().fit(X)

    mine = Spy(2)
    rank_extractors({"spy": mine}, X[:60], y, X[60:])
    assert seen == [(60, None)] and not hasattr(mine, "components_")


def test_a_fitted_classifier_is_a_source_head_too():
    X, y = arrays(80)
    clf = DomainAdaptationClassifier(alignment=None, max_epochs=3, random_state=0)
    clf.fit(X, y % 2, X_target=X)
    ranking = rank_extractors({"network": clf, "raw": FunctionTransformer()}, X, y)
    k = ranking.names.index("network")
    assert ranking.columns["leep"][k] == metrics.leep_score(clf.predict_proba(X), y)
    assert ranking.columns["features"][k] == 256
    assert ranking.columns["parameters"][k] == 6 * 256 + 256 + 256 * 2 + 2
    assert np.isnan(ranking.columns["leep"][1 - k])


def test_rows_that_gave_nan_do_not_count():
    X, y = arrays()
    holes = X.copy()
    holes[[3, 7]] = np.nan
    keep = np.setdiff1d(np.arange(60), [3, 7])
    ranking = rank_extractors([holes], None, y)
    assert ranking.columns["logme"][0] == metrics.logme_score(X[keep], y[keep])
    with pytest.raises(ValueError, match="finite features for 0 of 60"):
        rank_extractors([np.full((60, 2), np.nan)], None, y)


def test_the_rank_is_the_mean_rank_of_the_columns_asked_for():
    X, y = arrays(60, 40)
    rng = np.random.default_rng(0)
    candidates = {"signal": X, "noise": rng.normal(size=(100, 2)), "half": X[:, 1:]}
    assert rank_extractors(candidates, None, y, 40).names == ["signal", "half", "noise"]
    by_size = rank_extractors(candidates, None, y, 40, rank_by="features")
    assert by_size.names == ["noise", "half", "signal"]
    both = rank_extractors(candidates, None, y, 40, rank_by=["logme", "h_score"])
    assert both.names == ["signal", "half", "noise"]
    assert "mean rank by LogME, H-score" in repr(both)
    # ranks 1, 3, 2 and 3, 1, 2: all means equal, so the one with fewer features is first
    tie = rank_extractors(candidates, None, y, 40, rank_by=["logme", "features"])
    assert tie.names == ["noise", "half", "signal"]


def test_what_is_missing_comes_last():
    X, y = arrays()
    proba = np.eye(3)[y]
    ranking = rank_extractors({"a": X, "b": X}, None, y, source_proba={"b": proba}, rank_by="leep")
    assert ranking.names == ["b", "a"]


def test_max_samples_draws_the_same_rows_for_all():
    X, y = arrays(300, 300)
    few = rank_extractors({"a": X, "b": X}, None, y, 300, max_samples=100)
    assert few.columns["logme"][0] == few.columns["logme"][1]
    assert few.columns["logme"][0] != rank_extractors([X], None, y, 300).columns["logme"][0]
    again = rank_extractors({"a": X, "b": X}, None, y, 300, max_samples=100)
    assert again.columns["logme"][0] == few.columns["logme"][0]


def test_table_as_text_frame_and_html():
    X, y = arrays()
    ranking = rank_extractors({"<a>": X, "b": X[:, :2]}, None, y)
    lines = repr(ranking).splitlines()
    assert lines[0].split() == ["rank", "LogME", "H-score", "TransRate", "features"]
    assert lines[1].startswith("<a>") and len(set(map(len, lines[:3]))) == 1
    assert "Lower is better: features." in lines
    frame = ranking.frame
    assert list(frame.index) == ["<a>", "b"] and list(frame["rank"]) == [1, 2]
    assert set(frame.columns) == {"rank", *COLUMNS}
    html = ranking._repr_html_()
    assert "&lt;a&gt;" in html and "<a>" not in html and "rank: by LogME" in html


def test_plot_draws_each_candidate():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    X, y = arrays(60, 40)
    ranking = rank_extractors({"a": X, "b": X[:, :2]}, None, y, 40)
    try:
        ax = ranking.plot()
        assert ax.get_xlabel() == "features (lower is better)"
        assert ax.get_ylabel() == "LogME (higher is better)"
        assert [t.get_text() for t in ax.texts] == ["1", "2"]
        assert [t.get_text() for t in ax.get_legend().get_texts()] == ["1  a", "2  b"]
        assert [c.get_offsets()[0, 0] for c in ax.collections] == [6, 2]
        assert ranking.plot(score="h_score", cost="a_distance", ax=ax) is ax
        with pytest.raises(ValueError, match="Did you mean 'logme'"):
            ranking.plot(score="logmee")
        with pytest.raises(ValueError, match="not known of any candidate"):
            ranking.plot(cost="parameters")
    finally:
        plt.close("all")


def test_names_of_a_list():
    X, y = arrays()
    candidates = [X, X[:, :2], PCA(2), make_pipeline(StandardScaler(), PCA(2))]
    names = set(rank_extractors(candidates, X, y).names)
    assert names == {"array", "array-2", "pca", "standardscaler-pca"}


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"candidates": {}}, ValueError, "candidates is empty"),
        ({"candidates": "bert"}, TypeError, "give a dict"),
        ({"candidates": {"a": np.zeros((3, 2))}}, ValueError, r"shape \(3, 2\).*60 rows"),
        ({"candidates": {"a": LogisticRegression()}}, TypeError, "'a' is no transformer"),
        ({"candidates": {"a": PCA}}, TypeError, "'a' is no transformer"),
        ({"candidates": {"a": PCA(2)}}, ValueError, "X is None"),
        ({"rank_by": "logmee"}, ValueError, "Did you mean 'logme'"),
        ({"rank_by": []}, ValueError, "rank_by is empty"),
        ({"rank_by": "a_distance"}, ValueError, "'a_distance' is known of no candidate"),
        ({"rank_by": ["logme", "leep"]}, ValueError, "'leep' is known of no candidate"),
        ({"max_samples": 1}, ValueError, "max_samples=1"),
        ({"task": "both"}, ValueError, "task='both'"),
        ({"source_proba": {"b": None}}, ValueError, "source_proba names 'b'"),
        ({"source_proba": {"a": np.ones((4, 2))}}, ValueError, r"source_proba\['a'\] has shape"),
        ({"y": np.zeros(60, int)}, ValueError, "one class only"),
    ],
)
def test_bad_input_is_refused(change, error, text):
    X, y = arrays()
    params = {"candidates": {"a": X}, "X": None, "y": y} | change
    with pytest.raises(error, match=text):
        rank_extractors(**params)


def test_an_error_says_which_candidate():
    X, y = arrays()
    with pytest.raises(ValueError) as caught:
        rank_extractors({"fine": PCA(2), "too many": PCA(50)}, X, y)
    assert any("'too many'" in note for note in caught.value.__notes__)
