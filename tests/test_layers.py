"""Layers above the one that is read are not run, and nothing else changes."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import DECODERS, audio_feature_extractor, audio_model, text_model, tokenizer
from torch import nn

from adaptlearn import AudioExtractor, FineTuneClassifier, FineTuning, TextExtractor
from adaptlearn.extractors._fingerprint import module_fingerprint
from adaptlearn.extractors._layers import hidden_layer, run_to

TEXTS = ["the cat sat", "a dog ran on the mat", "it was big and red", "", "then here"]
SOUNDS = [
    np.random.default_rng(i).normal(0, 0.3, n).astype(np.float32)
    for i, n in enumerate((800, 1200, 1200, 900))
]
MODELS = [
    *(("text", kind) for kind in ("bert", "roberta", "distilbert", "gpt2", "llama", "t5")),
    *(("audio", kind) for kind in ("wav2vec2", "wav2vec2_group", "hubert", "whisper", "ast")),
]


def extractor(sort, kind, **params):
    params = {"cache": None} | params
    if sort == "text":
        return TextExtractor(text_model(kind), tokenizer=tokenizer(kind not in DECODERS), **params)
    front = audio_feature_extractor(kind)
    return AudioExtractor(audio_model(kind), feature_extractor=front, sampling_rate=16000, **params)


def last_block(module):
    """The block of the most parameters that comes last."""
    module = getattr(module, "encoder", module) if hasattr(module, "decoder") else module
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))[-1]


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize(("sort", "kind"), MODELS)
def test_features_are_the_same_bit_by_bit(sort, kind, layer):
    rows = TEXTS if sort == "text" else SOUNDS
    found = extractor(sort, kind, layer=layer).fit(rows)
    module = found._network(torch.device("cpu")).module
    state, mark = {k: v.clone() for k, v in module.state_dict().items()}, found._model_print()
    runs = []
    last_block(module).register_forward_hook(lambda *_: runs.append(1))
    whole = found.transform(rows)
    assert len(runs) >= 1
    runs.clear()
    again = found.transform(rows)
    assert (len(runs) == 0) == (layer not in (2, -1)), "blocks that are not needed do not run"
    np.testing.assert_array_equal(again, whole)
    assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())
    assert not any(part._forward_pre_hooks for part in module.modules())
    assert found.fit(rows)._model_print() == mark
    assert module_fingerprint(found.model) == mark, "the module given is untouched"


class Blocks(nn.Module):
    """Three blocks; `between` is what happens to the vectors that they hand on."""

    def __init__(self, between=lambda x: x, shared=False, n=3):
        super().__init__()
        torch.manual_seed(0)
        blocks = [nn.Linear(4, 4) for _ in range(n)]
        self.blocks = nn.ModuleList(blocks[:1] * n if shared else blocks)
        self.between, self.n_runs = between, 0

    def forward(self, x, all_layers):
        layers = [x]
        for block in self.blocks:
            x = block(layers[-1] if len(layers) == 1 else self.between(layers[-1]))
            layers.append(x)
            self.n_runs += 1
        return SimpleNamespace(
            last_hidden_state=x.tanh(), hidden_states=layers if all_layers else None
        )


@pytest.mark.parametrize("layer", [0, 1, 2, 3, -1, -2, -3, -4])
@pytest.mark.parametrize(
    ("network", "needed"),
    [
        (Blocks(), True),
        (Blocks(between=torch.relu), False),  # handed on in another form: all blocks run
        (Blocks(between=torch.clone), False),
        (Blocks(shared=True), False),  # one block at three places
    ],
    ids=["plain", "relu", "clone", "shared"],
)
def test_only_blocks_that_hand_on_their_vectors_are_left_out(network, needed, layer):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))

    def run(module, all_layers):
        return module(x, all_layers)

    right = hidden_layer(run(network, True), layer)
    for _ in range(3):
        network.n_runs = 0
        hidden, _ = run_to(network, layer, run)
        torch.testing.assert_close(hidden, right, rtol=0, atol=0)
    place = layer % 4
    stops = place == 0 or (needed and place < 3)
    stops = stops and network.blocks[0] is not network.blocks[1]
    assert network.n_runs == (place if stops else 3)


def test_errors_of_the_network_pass_and_leave_no_hook():
    network = Blocks()
    run_to(network, 1, lambda module, all_layers: module(torch.ones(2, 4), all_layers))
    for layer in (1, 2):
        with pytest.raises(RuntimeError):
            run_to(
                network, layer, lambda module, all_layers: module(torch.ones(2, 5), all_layers) / 0
            )
    assert not any(block._forward_pre_hooks for block in network.blocks)
    with pytest.raises(ValueError, match=r"layer=7: .*0 \(embeddings\) to 3"):
        run_to(network, 7, lambda module, all_layers: module(torch.ones(2, 4), all_layers))


def test_threads_that_share_a_network_read_their_own_layers():
    shared = extractor("text", "bert").fit(TEXTS)
    texts = [f"the cat {word}" for word in TEXTS * 8]
    right = {k: extractor("text", "bert", layer=k).fit_transform(texts) for k in (0, 1, -1)}
    module = shared._network(torch.device("cpu")).module

    def read(layer):
        own = extractor("text", "bert", layer=layer, batch_size=2).fit(texts)
        own._module = module
        return own.transform(texts)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for layer, found in zip(right, pool.map(read, right), strict=True):
                np.testing.assert_allclose(found, right[layer], atol=1e-5)


# --- training ---------------------------------------------------------------------------------


def test_gradients_and_random_draws_do_not_depend_on_what_ran_before():
    def gradients(module, layer=1):
        torch.manual_seed(0)
        hidden, _ = run_to(
            module, layer, lambda module, all_layers: module(ids, output_hidden_states=all_layers)
        )
        (hidden * weights).sum().backward()
        drawn = torch.rand(1).item()
        return drawn, [None if p.grad is None else p.grad.clone() for p in module.parameters()]

    ids = torch.tensor([[2, 5, 6, 3], [2, 9, 8, 3]])
    weights = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(1))
    first = gradients(text_model("bert").train())
    seen = text_model("bert")
    run_to(seen, 1, lambda module, all_layers: module(ids, output_hidden_states=all_layers))
    module = seen.train()
    second = gradients(module)
    assert all(part.training for part in module.modules())
    assert first[0] == second[0]
    for a, b in zip(first[1], second[1], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert sum(g is not None for g in first[1]) < len(first[1]), "the last block has none"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_backbone_does_not_run_what_it_does_not_read(checkpointing):
    texts, labels = (
        [f"{'cat' if i % 2 else 'dog'} {w}" for i, w in enumerate(TEXTS * 4)],
        [0, 1] * 10,
    )
    settings = FineTuning("full", gradient_checkpointing=checkpointing)
    clf = FineTuneClassifier(
        extractor("text", "bert", layer=1), finetune=settings, max_epochs=2, random_state=0,
        early_stopping=False,
    ).fit(texts, labels)  # fmt: skip
    body = clf.net_.module_.backbone
    runs = []
    last_block(body).register_forward_hook(lambda *_: runs.append(1))
    clf.partial_fit(texts, labels).predict(texts)
    assert not runs
    body.apply(lambda part: part._forward_hooks.clear())  # the one of this test
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(texts), clf.predict_proba(texts))
    plain = FineTuneClassifier(
        extractor("text", "bert", layer=1), finetune="full", max_epochs=2, random_state=0,
        early_stopping=False,
    ).fit(texts, labels).partial_fit(texts, labels)  # fmt: skip
    np.testing.assert_allclose(clf.predict_proba(texts), plain.predict_proba(texts), atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_trained_network_with_a_layer_can_be_pickled(kind):
    rows = TEXTS[:4]
    clf = FineTuneClassifier(
        extractor("text", kind, layer=1), finetune="full", max_epochs=1, random_state=0
    ).fit(rows * 4, [0, 1, 0, 1] * 4)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(rows), clf.predict_proba(rows))


def test_layers_that_are_left_out_at_random_in_training_do_not_shift_the_count():
    sound = extractor("audio", "wav2vec2", layer=1)
    sound.model.config.layerdrop = 0.9
    clf = FineTuneClassifier(sound, finetune="full", max_epochs=3, random_state=0)
    clf.fit(SOUNDS * 4, [0, 1, 0, 1] * 4).predict(SOUNDS)
    assert sound.model.config.layerdrop == 0.9
