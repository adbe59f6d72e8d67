"""Speed and memory of evaluation, against the reference packages.

    python benchmarks/eval_speed.py [--only=SUBSTRING] [--rounds=1]

Needs the extra `parity`; runs on CPU. The implementations of a row compute the same quantity from
the same arrays, generated from a seed, in turns. Each computation runs once in its own process:
times include compilation, but not imports and generating the arrays. Networks have processed one
batch before, so their times exclude compilation. "peak" is the largest resident memory of the
process, with imports and arrays. The table shows the median time and largest peak of all rounds,
and the results, which must agree.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import drawn_inception

Form = Callable[[], Callable[[], dict[str, float]]]
DIMENSIONS = 2048


def features(count: int = 10_000, dimensions: int = DIMENSIONS) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of float32 features, non-negative, with a rapidly decaying spectrum."""
    draw = np.random.RandomState(0)
    scale = (np.arange(1, dimensions + 1) ** -0.7)[:, None].astype(np.float32)
    mix = scale * draw.randn(dimensions, dimensions).astype(np.float32)
    drawn = (draw.randn(count, dimensions).astype(np.float32) @ mix for _ in range(2))
    return tuple(
        np.maximum(0.1 * x + shift, 0) for x, shift in zip(drawn, (0.3, 0.32), strict=True)
    )


def prdc_ours() -> Callable[[], dict[str, float]]:
    from gan_jax.metrics.manifold import precision_recall_density_coverage

    pair = features()
    return lambda: precision_recall_density_coverage(*pair, k=5)


def prdc_package() -> Callable[[], dict[str, float]]:
    from prdc import compute_prdc

    pair = features()

    def run() -> dict[str, float]:
        with contextlib.redirect_stdout(io.StringIO()):
            return compute_prdc(*pair, nearest_k=5)

    return run


def frechet_ours() -> Callable[[], dict[str, float]]:
    from gan_jax.metrics.frechet import frechet_distance, moments_of

    pair = [moments_of(x) for x in features()]
    return lambda: {"distance": frechet_distance(*pair).value}


def frechet_pytorch_fid() -> Callable[[], dict[str, float]]:
    from pytorch_fid.fid_score import calculate_frechet_distance

    moments = [f(x) for x in features() for f in (_mean, _covariance)]
    return lambda: {"distance": calculate_frechet_distance(*moments)}


def frechet_torch_fidelity() -> Callable[[], dict[str, float]]:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    pair = [{"mu": _mean(x), "sigma": _covariance(x)} for x in features()]
    return lambda: {
        "distance": fid_statistics_to_metric(*pair, False)["frechet_inception_distance"]
    }


def moments_ours() -> Callable[[], dict[str, float]]:
    from gan_jax.metrics.frechet import Moments

    rows = features()[0]

    def run() -> dict[str, float]:
        moments = Moments(DIMENSIONS)
        for start in range(0, len(rows), 64):
            moments.update(rows[start : start + 64])
        return {"trace": float(np.trace(moments.covariance))}

    return run


def moments_numpy() -> Callable[[], dict[str, float]]:
    rows = features()[0]
    return lambda: {"trace": float(np.trace(_covariance(rows))), "mean": float(_mean(rows).mean())}


def kernel_ours() -> Callable[[], dict[str, float]]:
    from gan_jax.metrics.kernel import kernel_distance

    pair = features()
    return lambda: {"distance": kernel_distance(*pair, seed=2020).value}


def kernel_torch_fidelity() -> Callable[[], dict[str, float]]:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    pair = [torch.from_numpy(x) for x in features()]
    options = dict(kid_subset_size=1000, verbose=False)  # 100 subsets, seed 2020
    return lambda: {
        "distance": kid_features_to_metric(*pair, **options)["kernel_inception_distance_mean"]
    }


def inception_ours() -> Callable[[], dict[str, float]]:
    import jax

    from gan_jax.evaluation.extractors import make_extractor
    from gan_jax.platform.heap import reuse_host_memory

    reuse_host_memory()
    with _inception_file() as path:
        extractor = make_extractor("inception_v3_tf", weights=path, resize="tf_legacy")
    variables = jax.device_put(extractor.variables)
    compiled = jax.jit(extractor.apply)
    return _over_images(lambda images: compiled(variables, images)["features"])


def inception_torch_fidelity(form: str = "as it is") -> Callable[[], dict[str, float]]:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with _inception_file() as path:
        # Both heads, as ours gives them.
        net = FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
        )
    if form == "channels_last":
        net = net.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def extract(images: np.ndarray) -> np.ndarray:
        return net(torch.from_numpy(images).permute(0, 3, 1, 2))[0].numpy()

    return _over_images(extract)


@contextlib.contextmanager
def _inception_file() -> Iterator[Path]:
    """Yield the path of a PyTorch file with random weights."""
    import torch

    drawn = {name: torch.from_numpy(x) for name, x in drawn_inception.weights(1008).items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(drawn, path)
        yield path


def _over_images(extract: Callable[[np.ndarray], Any]) -> Callable[[], dict[str, float]]:
    """Return a function that maps four batches of images to features, after a warm-up batch."""
    batches = np.split(drawn_inception.images(64, 32, 32), 4)
    np.asarray(extract(batches[0]))

    def run() -> dict[str, float]:
        found = np.concatenate([np.asarray(extract(batch)) for batch in batches])
        return {"mean": float(found.mean()), "deviation": float(found.std(0).mean())}

    return run


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(0, dtype=np.float64)


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.cov(rows, rowvar=False)


# Each function imports and generates its arrays when called, and returns the function to time.
ROWS: dict[str, dict[str, Form]] = {
    "Inception features of 64 images of 32 px, batches of 16": {
        "ours": inception_ours,
        "torch-fidelity": inception_torch_fidelity,
        "torch-fidelity, channels_last": functools.partial(
            inception_torch_fidelity, "channels_last"
        ),
    },
    "PRDC, 10,000 x 10,000, 2,048 features": {"ours": prdc_ours, "prdc": prdc_package},
    "Frechet distance, 2,048 features": {
        "ours": frechet_ours,
        "pytorch-fid": frechet_pytorch_fid,
        "torch-fidelity": frechet_torch_fidelity,
    },
    "moments of 10,000 x 2,048, batches of 64": {"ours": moments_ours, "numpy.cov": moments_numpy},
    "KID, 100 subsets of 1,000, 2,048 features": {
        "ours": kernel_ours,
        "torch-fidelity": kernel_torch_fidelity,
    },
}


def measure(row: str, form: str) -> dict[str, Any]:
    """Return seconds, peak [MiB] and the result, of this process."""
    run = ROWS[row][form]()
    began = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "peak": peak, "found": {k: float(v) for k, v in found.items()}}


def in_process(row: str, form: str) -> dict[str, Any]:
    """Return the result of `measure` in a new process."""
    command = [sys.executable, __file__, f"--only={row}", f"--form={form}"]
    done = subprocess.run(
        command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{row}: {form} failed")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--form", default="", help="measure this one in this process")
    flags = parser.parse_args()
    if flags.form:
        print(json.dumps(measure(flags.only, flags.form)))
        return
    print("| row | form | time [s] | peak [MiB] | what came out |\n|---|---|---|---|---|")
    for row, forms in ROWS.items():
        if flags.only not in row:
            continue
        rounds = [{form: in_process(row, form) for form in forms} for _ in range(flags.rounds)]
        for form in forms:
            runs = [found[form] for found in rounds]
            seconds = statistics.median(run["seconds"] for run in runs)
            peak = max(run["peak"] for run in runs)
            found = ", ".join(f"{name} {value:.8g}" for name, value in runs[0]["found"].items())
            print(f"| {row} | {form} | {seconds:.2f} | {peak:.0f} | {found} |", flush=True)


if __name__ == "__main__":
    main()
