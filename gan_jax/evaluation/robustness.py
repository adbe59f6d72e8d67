"""Robustness of a GAN's discriminator to corruptions and attacks of real and generated images.

The discriminator classifies held-out real images and as many generated ones (of the same classes if
the networks are conditional), unchanged and after each corruption of `metrics.corruptions`. It runs
in evaluation mode (running statistics, no augmentation). PGD attacks the discriminator itself: real
images are perturbed to be classified as generated, and generated ones as real.

Values are balanced accuracies: the mean of the share of real images above a threshold and the share
of generated ones not above it; chance is 0.5. A critic's logit is defined up to a constant only,
and other discriminators are biased by their training (BatchNorm's statistics mix real and generated
images). The threshold is therefore the one of the best balanced accuracy on other images: as many
held-out and generated ones, unchanged, which are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gan_jax.core.errors import UserError, check_choice
from gan_jax.core.images import to_float, to_uint8
from gan_jax.core.keys import fold_in_each
from gan_jax.core.metric_names import MetricName
from gan_jax.library.run import Run
from gan_jax.metrics.corruptions import gaussian_blur, gaussian_noise, jpeg, pgd

NOISE = (0.05, 0.1, 0.2, 0.4)  # standard deviations, in the [-1, 1] scale
BLUR = (0.5, 1.0, 2.0)  # standard deviations [px]
QUALITIES = (90, 50, 10)  # JPEG quality
RADII = (0.003, 0.01, 0.03, 0.1)  # of PGD, in the [-1, 1] scale: 0.4, 1.3, 3.8 and 13 grey levels
STEPS = 20  # of PGD
DEFAULT_NUM = 1000  # real images, and as many generated ones

# (images, keys, labels, generated: bool) -> changed images.
Change = Callable[[jax.Array, jax.Array, Any, bool], Any]


def robustness(
    run: Run, *, num: int = 0, seed: int = 0, split: str = "", **options: Any
) -> dict[str, float]:
    """Measure the accuracy of a run's discriminator on corrupted images.

    Args:
      run: a run of a task with a discriminator.
      num: number of real images, and of generated ones; 0 for 1,000, or half of the split if that
        is less. As many again are used to choose the threshold.
      seed: seed of the generated images, the noise and the starting points of PGD.
      split: split of the real images; "" for "test" if the data have one, else "eval".
      **options: sampling options of the task, such as truncation=0.7.

    Returns:
      {"robust_CHANGE/pgd20/SPLIT/NUM": balanced accuracy}; "robust_CHANGE_real" and
      "robust_CHANGE_fake" are the accuracies on real and on generated images. CHANGE is "clean",
      "rounded" (to 256 grey levels, as JPEG does), "noise0.1" and "pgd0.03" (in the [-1, 1] scale),
      "blur1" [px], or "jpeg50". Options that differ from their defaults are appended to the names.

    Raises:
      UserError: for a task without a discriminator of images, a number of channels that JPEG does
        not have, too few images, or logits that are NaN or Inf.
    """
    run.task.require("judge")
    channels = run.spec.image_shape[-1]
    if channels not in (1, 3):
        raise UserError(
            f"--metrics=robustness: images of {channels} channels, and JPEG has 1 or 3 of them:"
            " train with --config.data.channels=3"
        )
    full = run.task.check_options(options)
    dataset = run.dataset
    split = split or ("test" if "test" in dataset.splits else "eval")
    check_choice("--split", split, dataset.splits)
    examples = dataset.examples(split, run.task.stream)
    there = len(examples)
    num = num or min(DEFAULT_NUM, there // 2)
    if not 1 <= num <= there // 2:
        raise UserError(
            f"--metrics=robustness: {num:,} images a side and as many again for the threshold, and"
            f" split {split} has {there:,}: use --num={max(there // 2, 1)} or less, or another"
            " --split"
        )
    order = np.random.Generator(np.random.Philox(0)).permutation(there)
    real = examples.get(order[: 2 * num])
    labels = real["label"] if run.task.takes_labels else None
    fake = run.sample(2 * num, seed=seed, labels=labels, **options)
    judge = _Judge(run, seed, 2 * num)
    measured, others = slice(num), slice(num, None)
    sides = {"real": real[run.task.stream], "fake": fake}
    logits = {side: judge(images, labels, side, _unchanged) for side, images in sides.items()}
    threshold = best_threshold(*(logits[side][others] for side in ("real", "fake")))
    if labels is not None:
        labels = labels[measured]
    defaults = {name: option.default for name, option in run.task.options.items()}
    departures = [f"{k}={v}" for k, v in sorted(full.items()) if v != defaults[k]]
    protocol = f"pgd{STEPS}", split, num, *departures
    found = {}
    for name, change in judge.changes().items():
        above = {s: judge(x[measured], labels, s, change) > threshold for s, x in sides.items()}
        shares = {"real": above["real"].mean(), "fake": 1 - above["fake"].mean()}
        found[f"robust_{name}"] = float(sum(shares.values()) / 2)
        found |= {f"robust_{name}_{s}": float(share) for s, share in shares.items()}
    return {str(MetricName(n, protocol=protocol)): value for n, value in found.items()}


def best_threshold(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the threshold of the best balanced accuracy, halfway between two logits.

    Args:
      real, fake: logits [N] and [M]; those of real images should be above the threshold.
    """
    every = np.unique(np.concatenate([real, fake]))
    places = np.concatenate([[-np.inf], (every[1:] + every[:-1]) / 2, [np.inf]])
    wrong = np.searchsorted(np.sort(real), places, side="right") / len(real)
    right = np.searchsorted(np.sort(fake), places, side="right") / len(fake)
    return float(places[np.argmax(right - wrong)])


def _unchanged(images: jax.Array, keys: jax.Array, labels: Any, generated: bool) -> jax.Array:
    return images


class _Judge:
    """Applies the discriminator of a run to corrupted images; compiled once.

    Batches have the size of the training's and are all real or all generated, since minibatch
    discrimination compares the images of a batch.
    """

    def __init__(self, run: Run, seed: int, num: int) -> None:
        self._run = run
        self._logits = run.parallel.compile_map(run.task.judge)
        self._gradient = run.parallel.compile_map(
            lambda state, images, labels: jax.grad(
                lambda x: run.task.judge(state, x, labels).sum()
            )(images)
        )
        # Generated images use fold_in(key(seed), i) with i below `num`.
        root = jax.random.fold_in(jax.random.key(seed), num)
        self._keys = dict(zip(("real", "fake"), jax.random.split(root), strict=True))
        self._batch = run.parallel.round_up(min(run.config.train.batch_size, num))

    def changes(self) -> dict[str, Change]:
        """Return the corruptions by name."""

        def attack(radius: float) -> Change:
            def change(images: jax.Array, keys: jax.Array, labels: Any, generated: bool) -> Any:
                return pgd(
                    lambda x: self._gradient(self._run.state, x, labels),
                    *(images, keys),
                    radius=radius,
                    steps=STEPS,
                    up=generated,
                )

            return change

        return {
            "clean": _unchanged,
            "rounded": lambda x, *_: to_float(to_uint8(x)),
            **{
                f"noise{sigma:g}": lambda x, keys, *_, s=sigma: gaussian_noise(x, keys, s)
                for sigma in NOISE
            },
            **{f"blur{sigma:g}": lambda x, *_, s=sigma: gaussian_blur(x, s) for sigma in BLUR},
            **{f"jpeg{q}": lambda x, *_, q=q: jpeg(np.asarray(x), q) for q in QUALITIES},
            **{f"pgd{radius:g}": attack(radius) for radius in RADII},
        }

    def __call__(
        self, images: np.ndarray, labels: np.ndarray | None, side: str, change: Change
    ) -> np.ndarray:
        """Return the logits [N] of images [N, H, W, C] after a corruption.

        Args:
          images: all real or all generated, in [-1, 1].
          labels: [N], None for an unconditional discriminator.
          side: "real" or "fake".
          change: the corruption.
        """
        place, parts = self._run.parallel.place, []
        for start in range(0, len(images), self._batch):
            index = np.arange(start, start + self._batch) % len(images)
            given = None if labels is None else place(labels[index])
            keys = jax.device_put(fold_in_each(self._keys[side], index), self._run.parallel.split())
            changed = place(change(place(images[index]), keys, given, side == "fake"))
            parts.append(np.asarray(self._logits(self._run.state, changed, given)))
        found = np.concatenate(parts)[: len(images)].astype(np.float64)
        if not np.isfinite(found).all():
            raise UserError(
                f"--metrics=robustness: the discriminator of {self._run.workdir} says"
                f" {found[~np.isfinite(found)][0]} of some {side} images: choose another"
                " --checkpoint"
            )
        return found
