"""One process of train_speed.py: one framework and one problem, obeying lines of JSON.

    {"do": "steps", "least": 3, "seconds": 1.0}    -> {"times": [...]}, seconds of each step
    {"do": "samples", ...}                         -> {"times": [...]}, of each batch of samples
    {"do": "gemm", ...}                            -> {"times": [...]}, of each product of matrices
    {"do": "peak"}                                 -> {"mib": ...}, resident at most until now

An answer with times has "idle" too: seconds of processor time that the process took since its last
answer. The line that it writes first, {}, follows its first training step.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.problems import Problem
from gan_jax.heap import reuse_host_memory

GEMM = 3072  # rows and columns of the square matrices that measure the machine


class Ours:
    """The train step of main.py, compiled as it is there."""

    def __init__(self, problem: Problem) -> None:
        import jax

        from gan_jax.keys import image_keys, named_keys
        from gan_jax.parallel import make_parallel
        from gan_jax.task import make_task
        from gan_jax.train import make_step

        self.jax, batch = jax, problem.batch()
        size = batch["image"].shape[1]
        self.task = make_task(problem.config(), problem.spec())
        self.parallel, self.keys = make_parallel("jit", 1), named_keys(0)
        self.batch = self.parallel.place(batch, axis=1)
        self.state = self.parallel.compile_init(self.task.init)(self.keys["init"])
        self.compiled = self.parallel.compile_step(make_step(self.task, size))
        self.image_keys = jax.device_put(image_keys(0, range(size)), self.parallel.split())
        self.sampler = self._make_sampler()

    def _make_sampler(self) -> Callable[..., Any] | None:
        task, options = self.task, self.task.check_options({})

        def generate(state: Any, keys: Any, batch: Any) -> Any:
            return task.generate(state, task.latents(keys, None, **options), **options)

        def transform(state: Any, keys: Any, batch: Any) -> Any:
            return task.transform(state, batch["image"][0], keys, **options)

        if task.generate is not None:
            return self.parallel.compile_map(generate)
        return self.parallel.compile_map(transform) if task.transform is not None else None

    def step(self) -> None:
        """Train, and wait for it."""
        phase = self.task.phase(0)
        self.state, _ = self.compiled(phase, self.state, self.batch, self.keys["train"])
        self.jax.block_until_ready(self.state)

    def sample(self) -> None:
        """Make a batch of images, and wait for it."""
        self.jax.block_until_ready(self.sampler(self.state, self.image_keys, self.batch))

    def make_gemm(self) -> Callable[[], Any]:
        """Return a function that multiplies two large matrices."""
        a, b = self.jax.random.normal(self.jax.random.key(0), (2, GEMM, GEMM))
        dot = self.jax.jit(self.jax.numpy.dot)
        return lambda: dot(a, b).block_until_ready()


class Torch:
    """The twin, from the weights in `folder`; `form` is as in `serve`."""

    def __init__(self, problem: Problem, folder: Path, form: str) -> None:
        import torch

        from benchmarks.twins.convert import to_batch

        self.torch = torch
        memory = torch.channels_last if "channels_last" in form else torch.contiguous_format
        self.twin = problem.make_twin()
        weights = torch.load(folder / "weights.pt")
        for name, net in self.twin.nets.items():
            average = [self.twin.averages[name].net] if name in self.twin.averages else []
            for each in (net, *average):
                each.load_state_dict(weights[name])
                each.to(memory_format=memory)
            if "compile" in form and name in self.twin.compiles:
                net.compile()
        self.batch = to_batch(problem.batch(), memory)
        self.compiled = "compile" in form

    def step(self) -> None:
        """Train; PyTorch's CPU functions return when they are done."""
        self.twin.step(self.batch, None)
        if self.compiled:
            graphs = self.torch._dynamo.utils.counters["stats"]["unique_graphs"]
            if graphs < len(self.twin.compiles):
                raise RuntimeError(f"torch.compile made {graphs} graphs: a network stayed eager")
            self.compiled = False

    def sample(self) -> None:
        """Make a batch of images."""
        self.twin.sample(self.batch, None)

    def make_gemm(self) -> Callable[[], Any]:
        """Return a function that multiplies two large matrices."""
        a, b = self.torch.randn(2, GEMM, GEMM)
        return lambda: self.torch.mm(a, b)


def measure(function: Callable[[], Any], least: int, seconds: float) -> list[float]:
    """Return the duration of each call: `least` of them, and more until `seconds` have passed."""
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def write_weights(problem: Problem, folder: Path) -> dict[str, float]:
    """Check that the twin equals ours, and write the weights that both start from.

    One discriminator update is compared: each of five is about the sign of small gradients, so that
    rounding grows. Several are compared in tests/test_twins.py, where the networks are small.
    """
    import torch

    from benchmarks.equality import check

    if problem.config().task.get("disc_updates", 1) > 1:
        problem = problem.changed(problem.image, task__disc_updates=1)
    found, weights = check(problem)
    torch.save(weights, folder / "weights.pt")
    return found


def serve(problem: Problem, form: str, folder: Path) -> None:
    """Take a training step, then obey until standard input ends; or check the twin, and end.

    Args:
      problem: what is trained.
      form: "check", "ours", or four words: eager or compile, and one of each of
        train_speed.CHOICES.
      folder: of weights.pt, which the check writes.
    """
    # Answers have a channel of their own: libraries print too.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if form == "ours" or "reused" in form:
        reuse_host_memory()

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=answers, flush=True)

    if form == "check":
        answer(write_weights(problem, folder))
        return
    side = Ours(problem) if form == "ours" else Torch(problem, folder, form)
    side.step()
    answer({})
    before = time.process_time()
    functions = {"steps": lambda: side.step, "samples": lambda: side.sample, "gemm": side.make_gemm}
    for line in sys.stdin:
        idle = time.process_time() - before
        request = json.loads(line)
        what = request.pop("do")
        if what == "peak":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            answer({"mib": peak / 1024})  # Linux counts KiB
        else:
            answer({"times": measure(functions[what](), **request), "idle": idle})
        before = time.process_time()
