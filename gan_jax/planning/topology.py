"""Machines to plan for: the names accepted by --topology.

Does not import JAX: the name is validated, and JAX's environment set, before JAX is imported.
"""

from __future__ import annotations

import dataclasses
import math
import re

from gan_jax.core.errors import UserError, did_you_mean
from gan_jax.platform.chips import CHIPS, Chip
from gan_jax.platform.gpus import TARGETS


@dataclasses.dataclass(frozen=True)
class Topology:
    """A machine by name.

    Attributes:
      name: as given by the user, such as "v5e:2x4".
      platform: "tpu", "cuda" or "cpu".
      shape: number of chips along each axis.
      chip: specifications of the chip; None for "cuda" (nothing is compiled) and "cpu".
    """

    name: str
    platform: str
    shape: tuple[int, ...]
    chip: Chip | None = None

    @property
    def chips(self) -> int:
        """Number of chips, each one JAX device."""
        return math.prod(self.shape)

    @property
    def lowered_only(self) -> bool:
        """Whether the step is lowered but not compiled: GPUs of an unnamed chip."""
        return self.platform == "cuda" and self.chip is None


def parse_topology(name: str) -> Topology:
    """Parse the name of a machine: "v5e:2x4", "h100:8", "cpu:8", "cuda:4" or "cuda".

    Raises:
      UserError: for an unknown machine; the message lists the known ones.
    """
    kind, _, size = name.partition(":")
    if kind in ("cpu", "cuda"):
        if not re.fullmatch(r"[1-9]\d{0,3}", size or "1"):
            raise UserError(f"--topology={name}: {kind}:N with N from 1 to 9999, such as {kind}:8")
        return Topology(name, kind, (int(size or 1),))
    if kind not in CHIPS:
        known = ["cpu:N", "cuda:N", *(f"{k}:{_example(c)}" for k, c in CHIPS.items())]
        hint = did_you_mean(kind, ["cpu", "cuda", *CHIPS])
        raise UserError(f"--topology={name!r} is not known{hint}: one of {', '.join(known)}")
    chip = CHIPS[kind]
    if kind in TARGETS:
        if not re.fullmatch(r"[1-9]\d{0,3}", size or "1") or int(size or 1) > chip.largest:
            raise UserError(
                f"--topology={name}: {kind}:N with N from 1 to {chip.largest}, as many as NVLink"
                f" joins, such as {kind}:8"
            )
        return Topology(name, "cuda", (int(size or 1),), chip)
    if not re.fullmatch("x".join([r"[1-9]\d{0,3}"] * chip.axes), size):
        axes = f"{chip.axes} axes of chips, such as {kind}:{_example(chip)}"
        raise UserError(f"--topology={name}: a slice of {kind} has {axes}")
    topology = Topology(name, "tpu", tuple(map(int, size.split("x"))), chip)
    if topology.chips > chip.largest:
        raise UserError(
            f"--topology={name}: {topology.chips} chips; a slice of {kind} has {chip.largest} at"
            " most"
        )
    return topology


def _example(chip: Chip) -> str:
    return {1: "8", 2: "2x4", 3: "2x2x1"}[chip.axes]
