"""The twin of configs/vae.py, convolutional and fully connected."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.twins.training import Average, Batch, Draws, make_optimizer, take_step

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


class VAE(nn.Module):
    """An encoder and a decoder as one network."""

    def __init__(self, net: str, shape: tuple[int, int, int], width: int, latent: int) -> None:
        super().__init__()
        height, columns, channels = shape
        if net == "mlp":
            pixels = math.prod(shape)
            encoder = OrderedDict(flatten=nn.Flatten(), **_hidden(pixels, width))
            features = width
            decoder = _with_relu(_hidden(latent, width))
            decoder["outputs"] = nn.Linear(width, pixels)
            decoder["unflatten"] = nn.Unflatten(1, (channels, height, columns))
            self.maps = {
                "encoder.hidden0": (channels, height, columns),
                "decoder.outputs": (channels, height, columns),
            }
        else:
            count = _stages(height, columns)
            sizes = [width * min(2**i, _MAX_FACTOR) for i in range(count)]
            last = (sizes[-1], height >> count, columns >> count)
            features = width * _MAX_FACTOR
            encoder = OrderedDict()
            for i, size in enumerate(sizes):
                encoder[f"conv{i}"] = nn.Conv2d(sizes[i - 1] if i else channels, size, 4, 2, 1)
            encoder["flatten"] = nn.Flatten()
            encoder["dense"] = nn.Linear(math.prod(last), features)
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            layers["dense0"] = nn.Linear(latent, features)
            layers["dense1"] = nn.Linear(features, math.prod(last))
            layers["unflatten"] = nn.Unflatten(1, last)
            for i in reversed(range(1, count)):
                layers[f"conv{i}"] = nn.ConvTranspose2d(sizes[i], sizes[i - 1], 4, 2, 1)
            decoder = _with_relu(layers)
            decoder["conv0"] = nn.ConvTranspose2d(width, channels, 4, 2, 1)
            self.maps = {"encoder.dense": last, "decoder.dense1": last}
        encoder = _with_relu(encoder)
        encoder["posterior"] = Posterior(features, latent)
        self.encoder, self.decoder = nn.Sequential(encoder), nn.Sequential(decoder)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * noise
        return self.decoder(z), mean, log_variance


class Twin:
    """A VAE and its update."""

    compiles = ("vae",)

    def __init__(self, config: Any, spec: Any) -> None:
        self.model, self.beta = config.model, config.task.beta
        vae, self.likelihood = self.model.vae, self.model.likelihood
        net = VAE(vae.name, spec.image_shape, vae.width, self.model.latent)
        self.nets = {"vae": net}
        self.optimizers = {"vae": make_optimizer(net, config.optim.vae)}
        self.averages = {"vae": Average(net, config.train.ema_decay)}
        self.maps = {"vae": net.maps}

    @staticmethod
    def flax_name(name: str) -> str:
        return name.replace("posterior.", "")

    def step(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Move up the lower bound."""
        images = batch["image"][0]
        shape = (len(images), self.model.latent)
        noise = draws["noise"] if draws else torch.randn(shape, device=images.device)
        outputs, mean, log_variance = self.nets["vae"](images, noise)
        if self.likelihood.name == "bernoulli":
            target = (images + 1) / 2
            error = binary_cross_entropy_with_logits(outputs, target, reduction="none")
        else:
            constant = math.log(self.likelihood.scale) + 0.5 * math.log(2 * math.pi)
            error = 0.5 * ((images - outputs) / self.likelihood.scale).square() + constant
        reconstruction = -error.sum((1, 2, 3)).mean()
        kl = 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(1).mean()
        loss = self.beta * kl - reconstruction
        take_step(self.optimizers["vae"], loss)
        self.averages["vae"].update()
        terms = dict(loss=loss, reconstruction=reconstruction, kl=kl, elbo=reconstruction - kl)
        return {name: term.detach() for name, term in terms.items()}

    @torch.inference_mode()
    def sample(self, batch: Batch, draws: Draws) -> Tensor:
        """Return as many images as the batch has."""
        images = batch["image"][0]
        shape = (len(images), self.model.latent)
        z = draws["noise"] if draws else torch.randn(shape, device=images.device)
        outputs = self.averages["vae"].net.decoder(z)
        if self.likelihood.name == "bernoulli":
            return 2 * outputs.sigmoid() - 1
        return outputs.clamp(-1, 1)
