"""The twins of configs/edsr.py and configs/dncnn.py, without patches, flips and turns.

The degraded image is that of the pair; without pairs, Gaussian noise is added to the clean one.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, l1_loss, mse_loss, relu

from benchmarks.twins.training import Average, Batch, Chain, Draws, make_optimizer, take_step

_STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
_DISTANCES = {"l1": l1_loss, "l2": mse_loss}


def _conv(inputs: int, outputs: int, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.a, self.b, self.scale = _conv(width, width), _conv(width, width), scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.b(relu(self.a(x), inplace=True)), alpha=self.scale)


class EDSR(nn.Module):
    """Residual blocks, then pixel shuffle; the output is added to the enlarged input."""

    def __init__(self, channels: int, outputs: int, scale: int, net: Any) -> None:
        super().__init__()
        self.scale, self.skip, width = scale, net.skip, net.width
        self.first = _conv(channels, width)
        self.block = nn.ModuleList(Block(width, net.residual_scale) for _ in range(net.blocks))
        self.body = _conv(width, width)
        self.upscale = nn.ModuleList(_conv(width, width * n**2) for n in _STEPS[scale])
        self.shuffle = nn.ModuleList(nn.PixelShuffle(n) for n in _STEPS[scale])
        self.last = _conv(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        start = h = self.first(x)
        for block in self.block:
            h = block(h)
        h = start + self.body(h)
        for upscale, shuffle in zip(self.upscale, self.shuffle, strict=True):
            h = shuffle(upscale(h))
        h = self.last(h)
        if self.skip == "none":
            return h
        # With antialiasing the filter is Pillow's, which is ours; without, bicubic is another one.
        size = (self.scale * x.shape[2], self.scale * x.shape[3])
        return h + interpolate(x, size, mode=self.skip, antialias=True)


class DnCNN(nn.Module):
    """Subtract the predicted noise."""

    def __init__(self, channels: int, net: Any) -> None:
        super().__init__()
        width, batch = net.width, net.norm == "batch"
        layers: OrderedDict[str, nn.Module] = OrderedDict(first=_conv(channels, width))
        layers["relu0"] = nn.ReLU(inplace=True)
        for i in range(1, net.layers - 1):
            layers[f"conv{i}"] = _conv(width, width, bias=not batch)
            if batch:
                layers[f"norm{i}"] = nn.BatchNorm2d(width)
            layers[f"relu{i}"] = nn.ReLU(inplace=True)
        layers["last"] = _conv(width, channels)
        self.noise = Chain(layers)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.noise(x)


class Twin:
    """A restorer and its update."""

    compiles = ("net",)

    def __init__(self, config: Any, spec: Any) -> None:
        model, degrade = config.model.net, config.degrade
        channels, target = spec.image_shape[-1], spec.streams.get("target")
        if (degrade.name != "none") if target else (degrade.name != "noise" or degrade.sigma_max):
            raise ValueError(f"twin: {degrade}: only pairs, and noise of one sigma, are written")
        self.deviation = 0.0 if target else degrade.sigma / 127.5
        self.distance = config.task.distance
        if model.name == "dncnn":
            net = DnCNN(channels, model)
        else:
            scale = target.shape[0] // spec.image_shape[0] if target else 1
            net = EDSR(channels, target.shape[-1] if target else channels, scale, model)
        self.nets = {"net": net}
        self.optimizers = {"net": make_optimizer(net, config.optim.net)}
        self.averages = {"net": Average(net, config.train.ema_decay)}
        self.maps: dict[str, dict] = {"net": {}}

    @staticmethod
    def flax_name(name: str) -> str:
        name = re.sub(r"^block\.(\d+)\.", r"block\1_", name)
        return re.sub(r"^upscale\.", "upscale", name).removeprefix("noise.")

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Move down the distance between restored and clean images."""
        degraded, clean = batch["image"][0], batch.get("target", batch["image"])[0]
        if self.deviation:
            noise = draws["noise"] if draws else torch.randn_like(clean)
            degraded = torch.add(clean, noise, alpha=self.deviation)
        loss = _DISTANCES[self.distance](self.nets["net"](degraded), clean)
        take_step(self.optimizers["net"], loss)
        self.averages["net"].update()
        return {self.distance: loss.detach()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Restore images of any size."""
        return self.averages["net"].net(batch["image"][0]).clamp(-1, 1)
