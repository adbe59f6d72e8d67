"""VAE-GAN: three objectives of one forward pass, and whose gradient has what of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import make_images, succeed
from conftest import Trained, smoke_config
from learning import build

from gan_jax.core.errors import UserError
from gan_jax.core.task import Phase
from gan_jax.data import open_data
from gan_jax.methods.fusion import vae_gan
from gan_jax.methods.registry import make_task
from gan_jax.objectives.distributions import Normal, kl
from gan_jax.training.step import make_step

NETS = ("encoder", "decoder", "disc")
KEY = jax.random.key(3)


def gradients(**changes: Any) -> dict[str, Any]:
    """Return the gradient of each network at the start, and the step's metrics."""
    sgd = {f"optim__{n}__{k}": v for n in NETS for k, v in (("name", "sgd"), ("lr", 1.0))}
    task, state, dataset = build("vae_gan", train__ema_decay=0.0, **sgd, **changes)
    batch = {"image": dataset.splits["train"].get(np.arange(8))["image"][None]}
    step = jax.jit(make_step(task, 8), static_argnums=0)
    after, metrics = step(Phase(), state, batch, KEY)
    found = {
        name: jax.tree.map(jnp.subtract, net.params, after.nets[name].params)
        for name, net in state.nets.items()
    }
    return {**found, "metrics": metrics}


def largest(one: Any, other: Any) -> float:
    """Return the largest difference of two gradients, of the largest entry of the first."""
    scale = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(one))
    apart = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), one, other)
    return max(jax.tree.leaves(apart)) / scale


def test_the_encoder_does_not_see_the_game() -> None:
    plain, other = gradients(task__gamma=0.5), gradients(task__gamma=0.5, task__loss="wasserstein")
    assert largest(plain["encoder"], other["encoder"]) < 1e-5
    assert min(largest(plain[name], other[name]) for name in ("decoder", "disc")) > 0.01


def test_each_network_has_its_own_objective_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = gradients(task__gamma=0.5)
    # Another weight of the likelihood: the decoder only.
    without = gradients(task__gamma=0.0)
    assert largest(plain["decoder"], without["decoder"]) > 0.05
    for name in ("encoder", "disc"):
        assert largest(plain[name], without[name]) < 1e-5
    # Another divergence: the encoder only.
    monkeypatch.setattr(vae_gan, "kl", lambda q, p: 100 * kl(q, p))
    more = gradients(task__gamma=0.5)
    np.testing.assert_allclose(more["metrics"]["kl"], 100 * plain["metrics"]["kl"], rtol=1e-4)
    assert largest(plain["encoder"], more["encoder"]) > 0.05
    for name in ("decoder", "disc"):
        assert largest(plain[name], more[name]) < 1e-5


def test_the_objectives_by_hand() -> None:
    task, state, dataset = build("vae_gan")
    images = jnp.asarray(dataset.splits["train"].get(np.arange(8))["image"])
    step = jax.jit(task.train_step, static_argnums=0)
    after, metrics = step(Phase(), state, {"image": images[None]}, KEY)
    given = jnp.stack([jax.random.fold_in(KEY, i) for i in range(8)])
    keys = jax.vmap(jax.random.split)(given)
    draw = lambda keys: jnp.stack([jax.random.normal(k, (4,)) for k in keys])  # noqa: E731

    def passed(name: str, x: jax.Array, **kwargs: Any) -> Any:
        variables = state.nets[name].variables()
        found = task.modules[name].apply(
            variables, x, train=True, mutable=["batch_stats"], **kwargs
        )
        return found[0]

    q = Normal(*passed("encoder", images))
    z = q.mean + jnp.exp(q.log_variance / 2) * draw(keys[:, 0])
    made = [passed("decoder", z), passed("decoder", draw(keys[:, 1]))]
    real, *fakes = (passed("disc", x, method="outputs") for x in (images, *made))
    distance = 0.5 * jnp.square(real.features - fakes[0].features).sum(1)
    likelihood = -distance - 0.5 * real.features.shape[1] * np.log(2 * np.pi)
    chance = [np.float64(jax.nn.sigmoid(x.logits)) for x in (real, *fakes)]
    fooling = 0.5 * (np.log1p(-chance[1]) + np.log1p(-chance[2])).mean()
    divergence = 0.5 * (q.mean**2 + jnp.exp(q.log_variance) - 1 - q.log_variance).sum(1).mean()
    expected = {
        "kl": divergence,
        "likelihood": likelihood.mean(),
        "loss/encoder": divergence - likelihood.mean(),
        "loss/decoder": -1e-3 * likelihood.mean() + fooling,
        "loss/disc": -np.log(chance[0]).mean() - fooling,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    # The statistics of each network moved with each of its passes.
    for name in NETS:
        before, now = (s.nets[name].extra["batch_stats"] for s in (state, after))
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, now)))
    assert set(task.evaluations) == {"posterior", "posterior_by_dimension"}


def test_commands(
    trained: Callable[..., Trained], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    run = f"--workdir={trained('vae_gan').workdir}"
    succeed(capsys, "--mode=sample", run, "--num=3", f"--output={tmp_path / 'samples'}")
    make_images(tmp_path / "given", ["a.png", "b.png"])
    given = f"--input={tmp_path / 'given'}"
    succeed(capsys, "--mode=transform", run, given, f"--output={tmp_path / 'made'}")
    assert len(list((tmp_path / "samples").glob("*.png"))) >= 3
    assert {path.name for path in (tmp_path / "made").glob("[ab].png")} == {"a.png", "b.png"}
    grids = {
        path.name.partition("_")[2] for path in (trained("vae_gan").workdir / "samples").iterdir()
    }
    assert {"samples.png", "reconstructions.png"} <= grids


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(task__gamma=-1.0), "task.gamma=-1.0: at least 0"),
        (dict(task__loss="relativistic"), "task.loss=relativistic compares with real images"),
        (dict(task__loss="minmax"), "did you mean 'minimax'"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config = smoke_config("vae_gan", **changes)
        make_task(config, open_data(config.data).spec)
