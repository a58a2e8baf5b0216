"""Language models of transformers as text extractors; tiny ones, made here."""

import copy
import json
import os
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from tiny_models import image_model, save_text, text_model, tokenizer, transformers

from adaptlearn import EmbeddingCache, FineTuneClassifier, TextExtractor
from adaptlearn.extractors import _models, base

KINDS = ["bert", "roberta", "distilbert", "gpt2", "llama", "t5"]
TEXTS = [
    "the cat sat on the mat",
    "",
    "a big red dog ran far and then it sat here and then it was far",
    "the cat sat on the mat",
    "blue",
    "Ünknown ☃ words zzz",
]


@pytest.fixture
def bert(tmp_path):
    save_text(tmp_path / "bert")
    return tmp_path / "bert"


def extractor(model, **params):
    return TextExtractor(model, **({"cache": None} | params))


def reference(directory, kind, texts, pooling, layer=-1, max_length=40):
    """One text at a time, as the documentation of transformers shows it."""
    model, tok = text_model(kind), transformers.AutoTokenizer.from_pretrained(directory)
    rows = []
    for text in texts:
        inputs = tok(text, return_tensors="pt", truncation=True, max_length=max_length)
        ids = inputs["input_ids"] if inputs["input_ids"].numel() else torch.tensor([[2]])
        with torch.no_grad():
            hidden = model(input_ids=ids.long(), output_hidden_states=True).hidden_states[layer][0]
        pools = {"cls": hidden[0], "mean": hidden.mean(0), "last": hidden[-1]}
        rows.append(pools.get(pooling, hidden.max(0).values))
    return torch.stack(rows).numpy()


# The answer


@pytest.mark.parametrize("pooling", ["cls", "mean", "last", "max"])
@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_a_plain_loop(tmp_path, kind, pooling):
    save_text(tmp_path, kind)
    expected = reference(tmp_path, kind, TEXTS, pooling)
    assert np.ptp(expected, axis=0).min() > 1e-3, "texts must differ for this test to see anything"
    for batch_size in ("auto", 1, 4):
        features = extractor(tmp_path, pooling=pooling, batch_size=batch_size).fit_transform(TEXTS)
        np.testing.assert_allclose(features, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_generalised_mean(tmp_path, kind):
    """Padding is left out: texts of all lengths are in one batch."""
    save_text(tmp_path, kind)
    model, tok = text_model(kind), transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for text in TEXTS if text]
    expected = []
    for text in texts:
        with torch.no_grad():
            hidden = model(input_ids=tok(text, return_tensors="pt")["input_ids"])[0][0]
        expected.append((hidden.clamp(min=1e-6) ** 3).mean(0) ** (1 / 3))
    features = extractor(tmp_path, pooling="gem").fit_transform(texts)
    np.testing.assert_allclose(features, torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_pooler_of_bert(tmp_path):
    model = save_text(tmp_path)
    tok = transformers.AutoTokenizer.from_pretrained(tmp_path)
    inputs = tok(TEXTS[:3], return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = model(**inputs).pooler_output
    features = extractor(tmp_path, pooling="pooler").fit_transform(TEXTS[:3])
    np.testing.assert_allclose(features, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"pooling='pooler'.*layer=-1"):
        extractor(tmp_path, pooling="pooler", layer=1).fit_transform(TEXTS)


def test_a_pooler_that_is_random_or_absent_is_refused(tmp_path):
    body = save_text(tmp_path)
    model = transformers.BertForMaskedLM(body.config)  # has no pooler
    model.bert.load_state_dict(body.state_dict(), strict=False)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pooling='pooler'.*it is random.*'mean'"):
        extractor(tmp_path, pooling="pooler").fit_transform(TEXTS)
    for kind in ("distilbert", "gpt2"):
        save_text(tmp_path / kind, kind)
        with pytest.raises(ValueError, match="pooling='pooler': the model has none"):
            extractor(tmp_path / kind, pooling="pooler").fit_transform(TEXTS)


@pytest.mark.parametrize(
    ("kind", "pooling"), [("bert", "mean"), ("gpt2", "last"), ("llama", "last"), ("t5", "mean")]
)
def test_auto_pooling(tmp_path, kind, pooling):
    save_text(tmp_path, kind)
    features = extractor(tmp_path).fit_transform(TEXTS)
    expected = extractor(tmp_path, pooling=pooling).fit_transform(TEXTS)
    np.testing.assert_array_equal(features, expected)


@pytest.mark.parametrize("layer", [0, 1, -2])
def test_layer(bert, layer):
    cache = EmbeddingCache()
    extractor(bert, cache=cache).fit_transform(TEXTS)
    features = extractor(bert, layer=layer, cache=cache).fit_transform(TEXTS)
    expected = reference(bert, "bert", TEXTS, "mean", layer)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_layer_out_of_range(bert):
    with pytest.raises(ValueError, match=r"layer=7: .*0 \(embeddings\) to 2"):
        extractor(bert, layer=7).fit_transform(TEXTS)


def test_many_texts_of_many_lengths(bert):
    rng = np.random.default_rng(0)
    words = np.array(["cat", "dog", "mat", "big", "red"])
    texts = [" ".join(rng.choice(words, rng.integers(0, 30))) for _ in range(300)]
    features = extractor(bert).fit_transform(texts)
    some = rng.choice(300, 20, replace=False)
    expected = reference(bert, "bert", [texts[i] for i in some], "mean")
    np.testing.assert_allclose(features[some], expected, atol=1e-5)


def test_windows_of_texts(bert, monkeypatch):
    expected = extractor(bert).fit_transform(TEXTS)
    monkeypatch.setattr("adaptlearn.extractors.text._WINDOW", 2)
    np.testing.assert_allclose(extractor(bert).fit_transform(TEXTS), expected, atol=1e-6)


def test_settings_of_sentence_transformers(bert):
    (bert / "1_Pooling").mkdir()
    settings = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (bert / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    (bert / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    with pytest.warns(UserWarning, match="more than 6 tokens.*at most 40"):
        features = extractor(bert).fit_transform(TEXTS)
    expected = reference(bert, "bert", TEXTS, "cls", max_length=6)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    with pytest.warns(UserWarning, match="more than 8 tokens"):
        extractor(bert, max_length=8).fit_transform(["the cat sat on the mat and ran far"])


def test_a_checkpoint_of_a_classifier_is_loaded_without_its_head(tmp_path):
    body = save_text(tmp_path)
    model = transformers.BertForSequenceClassification(body.config)
    model.bert.load_state_dict(body.state_dict(), strict=False)
    model.save_pretrained(tmp_path)  # there is no pooler in it that anyone trained
    features = extractor(tmp_path).fit_transform(TEXTS)
    np.testing.assert_allclose(features, reference(tmp_path, "bert", TEXTS, "mean"), atol=1e-5)


def test_half_precision_weights_are_used_in_float32(tmp_path):
    save_text(tmp_path).half().save_pretrained(tmp_path)
    features = extractor(tmp_path).fit_transform(TEXTS)
    np.testing.assert_allclose(features, reference(tmp_path, "bert", TEXTS, "mean"), atol=0.05)
    module = extractor(tmp_path).fit(TEXTS)._network(torch.device("cpu")).module
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_model_and_a_tokenizer_as_objects(bert):
    model = text_model("bert").train()
    one = TextExtractor(model, tokenizer=tokenizer(limit=40), cache=EmbeddingCache())
    features = clone(one).fit_transform(TEXTS)
    np.testing.assert_allclose(features, reference(bert, "bert", TEXTS, "mean"), atol=1e-5)
    n = len(one.cache)
    clone(one).fit_transform(TEXTS)  # calls change a tokenizer's state, but not the key
    assert len(one.cache) == n == 5
    cut = clone(one).set_params(max_length=4).fit(TEXTS)
    with pytest.warns(UserWarning, match="more than 4 tokens"):
        cut.transform(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is computed again
        cut.transform(TEXTS)
    assert len(one.cache) == 10
    again = pickle.loads(pickle.dumps(one.fit(TEXTS)))
    np.testing.assert_array_equal(again.transform(TEXTS), features)


def test_a_lone_surrogate_is_no_error(bert):
    assert np.isfinite(extractor(bert).fit_transform(["the \ud800 cat", "\udcff"])).all()


# Length


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2"])
def test_long_texts_are_cut_and_counted(tmp_path, kind):
    save_text(tmp_path, kind)
    limit = 41 if kind == "roberta" else 40
    long = "the cat sat " * 40
    with pytest.warns(UserWarning, match=f"2 of 3 texts have more than {limit} tokens") as caught:
        features = extractor(tmp_path).fit_transform([long, "a cat", long + "dog"])
    assert len(caught) == 1 and "takes no more" in str(caught[0].message)
    expected = reference(
        tmp_path, kind, [long], "last" if kind == "gpt2" else "mean", max_length=limit
    )
    np.testing.assert_allclose(features[[0]], expected, atol=1e-5)
    np.testing.assert_allclose(features[2], features[0], atol=1e-5)
    with pytest.raises(ValueError, match=f"max_length=100.*at most {limit}"):
        extractor(tmp_path, max_length=100).fit_transform([long])


@pytest.mark.parametrize("use", ["extract", "fine-tune"])
def test_a_tokenizer_of_another_model_is_refused(bert, use):
    known = len(tokenizer())
    foreign = TextExtractor(bert, tokenizer=lambda texts: [[1, known] for _ in texts])
    with pytest.raises(ValueError, match=f"made the token {known}, and the model knows {known} .*"):
        if use == "extract":
            foreign.fit_transform(TEXTS)
        else:
            FineTuneClassifier(foreign, finetune="full").fit(TEXTS, [0, 1] * 3)
    all_known = TextExtractor(bert, tokenizer=lambda texts: [[1, known - 1] for _ in texts])
    assert np.isfinite(all_known.fit_transform(TEXTS)).all()


def test_a_padding_token_that_the_model_does_not_know(tmp_path):
    """GPT-2 has none, and adding one to its tokenizer leaves its embeddings as they are."""
    model, bare = save_text(tmp_path, "gpt2"), tokenizer(special=False)
    bare.add_special_tokens({"pad_token": "<pad>"})
    assert bare.pad_token_id == model.config.vocab_size
    texts = ["the cat", "a big red dog ran far"]
    features = extractor(model, tokenizer=bare).fit_transform(texts)
    np.testing.assert_allclose(features, extractor(tmp_path).fit_transform(texts), atol=1e-6)
    backbone = TextExtractor(model, tokenizer=bare)
    FineTuneClassifier(backbone, finetune="last:1", max_epochs=1).fit(texts * 4, [0, 1] * 4)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_half_of_two_that_reads(tmp_path, kind):
    model = image_model(kind)
    model.save_pretrained(tmp_path)
    ids = {"the": [5, 6, 7, 2], "cat": [8, 2]}
    reader = extractor(tmp_path, tokenizer=lambda texts: [ids.get(t, [9]) for t in texts])
    with torch.no_grad():
        expected = [model.text_model(torch.tensor([ids[text]])) for text in ids]
    mean = torch.stack([answer.last_hidden_state[0].mean(0) for answer in expected])
    np.testing.assert_allclose(reader.fit_transform(list(ids)), mean, atol=1e-5)
    clf = FineTuneClassifier(reader, finetune="last:1", max_epochs=1, random_state=0)
    reader = clone(reader).set_params(pooling="pooler")
    if kind == "clip":
        pooled = torch.cat([answer.pooler_output for answer in expected])
        np.testing.assert_allclose(reader.fit_transform(list(ids)), pooled, atol=1e-5)
    else:
        with pytest.raises(ValueError, match="SigLIP reads the last place"):
            reader.fit_transform(list(ids))
    assert clf.fit(["the", "cat"] * 6, [0, 1] * 6).predict(["cat"]).shape == (1,)


def test_limit_of_the_tokenizer(tmp_path):
    save_text(tmp_path, limit=10)
    with pytest.warns(UserWarning, match="1 of 1 texts have more than 10 tokens"):
        extractor(tmp_path).fit_transform(["cat " * 20])


def test_no_room_beside_special_tokens(bert):
    with pytest.raises(ValueError, match=r"max_length=2 leaves no room.*at least 3"):
        extractor(bert, max_length=2).fit_transform(TEXTS)


def test_texts_that_fit_give_no_warning(bert):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        extractor(bert).fit_transform([*TEXTS, "cat " * 38])


# Loading


def test_one_model_per_process(bert, monkeypatch):
    loads = []
    load = base.load_pretrained
    monkeypatch.setattr(base, "load_pretrained", lambda *a: loads.append(a) or load(*a))
    one = extractor(bert).fit(TEXTS)
    assert not loads, "fit is cheap"
    for other in (one, clone(one).fit(TEXTS), extractor(str(bert), pooling="cls").fit(TEXTS)):
        other.transform(TEXTS)
    assert len(loads) == 1


def test_a_full_cache_needs_no_weights(bert, tmp_path, monkeypatch):
    expected = extractor(bert, cache=tmp_path / "rows").fit_transform(TEXTS)
    monkeypatch.setattr(base, "load_pretrained", None)
    _models._LOADED.clear()
    found = extractor(bert, cache=tmp_path / "rows").fit_transform(TEXTS)
    np.testing.assert_array_equal(found, expected)


def test_loading_leaves_generators_and_weights_alone(bert):
    _models._LOADED.clear()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one = extractor(bert).fit(TEXTS)
    one.transform(TEXTS)
    assert torch.equal(torch.get_rng_state(), before)
    module = one._network(torch.device("cpu")).module
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    saved = text_model("bert").state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in module.state_dict().items())


def test_a_pickle_holds_no_weights(bert):
    one = extractor(bert).fit(TEXTS)
    features = one.transform(TEXTS)
    data = pickle.dumps(one)
    assert len(data) < 2000 < (bert / "model.safetensors").stat().st_size
    _models._LOADED.clear()
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.transform(TEXTS), features)
    assert len(again.get_feature_names_out()) == 16


def test_changed_weights_on_disk_are_another_model(bert, tmp_path):
    """Also where the new file has the size and the time of the old one."""
    cache = EmbeddingCache(tmp_path / "rows")
    one = extractor(bert, cache=cache).fit(TEXTS)
    before, stats = one.transform(TEXTS), {path: path.stat() for path in bert.iterdir()}
    save_text(bert, seed=1)
    for path, stat in stats.items():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
    after = clone(one).fit_transform(TEXTS)
    assert np.abs(after - before).max() > 0.1
    np.testing.assert_allclose(after, extractor(bert).fit_transform(TEXTS), atol=1e-5)
    save_text(bert, seed=0)
    n = len(cache)
    np.testing.assert_array_equal(one.transform(TEXTS), before)
    assert len(cache) == n, "the old weights find the old rows"


def test_weights_that_changed_since_fit_are_refused(bert):
    """What was trained on the features of `fit` would be given others."""
    one = extractor(bert).fit(TEXTS)
    before, data = one.transform(TEXTS), pickle.dumps(one)
    save_text(bert, seed=1)
    for fitted in (one, pickle.loads(pickle.dumps(one)), pickle.loads(data), copy.deepcopy(one)):
        with pytest.raises(ValueError, match=r"model='.*bert' has other weights.*call fit again"):
            fitted.transform(TEXTS)
    assert np.abs(clone(one).fit_transform(TEXTS) - before).max() > 0.1
    save_text(bert, seed=0)
    (bert / "trainer_state.json").write_text("{}")  # of no weight
    np.testing.assert_array_equal(one.transform(TEXTS), before)
    save_text(bert, seed=1)
    assert np.abs(one.fit_transform(TEXTS) - before).max() > 0.1


def test_weights_replaced_while_they_are_read(bert, tmp_path, monkeypatch):
    """The rows of the new weights must not be kept under the key of the old ones."""
    load = base.load_pretrained

    def replace_first(*args):
        save_text(bert, seed=1)
        return load(*args)

    monkeypatch.setattr(base, "load_pretrained", replace_first)
    cache = EmbeddingCache(tmp_path / "rows")
    one = extractor(bert, cache=cache).fit(TEXTS)
    with pytest.raises(RuntimeError, match="changed while they were being read"):
        one.transform(TEXTS)
    assert len(cache) == 0
    monkeypatch.undo()
    np.testing.assert_allclose(one.transform(TEXTS), extractor(bert).fit_transform(TEXTS))


def test_a_changed_tokenizer_is_another_model(bert):
    cache = EmbeddingCache()
    extractor(bert, cache=cache).fit_transform(TEXTS)
    path = bert / "tokenizer.json"
    settings = json.loads(path.read_text())
    vocabulary = settings["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    path.write_text(json.dumps(settings))
    found = extractor(bert, cache=cache).fit_transform(["cat"])
    other = extractor(bert).fit_transform(["cat"])
    np.testing.assert_allclose(found, other, atol=1e-6)
    assert len(cache) == 6


def test_a_moved_copy_shares_the_cache(bert, tmp_path):
    cache = EmbeddingCache()
    extractor(bert, cache=cache).fit_transform(TEXTS)
    shutil.copytree(bert, tmp_path / "copy")
    extractor(tmp_path / "copy", cache=cache).fit_transform(TEXTS)
    assert len(cache) == 5


def test_a_search_runs_each_row_once(bert, monkeypatch):
    rows, forward = [], transformers.BertModel.forward

    def counted(self, input_ids=None, **kwargs):
        rows.append(len(input_ids))
        return forward(self, input_ids=input_ids, **kwargs)

    counted.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(transformers.BertModel, "forward", counted)
    texts = [f"{'cat' if i % 2 else 'dog'} {'abcdefghij'[i % 10]} {i}" for i in range(300)]
    pipe = make_pipeline(TextExtractor(bert, cache=EmbeddingCache()), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1, 10, 100]}, cv=3)
    search.fit(texts, np.arange(300) % 2)
    assert sum(rows) == 300
    search.fit(texts, np.arange(300) % 2)
    assert sum(rows) == 300


# The hub


def test_an_unknown_model_offline_is_one_clear_error(monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("bert-base-uncased", "no-such/model"):
        with pytest.raises(OSError, match="hf download") as caught:
            TextExtractor(name).fit(TEXTS)
        assert name in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.fixture
def hub(bert, monkeypatch, tmp_path):
    """A local cache of the hub with one model in it, and no way to download."""
    import huggingface_hub

    place = tmp_path / "hub" / "models--some--model"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc123")
    shutil.copytree(bert, place / "snapshots" / "abc123")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    return place


def test_a_local_copy_of_the_hub_needs_no_network(hub, bert):
    features = extractor("some/model").fit_transform(TEXTS)
    np.testing.assert_array_equal(features, extractor(bert).fit_transform(TEXTS))


def pipeline():
    return make_pipeline(extractor("some/model"), LogisticRegression())


def fine_tuned(mode):
    params = {"max_epochs": 1, "random_state": 0, "hidden_layer_sizes": ()}
    return FineTuneClassifier(backbone=extractor("some/model"), finetune=mode, **params)


MADE = pytest.mark.parametrize(
    "make",
    [pipeline, lambda: fine_tuned("frozen"), lambda: fine_tuned("full")],
    ids=["pipeline", "frozen", "full"],
)


@MADE
def test_a_pickle_finds_the_model_in_another_copy_of_the_hub(hub, make):
    fitted = make().fit(TEXTS, [0, 1] * 3)
    expected, data = fitted.predict_proba(TEXTS), pickle.dumps(fitted)
    (hub / "snapshots" / "abc123").rename(hub / "snapshots" / "def456")
    (hub / "refs" / "main").write_text("def456")
    for again in (pickle.loads(data), copy.deepcopy(fitted), fitted):
        _models._LOADED.clear()
        np.testing.assert_allclose(again.predict_proba(TEXTS), expected, atol=1e-6)


@MADE
def test_a_pickle_whose_model_is_gone_says_what_to_do(hub, make):
    data = pickle.dumps(make().fit(TEXTS, [0, 1] * 3))
    shutil.rmtree(hub)
    with pytest.raises(OSError, match=r"model='some/model' is no local directory.*hf download"):
        pickle.loads(data).predict(TEXTS)


def test_a_pickle_whose_directory_is_gone_says_so(bert):
    data = pickle.dumps(extractor(str(bert)).fit(TEXTS))
    assert b"PosixPath" not in data, "it could not be read on Windows"
    shutil.rmtree(bert)
    with pytest.raises(FileNotFoundError, match=r"there is no such directory. Give"):
        pickle.loads(data).transform(TEXTS)


def test_a_local_copy_without_weights_is_completed(hub, bert, monkeypatch):
    import huggingface_hub

    weights = hub / "snapshots" / "abc123" / "model.safetensors"
    weights.unlink()
    with pytest.raises(OSError, match="ConnectionError: no network"):
        extractor("some/model").fit(TEXTS)
    asked = []

    def download(name, allow_patterns, ignore_patterns):
        asked.append(name)
        shutil.copy(bert / "model.safetensors", weights)
        return str(weights.parent)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    extractor("some/model").fit_transform(TEXTS)
    assert asked == ["some/model"]


# Directories that are wrong


def test_weights_of_another_architecture(tmp_path):
    save_text(tmp_path, "bert")
    text_model("gpt2").save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"no weights for \d+ parameters.*another architecture"):
        extractor(tmp_path).fit_transform(TEXTS)


def test_no_weights_and_no_tokenizer(bert):
    shutil.move(bert / "tokenizer.json", bert / "kept.txt")
    with pytest.raises(ValueError, match=r"cannot load a tokenizer.*tokenizer="):
        extractor(bert).fit_transform(TEXTS)
    shutil.move(bert / "kept.txt", bert / "tokenizer.json")
    (bert / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="transformers cannot load"):
        extractor(bert).fit_transform(TEXTS)


def test_bytes_are_no_texts():
    with pytest.raises(TypeError, match=r"row 1 of X is b'a', not a text. Decode it."):
        extractor(torch.nn.Embedding(9, 2), tokenizer=lambda texts: texts).fit(["", b"a"])


def traced(module):
    return torch.jit.trace(module, torch.zeros((1, 3), dtype=torch.long))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", [torch.jit.script, traced])
def test_a_compiled_module(compiled):
    module = torch.nn.Embedding(300, 4)
    params = {"tokenizer": lambda texts: [list(text.encode()) for text in texts]}
    seen = extractor(compiled(module), **params).fit_transform(["ab", "c"])
    np.testing.assert_array_equal(seen, extractor(module, **params).fit_transform(["ab", "c"]))
