"""What may be an encoder or a decoder: networks with statistics, generators of GANs, one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import build, learn

from gan_jax.core.errors import UserError
from gan_jax.core.keys import image_keys
from gan_jax.core.outside import trusting
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.methods.vae.autoencoder import GENERATED

GAUSSIAN = dict(model__likelihood="gaussian", model__decoder__width=4)


@pytest.mark.parametrize("name", GENERATED)
def test_generators_of_gans_are_decoders(name: str) -> None:
    config = smoke_config("vae", model__decoder=name, model__latent=6, **GAUSSIAN)
    task = make_task(config, open_data(config.data).spec)
    state = jax.eval_shape(task.init, jax.random.key(0))
    z = jax.ShapeDtypeStruct((3, 6), jnp.float32)
    assert jax.eval_shape(task.generate, state, z).shape == (3, 16, 16, 1)


def test_statistics_of_both_networks_move_and_are_those_in_use() -> None:
    changes = dict(model__encoder__norm="batch", model__decoder="dcgan", train__ema_decay=0.5)
    task, start, dataset = build("vae", **changes, **GAUSSIAN)
    state, _ = learn(task, start, dataset, 2)
    for name in ("encoder", "decoder"):
        before, after = (s.nets[name].extra["batch_stats"] for s in (start, state))
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, after)))
        assert "batch_stats" in state.nets[name].ema
    # In use, an image's reconstruction does not depend on the others.
    x, keys = dataset.splits["eval"].get(np.arange(4))["image"], image_keys(0, np.arange(4))
    reconstruct = task.transform().function
    whole = reconstruct(state, x, keys)
    np.testing.assert_allclose(reconstruct(state, x[:1], keys[:1]), whole[:1], atol=1e-5)


def test_own_networks_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_nets.py").write_text(
        "import jax.numpy as jnp\n"
        "from flax import linen as nn\n"
        "class Encoder(nn.Module):\n"
        "    latent: int\n"
        "    @nn.compact\n"
        "    def __call__(self, x, *, train):\n"
        "        x = nn.Dense(2 * self.latent)(x.reshape(len(x), -1))\n"
        "        return jnp.split(x, 2, -1)[0], jnp.zeros_like(x[:, self.latent:])\n"
        "class One(Encoder):\n"
        "    def __call__(self, x, *, train):\n"
        "        return x.reshape(len(x), -1)[:, :self.latent]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with trusting():
        task, state, _ = build("vae", model__encoder="own_nets:Encoder")
    images = jnp.zeros((2, 16, 16, 1))
    assert task.encode(state, images, None).shape == (2, 4)
    says = {
        "encoder": r"model.encoder.name=own_nets:One returns \[1, 4\] of .*mean and log variance",
        "decoder": r"model.decoder.name=own_nets:One .*outputs \[1, 16, 16, 1\]",
    }
    for name, message in says.items():
        with trusting(), pytest.raises(UserError, match=message):
            build("vae", **{f"model__{name}": "own_nets:One"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model__decoder="dcgan"), "ends in tanh.*model.likelihood=gaussian"),
        (dict(model__decoder="lapgan"), "model.decoder.name='lapgan'"),
        (dict(model__encoder__norm="layer"), "model.encoder.norm='layer'"),
        (dict(model__encoder__width=0), "model.encoder.width=0: at least 1"),
        (dict(model__decoder="tanh_mlp", model__decoder__width=0), "model.decoder.width=0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config = smoke_config("vae", **changes)
        make_task(config, open_data(config.data).spec)
