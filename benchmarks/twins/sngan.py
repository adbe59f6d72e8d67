"""The twin of configs/sngan.py and configs/wgan_gp.py at 16 and 32 px, unconditional."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu
from torch.nn.utils.parametrize import register_parametrization

from benchmarks.twins.training import (
    Average,
    Batch,
    Draws,
    SpectralNorm,
    make_optimizer,
    take_step,
    weight_of,
)


def normalize_spectrally(net: nn.Module, kinds: tuple[type, ...] = (nn.Conv2d, nn.Linear)) -> None:
    """Normalise every weight of layers of those kinds, in place."""
    for layer in [module for module in net.modules() if isinstance(module, kinds)]:
        register_parametrization(layer, "weight", SpectralNorm(layer))


def double(x: Tensor) -> Tensor:
    """Repeat each pixel 2 x 2 times."""
    return interpolate(x, scale_factor=2, mode="nearest")


class GeneratorBlock(nn.Module):
    """BatchNorm, ReLU, doubling, convolution; the same without doubling; a 1x1 shortcut.

    `norm` makes a normalisation of so many channels, which is given what `forward` is beside x.
    """

    def __init__(self, inputs: int, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm_a, self.norm_b = norm(inputs), norm(channels)
        self.conv_a = nn.Conv2d(inputs, channels, 3, padding=1)
        self.conv_b = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor, *given: Tensor) -> Tensor:
        h = self.conv_a(double(relu(self.norm_a(x, *given))))
        h = self.conv_b(relu(self.norm_b(h, *given)))
        return h + double(self.shortcut(x))


class Generator(nn.Module):
    """Latents [B, L] -> images [B, C, H, W]."""

    def __init__(self, shape: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        height, columns, channels = shape
        count = 3 if min(height, columns) >= 32 else 2
        self.base = (width, height >> count, columns >> count)
        self.dense = nn.Linear(latent, self.base[0] * self.base[1] * self.base[2])
        for i in range(count):
            self.add_module(f"block{i}", GeneratorBlock(width, width, nn.BatchNorm2d))
        self.blocks = [f"block{i}" for i in range(count)]
        self.norm = nn.BatchNorm2d(width)
        self.image = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).unflatten(1, self.base)
        for name in self.blocks:
            x = getattr(self, name)(x)
        return self.image(relu(self.norm(x))).tanh()


class DiscriminatorBlock(nn.Module):
    """Two convolutions and a shortcut; the first block has no activation before them.

    The first of them widens in the first block, and in every one that is `wide`.
    """

    def __init__(
        self, inputs: int, channels: int, first: bool, halve: bool, wide: bool = False
    ) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        hidden = channels if first or wide else inputs
        self.conv_a = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.conv_b = nn.Conv2d(hidden, channels, 3, padding=1)
        if halve or inputs != channels:
            self.shortcut = nn.Conv2d(inputs, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_b(relu(self.conv_a(x if self.first else relu(x))))
        if self.halve:
            x, h = avg_pool2d(x, 2), avg_pool2d(h, 2)
        return h + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Discriminator(nn.Module):
    """Images [B, C, H, W] -> logits [B]."""

    def __init__(self, channels: int, width: int, norm: str, pool: str) -> None:
        super().__init__()
        self.pool, self.blocks = pool, [f"block{i}" for i in range(4)]
        for i, name in enumerate(self.blocks):
            block = DiscriminatorBlock(width if i else channels, width, first=not i, halve=i < 2)
            self.add_module(name, block)
        self.logits = nn.Linear(width, 1)
        if norm == "spectral":
            normalize_spectrally(self)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.blocks:
            x = getattr(self, name)(x)
        x = relu(x)
        x = x.sum((2, 3)) if self.pool == "sum" else x.mean((2, 3))
        return self.logits(x).flatten()


class Twin:
    """A residual GAN with the hinge or Wasserstein's loss, with a gradient penalty or without."""

    # torch.compile differentiates once only: the pass of the gradient penalty stays eager.
    compiles = ("gen", "disc")

    def __init__(self, config: Any, spec: Any) -> None:
        shape, model, self.task = spec.image_shape, config.model, config.task
        self.penalty_weight = weight_of(config.terms.disc, "gradient_penalty")
        if max(shape[:2]) >= 48 or self.task.loss not in ("hinge", "wasserstein"):
            raise ValueError(f"twin: {shape[0]}x{shape[1]} px and {self.task.loss} are not written")
        self.latent = model.latent
        gen = Generator(shape, model.gen.width, model.latent)
        disc = Discriminator(shape[-1], model.disc.width, model.disc.norm, model.disc.pool)
        self.nets = {"gen": gen, "disc": disc}
        self.optimizers = {k: make_optimizer(net, config.optim[k]) for k, net in self.nets.items()}
        self.averages = {"gen": Average(gen, config.train.ema_decay)}
        self.maps: dict[str, dict] = {"gen": {"dense": gen.base}, "disc": {}}

    @staticmethod
    def flax_name(name: str) -> str:
        return re.sub(r"(block\d)\.", r"\1_", name)

    def penalty(self, real: Tensor, fake: Tensor, share: Tensor | None) -> Tensor:
        """Return the mean of (|gradient| - 1)^2 between real and fake images."""
        share = torch.rand(len(real), device=real.device) if share is None else share
        images = torch.lerp(fake, real, share[:, None, None, None]).requires_grad_()
        logits = self.nets["disc"].forward(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return (gradient.square().sum((1, 2, 3)).sqrt() - 1).square().mean()

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Update the discriminator on each of the draws, then the generator once."""
        gen, disc = self.nets["gen"], self.nets["disc"]
        images = batch["image"][0]
        noise = dict(size=(len(images), self.latent), device=images.device)
        metrics = {}
        for i, real in enumerate(batch["image"]):
            z = draws["disc"][i] if draws else torch.randn(**noise)
            with torch.no_grad():
                fake = gen(z)
            real_logits, fake_logits = disc(real), disc(fake)
            if self.task.loss == "hinge":
                loss = (relu(1 - real_logits) + relu(1 + fake_logits)).mean()
            else:
                loss = (fake_logits - real_logits).mean()
            metrics["disc"] = loss.detach()
            if self.penalty_weight:
                penalty = self.penalty(real, fake, draws["share"][i] if draws else None)
                metrics["disc/gradient_penalty"] = penalty.detach()
                loss = loss + self.penalty_weight * penalty
            take_step(self.optimizers["disc"], loss)
        z = draws["gen"] if draws else torch.randn(**noise)
        disc.requires_grad_(False)  # no weight gradients that nobody reads
        loss = -disc(gen(z)).mean()
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
