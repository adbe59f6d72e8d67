"""Effect of settings: steps per call, layouts chosen by XLA, determinism, overhead of the loop.

- `train.steps_per_call` 1, 8 and 32: time of the step alone, for a small step (MLP VAE, 128 images)
  and for a DCGAN (64 px, 64 images).
- Layouts: the state in default layouts (kernels as HWIO), and in those chosen by XLA
  (`Format(Layout.AUTO)` on the donated state).
- Determinism: the same steps with `--xla_gpu_deterministic_ops`.
- The loop: seconds per step in `train` relative to the step alone on one batch, as in
  `loop_overhead.py`, with MNIST on the device, and with batches from the host
  (`data.device_gib=0`).
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.parts.context import Context, shortened
from benchmarks.parts.minute import has_mnist
from benchmarks.parts.turns import Entry, blocks, in_turns
from benchmarks.processes import Failure, Process

CALLS = (1, 8, 32)
FEW = {"train__batch_size": 64}  # steps of a millisecond or less on a Hopper GPU
NAMES = ("DCGAN-64", "pix2pix-64", "ResNet-18-32")
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
LOOPS = {  # data.device_gib, train.steps_per_call
    "MNIST on the device": (0.25, 1),
    "MNIST on the device, 8 steps a call": (0.25, 8),
    "batches by the host": (0.0, 1),
}


def calls(name: str, tiny: bool) -> dict[str, Any]:
    """Compile a step in calls of several lengths."""
    from benchmarks.parts.sides import OursAhead, problem

    chosen = problem(name, tiny, **({} if name.startswith("MLP") else FEW))
    sides = {str(n): OursAhead(chosen, steps_per_call=n) for n in (CALLS[:2] if tiny else CALLS)}
    return blocks({form: lambda side=side: side for form, side in sides.items()})


def layouts(name: str, tiny: bool, automatic: bool) -> dict[str, Any]:
    """Compile a step as it is and, if asked for, with automatic layouts."""
    from benchmarks.parts.sides import OursAhead, problem

    sides, why = {"default": OursAhead(problem(name, tiny, **FEW))}, ""
    if automatic:
        try:
            sides["automatic"] = OursAhead(problem(name, tiny, **FEW), automatic_layouts=True)
        except Exception as error:  # the default form is a row all the same
            why = shortened(f"{type(error).__name__}: {error}")
    return {
        "first": {"why": why},
        **blocks({form: lambda side=side: side for form, side in sides.items()}),
        "facts": lambda form: sides[form].kernels(),
    }


def loop(mnist: bool, tiny: bool) -> dict[str, Any]:
    """Open the data of the loop once, so that it is decoded before it is timed."""
    from benchmarks import loop_overhead
    from gan_jax.data import open_data
    from gan_jax.methods.configs import load_config

    # The last line of the log is of half an interval, and not counted.
    steps = int((3.5 if tiny else 40.5) * loop_overhead.LOG_EVERY)

    def config(device_gib: float, steps_per_call: int) -> Any:
        nets = ("model.encoder", "model.decoder")
        fields = {f"{net}{end}": x for net in nets for end, x in (("", "mlp"), (".width", "32"))}
        small = ("vae", fields, 8, 8)
        chosen = small if tiny else ("dcgan", {}, 32, 64)
        made = loop_overhead.make_config(*chosen, steps, steps_per_call, device_gib)
        if mnist and not tiny:
            made.data = load_config("configs/dcgan.py:mnist").data
            made.data.device_gib = device_gib
        return made

    open_data(config(0.25, 1).data)

    def alone(device_gib: float, steps_per_call: int) -> dict[str, float]:
        return {"seconds": loop_overhead.step_alone(config(device_gib, steps_per_call))}

    def looped(device_gib: float, steps_per_call: int) -> dict[str, float]:
        seconds, wait = loop_overhead.step_in_loop(config(device_gib, steps_per_call))
        return {"seconds": seconds, "wait": wait}

    return {"alone": alone, "looped": looped}


def run(context: Context) -> None:
    """Compile everything at once, then time knob by knob."""
    names = ("MLP VAE-28",) if context.smoke else NAMES
    small = ("MLP VAE-28",) if context.smoke else ("MLP VAE-28", "DCGAN-64")
    given: dict[str, Any] = {"tiny": context.tiny}
    called = {name: context.start(calls, name=name, **given) for name in small}
    laid = {name: context.start(layouts, name=name, automatic=True, **given) for name in names}
    flag = {"XLA_FLAGS": DETERMINISTIC}
    fixed = {
        name: context.start(layouts, name=name, automatic=False, env=flag, **given)
        for name in names
    }
    looping = context.start(loop, mnist=has_mnist(), **given)
    everyone = [*called.values(), *laid.values(), *fixed.values(), looping]
    timing = 0.45 * context.left()
    why = {id(process): context.ready(process, timing) for process in everyone}
    share = lambda part: time.monotonic() + part * context.left(2.0)  # noqa: E731
    print_calls(context, called, why, share(0.3))
    print_layouts(context, laid, fixed, why, share(0.5))
    print_loop(context, looping, why[id(looping)])


def print_calls(
    context: Context, called: dict[str, Process], why: dict[int, str], end: float
) -> None:
    """Print one row per step and number of steps per call."""
    table = "Steps in a call"
    lengths = CALLS[:2] if context.tiny else CALLS
    for name, process in called.items():
        if why[id(process)]:
            context.emit(table, problem=name, note=why[id(process)])
            continue
        entries = [Entry(process, str(n)) for n in lengths]
        in_turns(context, entries, 3, end)
        times = [
            e.seconds / n if e.seconds else None for e, n in zip(entries, lengths, strict=True)
        ]
        cells: dict[str, Any] = {"problem": name}
        for n, seconds in zip(lengths, times, strict=True):
            cells[f"ms a step, {n} a call"] = 1e3 * seconds if seconds else ""
        if times[0]:
            for n, seconds in list(zip(lengths, times, strict=True))[1:]:
                cells[f"1/{n}"] = times[0] / seconds if seconds else ""
        cells["note"] = "; ".join(e.note for e in entries if e.note)
        context.emit(table, **cells)
        process.kill()


def print_layouts(
    context: Context,
    laid: dict[str, Process],
    fixed: dict[str, Process],
    why: dict[int, str],
    end: float,
) -> None:
    """Print one row per step: default, with automatic layouts, deterministic."""
    for place, name in enumerate(laid):
        entries: dict[str, Entry] = {}
        notes = []
        for title, form, process in (
            ("default", "default", laid[name]),
            ("automatic layouts", "automatic", laid[name]),
            ("deterministic", "default", fixed[name]),
        ):
            lacks = why[id(process)] or (form == "automatic" and process.first["why"])
            if lacks:
                notes.append(f"{title}: {lacks}")
            else:
                entries[title] = Entry(process, form)
        mine = time.monotonic() + (end - time.monotonic()) / (len(laid) - place)
        in_turns(context, list(entries.values()), 3, mine)
        cells: dict[str, Any] = {"problem": name}
        for title, entry in entries.items():
            cells[f"ms a step, {title}"] = 1e3 * entry.seconds if entry.seconds else ""
            notes += [f"{title}: {entry.note}"] if entry.note else []
        for title, entry in entries.items():
            try:
                found = context.ask(entry.process, "facts", 2.0, form=entry.form)
                cells[f"kernels, {title}"] = found["kernels"]
            except Failure as failure:
                notes.append(f"kernels: {failure}")
        context.emit("Layouts and determinism", **cells, note=shortened("; ".join(notes)))
        for process in (laid[name], fixed[name]):
            process.kill()


def print_loop(context: Context, process: Process, why: str) -> None:
    """Print one row per kind of input to the loop."""
    table = "The loop over the step alone"
    if why:
        context.emit(table, note=why)
        return
    for title, (device_gib, steps_per_call) in LOOPS.items():
        if context.smoke and steps_per_call > 1:
            continue
        given = dict(device_gib=device_gib, steps_per_call=steps_per_call)
        name = title if has_mnist() and not context.tiny else title.replace("MNIST", "noise")
        try:
            alone = context.ask(process, "alone", **given)["seconds"]
            found = context.ask(process, "looped", **given)
        except Failure as failure:
            context.emit(table, training=name, note=shortened(str(failure)))
            return
        context.emit(
            table,
            training=name,
            **{"step alone [ms]": 1e3 * alone, "in the loop [ms]": 1e3 * found["seconds"]},
            ratio=found["seconds"] / alone,
            **{"input wait": f"{found['wait']:.1%}"},
        )
