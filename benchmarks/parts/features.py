"""Speed of Inception-v3 features (random weights), PRDC and FID.

Features are those of `--features=inception_v3_tf` for uint8 images of 32 px, resized to 299 px, in
full float32 as in all evaluations; weights are random (`drawn_inception.py`). PRDC and FID use the
arrays of `eval_speed.py`, twice: the first run includes compilation.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.parts.context import Context, shortened
from benchmarks.processes import Failure

BATCHES = {"gpu": (64, 256), "cpu": (2,)}


def inception(device: str) -> dict[str, Any]:
    """Compile Inception for the first batch."""
    import jax
    import numpy as np

    from benchmarks import drawn_inception
    from gan_jax.evaluation.extractors import make_extractor

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.npz"
        np.savez(path, **drawn_inception.weights(1008))
        extractor = make_extractor("inception_v3_tf", weights=path, resize="tf_legacy")
    variables, compiled = jax.device_put(extractor.variables), jax.jit(extractor.apply)

    def speed(batch: int, seconds: float) -> dict[str, float]:
        images = jax.device_put(drawn_inception.images(batch, 32, 32))
        began = time.perf_counter()
        jax.block_until_ready(compiled(variables, images))
        first = time.perf_counter() - began
        began, number = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            for _ in range(4 if device == "gpu" else 1):
                found = compiled(variables, images)
                number += batch
            jax.block_until_ready(found)
        return {"rate": number / (time.perf_counter() - began), "compile": first}

    return {"speed": speed}


def distances(device: str) -> dict[str, Any]:
    """Make the features that are compared."""
    import jax

    from benchmarks.eval_speed import features
    from gan_jax.metrics.frechet import frechet_distance, moments_of
    from gan_jax.metrics.manifold import precision_recall_density_coverage

    pair = features() if device == "gpu" else features(300, 64)
    jax.devices()

    def prdc() -> dict[str, Any]:
        began = time.perf_counter()
        found = precision_recall_density_coverage(*pair, k=5)
        return {"seconds": time.perf_counter() - began, "found": found}

    def fid() -> dict[str, Any]:
        began = time.perf_counter()
        found = frechet_distance(*map(moments_of, pair)).value
        return {"seconds": time.perf_counter() - began, "found": {"distance": float(found)}}

    return {"prdc": prdc, "fid": fid, "first": {"shape": list(pair[0].shape)}}


def run(context: Context) -> None:
    """Print the distances, which compile quickly, and then Inception's speed."""
    comparing = context.start(distances, device=context.device)
    seeing = context.start(inception, device=context.device)
    if why := context.ready(comparing):
        context.emit("Distances", note=why)
    else:
        count, dimensions = comparing.first["shape"]
        for what, title in (("fid", "FID, moments and distance"), ("prdc", "PRDC, k = 5")):
            cells: dict[str, Any] = {"of": f"2 x {count:,} x {dimensions:,}, {title}"}
            try:
                twice = [context.ask(comparing, what) for _ in range(2)]
                cells["first [s]"], cells["second [s]"] = (x["seconds"] for x in twice)
                found = twice[1]["found"].items()
                cells["what came out"] = ", ".join(f"{k} {v:.6g}" for k, v in found)
            except Failure as failure:
                cells["note"] = shortened(str(failure))
            context.emit("Distances", **cells)
    comparing.kill()
    if why := context.ready(seeing):
        context.emit("Inception's features", note=why)
        return
    for batch in BATCHES[context.device]:
        cells = {"batch": batch}
        try:
            seconds = 0.5 if context.tiny else 2.0
            found = context.ask(seeing, "speed", batch=batch, seconds=seconds)
            cells |= {"images/s": found["rate"], "first batch [s]": found["compile"]}
        except Failure as failure:
            cells["note"] = shortened(str(failure))
        context.emit("Inception's features", **cells)
    seeing.kill()
