"""Planned (not measured) cost of the steps of benchmarks/problems.py on an unavailable GPU.

    python benchmarks/gpu_plan.py --topology=h100:1

Compiles each step in float32 (TF32 products) and in bfloat16 with JAX's plugin for CUDA
(`pip install -e '.[cuda13]'`), which needs no GPU, and prints a Markdown table. The batch size per
GPU is the problem's own, or --batch. Times are the roofline of `gan_jax/planning/plan.py`, an upper
bound of speed that ignores kernel launches, which take some milliseconds in a step of a thousand
kernels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.problems import PROBLEMS
from gan_jax.planning.topology import parse_topology
from gan_jax.platform.host import compile_only


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="h100:1")
    parser.add_argument("--only", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, help="images a GPU")
    parser.add_argument(
        "--layouts", action="store_true", help="of the state: the compiler's choice"
    )
    flags = parser.parse_args()
    topology = parse_topology(flags.topology)
    compile_only(simulated=topology.chips)

    import jax

    from benchmarks.layouts import AutomaticLayouts
    from gan_jax.planning.plan import Training, compile_cost, make_parallel_on

    chip, parallel = topology.chip, make_parallel_on(topology)
    if flags.layouts:
        parallel = AutomaticLayouts("jit", parallel.mesh)
    layouts = "automatic layouts; " if flags.layouts else ""
    print(f"{topology.name}, jax {jax.__version__}; {layouts}per GPU\n")
    columns = ("problem", "precision", "batch", "kernels", "GFLOP", "GB accessed", "GB copied")
    times = ("MiB", "MB all-reduced", "arithmetic [ms]", "memory [ms]", "step [ms]", "images/s")
    print("| " + " | ".join(columns + times) + " |")
    print("|---" * len(columns + times) + "|")
    for name in flags.only:
        for precision in flags.precision:
            problem = PROBLEMS[name]
            config = problem.config()
            size = flags.batch or config.train.batch_size
            config.train.update(precision=precision, batch_size=size * topology.chips)
            training = Training(config, problem.spec(), parallel)
            phase = training.task.phase(0)
            cost = compile_cost(training, topology, phase, config.train.batch_size)
            if cost is None:
                raise SystemExit(f"{name}: {size} images do not fit into the memory of a GPU")
            step = cost.step_seconds(chip)
            row = (
                name,
                precision,
                size,
                f"{cost.kernels:,}",
                f"{cost.flops / 1e9:.1f}",
                f"{cost.bytes_accessed / 1e9:.3f}",
                f"{cost.copied / 1e9:.3f}",
                f"{cost.memory / 2**20:,.0f}",
                f"{sum(c.operand_bytes for c in cost.collectives) / 1e6:.2f}",
                f"{1e3 * cost.flops / chip.peak(precision):.3f}",
                f"{1e3 * cost.bytes_accessed / chip.memory_bandwidth:.3f}",
                f"{1e3 * step:.3f}",
                f"{cost.images / topology.chips / step:,.0f}",
            )
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()
