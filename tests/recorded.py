"""What the smoke form of every config computes, to 1e-4: a change of design changes none of it.

    PYTHONPATH=.:tests python tests/recorded.py        # after a change that is meant to

writes the file anew. Metrics of both steps, of an evaluation and of the pictures, and norms of all
weights; of one device.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "configs" / "recorded.json"


def values_of(workdir: Path) -> dict[str, float]:
    """Return the numbers of a run by name: "STEP/METRIC", and "NET/params" and "NET/ema"."""
    import jax

    import gan_jax

    found = {}
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        found |= {f"{step}/{k}": v for k, v in row.items() if not k.startswith("time/")}
    for name, net in gan_jax.load(workdir).state.nets.items():
        for what, tree in (("params", net.params), ("ema", net.ema)):
            squares = [np.square(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves(tree)]
            if squares:
                found[f"{name}/{what}"] = float(np.sqrt(sum(squares)))
    return found


def differing(found: dict[str, float], name: str) -> list[str]:
    """Return what is not as recorded of a config, a line each."""
    recorded = json.loads(FILE.read_text())[name]
    lines = [f"{key}: only one has it" for key in sorted(found.keys() ^ recorded.keys())]
    for key in sorted(found.keys() & recorded.keys()):
        a, b = recorded[key], found[key]
        if abs(a - b) > 1e-4 * max(1.0, abs(a)):
            lines.append(f"{key}: {a} -> {b}")
    return lines


def main() -> None:
    """Train every config's smoke form and write what it computed."""
    from conftest import NAMES, smoke_config

    from gan_jax.experiment.train import train

    rows = {}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            workdir = Path(folder) / "run"
            train(smoke_config(name, train__devices=1), workdir)
            rows[name] = {key: float(f"{v:.7g}") for key, v in values_of(workdir).items()}
        print(name, len(rows[name]), flush=True)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
