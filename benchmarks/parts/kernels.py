"""Number of kernels that a step launches, from GPU traces."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def traced_by_jax(steps: Callable[[], Any], number: int) -> float:
    """Return kernels per step, traced by CUPTI while `steps` took `number` steps; 0 if none."""
    import jax

    found = 0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            steps()
        for path in Path(folder).rglob("*.xplane.pb"):
            for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
                if not plane.name.startswith("/device:GPU"):
                    continue
                for line in plane.lines:
                    if line.name.startswith("Stream"):
                        names = [event.name for event in line.events]
                        found += sum(not name.lower().startswith("mem") for name in names)
    return found / number


def traced_by_torch(steps: Callable[[], Any], number: int) -> float:
    """Return kernels per step, traced by PyTorch's profiler."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as traced:
        steps()
    kind = torch.autograd.DeviceType.CUDA
    events = [event for event in traced.events() if event.device_type == kind]
    return sum(not event.name.lower().startswith("mem") for event in events) / number
