"""The importance-weighted autoencoder: its draws, its bounds, its gradients, binary images."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import build, learn

from gan_jax.core.errors import UserError
from gan_jax.core.task import Phase
from gan_jax.data import open_data
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.methods.registry import make_task
from gan_jax.methods.vae.evaluations import binarized
from gan_jax.objectives.distributions import Bernoulli, Normal, standard_normal
from gan_jax.parallel.mesh import make_parallel
from gan_jax.training.step import make_step

SGD = {
    f"optim__{n}__{k}": v for n in ("encoder", "decoder") for k, v in (("name", "sgd"), ("lr", 1.0))
}


def batch_of(dataset: Any, size: int = 4) -> dict[str, np.ndarray]:
    return {"image": dataset.splits["train"].get(np.arange(size))["image"][None]}


def test_the_loss_by_hand() -> None:
    """Of each image: binary pixels, four draws of its own key, log of the mean weight."""
    task, state, dataset = build("iwae", **SGD)
    x, key = batch_of(dataset)["image"][0], jax.random.key(3)
    step = jax.jit(task.train_step, static_argnums=0)
    _, metrics = step(Phase(), state, {"image": x[None]}, key)
    keys = jax.vmap(jax.random.split)(
        jnp.stack([jax.random.fold_in(key, i) for i in range(len(x))])
    )
    images = binarized(jnp.asarray(x), keys[:, 0], how="bernoulli")
    assert set(np.unique(images)) == {-1.0, 1.0}
    encode, decode = (
        lambda x, n=name: task.modules[n].apply(state.nets[n].variables(), x, train=True)
        for name in ("encoder", "decoder")
    )
    q, weights = Normal(*encode(images)), []
    for k in range(4):
        noise = jnp.stack([jax.random.normal(jax.random.fold_in(b, k), (4,)) for b in keys[:, 1]])
        z = q.mean + jnp.exp(q.log_variance / 2) * noise
        fit = Bernoulli(decode(z)).log_prob(images)
        weights.append(fit + standard_normal(4).log_prob(z) - q.log_prob(z))
    weights = np.float64(weights)
    bound = np.log(np.exp(weights - weights.max()).mean(0)).mean() + weights.max()
    assert metrics["loss"] == pytest.approx(-bound, rel=1e-5)
    assert metrics["iwae"] == pytest.approx(bound, rel=1e-5)
    assert metrics["elbo"] == pytest.approx(weights.mean(), rel=1e-5)
    assert weights.mean() < bound


def gradients(bound: str, **changes: Any) -> dict[str, Any]:
    task, state, dataset = build("iwae", task__bound=bound, **changes, **SGD)
    step = jax.jit(make_step(task, 4), static_argnums=0)
    after, metrics = step(Phase(), state, batch_of(dataset), jax.random.key(3))
    moved = {
        name: jax.tree.map(jnp.subtract, net.params, after.nets[name].params)
        for name, net in state.nets.items()
    }
    return {"metrics": metrics, **moved}


def test_each_network_climbs_its_own_bound() -> None:
    """PIWAE's encoder has MIWAE's gradient, and its decoder IWAE's of all draws."""
    groups = dict(task__bound__groups=2)
    both = gradients("piwae", **groups)
    assert {"loss/encoder", "loss/decoder"} <= set(both["metrics"])
    close = dict(rtol=1e-4, atol=1e-6)
    for net, alone in (("encoder", gradients("miwae", **groups)), ("decoder", gradients("iwae"))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **close), both[net], alone[net])


def test_bounds_of_one_draw_are_one() -> None:
    found = [
        gradients(
            bound, task__samples=1, **({"task__bound__groups": 1} if bound == "miwae" else {})
        )
        for bound in ("iwae", "miwae", "ciwae")
    ]
    for other in found[1:]:
        assert other["metrics"]["loss"] == pytest.approx(
            float(found[0]["metrics"]["loss"]), rel=1e-6
        )
    assert found[0]["metrics"]["elbo"] == pytest.approx(
        float(found[0]["metrics"]["iwae"]), rel=1e-6
    )


def test_it_learns_and_is_scored_on_binary_images() -> None:
    task, state, dataset = build("iwae")
    state, metrics = learn(task, state, dataset, 25)
    losses = [row["loss"] for row in metrics]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    nll = {}
    for samples in (1, 40):
        evaluation = task.evaluation("nll", samples=samples, binarize="bernoulli")
        found = make_evaluator(evaluation, make_parallel("jit", 1), 8, 0)(
            state, dataset.splits["eval"]
        )
        nll[samples] = found[f"nll/iw{samples}/bernoulli"]
    assert nll[40] < nll[1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(model__likelihood="gaussian"), "binarize=none for another"),
        (dict(task__samples=0), "task.samples=0: at least 1"),
        (dict(task__bound="miwae", task__bound__groups=3), "groups=3 does not divide .*samples=4"),
        (dict(task__bound="ciwae", task__bound__beta=1.5), r"beta=1.5: in \[0, 1\]"),
        (dict(task__bound="iwea"), "did you mean 'iwae'"),
        (dict(task__binarize="threshold"), "one of bernoulli, none"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        config = smoke_config("iwae", **changes)
        make_task(config, open_data(config.data).spec)
