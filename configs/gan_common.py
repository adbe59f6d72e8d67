"""What configs of GANs share beyond `common.gan`: resnet_gan(), biggan(), and for ImageNet."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.common import PHOTOGRAPHS, PRESETS, gan, make_smoke, optimizer, set_data, set_widths
from gan_jax.models.plans import plan


def resnet_gan(
    preset: str,
    values: dict[str, Any],
    optim: dict[str, Any],
    *,
    batch_size: int = 64,
    ema_decay: float = 0.999,
    ema_start: int = 0,
    flip: bool = False,
    dequantize: bool = False,
    disc: dict[str, Any] | None = None,
    **changes: Any,
) -> ConfigDict:
    """Return the config of a hinge GAN with the networks of `configs/sngan.py`.

    Args:
      preset, values: of the parsed argument, with width, latent and steps; a width or a number of
        steps of 0 means SNGAN's for the size of images.
      optim: arguments of `common.optimizer`, the same for both networks.
      batch_size: images an update.
      ema_decay, ema_start: of the generator.
      flip, dequantize: of `common.set_data`.
      disc: fields of the discriminator, beside spectral normalisation.
      **changes: arguments of `common.gan`.
    """
    disc = dict(norm="spectral", **(disc or {}))
    config = gan("resnet", 0, loss="hinge", disc=disc, latent=values["latent"], **changes)
    set_data(config, preset, values, flip=flip, dequantize=dequantize)
    short = min(config.data.size)
    small = short < 48
    width = values["width"] or (256 if small else 64)
    set_widths(config, width, max(width // 2, 1) if small else width)
    for name in ("gen", "disc"):
        config.optim[name] = optimizer(**optim)
    steps = values["steps"] or (50_000 if small else 250_000 if short < 128 else 450_000)
    config.train.update(
        dict(steps=steps, batch_size=batch_size, ema_decay=ema_decay, ema_start=ema_start)
    )
    if preset == "smoke":
        make_smoke(config, width=4)
        config.task.disc_updates = min(config.task.get("disc_updates", 1), 2)
    config.lock()
    return config


def contrastive_for_imagenet(
    config: ConfigDict, values: dict[str, Any], *, embedding: int, steps: int
) -> None:
    """Change what the authors of ContraGAN and ReACGAN have otherwise for ImageNet, in place.

    Args:
      config: of images of 128 px or more.
      values: of the parsed argument.
      embedding: its dimensions.
      steps: updates of the generator.
    """
    with config.unlocked():
        config.model.conditional.embedding = embedding
        config.task.disc_updates = 2
        config.optim.gen.update(dict(lr=5e-5, b1=0.0))
        config.optim.disc.update(dict(lr=2e-4, b1=0.0))
        config.train.update(dict(steps=values["steps"] or steps, batch_size=256, ema_start=20_000))


def biggan(net: str, preset: str, values: dict[str, Any]) -> ConfigDict:
    """Return the config of a BigGAN; see `configs/biggan.py`.

    Args:
      net: biggan | biggan_deep.
      preset, values: of the parsed argument; 0 means what the paper has for the size of images.
    """
    size = {**PRESETS[preset], **({"size": (values["size"],) * 2} if "size" in values else {})}
    small = min(size["size"]) < 64
    config = gan(
        net,
        values["width"],
        # StudioGAN's for 32 px: twice its d_conv_dim, ours four times
        disc_width=max(values["width"] // 2, 1) if net == "biggan" and small else 0,
        gen_terms={} if small else dict(orthogonal=1e-4),
        loss="hinge",
        conditional=values["conditional"],
        fake_labels="uniform",
    )
    set_data(config, preset, values)
    short = min(config.data.size)
    config.data.flip = small and preset in PHOTOGRAPHS  # StudioGAN's do, the author's scripts not
    parts = len(plan(*config.data.size, "biggan").generator)
    config.model.latent = values["latent"] or 20 * parts
    attention = values["attention"] or min(short // 2, 64)
    for role in ("gen", "disc"):
        config.model[role].attention = attention
    config.task.disc_updates = 5 if small else 2
    rule = dict(b1=0.5 if small else 0.0, b2=0.999, eps=1e-6)
    config.optim.gen = optimizer(2e-4 if small else 5e-5, **rule)
    config.optim.disc = optimizer(2e-4, **rule)
    config.train.update(
        dict(
            steps=values["steps"] or (100_000 if small else 200_000),
            batch_size=values["batch_size"] or (64 if small else 2048),
            ema_decay=0.9999,
            ema_start=1000 if small else 20_000,
        )
    )
    if preset == "smoke":
        make_smoke(config, width=4, latent=6)
        config.task.disc_updates = 2
        config.model.gen.update(dict(attention=8, class_embedding=4))
        config.model.disc.attention = 8
        config.model.conditional.name = "none"
    config.lock()
    return config
