"""The implementations to time: our train step and the PyTorch twin's, at any batch size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.parts import kernels
from benchmarks.problems import PROBLEMS, Problem
from benchmarks.worker import DEVICES, Ours, Torch, peak
from gan_jax.planning.hlo import traffic

# Batch sizes that fill a Hopper GPU, closer to actual use than those of problems.py, which are for
# CPUs. BigGAN and SAGAN have width 64.
_WIDE = {"model__gen__width": 64, "model__disc__width": 64}
FULL: Mapping[str, Mapping[str, Any]] = {
    "DCGAN-64": {"train__batch_size": 512},
    "SNGAN-32": {"train__batch_size": 256},
    "BigGAN-32": {"train__batch_size": 128, **_WIDE},
    "pix2pix-64": {"train__batch_size": 128},
    "ResNet-18-32": {"train__batch_size": 1024},
    "conv VAE-64": {"train__batch_size": 1024},
    "WGAN-GP-32": {"train__batch_size": 256},
    "SAGAN-64": {"train__batch_size": 64, **_WIDE},
}
_NARROW = {"model__gen__width": 8, "model__disc__width": 8}
_ATTENTIVE = {**_NARROW, "model__gen__attention": 8, "model__disc__attention": 8}
_TINY: Mapping[str, Mapping[str, Any]] = {
    "DCGAN-64": _NARROW,
    "SNGAN-32": _NARROW,
    "BigGAN-32": {**_ATTENTIVE, "model__latent": 6},  # which 3 parts share at 16 px
    "pix2pix-64": _NARROW,
    "ResNet-18-32": {"model__net__width": 8},
    "conv VAE-64": {"model__encoder__width": 4, "model__decoder__width": 4},
    "MLP VAE-28": {"model__encoder__width": 32, "model__decoder__width": 32},
    "WGAN-GP-32": _NARROW,
    "SAGAN-64": _ATTENTIVE,
}


def problem(name: str, tiny: bool, **fields: Any) -> Problem:
    """Return a row of problems.py at the size measured on a GPU, or a tiny one for rehearsals."""
    found = PROBLEMS[name]
    if not tiny:
        return found.changed(found.image, **{**FULL.get(name, {}), **fields})
    side = min(found.image[0], 16 if found.image[0] != 28 else 28)
    fields = {**_TINY[name], **fields, "train__batch_size": 8}
    return found.changed((side, side, found.image[2]), **fields)


class OursAhead(Ours):
    """Our step, compiled ahead of time, so that it uses no memory but its own.

    Attributes:
      compile_seconds: of lowering and compiling.
    """

    def __init__(
        self, problem: Problem, *, automatic_layouts: bool = False, steps_per_call: int = 1
    ) -> None:
        """Build and compile it.

        Args:
          problem: whose config says the precision.
          automatic_layouts: XLA chooses how the state lies on the device.
          steps_per_call: steps that one dispatch takes; their batches are equal.
        """
        import jax
        import jax.numpy as jnp

        super().__init__(problem)
        if steps_per_call > 1:
            copies = lambda x: jnp.concatenate([x] * steps_per_call)  # noqa: E731
            self.batch = jax.device_put(jax.tree.map(copies, self.batch), self.parallel.split(1))
        self.steps_per_call = steps_per_call
        phase, rest = self.task.phase(0), (self.batch, self.keys["train"])
        began = time.perf_counter()
        if automatic_layouts:
            self.program, formats = self._automatic(jax, phase, rest)
            self.state = jax.device_put(self.state, formats)
        else:
            self.program = self.compiled.lower(phase, self.state, *rest).compile()
        self.compile_seconds = time.perf_counter() - began

    def _automatic(self, jax: Any, phase: Any, rest: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return the program with the state in XLA's layouts, and the formats of the state."""
        from jax.experimental.layout import Format, Layout

        of = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)  # noqa: E731
        shapes = jax.tree.map(of, self.state)
        free = jax.tree.map(lambda x: Format(Layout.AUTO, x.sharding), self.state)

        def compiled(formats: Any) -> Any:
            step = jax.jit(
                self.compiled.__wrapped__,
                static_argnums=0,
                donate_argnums=1,
                in_shardings=(formats, None, None),
                out_shardings=(formats, None),
            )
            return step.lower(phase, shapes, *rest).compile()

        program = compiled(free)
        taken, given = program.input_formats[0][0], program.output_formats[0]
        if jax.tree.leaves(taken) != jax.tree.leaves(given):  # one step's state is the next one's
            program = compiled(taken)
        return program, taken

    def dispatch(self) -> None:
        """Train; the call returns before it is done."""
        self.state, _ = self.program(self.state, self.batch, self.keys["train"])

    def kernels(self) -> dict[str, Any]:
        """Return kernels per step, and "gb", the GB that they read and write by their shapes.

        If tracing finds no kernels, they are counted in the program, one per library call.
        """
        program: dict[str, Any] = {}
        try:
            found = traffic(self.program.as_text())
            program = {"kernels": found.kernels, "gb": found.bytes / 1e9}
        except Exception as error:  # a parsing error must not lose the timings
            print(f"no count: {type(error).__name__}: {error}")
        return {**program, **counted(self, kernels.traced_by_jax)}

    def peak(self) -> dict[str, float]:
        """Return the largest memory that this process had on the device."""
        stats = self.jax.local_devices()[0].memory_stats()
        return {"mib": stats["peak_bytes_in_use"] / 2**20} if stats else peak()


class TorchTimed(Torch):
    """The twin, whose memory is that beyond what this process had when it was built."""

    def __init__(self, problem: Problem, form: str, device: str) -> None:
        import torch

        self.cuda = torch.cuda if device == "gpu" else None
        self.before = self.cuda.memory_allocated() if self.cuda else 0
        super().__init__(problem, form, device=DEVICES[device])
        began = time.perf_counter()
        self.step()
        self.compile_seconds = time.perf_counter() - began
        if self.cuda:
            self.cuda.empty_cache()  # others on the card need it until it is this one's turn
            self.own = self.cuda.memory_allocated() - self.before

    def kernels(self) -> dict[str, Any]:
        """Return the kernels per step, if they can be traced."""
        return counted(self, kernels.traced_by_torch)

    def peak(self) -> dict[str, float]:
        """Return the largest memory that this form has on the device in a step.

        A CUDA graph's memory is that of its capture: its process holds no other form.
        """
        if not self.cuda:
            return peak()
        if self.graphs:
            return {"mib": (self.cuda.max_memory_allocated() - self.before) / 2**20}
        self.cuda.reset_peak_memory_stats()
        others = self.cuda.memory_allocated() - self.own
        self.step()
        return {"mib": (self.cuda.max_memory_allocated() - others) / 2**20}


def counted(side: Any, trace: Callable[..., float], number: int = 3) -> dict[str, Any]:
    """Return the traced kernels per step; {} if there are none."""

    def steps() -> None:
        for _ in range(number):
            side.dispatch()
        side.wait()

    try:
        found = trace(steps, number)
    except Exception as error:  # a missing profiler must not lose the timings
        print(f"no trace: {type(error).__name__}: {error}")
        return {}
    return {"kernels": round(found)} if found else {}
