"""DnCNN (Zhang et al. 2016, arXiv:1608.03981): denoising by a network that estimates the noise.

    python main.py --config=configs/dncnn.py:photos,channels=1,sigma=25
    python main.py --config=configs/dncnn.py:photos,sigma=5,sigma_max=50
    python main.py --config=configs/dncnn.py:folder,path=DIR
    python main.py --config=configs/dncnn.py:pairs,path=NOISY,target_path=CLEAN
    python main.py --mode=transform --workdir=runs/dncnn --input=PHOTO --output=out

Gaussian noise of standard deviation `sigma` (of 255) is added, never clipped or rounded. With
`sigma_max` the deviation of each image is drawn between both (blind). Data and arguments are as in
`configs/edsr.py`; also sigma, sigma_max, layers, norm (batch | none).

Deviations from the paper (section IV): Adam and L1, as in the authors' later code (SGD or Adam and
L2 there); patches of 48 px (40); a batch of 16 (128).

Results: configs/README.md.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.restoration_common import restorer, schedule


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    degrade = dict(name="noise", sigma=25.0, sigma_max=0.0)
    given = dict(sigma=25.0, sigma_max=0.0, width=64, layers=17, norm="batch")
    config, values = restorer(arg, degrade=degrade, **given)
    finish(config, values)
    return config


def finish(config: ConfigDict, values: dict[str, Any]) -> None:
    """Fill in the network and its training, and lock the config; in place."""
    config.task.distance = "l1"
    net = dict(name="dncnn", width=values["width"], layers=values["layers"], norm=values["norm"])
    config.model = ConfigDict(dict(net=net))
    config.optim.net.lr = 1e-3
    schedule(config, values, steps=4000)
    if values["smoke"]:
        config.model.net.update(width=4, layers=3)
    config.lock()
