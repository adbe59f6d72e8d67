"""Options at sampling of every family of generators; paths and rejection of those that differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import build

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import make_parallel
from gan_jax.sampling import rejection
from gan_jax.sampling.standing import with_standing

# Config, fields of its model, and whether its generator has BatchNorm.
FAMILIES = {
    "dcgan": ("dcgan", {}, True),
    "virtual": ("dcgan", {"reference_batch": 3}, False),
    "self_modulation": ("dcgan", {"model__gen__conditional": "self_modulation"}, True),
    "infogan": ("infogan", {}, True),
    "tutorial": ("tutorial_gan", {}, True),
    "resnet": ("sngan", {"model__conditional": "projection"}, True),
    "sagan": ("sagan", {}, True),
    "biggan": ("biggan", {"model__conditional": "projection"}, True),
    "biggan_deep": ("biggan_deep", {}, True),
    "progan": ("progan", {}, False),
    "lapgan": ("lapgan", {}, False),
    "mlp": ("gan", {}, False),
    "conv2014": ("gan", {"model__gen": "conv2014", "model__disc": "conv2014"}, False),
}
DEFAULT = ("progan", "mlp")


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f in DEFAULT else pytest.mark.slow) for f in FAMILIES]
)
def test_options(family: str) -> None:
    name, fields, normalised = FAMILIES[family]
    config = smoke_config(name, train__ema_decay=0.9, **fields)
    spec = open_data(config.data).spec
    task = make_task(config, spec)
    state = jax.jit(task.init)(jax.random.key(0))
    averaged = {
        name: gen.replace(
            ema={**gen.ema, "params": jax.tree.map(lambda x: 1.5 * x + 0.01, gen.params)}
        )
        for name, gen in state.nets.items()
        if name.startswith("gen")  # a LAPGAN has one a level
    }
    state = state.replace(nets={**state.nets, **averaged})
    keys = jax.random.split(jax.random.key(1), 6)
    parallel = make_parallel(devices=1)

    def draw(**given: object) -> np.ndarray:
        options = task.check_options(given)
        labels = lambda place: (place % 10).astype(np.int32)  # noqa: E731
        conditional = config.model.conditional.name != "none"
        to_draw_from = with_standing(
            task,
            state,
            parallel=parallel,
            seed=2,
            batch_size=8,
            labels=labels if conditional else None,
            options=options,
        )
        latents = task.latents(keys, jnp.arange(6) if conditional else None, **options)
        if options["truncation"]:
            assert np.abs(latents[0][:, : config.model.latent]).max() <= options["truncation"]
        return np.asarray(
            jax.jit(lambda s, z: task.generate(s, z, **options))(to_draw_from, latents)
        )

    plain = draw()
    assert plain.shape == (6, *spec.image_shape)
    assert np.isfinite(plain).all()
    for given in (dict(weights="raw"), dict(truncation=0.1)):
        assert np.abs(draw(**given) - plain).max() > 1e-4, given
    if normalised:
        assert np.abs(draw(standing=2) - plain).max() > 1e-4
    else:
        lacks = "'standing' is not one of" if family == "lapgan" else "has no BatchNorm, leave the"
        with pytest.raises(UserError, match=lacks):
            draw(standing=2)


@pytest.mark.parametrize("name", ["lapgan", pytest.param("progan", marks=pytest.mark.slow)])
def test_paths_of_latents_and_classes(name: str) -> None:
    """They end at images of plain sampling; what does not move is that of the start."""
    task, state, _ = build(name, model__conditional="concat")
    options, place = task.check_options({}), jnp.ones(3)
    start, end = (
        task.latents(jax.random.split(jax.random.key(i), 3), jnp.arange(3) + 3 * i, **options)
        for i in range(2)
    )
    make = jax.jit(lambda latents: task.generate(state, latents, **options))
    first = make(start)
    for along, last in (
        ("both", end),
        ("latents", (end[0], start[1])),
        ("classes", (start[0], end[1])),
    ):
        path = [make(task.interpolate(start, end, x * place, along)) for x in (0.0, 0.5, 1.0)]
        np.testing.assert_allclose(path[0], first, atol=1e-5)
        np.testing.assert_allclose(path[2], make(last), atol=1e-5)
        for there in (path[0], path[2]):
            assert abs(path[1] - there).max() > 1e-3, along
    alone = make_task(smoke_config(name), open_data(smoke_config(name).data).spec)
    with pytest.raises(UserError, match="this GAN is unconditional: use --interpolate=latents"):
        alone.interpolate(start[:1], end[:1], place, "classes")


@pytest.mark.parametrize(
    ("name", "how", "says"),
    [
        ("lapgan", "raw", "trained on real smaller levels.* use --rejection=calibrated"),
        ("progan", "raw", "depend on the whole batch.* leave the option out"),
        ("progan", "calibrated", "depend on the whole batch.* leave the option out"),
    ],
)
def test_whose_logits_are_no_odds(name: str, how: str, says: str) -> None:
    config = smoke_config(name, task__loss="non_saturating")
    task = make_task(config, open_data(config.data).spec)
    with pytest.raises(UserError, match=says):
        task.check_odds(how)


@pytest.mark.slow
def test_rejection_by_the_last_level_of_a_pyramid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejection, "BURN_IN", 64)
    task, state, dataset = build("lapgan", model__conditional="concat")
    options = task.check_options(dict(rejection="calibrated"))
    key, places, labels = jax.random.key(3), jnp.arange(16), jnp.arange(16) % 10

    def made(trials: np.ndarray) -> jax.Array:
        keys = rejection.trial_keys(key, places, jnp.asarray(trials))
        return task.generate(state, task.latents(keys, labels, **options), **options)

    # The discriminator is not trained: its logit is turned so that it is the larger for real.
    held = dataset.splits["eval"].get(np.arange(16))
    real = task.judge(state, jnp.asarray(held["image"]), jnp.asarray(held["label"]))
    fake = task.judge(state, made(np.zeros(16, np.int32)), labels)
    last = state.nets["disc1"]
    sign = 1.0 if real.mean() > fake.mean() else -1.0
    logits = jax.tree.map(lambda x: sign * x, last.params["logits"])
    last = last.replace(params={**last.params, "logits": logits})
    state = state.replace(nets={**state.nets, "disc1": last})
    kept = rejection.keep(
        task,
        state,
        parallel=make_parallel(devices=1),
        key=key,
        num=16,
        batch_size=32,
        labels=lambda place: (place % 10).astype(np.int32),
        options=options,
        held_out=lambda: dataset.splits["eval"],
    )
    assert kept.acceptance.slope > 0 and 0 < kept.trials.max() < 1000
    changed = abs(made(kept.trials) - made(np.zeros(16, np.int32))).max((1, 2, 3)) > 1e-4
    np.testing.assert_array_equal(changed, kept.trials > 0)
