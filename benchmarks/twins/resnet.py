"""The twin of configs/classifier.py with net=resnet18, without augmentation."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from benchmarks.twins.training import Average, Batch, Chain, Draws, make_optimizer, take_step


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv_a, self.norm_a = _conv(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv_b, self.norm_b = _conv(channels, channels, 3, 1), nn.BatchNorm2d(channels)
        self.resized = stride > 1 or inputs != channels
        if self.resized:
            self.conv_shortcut = _conv(inputs, channels, 1, stride)
            self.norm_shortcut = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.norm_shortcut(self.conv_shortcut(x)) if self.resized else x
        x = relu(self.norm_a(self.conv_a(x)), inplace=True)
        return relu(self.norm_b(self.conv_b(x)) + shortcut, inplace=True)


def make_resnet18(channels: int, outputs: int, width: int, stem: str) -> Chain:
    """Return ResNet-18: images [B, C, H, W] -> logits [B, outputs]."""
    size, stride = (7, 2) if stem == "imagenet" else (3, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv_stem"] = _conv(channels, width, size, stride)
    layers["norm_stem"] = nn.BatchNorm2d(width)
    layers["relu_stem"] = nn.ReLU(inplace=True)
    if stem == "imagenet":
        layers["pool"] = nn.MaxPool2d(3, 2, 1)
    inputs = width
    for stage in range(4):
        for i in range(2):
            stride = 2 if stage and not i else 1
            layers[f"block{stage}_{i}"] = Block(inputs, width << stage, stride)
            inputs = width << stage
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["outputs"] = nn.Linear(inputs, outputs)
    return Chain(layers)


class Twin:
    """A classifier and its update."""

    compiles = ("net",)
    sample = None

    def __init__(self, config: Any, spec: Any) -> None:
        model, self.smoothing = config.model.net, config.task.label_smoothing
        channels = spec.image_shape[-1]
        net = make_resnet18(channels, spec.num_classes, model.width, model.stem)
        self.nets = {"net": net}
        self.optimizers = {"net": make_optimizer(net, config.optim.net)}
        self.averages = {"net": Average(net, config.train.ema_decay)}
        self.maps: dict[str, dict] = {"net": {}}

    @staticmethod
    def flax_name(name: str) -> str:
        return re.sub(r"block(\d_\d)\.(conv|norm)_(\w+)", r"\2\1_\3", name)

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Move down the cross entropy."""
        labels = batch["label"][0]
        logits = self.nets["net"](batch["image"][0])
        loss = cross_entropy(logits, labels, label_smoothing=self.smoothing)
        take_step(self.optimizers["net"], loss)
        self.averages["net"].update()
        accuracy = (logits.detach().argmax(1) == labels).float().mean()
        return {"loss": loss.detach(), "accuracy": accuracy}
