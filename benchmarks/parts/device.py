"""The device and its peak speeds: large matrix products, and a large copy.

Data are random, since zeros draw less power and run faster. Both frameworks are measured, one at a
time; the better one is the peak to which other parts compare (`ceilings`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks.parts.context import Context, shortened
from benchmarks.processes import Failure

SIZE = {"gpu": 8192, "cpu": 512}  # rows and columns
COPIED = {"gpu": 2**32, "cpu": 2**26}  # bytes, read once and written once
REPEATS = {"gpu": 20, "cpu": 3}
# Name in the rows -> JAX's name of the precision of float32 products; None for bfloat16.
PRECISIONS = {"float32": "highest", "TF32": "tensorfloat32", "bfloat16": None}
FILE = "ceilings.json"


def timed(call: Callable[[], Any], wait: Callable[[Any], Any], repeats: int) -> float:
    """Return seconds per call over `repeats` calls without synchronisation; the best of three."""
    wait(call())
    found = []
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(repeats):
            last = call()
        wait(last)
        found.append((time.perf_counter() - began) / repeats)
    return min(found)


def with_jax(device: str) -> dict[str, Any]:
    """Prepare the peak measurements in JAX."""
    import jax
    import jax.numpy as jnp

    size, chip = SIZE[device], jax.devices()[0]
    a, b = jax.random.normal(jax.random.key(0), (2, size, size))

    def product(precision: str) -> dict[str, float]:
        level = PRECISIONS[precision]
        pair = (a, b) if level else (a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
        multiply = jax.jit(lambda x, y: jnp.dot(x, y, precision=level))
        seconds = timed(lambda: multiply(*pair), jax.block_until_ready, REPEATS[device])
        return {"rate": 2e-12 * size**3 / seconds}

    def copy() -> dict[str, float]:
        numbers = [jax.random.normal(jax.random.key(1), (COPIED[device] // 4,))]
        add = jax.jit(lambda x: x + 1, donate_argnums=0)

        def step() -> Any:
            numbers.append(add(numbers.pop()))
            return numbers[0]

        seconds = timed(step, jax.block_until_ready, REPEATS[device])
        return {"rate": 2e-9 * COPIED[device] / seconds}

    memory = (chip.memory_stats() or {}).get("bytes_limit", 0) / 2**30
    first = {"device": f"{chip.platform}: {chip.device_kind}", "memory": memory}
    return {"first": first, "product": product, "copy": copy}


def with_torch(device: str) -> dict[str, Any]:
    """Prepare the peak measurements in PyTorch."""
    import torch

    from benchmarks.twins.training import set_products
    from benchmarks.worker import DEVICES

    size, place = SIZE[device], DEVICES[device]
    wait = (lambda _: torch.cuda.synchronize()) if device == "gpu" else (lambda _: None)
    a, b = torch.randn(2, size, size, device=place)

    def product(precision: str) -> dict[str, float]:
        set_products("highest" if precision == "float32" else "high")
        pair = (a.bfloat16(), b.bfloat16()) if precision == "bfloat16" else (a, b)
        seconds = timed(lambda: torch.mm(*pair), wait, REPEATS[device])
        return {"rate": 2e-12 * size**3 / seconds}

    def copy() -> dict[str, float]:
        numbers = torch.randn(COPIED[device] // 4, device=place)
        target = torch.empty_like(numbers)
        seconds = timed(lambda: target.copy_(numbers), wait, REPEATS[device])
        return {"rate": 2e-9 * COPIED[device] / seconds}

    name = torch.cuda.get_device_name(0) if device == "gpu" else "cpu"
    cuda, cudnn = torch.version.cuda, torch.backends.cudnn.version()
    first = {"device": f"{name}, CUDA {cuda}, cuDNN {cudnn}" if cuda else name, "memory": 0.0}
    if device == "gpu":
        first["memory"] = torch.cuda.mem_get_info()[1] / 2**30
    return {"first": first, "product": product, "copy": copy}


def run(context: Context) -> None:
    """Print the device and its peak speeds."""
    sides = {
        "JAX": context.start(with_jax, device=context.device),
        "PyTorch": context.start(with_torch, device=context.device),
    }
    found: dict[str, float] = {}
    for name, process in sides.items():
        if why := context.ready(process):
            context.emit("Device", framework=name, note=why)
            continue
        first = process.first
        context.emit(
            "Device",
            framework=name,
            device=first["device"],
            **{"memory that it may take [GiB]": first["memory"]},
            **{"start [s]": process.start},
        )
    size, bytes_ = SIZE[context.device], COPIED[context.device]
    tables = [(f"product of {size} x {size}, {p}", "product", p, "TFLOP/s") for p in PRECISIONS]
    tables.append((f"copy of {bytes_ / 2**30:g} GiB, read and written", "copy", "copy", "GB/s"))
    for what, kind, key, unit in tables:
        cells: dict[str, Any] = {}
        notes: list[str] = []
        for name, process in sides.items():
            if process.first is None:
                continue
            given = {"precision": key} if kind == "product" else {}
            try:
                cells[name] = context.ask(process, kind, **given)["rate"]
            except Failure as failure:
                notes.append(f"{name}: {failure}")
        if cells:
            found[key] = max(cells.values())
            (context.work / FILE).write_text(json.dumps(found))
        context.emit("Ceilings", what=what, unit=unit, **cells, note=shortened("; ".join(notes)))
    for process in sides.values():
        process.kill()


def ceilings(context: Context) -> dict[str, float]:
    """Return measured peaks: TFLOP/s by precision, and GB/s as "copy"."""
    path = context.work / FILE
    return json.loads(path.read_text()) if path.is_file() else {}
