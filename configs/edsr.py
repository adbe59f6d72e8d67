"""EDSR (Lim et al. 2017, arXiv:1707.02921): super-resolution by a residual network without norms.

    python main.py --config=configs/edsr.py:photos
    python main.py --config=configs/edsr.py:photos,path=../shared/data/photos,scale=4
    python main.py --config=configs/edsr.py:folder,path=DIR,scale=2,width=64,blocks=16
    python main.py --mode=transform --workdir=runs/edsr --input=PHOTO --output=out
    python main.py --mode=eval --workdir=runs/edsr --metrics=restoration

Low-resolution images are made by antialiased bicubic downscaling. `photos` trains on seven
photographs that come with scikit-image, scikit-learn and matplotlib, and tests on three others;
`path=DIR` adds those of a folder to the training. `folder` cuts a folder of photographs into
windows; `pairs` takes the low-resolution images from `path`, and the others from `target_path`.

Arguments beside the data keys: scale (2, 3 or 4), width, blocks, patch [px of the clean image],
batch, steps. `width=64,blocks=16` is the paper's baseline; the default is a small one for CPUs.

Deviations from the paper (section 4.2): 32 channels, 8 blocks by default (64 and 16); the output is
added to the bicubically enlarged input, from which a short training gains; no mean of the data set
is subtracted, images are in [-1, 1]; x3 and x4 start afresh, not from x2; a cosine schedule for the
length of a short training (halved every 200,000 steps there).

Results: configs/README.md.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.restoration_common import restorer, schedule


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    degrade = dict(name="downscale", scale=2)
    config, values = restorer(arg, degrade=degrade, scale=2, width=32, blocks=8)
    finish(config, values)
    return config


def finish(config: ConfigDict, values: dict[str, Any]) -> None:
    """Fill in the network and its training, and lock the config; in place."""
    config.task.distance = "l1"
    net = dict(name="edsr", width=values["width"], blocks=values["blocks"], skip="bicubic")
    config.model = ConfigDict(dict(net=net))
    config.optim.net.lr = 5e-4
    schedule(config, values, steps=2000)
    if values["smoke"]:
        config.model.net.update(width=4, blocks=2)
    config.lock()
