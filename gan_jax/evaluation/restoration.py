"""Restoration of whole photographs, as they are restored in use, beside simple baselines.

Names carry what is compared: `psnr/y/border2/x2/test/3` is of luma, without 2 px at each border,
after enlarging twice; `psnr[bicubic]/...` is what a baseline reaches on the same images. Results
and baselines are rounded to 8 bits first, as files are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.images import to_float, to_uint8
from gan_jax.core.metric_names import MetricName
from gan_jax.core.task import Transform
from gan_jax.data.dataset import Split
from gan_jax.features.lpips import Distance
from gan_jax.library.run import Run
from gan_jax.library.transforms import make_changer
from gan_jax.metrics.image_quality import (
    WINDOW,
    chroma_distance,
    masked_psnr,
    psnr,
    ssim,
)
from gan_jax.ops.colour import studio_y
from gan_jax.ops.resample import resample

# Photographs that are to be shrunk are cropped to a multiple of this, so that x2, x3 and x4 are
# measured on the same images.
MULTIPLE = 12


def restoration(
    run: Run, *, name: str, num: int, seed: int, split: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Compare restored images of a split with the clean ones.

    Args:
      run: of a restorer.
      name: of the transform; "" for the first.
      num: photographs; 0 for all.
      seed: degraded images are drawn from (seed, photograph): with the same seed they are the same
        for every run.
      split: "" for "test" if the data have one, else "eval".
      options: of the transform.

    Returns:
      Means over the photographs, by name with protocol.

    Raises:
      UserError: a transform without targets, or unknown options.
    """
    transform = run.task.transform(name)
    if not transform.paired:
        raise UserError(
            "--metrics=restoration compares an image with its own target, and transform"
            f" {name or run.task.first_transform!r} has none"
        )
    splits = run.dataset.whole or run.dataset.splits
    split = split or ("test" if "test" in splits else "eval")
    check_choice("--split", split, splits)
    changer = make_changer(run, name, seed=seed, options=options)
    examples = splits[split]

    def restore(inputs: np.ndarray, i: int) -> dict[str, np.ndarray]:
        return {"": changer.one(inputs, i)}

    count = min(len(examples), num or len(examples))
    return compare_photographs(transform, examples, restore, count=count, seed=seed, split=split)


def compare_photographs(
    transform: Transform,
    examples: Split,
    restore: Callable[[np.ndarray, int], Mapping[str, np.ndarray]],
    *,
    count: int,
    seed: int,
    split: str,
    distance: Distance | None = None,
) -> dict[str, float]:
    """Compare what is made of degraded photographs with the clean ones.

    Args:
      transform: says how photographs are degraded.
      examples: whole photographs.
      restore: (degraded photograph [h, w, c] float32, its number) -> {what made it: float32
        [H, W, C]}, "" for a network. Simple baselines are compared beside it.
      count: photographs.
      seed: of the degradations.
      split: for the names of the metrics.
      distance: measured too, if given; of grey or RGB images.

    Returns:
      Means over the photographs, by name with protocol.
    """
    sums: dict[str, float] = {}
    apply = jax.jit(distance.apply) if distance else None

    def compare(
        image: np.ndarray, clean: np.ndarray, hole: np.ndarray | None
    ) -> Iterator[tuple[MetricName, float]]:
        yield from _compare(transform, image, clean, hole)
        if distance:
            protocol = filter(None, (transform.protocol,))
            value = apply(distance.variables, image[None], clean[None])[0]
            yield MetricName.parse(distance.name).extended(*protocol), float(value)

    for i in range(count):
        key = jax.random.fold_in(jax.random.key(seed), i)
        inputs, clean = _pair(transform, examples.read(i), key)
        candidates = {**restore(inputs, i), **_baselines(transform, inputs, clean.shape)}
        hole = inputs[..., -1:] > 0 if transform.takes_mask else None
        for part, image in candidates.items():
            for found, value in compare(_rounded(image), clean, hole):
                full = MetricName(found.metric, part, (*found.protocol, split, count))
                sums[str(full)] = sums.get(str(full), 0.0) + value
    return {name: value / count for name, value in sums.items()}


def _pair(
    transform: Transform, arrays: Mapping[str, np.ndarray], key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Return (input, clean image) of an example: float32 [H, W, C]."""
    clean = to_float(arrays[transform.target])
    if transform.degrade is None:
        return to_float(arrays[transform.source]), clean
    if transform.scale > 1:
        by = math.lcm(MULTIPLE, round(transform.scale))
        height, width = (side // by * by for side in clean.shape[:2])
        clean = clean[: height or None, : width or None]
    return np.asarray(transform.degrade(clean[None], key[None])[0]), clean


def _baselines(
    transform: Transform, inputs: np.ndarray, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return what is compared beside the result, by name."""
    if inputs.shape[:2] != shape[:2]:
        return {
            how: np.asarray(resample(inputs[None], shape[:2], how)[0])
            for how in ("bicubic", "lanczos")
        }
    if inputs.shape == shape:
        return {"input": inputs}
    if inputs.shape[2] == 1:
        return {"input": np.broadcast_to(inputs, shape)}
    return {}


def _rounded(image: np.ndarray) -> np.ndarray:
    return to_float(to_uint8(image))


def _studio(image: np.ndarray) -> np.ndarray:
    """Return Y as super-resolution papers measure it, [16, 235] of 255, mapped from [0, 255]."""
    return np.asarray(studio_y(image)) * np.float32(2 / 255) - np.float32(1)


def _compare(
    transform: Transform, made: np.ndarray, clean: np.ndarray, hole: np.ndarray | None
) -> Iterator[tuple[MetricName, float]]:
    """Yield the metrics of one image, names without split and number."""
    border = round(transform.scale) if transform.scale > 1 else 0
    inside = np.s_[border : clean.shape[0] - border, border : clean.shape[1] - border]
    bordered = [f"border{border}"] if border else []
    spaces: dict[str, Callable[[np.ndarray], Any]] = {"grey": np.asarray}
    if clean.shape[-1] == 3:
        spaces = {"y": _studio, "rgb": np.asarray}
    for space, convert in spaces.items():
        protocol = tuple(filter(None, (space, *bordered, transform.protocol)))
        images = dict(prediction=convert(made[inside])[None], target=convert(clean[inside])[None])
        yield MetricName("psnr", "", protocol), float(psnr(**images)[0])
        if min(images["target"].shape[1:3]) >= WINDOW:
            yield MetricName("ssim", "", protocol), float(ssim(**images)[0])
    protocol = tuple(filter(None, (transform.protocol,)))
    if hole is not None and hole.any():
        found = masked_psnr(prediction=made[None], target=clean[None], mask=hole[None])
        yield MetricName("psnr_hole", "", protocol), float(found[0])
    if transform.protocol == "grey":
        found = chroma_distance(prediction=made[None], target=clean[None])
        yield MetricName("ab_error", "", protocol), float(found[0])
