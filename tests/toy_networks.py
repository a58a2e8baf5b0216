"""Networks for the tests of extractors that need no other package, as modules and factories."""

import torch
from torch import nn

ROWS = []  # number of rows of every forward pass


def letters(texts):
    """A tokenizer: one id for each byte."""
    return [[code % 64 for code in text.encode()] for text in texts]


class Mixer(nn.Module):
    """Token vectors with dropout, batch norm and a buffer: all that evaluation mode matters for."""

    def __init__(self, d=8, seed=0, scale=1.0):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.embed = nn.Embedding(64, d)
            self.norm = nn.BatchNorm1d(d)
            self.drop = nn.Dropout(0.5)
            self.register_buffer("shift", torch.randn(d))
        self.scale = scale

    def forward(self, ids, mask):
        ROWS.append(len(ids))
        hidden = self.embed(ids)
        hidden = self.norm(hidden.transpose(1, 2)).transpose(1, 2)
        return self.drop(hidden) * self.scale + self.shift


class OtherCode(Mixer):
    def forward(self, ids, mask):
        ROWS.append(len(ids))
        return self.embed(ids) * 2


def make_mixer():
    return Mixer(), letters


def make_module_alone():
    return Mixer()


def make_nothing():
    return 3


def make_random():
    return nn.Sequential(nn.Embedding(64, 4)), letters
