"""The twin of configs/pix2pix.py, without augmentation."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, leaky_relu, relu, softplus

from benchmarks.twins.training import Batch, Chain, Draws, make_optimizer, take_step

_MAX_FACTOR = 8
_DROPOUT_BLOCKS = 3


class UNet(nn.Module):
    """The generator; `masks` are the entries that dropout keeps, a block each."""

    def __init__(self, channels: int, outputs: int, width: int, depth: int, rate: float) -> None:
        super().__init__()
        self.rate, self.depth = rate, depth
        sizes = [width * min(2**i, _MAX_FACTOR) for i in range(depth)]
        self.down, self.down_norm = nn.ModuleList(), nn.ModuleList()
        for i, size in enumerate(sizes):
            inputs = sizes[i - 1] if i else channels
            self.down.append(nn.Conv2d(inputs, size, 4, 2, 1, bias=False))
            self.down_norm.append(nn.BatchNorm2d(size) if 0 < i < depth - 1 else nn.Identity())
        self.up, self.up_norm = nn.ModuleList(), nn.ModuleList()
        for i, size in enumerate([*sizes[-2::-1], outputs]):
            last = i == depth - 1
            inputs = 2 * sizes[depth - 1 - i] if i else sizes[-1]
            self.up.append(nn.ConvTranspose2d(inputs, size, 4, 2, 1, bias=last))
            if not last:
                self.up_norm.append(nn.BatchNorm2d(size))

    def forward(self, x: Tensor, masks: list[Tensor] | None = None) -> Tensor:
        skips = []
        for i, (conv, norm) in enumerate(zip(self.down, self.down_norm, strict=True)):
            x = norm(conv(leaky_relu(x, 0.2) if i else x))
            skips.append(x)
        skips.pop()
        for i, (conv, norm) in enumerate(zip(self.up, self.up_norm, strict=False)):
            x = norm(conv(relu(x)))
            if i < _DROPOUT_BLOCKS:
                # On at test time too.
                x = x * masks[i] / (1 - self.rate) if masks else dropout(x, self.rate)
            x = torch.cat([skips.pop(), x], 1)
        return self.up[-1](relu(x)).tanh()


def make_patchgan(channels: int, width: int, layers: int) -> Chain:
    """Return the discriminator: source and image, concatenated -> logits [B, 1, h, w]."""
    net: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(layers + 1):
        size = width * min(2**i, _MAX_FACTOR)
        net[f"conv{i}"] = nn.Conv2d(channels, size, 4, 2 if i < layers else 1, 1, bias=not i)
        if i:
            net[f"norm{i}"] = nn.BatchNorm2d(size)
        net[f"leaky{i}"] = nn.LeakyReLU(0.2, inplace=True)
        channels = size
    net["logits"] = nn.Conv2d(channels, 1, 4, 1, 1)
    return Chain(net)


class Twin:
    """A U-Net against a PatchGAN, and their two updates."""

    compiles = ("gen", "disc")

    def __init__(self, config: Any, spec: Any) -> None:
        model, self.task = config.model, config.task
        height, columns, channels = spec.image_shape
        outputs = spec.streams["target"].shape[-1]
        depth = 0
        while height % 2 ** (depth + 1) == columns % 2 ** (depth + 1) == 0:
            depth += 1
        self.nets = {
            "gen": UNet(channels, outputs, model.gen.width, depth, model.gen.dropout),
            "disc": make_patchgan(channels + outputs, model.disc.width, model.disc.layers),
        }
        self.optimizers = {k: make_optimizer(net, config.optim[k]) for k, net in self.nets.items()}
        self.averages: dict[str, Any] = {}
        self.maps: dict[str, dict] = {"gen": {}, "disc": {}}

    @staticmethod
    def flax_name(name: str) -> str:
        return re.sub(r"\.(\d)", r"\1", name)

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Make images once, update the discriminator on them, then the generator."""
        gen, disc = self.nets["gen"], self.nets["disc"]
        source, real = batch["image"][0], batch["target"][0]
        fake = gen(source, draws["masks"] if draws else None)
        real_logits = disc(torch.cat([source, real], 1))
        fake_logits = disc(torch.cat([source, fake.detach()], 1))
        loss = (softplus(-real_logits).mean() + softplus(fake_logits).mean()) / 2
        take_step(self.optimizers["disc"], loss)
        disc.requires_grad_(False)  # no weight gradients that nobody reads
        game = softplus(-disc(torch.cat([source, fake], 1))).mean()
        distance = (fake - real).abs().mean()
        total = self.task.l1_weight * distance + self.task.adversarial_weight * game
        take_step(self.optimizers["gen"], total)
        disc.requires_grad_(True)
        return {"disc": loss.detach(), "gen": game.detach(), "l1": distance.detach()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Translate the batch; dropout stays on."""
        gen = self.nets["gen"].eval()
        images = gen(batch["image"][0], draws["masks"] if draws else None)
        gen.train()
        return images
