"""Our parameters as a PyTorch state dict.

convolution             kernel [kh, kw, C, O]      -> weight [O, C, kh, kw]
transposed convolution  kernel [kh, kw, C, O]      -> weight [C, O, kh, kw]: neither mirrors it
linear                  kernel [I, O]              -> weight [O, I]
  after a flattening    rows in order (H, W, C)    -> columns in order (C, H, W)
  before an unflattening, the same of its outputs
embedding               embedding [K, F]           -> weight [K, F]
BatchNorm               scale, bias, mean, var     -> weight, bias, running_mean, running_var
spectral normalisation  u                          -> u, of the weight's parametrization
self-attention          gain                       -> gain
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized

Maps = Mapping[str, tuple[int, int, int]]
_SPECTRAL = "parametrizations.weight"  # where PyTorch puts a weight that is normalised


def to_tensor(array: Any, memory: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Return an array as a tensor: images [B, H, W, C] as [B, C, H, W], labels as int64."""
    array = np.array(array)
    if array.ndim == 4:
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous(memory_format=memory)
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)


def to_batch(
    batch: Mapping[str, np.ndarray],
    memory: torch.memory_format = torch.contiguous_format,
    device: str = "cpu",
) -> dict[str, list[Tensor]]:
    """Return our batch [draws, B, ...] as a list of tensors on a device, one a draw."""
    return {name: [to_tensor(draw, memory).to(device) for draw in x] for name, x in batch.items()}


def to_state_dict(
    net: nn.Module,
    params: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
    *,
    flax_name: Callable[[str], str] = str,
    maps: Maps | None = None,
) -> dict[str, Tensor]:
    """Return the entries of `net.state_dict()`.

    Args:
      net: the twin.
      params: our tree of arrays: parameters, or anything of their structure.
      extra: our other collections, "batch_stats" and "spectral"; None leaves them out.
      flax_name: from a module's name to ours.
      maps: linear layers by name that read or write a flattened [C, H, W].

    Raises:
      ValueError: a layer that is not known, or parameters of ours that are left over.
    """
    found: dict[str, Tensor] = {}
    used = 0
    for name, module in net.named_modules():
        statistics, flat = isinstance(module, nn.BatchNorm2d), (maps or {}).get(name)
        own = is_parametrized(module) or next(module.parameters(recurse=False), None) is not None
        if isinstance(module, ParametrizationList) or not (own or statistics):
            continue
        path = flax_name(name).split(".")
        arrays = _arrays(module, _at(params, path), flat) if own else {}
        used += sum(array.size for array in arrays.values())
        if is_parametrized(module):
            arrays[f"{_SPECTRAL}.original"] = arrays.pop("weight")
            if extra is not None:
                u = np.asarray(_at(extra["spectral"], path)["u"])
                writes = flat and len(u) == math.prod(flat)
                arrays[f"{_SPECTRAL}.0.u"] = u[_channels_first(flat)] if writes else u
        if extra is not None and statistics:
            moments = _at(extra["batch_stats"], path)
            arrays.update(running_mean=moments["mean"], running_var=moments["var"])
        for leaf, array in arrays.items():
            found[f"{name}.{leaf}"] = torch.from_numpy(np.array(array))
    if used != (ours := _count(params)):
        raise ValueError(f"the twin has {used} parameters, ours {ours}")
    return found


def _arrays(
    module: nn.Module, tree: Mapping[str, Any], flat: tuple[int, int, int] | None
) -> dict[str, np.ndarray]:
    if isinstance(module, nn.BatchNorm2d):
        return {"weight": np.asarray(tree["scale"]), "bias": np.asarray(tree["bias"])}
    if isinstance(module, nn.Embedding):
        return {"weight": np.asarray(tree["embedding"])}
    if "gain" in tree:
        return {"gain": np.asarray(tree["gain"])}
    kernel = np.asarray(tree["kernel"])
    bias = {} if module.bias is None else {"bias": np.asarray(tree["bias"])}
    if isinstance(module, nn.ConvTranspose2d):
        return {"weight": kernel.transpose(2, 3, 0, 1), **bias}
    if isinstance(module, nn.Conv2d):
        return {"weight": kernel.transpose(3, 2, 0, 1), **bias}
    if not isinstance(module, nn.Linear):
        raise ValueError(f"no rule for the parameters of {type(module).__name__}")
    weight = kernel.T
    if flat:
        order = _channels_first(flat)
        if len(order) == module.in_features:
            return {"weight": weight[:, order], **bias}
        return {"weight": weight[order], **{k: b[order] for k, b in bias.items()}}
    return {"weight": weight, **bias}


def _channels_first(flat: tuple[int, int, int]) -> np.ndarray:
    """Return the places in a flattened [H, W, C] of the entries of a flattened [C, H, W]."""
    channels, height, width = flat
    order = np.arange(channels * height * width).reshape(height, width, channels)
    return order.transpose(2, 0, 1).ravel()


def _at(tree: Mapping[str, Any], path: list[str]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _count(tree: Any) -> int:
    if isinstance(tree, Mapping):
        return sum(map(_count, tree.values()))
    return int(np.size(tree))
