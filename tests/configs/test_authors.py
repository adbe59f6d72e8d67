"""Configs have their authors' settings: each number with the source that was read for it."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from configs.common import PHOTOGRAPHS, PRESETS
from gan_jax.core.config import flatten
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.core.state import count_parameters
from gan_jax.methods.configs import load_config
from gan_jax.methods.registry import make_task

# config and argument -> fields, and where the authors have them.
STUDIOGAN = {  # POSTECH-CVLab/PyTorch-StudioGAN, src/config.py and src/configs/CIFAR10
    "optim.gen.eps": 1e-6,
    "optim.disc.eps": 1e-6,
    "optim.gen.b1": 0.5,
    "task.fake_labels": "uniform",
    "task.disc_updates": 5,
    "data.flip": True,
    "data.dequantize": False,
    "train.ema_decay": 0.9999,
    "train.ema_start": 1000,
    "train.steps": 100_000,
}
STUDIOGAN_IMAGENET = {  # src/configs/ImageNet
    "optim.gen.eps": 1e-6,
    "optim.gen.lr": 5e-5,
    "optim.disc.lr": 2e-4,
    "optim.gen.b1": 0.0,
    "task.fake_labels": "uniform",
    "task.disc_updates": 2,
    "data.flip": True,
    "train.batch_size": 256,
    "train.ema_start": 20_000,
}
SNGAN = {  # pfnet-research/sngan_projection, updater.py, datasets/, configs/sn_cifar10_*.yml
    "optim.gen.lr": 2e-4,
    "optim.gen.b1": 0.0,
    "optim.gen.b2": 0.9,
    "optim.gen.eps": 1e-8,
    "optim.gen.schedule": "linear",
    "task.fake_labels": "uniform",
    "task.disc_updates": 5,
    "data.flip": False,
    "data.dequantize": True,
    "train.steps": 50_000,
}
AUTHORS: dict[str, dict[str, Any]] = {
    "biggan.py:cifar10": {
        **STUDIOGAN,
        "optim.gen.lr": 2e-4,
        "train.batch_size": 64,
        "model.width": 96,
        "model.disc_width": 48,  # four times this is twice their d_conv_dim of 96
    },
    # ajbrock/BigGAN-PyTorch, scripts/launch_BigGAN_bs256x8.sh, train_fns.py
    "biggan.py:imagenet": {
        "optim.gen.eps": 1e-6,
        "optim.disc.eps": 1e-6,
        "task.fake_labels": "uniform",
        "data.flip": False,
        "train.batch_size": 2048,
        "train.ema_decay": 0.9999,
        "train.ema_start": 20_000,
    },
    "biggan_deep.py:cifar10": {"optim.gen.eps": 1e-6, "data.flip": True, "train.ema_start": 1000},
    "contragan.py:cifar10": {**STUDIOGAN, "terms.temperature": 1.0, "model.embedding": 512},
    "contragan.py:imagenet": STUDIOGAN_IMAGENET,
    "reacgan.py:cifar10": {
        **STUDIOGAN,
        "optim.gen.lr": pytest.approx(2.8284271e-4, rel=1e-3),
        "train.batch_size": 128,
        "terms.temperature": 0.5,
        "terms.positive_margin": 0.98,
        "terms.negative_margin": 0.02,
        "terms.shift_negatives": True,
        "terms.disc.classes.weight": 0.5,
    },
    "reacgan.py:imagenet": {**STUDIOGAN_IMAGENET, "terms.disc.classes.weight": 1.0},
    "sngan.py:cifar10": SNGAN,
    "cgan_projection.py:cifar10": SNGAN,
    "cgan_projection.py:imagenet": {**SNGAN, "train.steps": 450_000},
    # brain-research/self-attention-gan, model.py
    "sagan.py:imagenet": {"task.fake_labels": "uniform", "optim.gen.b1": 0.0, "data.flip": False},
    # arXiv:1610.09585, section 3: classes are drawn
    "acgan.py:cifar10": {"task.fake_labels": "uniform"},
    # igul222/improved_wgan_training, gan_cifar_resnet.py; gan_64x64.py
    "wgan_gp.py:cifar10": {"data.dequantize": True, "optim.gen.eps": 1e-8, "data.flip": False},
    "wgan_gp.py:imagenet64": {"data.dequantize": False},
    # tkarras/progressive_growing_of_gans, config.py: faces, not bedrooms, not CIFAR-10
    "progan.py:celeb_a_hq": {"data.flip": True, "optim.gen.eps": 1e-8},
    "progan.py:celeb_a": {"data.flip": True},
    "progan.py:lsun": {"data.flip": False},
    "progan.py:cifar10": {"data.flip": False},
    # mit-han-lab/data-efficient-gans, DiffAugment-biggan-cifar/scripts: --mirror_augment
    "diffaugment_gan.py:cifar10": {
        "data.flip": True,
        "task.fake_labels": "uniform",
        "optim.gen.schedule": "linear",
        "optim.disc.schedule": "linear",
    },
    # NVlabs/stylegan2-ada-pytorch, train.py: --cfg=cifar 500 kimg, auto batch * 10 / 32 kimg
    "ada_gan.py:cifar10": {"train.ema_half_life": 500_000.0, "data.flip": False},
    "ada_gan.py:folder": {"train.ema_half_life": 20_000.0, "train.batch_size": 64},
    # martinarjovsky/WassersteinGAN, main.py
    "wgan.py:lsun": {
        "optim.gen.name": "rmsprop",
        "optim.gen.lr": 5e-5,
        "optim.gen.b2": 0.99,
        "optim.gen.eps": 1e-8,
        "task.weight_clipping": 0.01,
    },
}


@pytest.mark.parametrize("argument", AUTHORS)
def test_settings_are_the_authors(argument: str) -> None:
    fields = flatten(load_config(f"configs/{argument}"))
    expected = AUTHORS[argument]
    assert {name: fields[name] for name in expected} == expected


GANS = sorted({argument.partition(".")[0] for argument in AUTHORS} | {"dcgan", "quickstart"})


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
