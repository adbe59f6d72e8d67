"""What no single row of configs/sources.json says of the configs and their authors' settings."""

from __future__ import annotations

import jax
import pytest
from conftest import NAMES, ROOT

from configs.common import PHOTOGRAPHS, PRESETS
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.core.state import count_parameters
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task

GANS = [name for name in NAMES if load_config(f"{ROOT}/configs/{name}.py").task.name == "gan"]


@pytest.mark.parametrize("name", GANS)
def test_digits_and_unknown_images_are_never_mirrored(name: str) -> None:
    for preset in set(PRESETS) - set(PHOTOGRAPHS):
        assert not load_config(f"configs/{name}.py:{preset}").data.flip, preset


def test_biggan_for_32_px_has_the_size_of_studiogans() -> None:
    """Channels of 192 in the discriminator, 2.42 million parameters with ten classes."""
    config = load_config("configs/biggan.py:cifar10")
    image, label = Stream((32, 32, 3), "float32", "image"), Stream((), "int32", "label")
    spec = DataSpec("cifar10", dict(image=image, label=label), 10, counts={"train": 50_000})
    state = jax.eval_shape(make_task(config, spec).init, jax.random.key(0))
    disc = state.nets["disc"].params
    assert max(x.shape[-1] for x in jax.tree.leaves(disc) if x.ndim == 4) == 192
    assert count_parameters(disc) == pytest.approx(2.42e6, rel=0.005)
