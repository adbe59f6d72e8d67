"""Compare two checkouts: train configs in both and compare every array bit by bit.

    python benchmarks/same_bits.py OLD NEW [--configs=dcgan,pix2pix,classifier] [--steps=150]

Each training is a process in its checkout, in the current environment, on one device. The networks
of the last checkpoint (parameters, statistics, optimizer, moving average) and the values in
metrics.jsonl are compared, except times. Prints one line per config; exits with 1 if any differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import hashlib, json, sys
import jax, numpy as np
import main, gan_jax
steps, config, workdir, *fields = sys.argv[1:]
assert main.main([f"--config={config}", f"--workdir={workdir}", f"--config.train.steps={steps}",
                  "--config.train.devices=1", "--config.train.log_every=1", *fields]) == 0
sums = {}
nets = gan_jax.load(workdir, checkpoint="latest").state.nets
for path, leaf in jax.tree_util.tree_leaves_with_path(nets):
    sums[jax.tree_util.keystr(path)] = hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
rows = [json.loads(line) for line in open(f"{workdir}/metrics.jsonl")]
rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]
json.dump({"arrays": sums, "metrics": rows}, open(f"{workdir}/found.json", "w"))
"""


def found(checkout: Path, config: str, steps: int, fields: list[str], folder: Path) -> dict:
    """Train a config in a checkout and return the sums of its arrays and its metrics."""
    workdir = folder / f"{checkout.name}-{config.replace('/', '_')}"
    command = [sys.executable, "-c", PROGRAM, str(steps), f"configs/{config}.py:digits", workdir]
    if config in ("pix2pix", "unet"):
        command[4] = f"configs/{config}.py:smoke"  # digits have no pairs
    environment = {**os.environ, "PYTHONPATH": str(checkout), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [*map(str, command), *fields], cwd=checkout, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{checkout}, {config}:\n{done.stdout}{done.stderr}")
    return json.loads((workdir / "found.json").read_text())


def main() -> None:
    """Compare two checkouts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--configs", default="dcgan,pix2pix,classifier")
    parser.add_argument("--steps", type=int, default=150)
    flags, fields = parser.parse_known_args()
    unlike = 0
    with tempfile.TemporaryDirectory() as folder:
        for config in flags.configs.split(","):
            old, new = (
                found(checkout.resolve(), config, flags.steps, fields, Path(folder) / side)
                for side, checkout in (("old", flags.old), ("new", flags.new))
            )
            arrays = [k for k in old["arrays"] if old["arrays"][k] != new["arrays"].get(k)]
            same = old["arrays"].keys() == new["arrays"].keys() and not arrays
            metrics = old["metrics"] == new["metrics"]
            unlike += not (same and metrics)
            compared = "equal" if same else f"DIFFER, such as {', '.join(arrays[:3])}"
            print(f"{config}: {len(old['arrays'])} arrays {compared};", end=" ")
            rows = "equal" if metrics else "DIFFER"
            print(f"metrics of {len(old['metrics'])} rows {rows}", flush=True)
    sys.exit(bool(unlike))


if __name__ == "__main__":
    main()
