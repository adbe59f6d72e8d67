"""The twin of configs/dcgan.py, unconditional."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.twins.training import Average, Batch, Chain, Draws, make_optimizer, take_step

Maps = dict[str, tuple[int, int, int]]


def _stages(height: int, width: int) -> int:
    count = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 8:
        count, height, width = count + 1, height // 2, width // 2
    return count


def make_generator(shape: tuple[int, int, int], width: int, latent: int) -> Chain:
    """Return the generator: latents [B, L] -> images [B, C, H, W]."""
    height, columns, channels = shape
    count = _stages(height, columns)
    features = width << (count - 1)
    base = (features, height >> count, columns >> count)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["dense"] = nn.Linear(latent, base[0] * base[1] * base[2], bias=False)
    layers["unflatten"] = nn.Unflatten(1, base)
    layers["norm0"] = nn.BatchNorm2d(features)
    layers["relu0"] = nn.ReLU(inplace=True)
    for i in range(1, count):
        ends = (features >> (i - 1), features >> i)
        layers[f"up{i}"] = nn.ConvTranspose2d(*ends, 4, 2, 1, bias=False)
        layers[f"norm{i}"] = nn.BatchNorm2d(features >> i)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
    layers["image"] = nn.ConvTranspose2d(width, channels, 4, 2, 1)
    layers["tanh"] = nn.Tanh()
    return Chain(layers)


def make_discriminator(shape: tuple[int, int, int], width: int) -> Chain:
    """Return the discriminator: images [B, C, H, W] -> logits [B]."""
    height, columns, channels = shape
    count = _stages(height, columns)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(count):
        ends = (width << (i - 1) if i else channels, width << i)
        layers[f"down{i}"] = nn.Conv2d(*ends, 4, 2, 1, bias=i == 0)
        if i:
            layers[f"norm{i}"] = nn.BatchNorm2d(width << i)
        layers[f"leaky{i}"] = nn.LeakyReLU(0.2, inplace=True)
    layers["flatten"] = nn.Flatten()
    pixels = (height >> count) * (columns >> count)
    layers["logits"] = nn.Linear((width << (count - 1)) * pixels, 1)
    layers["squeeze"] = nn.Flatten(0)
    return Chain(layers)


class Twin:
    """A DCGAN and its two updates."""

    compiles = ("gen", "disc")

    def __init__(self, config: Any, spec: Any) -> None:
        shape, model = spec.image_shape, config.model
        self.latent, self.draws = model.latent, config.task.disc_updates
        gen = make_generator(shape, model.gen.width, model.latent)
        disc = make_discriminator(shape, model.disc.width)
        self.nets = {"gen": gen, "disc": disc}
        self.optimizers = {k: make_optimizer(net, config.optim[k]) for k, net in self.nets.items()}
        self.averages = {"gen": Average(gen, config.train.ema_decay)}
        count = _stages(*shape[:2])
        base = (shape[0] >> count, shape[1] >> count)
        self.maps: dict[str, Maps] = {
            "gen": {"dense": (model.gen.width << (count - 1), *base)},
            "disc": {"logits": (model.disc.width << (count - 1), *base)},
        }

    @staticmethod
    def flax_name(name: str) -> str:
        return name

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Update the discriminator on each of the draws, then the generator once."""
        gen, disc = self.nets["gen"], self.nets["disc"]
        noise = dict(size=(len(batch["image"][0]), self.latent), device=batch["image"][0].device)
        metrics = {}
        for i in range(self.draws):
            z = draws["disc"][i] if draws else torch.randn(**noise)
            with torch.no_grad():
                fake = gen(z)
            real_logits, fake_logits = disc(batch["image"][i]), disc(fake)
            loss = softplus(-real_logits).mean() + softplus(fake_logits).mean()
            take_step(self.optimizers["disc"], loss)
            metrics["disc"] = loss.detach()
            metrics["logits/real"] = real_logits.detach().mean()
            metrics["logits/fake"] = fake_logits.detach().mean()
        z = draws["gen"] if draws else torch.randn(**noise)
        disc.requires_grad_(False)  # no weight gradients that nobody reads
        loss = softplus(-disc(gen(z))).mean()
        take_step(self.optimizers["gen"], loss)
        disc.requires_grad_(True)
        self.averages["gen"].update()
        return {**metrics, "gen": loss.detach()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Return as many images as the batch has."""
        images = batch["image"][0]
        noise = dict(size=(len(images), self.latent), device=images.device)
        z = draws["gen"] if draws else torch.randn(**noise)
        return self.averages["gen"].net(z)
