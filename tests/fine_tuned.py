"""Rows, tiny models of each family, and estimators, for the tests of fine-tuning."""

import numpy as np
import torch
from tiny_models import save_image, save_text

from adaptlearn import FineTuneClassifier, ImageExtractor, TextExtractor

TEXT = ["bert", "roberta", "distilbert", "gpt2", "llama"]
IMAGE = [
    "vit", "dinov2", "clip", "siglip", "resnet", "convnext", "swin", "mobilenet_v1", "mobilenet_v2",
]  # fmt: skip
N_GROUPS = {"mobilenet_v1": 27, "mobilenet_v2": 17}  # layer groups; 3 of all the others
MODES = ["frozen", "head", "last:1", "gradual", "full", "lora"]

ANIMALS = ["cat", "dog"]
LABELS = np.arange(24) % 2
TEXTS = [f"the {ANIMALS[i % 2]} sat" + " then" * (i % 5) for i in range(24)]
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 34, 40, 3), dtype=np.uint8)
IMAGES[LABELS == 1] //= 3


class Models:
    """Directories of tiny models, made when they are first asked for."""

    def __init__(self, tmp_path_factory):
        self.tmp_path_factory, self.made = tmp_path_factory, {}

    def __call__(self, kind):
        if kind not in self.made:
            self.made[kind] = self.tmp_path_factory.mktemp(kind)
            (save_text if kind in TEXT else save_image)(self.made[kind], kind)
        return self.made[kind]


def extractor(models, kind, **params):
    cls = TextExtractor if kind in TEXT else ImageExtractor
    return cls(str(models(kind)), **params)


def rows(kind):
    return TEXTS if kind in TEXT else IMAGES


def small(backbone, cls=FineTuneClassifier, **params):
    given = {"max_epochs": 2, "batch_size": 8, "random_state": 0, "hidden_layer_sizes": (8,)}
    return cls(backbone=backbone, **(given | params))


def weights(estimator):
    return {k: v.clone() for k, v in estimator.net_.module_.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def check_trained_groups(estimator, original, n_groups):
    """Whether a fit changed what its mode says, of the pretrained module `original`."""
    mode, before = estimator.finetune, dict(original.named_parameters())
    after = dict(estimator.net_.module_.backbone.module.named_parameters())
    groups = estimator.net_.plan.groups
    assert groups.n == n_groups
    if mode == "lora":  # projections stand beside their adapters, as they were
        for name, p in before.items():
            base, _, last = name.rpartition(".")
            assert torch.equal(p, after[name] if name in after else after[f"{base}.base.{last}"])
        return
    assert before.keys() == after.keys()
    moved = [name for name, p in after.items() if not torch.equal(p, before[name])]
    first = {"head": n_groups, "last:1": n_groups - 1, "last:2": n_groups - 2}.get(mode, 0)
    assert {groups.of_parameter(f"module.{name}") for name in moved} == set(range(first, n_groups))
