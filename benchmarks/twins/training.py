"""What the twins share, in the form that is fastest in PyTorch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

Batch = Mapping[str, list[Tensor]]  # by stream, one tensor a draw
Draws = Mapping[str, Any] | None


def make_optimizer(net: nn.Module, section: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer of a config section: Adam, with decoupled decay where it has one.

    Fused: one pass over the parameters, several times faster than PyTorch's default loop.
    """
    plain = dict(name="adam", clip_norm=0.0, schedule="constant", warmup_steps=0)
    for field, value in plain.items():
        if section[field] != value:
            raise ValueError(f"twin: optim {field}={section[field]!r}, only {value!r} is written")
    settings = dict(lr=section["lr"], betas=(section["b1"], section["b2"]), eps=section["eps"])
    settings["fused"] = True
    if not section["weight_decay"]:
        return torch.optim.Adam(net.parameters(), **settings)
    groups = [
        dict(params=[p for p in net.parameters() if p.ndim > 1]),
        dict(params=[p for p in net.parameters() if p.ndim <= 1], weight_decay=0.0),
    ]
    return torch.optim.AdamW(groups, weight_decay=section["weight_decay"], **settings)


def weight_of(terms: Mapping[str, Any], name: str) -> float:
    """Return the weight of a term in a section of terms, 0 where it is not there."""
    return terms[name]["weight"] if name in terms else 0.0


def set_products(precision: str) -> None:
    """Say how float32 products and convolutions are computed on GPUs in this process.

    Args:
      precision: "high", TF32 for both, which is JAX's default for both; or "highest", float32.
        PyTorch's own default is TF32 for convolutions alone.
    """
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision == "high"


class Chain(nn.Sequential):
    """nn.Sequential with a `forward` of its own: torch.compile skips PyTorch's, without a word."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Average:
    """Moving average of a network's parameters and statistics, with the ramp of `ema_decay_at`.

    The vectors of spectral normalisation are taken over: they belong to the latest weights.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.step = decay, 0
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self.pairs = [
            (mine, theirs)
            for mine, theirs in zip(self._moved(self.net), self._moved(net), strict=True)
            if mine.is_floating_point()
        ]
        self.spectral = list(zip(spectral(self.net), spectral(net), strict=True))

    @staticmethod
    def _moved(net: nn.Module) -> list[Tensor]:
        kept = {id(norm.u) for norm in spectral(net)}
        return [x for x in (*net.parameters(), *net.buffers()) if id(x) not in kept]

    @torch.no_grad()
    def update(self) -> None:
        """Move towards the network."""
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        mine, theirs = map(list, zip(*self.pairs, strict=True))
        torch._foreach_lerp_(mine, theirs, 1 - decay)
        for mine, theirs in self.spectral:
            mine.u = theirs.u
        self.step += 1


class SpectralNorm(nn.Module):
    """Divide a weight by its largest singular value, estimated by one power iteration a pass.

    In the order of arXiv:1802.05957, algorithm 1: v from u, then u from v. PyTorch's own
    parametrization takes u first and so is half an iteration apart; it costs the same. The rows of
    an embedding are its inputs, so that its matrix is transposed.

    The buffer is replaced, not written to as PyTorch's is: torch.compile keeps u itself for the
    backward pass, to compute v again, and refuses one that a later pass has changed.

    Always in the weight's own precision, as ours: autocast would make u bfloat16.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.transposed = isinstance(layer, nn.Embedding)
        outputs = layer.weight.shape[1 if self.transposed else 0]
        self.register_buffer(
            "u", normalize(torch.randn(outputs, device=layer.weight.device), dim=0)
        )

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.T if self.transposed else weight.flatten(1)
        with torch.autocast(weight.device.type, enabled=False):
            with torch.no_grad():
                v, u = normalize(matrix.T @ self.u, dim=0), self.u
                if self.training:
                    self.u = u = normalize(matrix @ v, dim=0)
            return weight / (u @ (matrix @ v))


def spectral(net: nn.Module) -> list[SpectralNorm]:
    """Return what normalises the weights of a network spectrally."""
    return [module for module in net.modules() if isinstance(module, SpectralNorm)]


@contextlib.contextmanager
def unmoved(net: nn.Module) -> Iterator[None]:
    """Undo the power iterations of the passes inside: ours keep them in a network's own update."""
    before = [norm.u for norm in spectral(net)]
    yield
    for norm, old in zip(spectral(net), before, strict=True):
        norm.u = old


def take_step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Move down the gradient of `loss`."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
