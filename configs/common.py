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
      task: the method family, a key of gan_jax.core.task.make_task.
    """
    return ConfigDict(
        dict(
            seed=0,  # of everything that is drawn: weights, order of the data, latents
            task=dict(name=task),
            model=dict(),
            optim=dict(),
            data=dict(
                source="digits",  # digits | tfds | folder | npz | synthetic
                name="",  # of the TFDS data set
                dir="",  # TFDS data directory; "" means TFDS_DATA_DIR
                path="",  # image folder or .npz file
                target_path="",  # folder of the other half of pairs, by the same file names
                size=(32, 32),  # height, width that the model sees [px]
                channels=0,  # 1, 3 or 4; 0 means as stored
                resize="bicubic",  # antialiased filter, see gan_jax.core.config.RESIZE_FILTERS
                fit="stretch",  # stretch | crop | pad: what happens to another aspect ratio
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
                metrics="",  # measured by name at each pass, such as "fid,prdc"; see README
                features="",  # the network that they see by: cnn:RUN, ...; "" chooses for RGB
                num=0,  # images generated for them; 0: as many as split "eval" has
            ),
        ),
        type_safe=True,
    )


def optimizer(lr: float, **changes: Any) -> ConfigDict:
    """Return the section of one network's optimizer, see `gan_jax.training.optimizers`."""
    section = dict(
        name="adam",  # adam | sgd | rmsprop
        lr=lr,
        b1=0.9,
        b2=0.999,
        eps=1e-8,  # added to the root of the second moment, of adam and rmsprop
        weight_decay=0.0,  # decoupled
        clip_norm=0.0,  # of the gradient; 0 does not clip
        schedule="constant",  # constant | linear | cosine
        warmup_steps=0,
    )
    return ConfigDict({**section, **changes})


# Terms of each player's loss beside the game (gan_jax/methods/gan/terms.py). Each has a weight, 0
# for none, and an interval: every=16 takes it at one step of 16, with 16 times the weight.
DISC_TERMS = (
    "gradient_penalty",  # one-centred, WGAN-GP; this and the next five refuse BatchNorm
    "zero_centred_penalty",
    "one_sided_penalty",
    "dragan",
    "r1",  # the weight is the paper's gamma
    "r2",
    "consistency",  # of real images under shifts and flips: CR; with the next one bCR
    "fake_consistency",
    "latent_consistency",  # under steps in the latents: zCR, with gen.latent_diversity
    "lecam",
    "drift",
    "orthogonal",
    "historical",
    "classes",  # with model.conditional=classifier, contrastive or d2d_ce: what its head says
    "rotation",  # self-supervised: by how much was the image turned?
    "codes",  # InfoGAN
    "labelled",  # with model.conditional=semi_supervised: the class of images that have a label
    "views",  # unsupervised contrastive, of two views of a real image
)
GEN_TERMS = (
    "latent_diversity",
    "path_length",  # StyleGAN2's; its authors take it at one step of 4, with weight 2
    "orthogonal",
    "historical",
    "feature_matching",
    "classes",
    "rotation",
    "codes",
)


def gan(
    net: str,
    width: int,
    *,
    disc_terms: dict[str, float] | None = None,
    gen_terms: dict[str, float] | None = None,
    **changes: Any,
) -> ConfigDict:
    """Return base("gan") with the fields of every GAN.

    Args:
      net: dcgan | tutorial | resnet | biggan | biggan_deep | progan | mlp | conv2014 |
        lapgan.
      width: channels of both networks next to the image.
      disc_terms, gen_terms: weights by name.
      **changes: fields of the sections task and model.
    """
    task = dict(
        # minimax | non_saturating | least_squares | wasserstein | hinge | relativistic |
        # relativistic_least_squares | relativistic_hinge
        loss="non_saturating",
        label_smoothing=0.0,  # the target of real images is 1 minus this; one-sided
        gen_weight=1.0,  # of the game in the generator's loss; 0 leaves it the terms alone
        disc_updates=1,  # discriminator updates a generator update
        # real | uniform: the classes of generated images in training, those of the batch of real
        # images, or each drawn afresh
        fake_labels="real",
        freeze_disc=0,  # first stages of the discriminator that are not trained: for init_from
        weight_clipping=0.0,  # limit of every weight of the discriminator; 0: none
        stage_images=0,  # generated images that a stage of growing networks is trained on; progan
        fade_images=0,  # generated images during which a stage is blended in; progan
        top_k=1.0,  # share of generated images, the most realistic, that the generator learns from
        top_k_decay=0.99,  # factor an epoch by which the share falls from 1 to top_k
    )
    model = dict(
        net=net,
        width=width,  # channels of the generator next to the image
        disc_width=width,  # channels of the discriminator next to the image
        disc_norm="batch",  # batch | layer | spectral | none: of the discriminator
        # share of its units that the discriminator drops while it trains either player, the same
        # for an example and all that an update compares with it; mlp, conv2014 and lapgan only
        disc_dropout=0.0,
        pool="sum",  # sum | mean over the pixels before the last layer; resnet only
        latent=100,  # dimensions
        # none | concat | classifier | projection | contrastive | d2d_ce | semi_supervised: whether
        # the GAN is given the class, and what the discriminator does with it
        conditional="none",
        # default (the network's own) | concat | batch_norm | self_modulation: of the generator
        gen_conditional="default",
        attention=0,  # shorter side of features that attend to themselves [px]; 0: none
        gen_norm="none",  # none | spectral: of the generator's weights; resnet only
        gen_block="residual",  # residual | dense (DenseNet's): of the generator; resnet only
        wide=False,  # blocks of the discriminator widen in their first convolution; resnet only
        class_embedding=128,  # dimensions, of the generators of biggan and biggan_deep
        weight_init="orthogonal",  # orthogonal | normal | xavier; biggan and biggan_deep only
        reference_batch=0,  # images of virtual batch normalisation's, in place of BatchNorm; dcgan
        embedding=512,  # dimensions, of contrastive and d2d_ce
        coarsest=0,  # least shorter side of the smallest level [px]; lapgan only
        coarse_width=0,  # units of the generator of the smallest level; lapgan only
        minibatch_kernels=0,  # of minibatch discrimination; 0: none
        categorical_codes=(),  # InfoGAN: number of values of each
        continuous_codes=0,
    )
    terms = dict(
        disc={name: dict(weight=0.0, every=1) for name in DISC_TERMS},
        gen={name: dict(weight=0.0, every=1) for name in GEN_TERMS},
        flip=True,  # consistency mirrors images; not where left and right differ, as in digits
        latent_step=0.05,  # standard deviation, of latent_consistency and latent_diversity
        temperature=1.0,  # of contrastive, d2d_ce and views
        positive_margin=0.98,  # cosines, of d2d_ce
        negative_margin=0.02,
        shift_negatives=False,  # of d2d_ce: True as in the authors' code, False as in the paper
    )
    augment = dict(
        name="none",  # none | diffaugment | ada | distortion: of all that the discriminator sees
        # color,translation,cutout of diffaugment; geometry,color of ada; affine,noise of
        # distortion; "": all
        parts="",
        ramp_images=500_000.0,  # real images in which ada's p can rise from 0 to 1
    )
    for player, weights in (("disc", disc_terms), ("gen", gen_terms)):
        for name, weight in (weights or {}).items():
            terms[player][name]["weight"] = weight
    config = base("gan")
    config.task.update({k: changes.pop(k, value) for k, value in task.items()})
    config.model.update({**model, **changes})
    config.terms, config.augment = ConfigDict(terms), ConfigDict(augment)
    return config


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


def make_smoke(config: ConfigDict) -> None:
    """Shrink the sections that all configs share to two steps on synthetic data, in place."""
    config.data.update(PRESETS["smoke"])
    config.train.update(dict(steps=2, batch_size=8, log_every=1, sample_every=2, save_every=1))
    config.eval.update(dict(batch_size=8, grid=4))
