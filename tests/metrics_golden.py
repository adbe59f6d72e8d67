"""What the packages whose numbers people quote say about arrays that a seed makes.

    python tests/metrics_golden.py        writes tests/metrics/golden.json anew

That needs the packages of the extra `parity`, and neither JAX nor gan_jax. The tests need the file
and the arrays.
"""

from __future__ import annotations

import contextlib
import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "metrics" / "golden.json"
KID = dict(subsets=20, subset_size=100, seed=3)
DIRECTIONS = dict(directions=40, seed=5)
FRECHET = {"full rank": (24, (400, 350)), "singular": (24, (400, 15))}
PRDC = {"k=3": 3, "k=5": 5}
MS_SSIM_WEIGHTS = {3: (0.0448, 0.2856, 0.3001), 5: (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)}


def golden() -> dict[str, Any]:
    """Return the numbers of the file, by metric and package."""
    return json.loads(GOLDEN.read_text())


def features(dimensions: int, counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return features of two sets, float64, non-negative and correlated as pooled ones are."""
    draw = np.random.RandomState(dimensions)
    mix = draw.randn(dimensions, dimensions) * np.arange(1, dimensions + 1)[:, None] ** -0.7
    real, fake = (draw.randn(count, dimensions) @ mix for count in counts)
    return np.maximum(real + 1, 0), np.maximum(0.9 * fake + 1.2, 0)


def logits() -> np.ndarray:
    """Return logits of 233 samples and 7 classes, float64."""
    draw = np.random.RandomState(1)
    return 3 * draw.randn(233, 7) + np.linspace(0, 2, 7)


def images(scales: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of smooth and noisy images [3, H, W, 3] that hold so many scales, uint8."""
    shape = {3: (44, 52), 5: (176, 192)}[scales]
    draw = np.random.RandomState(2)
    target = np.cumsum(draw.randn(3, *shape, 3), 1) * 8 + 127
    noisy = target + np.array([2.0, 20.0, 80.0])[:, None, None, None] * draw.randn(*target.shape)
    return tuple(np.clip(x, 0, 255).astype(np.uint8) for x in (noisy, target))


def axes(dimensions: int, directions: int, seed: int) -> np.ndarray:
    """Return unit vectors [D, directions]."""
    draw = np.random.RandomState(seed).randn(dimensions, directions)
    return draw / np.linalg.norm(draw, axis=0)


def packages() -> dict[str, dict[str, Any]]:
    """Return what the installed packages say, by metric and package."""
    import ot
    import pytorch_msssim
    import torch
    import torchmetrics.functional.image as tm
    from prdc import compute_prdc
    from pytorch_fid.fid_score import calculate_frechet_distance
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)

    def ssim(prediction: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return SSIM and its contrast where the window fits, as skimage and the papers have it."""
        options = dict(data_range=1.0, reduction="none")
        function = tm.structural_similarity_index_measure
        _, maps = function(prediction, target, return_full_image=True, **options)
        _, contrast = function(prediction, target, return_contrast_sensitivity=True, **options)
        return maps[..., 5:-5, 5:-5].mean((1, 2, 3)), contrast

    def whole(
        prediction: torch.Tensor, target: torch.Tensor, weights: tuple[float, ...]
    ) -> list[float]:
        """Return MS-SSIM of torchmetrics' parts; itself it takes the last scale with a border."""
        product = torch.ones(len(prediction), dtype=torch.float64)
        for scale, weight in enumerate(weights):
            last = scale == len(weights) - 1
            factor = ssim(prediction, target)[0 if last else 1]
            product *= factor.relu() ** (weight / sum(weights))
            pooled = (torch.nn.functional.avg_pool2d(x, 2) for x in (prediction, target))
            prediction, target = pooled
        return product.tolist()

    frechet: dict[str, Any] = {"pytorch-fid": {}, "torch-fidelity": {}}
    for name, arguments in FRECHET.items():
        pair = features(*arguments)
        moments = [f(x) for x in pair for f in (lambda x: x.mean(0), lambda x: np.cov(x.T))]
        frechet["pytorch-fid"][name] = float(calculate_frechet_distance(*moments))
        statistics = [fid_features_to_statistics(tensor(x)) for x in pair]
        frechet["torch-fidelity"][name] = fid_statistics_to_metric(*statistics, False)[
            "frechet_inception_distance"
        ]

    real, fake = features(24, (400, 350))
    kid = kid_features_to_metric(
        tensor(real),
        tensor(fake),
        kid_subsets=KID["subsets"],
        kid_subset_size=KID["subset_size"],
        rng_seed=KID["seed"],
        verbose=False,
    )
    scores = {str(n): isc_features_to_metric(tensor(logits()), splits=n) for n in (1, 10)}
    with contextlib.redirect_stdout(io.StringIO()):
        prdc = {
            name: {m: float(v) for m, v in compute_prdc(real, fake, k).items()}
            for name, k in PRDC.items()
        }
    closed = prc_features_to_metric(
        tensor(fake), tensor(real), prc_neighborhood=3, prc_batch_size=64, verbose=False
    )
    sliced = ot.sliced_wasserstein_distance(
        real[:350], fake, projections=axes(real.shape[1], **DIRECTIONS), p=1
    )

    quality: dict[str, Any] = {"psnr": {}, "ssim": {}}
    multiscale: dict[str, Any] = {"torchmetrics": {}, "pytorch-msssim": {}}
    for scales, weights in MS_SSIM_WEIGHTS.items():
        pair = [tensor(x).movedim(-1, 1).double() / 255 for x in images(scales)]
        quality["psnr"][str(scales)] = tm.peak_signal_noise_ratio(
            *pair, data_range=1.0, reduction="none", dim=(1, 2, 3)
        ).tolist()
        quality["ssim"][str(scales)] = ssim(*pair)[0].tolist()
        multiscale["torchmetrics"][str(scales)] = whole(*pair, weights)
        # It takes no image below 161 px, and averages over channels after the powers.
        large = [tensor(x[..., :1]).movedim(-1, 1).double() for x in images(5)]
        multiscale["pytorch-msssim"][str(scales)] = pytorch_msssim.ms_ssim(
            *large, size_average=False, weights=[w / sum(weights) for w in weights]
        ).tolist()
    return {
        "frechet": frechet,
        "kid": {"torch-fidelity": kid},
        "inception_score": {"torch-fidelity": scores},
        "prdc": {"prdc": prdc, "torch-fidelity": closed},
        "swd": {"POT": float(sliced)},
        "ms_ssim": multiscale,
        **{name: {"torchmetrics": values} for name, values in quality.items()},
    }


def main() -> None:
    """Write the file."""
    found = packages()
    names = sorted({name for by_package in found.values() for name in by_package})
    versions = {name: version(name) for name in names}
    GOLDEN.write_text(json.dumps({"versions": versions, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
