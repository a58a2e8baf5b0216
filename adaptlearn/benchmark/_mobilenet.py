"""MobileNets with ImageNet weights, as torch networks that can be trained further.

The files are ``mobilenet_*.npz`` of a data home: 8-bit weights, their scales, and the list of
operations, with batch norm folded into the convolutions.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..datasets._home import read_archive


class _Convolution(nn.Module):
    """Convolution with TensorFlow's padding ("same"), then ReLU6 where there is one."""

    def __init__(self, weight, bias, *, stride, groups, clipped):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride, self.groups, self.clipped = stride, groups, clipped

    def forward(self, x):
        padding = (*self._padding(x.shape[-1]), *self._padding(x.shape[-2]))
        if any(padding):
            x = F.pad(x, padding)
        x = F.conv2d(x, self.weight, self.bias, stride=self.stride, groups=self.groups)
        return F.relu6(x) if self.clipped else x

    def _padding(self, side):
        kernel = self.weight.shape[-1]
        total = max((-(-side // self.stride) - 1) * self.stride + kernel - side, 0)
        return total // 2, total - total // 2


class _Block(nn.Sequential):
    """Convolutions up to where the network narrows, around which the input may be added."""

    residual = False

    def forward(self, x):
        y = super().forward(x)
        return x + y if self.residual else y


class MobileNet(nn.Sequential):
    """Chain of blocks: images (n, 3, height, width) in [-1, 1] to a map (n, d, h, w)."""


def load_mobilenet(name, data_home=None):
    """Read a network from the data home, without its ImageNet head.

    Parameters
    ----------
    name : str
        File name, such as "mobilenet_v1_0.25_128_qat.npz".
    data_home : str or path-like, default=None
        Where the file is; see :func:`adaptlearn.datasets.get_data_home`.

    Returns
    -------
    network : MobileNet
    """
    raw = read_archive(name, data_home)
    blocks, layers = [], []
    read = written = 0  # tensors that the last block reads and writes, by number
    for operation in json.loads(bytes(raw["ops"]).decode()):
        kind = operation["op"]
        if kind == "pool":
            break
        if kind == "add":
            if layers or set(operation["in"]) != {read, written}:
                raise ValueError(f"{name!r} adds tensors that are not the two ends of one block.")
            blocks[-1].residual, written = True, operation["out"]
            continue
        if not layers:
            read = written
        layers.append(_convolution(raw, operation))
        written = operation["out"]
        by_channel = [layer.groups > 1 for layer in layers]
        if any(by_channel) and not by_channel[-1]:
            blocks.append(_Block(*layers))
            layers = []
    if layers:
        blocks.append(_Block(*layers))
    return MobileNet(*blocks)


def _convolution(raw, operation):
    number = operation["w"]
    weight = raw[f"w{number}"].astype(np.float32) - np.float32(raw[f"zp{number}"])
    weight *= raw[f"s{number}"].reshape(-1, 1, 1, 1)
    return _Convolution(
        torch.from_numpy(weight),
        torch.from_numpy(raw[f"b{number}"]),
        stride=operation["stride"],
        groups=len(weight) if operation["op"] == "dw" else 1,
        clipped=operation["act"] == 3,
    )
