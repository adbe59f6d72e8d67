"""Robustness of a GAN's discriminator: can it still tell real from generated, if both are changed?

Held-out real images, and as many that the generator makes (of the same classes, where the networks
are given them), are judged as they are and after each of the changes of `metrics.corruptions`,
without augmentation and with the discriminator's statistics in use, not in training. PGD is the
attack on the discriminator itself: real images are moved to be called generated, generated ones to
be called real.

A number is a balanced accuracy: the mean of the share of real images above a threshold and of the
share of generated ones not above it; 0.5 is that of a coin. A critic's logit is known up to a
constant, and others are biased by their training (BatchNorm's statistics mix real and generated),
so the threshold is the one of the best balanced accuracy on other images: as many held-out and
generated ones, unchanged, that are not looked at again.
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
QUALITIES = (90, 50, 10)  # of JPEG
RADII = (0.003, 0.01, 0.03, 0.1)  # of PGD, in the [-1, 1] scale: 0.4, 1.3, 3.8 and 13 grey levels
STEPS = 20  # of PGD
DEFAULT_NUM = 1000  # images on each side

# (images, keys, labels, whether they are generated) -> images.
Change = Callable[[jax.Array, jax.Array, Any, bool], Any]


def robustness(
    run: Run, *, num: int = 0, seed: int = 0, split: str = "", **options: Any
) -> dict[str, float]:
    """Measure the accuracy of a run's discriminator on changed images.

    Args:
      run: of a task that judges images.
      num: images on each side; 0 is 1,000, or half of the split where that is less. As many again
        choose the threshold.
      seed: of the generated images, the noise and the starts of PGD.
      split: of the real images; "" is "test" where the data have one, else "eval".
      **options: of the generator's task, such as truncation=0.7.

    Returns:
      {"robust_CHANGE/pgd20/SPLIT/NUM": balanced accuracy}, and the same with "robust_CHANGE_real"
      and "robust_CHANGE_fake" of either side. CHANGE is "clean", "rounded" (to 256 grey levels, as
      JPEG does), "noise0.1" and "pgd0.03" (in the [-1, 1] scale), "blur1" [px], or "jpeg50". What
      departs from the options' defaults stands at the end of a name.

    Raises:
      UserError: for a task without a discriminator of images, images that JPEG has not, too few of
        them, or logits that are no numbers.
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
    """Return the threshold of the best balanced accuracy, in the middle between two logits.

    Args:
      real, fake: logits [N] and [M]; real ones should be above it.
    """
    every = np.unique(np.concatenate([real, fake]))
    places = np.concatenate([[-np.inf], (every[1:] + every[:-1]) / 2, [np.inf]])
    wrong = np.searchsorted(np.sort(real), places, side="right") / len(real)
    right = np.searchsorted(np.sort(fake), places, side="right") / len(fake)
    return float(places[np.argmax(right - wrong)])


def _unchanged(images: jax.Array, keys: jax.Array, labels: Any, generated: bool) -> jax.Array:
    return images


class _Judge:
    """The discriminator of a run, compiled once, on changed images.

    Batches are those of the training: minibatch discrimination compares the images of one, which
    are all real or all generated here too.
    """

    def __init__(self, run: Run, seed: int, num: int) -> None:
        self._run = run
        self._logits = run.parallel.compile_map(run.task.judge)
        self._gradient = run.parallel.compile_map(
            lambda state, images, labels: jax.grad(
                lambda x: run.task.judge(state, x, labels).sum()
            )(images)
        )
        # The generated images have fold_in(key(seed), i), i below `num`.
        root = jax.random.fold_in(jax.random.key(seed), num)
        self._keys = dict(zip(("real", "fake"), jax.random.split(root), strict=True))
        self._batch = run.parallel.round_up(min(run.config.train.batch_size, num))

    def changes(self) -> dict[str, Change]:
        """Return what is done to images, by name."""

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
        """Return the logits [N] of images [N, H, W, C] of one side, after a change."""
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
