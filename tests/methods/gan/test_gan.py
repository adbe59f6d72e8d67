"""The GAN's two updates: each improves its own loss, neither touches the other's network."""

from __future__ import annotations

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import sgd

from gan_jax.augment.distortion import PARTS, distortion
from gan_jax.core.errors import UserError
from gan_jax.core.task import Phase, Task
from gan_jax.data import open_data
from gan_jax.methods.gan import gan
from gan_jax.methods.gan.terms import GRADIENT_TERMS
from gan_jax.methods.registry import make_task
from gan_jax.models.blocks.spectral import spectral_norm
from gan_jax.objectives.adversarial import discriminator_cross_entropy
from gan_jax.training.step import make_step


def build(**changes: Any) -> tuple[Task, Any, dict[str, np.ndarray]]:
    """Return a tiny GAN, its state and a batch of 16 with one draw."""
    config = smoke_config("dcgan", train__batch_size=16, **changes)
    sgd(config, 0.05)
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    state = jax.jit(task.init)(jax.random.key(1))
    batch = {k: x[None] for k, x in dataset.splits["train"].get(np.arange(16)).items()}
    return task, state, batch


def logits_of(task: Task, state: Any, images: jax.Array) -> jax.Array:
    disc = state.nets["disc"]
    logits, _ = task.modules["disc"].apply(
        disc.variables(), images, train=True, mutable=["batch_stats"]
    )
    return logits


@pytest.fixture(scope="module")
def stepped() -> tuple[Task, Any, Any, dict[str, np.ndarray], dict[str, Any]]:
    task, state, batch = build(train__ema_decay=0.9)
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, metrics = step(Phase(), state, batch, jax.random.key(5))
    return task, state, new, batch, metrics


@pytest.mark.parametrize("labels", [pytest.param("real", marks=pytest.mark.slow), "uniform"])
def test_classes_of_generated_images(labels: str) -> None:
    """All real images are of class 3: whose tables move tells what the generated ones were."""
    given = dict(model__conditional="projection", model__gen__conditional="batch_norm")
    task, state, batch = build(**given, task__fake_labels=labels)
    batch["label"] = np.full_like(batch["label"], 3)
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, _ = step(Phase(), state, batch, jax.random.key(5))
    moved = {}
    for name in ("gen", "disc"):
        for path, x in jax.tree_util.tree_leaves_with_path(new.nets[name].params):
            if x.ndim == 2 and x.shape[0] == 10:
                old = dict(jax.tree_util.tree_leaves_with_path(state.nets[name].params))[path]
                moved[name] = set(np.flatnonzero((x != old).any(1)).tolist())
    classes = {"real": lambda found: found == {3}, "uniform": lambda found: len(found) > 5}[labels]
    assert set(moved) == {"gen", "disc"} and all(map(classes, moved.values())), moved


def test_an_epoch_of_top_k_has_the_batches_of_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The discriminator of three updates a step sees the images once in a third of the steps."""
    found = []
    monkeypatch.setattr(gan, "top_k_share", lambda **given: found.append(given["epoch"]) or 0.5)
    for updates in (1, 3):
        task, state, batch = build(task__top_k=0.5, task__disc_updates=updates)
        batch = {k: np.repeat(x, updates, 0) for k, x in batch.items()}
        train_step = functools.partial(task.train_step, task.phase(0))
        jax.eval_shape(train_step, state, batch, jax.random.key(0))
    assert list(dict.fromkeys(found)) == [48 / 16, 48 / (16 * 3)]


def test_one_step_moves_both_networks_and_all_their_statistics(stepped: tuple) -> None:
    _, state, new, _, metrics = stepped
    assert (new.step, new.position) == (1, 16)
    chex.assert_tree_all_finite(metrics)
    for name in ("gen", "disc"):
        old_net, new_net = state.nets[name], new.nets[name]
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), old_net.params, new_net.params)
        assert all(jax.tree.leaves(moved)), (name, moved)
        stats = jax.tree.map(lambda a, b: bool((a != b).any()), old_net.extra, new_net.extra)
        assert all(jax.tree.leaves(stats)), (name, stats)


def test_the_discriminator_loss_is_that_of_the_images_at_hand(stepped: tuple) -> None:
    """Recompute the first update from its definition: fresh latents, real and fake apart."""
    task, state, _, batch, metrics = stepped
    step_key = jax.random.fold_in(jax.random.key(5), 0)
    disc_key = jax.random.split(step_key, 2)[0]
    keys = jax.vmap(lambda i: jax.random.fold_in(disc_key, i))(jnp.arange(16))
    (z,) = task.latents(keys, None, truncation=0.0, weights="raw")
    fake, _ = task.modules["gen"].apply(
        state.nets["gen"].variables(), z, train=True, mutable=["batch_stats"]
    )
    loss = discriminator_cross_entropy(
        real_logits=logits_of(task, state, batch["image"][0]),
        fake_logits=logits_of(task, state, fake),
    )
    np.testing.assert_allclose(metrics["disc"], loss.mean(), rtol=1e-5)


def test_the_discriminator_learns_to_tell(stepped: tuple) -> None:
    task, state, new, batch, _ = stepped
    keys = jax.random.split(jax.random.key(9), 16)
    fake = task.generate(state, task.latents(keys, None, truncation=0.0), weights="raw")
    gap = [
        (logits_of(task, s, batch["image"][0]) - logits_of(task, s, fake)).mean()
        for s in (state, new)
    ]
    assert gap[1] > gap[0]


def test_the_average_is_of_the_new_weights_and_statistics(stepped: tuple) -> None:
    _, state, new, _, _ = stepped
    decay = min(0.9, 1 / 10)
    gen, old = new.nets["gen"], state.nets["gen"]
    now = {"params": gen.params, "batch_stats": gen.extra["batch_stats"]}
    expected = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, old.ema, now)
    chex.assert_trees_all_close(gen.ema, expected, rtol=1e-6, atol=1e-7)
    assert new.nets["disc"].ema is None


def test_the_generator_learns_to_fool() -> None:
    """With the discriminator frozen (its learning rate is tiny) the generator's loss falls."""
    task, state, batch = build()
    config = smoke_config("dcgan", train__batch_size=16)
    sgd(config, 1e-12, "disc")
    config.optim.gen.update(dict(lr=2e-3))
    task = make_task(config, open_data(config.data).spec)
    state = jax.jit(task.init)(jax.random.key(1))
    step = jax.jit(make_step(task, 16), static_argnums=0)
    losses = []
    for _ in range(15):
        state, metrics = step(Phase(), state, batch, jax.random.key(5))
        losses.append(float(metrics["gen"]))
    assert losses[-1] < losses[0] - 0.05


def test_every_critic_update_has_its_own_images_and_latents() -> None:
    task, state, batch = build(task__disc_updates=2)
    assert task.phase(0) == Phase("train", 2)
    two = {k: np.concatenate([x, x[:, ::-1]]) for k, x in batch.items()}
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, _ = step(task.phase(0), state, two, jax.random.key(5))
    assert new.position == 32
    again = {**two, "image": two["image"].copy()}
    again["image"][1] = 0
    other, _ = step(task.phase(0), state, again, jax.random.key(5))
    differ = jax.tree.map(lambda a, b: bool((a != b).any()), new.nets, other.nets)
    assert any(jax.tree.leaves(differ["disc"].params)), "the second draw was not used"


def test_latents_depend_on_their_key_only_and_stay_in_bounds() -> None:
    task, _, _ = build()
    keys = jax.random.split(jax.random.key(0), 64)
    (whole,) = task.latents(keys, None, truncation=0.0)
    (part,) = task.latents(keys[10:13], None, truncation=0.0)
    np.testing.assert_array_equal(whole[10:13], part)
    (cut,) = task.latents(keys, None, truncation=0.5)
    assert abs(cut).max() <= 0.5 < abs(whole).max()
    with pytest.raises(UserError, match="unconditional"):
        task.latents(keys, jnp.zeros(64, jnp.int32), truncation=0.0)


def test_a_conditional_gan_draws_labels_that_nobody_gave() -> None:
    task, state, batch = build(model__conditional="projection")
    _, labels = task.latents(jax.random.split(jax.random.key(0), 400), None, truncation=0.0)
    counts = np.bincount(labels, minlength=10)
    assert counts.min() > 15 and counts.sum() == 400
    grids = task.grids(state, {k: x[0][:5] for k, x in batch.items()}, jax.random.key(0))
    assert grids["samples"].shape == (10, 5, 16, 16, 1)


def test_evaluation_does_not_depend_on_the_batch_size() -> None:
    task, state, batch = build()
    key = jax.random.key(3)

    def totals(size: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        for start in range(0, 16, size):
            index = np.minimum(np.arange(start, start + size), 15)
            part = {k: x[0][index] for k, x in batch.items()}
            mask = (np.arange(start, start + size) < 16).astype(np.float32)
            found = task.eval_step(state, {**part, "index": index, "mask": mask}, key)
            sums = {k: sums.get(k, 0) + float(v) for k, v in found.items()}
        return task.eval_metrics(sums)

    chex.assert_trees_all_close(totals(16), totals(5), rtol=1e-4, atol=1e-5)


def test_labels_and_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="tutorial is unconditional"):
        build(model__gen="tutorial", model__disc="tutorial", model__conditional="projection")
    with pytest.raises(UserError, match=r"model\.gen\.name='dcgann'.*did you mean 'dcgan'"):
        build(model__gen="dcgann")
    with pytest.raises(UserError, match="disc_updates"):
        build(task__disc_updates=0)
    with pytest.raises(UserError, match=r"task\.loss='hinges'.*did you mean 'hinge'"):
        build(task__loss="hinges")
    with pytest.raises(UserError, match=r"model\.disc\.norm='spectrall'"):
        build(model__disc__norm="spectrall")
    with pytest.raises(UserError, match=r"disc\.norm='batch'.*spectral, layer, none"):
        build(model__disc="resnet", model__disc__norm="batch")
    with pytest.raises(UserError, match=r"model\.disc=tutorial has no 'norm'"):
        build(model__disc="tutorial", model__disc__norm="layer")


def test_the_two_networks_are_chosen_apart() -> None:
    """A DCGAN's generator against a residual discriminator, and its fields only."""
    task, state, batch = build(
        model__disc="resnet", model__disc__attention=8, terms__disc__r1=0.1, train__ema_decay=0.9
    )
    names = {name: type(net).__module__ for name, net in task.modules.items()}
    assert names == {"gen": "gan_jax.models.dcgan", "disc": "gan_jax.models.resnet_gan"}
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, metrics = step(Phase(), state, batch, jax.random.key(5))
    assert all(np.isfinite(float(x)) for x in metrics.values()) and "disc/r1" in metrics
    for name in ("gen", "disc"):
        moved = jax.tree.map(
            lambda a, b: abs(a - b).max(), new.nets[name].params, state.nets[name].params
        )
        assert max(float(x) for x in jax.tree.leaves(moved)) > 0


def test_a_gradient_penalty_refuses_batch_norm() -> None:
    for net in ("dcgan", "tutorial"):
        for name in GRADIENT_TERMS:
            with pytest.raises(UserError, match=rf"{name} with BatchNorm.*model\.disc\.norm"):
                build(model__gen=net, model__disc=net, **{f"terms__disc__{name}": 10.0})
    with pytest.raises(UserError, match=r"minibatch discrimination.*minibatch_kernels=0"):
        build(model__disc__norm="none", model__disc__minibatch_kernels=3, terms__disc__r1=1.0)
    with pytest.raises(UserError, match=r"weight=-1\.0: above 0"):
        build(model__disc__norm="layer", terms__disc__gradient_penalty=-1.0)
    with pytest.raises(UserError, match=r"r1\.every=0: at least 1"):
        build(model__disc__norm="none", terms__disc__r1=1.0, terms__disc__r1__every=0)
    build(model__disc__norm="layer", terms__disc__gradient_penalty=10.0)


def test_the_penalty_is_that_of_the_images_at_hand() -> None:
    """Recompute it from its definition, and see its weight in the step of plain SGD."""
    found = {}
    for weight in (1.0, 3.0):
        task, state, batch = build(
            model__disc__norm="none",
            task__loss="wasserstein",
            terms__disc__gradient_penalty=weight,
        )
        step = jax.jit(make_step(task, 16), static_argnums=0)
        new, metrics = step(Phase(), state, batch, jax.random.key(5))
        assert "accuracy/real" not in metrics, "a critic's logits have no boundary"
        found[weight] = (new.nets["disc"].params, metrics)
    np.testing.assert_allclose(
        found[1.0][1]["disc/gradient_penalty"], found[3.0][1]["disc/gradient_penalty"], rtol=1e-5
    )
    np.testing.assert_allclose(found[1.0][1]["disc"], found[3.0][1]["disc"], rtol=1e-4, atol=1e-6)
    key = jax.random.split(jax.random.fold_in(jax.random.key(5), 0), 2)[0]
    key, terms_key, _ = jax.random.split(key, 3)
    penalty_key = jax.random.split(terms_key, 1)[0]
    each = lambda key: jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(16))  # noqa: E731
    (z,) = task.latents(each(key), None, truncation=0.0, weights="raw")
    gen, disc = state.nets["gen"], task.modules["disc"]
    fake, _ = task.modules["gen"].apply(gen.variables(), z, train=True, mutable=["batch_stats"])
    share = jax.vmap(jax.random.uniform)(each(penalty_key))[:, None, None, None]
    points = share * batch["image"][0] + (1 - share) * fake

    def penalty(params: Any) -> jax.Array:
        logit = lambda x: disc.apply({"params": params}, x[None], train=True)[0]  # noqa: E731
        gradient = jax.vmap(jax.grad(logit))(points).reshape(16, -1)
        return jnp.square(jnp.linalg.norm(gradient, axis=-1) - 1).mean()

    value, gradient = jax.jit(jax.value_and_grad(penalty))(state.nets["disc"].params)
    np.testing.assert_allclose(value, found[1.0][1]["disc/gradient_penalty"], rtol=1e-4)
    moved = jax.tree.map(lambda a, b: a - b, found[3.0][0], found[1.0][0])
    expected = jax.tree.map(lambda g: -0.05 * 2 * g, gradient)  # the learning rate is 0.05
    chex.assert_trees_all_close(moved, expected, rtol=1e-2, atol=1e-5)


def test_spectral_vectors_move_with_the_discriminator_only() -> None:
    task, state, batch = build(model__disc__norm="spectral", task__loss="hinge")
    assert set(state.nets["disc"].extra) == {"spectral"}
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, _ = step(Phase(), state, batch, jax.random.key(5))
    old, u = state.nets["disc"].extra["spectral"], new.nets["disc"].extra["spectral"]

    # Two passes, real and fake, are two power iterations of the weights before the step.
    def twice(kernel: jax.Array, u: jax.Array) -> jax.Array:
        for _ in range(2):
            _, u = spectral_norm(kernel, u, iterate=True)
        return u

    kernels = {name: layer["kernel"] for name, layer in state.nets["disc"].params.items()}
    expected = {name: {"u": twice(kernels[name], old[name]["u"])} for name in kernels}
    chex.assert_trees_all_close(u, expected, rtol=1e-4, atol=1e-5)


def test_a_semi_supervised_discriminator_says_classes_by_its_average() -> None:
    """And learns them from labelled images that are augmented as the others are."""
    config = smoke_config(
        "semi_supervised_gan",
        train__batch_size=16,
        train__ema_decay=0.9,
        augment__name="distortion",
    )
    sgd(config, 0.5, "disc")
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    state = jax.jit(task.init)(jax.random.key(1))
    batch = {k: x[None] for k, x in dataset.splits["train"].get(np.arange(16)).items()}
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, metrics = step(Phase(), state, batch, jax.random.key(5))
    old, disc = state.nets["disc"], new.nets["disc"]
    expected = jax.tree.map(lambda a, b: 0.1 * a + 0.9 * b, old.params, disc.params)
    chex.assert_trees_all_close(disc.ema["params"], expected, rtol=1e-5, atol=1e-6)

    def said(variables: Any, images: Any) -> jax.Array:
        return (
            task.modules["disc"]
            .apply(variables, images, train=False, method="outputs")
            .heads["class"]
        )

    labels, images = batch["labelled_label"][0], batch["labelled_image"][0]
    plain = -jax.nn.log_softmax(said(old.variables(), images))[np.arange(16), labels].mean()
    keys = jax.random.split(jax.random.split(jax.random.fold_in(jax.random.key(5), 0), 2)[0], 3)
    each = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(keys[2], i), 3)[2])(
        jnp.arange(16)
    )
    changed = distortion(images, each, PARTS)
    loss = -jax.nn.log_softmax(said(old.variables(), changed))[np.arange(16), labels].mean()
    np.testing.assert_allclose(metrics["disc/labelled"], loss, rtol=1e-4)
    assert abs(float(loss - plain)) > 1e-3 * float(loss)
    held = dataset.splits["eval"].get(np.arange(16))
    sums = task.eval_step(
        new, {**held, "index": np.arange(16), "mask": np.ones(16)}, jax.random.key(0)
    )
    right = said(disc.variables("ema"), held["image"]).argmax(-1) == held["label"]
    assert float(sums["accuracy"]) == right.sum()
