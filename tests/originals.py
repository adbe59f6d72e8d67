"""What the originals compute with the weights of `benchmarks/drawn_inception.py`: extra `parity`.

    python tests/originals.py

writes the golden arrays with which the other tests compare where the originals are not installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import drawn_inception as cases

GOLDEN = Path(__file__).parent / "features" / "golden.npz"
# Odd, not square, up and down: size of the image, of the result.
RESIZED = (((9, 14), (20, 15)), ((23, 31), (7, 12)), ((8, 30), (11, 7)))


def planes(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def state_dict(classes: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in cases.weights(classes).items()}


@torch.no_grad()
def pytorch_fid(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features and logits without bias of pytorch-fid's network; images are scaled."""
    from pytorch_fid import inception

    given = mock.patch.object(
        inception, "load_state_dict_from_url", lambda *_, **__: state_dict(1008)
    )
    with given:
        net = inception.fid_inception_v3().eval()
        blocks = inception.InceptionV3(resize_input=False, normalize_input=False).eval()
    features = blocks(planes(images))[0].flatten(1)
    return features.numpy(), (features @ net.fc.weight.T).numpy()


@torch.no_grad()
def torchvision(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features and logits of torchvision's network; images are scaled."""
    from torchvision.models import inception_v3

    net = inception_v3(weights=None, init_weights=False, aux_logits=False).eval()
    net.load_state_dict(state_dict(1000))
    found = []
    net.avgpool.register_forward_hook(lambda _, __, output: found.append(output.flatten(1)))
    logits = net(planes(images))
    return found[0].numpy(), logits.numpy()


@torch.no_grad()
def torch_fidelity(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features and logits without bias of torch-fidelity's extractor; images are uint8."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    names = ["2048", "logits_unbiased"]
    with tempfile.NamedTemporaryFile() as file:
        torch.save(state_dict(1008), file.name)
        net = FeatureExtractorInceptionV3("name", names, feature_extractor_weights_path=file.name)
    return tuple(found.numpy() for found in net(planes(images)))


NETWORKS = {"inception_v3_tf": pytorch_fid, "inception_v3_torchvision": torchvision}


def tf_legacy(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return what torch-fidelity resizes as TensorFlow 1 does."""
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as interpolate,
    )

    found = interpolate(planes(images).float(), size=size, align_corners=False)
    return found.permute(0, 2, 3, 1).numpy()


def clean(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return what clean-fid resizes."""
    from cleanfid.resize import make_resizer

    resizer = make_resizer("PIL", False, "bicubic", size[::-1])
    return np.stack([resizer(image) for image in images])


def golden() -> dict[str, np.ndarray]:
    """Return what is stored: one extractor, one network at its smallest size, resized images."""
    found: dict[str, np.ndarray] = {}
    made = {
        "inception_v3_tf": torch_fidelity(cases.images(1, 64, 70)),
        "inception_v3_torchvision": torchvision(cases.scaled(1, 75)),
    }
    for name, (features, logits) in made.items():
        found |= {f"{name}/features": features, f"{name}/logits": logits}
    for there, size in RESIZED:
        images, name = cases.images(1, *there), f"{there[0]}x{there[1]}/{size[0]}x{size[1]}"
        found[f"tf_legacy/{name}"] = tf_legacy(images, size)
        found[f"clean/{name}"] = clean(images, size)
    return found


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
