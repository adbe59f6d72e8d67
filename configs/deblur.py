"""Deblurring: a residual network without norms that undoes a Gaussian blur.

    python main.py --config=configs/deblur.py:photos,sigma=1.6
    python main.py --config=configs/deblur.py:pairs,path=BLURRED,target_path=SHARP

Images are blurred by a Gaussian of standard deviation `sigma` [px], with Gaussian noise of standard
deviation `noise` (of 255). The network is EDSR's body (arXiv:1707.02921) without enlarging. Data
and arguments are as in `configs/edsr.py`; also sigma, noise.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import edsr
from configs.restoration_common import restorer


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    degrade = dict(name="blur", sigma=1.6, noise=0.0)
    given = dict(sigma=1.6, noise=0.0, width=32, blocks=8)
    config, values = restorer(arg, degrade=degrade, **given)
    edsr.finish(config, values)
    return config
