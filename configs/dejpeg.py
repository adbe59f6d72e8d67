"""Removal of JPEG artefacts: DnCNN (Zhang et al. 2016, arXiv:1608.03981, section IV.F).

    python main.py --config=configs/dejpeg.py:photos,quality=10
    python main.py --config=configs/dejpeg.py:photos,quality=10,quality_max=60
    python main.py --config=configs/dejpeg.py:pairs,path=COMPRESSED,target_path=CLEAN

Images are compressed at a quality of 10, or at one drawn between `quality` and `quality_max` for
each, as JPEG files are: with chroma at half the resolution. Data and arguments are as in
`configs/dncnn.py`; also quality, quality_max.

Deviations from the paper: colour (luma alone there), and those of `configs/dncnn.py`.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import dncnn
from configs.restoration_common import restorer


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config of "PRESET[,key=value...]"."""
    degrade = dict(name="jpeg", quality=10, quality_max=0)
    given = dict(quality=10, quality_max=0, width=64, layers=17, norm="batch")
    config, values = restorer(arg, degrade=degrade, **given)
    dncnn.finish(config, values)
    return config
