"""SRCNN (Dong et al. 2014, arXiv:1501.00092): super-resolution by three convolutions, 9-5-5.

    python main.py --config=configs/srcnn.py:photos,scale=2
    python main.py --config=configs/srcnn.py:folder,path=DIR,scale=3

The network works on the bicubically enlarged image. Data and arguments are as in `configs/edsr.py`
(without `blocks`). With `channels=1` it has the paper's 57,281 parameters.

Deviations from the paper (section 4.1): Adam (SGD with a smaller rate in the last layer); colour
by default (luma); random patches of 48 px with turns and flips.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.restoration_common import restorer, schedule


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    config, values = restorer(arg, degrade=dict(name="downscale", scale=2), scale=2, width=64)
    config.task.distance = "l2"
    config.model = ConfigDict(dict(net=dict(name="srcnn", width=values["width"])))
    config.optim.net.lr = 5e-4
    schedule(config, values, steps=10000)
    if values["smoke"]:
        config.model.net.width = 4
    config.lock()
    return config
