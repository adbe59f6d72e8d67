"""Correctness: steps on GPU against CPU, checkpoints across both, and bitwise reproducibility.

- Three steps from one state, on the device and on the CPU in one process, with full float32
  products ("highest"), the default (TF32) and train.precision=bfloat16; the CPU computes in
  float32. Errors are norms relative to the norm of the array, or to 1e-4 of the norm of all arrays
  of its kind (parameters, a moment, ...) if that is larger: gradients of biases before BatchNorm
  are exactly 0, and what is computed is rounding. Adam's first steps are about the signs of
  gradients, so errors of parameters are less informative than those of the losses.
- A checkpoint of the CPU's state is restored on the device, trained for a step, saved, and restored
  on the CPU; each time all arrays are compared bit by bit with the saved ones.
- A short training, twice in one process and in two processes, with and without XLA's determinism
  flags: the SHA-256 of the state.
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from benchmarks.parts.context import Context, shortened
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.processes import Failure, Process

FAMILIES = {
    "DCGAN": "DCGAN-64",
    "VAE": "conv VAE-64",
    "classifier": "ResNet-18-32",
    "pix2pix": "pix2pix-64",
}
BITS = ("DCGAN", "classifier")  # families tested for reproducibility; with --only all
PRECISIONS = ("highest", "default", "bfloat16")
STEPS = 3
FLAGS = {
    "none": "",
    "deterministic_ops": "--xla_gpu_deterministic_ops=true",
    "exclude_nondeterministic_ops": "--xla_gpu_exclude_nondeterministic_ops=true",
}
ROUNDING = 1e-4


def family(name: str, tiny: bool) -> Problem:
    """Return a family's problem: 16 images, narrow, since the CPU computes it too."""
    problem = PROBLEMS["MLP VAE-28" if tiny and name == "VAE" else FAMILIES[name]]
    width = 4 if tiny else 32
    fields: dict[str, Any] = {"train__batch_size": 8 if tiny else 16}
    for net, section in problem.config().model.items():
        if isinstance(section, ConfigDict) and "width" in section:
            fields[f"model__{net}__width"] = width
    if tiny and name == "classifier":
        fields |= {"model__net": "cnn", "model__net__dropout": 0.3}
    side = 16 if tiny else problem.image[0]
    return problem.changed((side, side, problem.image[2]), **fields)


class Steps:
    """The train step of a problem on one device."""

    def __init__(self, problem: Problem, place: str, precision: str) -> None:
        import jax

        from gan_jax.core.keys import named_keys
        from gan_jax.methods.registry import make_task
        from gan_jax.parallel.mesh import Parallel, make_mesh
        from gan_jax.training.step import make_step

        config, batch = problem.config(), problem.batch()
        if precision == "bfloat16":
            config.train.precision = "bfloat16"
        chosen = jax.devices("cpu") if place == "cpu" else jax.devices()
        self.jax, self.parallel = jax, Parallel("jit", make_mesh(chosen[:1]))
        self.task = make_task(config, problem.spec())
        self.keys = self.parallel.replicate(lambda: named_keys(0))
        self.batch = self.parallel.place(batch, axis=1)
        self.step = self.parallel.compile_step(make_step(self.task, batch["image"].shape[1]))
        self.products = (
            jax.default_matmul_precision("highest")
            if precision == "highest"
            else contextlib.nullcontext()
        )

    def init(self) -> Any:
        """Return the initial state, on the host."""
        return self.jax.device_get(self.parallel.compile_init(self.task.init)(self.keys["init"]))

    def put(self, state: Any) -> Any:
        """Return a state of the host on the device."""
        return self.jax.device_put(state, self.parallel.shardings(state))

    def take(self, state: Any, steps: int) -> tuple[Any, list[dict[str, float]]]:
        """Return the state after some steps, and the metrics of each, all on the host."""
        state, found = self.put(state), []
        for _ in range(steps):
            with self.products:
                state, metrics = self.step(
                    self.task.phase(0), state, self.batch, self.keys["train"]
                )
            found.append({name: float(x) for name, x in metrics.items()})
        return self.jax.device_get(state), found


def compare(name: str, tiny: bool) -> dict[str, Any]:
    """Prepare the comparison of a family: compute the CPU reference."""
    problem = family(name, tiny)
    cpu = Steps(problem, "cpu", "float32")
    start = cpu.init()
    reference, losses = cpu.take(start, STEPS)
    made: dict[str, Steps] = {}

    def steps(precision: str) -> dict[str, Any]:
        made[precision] = Steps(problem, "device", precision)
        after, found = made[precision].take(start, STEPS)
        errors = array_errors(after, reference)
        worst = max(errors, key=errors.get)
        off = [
            abs(mine[key] - theirs[key]) / max(abs(theirs[key]), 1e-3)
            for mine, theirs in zip(found, losses, strict=True)
            for key in theirs
            if not key.startswith("accuracy")
        ]
        return {
            "max": errors[worst],
            "worst": worst,
            "median": statistics.median(errors.values()),
            "losses": max(off),
            "first losses": max(off[: len(off) // STEPS]),
            "arrays": len(errors),
        }

    return {"steps": steps, "resume": lambda: across(cpu, made["default"], start)}


def array_errors(state: Any, reference: Any) -> dict[str, float]:
    """Return the error of each array of numbers by its path; see the file."""
    import jax
    import numpy as np

    def norms(tree: Any) -> dict[str, Any]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        floating = [
            (p, np.asarray(x, np.float64)) for p, x in leaves if np.asarray(x).dtype.kind == "f"
        ]
        return {jax.tree_util.keystr(path): x for path, x in floating}

    found, wanted = norms(state), norms(reference)
    kinds: dict[str, float] = {}
    for path, x in wanted.items():
        kinds[kind_of(path)] = kinds.get(kind_of(path), 0.0) + float((x**2).sum())
    errors = {}
    for path, x in wanted.items():
        least = ROUNDING * kinds[kind_of(path)] ** 0.5
        scale = max(float(np.linalg.norm(x)), least)
        if scale:
            errors[path] = float(np.linalg.norm(found[path] - x)) / scale
    return errors


def kind_of(path: str) -> str:
    """Return which net and collection an array belongs to: ".nets['gen'].opt_state[0].mu"."""
    parts = path.split("[")
    words = [part for part in parts if "'" not in part or part is parts[1]]
    moment = next((m for m in (".mu", ".nu") if m in path), "")
    collection = next((c for c in ("params", "extra", "ema", "opt_state") if f".{c}" in path), "")
    return f"{words[1] if len(words) > 1 else words[0]} {collection}{moment}"


def across(cpu: Steps, device: Steps, start: Any) -> dict[str, Any]:
    """Move a state from the CPU to the device and back by checkpoints, with a step on each."""
    import jax
    import numpy as np

    from gan_jax.rundir.checkpoint import Checkpoints, abstract_state

    equal = []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder) / "c", keep=9) as kept:
        state = cpu.take(start, 1)[0]
        for number, (here, there) in enumerate([(cpu, device), (device, cpu), (cpu, device)], 1):
            kept.save(number, here.put(state))
            kept.wait()
            restored, _ = kept.restore(abstract_state(there.task, there.parallel), number)
            pairs = zip(
                jax.tree.leaves(jax.device_get(restored)), jax.tree.leaves(state), strict=True
            )
            equal.append(all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs))
            state = there.take(jax.device_get(restored), 1)[0]
    return {"equal": equal, "arrays": len(jax.tree.leaves(state)), "step": int(state.step)}


def bits(steps: int, tiny: bool) -> dict[str, Any]:
    """Prepare nothing: a process that trains families from their seeds."""

    def twice(name: str) -> dict[str, list[str]]:
        side, sums = Steps(family(name, tiny), "device", "default"), []
        start = side.init()
        for _ in range(2):
            state = side.take(start, steps)[0]
            digest = hashlib.sha256()
            for leaf in side.jax.tree.leaves(state):
                digest.update(leaf.tobytes())
            sums.append(digest.hexdigest()[:16])
        return {"sums": sums}

    return {"twice": twice}


def run(context: Context) -> None:
    """Start all processes, which work concurrently, and print their rows as they arrive."""
    names = ["VAE"] if context.smoke else list(FAMILIES)
    compared = {name: context.start(compare, name=name, tiny=context.tiny) for name in names}
    chosen, flags, steps = names if context.whole else BITS, dict(FLAGS), 20
    if context.smoke:
        chosen, flags, steps = ["VAE"], {k: FLAGS[k] for k in ("none", "deterministic_ops")}, 3
    pairs = {
        kind: [
            context.start(
                bits, env={"XLA_FLAGS": flag, **context.uncached}, steps=steps, tiny=context.tiny
            )
            for _ in range(2)
        ]
        for kind, flag in flags.items()
    }
    with ThreadPoolExecutor() as pool:
        made = [pool.submit(print_comparison, context, n, p) for n, p in compared.items()]
        made += [pool.submit(print_bits, context, chosen, k, steps, p) for k, p in pairs.items()]
    for each in made:
        each.result()


def print_comparison(context: Context, name: str, process: Process) -> None:
    """Print the rows of a family: three of steps, one of the resume."""
    if why := context.ready(process):
        context.emit("GPU against CPU, three steps", family=name, note=why)
        return
    for precision in PRECISIONS[1:] if context.smoke else PRECISIONS:
        cells: dict[str, Any] = dict(family=name, precision=precision)
        try:
            found = context.ask(process, "steps", precision=precision)
        except Failure as failure:
            context.emit("GPU against CPU, three steps", **cells, note=shortened(str(failure)))
            return
        cells["largest error of an array"] = found["max"]
        cells["median"] = found["median"]
        cells["losses, first step"] = found["first losses"]
        cells["losses, three steps"] = found["losses"]
        cells["largest is"] = found["worst"].replace("'", "")
        context.emit("GPU against CPU, three steps", **cells)
    table = "Resume CPU -> GPU -> CPU -> GPU"
    try:
        found = context.ask(process, "resume")
    except Failure as failure:
        context.emit(table, family=name, note=shortened(str(failure)))
        return
    said = ["bit-equal" if equal else "DIFFERS" for equal in found["equal"]]
    cells = dict(zip(("CPU to GPU", "GPU to CPU", "CPU to GPU again"), said, strict=True))
    context.emit(table, family=name, arrays=found["arrays"], **cells)
    process.close()


def print_bits(
    context: Context, names: Sequence[str], kind: str, steps: int, pair: Sequence[Process]
) -> None:
    """Print for each family whether its trainings are bit-identical."""

    def sums(process: Process, name: str) -> list[str]:
        if why := context.ready(process):
            raise Failure(why)
        return context.ask(process, "twice", name=name)["sums"]

    table = f"The same bits after {steps} steps?"
    for name in names:
        cells = {"family": name, "XLA flag": kind}
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(sums, process, name) for process in pair]
        try:
            first, second = (each.result() for each in asked)
        except Failure as failure:
            context.emit(table, **cells, note=shortened(str(failure)))
            continue
        cells["twice in a process"] = _same(first[0], first[1])
        cells["in two processes"] = _same(first[0], second[0])
        context.emit(table, **cells)


def _same(a: str, b: str) -> str:
    return "same" if a == b else "differ"
