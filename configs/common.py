"""What every config starts from: base(), optimizer(), gan(), the data presets, and parse_arg.

A config argument is "PRESET[,key=value...]": a data preset (`digits`, `mnist`, `noto`, ...), or
one of the general ones: `tfds,name=NAME`, `folder,path=DIR`, `npz,path=FILE`, `smoke` (two steps,
tiny widths, synthetic data). Keys are the config's own, such as `size=64` or `width=32`. A path
with a comma goes into `--config.data.path`.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from gan_jax.core.errors import UserError, did_you_mean


def base(task: str) -> ConfigDict:
    """Return the sections that every config has, with all of their keys.

    Args:
      task: the method family, a key of gan_jax.methods.registry.METHODS.
    """
    return ConfigDict(
        dict(
            seed=0,  # of everything that is drawn: weights, order of the data, latents
            task=dict(name=task),
            model=dict(),
            optim=dict(),
            data=dict(
                source="digits",  # digits | photographs | tfds | folder | npz | synthetic
                name="",  # of the TFDS data set
                dir="",  # TFDS data directory; "" means TFDS_DATA_DIR
                path="",  # image folder or .npz file
                target_path="",  # folder of the other half of pairs, by the same file names
                halves="",  # ab | ba: a file has both halves of a pair side by side, image first
                unpaired=False,  # the two folders are two domains, each in an order of its own
                eval_pairs=False,  # of unpaired data: evaluate on pairs by the same file names
                size=(32, 32),  # height, width that the model sees [px]
                channels=0,  # 1, 3 or 4; 0 means as stored
                resize="bicubic",  # antialiased filter, see gan_jax.core.config.RESIZE_FILTERS
                fit="stretch",  # stretch | crop | pad another aspect ratio; windows: cut out
                holdout=0.1,  # share (< 1) or number (>= 1) of train that becomes split "eval"
                labelled=0,  # training examples that keep their label, as many a class; 0: all
                unlabelled=True,  # whether the others are there too, to be learnt from without
                flip=False,  # mirror half of the images in training; never what can be read
                dequantize=False,  # noise within a grey level, in training, see augment/real.py
                white=0,  # value of 16-bit grey files that is white, as 4095 of 12 bits; 0: 65535
                on_error="raise",  # raise | skip: a file that cannot be read
                memory_gib=4.0,  # data sets up to this size are held in memory [GiB]
                device_gib=0.25,  # and those up to this size on every device, to train [GiB]
            ),
            train=dict(
                init_from="",  # run whose networks, by name, this one starts from; "": none
                steps=1000,  # generator (or only-network) updates
                batch_size=64,  # images an update, over all devices
                parallel="jit",  # jit | pmap
                devices=0,  # how many to use; 0 means all
                fsdp=1,  # devices that share one copy of parameters and optimizer state
                microbatches=1,  # parts of a batch whose gradients are summed, one after another
                precision="float32",  # float32 | bfloat16: of activations; parameters are float32
                remat=False,  # compute activations again in the backward pass, block by block
                steps_per_call=0,  # steps in one dispatch; 0: several where they are short
                deterministic=False,  # on GPUs: the same bits in every process; slower
                on_nan="stop",  # stop | rollback: to the last checkpoint, past what was drawn since
                ema_decay=0.0,  # moving average of the weights; 0 keeps none
                ema_start=0,  # step from which it averages, without a ramp before; 0: a ramp
                ema_half_life=0.0,  # images in which it forgets half, in place of ema_decay
                log_every=100,  # [steps]
                sample_every=500,  # pictures [steps]; 0 only at the end
                save_every=500,  # checkpoints [steps]
                keep=2,  # latest checkpoints kept, beside the best
            ),
            eval=dict(
                every=0,  # pass over split "eval" [steps]; 0 only on demand
                batch_size=256,  # images a pass, over all devices
                best="",  # metric that chooses the best checkpoint: "max:accuracy"; "" none
                grid=8,  # columns of the pictures in samples/
                metrics="",  # measured by name at each pass, such as "fid,prdc"
                features="",  # the network that they see by: cnn:RUN, ...; "" chooses for RGB
                num=0,  # images generated for them; 0: as many as split "eval" has
            ),
        ),
        type_safe=True,
    )


def optimizer(lr: float, *, name: str = "adam", **changes: Any) -> ConfigDict:
    """Return the section of one network's optimizer, see `gan_jax.training.optimizers`."""
    return ConfigDict(dict(name=name, lr=lr, **changes))


def gan(
    net: str,
    width: int,
    *,
    disc_width: int = 0,
    gen: dict[str, Any] | None = None,
    disc: dict[str, Any] | None = None,
    disc_terms: dict[str, Any] | None = None,
    gen_terms: dict[str, Any] | None = None,
    latent: int = 100,
    conditional: str = "none",
    codes: dict[str, Any] | None = None,
    augment: str = "none",
    **task: Any,
) -> ConfigDict:
    """Return base("gan") with what a GAN is made of.

    What is not named has the default of what is (see `gan_jax/methods/gan/`): `networks.py` the
    networks and their fields, `rules.py` the section task, `terms.py` the terms of both players,
    `codes.py` the latents, `augment.py` the augmentations.

    Args:
      net: of both networks: dcgan | tutorial | resnet | biggan | biggan_deep | progan | mlp |
        conv2014 | lapgan.
      width: of the generator, and of the discriminator if there is no `disc_width`.
      disc_width: of the discriminator.
      gen, disc: further fields of the networks.
      disc_terms, gen_terms: a weight, or the fields of the term, by name.
      latent: dimensions.
      conditional: none | concat | classifier | projection | contrastive | d2d_ce |
        semi_supervised.
      codes: InfoGAN's.
      augment: none | diffaugment | ada | distortion: of all that the discriminator sees.
      **task: fields of the section task.
    """
    config = base("gan")
    config.task.update(task)
    config.model = ConfigDict(
        dict(
            latent=latent,
            conditional=dict(name=conditional),
            codes=dict(name="none") if codes is None else dict(name="infogan", **codes),
            gen=dict(name=net, width=width, **(gen or {})),
            disc=dict(name=net, width=disc_width or width, **(disc or {})),
        )
    )
    config.terms = ConfigDict(dict(disc={}, gen={}))
    for player, terms in (("disc", disc_terms), ("gen", gen_terms)):
        for name, term in (terms or {}).items():
            fields = dict(term) if isinstance(term, dict) else dict(weight=term)
            config.terms[player][name] = ConfigDict(fields)
    config.augment = ConfigDict(dict(name=augment))
    return config


def set_widths(config: ConfigDict, gen: int, disc: int) -> None:
    """Set the widths of a GAN's networks, in place."""
    config.model.gen.width, config.model.disc.width = gen, disc


# Presets whose images are as good mirrored, and where grey levels are what a camera saw.
PHOTOGRAPHS = (
    *("cifar10", "celeb_a", "celeb_a_hq", "lsun"),
    *("imagenet", "imagenet64", "imagenet32"),
)

# Where the real images of each preset come from. `size` is (height, width); a config may change it.
PRESETS: dict[str, dict[str, Any]] = {
    "digits": dict(source="digits", size=(16, 16), channels=1, holdout=0.2),
    "mnist": dict(source="tfds", name="mnist", size=(32, 32), channels=1, holdout=5000.0),
    "fashion_mnist": dict(
        source="tfds", name="fashion_mnist", size=(32, 32), channels=1, holdout=5000.0
    ),
    "cifar10": dict(source="tfds", name="cifar10", size=(32, 32), channels=3, holdout=5000.0),
    "celeb_a": dict(source="tfds", name="celeb_a", size=(64, 64), channels=3, fit="crop"),
    "celeb_a_hq": dict(source="tfds", name="celeb_a_hq/1024", size=(128, 128), channels=3),
    # One category of LSUN, without labels: name=lsun/church_outdoor, lsun/cat, ... for another.
    "lsun": dict(source="tfds", name="lsun/bedroom", size=(64, 64), channels=3, fit="crop"),
    "imagenet": dict(source="tfds", name="imagenet2012", size=(128, 128), channels=3, fit="crop"),
    # ImageNet as it was made small by others (arXiv:1707.08819), with classes in another order.
    "imagenet64": dict(source="tfds", name="imagenet_resized/64x64", size=(64, 64), channels=3),
    "imagenet32": dict(source="tfds", name="imagenet_resized/32x32", size=(32, 32), channels=3),
    "folder": dict(source="folder", size=(64, 64), channels=3, holdout=0.2),
    "pairs": dict(source="folder", size=(64, 64), channels=3, holdout=0.2),
    # Two folders, or trainA, trainB, testA and testB in one; or both halves in each file.
    "unpaired": dict(source="folder", size=(64, 64), channels=3, holdout=0.2, unpaired=True),
    "ab": dict(source="folder", size=(64, 64), channels=3, holdout=0.2, halves="ab"),
    # Photographs at full resolution, in windows of 96 px: ten that other packages bring, with those
    # of a folder if path=DIR is given.
    "photos": dict(source="photographs", size=(96, 96), channels=3, fit="windows", holdout=0.2),
    "tfds": dict(source="tfds", size=(32, 32)),
    "npz": dict(source="npz", size=(32, 32)),
    "smoke": dict(source="synthetic", size=(16, 16), channels=1, holdout=0.25),
}


_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def parse_arg(arg: str, **defaults: Any) -> tuple[str, dict[str, Any]]:
    """Split "PRESET,key=value,..." and type the values as their defaults are.

    Args:
      arg: the text after the colon of --config.
      **defaults: the keys that this config takes, beside the data keys name, path, target_path,
        size and channels; the value gives the type.

    Returns:
      (preset, values): values has every key of `defaults`, and the data keys that were given.
    """
    preset, *pairs = arg.split(",")
    if preset not in PRESETS:
        hint = did_you_mean(preset, PRESETS)
        raise UserError(f"unknown preset {preset!r}{hint}: one of {', '.join(PRESETS)}")
    types = {**defaults, "name": "", "path": "", "target_path": "", "size": 0, "channels": 0}
    values = dict(defaults)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"config argument {pair!r} is not of the form key=value")
        if key not in types:
            hint = did_you_mean(key, types)
            raise UserError(f"unknown config argument {key!r}{hint}: one of {', '.join(types)}")
        kind = type(types[key])
        try:
            values[key] = _BOOLS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise UserError(f"config argument {pair!r} is not of type {kind.__name__}") from None
    return preset, values


def set_data(
    config: ConfigDict,
    preset: str,
    values: dict[str, Any],
    *,
    flip: bool | tuple[str, ...] = False,
    dequantize: bool = False,
    **sizes: int,
) -> None:
    """Fill `config.data` from a preset and the data keys of a parsed argument, in place.

    Args:
      config: a whole config.
      preset, values: as `parse_arg` returns them.
      flip, dequantize: whether the config's authors mirror and dequantise images; holds for
        PHOTOGRAPHS, or for the presets named, and never for digits or images of one's own.
      **sizes: by preset, the side of its images in the config's paper, where that is another [px].
    """
    config.data.update(PRESETS[preset])
    config.data.flip = preset in (PHOTOGRAPHS if flip is True else flip or ())
    config.data.dequantize = dequantize and preset in PHOTOGRAPHS
    if preset in sizes:
        config.data.size = (sizes[preset], sizes[preset])
    for key in ("name", "path", "target_path", "channels"):
        if key in values:
            config.data[key] = values[key]
    if "size" in values:
        config.data.size = (values["size"], values["size"])


def make_smoke(config: ConfigDict, *, width: int = 0, disc_width: int = 0, latent: int = 8) -> None:
    """Shrink the sections that all configs share to two steps on synthetic data, in place.

    Args:
      config: a whole config.
      width: of a GAN's generator, whose latents and widths shrink too; 0 for other methods.
      disc_width: of its discriminator, where that is another.
      latent: of a GAN, dimensions.
    """
    config.data.update(PRESETS["smoke"])
    config.train.update(dict(steps=2, batch_size=8, log_every=1, sample_every=2, save_every=1))
    config.eval.update(dict(batch_size=8, grid=4))
    if width:
        config.model.latent = latent
        set_widths(config, width, disc_width or width)
