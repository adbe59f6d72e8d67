"""The PyTorch twins do what ours does; needs the extra `bench`."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import optax
import pytest
from conftest import ROOT
from ml_collections import ConfigDict

torch = pytest.importorskip("torch")

from benchmarks import equality, worker
from benchmarks.problems import PROBLEMS
from benchmarks.twins.training import Average, make_optimizer
from configs.common import optimizer
from gan_jax.core.choices import complete
from gan_jax.training import optimizers
from gan_jax.training.averages import ema_decay_at

GAN = dict(model__gen__width=8, model__disc__width=8, model__latent=8)
ATTENTION = dict(model__gen__attention=8, model__disc__attention=8)
VAE = dict(model__encoder__width=4, model__decoder__width=4)
MLP_VAE = dict(model__encoder__width=8, model__decoder__width=8)
# Nothing is square, so that no two axes can be mistaken for one another.
TINY: dict[str, dict[str, Any]] = {
    "DCGAN-64": dict(image=(16, 32, 1), **GAN),
    "SNGAN-32": dict(image=(16, 24, 3), **GAN, task__disc_updates=2),
    "WGAN-GP-32": dict(image=(16, 24, 3), **GAN, task__disc_updates=2),
    "SAGAN-64": dict(image=(16, 24, 3), **GAN, **ATTENTION, task__disc_updates=2),
    "BigGAN-32": dict(
        image=(16, 24, 3),
        model__gen__width=2,
        model__disc__width=2,
        model__latent=6,
        model__gen__class_embedding=4,
        **ATTENTION,
        task__disc_updates=2,
    ),
    "conv VAE-64": dict(image=(16, 24, 3), **VAE, model__latent=4),
    "MLP VAE-28": dict(image=(8, 6, 1), **MLP_VAE, model__latent=4),
    "pix2pix-64": dict(image=(16, 24, 3), model__gen__width=4, model__disc__width=4),
    # 8 wide: from 4 channels in channels_last memory, PyTorch 2.13's weight gradient of a strided
    # 1x1 convolution is wrong in one call of twenty.
    "ResNet-18-32": dict(image=(16, 24, 3), model__net__width=8),
    "EDSR-48": dict(image=(8, 12, 3), model__net__width=8, model__net__blocks=2),
    "DnCNN-48": dict(image=(12, 16, 1), model__net__width=8, model__net__layers=4),
}


def tiny(name: str) -> Any:
    return PROBLEMS[name].changed(**TINY[name], train__batch_size=8)


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_twin_takes_the_same_step(name: str) -> None:
    found, weights = equality.check(tiny(name))
    # Tighter than the bounds at full size, where more depends on the sign of small gradients.
    assert found["losses"] < 1e-5
    assert found["gradients"] < 1e-3
    assert {"losses", "gradients", "updates"} <= set(found)
    assert set(weights) == set(tiny(name).make_twin().nets)


@pytest.mark.parametrize(
    ("name", "attribute", "factor"),
    [("MLP VAE-28", "beta", 1.01), ("ResNet-18-32", "smoothing", 1.5)],
)
def test_a_twin_with_another_loss_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, attribute: str, factor: float
) -> None:
    problem = tiny(name)
    twin = problem.make_twin()
    setattr(twin, attribute, factor * getattr(twin, attribute))
    monkeypatch.setattr(type(problem), "make_twin", lambda self, device: twin)
    with pytest.raises(equality.Difference, match="loss: ours"):
        equality.check(problem)


def test_a_twin_with_another_optimizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = tiny("MLP VAE-28")
    twin = problem.make_twin()
    twin.optimizers["decoder"].param_groups[0]["lr"] *= 1.02
    monkeypatch.setattr(type(problem), "make_twin", lambda self, device: twin)
    with pytest.raises(equality.Difference, match="parameters differ"):
        equality.check(problem)


@pytest.mark.parametrize("name", ["EDSR-48", "DnCNN-48"])
def test_a_photo_is_restored_alike(name: str) -> None:
    # Multiples of 32 px, to which `Run.transform` pads: so both have zeros outside of the photo.
    problem = dataclasses.replace(tiny(name), photo=(32, 64))
    ours, twin = worker.Ours(problem), worker.Torch(problem, "eager channels_last")
    equality.load(twin.twin, jax.device_get(ours.state))
    photo = problem.make_photo()
    expected = twin.restore(photo)
    assert expected.shape[:2] == (32 * problem.scale, 64 * problem.scale)
    for tile in (0, 32):
        np.testing.assert_allclose(ours.restore(photo, tile=tile), expected, atol=1e-5)


@pytest.mark.parametrize("changes", [dict(b1=0.5), dict(b1=0.0, b2=0.9), dict(weight_decay=0.1)])
def test_optimizer_and_average_agree_over_several_updates(changes: dict[str, float]) -> None:
    """Bias correction, both decays, the mask of the weight decay and the ramp of the average."""
    draw = np.random.Generator(np.random.Philox(0))
    config = ConfigDict({"net": optimizer(1e-2, **changes)})
    complete(config, {"net": optimizers.OPTIMIZERS})
    section = config.net
    net = torch.nn.Linear(3, 2)
    params = {k: x.detach().numpy().copy() for k, x in (("kernel", net.weight), ("bias", net.bias))}
    theirs, average = make_optimizer(net, section), Average(net, 0.3)
    ours = optimizers.make_optimizer(**section, steps=10, batch=8)
    state, mean = ours.init(params), params
    for i in range(5):
        gradients = {k: draw.normal(size=x.shape).astype(np.float32) for k, x in params.items()}
        updates, state = ours.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        decay = ema_decay_at(jax.numpy.int32(i), 0.3)
        mean = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, mean, params)
        net.weight.grad = torch.from_numpy(gradients["kernel"])
        net.bias.grad = torch.from_numpy(gradients["bias"])
        theirs.step()
        average.update()
        for found, expected in ((net, params), (average.net, mean)):
            # Where 1 - b2^t is small, float32 leaves 4e-5 of an update of 1e-2.
            close = dict(rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found.weight.detach(), expected["kernel"], **close)
            np.testing.assert_allclose(found.bias.detach(), expected["bias"], **close)


def test_the_process_that_measures_torch_holds_no_jax() -> None:
    code = (
        "import json, sys; from dataclasses import replace;"
        "from benchmarks import worker, train_speed; from benchmarks.problems import PROBLEMS;"
        "given = json.load(sys.stdin);"
        "found = [replace(p, resolved=given[name]) for name, p in PROBLEMS.items()];"
        "[(p.make_twin(), p.batch()) for p in found];"
        "import benchmarks.twins.convert; assert 'torch' in sys.modules;"
        "sys.exit('jax' in sys.modules)"
    )
    given = json.dumps({name: p.resolve().resolved for name, p in PROBLEMS.items()})
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=given, text=True, check=True)
