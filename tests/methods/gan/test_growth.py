"""Progressive growing: the schedule, what a stage sees, and a run across all stages."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import build

from gan_jax.core.errors import UserError
from gan_jax.data.pipeline import batches
from gan_jax.methods.gan.growth import NO_GROWTH, make_growth
from gan_jax.models.blocks.layers import avg_pool
from gan_jax.training.step import make_step

SHAPE = (16, 16, 1)


def test_the_schedule_by_hand() -> None:
    """Three stages of 3 steps alone, each later one after 2 steps of blending."""
    config = smoke_config("progan", task__growth__stage_images=24, task__growth__fade_images=16)
    growth = make_growth(config, SHAPE)
    stages = [growth.stage(step) for step in range(15)]
    assert stages == [0] * 3 + [1] * 5 + [2] * 7
    fades = [float(growth.arguments(stages[i], jnp.int32(i))["fade"]) for i in range(15)]
    assert fades == [1] * 3 + [0, 0.5, 1, 1, 1] + [0, 0.5, 1, 1, 1, 1, 1]
    for step in (0, 3, 7, 8, 14):
        assert growth.at(jnp.int32(step), lambda stage: jnp.int32(stage)) == stages[step]


def test_real_images_are_blended_as_generated_ones() -> None:
    config = smoke_config("progan", task__growth__stage_images=24, task__growth__fade_images=16)
    growth = make_growth(config, SHAPE)
    images = jax.random.normal(jax.random.key(0), (2, *SHAPE))
    np.testing.assert_allclose(growth.resize(images, 0, jnp.int32(0)), avg_pool(images, 4))
    half = growth.resize(images, 1, jnp.int32(4))
    small = avg_pool(images, 4).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(half, (avg_pool(images) + small) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(growth.resize(images, 2, jnp.int32(14)), images, rtol=1e-6)
    np.testing.assert_array_equal(
        growth.enlarge(avg_pool(images)), avg_pool(images).repeat(2, 1).repeat(2, 2)
    )


def test_networks_that_do_not_grow() -> None:
    growth = make_growth(smoke_config("dcgan"), SHAPE)
    assert growth is NO_GROWTH and growth.stage(7) is None and growth.arguments(None, 7) == {}


def test_numbers_of_images_below_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="fade_images=4: at least a batch of 8"):
        make_growth(smoke_config("progan", task__growth__fade_images=4), SHAPE)


def test_a_training_passes_all_stages() -> None:
    """Five steps, one for each part of the schedule; samples are of the last size throughout."""
    task, state, dataset = build("progan")
    step = jax.jit(make_step(task, 8), static_argnums=0)
    before, moved = state, set()
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=8, draws=[1] * 5)
    keys = jax.random.split(jax.random.key(2), 2)
    for i, batch in enumerate(source):
        phase = task.phase(i)
        assert phase.stage == [0, 1, 1, 2, 2][i]
        state, metrics = step(phase, state, batch, jax.random.key(1))
        assert np.isfinite([float(x) for x in metrics.values()]).all()
        options = task.check_options({})
        made = task.generate(state, task.latents(keys, None, **options), **options)
        assert made.shape == (2, *SHAPE)
        new = {
            name
            for name, layer in state.nets["gen"].params.items()
            if any(
                abs(a - b).max() > 0
                for a, b in zip(
                    jax.tree.leaves(layer),
                    jax.tree.leaves(before.nets["gen"].params[name]),
                    strict=True,
                )
            )
        }
        assert ("stage2_conv_a" in new) == (i >= 4)  # at step 3 it is blended in by nothing yet
        moved |= new
    assert moved == set(before.nets["gen"].params)
    batch = {"image": batch["image"][0], "index": jnp.arange(8), "mask": jnp.ones(8)}
    totals = task.eval_step(state, batch, jax.random.key(3))
    assert totals["count"] == 8 and np.isfinite(totals["disc_logits_fake"])
