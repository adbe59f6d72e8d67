"""CycleGAN (Zhu et al. 2017, arXiv:1703.10593): translation both ways without pairs.

    python main.py --config=configs/cyclegan.py:unpaired,path=A,target_path=B
    python main.py --mode=transform --workdir=RUN --name=ba --input=DIR --output=OUT

A and B are folders of images, which need not belong together; or `path=DIR` alone, with trainA,
trainB, testA and testB in DIR. Where both have the same file names,
`--config.data.eval_pairs=true` evaluates on pairs, which training never sees as such.

Two residual generators with instance norm and two PatchGANs, least squares, cycle 10, identity 0.5
times that, histories of 50 images, Adam 2e-4 with beta1 0.5, constant for half of the training and
then linear to 0. Deviations: 64 px, 34 px patches and 6 blocks by default (paper: 256 or 128, 70
and 9 or 6; `size=256,blocks=9 --config.model.disc.layers=3` are theirs), jitter by shifts without
enlarging, steps rather than 100 + 100 epochs.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "unpaired") -> ConfigDict:
    """Return the config; `arg` is "unpaired,path=A,target_path=B[,size=64,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, blocks=6, steps=20_000, batch_size=1)
    config = base("cyclegan")
    set_data(config, preset, values)
    config.task.update(
        dict(
            cycle=10.0,  # weight of the cycle-consistency loss
            identity=0.5,  # weight of the identity loss, relative to cycle
            pool=50,  # capacity of the history of generated images
            flip=True,  # mirror images [left, right]
            jitter=4,  # shift images [px]
        )
    )
    gen = dict(name="resnet", width=values["width"], blocks=values["blocks"], dropout=0.0)
    disc = dict(name="patchgan", width=values["width"], layers=2, norm="instance")
    config.model = ConfigDict(dict(gen=gen, disc=disc))
    schedule = f"linear,start={values['steps'] // 2}"
    for role in ("gen", "disc"):
        config.optim[role] = optimizer(2e-4, b1=0.5, schedule=schedule)
    config.train.update(dict(steps=values["steps"], batch_size=values["batch_size"]))
    config.eval.update(dict(batch_size=64, grid=8))
    if preset == "smoke":
        make_smoke(config)
        config.data.update(dict(target_path="synthetic", unpaired=True))
        config.task.update(dict(pool=3, jitter=1))
        config.model.gen.update(dict(width=4, blocks=1))
        config.model.disc.width = 4
        for role in ("gen", "disc"):
            config.optim[role].schedule = "linear,start=1"
    config.lock()
    return config
