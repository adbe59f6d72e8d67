"""pix2pix (Isola et al. 2017, arXiv:1611.07004): a U-Net against a PatchGAN, on pairs of images.

    python main.py --config=configs/pix2pix.py:pairs,path=DIR,target_path=DIR

L1 with weight 100, Adam 2e-4 with beta1 0.5, dropout at test time too. All but the adversarial loss
is as in `configs/unet.py`.

Deviations: 64 px and patches of 34 px by default (paper: 256 and 70; size=256 with
model.disc.layers=3), batch 16 (paper: 1 to 10), jitter by shifts without enlarging.

Results: configs/README.md.
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
