"""Colourisation by a U-Net: grey photographs in colour.

    python main.py --config=configs/colorize.py:photos
    python main.py --config=configs/colorize.py:folder,path=DIR
    python main.py --mode=transform --workdir=runs/colorize --input=PHOTO --output=out

The network predicts the chroma ab of CIE Lab from the luma; lightness stays as it is. With
`output=classes` it predicts a distribution over bins of colours, and rare colours count more (Zhang
et al. 2016, arXiv:1603.08511), which gives more vivid ones. Data and arguments are as in
`configs/edsr.py`; also output (ab | classes) and depth (halvings of the U-Net).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.restoration_common import restorer, with_unet


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    given = dict(output="ab", width=32, depth=4, patch=64)
    config, values = restorer(arg, degrade=dict(name="grey"), task="colorization", **given)
    config.task.update(output=values["output"], rebalance=True)
    with_unet(config, values)
    return config
