"""Discriminator rejection sampling: accept images with a probability given by the discriminator.

Azadi et al. 2018 (arXiv:1810.06758). If the discriminator's logit is the log odds of real to
generated, D(x) = log p(x) / q(x), accepting images with probability e^(D(x) - M), M the largest
logit, turns samples of q into samples of p. This probability is the sigmoid of

    F(x) = D(x) - M - log(1 - e^(D(x) - M - epsilon)) - gamma

for gamma = 0 and small epsilon; other values of gamma accept more or fewer images. M is the largest
logit of a burn-in of generated images.

Each requested image is resampled until it is accepted. Trial j of image i has its own key, and
trial 0 has the key of plain sampling. An image thus depends on (seed, i) and its label only, not on
the batch or the number of images.

Deviations: gamma is the percentile of F over the burn-in, not over the current batch, and M does
not grow during sampling; either would make an image depend on other images. The paper continues to
train the discriminator (for the hinge loss, an additional layer of it); here `fit_log_odds` fits
the slope and offset of a logistic regression of real against generated on the logit, using images
held out of training, as in arXiv:1811.11357.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.core.errors import UserError
from gan_jax.core.keys import fold_in_each
from gan_jax.core.options import Option
from gan_jax.core.state import TrainState
from gan_jax.core.task import Key, Task
from gan_jax.data import Split
from gan_jax.data.dataset import subset
from gan_jax.data.pipeline import eval_batches, prefetch
from gan_jax.parallel.mesh import Parallel

NONE, RAW, CALIBRATED = "none", "raw", "calibrated"
OPTIONS = {
    "rejection": Option(
        NONE,
        "discriminator rejection sampling, by its logit as it is (raw) or as a logistic regression"
        " on held-out images corrects it (calibrated)",
        choices=(NONE, RAW, CALIBRATED),
    ),
    "percentile": Option(
        80.0,
        "of rejection: generated images at this percentile of what the discriminator says are kept"
        " half the time; 0: gamma is 0, exact where the discriminator is",
        low=0.0,
        high=100.0,
    ),
}
BURN_IN = 10_000  # generated images for estimating M, gamma and the regression
TRIALS = 10_000  # maximum number per image
EPSILON = 1e-6
# Folded into the seed's key; distinct from all image numbers and from that of standing statistics.
_BURN_IN, _TRIALS, _KEPT = (2**32 - 2 - i for i in range(3))


@dataclasses.dataclass(frozen=True)
class Acceptance:
    """The acceptance probability as a function of the logit.

    Attributes:
      slope, offset: the log odds are slope * logit + offset.
      largest: M, the largest log odds.
      gamma: subtracted from F.
    """

    slope: float = 1.0
    offset: float = 0.0
    largest: float = 0.0
    gamma: float = 0.0

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of accepting images with these logits, [N] float64."""
        scores = _scores(self.slope * logits + self.offset, self.largest) - self.gamma
        return 1 / (1 + np.exp(-np.clip(scores, -700, 700)))


@dataclasses.dataclass(frozen=True)
class Kept:
    """The accepted trial of each image.

    Attributes:
      trials: int32 [N], index of the accepted trial.
      acceptance: the acceptance probability that was used.
    """

    trials: np.ndarray
    acceptance: Acceptance

    def __str__(self) -> str:
        share, a = len(self.trials) / (self.trials + 1.0).sum(), self.acceptance
        return (
            f"rejection kept {share:.1%} of the images: log odds {a.slope:.3g} * logit"
            f" {a.offset:+.3g}, M {a.largest:.3g}, gamma {a.gamma:.3g}"
        )


def trial_keys(key: Key, places: jax.Array, trials: jax.Array) -> Key:
    """Return the key of one trial of each image, [N]: for trial 0 `fold_in(key, place)`.

    Args:
      key: key of the request.
      places: int [N], indices of the images in the request.
      trials: int [N], indices of the trials.
    """
    others = jax.random.fold_in(key, _TRIALS)

    def one(place: jax.Array, trial: jax.Array) -> Key:
        later = jax.random.fold_in(jax.random.fold_in(others, trial), place)
        return jnp.where(trial == 0, jax.random.fold_in(key, place), later)

    return jax.vmap(one)(places, trials)


def fit_log_odds(real_logits: np.ndarray, fake_logits: np.ndarray) -> tuple[float, float]:
    """Return (slope, offset) of the logistic regression of real against generated on the logit.

    Real and generated images have equal total weight, whatever their numbers, so the fitted odds
    are those of the densities. Newton's method on the mean cross entropy, plus 1e-6 times the
    squared slope for separable data.

    Args:
      real_logits: [N].
      fake_logits: [M].

    Raises:
      UserError: if the slope is not positive, so that larger logits do not mean more real.
    """
    logits = np.concatenate([real_logits, fake_logits]).astype(np.float64)
    centre, spread = logits.mean(), max(logits.std(), 1e-12)
    x = np.stack([(logits - centre) / spread, np.ones_like(logits)], 1)
    y = np.repeat([1.0, 0.0], [len(real_logits), len(fake_logits)])
    share = np.where(y > 0, 0.5 / len(real_logits), 0.5 / len(fake_logits))
    ridge, w = np.diag([2e-6, 0.0]), np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -700, 700)))
        gradient = x.T @ (share * (p - y)) + ridge @ w
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x + ridge + 1e-12 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        w = w - step * min(1.0, 10 / max(np.abs(step).max(), 1e-12))
    slope = w[0] / spread
    if slope <= 0:
        raise UserError(
            f"--rejection={CALIBRATED}: a larger logit of this discriminator does not mean more"
            f" real on held-out images (slope {slope:.3g}): leave the option out"
        )
    return float(slope), float(w[1] - slope * centre)


def keep(
    task: Task,
    state: TrainState,
    *,
    parallel: Parallel,
    key: Key,
    num: int,
    batch_size: int,
    labels: Callable[[np.ndarray], np.ndarray] | None,
    options: Mapping[str, Any],
    held_out: Callable[[], Split] | None = None,
) -> Kept | None:
    """Find the accepted trial of each image; None without rejection sampling.

    Args:
      task: a method with `judge` and `check_odds`, whose latents are (z,) or (z, labels).
      state: the state to sample from, with standing statistics if requested.
      parallel: the devices; their number changes the result by rounding only.
      key: key of the request.
      num: number of requested images.
      batch_size: images per batch, over all devices.
      labels: indices of images in the request -> int32 classes; None draws classes with the
        latents, and rejection then corrects their frequencies too.
      options: options of the task.
      held_out: returns images that the discriminator was not trained on; for "calibrated".

    Raises:
      UserError: if the discriminator's logits are unsuitable, or an image is never accepted.
    """
    how = options.get("rejection", NONE)
    if how == NONE:
        if "percentile" in options and options["percentile"] != OPTIONS["percentile"].default:
            raise UserError(
                f"--percentile={options['percentile']:g} is of rejection sampling: give"
                f" --rejection={RAW} or {CALIBRATED} too"
            )
        return None
    task.check_odds(how)
    size = parallel.round_up(batch_size)
    put = parallel.place if jax.process_count() == 1 else parallel.place_whole

    def logits_of(state: TrainState, keys: Key, labels: Any) -> jax.Array:
        latents = task.latents(keys, labels, **options)
        images = task.generate(state, latents, **options)
        label = latents[1] if len(latents) > 1 else None  # the class that the generator was given
        return task.judge(state, images, label)

    def burn_in(state: TrainState, key: Key, places: jax.Array, labels: Any) -> Any:
        return logits_of(state, fold_in_each(jax.random.fold_in(key, _BURN_IN), places), labels)

    def attempt(state: TrainState, key: Key, places: Any, trials: Any, labels: Any) -> Any:
        keys = trial_keys(jax.random.fold_in(key, _KEPT), places, trials)
        logits = logits_of(state, trial_keys(key, places, trials), labels)
        return logits, jax.vmap(jax.random.uniform)(keys)

    def given(places: np.ndarray) -> Any:
        return None if labels is None else put(labels(places))

    burn, try_them = parallel.compile_map(burn_in), parallel.compile_map(attempt)
    found = []
    for start in range(0, BURN_IN, size):
        places = np.arange(start, start + size, dtype=np.int32)
        found.append(np.asarray(burn(state, key, put(places), given(places)), np.float64))
    fake, fit = np.concatenate(found)[:BURN_IN], (1.0, 0.0)
    if how == CALIBRATED:
        fit = fit_log_odds(_real_logits(task, state, parallel, size, held_out()), fake)
    acceptance = burnt_in(fake, *fit, options["percentile"])
    trials = np.zeros(num, np.int32)
    pending = np.arange(num, dtype=np.int32)
    while len(pending):
        # Fill a batch with equally many further trials of each of the first pending images.
        several = max(size // len(pending), 1)
        some = pending[: size // several]
        places = np.repeat(some, several)
        tried = (trials[some][:, None] + np.arange(several, dtype=np.int32)).ravel()
        fill = size - len(places)
        places, tried = (np.pad(x, (0, fill), mode="edge") for x in (places, tried))
        logits, uniform = try_them(state, key, put(places), put(tried), given(places))
        good = np.asarray(uniform) < acceptance.probability(np.asarray(logits, np.float64))
        good = good[: len(some) * several].reshape(len(some), several)
        kept = good.any(1)
        trials[some] += np.where(kept, good.argmax(1), several).astype(np.int32)
        if (trials[some][~kept] >= TRIALS).any():
            raise UserError(
                f"--rejection={how}: an image was rejected {TRIALS:,} times"
                f" (M {acceptance.largest:.3g}): set --percentile, such as 80, to keep more"
            )
        pending = np.concatenate([some[~kept], pending[len(some) :]])
    return Kept(trials, acceptance)


def burnt_in(logits: np.ndarray, slope: float, offset: float, percentile: float) -> Acceptance:
    """Return the acceptance estimated from a burn-in.

    Args:
      logits: [N], logits of generated images.
      slope, offset: the log odds are slope * logit + offset.
      percentile: gamma is this percentile of F; 0 for gamma = 0.
    """
    odds = slope * logits + offset
    largest = float(odds.max())
    gamma = float(np.percentile(_scores(odds, largest), percentile)) if percentile else 0.0
    return Acceptance(slope, offset, largest, gamma)


def _scores(odds: np.ndarray, largest: float) -> np.ndarray:
    """Return F without gamma; log odds above M are clipped to M."""
    below = np.minimum(odds - largest, 0.0)
    return below - np.log(-np.expm1(below - EPSILON))


def _real_logits(
    task: Task, state: TrainState, parallel: Parallel, size: int, split: Split
) -> np.ndarray:
    """Return the logits of a split's images, or of BURN_IN random ones if there are more."""

    def judged(state: TrainState, batch: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return task.judge(state, batch[task.stream], batch.get("label")), batch["mask"]

    if len(split) > BURN_IN:
        order = np.random.Generator(np.random.Philox(0)).permutation(len(split))
        split = subset(split, np.sort(order[:BURN_IN]))
    step, found = parallel.compile_map(judged), []
    shard = (jax.process_index(), jax.process_count())
    for batch in prefetch(eval_batches(split, size, shard), parallel.place):
        logits, mask = jax.device_get(step(state, batch))
        found.append(np.asarray(logits, np.float64)[np.asarray(mask) > 0])
    return np.concatenate(found)
