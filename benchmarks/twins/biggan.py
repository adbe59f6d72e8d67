"""The twin of configs/sagan.py and configs/biggan.py, given the class."""

from __future__ import annotations

import functools
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, max_pool2d, relu

from benchmarks.twins.sngan import DiscriminatorBlock, GeneratorBlock, normalize_spectrally
from benchmarks.twins.training import (
    Average,
    Batch,
    Draws,
    make_optimizer,
    take_step,
    unmoved,
    weight_of,
)
from gan_jax.models.plans import Plan, plan


class SelfAttention(nn.Module):
    """Add to each pixel what it attends to; keys and values are pooled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few, half = max(channels // 8, 1), max(channels // 2, 1)
        self.query, self.key, self.value = (
            nn.Conv2d(channels, outputs, 1, bias=False) for outputs in (few, few, half)
        )
        self.out = nn.Conv2d(half, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)
        key, value = (max_pool2d(conv(x), 2).flatten(2) for conv in (self.key, self.value))
        weights = torch.bmm(query.transpose(1, 2), key).softmax(-1)
        mixed = torch.bmm(value, weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gain * self.out(mixed)


class ConditionalNorm(nn.BatchNorm2d):
    """BatchNorm with a scale and a bias for each class."""

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__(channels, affine=False)
        self.weight = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        kept = (self.running_mean, self.running_var)
        x = batch_norm(x, *kept, None, None, self.training, self.momentum, self.eps)
        return x * self.weight[labels][..., None, None] + self.bias[labels][..., None, None]


class ModulatedNorm(nn.Module):
    """BatchNorm whose scale and bias are linear in a vector that comes with each image."""

    def __init__(self, condition: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(condition, channels, bias=False)
        self.bias = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, bias = (layer(condition)[..., None, None] for layer in (self.scale, self.bias))
        return self.norm(x) * (1 + scale) + bias


class Generator(nn.Module):
    """Latents [B, L] and labels [B] -> images [B, C, H, W].

    With an embedding of the class it is BigGAN's, which gives each block a part of the latents;
    without, it is SAGAN's.
    """

    def __init__(self, shape: tuple[int, int, int], model: Any, shape_plan: Plan, classes: int):
        super().__init__()
        gen = model.gen
        first, *widths = (factor * gen.width for factor in shape_plan.generator)
        self.blocks = [f"block{i}" for i in range(len(widths))]
        self.attention = gen.attention
        self.base = (first, *(side >> len(widths) for side in shape[:2]))
        self.embedded = gen.name == "biggan"
        self.part = model.latent // (len(widths) + 1) if self.embedded else model.latent
        self.dense = nn.Linear(self.part, first * self.base[1] * self.base[2])
        norm = functools.partial(ConditionalNorm, classes)
        if self.embedded:
            norm = functools.partial(ModulatedNorm, self.part + gen.class_embedding)
        inputs = first
        for i, (name, channels) in enumerate(zip(self.blocks, widths, strict=True)):
            self.add_module(name, GeneratorBlock(inputs, channels, norm))
            if min(shape[:2]) >> (len(widths) - 1 - i) == gen.attention:
                self.attend = SelfAttention(channels)
            inputs = channels
        self.norm = nn.BatchNorm2d(inputs)
        self.image = nn.Conv2d(inputs, shape[2], 3, padding=1)
        normalize_spectrally(self)
        if self.embedded:
            self.embed = nn.Embedding(classes, gen.class_embedding)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        given = [labels] * len(self.blocks)
        if self.embedded:
            z, *parts = z.split(self.part, 1)
            shared = self.embed(labels)
            given = [torch.cat([shared, part], 1) for part in parts]
        x = self.dense(z).unflatten(1, self.base)
        for name, each in zip(self.blocks, given, strict=True):
            x = getattr(self, name)(x, each)
            if min(x.shape[2:]) == self.attention:
                x = self.attend(x)
        return self.image(relu(self.norm(x))).tanh()


class Discriminator(nn.Module):
    """Images [B, C, H, W] and labels [B] -> logits [B]; a projection discriminator."""

    def __init__(self, shape: tuple[int, int, int], model: Any, shape_plan: Plan, classes: int):
        super().__init__()
        widths = [factor * model.disc.width for factor in shape_plan.discriminator]
        self.blocks = [f"block{i}" for i in range(len(widths))]
        self.attention = None
        inputs = shape[2]
        for i, (name, channels) in enumerate(zip(self.blocks, widths, strict=True)):
            halve = i < shape_plan.halvings
            block = DiscriminatorBlock(inputs, channels, first=not i, halve=halve, wide=True)
            self.add_module(name, block)
            if halve and min(shape[:2]) >> (i + 1) == model.disc.attention:
                self.attend, self.attention = SelfAttention(channels), name
            inputs = channels
        self.logits, self.embed = nn.Linear(inputs, 1), nn.Embedding(classes, inputs)
        normalize_spectrally(self, (nn.Conv2d, nn.Linear, nn.Embedding))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        for name in self.blocks:
            x = getattr(self, name)(x)
            if name == self.attention:
                x = self.attend(x)
        x = relu(x).sum((2, 3))
        return self.logits(x).flatten() + (self.embed(labels) * x).sum(1)


def orthogonality(net: nn.Module) -> Tensor:
    """Return the sum over weights of the squares of W^T W off its diagonal."""
    total = torch.zeros((), device=next(net.parameters()).device)
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weight = layer.parametrizations.weight.original.flatten(1)
            gram = weight @ weight.T
            total = total + (gram - gram.diagonal().diag()).square().sum()
    return total


class Twin:
    """SAGAN or BigGAN with the hinge loss and, where it has a weight, orthogonal regularisation."""

    compiles = ("gen", "disc")

    def __init__(self, config: Any, spec: Any) -> None:
        shape, model = spec.image_shape, config.model
        conditional, loss = model.conditional.name, config.task.loss
        if conditional != "projection" or loss != "hinge":
            raise ValueError(f"twin: {conditional} and {loss} are not written")
        self.latent, self.orthogonal = model.latent, weight_of(config.terms.gen, "orthogonal")
        family = "biggan" if model.gen.name == "biggan" else "sngan"
        given = (shape, model, plan(*shape[:2], family), spec.num_classes)
        gen, disc = Generator(*given), Discriminator(*given)
        self.nets = {"gen": gen, "disc": disc}
        self.optimizers = {k: make_optimizer(net, config.optim[k]) for k, net in self.nets.items()}
        self.averages = {"gen": Average(gen, config.train.ema_decay)}
        self.maps: dict[str, dict] = {"gen": {"dense": gen.base}, "disc": {}}

    @staticmethod
    def flax_name(name: str) -> str:
        name = re.sub(r"(block\d)\.", r"\1_", name)
        return re.sub("^embed$", "class", re.sub("^attend", "attention", name))

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Update the discriminator on each of the draws, then the generator once."""
        gen, disc = self.nets["gen"], self.nets["disc"]
        images, metrics = batch["image"][0], {}
        noise = dict(size=(len(images), self.latent), device=images.device)
        for i, (real, labels) in enumerate(zip(batch["image"], batch["label"], strict=True)):
            z = draws["disc"][i] if draws else torch.randn(**noise)
            with torch.no_grad(), unmoved(gen):
                fake = gen(z, labels)
            loss = (relu(1 - disc(real, labels)) + relu(1 + disc(fake, labels))).mean()
            take_step(self.optimizers["disc"], loss)
            metrics["disc"] = loss.detach()
        z = draws["gen"] if draws else torch.randn(**noise)
        disc.requires_grad_(False)  # no weight gradients that nobody reads
        loss = metrics["gen"] = -disc(gen(z, labels), labels).mean()
        if self.orthogonal:
            metrics["gen/orthogonal"] = orthogonality(gen)
            loss = loss + self.orthogonal * metrics["gen/orthogonal"]
        take_step(self.optimizers["gen"], loss)
        disc.requires_grad_(True)
        self.averages["gen"].update()
        return {name: value.detach() for name, value in metrics.items()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Return as many images as the batch has, of its classes."""
        labels = batch["label"][-1]
        z = draws["gen"] if draws else torch.randn(len(labels), self.latent, device=labels.device)
        return self.averages["gen"].net(z, labels)
