"""ESRGAN's training (Wang et al. 2018, arXiv:1809.00219): a relativistic game, with pixels.

    python main.py --config=configs/edsr.py:photos,scale=4 --workdir=runs/edsr
    python main.py --config=configs/esrgan.py:photos,scale=4 --config.train.init_from=runs/edsr

As `configs/srgan.py`, with the relativistic average game (equations 1 and 2) of weight 5e-3 and an
L1 distance of weight 1e-2 (section 3.3). `--config.model.net=rrdb` has the paper's network.

Deviations from the paper: those of `configs/srgan.py`; EDSR by default in place of RRDB.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import srgan


def get_config(arg: str = "photos") -> ConfigDict:
    """Return the config; `arg` as for configs/srgan.py."""
    config = srgan.get_config(arg)
    config.task.update(loss="relativistic", adversarial=5e-3, pixels=1e-2)
    return config
