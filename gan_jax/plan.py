"""What training a config costs on a machine that is not here: compiled ahead of time, printed.

The steps that are compiled are those that training compiles, one for each phase of it (a stage of
networks that grow, a term that is due at some steps only), on a mesh over the named devices, with
shapes in place of arrays; only that their batches are given, not gathered (`data/resident.py`).
Nothing runs and nothing is written. For TPUs libtpu compiles, for simulated CPU devices XLA:CPU;
for CUDA the step is only lowered: what its compiler would make of it is known to a machine with a
GPU alone.

Counts are XLA's own for one chip's program (`cost_analysis`): a multiply-add is 2 FLOPs, random
numbers and element-wise arithmetic are included; "bytes accessed" are the operands and results of
every fused operation, wherever they lie, which over-counts what stays in on-chip memory. On CPU the
convolutions have other forms (`gan_jax/models/convolution.py`) that cost other counts. Times are
estimates: a roofline that no real step reaches.
"""

from __future__ import annotations

import collections
import importlib.util
import math
from typing import Any

import jax
from jax.experimental import topologies
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from gan_jax.cost import GIB, Cost, read_cost
from gan_jax.errors import UserError
from gan_jax.hlo import KINDS
from gan_jax.keys import named_keys
from gan_jax.largest_batch import largest_batch
from gan_jax.parallel import Parallel, make_mesh
from gan_jax.run import abstract_state
from gan_jax.spec import DataSpec
from gan_jax.task import Phase, Task, make_task
from gan_jax.topology import Topology
from gan_jax.train import make_step

# libtpu at its default effort took 332 s for the step of DCGAN-64 (v5e:2x4, 64 images a chip, two
# busy cores), and 19 s so (on v5e:2x2). FLOPs agreed to 0.03 % and both had 22 all-reduces, none of
# them asynchronous; bytes accessed were 2.90 GB and are 2.10, temporaries 83 MB and are 184.
_EFFORT = {"exec_time_optimization_effort": -1.0}
_ESTIMATES = (
    "Estimates: step = max(arithmetic at peak bf16, bytes accessed at full memory bandwidth) +"
    " bytes sent by ring algorithms, 2(n-1)/n of an all-reduce, over all links; no overlap and no"
    " latency. Compiled with libtpu's least effort: memory is what it takes then. A training split"
    " that lies on the chips (data.device_gib) is not counted."
)
_ONE_OF = (
    "XLA counts a loop once: arithmetic, bytes accessed and times hold one of the {} microbatches,"
    " memory and collectives are right."
)
_NO_FIGURES = "There are no figures of this machine's chips, so no times and no largest batch."
_LOWERED = (
    "Lowered for CUDA, not compiled: its compiler needs a GPU. Counted before optimisation, so"
    " there are no temporaries, collectives or times."
)


def plan(
    config: ConfigDict, spec: DataSpec, topology: Topology, console: Console | None = None
) -> None:
    """Compile the train steps of a config for a machine and print what they cost.

    Args:
      config: already checked; `train.devices` is not read, the machine has the topology's.
      spec: of the data.
      topology: as of `parse_topology`.
      console: where to print.

    Raises:
      UserError: a batch that does not divide, a topology that the compiler refuses, no compiler, or
        a step that does not fit into the chip's memory.
    """
    console = console or Console()
    check_plannable(config, topology)
    parallel = make_parallel_on(topology, config.train.fsdp)
    task = make_task(config, spec)
    size, steps = config.train.batch_size, config.train.steps
    costs: dict[Phase, Cost] = {}
    phases = collections.Counter(map(task.phase, range(steps)))  # in their order
    for phase, count in phases.items():
        if len(phases) > 1:
            console.print(f"{describe(phase)}: {count:,} of {steps:,} steps")
        if topology.platform == "cuda":
            lowered = lower(task, spec, parallel, size, "cuda", phase)
            console.print(lowered_table(topology, lowered, phase.draws * size))
            continue
        cost = compile_cost(task, spec, parallel, size, topology, phase)
        if cost is None:
            raise UserError(
                f"train.batch_size={size} does not fit into the memory of {topology.name}"
                f" ({topology.chip.memory:g} GiB a chip): use a smaller one, or more chips"
            )
        console.print(cost_table(topology, cost, phase, size))
        costs[phase] = cost
    if topology.platform == "cuda":
        console.print(_LOWERED)
        return
    console.print(_ESTIMATES if topology.chip else _NO_FIGURES)
    if topology.platform == "tpu" and config.train.microbatches > 1:
        console.print(_ONE_OF.format(config.train.microbatches))
    if not topology.chip:
        return
    largest = max(costs, key=lambda phase: costs[phase].memory)
    found = largest_batch(
        lambda batch: compile_cost(task, spec, parallel, batch, topology, largest),
        topology,
        size,
        costs[largest],
        unit=topology.chips * config.train.microbatches * task.group,
    )
    if len(phases) > 1:
        seconds = sum(n * costs[p].step_seconds(topology.chip) for p, n in phases.items())
        console.print(f"estimate: step, mean of all {steps:,}: {_ms(seconds / steps)}")
        found = f"{found} ({describe(largest)}, which takes most)"
    console.print(f"largest batch: {found}")


def describe(phase: Phase) -> str:
    """Return what a phase has that others of the same training have not."""
    stage = [] if phase.stage is None else [f"stage {phase.stage}"]
    return ", ".join([*stage, *phase.due]) or "nothing due"


def check_plannable(config: ConfigDict, topology: Topology) -> None:
    """Raise UserError at what a config asks that cannot be planned for this machine."""
    size, chips = config.train.batch_size, topology.chips
    if config.train.parallel != "jit":
        raise UserError(
            f"train.parallel={config.train.parallel}: --mode=plan compiles the form of"
            " --config.train.parallel=jit"
        )
    parts = chips * config.train.microbatches
    if size % parts:
        below = size - size % parts
        near = f"{below} or {below + parts}" if below else f"{parts}"
        raise UserError(
            f"train.batch_size={size} does not divide over the {chips} chips of {topology.name}"
            f" x {config.train.microbatches} microbatches: use {near}"
        )


def make_parallel_on(topology: Topology, shards: int = 1) -> Parallel:
    """Return the mesh over a machine's devices, which need not be here; `shards` as of fsdp.

    Raises:
      UserError: libtpu is not installed or refuses the shape; or JAX shows too few CPU devices.
    """
    devices = _tpu_devices(topology) if topology.platform == "tpu" else jax.devices("cpu")
    if len(devices) < topology.chips:
        raise UserError(
            f"--topology={topology.name}: JAX shows {len(devices)} CPU devices in this process; set"
            f" XLA_FLAGS=--xla_force_host_platform_device_count={topology.chips} before it starts"
        )
    return Parallel("jit", make_mesh(devices[: topology.chips], shards))


def _tpu_devices(topology: Topology) -> list[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"--topology={topology.name} is compiled by libtpu, which is not installed: pip install"
            " -e '.[tpu]', best in an environment of its own"
        )
    # JAX's cache of compilations, where its user has one, cannot read back what libtpu compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    # What a host holds is not in the name: as many as 2x2, as in slices of more than one host.
    bounds = (*(min(2, n) for n in topology.shape[:2]), 1)
    options = {"chips_per_host_bounds": bounds}
    if topology.name.startswith("v4"):
        options["chip_config_name"] = "megacore"  # a chip's two cores as one device, as in JAX
    try:
        found = topologies.get_topology_desc(topology.name, platform="tpu", **options)
    except RuntimeError as error:  # JaxRuntimeError among them
        reason = str(error).splitlines()[0]
        raise UserError(f"--topology={topology.name}: libtpu refuses it ({reason})") from None
    return found.devices


def lower(
    task: Task,
    spec: DataSpec,
    parallel: Parallel,
    batch_size: int,
    platform: str,
    phase: Phase,
) -> jax.stages.Lowered:
    """Lower the train step of a task in a phase for a platform, with shapes for arrays."""
    key = jax.eval_shape(lambda: named_keys(0)["train"])
    key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=parallel.replicated)
    state = abstract_state(task, parallel)
    batch = abstract_batch(spec, phase, parallel, batch_size)
    step = parallel.compile_step(make_step(task, batch_size))
    return step.trace(phase, state, batch, key).lower(lowering_platforms=(platform,))


def abstract_batch(
    spec: DataSpec, phase: Phase, parallel: Parallel, batch_size: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and shardings of a training batch, as `Parallel.place` makes it."""
    sharding = parallel.split(axis=1)
    return {
        name: jax.ShapeDtypeStruct(
            (phase.draws, batch_size, *stream.shape),
            "uint8" if stream.kind == "image" else stream.dtype,
            sharding=sharding,
        )
        for name, stream in spec.streams.items()
    }


def compile_cost(
    task: Task,
    spec: DataSpec,
    parallel: Parallel,
    batch_size: int,
    topology: Topology,
    phase: Phase,
) -> Cost | None:
    """Compile the train step of a task, as `lower`, and return its cost; None: it does not fit."""
    lowered = lower(task, spec, parallel, batch_size, topology.platform, phase)
    try:
        compiled = lowered.compile(_EFFORT if topology.platform == "tpu" else None)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise
    cost = read_cost(compiled, phase.draws * batch_size, parallel.devices)
    return cost if topology.chip is None or cost.memory <= topology.chip.memory * GIB else None


def cost_table(topology: Topology, cost: Cost, phase: Phase, batch_size: int) -> Table:
    """Return the table of a compiled step, a row a quantity of one chip."""
    table = Table("per chip", topology.name)
    chip, chips = topology.chip, topology.chips
    draws = f", {phase.draws} times a step" if phase.draws > 1 else ""
    table.add_row("batch", f"{batch_size // chips:,} of {batch_size:,}{draws}")
    table.add_row("arithmetic", _si(cost.flops, "FLOP"))
    table.add_row("bytes accessed", _si(cost.bytes_accessed, "B"))
    table.add_row("arithmetic intensity", f"{cost.flops / cost.bytes_accessed:.1f} FLOP/B")
    for name in ("arguments", "outputs", "temporaries", "program"):
        table.add_row(f"memory: {name}", _mib(getattr(cost, name)))
    table.add_row("memory: total", _mib(cost.memory) + (f" of {chip.memory:g} GiB" if chip else ""))
    for kind in KINDS:
        sizes = [c.operand_bytes for c in cost.collectives if c.kind == kind]
        if sizes:
            table.add_row(kind, f"{len(sizes)} of together {_si(sum(sizes), 'B')}")
    if not cost.collectives:
        table.add_row("collectives", "none")
    if chip:
        step = cost.step_seconds(chip)
        table.add_section()
        table.add_row("estimate: arithmetic", _ms(cost.flops / chip.flops))
        table.add_row("estimate: memory traffic", _ms(cost.bytes_accessed / chip.memory_bandwidth))
        table.add_row("estimate: collectives", _ms(cost.collective_seconds(chip)))
        table.add_row("estimate: step", _ms(step))
        table.add_row("estimate: images/s", f"{cost.images / chips / step:,.0f}")
        table.add_row("estimate: images/s, all chips", f"{cost.images / step:,.0f}")
    return table


def lowered_table(topology: Topology, lowered: jax.stages.Lowered, images: int) -> Table:
    """Return the table of a step that was only lowered."""
    table = Table("whole step", topology.name)
    flops = lowered.cost_analysis()["flops"]
    leaves = jax.tree.leaves(lowered.args_info)
    arguments = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)
    table.add_row("images", f"{images:,}")
    table.add_row("arithmetic", _si(flops, "FLOP"))
    table.add_row("arithmetic, per chip", _si(flops / topology.chips, "FLOP"))
    table.add_row("memory: arguments", _mib(arguments))
    return table


def _si(value: float, unit: str) -> str:
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _mib(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f} ms"
