"""Ahead-of-time compilation of a config's training for another machine, and a report of its cost.

The compiled steps are those of training, one per phase (a stage of growing networks, or a
combination of lazy regularisers), on a mesh over the named devices, with abstract arrays. One
difference: batches are passed as arguments, not gathered from a resident split
(`data/resident.py`). Nothing runs and nothing is written. `gan_jax/planning/compilers.py` lists the
compilers; for "cuda:N", which names no chip, the step is lowered only.

For TPUs and CPUs, counts are XLA's own for one chip's program (`cost_analysis`): a multiply-add is
2 FLOPs, random numbers and element-wise arithmetic are included; "bytes accessed" are the operands
and results of every fused operation in any memory, which over-counts what stays in on-chip memory.
On CPU the convolutions are computed in other forms (`gan_jax/ops/convolution.py`), with other
counts.

XLA has no such counts for GPUs that are not available here. For these, FLOPs are XLA's count for
one device's part of the step before optimisation, with loops unrolled; kernels and the bytes that
they read and write are parsed from the compiled program (`gan_jax/planning/hlo.py`).

Times are estimates: a roofline that no real step reaches.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.table import Table

from gan_jax.core.errors import UserError
from gan_jax.core.keys import named_keys
from gan_jax.core.spec import DataSpec
from gan_jax.core.task import Phase, Task
from gan_jax.methods.registry import make_task
from gan_jax.parallel.mesh import Parallel, make_mesh
from gan_jax.planning.compilers import compile_for, devices_of, simulated_devices
from gan_jax.planning.cost import Cost, read_cost, read_gpu_cost
from gan_jax.planning.hlo import KINDS
from gan_jax.planning.largest_batch import largest_batch
from gan_jax.planning.topology import Topology
from gan_jax.rundir.checkpoint import abstract_state
from gan_jax.training.feed import abstract_batch
from gan_jax.training.step import training_step

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
_GPU_ESTIMATES = (
    "Estimates: step = max(arithmetic at the peak of train.precision, bytes accessed at full memory"
    " bandwidth) + bytes sent by ring algorithms over NVLink; no launches, no overlap, no latency."
    " Compiled without autotuning, which needs a GPU: what cuDNN works in is missing in memory. JAX"
    " takes {:.0%} of a GPU's memory (XLA_PYTHON_CLIENT_MEM_FRACTION): what does not fit there is"
    " said not to fit. A training split that lies on the GPUs (data.device_gib) is not counted."
)
_LOWERED = (
    "Lowered for CUDA, not compiled: counted before optimisation, so there are no temporaries,"
    " collectives or times. Name the GPUs to have them: --topology={}."
)


def plan(
    config: ConfigDict, spec: DataSpec, topology: Topology, console: Console | None = None
) -> None:
    """Compile the train steps of a config for a machine and print their cost.

    Args:
      config: a validated config; `train.devices` is ignored in favour of the topology.
      spec: spec of the data.
      topology: from `parse_topology`.
      console: where to print.

    Raises:
      UserError: for a batch that is not divisible, a topology that the compiler rejects, a missing
        compiler, or a step that does not fit into the chip's memory.
    """
    console = console or Console(markup=False)
    check_plannable(config, topology)
    training = Training(config, spec, make_parallel_on(topology, config.train.fsdp))
    task, size, steps = training.task, config.train.batch_size, config.train.steps
    costs: dict[Phase, Cost] = {}
    phases = collections.Counter(map(task.phase, range(steps)))  # in order of first use
    for phase, count in phases.items():
        if len(phases) > 1:
            console.print(f"{describe(phase)}: {count:,} of {steps:,} steps")
        if topology.lowered_only:
            lowered = training.lower(phase, size, topology.platform)
            flops = count_flops(training, topology, phase, size)
            console.print(lowered_table(topology, lowered, flops, phase.draws * size))
            continue
        cost = compile_cost(training, topology, phase, size)
        if cost is None:
            memory = f"{topology.chip.memory:.3g} GiB a chip"
            if topology.chip.share < 1:
                memory += f", of which JAX takes {topology.chip.share:.0%}"
            raise UserError(
                f"train.batch_size={size} does not fit into the memory of {topology.name}"
                f" ({memory}): use a smaller one, or more chips"
            )
        console.print(cost_table(topology, cost, phase, size))
        costs[phase] = cost
    if topology.lowered_only:
        console.print(_LOWERED.format(f"h100:{topology.chips}"))
        return
    if topology.platform == "cuda":
        console.print(_GPU_ESTIMATES.format(topology.chip.share))
    else:
        console.print(_ESTIMATES if topology.chip else _NO_FIGURES)
    if topology.platform == "tpu" and config.train.microbatches > 1:
        console.print(_ONE_OF.format(config.train.microbatches))
    if not topology.chip:
        return
    largest = max(costs, key=lambda phase: costs[phase].memory)

    def memory_of(batch: int) -> Cost | None:
        return compile_cost(training, topology, largest, batch, flops=0.0)

    found = largest_batch(
        memory_of,
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
    """Return a description of a phase: its stage and the terms due."""
    stage = [] if phase.stage is None else [f"stage {phase.stage}"]
    return ", ".join([*stage, *phase.due]) or "nothing due"


def check_plannable(config: ConfigDict, topology: Topology) -> None:
    """Raise UserError for a config that cannot be planned for this machine."""
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
    """Return the mesh over the devices of a machine, which need not be available here.

    Args:
      topology: the machine.
      shards: number of FSDP shards, `train.fsdp`.

    Raises:
      UserError: see `gan_jax.planning.compilers.devices_of`.
    """
    target = "gpu" if topology.lowered_only else ""
    return Parallel("jit", make_mesh(devices_of(topology), shards), target)


@dataclasses.dataclass(frozen=True)
class Training:
    """The training of a config on devices that need not be available here.

    Attributes:
      config: a validated config.
      spec: spec of the data.
      parallel: the devices.
    """

    config: ConfigDict
    spec: DataSpec
    parallel: Parallel

    @functools.cached_property
    def task(self) -> Task:
        """The method."""
        return make_task(self.config, self.spec)

    def lower(self, phase: Phase, batch_size: int, platform: str) -> jax.stages.Lowered:
        """Lower the training step of a phase for a platform, with abstract arrays."""
        key = jax.eval_shape(lambda: named_keys(0)["train"])
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.parallel.replicated)
        state = abstract_state(self.task, self.parallel)
        batch = abstract_batch(self.spec, phase, self.parallel, batch_size)
        step = self.parallel.compile_step(training_step(self.task, self.config, batch_size))
        return step.trace(phase, state, batch, key).lower(lowering_platforms=(platform,))


def count_flops(training: Training, topology: Topology, phase: Phase, batch_size: int) -> float:
    """Return XLA's FLOP count of one device's part of a step, lowered but not optimised.

    The step is lowered on simulated CPU devices, where loops are unrolled, because XLA counts a
    loop body only once; operations have the forms of the topology's platform.
    """
    mesh = make_mesh(simulated_devices(topology), training.parallel.shards)
    simulated = dataclasses.replace(training, parallel=Parallel("jit", mesh))
    return simulated.lower(phase, batch_size, topology.platform).cost_analysis()["flops"]


def compile_cost(
    training: Training,
    topology: Topology,
    phase: Phase,
    batch_size: int,
    *,
    flops: float | None = None,
) -> Cost | None:
    """Compile a training step and return its cost, or None if it does not fit.

    Args:
      training: the training, on the devices of the topology.
      topology: from `parse_topology`.
      phase: phase of the step.
      batch_size: images per draw, over all devices.
      flops: FLOPs of a GPU's step, to skip counting them.

    Raises:
      UserError: if the compiler rejects the step.
    """
    compiled = compile_for(topology, training.lower(phase, batch_size, topology.platform))
    if compiled is None:
        return None
    images, chip = phase.draws * batch_size, topology.chip
    given = images, training.parallel.devices, training.config.train.precision
    if topology.platform == "cuda":
        if flops is None:
            flops = count_flops(training, topology, phase, batch_size)
        cost = read_gpu_cost(compiled, *given, flops)
    else:
        cost = read_cost(compiled, *given)
    return cost if chip is None or cost.memory <= chip.limit else None


def cost_table(topology: Topology, cost: Cost, phase: Phase, batch_size: int) -> Table:
    """Return the table of a compiled step, one row per quantity of one chip."""
    table = Table("per chip", topology.name)
    chip, chips = topology.chip, topology.chips
    draws = f", {phase.draws} times a step" if phase.draws > 1 else ""
    table.add_row("batch", f"{batch_size // chips:,} of {batch_size:,}{draws}")
    if cost.kernels:
        table.add_row("kernels", f"{cost.kernels:,}")
    table.add_row("arithmetic", _si(cost.flops, "FLOP"))
    table.add_row("bytes accessed", _si(cost.bytes_accessed, "B"))
    if cost.kernels:
        table.add_row("bytes accessed: copies", _si(cost.copied, "B"))
    table.add_row("arithmetic intensity", f"{cost.flops / cost.bytes_accessed:.1f} FLOP/B")
    for name in ("arguments", "outputs", "temporaries", "program"):
        table.add_row(f"memory: {name}", _mib(getattr(cost, name)))
    table.add_row(
        "memory: total", _mib(cost.memory) + (f" of {chip.memory:.3g} GiB" if chip else "")
    )
    for kind in KINDS:
        sizes = [c.operand_bytes for c in cost.collectives if c.kind == kind]
        if sizes:
            table.add_row(kind, f"{len(sizes)} of together {_si(sum(sizes), 'B')}")
    if not cost.collectives:
        table.add_row("collectives", "none")
    if chip:
        step = cost.step_seconds(chip)
        table.add_section()
        if chip.flops_float32:
            table.add_row("estimate: arithmetic, TF32", _ms(cost.flops / chip.flops_float32))
            table.add_row("estimate: arithmetic, bfloat16", _ms(cost.flops / chip.flops))
        else:
            table.add_row("estimate: arithmetic", _ms(cost.flops / chip.flops))
        table.add_row("estimate: memory traffic", _ms(cost.bytes_accessed / chip.memory_bandwidth))
        table.add_row("estimate: collectives", _ms(cost.collective_seconds(chip)))
        table.add_row("estimate: step", _ms(step))
        table.add_row("estimate: images/s", f"{cost.images / chips / step:,.0f}")
        table.add_row("estimate: images/s, all chips", f"{cost.images / step:,.0f}")
    return table


def lowered_table(
    topology: Topology, lowered: jax.stages.Lowered, flops: float, images: int
) -> Table:
    """Return the table of a step that was lowered only; `flops` are those of one chip."""
    table = Table("whole step", topology.name)
    leaves = jax.tree.leaves(lowered.args_info)
    arguments = sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves)
    text = lowered.as_text()
    table.add_row("images", f"{images:,}")
    table.add_row("arithmetic", _si(flops * topology.chips, "FLOP"))
    table.add_row("arithmetic, per chip", _si(flops, "FLOP"))
    table.add_row("convolutions", f"{text.count('stablehlo.convolution('):,}")
    table.add_row("matrix products", f"{text.count('stablehlo.dot_general '):,}")
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
