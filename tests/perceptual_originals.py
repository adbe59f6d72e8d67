"""What efficientnet-lite-pytorch and lpips compute on `perceptual_cases`: extra `parity`.

    python tests/perceptual_originals.py

writes the golden arrays with which the other tests compare where the originals are not installed.
"""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import perceptual_cases as cases
import torch

from gan_jax.features.efficientnet import installed_weights


def planes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


@torch.no_grad()
def efficientnet(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return stages, head, features and logits of uint8 images."""
    from efficientnet_lite_pytorch import EfficientNet

    path = str(installed_weights())
    net = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    found = {}
    ends = {"stage1": 0, "stage2": 2, "stage3": 4, "stage4": 7, "stage5": 10, "stage6": 14}
    for name, block in (ends | {"stage7": 15}).items():
        net._blocks[block].register_forward_hook(
            lambda _, __, output, name=name: found.update({name: output})
        )
    found["head"] = net.extract_features(planes((images.astype(np.float32) - 127) / 128))
    found = {name: array.permute(0, 2, 3, 1) for name, array in found.items()}
    found["features"] = found["head"].mean((1, 2))
    found["logits"] = net._fc(found["features"])
    return {name: array.numpy() for name, array in found.items()}


def lpips_network(heads: object) -> torch.nn.Module:
    """Return LPIPS over drawn VGG weights.

    Args:
      heads: a dict of arrays; "own" for the package's; None for every channel alike.
    """
    import lpips
    import torchvision

    drawn = {name: torch.from_numpy(array) for name, array in cases.vgg_weights().items()}
    features = torchvision.models.vgg16(weights=None).features
    features.load_state_dict({k.removeprefix("features."): v for k, v in drawn.items()})
    network = mock.Mock(features=features)
    with mock.patch.object(lpips.pretrained_networks.tv, "vgg16", lambda **_: network):
        distance = lpips.LPIPS(net="vgg", lpips=heads is not None, verbose=False)
    if isinstance(heads, dict):
        tensors = {name: torch.from_numpy(array) for name, array in heads.items()}
        _, unexpected = distance.load_state_dict(tensors, strict=False)
        assert not unexpected
    return distance


@torch.no_grad()
def lpips(pairs: list[tuple[np.ndarray, np.ndarray]], heads: object) -> list[np.ndarray]:
    """Return distances [B] of pairs; `heads` as for `lpips_network`."""
    distance = lpips_network(heads)
    return [distance(*map(planes, pair)).flatten().numpy() for pair in pairs]


def lpips_gradient(pair: tuple[np.ndarray, np.ndarray], heads: object) -> np.ndarray:
    """Return the gradient [B, H, W, 3] of the summed distances by the first of a pair."""
    prediction, target = map(planes, pair)
    lpips_network(heads)(prediction.requires_grad_(), target).sum().backward()
    return prediction.grad.permute(0, 2, 3, 1).numpy()


def golden() -> dict[str, np.ndarray]:
    net = efficientnet(cases.crops())
    calibrated, uncalibrated = (lpips(cases.pairs(), heads) for heads in (cases.heads(), None))
    return {
        "features": net["features"],
        "logits": net["logits"],
        "lpips": np.stack(calibrated),
        "uncalibrated": np.stack(uncalibrated),
    }


if __name__ == "__main__":
    Path(cases.GOLDEN).parent.mkdir(exist_ok=True)
    np.savez_compressed(cases.GOLDEN, **golden())
