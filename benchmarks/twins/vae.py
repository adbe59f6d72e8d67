"""The twin of configs/vae.py, convolutional and fully connected."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.twins.training import Average, Batch, Draws, make_optimizer

_MAX_FACTOR = 8


def _stages(height: int, width: int) -> int:
    count = 2
    while all(n % 2 ** (count + 1) == 0 and n >> count >= 8 for n in (height, width)):
        count += 1
    return count


class Posterior(nn.Module):
    """Two linear layers: features -> mean and log-variance."""

    def __init__(self, features: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent)
        self.log_variance = nn.Linear(features, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), self.log_variance(x).clamp(-20.0, 10.0)


def _with_relu(layers: OrderedDict[str, nn.Module]) -> OrderedDict[str, nn.Module]:
    """Put a ReLU after every layer."""
    both: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in layers.items():
        both[name] = layer
        if not isinstance(layer, (nn.Flatten, nn.Unflatten)):
            both[f"relu_{name}"] = nn.ReLU(inplace=True)
    return both


def _hidden(inputs: int, width: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(hidden0=nn.Linear(inputs, width), hidden1=nn.Linear(width, width))


def _mlp(shape: tuple[int, int, int], width: int, latent: int) -> tuple[Any, Any, Any]:
    """Return encoder and decoder of dense layers, and their maps."""
    height, columns, channels = shape
    pixels, first = math.prod(shape), (channels, height, columns)
    encoder = _with_relu(OrderedDict(flatten=nn.Flatten(), **_hidden(pixels, width)))
    encoder["posterior"] = Posterior(width, latent)
    decoder = _with_relu(_hidden(latent, width))
    decoder["outputs"] = nn.Linear(width, pixels)
    decoder["unflatten"] = nn.Unflatten(1, first)
    return encoder, decoder, {"encoder": {"hidden0": first}, "decoder": {"outputs": first}}


def _conv(shape: tuple[int, int, int], width: int, latent: int) -> tuple[Any, Any, Any]:
    """Return convolutional encoder and decoder, and their maps."""
    height, columns, channels = shape
    count = _stages(height, columns)
    sizes = [width * min(2**i, _MAX_FACTOR) for i in range(count)]
    last = (sizes[-1], height >> count, columns >> count)
    features = width * _MAX_FACTOR
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, size in enumerate(sizes):
        layers[f"conv{i}"] = nn.Conv2d(sizes[i - 1] if i else channels, size, 4, 2, 1)
    layers["flatten"] = nn.Flatten()
    layers["dense"] = nn.Linear(math.prod(last), features)
    encoder = _with_relu(layers)
    encoder["posterior"] = Posterior(features, latent)
    layers = OrderedDict()
    layers["dense0"] = nn.Linear(latent, features)
    layers["dense1"] = nn.Linear(features, math.prod(last))
    layers["unflatten"] = nn.Unflatten(1, last)
    for i in reversed(range(1, count)):
        layers[f"conv{i}"] = nn.ConvTranspose2d(sizes[i], sizes[i - 1], 4, 2, 1)
    decoder = _with_relu(layers)
    decoder["conv0"] = nn.ConvTranspose2d(width, channels, 4, 2, 1)
    return encoder, decoder, {"encoder": {"dense": last}, "decoder": {"dense1": last}}


class Twin:
    """A VAE and its update; both networks are of one kind and width."""

    compiles = ("encoder", "decoder")

    def __init__(self, config: Any, spec: Any) -> None:
        self.model, self.beta = config.model, config.task.beta
        net, self.likelihood = self.model.encoder, self.model.likelihood
        build = {"mlp": _mlp, "conv": _conv}[net.name]
        *layers, self.maps = build(spec.image_shape, net.width, self.model.latent)
        named = dict(zip(("encoder", "decoder"), layers, strict=True))
        self.nets = {name: nn.Sequential(layers) for name, layers in named.items()}
        self.optimizers = {k: make_optimizer(net, config.optim[k]) for k, net in self.nets.items()}
        decay = config.train.ema_decay
        self.averages = {name: Average(net, decay) for name, net in self.nets.items()}

    @staticmethod
    def flax_name(name: str) -> str:
        return name.replace("posterior.", "")

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Move up the lower bound."""
        images = batch["image"][0]
        shape = (len(images), self.model.latent)
        noise = draws["noise"] if draws else torch.randn(shape, device=images.device)
        mean, log_variance = self.nets["encoder"](images)
        outputs = self.nets["decoder"](mean + torch.exp(0.5 * log_variance) * noise)
        if self.likelihood.name == "bernoulli":
            target = (images + 1) / 2
            error = binary_cross_entropy_with_logits(outputs, target, reduction="none")
        else:
            constant = math.log(self.likelihood.scale) + 0.5 * math.log(2 * math.pi)
            error = 0.5 * ((images - outputs) / self.likelihood.scale).square() + constant
        reconstruction = -error.sum((1, 2, 3)).mean()
        kl = 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1).mean()
        loss = self.beta * kl - reconstruction
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for name, optimizer in self.optimizers.items():
            optimizer.step()
            self.averages[name].update()
        terms = dict(loss=loss, reconstruction=reconstruction, kl=kl, elbo=reconstruction - kl)
        return {name: term.detach() for name, term in terms.items()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Return as many images as the batch has."""
        images = batch["image"][0]
        shape = (len(images), self.model.latent)
        z = draws["noise"] if draws else torch.randn(shape, device=images.device)
        outputs = self.averages["decoder"].net(z)
        if self.likelihood.name == "bernoulli":
            return 2 * outputs.sigmoid() - 1
        return outputs.clamp(-1, 1)
