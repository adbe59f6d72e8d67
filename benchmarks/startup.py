"""Time from start to the end of the first training step, with cold and with warm caches.

    python benchmarks/startup.py [CONFIG ...]

Each config is trained twice by main.py in new processes, up to the first line of its log, starting
with an empty cache folder (compiled programs, decoded images).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIGS = ("configs/quickstart.py", "configs/vae.py:mnist", "configs/dcgan.py:mnist")
FIELDS = ("steps=100000", "log_every=1", "sample_every=0", "save_every=100000")


def seconds_to_first_step(config: str, home: Path, workdir: Path) -> float:
    """Start a training and end it after its first step."""
    command = [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}"]
    command += [f"--config.train.{field}" for field in FIELDS]
    began = time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if line.startswith("step 1/"):
                return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()
    raise RuntimeError(f"{config} took no step")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=CONFIGS)
    flags = parser.parse_args()
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    print("| config | first start [s] | second start [s] | ratio |")
    print("|---|---|---|---|")
    for config in flags.configs:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            cold, warm = (seconds_to_first_step(config, home, home / str(i)) for i in range(2))
        print(f"| `{config}` | {cold:.1f} | {warm:.1f} | {warm / cold:.2f} |", flush=True)


if __name__ == "__main__":
    main()
