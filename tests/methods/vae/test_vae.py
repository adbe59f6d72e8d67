"""The VAE task: its loss by hand, its gradient, batches of any size, devices, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.core.config import flatten
from gan_jax.core.errors import UserError
from gan_jax.core.keys import image_keys
from gan_jax.data import open_data
from gan_jax.data.pipeline import eval_batches
from gan_jax.evaluation.evaluator import make_evaluator
from gan_jax.methods.configs import load_config
from gan_jax.methods.vae.vae import make_task
from gan_jax.parallel.mesh import make_parallel

NETS = ("encoder", "decoder")
CONFIG = Path(__file__).parents[3] / "configs" / "vae.py"
KEY = jax.random.key(7)


def build(argument: str = "smoke,net=mlp", **changes: Any):
    """Return (config, dataset, task) with fields changed, dots as double underscores."""
    overrides = {name.replace("__", "."): str(value) for name, value in changes.items()}
    config = load_config(f"{CONFIG}:{argument}", {"data.size": "(8, 8)", **overrides})
    dataset = open_data(config.data)
    return config, dataset, make_task(config, dataset.spec)


def get(argument: str = "smoke,net=mlp", **changes: Any):
    """Return (config, dataset, task, state); weights by NumPy, as compiling `init` takes long."""
    config, dataset, task = build(argument, **changes)
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(task.init, KEY))
    rng = np.random.default_rng(0)

    def draw(p: jax.Array) -> jax.Array:
        scale = np.sqrt(2 / np.prod(p.shape[:-1])) if p.ndim > 1 else 0.0
        return jnp.asarray(scale * rng.normal(size=p.shape), jnp.float32)

    nets = {}
    for name, net in state.nets.items():
        params = jax.tree.map(draw, net.params)
        nets[name] = net.replace(params=params, ema={"params": jax.tree.map(jnp.copy, params)})
    return config, dataset, task, state.replace(nets=nets)


def images_of(dataset, count: int) -> np.ndarray:
    return dataset.splits["train"].get(np.arange(count))["image"]


def step_of(task):
    return jax.jit(task.train_step, static_argnums=0)


@pytest.mark.parametrize(("likelihood", "net"), [("bernoulli", "conv"), ("gaussian", "mlp")])
def test_loss_by_hand(likelihood, net):
    argument = f"smoke,likelihood={likelihood},net={net}"
    _, dataset, task, state = get(argument, task__beta=3.0)
    x = images_of(dataset, 5)
    _, metrics = step_of(task)(task.phase(0), state, {"image": x[None]}, KEY)

    def applied(name):
        module, variables = task.modules[name], state.nets[name].variables()
        return jax.jit(lambda x: module.apply(variables, x, train=True))

    encode, decode = map(applied, NETS)
    mean, log_variance = map(np.asarray, encode(x))
    # One key an image, never one draw for the batch.
    noise = [jax.random.normal(jax.random.fold_in(KEY, i), mean.shape[1:]) for i in range(5)]
    z = mean + np.exp(log_variance / 2) * np.stack(noise)
    outputs = np.asarray(decode(z), np.float64)
    if likelihood == "bernoulli":
        p, target = 1 / (1 + np.exp(-outputs)), (x + 1) / 2
        density = target * np.log(p) + (1 - target) * np.log1p(-p)
    else:
        density = stats.norm.logpdf(x, outputs, 0.2)
    fit = density.reshape(5, -1).sum(1).mean()
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1).mean()
    expected = {"loss": 3 * kl - fit, "elbo": fit - kl, "reconstruction": fit, "kl": kl}
    assert metrics.keys() == {*expected, "grad_norm/encoder", "grad_norm/decoder"}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_gradient_by_finite_differences():
    changes = {f"optim__{n}__{k}": v for n in NETS for k, v in (("name", "sgd"), ("lr", 1.0))}
    _, dataset, task, state = get(**changes)
    step, batch = step_of(task), {"image": images_of(dataset, 8)[None]}

    def params_of(state):
        return {name: net.params for name, net in state.nets.items()}

    def moved(params):
        return state.replace(nets={n: state.nets[n].replace(params=p) for n, p in params.items()})

    def length_of(tree):
        return float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(tree))))

    params = params_of(state)
    after, metrics = step(task.phase(0), state, batch, KEY)
    gradient = jax.tree.map(jnp.subtract, params, params_of(after))
    for name in NETS:
        assert metrics[f"grad_norm/{name}"] == pytest.approx(length_of(gradient[name]), rel=1e-4)
    length = length_of(gradient)
    losses = []
    for sign in (1, -1):
        at = jax.tree.map(lambda p, g, s=sign: p + s * 1e-2 * g / length, params, gradient)
        losses.append(float(step(task.phase(0), moved(at), batch, KEY)[1]["loss"]))
    np.testing.assert_allclose((losses[0] - losses[1]) / 2e-2, length, rtol=1e-2)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_training_reduces_the_loss(likelihood):
    changes = {f"model__{name}__width": 32 for name in NETS}
    changes |= {f"optim__{name}__lr": 1e-2 for name in NETS}
    changes |= {"model__likelihood__scale": 0.5} if likelihood == "gaussian" else {}
    _, dataset, task = build(f"smoke,net=mlp,likelihood={likelihood}", **changes)
    state = jax.jit(task.init)(KEY)
    np.testing.assert_array_equal(*(jax.tree.leaves(tree)[-1] for tree in two_weights(state)))
    step, batch = step_of(task), {"image": images_of(dataset, 32)[None]}
    losses = []
    for i in range(30):
        state, metrics = step(task.phase(i), state, batch, jax.random.fold_in(KEY, i))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 3
    raw, ema = two_weights(state)
    assert jax.tree.structure(raw) == jax.tree.structure(ema)
    assert not np.array_equal(*(jax.tree.leaves(tree)[-1] for tree in (raw, ema)))


def two_weights(state):
    return [
        {name: net.variables(weights)["params"] for name, net in state.nets.items()}
        for weights in ("raw", "ema")
    ]


def test_eval_is_the_same_in_any_batch():
    _, dataset, task, state = get()
    step = jax.jit(task.eval_step)
    results = []
    for size in (3, 8):
        totals: dict[str, float] = {}
        for batch in eval_batches(dataset.splits["eval"], size):
            for name, value in step(state, batch, KEY).items():
                totals[name] = totals.get(name, 0.0) + np.float64(value)
        assert totals["count"] == len(dataset.splits["eval"]) == 16
        results.append(task.eval_metrics(totals))
    assert set(results[0]) == {"loss", "elbo", "reconstruction", "kl"}
    assert all(type(value) is float for value in results[0].values())
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-5, err_msg=name)


def test_samples_do_not_depend_on_the_batch():
    _, dataset, task, state = get()
    options = task.check_options({"temperature": "0.5"})
    all_keys, some = image_keys(3, np.arange(8)), image_keys(3, np.array([5, 2]))
    z = task.latents(all_keys, None, **options)
    np.testing.assert_array_equal(task.latents(some, None, **options), z[np.array([5, 2])])
    np.testing.assert_allclose(2 * z, task.latents(all_keys, None, **task.check_options({})))
    generate = jax.jit(lambda z: task.generate(state, z, **options))
    images = generate(z)
    assert images.shape == (8, *dataset.spec.image_shape)
    assert np.abs(images).max() <= 1
    np.testing.assert_allclose(generate(z[2:3]), images[2:3], atol=1e-5)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_encode_transform_and_grids(likelihood):
    config, dataset, task, state = get(f"smoke,net=mlp,likelihood={likelihood}")
    batch = next(iter(eval_batches(dataset.splits["eval"], config.eval.grid)))
    keys, options = image_keys(0, np.arange(4)), task.check_options({"weights": "raw"})
    codes = task.encode(state, batch["image"], keys)
    assert codes.shape == (4, config.model.latent)
    out = task.transform().function(state, batch["image"], keys, **options)
    np.testing.assert_allclose(out, task.generate(state, codes, **options), atol=1e-5)
    pictures = jax.jit(task.grids)(state, batch, KEY)
    shape = dataset.spec.image_shape
    assert pictures["samples"].shape == (8, 4, *shape)
    assert pictures["reconstructions"].shape == (2, 4, *shape)
    np.testing.assert_array_equal(pictures["reconstructions"][0], batch["image"])
    np.testing.assert_allclose(pictures["reconstructions"][1], out, atol=1e-5)


def test_a_term_of_any_network():
    """Orthogonal weights are a VAE's as well."""
    _, dataset, task, state = get(terms__decoder__orthogonal=0.5)
    _, _, plain, _ = get()
    batch = {"image": images_of(dataset, 8)[None]}
    with_term, without = (step_of(t)(t.phase(0), state, batch, KEY)[1] for t in (task, plain))
    assert set(with_term) - set(without) == {"decoder/orthogonal"}


def test_labels_and_options_are_refused():
    _, _, task = build()
    with pytest.raises(UserError, match="unconditional"):
        task.latents(image_keys(0, np.arange(2)), jnp.zeros(2, jnp.int32))
    with pytest.raises(UserError, match="outside"):
        task.check_options({"temperature": -1})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model__encoder", "convv", "did you mean 'conv'"),
        ("model__likelihood", "normal", "one of bernoulli, gaussian"),
        ("model__likelihood__scale", 0.0, "no config field .*likelihood=bernoulli has no 'scale'"),
        ("model__latent", 0, "model.latent=0"),
        ("task__beta", -1.0, "task.beta=-1.0"),
    ],
)
def test_bad_fields_are_refused(name, value, message):
    with pytest.raises(UserError, match=message):
        build(**{name: value})


def test_config_arguments():
    mnist = flatten(load_config(f"{CONFIG}:mnist,net=mlp,likelihood=gaussian,latent=3"))
    assert mnist["data.size"] == [28, 28]
    assert (mnist["model.likelihood.name"], mnist["model.latent"]) == ("gaussian", 3)
    assert mnist["model.encoder.width"] == mnist["model.decoder.width"] == 512
    folder = flatten(load_config(f"{CONFIG}:folder,path=somewhere,size=32"))
    assert (folder["data.path"], folder["data.size"]) == ("somewhere", [32, 32])
    assert (folder["model.likelihood.name"], folder["model.latent"]) == ("gaussian", 64)
    digits = flatten(load_config(f"{CONFIG}:digits"))
    assert (digits["data.source"], digits["model.decoder.name"]) == ("digits", "conv")


@pytest.mark.parametrize(
    ("shape", "argument", "expected"),
    [
        # As the preset fashion_mnist, whatever axes the file has.
        ((9, 28, 28), "", ((28, 28), "bernoulli", 20)),
        ((9, 28, 28, 1), "", ((28, 28), "bernoulli", 20)),
        ((9, 40, 24, 3), "", ((40, 24), "gaussian", 64)),
        ((9, 40, 24, 3), ",channels=1", ((40, 24), "bernoulli", 20)),
        ((9, 28, 28), ",size=16,latent=3,likelihood=gaussian", ((16, 16), "gaussian", 3)),
        ((9, 27, 28), "", ((32, 32), "bernoulli", 20)),  # no convolutions of this side
        ((9, 27, 28), ",net=mlp", ((27, 28), "bernoulli", 20)),
    ],
)
def test_defaults_follow_what_an_npz_file_holds(
    shape: tuple[int, ...], argument: str, expected: tuple, tmp_path: Path
) -> None:
    path = tmp_path / "images.npz"
    np.savez_compressed(path, label=np.zeros(9, np.int32), image=np.zeros(shape, np.uint8))
    config = load_config(f"{CONFIG}:npz,path={path}{argument}")
    found = tuple(config.data.size), config.model.likelihood.name, config.model.latent
    assert found == expected
    if shape[1:3] == (28, 28) and not argument:
        preset = flatten(load_config(f"{CONFIG}:fashion_mnist"))
        unlike = {k for k, v in flatten(config).items() if preset[k] != v}
        assert unlike == {"data.source", "data.name", "data.path", "data.channels", "data.holdout"}
        classifier = load_config(str(CONFIG.with_name("classifier.py")) + f":npz,path={path}")
        assert tuple(classifier.data.size) == (28, 28)


def test_defaults_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "other.npz", picture=np.zeros((2, 8, 8), np.uint8))
    for name in ("broken", "other", "none"):
        config = load_config(f"{CONFIG}:npz,path={tmp_path / name}.npz")
        assert tuple(config.data.size) == (32, 32)
    for argument in ("tfds,name=fashion_mnist", "folder,path=somewhere,channels=1"):
        assert load_config(f"{CONFIG}:{argument}").model.likelihood.name == "bernoulli"


def test_importance_sampling_tightens_the_bound():
    """One sample is the bound with a drawn KL, of other draws; 100 are above it."""
    _, dataset, task, state = get("smoke,net=mlp,likelihood=gaussian")
    nll = {}
    for samples in (1, 100):
        evaluation = task.evaluation("nll", samples=samples)
        evaluator = make_evaluator(evaluation, make_parallel("jit", 1), 16, 0)
        found = evaluator(state, dataset.splits["train"])
        nll[samples] = found[f"nll/iw{samples}/density"]
    elbo = make_evaluator(task, make_parallel("jit", 1), 16, 0)(state, dataset.splits["train"])
    assert nll[1] == pytest.approx(-elbo["elbo"], rel=0.05)
    assert nll[100] < nll[1] - 1
