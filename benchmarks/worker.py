"""A worker process of train_speed.py: one framework and one problem, controlled by JSON lines.

    {"do": "steps", "least": 3, "seconds": 1.0}    -> {"times": [...]}, seconds of each step
    {"do": "samples", ...}                         -> {"times": [...]}, of each batch of samples
    {"do": "photos", ...}                          -> {"times": [...]}, of a photo restored whole
    {"do": "tiles", ...}                           -> {"times": [...]}, in tiles; of ours only
    {"do": "gemm", ...}                            -> {"times": [...]}, of each matrix product
    {"do": "peak"}                                 -> {"mib": ...}, peak resident memory so far

Answers with times also have "idle": seconds of CPU time of the process since its last answer. Its
first line, {}, follows its first training step.
"""

from __future__ import annotations

import dataclasses
import functools
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems import Problem
from benchmarks.processes import obey
from gan_jax.platform.heap import reuse_host_memory

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # ours -> PyTorch's
GEMM = 3072  # rows and columns of the square matrices that measure the machine


class Ours:
    """The train step of main.py, compiled as it is there."""

    def __init__(self, problem: Problem) -> None:
        import jax

        from gan_jax.core.keys import image_keys, named_keys
        from gan_jax.methods.registry import make_task
        from gan_jax.parallel.mesh import make_parallel
        from gan_jax.training.step import make_step

        self.jax, self.problem, batch = jax, problem, problem.batch()
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
            return task.transform().function(state, batch["image"][0], keys, **options)

        if task.generate is not None:
            return self.parallel.compile_map(generate)
        return self.parallel.compile_map(transform) if task.transforms else None

    def dispatch(self) -> None:
        """Train; on an accelerator returns before the step is done."""
        phase = self.task.phase(0)
        self.state, _ = self.compiled(phase, self.state, self.batch, self.keys["train"])

    def wait(self) -> None:
        """Wait for all steps."""
        self.jax.block_until_ready(self.state)

    def step(self) -> None:
        """Train, and wait for it."""
        self.dispatch()
        self.wait()

    def sample(self) -> None:
        """Generate a batch of images, and wait for it."""
        self.jax.block_until_ready(self.sampler(self.state, self.image_keys, self.batch))

    @functools.cached_property
    def _run(self) -> Any:
        """A run with the initial state. Imported at first use: it is no part of a start."""
        from gan_jax.library.run import Run

        config, spec = self.problem.config(), self.problem.spec()
        return Run(Path(), config, spec, self.task, self.state, 0, self.parallel)

    def restore(self, photo: np.ndarray, *, tile: int | None = 0) -> np.ndarray:
        """Restore a photo, uint8 [H, W, C] -> float32 [H', W', C'] in [-1, 1].

        Args:
          photo: of any size.
          tile: side of the tiles [px]; 0 is the whole photo, None the default of `Run.transform`.
        """
        # A step takes over the memory of the state before it; what is compiled stays.
        run = dataclasses.replace(self._run, state=self.state)
        return run.transform(photo, tile=max(photo.shape) if tile == 0 else tile)

    def make_gemm(self) -> Callable[[], Any]:
        """Return a function that multiplies two large matrices."""
        a, b = self.jax.random.normal(self.jax.random.key(0), (2, GEMM, GEMM))
        dot = self.jax.jit(self.jax.numpy.dot)
        return lambda: dot(a, b).block_until_ready()


class Torch:
    """The twin; it is compiled at its first step."""

    def __init__(
        self, problem: Problem, form: str, folder: Path | None = None, device: str = "cpu"
    ) -> None:
        """Build it.

        Args:
          problem: what is trained.
          form: words: channels_last or contiguous; compile (torch.compile), with reduce-overhead
            its mode of that name; bfloat16 (autocast; else TF32, where the device has it).
          folder: of weights.pt, to start from; None keeps its own.
          device: in PyTorch's words.
        """
        import torch

        from benchmarks.twins.convert import to_batch
        from benchmarks.twins.training import set_products, spectral

        set_products("high")
        torch.backends.cudnn.benchmark = True
        self.torch, self.device, words = torch, device, form.split()
        memory = torch.channels_last if "channels_last" in words else torch.contiguous_format
        self.twin = problem.make_twin(device)
        weights = torch.load(folder / "weights.pt") if folder else {}
        for name, net in self.twin.nets.items():
            average = [self.twin.averages[name].net] if name in self.twin.averages else []
            for each in (net, *average):
                if weights:
                    each.load_state_dict(weights[name])
                each.to(memory_format=memory)
        self.compiled, self.graphs = "compile" in words, "reduce-overhead" in words
        for name in self.twin.compiles if self.compiled else ():
            mode = dict(mode="reduce-overhead") if self.graphs else {}
            self.twin.nets[name].compile(**mode)
        # CUDA graphs read where they read before: what a step replaces is put back to its place.
        norms = [norm for net in self.twin.nets.values() for norm in spectral(net)]
        self.places = [(norm, norm.u) for norm in norms] if self.graphs else []
        self.batch, self.memory = to_batch(problem.batch(), memory, device), memory
        self.bfloat16 = "bfloat16" in words

    def dispatch(self) -> None:
        """Train; on a GPU returns before the step is done."""
        if self.graphs:
            self.torch.compiler.cudagraph_mark_step_begin()
        kind = self.torch.device(self.device).type
        with self.torch.autocast(kind, self.torch.bfloat16, enabled=self.bfloat16):
            self.twin.step(self.batch, None)
        for norm, place in self.places:
            norm.u = place.copy_(norm.u)
        for average in self.twin.averages.values() if self.places else ():
            for mine, theirs in average.spectral:
                mine.u = theirs.u

    def wait(self) -> None:
        """Wait for all steps."""
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def step(self) -> None:
        """Train, and wait for it."""
        self.dispatch()
        self.wait()
        if self.compiled:
            graphs = self.torch._dynamo.utils.counters["stats"]["unique_graphs"]
            if graphs < len(self.twin.compiles):
                raise RuntimeError(f"torch.compile made {graphs} graphs: a network stayed eager")
            self.compiled = False

    def sample(self) -> None:
        """Generate a batch of images, and wait for it."""
        self.twin.sample(self.batch, None)
        self.wait()

    def restore(self, photo: np.ndarray) -> np.ndarray:
        """Restore a whole photo, as `Ours.restore`."""
        images = self.torch.from_numpy(photo).permute(2, 0, 1)[None].to(self.device)
        images = (images.float() / 127.5 - 1).contiguous(memory_format=self.memory)
        made = self.twin.sample({"image": [images]}, None)
        return made[0].permute(1, 2, 0).contiguous().cpu().numpy()

    def make_gemm(self) -> Callable[[], Any]:
        """Return a function that multiplies two large matrices."""
        a, b = self.torch.randn(2, GEMM, GEMM, device=self.device)

        def multiply() -> None:
            self.torch.mm(a, b)
            self.wait()

        return multiply


def measure(function: Callable[[], Any], least: int, seconds: float) -> dict[str, list[float]]:
    """Return the duration of each call: at least `least` calls and `seconds` in total."""
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return {"times": times}


def write_weights(problem: Problem, folder: Path, device: str) -> dict[str, float]:
    """Check that the twin equals ours, and write their common initial weights.

    Only one discriminator update is compared: Adam's first steps are about the sign of small
    gradients, so rounding differences grow over five. tests/benchmarks/test_twins.py compares
    several, with small networks.
    """
    import torch

    from benchmarks.equality import check

    if problem.config().task.get("disc_updates", 1) > 1:
        problem = problem.changed(problem.image, task__disc_updates=1)
    found, weights = check(problem, device)
    torch.save(weights, folder / "weights.pt")
    return found


def peak() -> dict[str, float]:
    """Return the peak resident memory of this process so far."""
    return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # Linux counts KiB


def serve(problem: Problem, form: str, folder: Path, device: str) -> None:
    """Take a training step, then serve until standard input ends; or check the twin, and exit.

    Args:
      problem: what is trained.
      form: "check", "ours", or four words: eager or compile, and one of each of
        train_speed.CHOICES.
      folder: of weights.pt, which the check writes.
      device: "cpu" or "gpu".
    """
    theirs = DEVICES[device]
    if form == "ours" or "reused" in form:
        reuse_host_memory()

    def prepare() -> tuple[dict[str, float], dict[str, Callable[..., dict[str, Any]]]]:
        if form == "check":
            return write_weights(problem, folder, theirs), {}
        side = Ours(problem) if form == "ours" else Torch(problem, form, folder, device=theirs)
        side.step()
        photo = problem.make_photo()
        return {}, {
            "steps": lambda **how: measure(side.step, **how),
            "samples": lambda **how: measure(side.sample, **how),
            "photos": lambda **how: measure(lambda: side.restore(photo), **how),
            "tiles": lambda **how: measure(lambda: side.restore(photo, tile=None), **how),
            "gemm": lambda **how: measure(side.make_gemm(), **how),
            "peak": peak,
        }

    obey(prepare)
