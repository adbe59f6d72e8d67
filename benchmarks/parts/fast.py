"""Speed of a training step against the PyTorch twin, eager and with torch.compile.

For each problem (`sides.FULL`, at batches that fill the chip) in TF32 and in bfloat16 (autocast in
PyTorch): ours as compiled by main.py; eager with contiguous and channels_last memory, of which the
faster counts; torch.compile, and its mode reduce-overhead (CUDA graphs), with channels_last, since
inductor chooses the layout of convolutions. PyTorch uses fused Adam and cudnn.benchmark.

All processes of a few problems start at once and compile. When all are ready, or their time is
over, implementations are timed in turns, one at a time, in blocks of at least 50 steps with one
synchronisation each; medians count. A process that is not ready is killed, and its row states it.
Memory is `peak_bytes_in_use` for ours (one process per precision) and `max_memory_allocated` for
PyTorch.

XLA and cuDNN choose algorithms by timing them, here while others compute on the GPU. If time is
left, ours is therefore compiled again, alone, and timed against the first compilation.

"share" is the step's FLOP/s relative to the peak that part "device" measured at the same precision.
FLOPs are XLA's count of the lowered step (a multiply-add is two, element-wise arithmetic included),
the same for both frameworks. "share of the copy" is relative to the measured bandwidth: the bytes
that our program's kernels read and write, by their shapes, over the step's time.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from typing import Any

from benchmarks.parts import device as device_part
from benchmarks.parts.context import Context, shortened
from benchmarks.parts.turns import Entry, blocks, in_turns
from benchmarks.processes import Failure, Process

# In order of importance.
NAMES = (
    *("DCGAN-64", "SNGAN-32", "BigGAN-32", "pix2pix-64"),
    *("ResNet-18-32", "conv VAE-64", "WGAN-GP-32", "SAGAN-64"),
)
CORES = 4  # for the eight processes of a problem, whose problems compile side by side
PRECISIONS = {"TF32": "float32", "bfloat16": "bfloat16"}
MEMORY = ("channels_last", "contiguous")
TABLE = "A training step beside PyTorch"


# --- functions of the workers ---


def ours(name: str, precision: str, tiny: bool) -> dict[str, Any]:
    """Compile our step."""
    from benchmarks.parts.sides import OursAhead, problem

    side = OursAhead(problem(name, tiny, train__precision=PRECISIONS[precision]))
    return {
        "first": {"compile": side.compile_seconds},
        **blocks({"ours": lambda: side}),
        "facts": lambda form: {**side.kernels(), **side.peak()},
    }


def eager(name: str, device: str, tiny: bool, resolved: str) -> dict[str, Any]:
    """Serve the eager twin in all memory formats, each built on first use."""
    from benchmarks.parts.sides import TorchTimed, problem

    chosen = dataclasses.replace(problem(name, tiny), resolved=resolved)
    made: dict[str, Any] = {}

    def make(form: str) -> Any:
        made[form] = TorchTimed(chosen, form, device)
        return made[form]

    forms = [f"{precision} {memory}" for precision in PRECISIONS for memory in MEMORY]
    return {
        **blocks({form: lambda form=form: make(form) for form in forms}),
        "facts": lambda form: {**made[form].kernels(), **made[form].peak()},
    }


def compiled(name: str, form: str, device: str, tiny: bool, resolved: str) -> dict[str, Any]:
    """Compile the twin."""
    from benchmarks.parts.sides import TorchTimed, problem

    chosen = dataclasses.replace(problem(name, tiny), resolved=resolved)
    side = TorchTimed(chosen, f"{form} channels_last", device)
    return {
        "first": {"compile": side.compile_seconds},
        **blocks({form: lambda: side}),
        "facts": lambda form: {**side.kernels(), **side.peak()},
    }


def check(name: str, device: str, tiny: bool) -> dict[str, Any]:
    """Check that the twin takes our step, of 16 images."""
    from benchmarks.equality import check as compare
    from benchmarks.parts.sides import problem
    from benchmarks.worker import DEVICES

    whole = problem(name, tiny)
    fields = {**whole.fields, "train.batch_size": 16}
    found, _ = compare(dataclasses.replace(whole, fields=fields), DEVICES[device])
    return {"first": found}


def operations(names: list[str], tiny: bool) -> dict[str, Any]:
    """Count the operations of steps, lowered for a GPU on the CPU."""
    return {"count": lambda name: {"flops": flops(name, tiny)}}


def flops(name: str, tiny: bool) -> float:
    """Return XLA's count of the operations of a step that is lowered for CUDA."""
    import jax

    from benchmarks.parts.sides import problem
    from gan_jax.core.keys import named_keys
    from gan_jax.methods.registry import make_task
    from gan_jax.parallel.axes import Axes, mapped
    from gan_jax.training.step import make_step

    chosen = problem(name, tiny)
    task, batch = make_task(chosen.config(), chosen.spec()), chosen.batch()
    step = make_step(task, batch["image"].shape[1])

    def run(state: Any, batch: Any, key: Any) -> Any:
        with mapped(Axes((), "gpu")):
            return step(task.phase(0), state, batch, key)

    key = jax.eval_shape(lambda: named_keys(0)["train"])
    state = jax.eval_shape(task.init, key)
    lowered = jax.jit(run).trace(state, batch, key).lower(lowering_platforms=("cuda",))
    return float(lowered.cost_analysis()["flops"])


# --- the part ---


@dataclasses.dataclass
class Row:
    """The processes of one problem and their state."""

    name: str
    checked: Process
    entries: dict[tuple[str, str], Entry]  # by precision and form
    why: dict[tuple[str, str], str]  # reasons for missing entries


def run(context: Context) -> None:
    """Compile, time and print, some problems at a time."""
    names = ["MLP VAE-28"] if context.smoke else list(NAMES)
    width = max(context.cores // CORES, 1)
    began, waves = time.monotonic(), [names[i : i + width] for i in range(0, len(names), width)]
    among: dict[str, float] = {}  # seconds per step of ours, compiled while others computed
    ceilings = device_part.ceilings(context)
    counter = context.start(
        operations, names=names, tiny=context.tiny, env={"JAX_PLATFORMS": "cpu"}
    )
    for number, wave in enumerate(waves):
        if number and context.left() < 0.3 * (context.end - began) / (2 if context.whole else 1):
            for name in wave:
                context.emit(TABLE, problem=name, note="out of time: --only=fast measures it")
            continue
        later = len(waves) - number - 1 if context.whole else 0
        share = context.left(reserve=4.0) / (1 + later)
        rows = [start(context, name) for name in wave]
        until = time.monotonic() + 0.55 * share
        for row in rows:
            wait_for(context, row, until)
        if not ceilings:
            ceilings = measured_ceilings(context)
        end = time.monotonic() + min(0.45 * share, context.left(reserve=4.0))
        for place, row in enumerate(rows):
            mine = time.monotonic() + (end - time.monotonic()) / (len(rows) - place)
            in_turns(context, list(row.entries.values()), 5 if context.whole else 3, mine)
            print_row(context, row, count(context, counter, row.name), ceilings)
            if (mine := row.entries.get(("TF32", "ours"))) and mine.seconds:
                among[row.name] = mine.seconds
            for process in {id(e.process): e.process for e in row.entries.values()}.values():
                process.kill()
    for name, seconds in among.items():
        if context.left() < (5.0 if context.tiny else 30.0) or context.smoke:
            break
        print_alone(context, name, seconds)


def start(context: Context, name: str) -> Row:
    """Start all processes of a problem; the longest to compile first."""
    from benchmarks.parts.sides import problem

    given: dict[str, Any] = dict(name=name, tiny=context.tiny)
    theirs = {"device": context.device, "resolved": problem(**given).resolve().resolved}
    there = shutil.which("g++") or shutil.which("gcc") or shutil.which("clang++")
    modes = ["compile", "compile reduce-overhead"] if there else []
    entries = {}
    for mode in modes[:1] if context.smoke else modes:
        for precision in ["TF32"] if context.smoke else PRECISIONS:
            form = f"{mode} {precision}"
            process = context.start(compiled, form=form, **theirs, **given)
            entries[precision, mode] = Entry(process, form)
    for precision in PRECISIONS:
        process = context.start(ours, precision=precision, env=context.uncached, **given)
        entries[precision, "ours"] = Entry(process, "ours")
    process = context.start(eager, **theirs, **given)
    for precision in PRECISIONS:
        for memory in MEMORY:
            entries[precision, f"eager {memory}"] = Entry(process, f"{precision} {memory}")
    checked = context.start(check, device=context.device, **given)
    return Row(name, checked, entries, {} if there else {("", "compile"): "no C compiler"})


def wait_for(context: Context, row: Row, until: float) -> None:
    """Wait for the processes of a problem; kill those that are not ready in time."""
    reserve = context.end - until
    for key, entry in list(row.entries.items()):
        if why := context.ready(entry.process, reserve):
            row.why[key] = why
            del row.entries[key]
            entry.process.kill()
    why = context.ready(row.checked, reserve)
    row.why["", "check"] = why
    row.checked.kill()


def count(context: Context, counter: Process, name: str) -> float:
    """Return the operations of a step; 0 if unknown."""
    try:
        context_ready = context.ready(counter, 1.0)
        return 0.0 if context_ready else context.ask(counter, "count", 1.0, name=name)["flops"]
    except Failure:
        return 0.0


def measured_ceilings(context: Context) -> dict[str, float]:
    """Return the peaks measured by JAX, for a run of this part alone."""
    process, found = context.start(device_part.with_jax, device=context.device), {}
    try:
        if not context.ready(process, 30.0):
            for precision in PRECISIONS:
                found[precision] = context.ask(process, "product", 20.0, precision=precision)[
                    "rate"
                ]
            found["copy"] = context.ask(process, "copy", 20.0)["rate"]
    except Failure as failure:
        context.emit("Ceilings", what="for the shares", note=shortened(str(failure)))
    process.kill()
    return found


def print_row(context: Context, row: Row, flops: float, ceilings: dict[str, float]) -> None:
    """Print the rows of a problem: per precision, and per implementation in a second table."""
    from benchmarks.parts.sides import problem

    config = problem(row.name, context.tiny).config()
    size = config.train.batch_size
    images = size * config.task.get("disc_updates", 1)
    for precision in PRECISIONS:
        found = {form: e for (p, form), e in row.entries.items() if p == precision and e.seconds}
        eagers = {form: e for form, e in found.items() if form.startswith("eager")}
        best = min(eagers, key=lambda form: eagers[form].seconds, default="")
        shown = {"ours": found.get("ours"), "eager": found.get(best)}
        shown["compile"] = found.get("compile")
        shown["reduce-overhead"] = found.get("compile reduce-overhead")
        cells: dict[str, Any] = {"problem": row.name, "batch": size, "precision": precision}
        facts: dict[str, dict[str, Any]] = {}
        rate = ceilings.get(precision, 0.0) * 1e12
        for title, entry in shown.items():
            cells[f"images/s {title}"] = images / entry.seconds if entry else ""
        for title, entry in list(shown.items())[1:]:
            both = entry and shown["ours"]
            cells[f"ours/{title}"] = entry.seconds / shown["ours"].seconds if both else ""
        for title, entry in shown.items():
            if entry is None:
                continue
            facts[title] = known(context, entry)
            facts[title]["compile"] = (entry.process.first or {}).get("compile")
            if flops and rate:
                facts[title]["share"] = f"{flops / entry.seconds / rate:.0%}"
            if facts[title].get("gb") and ceilings.get("copy"):
                moved = facts[title]["gb"] / entry.seconds / ceilings["copy"]
                cells["ours, share of the copy"] = f"{moved:.0%}"
        for kind, name in (
            ("share", "share"),
            ("kernels", "kernels"),
            ("mib", "peak [MiB]"),
            ("compile", "compile [s]"),
        ):
            values = [facts.get(title, {}).get(kind) for title in shown]
            said = [v if isinstance(v, str) else f"{v:.0f}" if v else "-" for v in values]
            cells[f"{name}: ours, eager, compile, r.-o."] = ", ".join(said)
        cells["eager is"] = best.removeprefix("eager ")
        reasons = {f: why for (p, f), why in row.why.items() if p in ("", precision)}
        reasons |= {f: e.note for (p, f), e in row.entries.items() if p == precision}
        notes = [
            f"{', '.join(f for f in reasons if reasons[f] == why)}: {why}"
            for why in dict.fromkeys(filter(None, reasons.values()))
        ]
        cells["note"] = shortened("; ".join(notes), 300)
        context.emit(TABLE, **cells)
        for form, entry in found.items():
            context.emit(
                f"{TABLE}, every form",
                problem=row.name,
                precision=precision,
                form=form,
                **{"ms a step": 1e3 * entry.seconds},
                blocks=", ".join(f"{1e3 * t:.3f}" for t in entry.times),
                **{"GFLOP a step": flops / 1e9},
            )
    if row.checked.first is not None and not row.why["", "check"]:
        errors = {k: v for k, v in row.checked.first.items() if k != "seconds"}
        context.emit(
            "The twin takes our step: differences at highest precision", problem=row.name, **errors
        )


def print_alone(context: Context, name: str, seconds: float) -> None:
    """Compile our step alone on the GPU, and print its time next to the earlier one."""
    process = context.start(
        ours, name=name, precision="TF32", tiny=context.tiny, env=context.uncached
    )
    cells: dict[str, Any] = {"problem": name, "precision": "TF32", "ms among others": 1e3 * seconds}
    if why := context.ready(process, 2.0):
        cells["note"] = why
    else:
        entry = Entry(process, "ours")
        in_turns(context, [entry], 3, context.end - 1.0)
        cells["ms alone"] = 1e3 * entry.seconds if entry.seconds else ""
        cells["compile [s]"] = process.first["compile"]
        cells["note"] = entry.note
    context.emit("Our step compiled among others and alone", **cells)
    process.kill()


def known(context: Context, entry: Entry) -> dict[str, Any]:
    """Return kernels and memory of an implementation, if it answers in time."""
    try:
        return dict(context.ask(entry.process, "facts", 3.0, form=entry.form))
    except Failure:
        return {}
