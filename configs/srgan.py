"""SRGAN (Ledig et al. 2017, arXiv:1609.04802): super-resolution that looks sharp.

    python main.py --config=configs/edsr.py:photos,scale=4 --workdir=runs/edsr
    python main.py --config=configs/srgan.py:photos,scale=4 --config.train.init_from=runs/edsr

A network trained by pixels is trained on by a distance of features and against a discriminator. Its
PSNR falls by 1 to 2.5 dB, and its images look sharper. The network must be that of the run it
starts from (`width`, `blocks`). Data and arguments are as in `configs/edsr.py`. `configs/esrgan.py`
has the relativistic game.

Deviations from the paper (sections 2.2 and 3.2): EDSR in place of SRResNet; features of
EfficientNet-Lite0 in place of VGG-19's, and a PatchGAN as the discriminator.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import optimizer
from configs.restoration_common import restorer, schedule


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    degrade = dict(name="downscale", scale=4)
    config, values = restorer(arg, degrade=degrade, task="srgan", scale=4, width=32, blocks=8)
    config.task.update(loss="non_saturating", adversarial=1e-3, perceptual=1.0, pixels=0.0)
    net = dict(name="edsr", width=values["width"], blocks=values["blocks"], skip="bicubic")
    disc = dict(name="patchgan", width=32, layers=2, norm="batch")
    config.model = ConfigDict(dict(net=net, disc=disc))
    config.optim.update(net=optimizer(1e-4), disc=optimizer(1e-4))
    schedule(config, values, steps=2000)
    config.optim.net.schedule = "constant"
    if values["smoke"]:
        config.model.net.update(width=4, blocks=2)
        config.model.disc.width = 4
        config.degrade.scale = 2
    config.lock()
    return config
