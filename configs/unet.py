"""The plain CNN for paired image-to-image translation: a U-Net trained with L1.

    python main.py --config=configs/unet.py:pairs,path=DIR,target_path=DIR

The L1 baseline of Isola et al. 2017 (arXiv:1611.07004, figure 4). Both folders have the same file
names; a fifth of them, chosen by the hash of the name, is held out.

Deviations: no dropout at test time, so that the output is an average; 64 px, batch 16 and jitter by
shifts without enlarging, as in `configs/pix2pix.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data


def get_config(arg: str = "pairs") -> ConfigDict:
    """Return the config; `arg` is "pairs,path=DIR,target_path=DIR[,size=64,width=64,...]"."""
    preset, values = parse_arg(arg, width=64, steps=3000)
    config = base("paired")
    set_data(config, preset, values)
    config.task.update(
        dict(
            l1_weight=100.0,  # only beside an adversarial loss
            adversarial_weight=0.0,  # 0: no discriminator
            flip=True,  # mirror pairs [left, right]
            jitter=4,  # shift pairs [px]
            test_dropout=False,  # dropout at use
        )
    )
    # channels of the U-Net's first layer, dropout of its first decoder blocks
    gen = dict(name="unet", width=values["width"], dropout=0.5)
    config.model = ConfigDict(dict(gen=gen, disc=dict(name="none")))
    config.optim.gen = optimizer(2e-4, b1=0.5)
    config.train.update(dict(steps=values["steps"], batch_size=16))
    config.eval.update(dict(batch_size=88, grid=8))
    if preset == "smoke":
        make_smoke(config)
        config.data.update(dict(target_path="synthetic"))
        config.model.gen.width = 4
    config.lock()
    return config
