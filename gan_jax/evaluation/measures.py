"""The image metrics: `MEASURES` defines what each needs and how it is computed.

Names of values include the protocol: `fid/efficientnet_lite0/clean/test/10000` is the metric, the
feature network with its resizing, the split of the real images, the number of real and of generated
images (`1797vs10000` where they differ), then every setting that differs from the defaults, such as
`/truncation=0.7`. Parts that do not apply to a metric are left out:
`is/inception_v3_tf/clean/50000`, `psnr/test/1000`. Parameters are part of the metric:
`precision_k3`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax

from gan_jax.core.errors import UserError
from gan_jax.core.metric_names import MetricName
from gan_jax.evaluation.image_statistics import (
    FEATURES,
    IMAGES,
    LABELS,
    LOGITS,
    MOMENTS,
    ImageStatistics,
)
from gan_jax.features.lpips import Distance, make_lpips
from gan_jax.metrics.frechet import fid_infinity, frechet_distance, intra_class_distance
from gan_jax.metrics.image_quality import psnr, ssim
from gan_jax.metrics.inception import inception_score
from gan_jax.metrics.kernel import kernel_distance
from gan_jax.metrics.manifold import by_neighbours
from gan_jax.metrics.ms_ssim import diversity
from gan_jax.metrics.sliced import pyramid_distance

Values = dict[str, float]
Compute = Callable[[ImageStatistics, ImageStatistics, list[str]], Values]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric.

    Attributes:
      value_names: names of the values that it computes.
      compute: (real, fake, notes) -> values by name; remarks for the user are appended to `notes`.
        None for the mean of `pair` over the images.
      real, fake: the fields of `ImageStatistics` that it needs of the real and of the generated
        images; () if it does not use them.
      pair: (VGG-16's weights file, LPIPS's heads file), either None -> the distance of an image and
        its own target.
      min_images: smallest number of real and of generated images.
      min_real: smallest number of real images, where it differs.
    """

    value_names: tuple[str, ...]
    compute: Compute | None = None
    real: tuple[str, ...] = ()
    fake: tuple[str, ...] = ()
    pair: Callable[[Path | None, Path | None], Distance] | None = None
    min_images: int = 1
    min_real: int = 0

    @property
    def needs_network(self) -> bool:
        """Whether it needs a feature network."""
        return bool({MOMENTS, FEATURES, LOGITS} & {*self.real, *self.fake})


def _fid(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    found = frechet_distance(real.moments, fake.moments)
    _note(notes, "fid", found.note)
    return {"fid": found.value}


def _fid_infinity(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    found = fid_infinity(real.moments, fake.features)
    _note(notes, "fid_infinity", found.note)
    return {"fid_infinity": found.value}


def _intra_fid(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    for name, side in (("real", real), ("generated", fake)):
        if side.labels is None:
            raise UserError(
                f"--metrics=intra_fid: the {name} images have no classes: it needs labelled data,"
                " and a model that is given the class"
            )
    found = intra_class_distance(real.features, real.labels, fake.features, fake.labels)
    _note(notes, "intra_fid", found.note)
    return {"intra_fid": found.value}


def _kid(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    found = kernel_distance(real.features, fake.features, subsets=100, subset_size=SUBSET, seed=0)
    return {"kid": found.value, "kid_standard_error": found.standard_error}


def _inception_score(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    mean, deviation = inception_score(fake.logits, splits=10)
    whole, _ = inception_score(fake.logits, splits=1)
    return {"is": mean, "is_deviation": deviation, "is_whole": whole}


def _prdc(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    # The neighbours of the papers: arXiv:1904.06991 has 3, arXiv:2002.09797 has 5.
    three, five = by_neighbours(real.features, fake.features, ks=(3, 5)).values()
    values = three["precision"], three["recall"], five["density"], five["coverage"]
    return dict(zip(_PRDC, values, strict=True))


def _swd(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    found = pyramid_distance(real.images, fake.images)
    return {"swd" if k == "mean" else f"swd_{k}px": value for k, value in found.items()}


def _ms_ssim(real: ImageStatistics, fake: ImageStatistics, notes: list[str]) -> Values:
    found = diversity(fake.images, fake.labels)
    return {str(MetricName("ms_ssim", protocol=(f"scales{found.scales}",))): found.value}


def _distance(name: str, compare: Callable[..., jax.Array]) -> Distance:
    return Distance(name, {}, lambda _, a, b: compare(prediction=a, target=b))


def _lpips(vgg: Path | None, heads: Path | None) -> Distance:
    if vgg is None:
        raise UserError(
            "--metrics=lpips needs --vgg=FILE: torchvision's vgg16-397923af.pth, or its tensors as"
            " .safetensors or .npz"
        )
    return make_lpips(vgg=vgg, heads=heads)


SUBSET = 1000  # images in each of the 100 subsets of KID, as in torch-fidelity
_IS = ("is", "is_deviation", "is_whole")
_PRDC = ("precision_k3", "recall_k3", "density_k5", "coverage_k5")
_KID = ("kid", "kid_standard_error")
MEASURES: dict[str, Measure] = {
    "fid": Measure(("fid",), _fid, (MOMENTS,), (MOMENTS,), min_images=2),
    "fid_infinity": Measure(
        *(("fid_infinity",), _fid_infinity, (MOMENTS,), (FEATURES,)),
        min_images=10_000,
        min_real=2,
    ),
    "intra_fid": Measure(
        ("intra_fid",), _intra_fid, (FEATURES, LABELS), (FEATURES, LABELS), min_images=2
    ),
    "kid": Measure(_KID, _kid, (FEATURES,), (FEATURES,), min_images=SUBSET),
    "is": Measure(_IS, _inception_score, (), (LOGITS,), min_images=10),
    "prdc": Measure(_PRDC, _prdc, (FEATURES,), (FEATURES,), min_images=6),
    "swd": Measure(("swd",), _swd, (IMAGES,), (IMAGES,)),
    "ms_ssim": Measure(("ms_ssim",), _ms_ssim, (), (IMAGES, LABELS), min_images=2),
    "psnr": Measure(("psnr",), pair=lambda *_: _distance("psnr", psnr)),
    "ssim": Measure(("ssim",), pair=lambda *_: _distance("ssim", ssim)),
    "lpips": Measure(("lpips",), pair=_lpips),
}
VALUE_NAMES = frozenset(name for measure in MEASURES.values() for name in measure.value_names)


def _note(notes: list[str], name: str, text: str) -> None:
    if text:
        notes.append(f"{name}: {text}")
