"""Layer groups of any network, and low-rank adapters beside its projections."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from tiny_models import image_model, text_model, transformers
from torch import nn

from adaptlearn.deep._layer_groups import layer_groups
from adaptlearn.deep._low_rank import LowRank, add_adapters


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def groups_of(module):
    """Names of the parts of each group, parts without parameters left out."""
    found, parts = layer_groups(module), dict(module.named_modules())
    named = [[] for _ in range(found.n)]
    for name, number in found.prefixes.items():
        if next(parts[name].parameters(), None) is not None:
            named[number].append(name)
    return named


# --- groups -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("bert", [["embeddings"], ["encoder.layer.0"], ["encoder.layer.1", "pooler"]]),
        ("roberta", [["embeddings"], ["encoder.layer.0"], ["encoder.layer.1", "pooler"]]),
        ("distilbert", [["embeddings"], ["transformer.layer.0"], ["transformer.layer.1"]]),
        ("gpt2", [["wte", "wpe"], ["h.0"], ["h.1", "ln_f"]]),
        ("llama", [["embed_tokens"], ["layers.0"], ["layers.1", "norm"]]),
        (
            "t5",
            [
                ["shared", "encoder.embed_tokens"],
                ["encoder.block.0"],
                ["encoder.block.1", "encoder.final_layer_norm"],
            ],
        ),
    ],
)
def test_groups_of_text_models(kind, expected):
    assert groups_of(text_model(kind)) == expected


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("vit", [["embeddings"], ["layers.0"], ["layers.1", "layernorm", "pooler"]]),
        ("resnet", [["embedder"], ["encoder.stages.0"], ["encoder.stages.1"]]),
        ("convnext", [["embeddings"], ["encoder.stages.0"], ["encoder.stages.1", "layernorm"]]),
        ("swin", [["embeddings"], ["encoder.layers.0"], ["encoder.layers.1", "layernorm"]]),
        (
            "mobilenet_v2",
            [["conv_stem"], *([f"layer.{i}"] for i in range(15)), ["layer.15", "conv_1x1"]],
        ),
    ],
)
def test_groups_of_image_models(kind, expected):
    assert groups_of(image_model(kind)) == expected


class Stages(nn.Module):
    """Like the ResNet of torchvision: stages side by side, one longer than there are stages."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        self.layer2 = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(6)))
        self.fc = nn.Linear(4, 2)


class Token(nn.Module):
    """A parameter beside the layers, like the class token of timm's ViT."""

    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 4))
        self.drop = nn.Dropout(0.5)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))


def test_groups_of_other_networks():
    found = groups_of(Stages())
    assert found == [["conv1", "bn1"], ["layer1"], ["layer2"], ["fc"]]
    found = layer_groups(Token())
    assert found.n == 3
    assert found.of_parameter("cls_token") == found.of_module("drop") == 0
    assert found.of_parameter("blocks.2.bias") == found.n - 1
    chain = nn.Sequential(
        nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)
    )
    found = layer_groups(chain)
    assert found.n == 2
    assert [found.of_module(str(i)) for i in range(5)] == [0, 0, 0, 0, 1]
    assert layer_groups(nn.Linear(3, 2)).n == 1
    assert layer_groups(nn.Sequential(nn.Sequential(nn.Linear(3, 2)))).n == 1
    assert layer_groups(nn.Identity()).n == 1


def test_what_holds_groups_goes_with_the_last():
    found = layer_groups(text_model("bert"))
    assert found.of_module("") == found.of_module("encoder") == 2
    assert found.of_module("embeddings.dropout") == 0
    assert found.of_module("encoder.layer.0.attention") == 1
    assert found.of_parameter("encoder.layer.0.attention.self.query.weight") == 1


CONFIGS = {
    "BertModel": 13, "RobertaModel": 13, "DistilBertModel": 7, "GPT2Model": 13, "ViTModel": 13,
    "ResNetModel": 5, "ConvNextModel": 5, "SwinModel": 5, "MobileNetV2Model": 17,
    "Dinov2Model": 13, "CLIPVisionModel": 13, "SiglipVisionModel": 13, "MobileNetV1Model": 27,
    "Wav2Vec2Model": 13, "HubertModel": 13, "WhisperModel": 5, "ASTModel": 13,
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_full_sized_families(name):
    """Their groups, and the share of parameters that adapters add, without any memory."""
    cls = getattr(transformers, name)
    with torch.device("meta"):
        model = cls(cls.config_class())
    if name == "WhisperModel":  # sounds are read by its encoder
        model = model.encoder
    assert layer_groups(model).n == CONFIGS[name]
    n_parameters = sum(p.numel() for p in model.parameters())
    n_adapters = add_adapters(model, 8, 16.0, generator())
    adapters = [m for m in model.modules() if isinstance(m, LowRank)]
    trained = sum(m.A.numel() + m.B.numel() for m in adapters)
    assert len(adapters) == n_adapters > 10
    assert 0 < trained < 0.05 * n_parameters


# --- adapters ---------------------------------------------------------------------------------


def filled(base, rank=2, scale=0.5):
    adapter = LowRank(base, rank, scale, generator())
    with torch.no_grad():
        adapter.B.copy_(torch.randn(adapter.B.shape, generator=generator(1)))
    return adapter.double()


def test_adapter_by_hand():
    base = nn.Linear(2, 2)
    adapter = LowRank(base, 1, 4.0, generator())
    with torch.no_grad():
        base.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        base.bias.copy_(torch.tensor([10.0, 20.0]))
        adapter.A.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.B.copy_(torch.tensor([[0.5], [2.0]]))
    # x = (3, 1): W x + b = (15, 33); A x = 2; 4 B A x = (4, 16).
    assert adapter(torch.tensor([3.0, 1.0])).tolist() == [19.0, 49.0]
    assert adapter.weight.tolist() == [[3.0, 0.0], [11.0, -4.0]]
    assert adapter.bias is base.bias and adapter.in_features == 2
    with pytest.raises(AttributeError, match="no_such"):
        adapter.no_such  # noqa: B018


def projections():
    yield nn.Linear(5, 4), (3, 5), F.linear
    conv1d = transformers.pytorch_utils.Conv1D(4, 5)
    yield conv1d, (3, 5), lambda x, w, b: x @ w + b

    def convolve(base):
        return lambda x, w, b: F.conv2d(x, w, b, base.stride, base.padding, base.dilation)

    plain = nn.Conv2d(3, 4, 1)
    yield plain, (2, 3, 5, 5), convolve(plain)
    strided = nn.Conv2d(3, 4, 3, stride=2, padding=1, dilation=2)
    yield strided, (2, 3, 9, 9), convolve(strided)


@pytest.mark.parametrize("base, shape, call", list(projections()))
def test_adapter_is_a_change_of_the_weight(base, shape, call):
    """Values and gradients are those of the projection with the summed weight."""
    adapter = filled(base)
    x = torch.randn(shape, generator=generator(2), dtype=torch.float64, requires_grad=True)
    expected = call(x, adapter.weight, adapter.bias)
    torch.testing.assert_close(adapter(x), expected)
    torch.manual_seed(0)
    direction = torch.randn_like(expected)
    inputs = (x, adapter.A, adapter.B)
    ours = torch.autograd.grad((adapter(x) * direction).sum(), inputs)
    slow = torch.autograd.grad((expected * direction).sum(), inputs)
    for a, b in zip(ours, slow, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "distilbert"])
def test_nothing_changes_at_first_in_text_models(kind):
    model = text_model(kind)
    ids = torch.tensor([[2, 5, 6, 3], [2, 9, 3, 0]])
    before = model(input_ids=ids).last_hidden_state
    assert add_adapters(model, 4, 16.0, generator()) > 5
    assert torch.equal(model(input_ids=ids).last_hidden_state, before)


@pytest.mark.parametrize("kind", ["vit", "resnet", "convnext", "swin", "mobilenet_v2"])
def test_nothing_changes_at_first_in_image_models(kind):
    model = image_model(kind)
    x = torch.randn(2, 3, 32, 32, generator=generator())
    before = model(x).last_hidden_state
    assert add_adapters(model, 4, 16.0, generator()) > 3
    torch.testing.assert_close(model(x).last_hidden_state, before, rtol=0, atol=0)


def test_rank_is_lowered_beside_small_projections():
    model = nn.ModuleDict(
        {"big": nn.Linear(512, 512), "small": nn.Linear(40, 40), "one": nn.Linear(4, 4)}
    )
    assert add_adapters(model, 8, 16.0, generator()) == 3
    # 5 % of 40 * 40 over 40 + 40 is one; of 512 * 512 over 1024 it is 12.8.
    assert [len(model[name].A) for name in ("big", "small", "one")] == [8, 1, 1]
    assert all(adapter.scale == 2.0 for adapter in model.values())


def test_adapters_follow_the_generator_alone():
    def drawn(seed):
        model = nn.Sequential(nn.Linear(50, 50), nn.ReLU())
        add_adapters(model, 2, 1.0, generator(seed))
        return model[0].A

    state = torch.get_rng_state()
    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    torch.set_rng_state(state)
    many = LowRank(nn.Linear(400, 400), 400, 1.0, generator()).A
    assert float(many.detach().var()) == pytest.approx(1 / 400, rel=0.02)
    assert not LowRank(nn.Linear(4, 4), 2, 1.0, generator()).B.any()


def test_what_is_left_alone():
    attention = nn.MultiheadAttention(16, 2)  # uses its projections' weights, does not call them
    assert add_adapters(attention, 2, 1.0, generator()) == 0
    depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Embedding(5, 8), nn.LayerNorm(8))
    assert add_adapters(depthwise, 2, 1.0, generator()) == 0
    shared = nn.Linear(50, 50)
    twice = nn.Sequential(shared, nn.ReLU(), shared)
    assert add_adapters(twice, 2, 1.0, generator()) == 1
    assert twice[0] is twice[2]


def test_fused_layers_see_the_adapter():
    """An encoder layer of torch reads ``linear1.weight`` in evaluation mode."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    add_adapters(layer, 2, 1.0, generator())
    with torch.no_grad():
        layer.linear1.B.fill_(0.3)
        x = torch.randn(2, 5, 16, generator=generator())
        fused = layer(x)
    torch.testing.assert_close(layer(x.requires_grad_()), fused, atol=1e-5, rtol=1e-5)


def test_copies_of_an_adapter():
    adapter = filled(nn.Linear(5, 4))
    x = torch.ones(1, 5, dtype=torch.float64)
    for twin in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert torch.equal(twin(x), adapter(x))
