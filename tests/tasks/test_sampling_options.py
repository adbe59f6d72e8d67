"""Moving average, truncation and standing statistics at sampling, of every family of generators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config

from gan_jax.data import open_data
from gan_jax.errors import UserError
from gan_jax.parallel import make_parallel
from gan_jax.standing import with_standing
from gan_jax.task import make_task

# Config, fields of its model, and whether its generator has BatchNorm.
FAMILIES = {
    "dcgan": ("dcgan", {}, True),
    "virtual": ("dcgan", {"reference_batch": 3}, False),
    "self_modulation": ("dcgan", {"gen_conditional": "self_modulation"}, True),
    "infogan": ("infogan", {}, True),
    "tutorial": ("tutorial_gan", {}, True),
    "resnet": ("sngan", {"conditional": "projection"}, True),
    "sagan": ("sagan", {}, True),
    "biggan": ("biggan", {"conditional": "projection"}, True),
    "biggan_deep": ("biggan_deep", {}, True),
    "progan": ("progan", {}, False),
    "mlp": ("gan", {}, False),
    "conv2014": ("gan", {"net": "conv2014"}, False),
}
DEFAULT = ("progan", "mlp")


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f in DEFAULT else pytest.mark.slow) for f in FAMILIES]
)
def test_options(family: str) -> None:
    name, fields, normalised = FAMILIES[family]
    config = smoke_config(name, train__ema_decay=0.9)
    config.model.update(fields)
    task = make_task(config, open_data(config.data).spec)
    state = jax.jit(task.init)(jax.random.key(0))
    gen = state.nets["gen"]
    averaged = {**gen.ema, "params": jax.tree.map(lambda x: 1.5 * x + 0.01, gen.params)}
    state = state.replace(nets={**state.nets, "gen": gen.replace(ema=averaged)})
    keys = jax.random.split(jax.random.key(1), 6)
    parallel = make_parallel(devices=1)

    def draw(**given: object) -> np.ndarray:
        options = task.check_options(given)
        labels = lambda place: (place % 10).astype(np.int32)  # noqa: E731
        conditional = config.model.conditional != "none"
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
    assert plain.shape == (6, *task.example_inputs["disc"][0].shape[1:])
    assert np.isfinite(plain).all()
    for given in (dict(weights="raw"), dict(truncation=0.1)):
        assert np.abs(draw(**given) - plain).max() > 1e-4, given
    if normalised:
        assert np.abs(draw(standing=2) - plain).max() > 1e-4
    else:
        with pytest.raises(UserError, match="has no BatchNorm, leave the option out"):
            draw(standing=2)
