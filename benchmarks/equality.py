"""Check that a PyTorch twin computes the same step as ours from equal weights, data and latents.

Both compute products in full float32, so that differences are not due to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from benchmarks.problems import Problem
from benchmarks.twins.convert import to_batch, to_state_dict, to_tensor
from benchmarks.twins.training import set_products
from gan_jax.core.keys import named_keys
from gan_jax.core.task import Task
from gan_jax.data.degrade import noise
from gan_jax.methods.registry import make_task
from gan_jax.parallel.axes import example_keys
from gan_jax.parallel.mesh import make_parallel
from gan_jax.training.step import make_step

LOSSES = 1e-4  # relative difference of the losses and other metrics
GRADIENTS = 6e-2  # relative, in the norm of each array; the second network sees the first's update
# Smallest norm to divide by, relative to the network's gradient: gradients of biases before
# BatchNorm are exactly 0, and what is computed is rounding.
ROUNDING = 1e-4
UPDATES = 1e-2  # relative to a parameter's change, or to the RMS change of its array, ...
EXCEPTIONS = 0.05  # ... except in this share: Adam's first step is about the sign of the gradient
IMAGES = 1e-3  # absolute, of sampled images in [-1, 1]


class Difference(ArithmeticError):
    """Raised if ours and the twin differ."""


# --- random draws of a task in a step, with the same keys as in gan_jax/methods ---


def _gan_draws(problem: Problem, task: Task, key: jax.Array) -> dict[str, Any]:
    batch, terms = problem.batch(), problem.config().terms
    draws, size = batch["image"].shape[:2]
    labels = batch.get("label", [None] * draws)
    *disc_keys, gen_key = jax.random.split(key, draws + 1)
    found = {}
    # Of an update with terms: of the latents, the terms, the augmentation, dropout.
    if len(terms.gen):
        gen_key = jax.random.split(gen_key, 4)[0]
    if "gradient_penalty" in terms.disc:  # the only term
        parts = [jax.random.split(k, 4) for k in disc_keys]
        disc_keys = [part[0] for part in parts]
        penalty_keys = [jax.random.split(part[1], 1)[0] for part in parts]
        shares = [jax.vmap(jax.random.uniform)(example_keys(k, size)) for k in penalty_keys]
        found["share"] = to_tensor(np.stack(shares))

    def latents(key: jax.Array, labels: Any) -> np.ndarray:
        z, *_ = task.latents(example_keys(key, size), labels, truncation=0.0)
        return np.asarray(z)

    made = [latents(k, given) for k, given in zip(disc_keys, labels, strict=True)]
    return {
        **found,
        "disc": to_tensor(np.stack(made)),
        "gen": to_tensor(latents(gen_key, labels[-1])),
    }


def _vae_draws(problem: Problem, task: Task, key: jax.Array) -> dict[str, Any]:
    size = problem.batch()["image"].shape[1]
    return {"noise": to_tensor(task.latents(example_keys(key, size)))}


def _masks(keys: jax.Array, problem: Problem) -> list[torch.Tensor]:
    gen, size = problem.config().model.gen, problem.image[:2]
    depth = 0
    while all(n % 2 ** (depth + 1) == 0 for n in size):
        depth += 1
    masks = []
    for i in range(min(3, depth - 1)):
        channels = gen.width * min(2 ** (depth - 2 - i), 8)
        shape = (*(n >> (depth - 1 - i) for n in size), channels)
        block_keys = jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys)
        keep = jax.vmap(lambda k, s=shape: jax.random.bernoulli(k, 1 - gen.dropout, s))
        masks.append(to_tensor(keep(block_keys)))
    return masks


def _paired_draws(problem: Problem, task: Task, key: jax.Array) -> dict[str, Any]:
    size = problem.batch()["image"].shape[1]
    dropout_key = jax.random.split(key)[1]
    return {"masks": _masks(example_keys(dropout_key, size), problem)}


def _restorer_draws(problem: Problem, task: Task, key: jax.Array) -> dict[str, Any] | None:
    batch = problem.batch()
    if "target" in batch:
        return None
    data_key = jax.random.split(key)[0]
    keys = example_keys(jax.random.split(data_key, 4)[3], batch["image"].shape[1])
    standard = noise(sigma=127.5)  # of 255 grey levels: a deviation of 1 in [-1, 1]
    return {"noise": to_tensor(standard.apply(jnp.zeros(batch["image"].shape[1:]), keys))}


DRAWS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "gan": _gan_draws,
    "vae": _vae_draws,
    "paired": _paired_draws,
    "classifier": lambda problem, task, key: None,
    "restorer": _restorer_draws,
}


def on_device(draws: Any, device: str) -> Any:
    """Move random draws (tensors in dicts and lists) to a device."""
    move = lambda x: None if x is None else x.to(device)  # noqa: E731
    return torch.utils._pytree.tree_map(move, draws)


def load(twin: Any, state: Any) -> None:
    """Copy our weights, statistics and moving averages to a twin, in place."""
    for name, net in twin.nets.items():
        ours = state.nets[name]
        rules = dict(flax_name=twin.flax_name, maps=twin.maps[name])
        _load(net, to_state_dict(net, ours.params, ours.extra, **rules))
        if name in twin.averages:
            mean = {**ours.extra, **ours.ema}  # as NetState.variables("ema")
            _load(twin.averages[name].net, to_state_dict(net, mean["params"], mean, **rules))


def _load(net: torch.nn.Module, found: Mapping[str, torch.Tensor]) -> None:
    missing, unexpected = net.load_state_dict(dict(found), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise Difference(f"entries {missing} of the twin are not ours, {unexpected} not the twin's")


def _with_gains(state: Any) -> Any:
    """Return a state with non-zero attention gains: initialised to 0, they disable attention."""

    def changed(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.full_like(x, 0.5) if path[-1].key == "gain" else x, params
        )

    nets = {}
    for name, net in state.nets.items():
        ema = net.ema and {**net.ema, "params": changed(net.ema["params"])}
        nets[name] = net.replace(params=changed(net.params), ema=ema)
    return state.replace(nets=nets)


def check(problem: Problem, device: str = "cpu") -> tuple[dict[str, float], dict[str, Any]]:
    """Compare one step and one sample.

    Args:
      problem: its task and twin are compared.
      device: PyTorch device of the twin; ours runs on JAX's first device.

    Returns:
      The largest differences by kind, each below its bound, and the initial state dicts of the
      twin, by network.

    Raises:
      Difference: with the name of the first quantity that differs.
    """
    set_products("highest")
    with jax.default_matmul_precision("highest"):
        return _check(problem, device)


def _check(problem: Problem, device: str) -> tuple[dict[str, float], dict[str, Any]]:
    task = make_task(problem.config(), problem.spec())
    parallel, keys, batch = make_parallel("jit", 1), named_keys(0), problem.batch()
    start = _with_gains(parallel.compile_init(task.init)(keys["init"]))
    before = jax.device_get(start)
    step = parallel.compile_step(make_step(task, batch["image"].shape[1]))
    placed = parallel.place(batch, axis=1)
    after, metrics = jax.device_get(step(task.phase(0), start, placed, keys["train"]))

    twin = problem.make_twin(device)
    load(twin, before)
    weights = {
        name: {k: v.cpu().clone() for k, v in net.state_dict().items()}
        for name, net in twin.nets.items()
    }
    draws = DRAWS[task.name](problem, task, jax.random.fold_in(keys["train"], 0))
    theirs = twin.step(to_batch(batch, device=device), on_device(draws, device))

    found = {"losses": 0.0}
    for name, value in theirs.items():
        ours, value = float(metrics[name]), float(value)
        error = abs(ours - value) / max(abs(ours), 1e-3)
        if not error < LOSSES:
            raise Difference(f"{name}: ours {ours:.7g}, PyTorch's {value:.7g}")
        found["losses"] = max(found["losses"], error)
    for name in twin.nets:
        for kind, error in _compare_net(twin, name, before, after).items():
            found[kind] = max(found.get(kind, 0.0), error)
    if twin.sample is not None:
        found["images"] = _compare_samples(problem, task, parallel, twin, after, draws, device)
    return found, weights


def _compare_net(twin: Any, name: str, before: Any, after: Any) -> dict[str, float]:
    """Compare gradients (Adam's first moment), updates and averages of one network."""
    net, optimizer = twin.nets[name], twin.optimizers[name]
    rules = dict(flax_name=twin.flax_name, maps=twin.maps[name])
    old, new = before.nets[name], after.nets[name]
    moment = _first_moment(new.opt_state)
    ours = {
        kind: to_state_dict(net, tree, **rules)
        for kind, tree in (("old", old.params), ("new", new.params), ("moment", moment))
    }
    found = {"gradients": 0.0}
    least = ROUNDING * float(torch.cat([g.ravel() for g in ours["moment"].values()]).norm())
    wrong = total = 0
    for leaf, value in net.named_parameters():
        gradient = ours["moment"][leaf]
        theirs = optimizer.state[value]["exp_avg"].cpu()
        error = float((gradient - theirs).norm() / gradient.norm().clamp(min=least))
        if not error < GRADIENTS:
            raise Difference(f"gradient of {name} {leaf}: relative error {error:.1e}")
        found["gradients"] = max(found["gradients"], error)
        change = ours["new"][leaf] - ours["old"][leaf]
        off = (value.detach().cpu() - ours["new"][leaf]).abs()
        # Changes below the float32 spacing at the parameter are undefined.
        spacing = 4e-7 * ours["old"][leaf].abs()
        scale = change.abs().clamp(min=float(change.square().mean().sqrt()))
        wrong += int((off > UPDATES * scale + spacing).sum())
        total += off.numel()
    found["updates"] = wrong / total
    if not found["updates"] < EXCEPTIONS:
        raise Difference(f"{name}: {wrong} of {total} parameters differ after one step")
    if name in twin.averages:
        averages = {k: v.cpu() for k, v in twin.averages[name].net.named_parameters()}
        expected = to_state_dict(net, new.ema["params"], **rules)
        moved = torch.cat([(ours["new"][k] - ours["old"][k]).ravel() for k in averages]).norm()
        off = torch.cat([(averages[k] - expected[k]).ravel() for k in averages]).norm()
        found["averages"] = float(off / moved)
        if not found["averages"] < 0.3:  # some updates differ in sign, see EXCEPTIONS
            raise Difference(f"{name}: averages differ by {found['averages']:.1e} of an update")
    return found


def _first_moment(opt_state: Any) -> Any:
    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    (found,) = (x for x in jax.tree.leaves(opt_state, is_leaf=is_adam) if is_adam(x))
    return found.mu


def _compare_samples(
    problem: Problem, task: Task, parallel: Any, twin: Any, state: Any, draws: Any, device: str
) -> float:
    """Compare images in eval mode, of our weights and statistics after the step."""
    load(twin, state)
    batch = problem.batch()
    if task.name in ("paired", "restorer"):
        keys = example_keys(jax.random.key(7), batch["image"].shape[1])
        options = {"dropout": True} if task.name == "paired" else {}
        draws = {"masks": _masks(keys, problem)} if options else None
        images = jax.jit(
            lambda s, x, k: task.transform().function(s, x, k, weights="ema", **options)
        )(state, batch["image"][0], keys)
    else:
        latents = draws["noise" if task.name == "vae" else "gen"].numpy()
        labels = [jnp.asarray(batch["label"][-1])] if problem.classes else []
        given = jnp.asarray(latents) if task.name == "vae" else (jnp.asarray(latents), *labels)
        images = jax.jit(lambda s, z: task.generate(s, z, weights="ema"))(state, given)
    theirs = twin.sample(to_batch(batch, device=device), on_device(draws, device)).cpu()
    error = float((to_tensor(images) - theirs).abs().max())
    if not error < IMAGES:
        raise Difference(f"sampled images differ by {error:.1e}")
    return error
