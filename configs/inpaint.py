"""Inpainting by a U-Net: fill what a mask hides.

    python main.py --config=configs/inpaint.py:photos
    python main.py --config=configs/inpaint.py:folder,path=DIR,kind=rectangles
    python main.py --mode=transform --workdir=runs/inpaint --input=PHOTO --mask=MASK --output=out

Masks of rectangles and of free-form strokes are drawn for every example. The network sees the mask,
its output is used under the mask only, and the loss weighs these pixels by 6 (Liu et al. 2018,
arXiv:1804.07723, section 3.3). Data and arguments are as in `configs/edsr.py`; also kind
(rectangles | free-form | both) and depth (halvings of the U-Net).

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.restoration_common import restorer, with_unet


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    given = dict(kind="both", width=32, depth=4, patch=64)
    config, values = restorer(
        arg, degrade=dict(name="mask", kind="both"), task="inpainting", **given
    )
    config.task.update(hole_weight=6.0)
    with_unet(config, values)
    return config
