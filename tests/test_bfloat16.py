"""Gradients under train.precision=bfloat16 are those of float32, to the rounding of bfloat16.

What is broadcast over activations has a sum for a gradient, and a sum in bfloat16 is wrong by half
(`gan_jax/models/blocks/wide.py`). Three tests of that: of each layer, of whole steps, and of the
programs of whole steps, in which no such sum may be.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bfloat16 import bfloat16_sums, relative_errors
from conftest import FAMILIES, NAMES, smoke_config
from learning import DRAWING, first_steps, sgd
from ml_collections import ConfigDict

from gan_jax.core.keys import named_keys
from gan_jax.core.state import MUTABLE
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.models.blocks.attention import SelfAttention
from gan_jax.models.blocks.equalized import EqualizedConv, EqualizedDense
from gan_jax.models.blocks.gen_norm import SelfModulation, VirtualBatchNorm
from gan_jax.models.blocks.heads import MinibatchDiscrimination
from gan_jax.models.blocks.layers import Conv, ConvTranspose, Dense, Embed
from gan_jax.models.blocks.norm import BatchNorm, InstanceNorm, LayerNorm, ModulatedBatchNorm
from gan_jax.models.blocks.spectral import SpectralConv, SpectralDense, SpectralEmbed
from gan_jax.parallel.mesh import make_parallel
from gan_jax.parallel.precision import training_apply
from gan_jax.rundir.checkpoint import abstract_state
from gan_jax.training.feed import abstract_batch
from gan_jax.training.step import make_step

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(0.3, 1.0, (8, 32, 32, 4)).astype(np.float32)
FLAT = X.reshape(-1, 16)
VECTORS = RANDOM.normal(size=(8, 8)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 4096).astype(np.int32)

# Of each layer with parameters that are broadcast: the module, its inputs, and by name what else.
LAYERS: dict[str, tuple[nn.Module, tuple, dict[str, Any]]] = {
    "conv": (Conv(4), (X,), {}),
    "transposed conv": (ConvTranspose(4, 4, 2), (X,), {}),
    "dense": (Dense(4), (FLAT,), {}),
    "embed": (Embed(3, 8), (LABELS,), {}),
    "batch norm": (BatchNorm(), (X,), dict(train=True)),
    "conditional batch norm": (BatchNorm(num_classes=3), (X, LABELS[:8]), dict(train=True)),
    "batch norm in use": (BatchNorm(), (X,), dict(train=False)),
    "modulated batch norm": (ModulatedBatchNorm(), (X, VECTORS), dict(train=True)),
    "self-modulation": (SelfModulation(), (X, VECTORS), dict(train=True)),
    "virtual batch norm": (VirtualBatchNorm(4), (X,), {}),
    "instance norm": (InstanceNorm(), (X,), {}),
    "layer norm": (LayerNorm(), (X,), {}),
    "attention": (SelfAttention(), (X[:4],), {}),
    "spectral conv": (SpectralConv(4, train=True), (X,), {}),
    "spectral dense": (SpectralDense(4, train=True), (FLAT,), {}),
    "spectral embed": (SpectralEmbed(3, 8, train=True), (LABELS,), {}),
    "equalized conv": (EqualizedConv(4), (X,), {}),
    "equalized dense": (EqualizedDense(4), (FLAT,), {}),
    "minibatch discrimination": (MinibatchDiscrimination(4, 3), (FLAT[:256],), {}),
}
# Of a layer: bfloat16 rounds a number by up to 0.004 of it, and attention takes five products.
LAYER_BOUND = 0.02
# Where units are rectified, one of eight examples may be beside the kink for one of the two only.
RECTIFIED = {"self-modulation": 0.15}


def gradients(name: str, precision: str) -> Any:
    """Return the gradients of a layer's parameters, for cotangents whose sum does not vanish."""
    module, inputs, named = LAYERS[name]
    variables = jax.jit(functools.partial(module.init, **named))(jax.random.key(0), *inputs)
    params = jax.tree.map(lambda x: x + 0.1, variables["params"])  # the gain of attention is 0
    apply = training_apply(module, precision=precision, remat=False)

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        made, _ = apply({**variables, "params": params}, *inputs, mutable=MUTABLE, **named)
        weights = np.random.default_rng(1).uniform(0, 1, made.shape).astype(np.float32)
        return (made * weights).mean()

    return gradient(params)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_layer(name: str) -> None:
    errors = relative_errors(gradients(name, "bfloat16"), gradients(name, "float32"))
    assert max(errors.values()) < RECTIFIED.get(name, LAYER_BOUND), errors
    assert max(errors.values()) > 1e-6, "nothing was rounded"


class OldBias(nn.Module):
    """What layers were: a bias that is added in the precision of the activations."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Shift x [..., C]."""
        return x + self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)


def test_the_tests_see_a_sum_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "old", (OldBias(), (X,), {}))
    errors = relative_errors(gradients("old", "bfloat16"), gradients("old", "float32"))
    # jaxlib 0.10.0 adds in float32 on its own: no version is asked to.
    assert max(errors.values()) > (0.3 if jax.__version_info__ > (0, 10, 0) else 1e-6)
    apply = training_apply(OldBias(), precision="bfloat16", remat=True)
    gradient = jax.grad(lambda v: apply(v, X).sum())
    (line,) = bfloat16_sums(jax.make_jaxpr(gradient)({"params": {"bias": jnp.zeros(4)}}).jaxpr)
    assert line.startswith("reduce_sum (8, 32, 32, 4) -> (4,)"), line


def sums_of_step(config: ConfigDict) -> list[str]:
    """Return the bfloat16 sums of a config's train step, in any of its phases."""
    config.train.update(precision="bfloat16", devices=1)
    spec, parallel = open_data(config.data).spec, make_parallel("jit", 1)
    task = make_task(config, spec)
    size, state = config.train.batch_size, abstract_state(task, parallel)
    step, key = parallel.compile_step(make_step(task, size)), named_keys(0)["train"]
    found = []
    for phase in dict.fromkeys(map(task.phase, range(config.train.steps))):
        batch = abstract_batch(spec, phase, parallel, size)
        found += bfloat16_sums(step.trace(phase, state, batch, key).jaxpr.jaxpr)
    return found


OTHERS = [n for n in NAMES if n not in FAMILIES]
SEEN = [*FAMILIES, *(pytest.param(n, marks=pytest.mark.all_configs) for n in OTHERS)]


@pytest.mark.parametrize("name", SEEN)
def test_no_step_sums_in_bfloat16(name: str) -> None:
    assert not sums_of_step(smoke_config(name, **DRAWING.get(name, {})))


# Per config: how far a gradient of a whole step may be off, by relative norm. A network's
# activations are rounded at every layer, so that this grows with its depth, and where a unit is
# near its kink it is on for one of the two. The fewer images, the larger: 64 here.
STEP_BOUNDS = {"vae": 0.1, "dcgan": 0.2, "classifier": 0.4, "pix2pix": 0.4}
BY_MARKER = [pytest.param(name, marks=pytest.mark.slow) for name in STEP_BOUNDS if name != "vae"]


@pytest.mark.parametrize("name", ["vae", *BY_MARKER])
def test_gradients_of_a_step(name: str) -> None:
    """Of plain SGD, whose first update is the gradient."""
    moved = []
    for precision in ("bfloat16", "float32"):
        config = sgd(smoke_config(name, train__batch_size=64, train__precision=precision))
        start, end = (
            {n: net.params for n, net in first_steps(config, "jit", 1, steps).nets.items()}
            for steps in (0, 1)
        )
        moved.append(jax.tree.map(np.subtract, end, start))
    errors = relative_errors(*moved, least=1e-3)
    assert max(errors.values()) < STEP_BOUNDS[name], errors
    assert max(errors.values()) > 1e-4, "nothing was rounded"
