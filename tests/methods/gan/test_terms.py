"""The terms of a GAN's losses: which steps take them, what they weigh, what they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import smoke_config
from learning import first_steps, sgd

import gan_jax
from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.experiment.train import train
from gan_jax.methods.gan.codes import Codes
from gan_jax.methods.gan.terms import (
    DISC_TERMS,
    GEN_TERMS,
    codes,
    disc_rotation,
    feature_matching,
)
from gan_jax.methods.registry import make_task
from gan_jax.methods.terms import Kind, active_terms, due_names, make_terms
from gan_jax.methods.update import TERMS
from gan_jax.models.blocks.heads import Outputs
from gan_jax.training.step import make_step


def weights(player: str, **named: float) -> dict[str, float]:
    return {f"terms__{player}__{name}": value for name, value in named.items()}


def build(config: Any) -> tuple[Any, Any, Any]:
    """Return the task of a config, its first state, and its data."""
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    return task, jax.jit(task.init)(jax.random.key(0)), dataset


def after(task: Any, state: Any, dataset: Any, step: int) -> tuple[Any, dict[str, float]]:
    """Return the state and the metrics after one step that has the number `step`."""
    phase = task.phase(step)
    compiled = jax.jit(make_step(task, 16), static_argnums=0)
    images = dataset.splits["train"].get(np.arange(16))
    batch = {k: x[None] for k, x in images.items()}
    state = state.replace(step=jnp.int32(step))
    new, metrics = compiled(phase, state, batch, jax.random.key(5))
    return new, {k: float(v) for k, v in metrics.items()}


def test_a_lazy_term_is_taken_at_one_step_of_so_many() -> None:
    config = smoke_config("dcgan", model__disc__norm="none", **weights("disc", r1=2.0, drift=0.5))
    config.terms.disc.r1.every = 3
    terms = make_terms("disc", config.terms.disc, DISC_TERMS)
    assert set(terms) == {"disc/r1", "disc/drift"}
    due = [due_names(terms, step) for step in range(7)]
    assert due == [(), (), ("disc/r1",), (), (), ("disc/r1",), ()]
    assert set(active_terms(terms, ("disc",), ())) == {"disc/drift"}
    assert set(active_terms(terms, ("disc",), ("disc/r1",))) == set(terms)
    assert active_terms(terms, ("gen",), ("disc/r1",)) == {}


def test_a_lazy_penalty_weighs_as_much_as_a_steady_one() -> None:
    """Of plain SGD: the step with the term differs from that without by every times the steady."""
    given = dict(model__disc__norm="none", task__loss="wasserstein")
    moved = {}
    for every, step in ((1, 2), (3, 2), (3, 1)):
        config = smoke_config("dcgan", train__batch_size=16, **given, **weights("disc", r1=1e3))
        config.terms.disc.r1.every = every
        task, state, dataset = build(sgd(config))
        new, metrics = after(task, state, dataset, step)
        assert ("disc/r1" in metrics) == ((every, step) != (3, 1))
        moved[every, step] = new.nets["disc"].params
    config = smoke_config("dcgan", train__batch_size=16, **given, **weights("disc", drift=1e-30))
    # A term of no weight, so that the latents are drawn alike.
    task, state, dataset = build(sgd(config))
    plain = after(task, state, dataset, 2)[0].nets["disc"].params
    steady, lazy = (
        jax.tree.map(lambda a, b: a - b, moved[which], plain) for which in ((1, 2), (3, 2))
    )
    chex.assert_trees_all_close(lazy, jax.tree.map(lambda x: 3 * x, steady), rtol=2e-2, atol=1e-6)
    assert max(float(abs(x).max()) for x in jax.tree.leaves(steady)) > 1e-5


KEYS = jax.random.split(jax.random.key(0), 6)


def value(kind: Kind, given: dict[str, Any], keys: jax.Array = KEYS) -> jax.Array:
    """Return what a term without networks and buffer says of what was seen, if it needs no more."""
    return kind.value(None, {name: given[name] for name in kind.needs}, keys, None)[0]


def seen(**changes: Any) -> dict[str, Any]:
    features = lambda x: jnp.stack([x.mean((1, 2, 3)), x.max((1, 2, 3))], -1)  # noqa: E731

    def judge(x: jax.Array) -> Outputs:
        corner = x[:, 0, 0, 0]  # tells the turn of an image whose corners are 0, 1, 2, 3
        return Outputs(corner, features(x), {"rotation": 50 * jax.nn.one_hot(corner, 4)})

    draw = np.random.default_rng(0)
    real, fake = (jnp.asarray(draw.normal(size=(6, 4, 4, 1)), jnp.float32) for _ in range(2))
    given = dict(
        judge=judge,
        judge_fake=judge,
        real=real,
        fake=fake,
        real_out=judge(real),
        fake_out=judge(fake),
        given=(),
        drawn=(jnp.zeros((6, 3)),),
        generate=None,
    )
    return {**given, **changes}


def test_feature_matching_by_hand() -> None:
    given = seen()
    real, fake = (given["judge"](given[x]).features.mean(0) for x in ("real", "fake"))
    found = float(value(feature_matching(), given))
    assert found == pytest.approx(float(((real - fake) ** 2).sum()))


def test_rotation_knows_the_turn() -> None:
    """The first corner of an image with the corners 0, 1, 2, 3 is how often it was turned."""
    image = np.zeros((4, 4, 1), np.float32)
    image[0, 0], image[0, -1], image[-1, -1], image[-1, 0] = 0, 1, 2, 3
    images = jnp.stack([image] * 40)
    keys = jax.random.split(jax.random.key(0), 40)
    found = value(disc_rotation(), seen(real=images), keys)
    np.testing.assert_allclose(found, np.zeros(40), atol=1e-6)


@pytest.mark.parametrize("player", ["disc", "gen"])
def test_terms_are_judged_with_the_classes_of_their_images(player: str) -> None:
    """Terms of real images see those of the batch; terms of generated ones see what was drawn."""
    asked: list[str] = []

    def judge(side: str) -> Any:
        def judged(x: jax.Array) -> Outputs:
            asked.append(side)
            heads = {"rotation": jnp.zeros((6, 4)), "view": jnp.ones((6, 2))}
            return Outputs(x.sum((1, 2, 3)), x.mean((1, 2)), heads)

        return judged

    given = seen(judge=judge("real"), judge_fake=judge("fake"))
    given["generate"] = lambda z: given["fake"] + z.mean()
    sides = {
        "disc": {
            "real": "gradient_penalty zero_centred_penalty one_sided_penalty dragan r1"
            " consistency rotation views",
            "fake": "r2 fake_consistency latent_consistency",
        },
        "gen": {"real": "feature_matching", "fake": "rotation"},
    }[player]
    factories = (DISC_TERMS if player == "disc" else GEN_TERMS).factories
    for side, names in sides.items():
        for name in names.split():
            asked.clear()
            kind = factories[name]()
            jax.eval_shape(lambda kind=kind: value(kind, given))
            assert set(asked) == {side}, name


@pytest.mark.parametrize(
    ("kind", "most"), [("classifier", 1e-3), ("contrastive", 1e-3), ("d2d_ce", 2.0)]
)
def test_class_terms_take_the_labels_of_their_side(kind: str, most: float) -> None:
    """Labels of the two sides differ, and the embeddings are those of the right ones."""
    own = {} if kind == "classifier" else {"temperature": 0.02}
    real, fake = jnp.array([0, 0, 1, 1, 2, 2]), jnp.array([0, 1, 2, 0, 1, 2])

    def said(labels: jax.Array) -> Outputs:
        hot = 50 * jax.nn.one_hot(labels, 6)
        heads = {"class": hot, "embedding": hot, "proxy": hot}
        return Outputs(jnp.zeros(6), (), heads)

    given = seen(real_out=said(real), fake_out=said(fake), given=(real,))
    given["drawn"] = (jnp.zeros((6, 3)), fake)
    for choice in (DISC_TERMS, GEN_TERMS):
        assert float(value(choice.factories[kind](**own), given).max()) < most


def test_codes_by_hand() -> None:
    latents = jnp.array([[9.0, 0, 1, 1, 0, 0, 0.5], [9.0, 1, 0, 0, 0, 1, -0.25]])
    said = jnp.zeros((2, 6)).at[:, 5].set(0.25)
    heads = Outputs(jnp.zeros(2), (), {"codes": said})
    kind = codes(latent=1, codes=Codes((2, 3), 1))
    found = value(kind, seen(drawn=(latents,), fake_out=heads))
    expected = np.log(2) + np.log(3) + np.array([0.25**2, 0.5**2]) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


LEGAL = {
    "classifier": dict(
        model__conditional="classifier",
        **weights("disc", classifier=1.0),
        **weights("gen", classifier=0.1),
    ),
    "contrastive": dict(
        model__conditional="contrastive",
        **weights("disc", contrastive=1.0),
        **weights("gen", contrastive=1.0),
    ),
    "d2d_ce": dict(
        model__conditional="d2d_ce",
        model__gen__conditional="self_modulation",
        **weights("disc", d2d_ce=0.5),
        **weights("gen", d2d_ce=0.5),
    ),
    "infogan": dict(
        model__codes="infogan",
        model__codes__categorical=(10,),
        model__codes__continuous=2,
        **weights("disc", codes=1.0),
        **weights("gen", codes=1.0),
    ),
    "ssgan": dict(**weights("disc", rotation=1.0), **weights("gen", rotation=0.2)),
    "improved": dict(
        task__gen_weight=0.0,
        model__disc__minibatch_kernels=5,
        model__gen__reference_batch=4,
        task__label_smoothing=0.1,
        **weights("disc", historical=1.0),
        **weights("gen", historical=1.0, feature_matching=1.0),
    ),
    "balanced": dict(
        model__disc__norm="spectral",
        **weights("disc", consistency=1.0, fake_consistency=1.0, latent_consistency=1.0, views=0.1),
        **weights("gen", latent_diversity=0.1, orthogonal=1e-4, path_length=1.0),
    ),
    "semi_supervised": dict(
        model__conditional="semi_supervised",
        model__disc__norm="layer",
        data__labelled=20,
        task__gen_weight=0.0,
        **weights("disc", labelled=1.0),
        **weights("gen", feature_matching=1.0),
    ),
    "limited": dict(
        augment__name="ada", task__top_k=0.5, **weights("disc", lecam=0.3, orthogonal=1e-4)
    ),
    "diffaugment": dict(
        augment__name="diffaugment",
        task__loss="relativistic",
        model__disc__norm="layer",
        **weights("disc", dragan=10.0, drift=1e-3),
    ),
    "clipped": dict(
        task__weight_clipping=0.01, task__loss="wasserstein", model__conditional="concat"
    ),
}
DEVICES = ("contrastive",)  # those of the sample; the others are marked slow


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in DEVICES else pytest.mark.slow) for n in LEGAL]
)
def test_one_device_and_eight_agree(name: str) -> None:
    """What couples a batch (contrast, averages, top-k, minibatches) couples it on all devices."""
    config = sgd(smoke_config("dcgan", train__batch_size=16, **LEGAL[name]))
    one, eight = (first_steps(config, "jit", devices) for devices in (1, 8))
    chex.assert_trees_all_close(one.nets, eight.nets, rtol=2e-3, atol=2e-5)
    chex.assert_trees_all_close(one.buffers, eight.buffers, rtol=1e-3, atol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(one))


def test_weights_stay_within_their_limit() -> None:
    task, state, dataset = build(smoke_config("dcgan", train__batch_size=16, **LEGAL["clipped"]))
    new, _ = after(task, state, dataset, 0)
    largest = max(float(abs(x).max()) for x in jax.tree.leaves(new.nets["disc"].params))
    assert largest <= np.float32(0.01)
    assert max(float(abs(x).max()) for x in jax.tree.leaves(new.nets["gen"].params)) > 0.01


def test_state_of_the_terms_moves() -> None:
    config = smoke_config(
        "dcgan", train__batch_size=16, **LEGAL["limited"], **weights("gen", historical=0.1)
    )
    config.augment.update(dict(parts="color", ramp_images=100.0))
    task, state, dataset = build(config)
    new, metrics = after(task, state, dataset, 3)
    sign = 2 * metrics["accuracy/real"] - 1
    assert metrics["augment/p"] == pytest.approx(0.64 if sign / 4 > 0.6 else 0)
    assert float(new.buffers["ada"]["signs"]) == 0
    for side in ("real", "fake"):
        expected = 0.01 * metrics[f"logits/{side}"]
        averages = new.buffers[TERMS]["disc/lecam"]["averages"]
        assert float(averages[side]) == pytest.approx(expected, rel=1e-4)
    # The mean of the first weights and the new ones: it is the first update.
    expected = jax.tree.map(
        lambda a, b: (a + b) / 2, state.nets["gen"].params, new.nets["gen"].params
    )
    found = new.buffers[TERMS]["gen/historical"]["average"]
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_lecam_follows_every_update_of_the_discriminator() -> None:
    """The first update compares with its own mean, the second with both, the nearer heavier."""
    config = smoke_config("gan", train__batch_size=16, **weights("disc", lecam=0.3))
    config.task.disc_updates, config.model.disc.dropout = 2, 0.0
    config = sgd(config)
    for section in config.optim.values():
        section.lr = 1e-12
    task, state, dataset = build(config)
    images = dataset.splits["train"].get(np.arange(32))
    batch = {k: x.reshape(2, 16, *x.shape[1:]) for k, x in images.items()}
    step = jax.jit(make_step(task, 16), static_argnums=0)
    new, metrics = step(task.phase(0), state, batch, jax.random.key(5))
    last = float(metrics["logits/real"])
    averages = new.buffers[TERMS]["disc/lecam"]["averages"]
    first = (float(averages["real"]) - 0.01 * last) / (0.99 * 0.01)
    variables = state.nets["disc"].variables()
    judged = task.modules["disc"].apply(variables, batch["image"][0], train=True)
    assert first == pytest.approx(float(judged.mean()), rel=1e-3, abs=1e-4)


def test_a_resumed_run_has_the_state_of_its_terms(tmp_path: Path) -> None:
    """ADA's p and LeCam's averages are in the checkpoint: two and two steps are four."""

    def run(workdir: Path, steps: int) -> Any:
        config = smoke_config("dcgan", train__steps=steps, train__devices=1, **LEGAL["limited"])
        config.augment.update(dict(parts="color", ramp_images=100.0))
        config.train.update(dict(sample_every=0, save_every=2))
        train(config, workdir)
        return gan_jax.load(workdir).state

    run(tmp_path / "broken", 2)
    broken, unbroken = run(tmp_path / "broken", 4), run(tmp_path / "unbroken", 4)
    chex.assert_trees_all_equal(broken.buffers, unbroken.buffers)
    chex.assert_trees_all_equal(broken.nets, unbroken.nets)
    assert float(broken.buffers[TERMS]["disc/lecam"]["averages"]["real"]) != 0


REFUSED = {
    "classes without a head": (weights("disc", classifier=1.0), r"classifier is there with .*none"),
    "a head without classes": (dict(model__conditional="classifier"), "classifier is not there"),
    "another head than the term": (
        dict(model__conditional="contrastive", **weights("disc", d2d_ce=1.0)),
        "contrastive is not there",
    ),
    "codes without a term": (dict(model__codes="infogan"), "go together"),
    "a term without codes": (weights("gen", codes=1.0), "go together"),
    "turns of oblongs": (
        dict(data__size=(16, 32), **weights("disc", rotation=1.0)),
        "rotation turns .* 16x32",
    ),
    "the tutorial asked more": (
        dict(model__gen="tutorial", model__disc="tutorial", **weights("disc", rotation=1.0)),
        "tutorial returns the real/fake logit only",
    ),
    "features of the tutorial": (
        dict(model__gen="tutorial", model__disc="tutorial", **weights("gen", feature_matching=1.0)),
        "does not show its features",
    ),
    "classes of the generator alone": (
        dict(model__gen__conditional="batch_norm"),
        "conditions the generator on classes",
    ),
    "normalisation that an MLP has not": (
        dict(model__gen="mlp", model__gen__conditional="self_modulation"),
        r"model\.gen=mlp has no 'conditional', it has width",
    ),
    "BatchNorm of an MLP": (
        dict(model__gen="mlp", model__disc="mlp", model__disc__norm="batch"),
        "one of none, spectral",
    ),
    "a reference batch of others": (
        dict(model__gen="resnet", model__gen__reference_batch=4),
        r"model\.gen=resnet has no 'reference_batch'",
    ),
    "a reference batch with scales of classes": (
        dict(
            model__gen__reference_batch=4,
            model__conditional="projection",
            model__gen__conditional="batch_norm",
        ),
        "one scale for all images",
    ),
    "neighbours that are augmented apart": (
        dict(augment__name="diffaugment", **weights("disc", latent_consistency=1.0)),
        "latent_consistency with augment",
    ),
    "labels that nobody asks for": (
        dict(data__labelled=20),
        "only semi_supervised learns from images without a label",
    ),
    "a term of labels without a head": (weights("disc", labelled=1.0), "belongs to semi_superv"),
    "a head of labels without any": (
        dict(model__conditional="semi_supervised", **weights("disc", labelled=1.0)),
        r"labelled=100",
    ),
    "ADA without a boundary": (
        dict(augment__name="ada", task__loss="wasserstein"),
        "have no boundary",
    ),
    "a part of another augmentation": (
        dict(augment__name="ada", augment__parts="geometry,cutout"),
        r"augment\.parts of ada='cutout'",
    ),
    "an augmentation": (dict(augment__name="diffaug"), "did you mean 'diffaugment'"),
    "a ramp of nothing": (
        dict(augment="ada", augment__ramp_images=0.0),
        "ramp_images=0.0: above 0",
    ),
    "top-k of pairs": (dict(task__top_k=0.5, task__loss="relativistic"), "none of which"),
    "classes of nobody": (dict(task__fake_labels="drawn"), r"fake_labels='drawn'.*real, uniform"),
    "top-k of none": (dict(task__top_k=0.0), r"in \(0, 1\]"),
    "clipping below 0": (dict(task__weight_clipping=-1.0), "at least 0"),
    "a weight below 0": (dict(task__gen_weight=-1.0), "at least 0"),
    "a size that conv2014 cannot halve": (
        dict(model__gen="conv2014", model__disc="conv2014", data__size=(20, 20)),
        "must divide by 8",
    ),
    "a conditioning": (dict(model__conditional="projected"), "did you mean 'projection'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(what: str) -> None:
    changes, says = REFUSED[what]
    with pytest.raises(UserError, match=says) as caught:
        config = smoke_config("dcgan", **changes)
        make_task(config, open_data(config.data).spec)
    assert "\n" not in str(caught.value)
