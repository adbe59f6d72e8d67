"""LAPGAN: a level learns from nothing but its own; sampling; what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import build

from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.methods.registry import make_task
from gan_jax.models import lapgan
from gan_jax.training.step import make_step

CHANGES = dict(model__conditional="concat", train__ema_decay=0.9, train__microbatches=2)


def test_training_and_sampling() -> None:
    """A conditional one, in two microbatches."""
    task, state, dataset = build("lapgan", **CHANGES)
    assert sorted(state.nets) == ["disc0", "disc1", "gen0", "gen1"] == sorted(task.modules)
    step = jax.jit(make_step(task, 8), static_argnums=0)
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=8, draws=[1])
    batch = next(iter(source))
    after, metrics = step(task.phase(0), state, batch, jax.random.key(1))
    assert {"level0/disc", "level1/gen", "level1/grad_norm/disc"} <= set(metrics)
    assert all(np.isfinite(float(x)) for x in metrics.values())
    for name, net in after.nets.items():
        moved = jax.tree.map(lambda a, b: abs(a - b).max(), net.params, state.nets[name].params)
        assert all(float(x) > 0 for x in jax.tree.leaves(moved)), name

    options = task.check_options({})
    drawn = task.latents(jax.random.split(jax.random.key(2), 3), jnp.arange(3), **options)
    assert drawn[0].shape == (3, 8 + 16 * 16)
    made = task.generate(after, drawn, **options)
    assert made.shape == (3, 16, 16, 1) and abs(made).max() <= 1
    small = task.modules["gen0"].apply(
        after.nets["gen0"].variables("ema"), drawn[0][:, :8], drawn[1], train=False
    )
    given = lapgan.with_noise_plane(lapgan.enlarge(small), drawn[0][:, 8:])
    whole = task.modules["gen1"].apply(
        after.nets["gen1"].variables("ema"), given, drawn[1], train=False
    )
    np.testing.assert_allclose(made, jnp.clip(whole, -1, 1), atol=1e-5)

    held = {"image": batch["image"][0], "label": batch["label"][0]}
    held |= {"index": jnp.arange(8), "mask": jnp.ones(8)}
    totals = task.eval_step(after, held, jax.random.key(3))
    assert totals["count"] == 8 and np.isfinite(totals["level1/disc_logits_fake"])
    assert task.judge(after, held["image"], held["label"]).shape == (8,)


@pytest.mark.parametrize("norm", lapgan.NORMS)
def test_every_norm_of_the_discriminators(norm: str) -> None:
    """At both kinds of levels, of dense layers and of convolutions."""
    for side, coarse in ((8, True), (16, False)):
        disc = lapgan.Discriminator(4, 0, norm, coarse=coarse)
        judged, variables = jax.eval_shape(
            lambda x, disc=disc: disc.init_with_output(jax.random.key(0), x, train=False),
            jax.ShapeDtypeStruct((2, side, side, 1), jnp.float32),
        )
        assert judged.shape == (2,)
        assert ("norm0" in variables["params"]) == (norm == "layer")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model__disc__norm="batch"), r"disc\.norm='batch' is not known: one of none"),
        (dict(model__gen__conditional="self_modulation"), "lapgan has no 'conditional'"),
        (dict(model__codes="infogan"), "codes=none"),
        (dict(terms__disc__latent_consistency=1.0), "would perturb both"),
        (dict(terms__gen__latent_diversity=1.0), "would perturb both"),
        (dict(task__fake_labels="uniform"), "of that image.s class"),
        (dict(model__gen__coarsest=2), "coarsest=2 and coarse_width=16: at least 5"),
        (dict(model__gen__coarse_width=1), "coarse_width=1: at least"),
        (dict(model__gen__coarsest=16), "do not halve to 16 px"),
        (dict(model__gen__attention=8), "lapgan has no 'attention'"),
        (dict(model__disc="dcgan"), "lapgan.s generator and discriminator work"),
    ],
)
def test_what_is_refused(changes: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        config = smoke_config("lapgan", **changes)
        make_task(config, open_data(config.data).spec)


def test_a_pyramid_belongs_to_lapgan() -> None:
    with pytest.raises(UserError, match=r"model\.gen=dcgan has no 'coarsest'"):
        smoke_config("dcgan", model__gen__coarsest=8)
