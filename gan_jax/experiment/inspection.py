"""Print the data and the networks of a config. Reads the data, writes nothing."""

from __future__ import annotations

from pathlib import Path

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from gan_jax.core.keys import named_keys
from gan_jax.core.spec import DataSpec
from gan_jax.core.state import TrainState, count_parameters
from gan_jax.core.task import Task
from gan_jax.data import open_data
from gan_jax.methods.registry import make_task
from gan_jax.rundir.changes import read_changes
from gan_jax.rundir.workdir import has_begun, read_spec


def inspect(
    config: ConfigDict, console: Console | None = None, *, workdir: Path | None = None
) -> None:
    """Print counts, sizes, channels, classes, the split and the model table.

    Args:
      config: the config to inspect.
      console: where to print.
      workdir: directory of its run, if there is one; its changes are printed too.
    """
    console = console or Console(markup=False)
    dataset = open_data(config.data)
    task = make_task(config, dataset.spec)
    state = jax.eval_shape(task.init, named_keys(config.seed)["init"])
    console.print(data_table(dataset.spec))
    if workdir is not None and has_begun(workdir):
        if not (old := read_spec(workdir)).same_data(dataset.spec):
            console.print(f"the data have changed since it began: {old} -> {dataset.spec}")
        for change in read_changes(workdir):
            console.print(f"changed: {change}", highlight=False)
    for name in state.nets:
        console.print(model_table(name, task, state))
    total = count_parameters([net.params for net in state.nets.values()])
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    if task.transforms:
        console.print(transform_table(task))
    for note in task.notes:
        console.print(note)
    console.print(f"{total:,} parameters; the whole training state takes {size / 2**20:.1f} MiB")


def data_table(spec: DataSpec) -> Table:
    """Return a table that describes the data."""
    table = Table("data", spec.name, title_justify="left")
    table.add_row("examples", ", ".join(f"{k} {n:,}" for k, n in spec.counts.items()))
    for name, stream in spec.streams.items():
        shape = " x ".join(map(str, stream.shape)) or "scalar"
        domain = f", domain {stream.domain}" if stream.domain else ""
        table.add_row(f"stream {name}", f"{stream.kind}, {shape}, {stream.dtype}{domain}")
    names = ", ".join(spec.class_names[:20]) + (", ..." if spec.num_classes > 20 else "")
    table.add_row("classes", f"{spec.num_classes}: {names}" if spec.num_classes else "no labels")
    table.add_row("preprocessing", ", ".join(f"{k} {v}" for k, v in spec.preprocess.items()))
    table.add_row("fingerprint", spec.fingerprint[:16])
    for note in spec.notes:
        table.add_row("note", note)
    return table


def transform_table(task: Task) -> Table:
    """Return a table of a method's transforms."""
    table = Table("transform", "from", "to", "compared", "what", title_justify="left")
    for name, transform in task.transforms.items():
        compared = "image by image" if transform.paired else "as sets"
        table.add_row(name, transform.source, transform.target, compared, transform.help)
    return table


def model_table(name: str, task: Task, state: TrainState) -> Table:
    """Return a table of one network's parameters, one row per array, with the total."""
    params = state.nets[name].params
    table = Table(f"{name}: {type(task.modules[name]).__name__}", "shape", "parameters")
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        label = ".".join(str(entry.key) for entry in path)
        table.add_row(label, " x ".join(map(str, leaf.shape)), f"{leaf.size:,}")
    table.add_section()
    table.add_row("total", "", f"{count_parameters(params):,}")
    return table
