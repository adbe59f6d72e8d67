"""Predicted weak scaling on TPU v5e: constant batch size per chip, more chips.

    python benchmarks/weak_scaling.py --config=configs/dcgan.py:folder,size=64 --batch=64

Compiles the real train step for each slice with libtpu (`pip install -e '.[tpu]'`), on synthetic
data of the config's image size, and prints a Markdown table. Times are the estimates of
`gan_jax/planning/plan.py`, a roofline; "overlapped" is the efficiency if all communication were
hidden behind the arithmetic, where it is shorter.
"""

from __future__ import annotations

import argparse

from gan_jax.methods.configs import load_config
from gan_jax.planning.topology import parse_topology
from gan_jax.platform.host import compile_only


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", nargs="+", default=["configs/dcgan.py:folder,size=64"])
    parser.add_argument("--batch", type=int, default=64, help="images a chip")
    parser.add_argument("--slices", nargs="+", default=["1x1", "2x4", "8x8", "16x16"])
    flags = parser.parse_args()
    topologies = [parse_topology(f"v5e:{name}") for name in flags.slices]
    compile_only(simulated=1)

    from gan_jax.data import open_data
    from gan_jax.planning.plan import Training, compile_cost, make_parallel_on

    for location in flags.config:
        config = load_config(location)
        target = "synthetic" if config.task.name == "paired" else ""
        config.data.update(dict(source="synthetic", holdout=0.25, target_path=target))
        config.data.channels = config.data.channels or 3
        print(f"{location}, {flags.batch} images a chip\n")
        columns = ("slice", "chips", "GFLOP a chip", "GB accessed a chip", "MB all-reduced a chip")
        times = ("compute [ms]", "collectives [ms]", "step [ms]", "efficiency", "overlapped")
        print("| " + " | ".join(columns + times) + " |")
        print("|---" * len(columns + times) + "|")
        alone = 0.0
        for topology in topologies:
            config.train.batch_size = flags.batch * topology.chips
            spec = open_data(config.data).spec
            training = Training(config, spec, make_parallel_on(topology))
            phase = training.task.phase(0)
            cost = compile_cost(training, topology, phase, config.train.batch_size)
            if cost is None:
                raise SystemExit(f"{flags.batch} images do not fit into the memory of a chip")
            compute = cost.compute_seconds(topology.chip)
            collective = cost.collective_seconds(topology.chip)
            alone = alone or compute + collective  # the first slice is the reference
            sent = sum(c.operand_bytes for c in cost.collectives)
            row = (
                topology.name,
                topology.chips,
                f"{cost.flops / 1e9:.2f}",
                f"{cost.bytes_accessed / 1e9:.3f}",
                f"{sent / 1e6:.3f}",
                f"{1e3 * compute:.3f}",
                f"{1e3 * collective:.3f}",
                f"{1e3 * (compute + collective):.3f}",
                f"{alone / (compute + collective):.3f}",
                f"{alone / max(compute, collective):.3f}",
            )
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
