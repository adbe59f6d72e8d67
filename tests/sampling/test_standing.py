"""Standing BatchNorm statistics against an independent computation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import refuse
from conftest import Trained

import gan_jax
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.mesh import make_parallel
from gan_jax.sampling.standing import batch_statistics, with_standing


class _Net(nn.Module):
    """Two normalised layers, the second on what the first made."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = BatchNorm(momentum=0.99, name="first")(x, train=train)
        return BatchNorm(momentum=0.3, name="second")(jnp.tanh(x) ** 2, train=train)


def test_the_statistics_of_one_batch() -> None:
    x = 3 + 5 * jax.random.normal(jax.random.key(0), (64, 4))
    net = _Net()
    variables = net.init(jax.random.key(1), x, train=False)
    # Running statistics of anything: they must not count.
    variables = {
        **variables,
        "batch_stats": jax.tree.map(lambda s: s + 7, variables["batch_stats"]),
    }
    found = batch_statistics(net, variables, x)
    assert jax.tree.all(
        jax.tree.map(
            lambda a, b: np.allclose(a, b, rtol=2e-5),
            found["first"],
            {"mean": x.mean(0), "var": x.var(0)},
        )
    )
    y = jnp.tanh((x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5)) ** 2
    np.testing.assert_allclose(found["second"]["mean"], y.mean(0), rtol=2e-5)
    np.testing.assert_allclose(found["second"]["var"], y.var(0), rtol=2e-5)


def test_standing_statistics_are_the_mean_over_batches_on_any_devices(gan: Path) -> None:
    run = gan_jax.load(gan)
    options = run.task.check_options({"standing": 2})
    labels = lambda place: (place % 10).astype(np.int32)  # noqa: E731
    found = [
        with_standing(
            run.task,
            jax.device_get(run.state),
            parallel=make_parallel(devices=devices),
            seed=5,
            batch_size=16,
            labels=labels,
            options=options,
        ).nets["gen"]
        for devices in (1, 8)
    ]
    chex.assert_trees_all_close(*(jax.device_get(net) for net in found), rtol=1e-5, atol=1e-6)
    old, new = run.state.nets["gen"], found[0]
    chex.assert_trees_all_equal(old.params, new.params)
    chex.assert_trees_all_equal(new.ema["batch_stats"], new.extra["batch_stats"])
    # By hand: the pass in training moves the running statistics by a tenth (momentum 0.9).
    key = jax.random.fold_in(jax.random.key(5), 2**32 - 1)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(32))
    variables, moved = old.variables("ema"), []
    for start in (0, 16):
        place = np.arange(start, start + 16)
        latents = run.task.latents(keys[place], labels(place), **options)
        after = run.task.modules["gen"].apply(
            variables, *latents, train=True, mutable=["batch_stats"]
        )[1]["batch_stats"]
        moved.append(
            jax.tree.map(lambda a, b: (a - 0.9 * b) / 0.1, after, variables["batch_stats"])
        )
    expected = jax.tree.map(lambda *x: sum(x) / 2, *moved)
    chex.assert_trees_all_close(new.ema["batch_stats"], expected, rtol=1e-3, atol=1e-5)


def test_sampling_with_standing_statistics(gan: Path) -> None:
    run = gan_jax.load(gan)
    plain, standing = run.sample(4, seed=1), run.sample(4, seed=1, standing=2)
    assert np.abs(plain - standing).max() > 1e-3
    np.testing.assert_array_equal(standing, run.sample(4, seed=1, standing=2))
    many = run.sample(20, seed=1, standing=2, batch_size=8)
    np.testing.assert_allclose(many[:4], standing, atol=1e-5)


def test_who_has_no_batchnorm(
    capsys: pytest.CaptureFixture,
    trained: Callable[..., Trained],
    gan: Path,
    tmp_path: Path,
) -> None:
    output = [f"--output={tmp_path / 'out'}", "--mode=sample", "--num=2"]
    vae = trained("vae").workdir
    refuse(capsys, *output, f"--workdir={vae}", "--standing=2", says=["'standing'"], keeps=tmp_path)
    refuse(
        capsys,
        *output,
        f"--workdir={gan}",
        "--standing=-1",
        says=["standing=-1", "[0"],
        keeps=tmp_path,
    )
