"""pix2pix (Isola et al. 2017, arXiv:1611.07004): a U-Net against a PatchGAN, on pairs of images.

    python main.py --config=configs/pix2pix.py:pairs,path=DIR,target_path=DIR

Everything but the adversarial loss is as in `configs/unet.py`: L1 times 100, Adam 2e-4 with beta1
0.5, dropout at use. Deviations: 64 px and 34 px patches by default (paper: 256 and 70; size=256
and model.disc.layers=3 are theirs), batch 16 (paper: 1 to 10), jitter by shifts without enlarging.

Measured (2026-11-23, two cores of an AMD EPYC, seed 0), Noto to Twemoji emoji, 1,292 pairs to train
and 344 held out, `:pairs,path=...,target_path=...,width=32,steps=600
--config.model.disc.width=32`, 297 s: L1 0.297, PSNR 13.3 dB, SSIM 0.305 on the held-out pairs
(copying the input: 0.341, 11.95 dB, 0.300), with dropout at use. Sharper than the U-Net's pictures
and further off, with checkered texture: 7 epochs are few. Not yet measured: width=64, longer runs.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import unet
from configs.common import optimizer


def get_config(arg: str = "pairs") -> ConfigDict:
    """Return the config; `arg` as for configs/unet.py."""
    config = unet.get_config(arg)
    smoke = arg.split(",")[0] == "smoke"
    with config.unlocked():
        config.task.update(dict(adversarial_weight=1.0, test_dropout=True))
        # layers=2: patches of 34 px; 3: the paper's 70 px
        config.model.disc = ConfigDict(dict(name="patchgan", width=4 if smoke else 64, layers=2))
        config.optim.disc = optimizer(2e-4, b1=0.5)
    return config
