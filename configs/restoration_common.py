"""What the configs of restorers share."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data
from gan_jax.core.errors import UserError

# Photographs are cut into windows. A folder is too; `pairs` has the degraded images as well.
WINDOWS = ("photos", "folder", "pairs")


def restorer(
    arg: str,
    *,
    degrade: dict[str, Any] | None = None,
    task: str = "restorer",
    **defaults: Any,
) -> tuple[ConfigDict, dict[str, Any]]:
    """Return the config of a restorer without its network, and the values of its argument.

    Args:
      arg: "PRESET[,key=value...]", PRESET one of WINDOWS, or smoke.
      degrade: section `degrade`; None for `pairs`.
      task: the method.
      **defaults: the keys of the argument; those with the name of a field of `degrade` set it.
    """
    preset, values = parse_arg(arg, **{"patch": 48, "batch": 16, "steps": 0, **defaults})
    if preset not in (*WINDOWS, "smoke"):
        raise UserError(f"preset {preset!r}: restoration takes {', '.join(WINDOWS)} or smoke")
    config = base(task)
    set_data(config, preset, values)
    if preset in WINDOWS:
        config.data.update(fit="windows", holdout=0.2)
        if "size" not in values:
            config.data.size = (96, 96)
    config.task.update(patch=values["patch"], flip=True, turn=True)
    section = dict(name="none") if preset == "pairs" or not degrade else dict(degrade)
    config.degrade = ConfigDict({k: values.get(k, v) for k, v in section.items()})
    config.optim.net = optimizer(1e-4)
    config.train.update(dict(batch_size=values["batch"], ema_decay=0.999))
    config.eval.update(dict(batch_size=16, grid=4))
    if preset == "smoke":
        make_smoke(config)
        config.data.channels = 3
        config.task.patch = 0
    return config, {**values, "smoke": preset == "smoke"}


def schedule(config: ConfigDict, values: dict[str, Any], *, steps: int) -> None:
    """Set the length of the training, and what follows from it, in place.

    Args:
      config, values: as `restorer` returns them.
      steps: unless the argument names another number.
    """
    config.optim.net.schedule = "cosine"
    config.train.steps = 2 if values["smoke"] else values["steps"] or steps
    if not values["smoke"]:
        config.train.update(dict(log_every=100, sample_every=1000, save_every=500))
        config.eval.every = 500


def with_unet(config: ConfigDict, values: dict[str, Any]) -> None:
    """Fill in a U-Net and its training, and lock the config; in place."""
    net = dict(name="unet", width=values["width"], depth=values["depth"])
    config.model = ConfigDict(dict(net=net))
    config.optim.net.lr = 5e-4
    schedule(config, values, steps=4000)
    if values["smoke"]:
        config.model.net.update(width=4, depth=3)
    config.lock()
