"""The summary of a run in a notebook: a few lines, and its last grid of samples."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING

from gan_jax.core.state import count_parameters, role

if TYPE_CHECKING:
    from gan_jax.library.run import Run

GRIDS = ("samples", "input_output_target", "reconstructions")  # the first that exists is shown


def as_text(run: Run) -> str:
    """Return a few lines with the method, data, step, size and path of a run."""
    config, spec = run.config, run.spec
    roles = dict.fromkeys(map(role, run.state.nets))
    net = ", ".join(dict.fromkeys(config.model[name].name for name in roles))
    size = "x".join(map(str, spec.image_shape))
    classes = f", {spec.num_classes} classes" if spec.num_classes else ""
    counts = {n: count_parameters(run.state.nets[n].params) for n in run.task.modules}
    nets = ", ".join(f"{n} {count:,}" for n, count in counts.items())
    return (
        f"Run: {config.task.name} ({net}) on {spec.name}, {size}{classes}\n"
        f"  step {run.step:,} of {config.train.steps:,}, seed {config.seed}\n"
        f"  parameters: {nets}\n"
        f"  {run.workdir}"
    )


def as_html(run: Run) -> str:
    """Return the same as HTML, with the newest picture up to the run's step."""
    text = f"<pre>{html.escape(as_text(run))}</pre>"
    picture = last_grid(run.workdir, run.step)
    if picture is None:
        return text
    data = base64.b64encode(picture.read_bytes()).decode()
    return f'{text}<img alt="{picture.name}" src="data:image/png;base64,{data}">'


def last_grid(workdir: Path, step: int) -> Path | None:
    """Return the newest picture of a training up to a step; None if there is none."""
    for kind in GRIDS:
        found = sorted((workdir / "samples").glob(f"[0-9]*_{kind}.png"))
        found = [path for path in found if int(path.name.partition("_")[0]) <= step]
        if found:
            return found[-1]
    return None
