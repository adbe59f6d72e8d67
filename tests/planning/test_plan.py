"""--mode=plan: what is compiled is the step that trains, its counts are right, nothing is written.

What compiles for TPUs and GPUs runs where libtpu and JAX's plugin for CUDA are installed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from commands import SMOKE, check_error, refuse, snapshot, succeed
from conftest import FAMILIES, ROOT, smoke_config
from flax import linen as nn
from jax.sharding import NamedSharding

from benchmarks.flops import dcgan_step
from benchmarks.problems import PROBLEMS
from gan_jax.core.errors import UserError
from gan_jax.data import open_data
from gan_jax.data.pipeline import batches
from gan_jax.methods.registry import make_task
from gan_jax.models.blocks.layers import Conv
from gan_jax.parallel.mesh import Parallel
from gan_jax.planning import plan
from gan_jax.planning.compilers import compile_for
from gan_jax.planning.cost import Cost, read_cost, read_gpu_cost
from gan_jax.planning.hlo import Collective
from gan_jax.planning.largest_batch import largest_batch
from gan_jax.planning.topology import Topology, parse_topology
from gan_jax.platform.chips import CHIPS, Chip
from gan_jax.platform.host import compile_only
from gan_jax.rundir.workdir import write_record


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Undo after each test what the mode does to this process's environment and JAX."""
    assert len(jax.devices()) == 8, "JAX started before the mode could give it another number"
    before, cached = dict(os.environ), jax.config.jax_enable_compilation_cache
    yield
    jax.config.update("jax_enable_compilation_cache", cached)
    os.environ.clear()
    os.environ.update(before)


needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="pip install -e '.[tpu]'"
)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False


needs_cuda = pytest.mark.skipif(
    not any(_is_installed(f"jax_plugins.xla_cuda{version}") for version in (12, 13)),
    reason="pip install -e '.[cuda13]'",
)


def main_py(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as its user does: the environment is set by main.py alone."""
    hidden = ("JAX_PLATFORMS", "XLA_FLAGS", "NPROC", "TF_CPP_MIN_LOG_LEVEL")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [sys.executable, "main.py", "--mode=plan", *arguments],
        cwd=ROOT,
        env=environment | {"COLUMNS": "120"},
        capture_output=True,
        text=True,
    )


def cells(out: str) -> dict[str, str]:
    """Return the rows of a printed table."""
    rows = [line.strip("│\n").split("│") for line in out.splitlines() if line.startswith("│")]
    return {name.strip(): value.strip() for name, value in rows}


def test_simulated_devices(tmp_path: Path) -> None:
    done = main_py(SMOKE, "--topology=cpu:8")
    assert (done.returncode, done.stderr) == (0, "")
    table = cells(done.stdout)
    assert table["batch"] == "1 of 8" and "all-reduce" in table
    assert not any(name.startswith("estimate") for name in table)
    assert "no figures of this machine" in done.stdout
    assert not (ROOT / "runs" / "dcgan_smoke").exists()


def test_cuda_is_lowered_for_a_run_without_its_data(
    workdir: Path, capsys: pytest.CaptureFixture
) -> None:
    """The spec that a run keeps is enough, wherever its data are."""
    config = smoke_config("dcgan")
    spec = open_data(config.data).spec
    config.data.update(dict(source="npz", path="/gone.npz"))
    workdir.mkdir()
    write_record(workdir, config, spec, [])
    before = snapshot(workdir)
    out = succeed(capsys, "--mode=plan", f"--workdir={workdir}", "--topology=cuda:4")
    assert "Lowered for CUDA, not compiled" in out
    table = cells(out)
    assert table["images"] == "8" and "FLOP" in table["arithmetic, per chip"]
    assert "--topology=h100:4" in out
    assert snapshot(workdir) == before


def small_dcgan(name: str, microbatches: int = 1) -> tuple:
    """Return the closed form of FLOPs of a step of 16 images, and its training on a machine."""
    problem = PROBLEMS["DCGAN-64"].changed(
        (32, 64, 3),
        model__gen__width=64,
        model__disc__width=32,
        train__batch_size=16,
        train__microbatches=microbatches,
    )
    parallel = plan.make_parallel_on(parse_topology(name))
    return dcgan_step(problem), plan.Training(problem.config(), problem.spec(), parallel)


@pytest.mark.parametrize(("name", "microbatches"), [("cuda", 1), ("cuda:2", 1), ("cuda:2", 4)])
def test_flops_of_a_lowered_step_in_closed_form(name: str, microbatches: int) -> None:
    """Of one chip, with every pass of a loop; each chip has an Adam of its own."""
    flops, training = small_dcgan(name, microbatches)
    topology = parse_topology(name)
    counted = plan.count_flops(training, topology, training.task.phase(0), 16)
    assert flops < topology.chips * counted < 1.06 * flops


def test_a_step_is_lowered_for_gpus_with_its_loops() -> None:
    """Microbatches are one loop there, on CPU they are written out."""
    count = {}
    for name, microbatches in (("cuda:2", 1), ("cuda:2", 4), ("cpu:2", 4)):
        _, training = small_dcgan(name, microbatches)
        lowered = training.lower(training.task.phase(0), 16, parse_topology(name).platform)
        count[name, microbatches] = lowered.as_text().count("stablehlo.convolution(")
    assert count["cuda:2", 4] == count["cuda:2", 1] < count["cpu:2", 4]


GROWING = ("--config=configs/progan.py:smoke", "--config.train.steps=4")
LAZY = "--config.terms.disc.gradient_penalty.every=2"


def test_every_phase_is_planned(capsys: pytest.CaptureFixture, workdir: Path) -> None:
    """Stages of 4, 8 and 16 px begin with steps 0, 1 and 3; the penalty is due at 1 and 3."""
    arguments = (*GROWING, LAZY, "--topology=cuda:2", f"--workdir={workdir}")
    out = succeed(capsys, "--mode=plan", *arguments)
    assert re.findall("stage.*", out) == [
        "stage 0: 1 of 4 steps",
        "stage 1, disc/gradient_penalty: 1 of 4 steps",
        "stage 1: 1 of 4 steps",
        "stage 2, disc/gradient_penalty: 1 of 4 steps",
    ]
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    found = re.findall(r"arithmetic +│ ([\d.]+) (\w)FLOP", out)
    first, penalised, free, last = (float(value) * units[unit] for value, unit in found)
    assert first < free < penalised < last


@pytest.mark.slow
def test_the_largest_phase_counts(
    workdir: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On simulated chips of 1 GiB: the mean over the phases, and the batch by the last stage."""
    topology = dataclasses.replace(parse_topology("cpu:2"), chip=Chip(1, 1e12, 1e12, 1e12, 8, 1))
    monkeypatch.setattr("gan_jax.cli.modes.parse_topology", lambda name: topology)
    monkeypatch.setattr("gan_jax.planning.largest_batch._LARGEST_A_CHIP", 16)
    arguments = (*GROWING, "--topology=cpu:2", f"--workdir={workdir}")
    out = succeed(capsys, "--mode=plan", *arguments)
    steps = [float(x) for x in re.findall(r"estimate: step +│ ([\d.]+) ms", out)]
    mean = float(re.search(r"mean of all 4: ([\d.]+) ms", out)[1])
    assert mean == pytest.approx((steps[0] + 2 * steps[1] + steps[2]) / 4, abs=2e-3)
    # Nothing that is tried breaks a group of 4 images on a chip apart.
    said = r"largest batch: ([\d,]+) .* \(stage 2, which takes most\)"
    assert int(re.search(said, " ".join(out.split()))[1]) % 8 == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], ["--topology=''", "v4:2x2x1, v5e:2x4, v5p:2x2x1, v6e:2x4"]),
        (["--topology=v7:2x2"], ["'v7:2x2' is not known", "cpu:N, cuda:N, v4:2x2x1"]),
        (["--topology=h10:1"], ["'h10:1' is not known", "did you mean 'h100'?", "h100:8"]),
        (["--topology=h100:0"], ["h100:0: h100:N with N from 1 to 8"]),
        (["--topology=h100:3x2"], ["N from 1 to 8"]),
        (["--topology=a100:16"], ["N from 1 to 8, as many as NVLink joins, such as a100:8"]),
        (["--topology=h200:3"], ["batch_size=8 does not divide over the 3 chips of h200:3"]),
        (["--topology=v5e"], ["2 axes", "v5e:2x4"]),
        (["--topology=v5e:2x2x2"], ["2 axes"]),
        (["--topology=v5p:0x2x1"], ["3 axes"]),
        (["--topology=v6e:16x32"], ["512 chips", "256 at most"]),
        (["--topology=cpu:0"], ["N from 1"]),
        (["--topology=cpu:3"], ["batch_size=8 does not divide over the 3 chips", "6 or 9"]),
        (["--topology=cpu:16", "--config.train.batch_size=16"], ["JAX shows 8 CPU devices"]),
        (["--topology=cpu:2", "--config.train.parallel=pmap"], ["train.parallel=pmap", "=jit"]),
    ],
)
def test_bad_input(
    arguments: list[str], says: list[str], capsys: pytest.CaptureFixture, workdir: Path
) -> None:
    refuse(
        capsys, "--mode=plan", SMOKE, f"--workdir={workdir}", *arguments, says=says, keeps=workdir
    )


def test_without_libtpu(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ("--mode=plan", SMOKE, f"--workdir={workdir}", "--topology=v5e:2x2")
    refuse(capsys, *arguments, says=["not installed", "pip install -e '.[tpu]'"], keeps=workdir)


def test_without_the_plugin_for_cuda(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    def none(*args: object, **options: object) -> None:
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", none)
    arguments = ("--mode=plan", SMOKE, f"--workdir={workdir}", "--topology=h100:2")
    refuse(capsys, *arguments, says=["not installed", "pip install -e '.[cuda13]'"], keeps=workdir)


class Refusing:
    """A lowered program that a compiler refuses unless its options are those that it knows."""

    def __init__(self, *known: str, reason: str = "") -> None:
        self.known, self.reason = known, reason

    def compile(self, options: dict | None) -> str:
        for name in options or ():
            if name not in self.known:
                raise jax.errors.JaxRuntimeError(f"INVALID: No such compile option: '{name}'")
        if self.reason:
            raise jax.errors.JaxRuntimeError(self.reason)
        return f"compiled with {len(options or ())}"


def test_a_compiler_that_refuses() -> None:
    tpu, gpu = parse_topology("v5e:2x2"), parse_topology("h100:2")
    assert compile_for(tpu, Refusing("optimization_level")) == "compiled with 1"
    assert compile_for(gpu, Refusing()) == "compiled with 0"
    assert compile_for(gpu, Refusing(reason="RESOURCE_EXHAUSTED: 90 GiB")) is None
    with pytest.raises(UserError) as refusal:
        compile_for(gpu, Refusing(reason="INTERNAL: no such kernel\nat line 1"))
    assert str(refusal.value) == (
        "--topology=h100:2: XLA for CUDA refuses it (INTERNAL: no such kernel)"
    )


def test_topologies() -> None:
    assert parse_topology("v5e:2x4") == Topology("v5e:2x4", "tpu", (2, 4), CHIPS["v5e"])
    assert parse_topology("v5p:2x2x2").chips == 8
    assert parse_topology("cuda").chips == 1 and parse_topology("cpu:12").chips == 12
    assert parse_topology("h100:8") == Topology("h100:8", "cuda", (8,), CHIPS["h100"])
    assert parse_topology("a100").chips == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_abstract_batch_is_that_of_training(name: str) -> None:
    config = smoke_config(name)
    dataset = open_data(config.data)
    phase = make_task(config, dataset.spec).phase(0)
    parallel = plan.make_parallel_on(parse_topology("cpu:8"))
    source = batches(dataset.splits["train"], seed=0, position=0, batch_size=8, draws=[phase.draws])
    real = parallel.place(next(iter(source)), axis=1)
    expected = jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), real)
    abstract = plan.abstract_batch(dataset.spec, phase, parallel, 8)
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding), abstract) == expected


def gradient_of_a_network(parallel: Parallel, batch: int) -> tuple[Callable, tuple, float]:
    """Return a function, its abstract arguments and the FLOPs of its products, over all chips."""
    conv = Conv(16, (5, 5), padding="VALID", use_bias=False)

    def loss(params: tuple, x: jax.Array) -> jax.Array:
        kernel, dense = params
        hidden = nn.relu(conv.apply({"params": {"kernel": kernel}}, x))
        return ((hidden.reshape(x.shape[0], -1) @ dense) ** 2).sum()

    def array(sharding: NamedSharding, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

    whole = parallel.replicated
    params = (array(whole, 5, 5, 8, 16), array(whole, 12 * 12 * 16, 100))
    x = array(parallel.split(), batch, 16, 16, 8)
    product, matrix = 12 * 12 * 25 * 8 * 16, 12 * 12 * 16 * 100
    # Of the convolution: output and weight gradient; of the matrix also the input gradient.
    flops = 2 * batch * (2 * product + 3 * matrix)
    return jax.jit(jax.grad(loss), out_shardings=whole), (params, x), flops


@pytest.mark.parametrize("name", ["cpu:8", pytest.param("v5e:2x4", marks=needs_libtpu)])
def test_flops_in_closed_form(name: str) -> None:
    """XLA's count is of one chip, a multiply-add is two; ReLU and loss are the rest."""
    compile_only(simulated=8)
    topology = parse_topology(name)
    parallel = plan.make_parallel_on(topology)
    function, arguments, flops = gradient_of_a_network(parallel, 64)
    lowered = function.trace(*arguments).lower(lowering_platforms=(topology.platform,))
    cost = read_cost(lowered.compile(), 64, 8)
    assert cost.flops == pytest.approx(flops / 8, rel=0.03)
    size = 4 * (5 * 5 * 8 * 16 + 12 * 12 * 16 * 100)
    assert sum(c.operand_bytes for c in cost.collectives) == size
    assert {(c.kind, c.group) for c in cost.collectives} == {("all-reduce", 8)}


def test_roofline() -> None:
    """By hand: 2 ms of arithmetic, 1 ms of memory, 2(n-1)/n of 2 GB at 1 TB/s."""
    chip = Chip(1, 1e12, 1e12, 1e12, 8, 2)
    reduced = Collective("all-reduce", 2e9, 4)
    cost = Cost(64, 2e9, 1e9, 5, 3, 2, 1, (reduced,))
    assert cost.memory == 11
    assert cost.compute_seconds(chip) == pytest.approx(2e-3)
    assert cost.collective_seconds(chip) == pytest.approx(3e-3)
    assert cost.step_seconds(chip) == pytest.approx(5e-3)
    gpu = dataclasses.replace(chip, flops_float32=5e11)
    assert cost.compute_seconds(gpu) == pytest.approx(2e-3)
    in_float32 = dataclasses.replace(cost, precision="float32")
    assert in_float32.compute_seconds(gpu) == pytest.approx(4e-3)
    assert in_float32.compute_seconds(chip) == pytest.approx(2e-3)
    slow = dataclasses.replace(chip, memory_bandwidth=1e11)
    assert cost.compute_seconds(slow) == pytest.approx(10e-3)


@pytest.mark.parametrize("an_image", [2**30 // 100, 2**30 // 777, 2**30, 3 * 2**30])
@pytest.mark.parametrize("fixed", [0, 2**29])
@pytest.mark.parametrize("size", [8, 4])
def test_largest_batch(an_image: int, fixed: int, size: int) -> None:
    """Multiples of 8 are tried, also where the batch of the config is none."""
    topology = Topology("toy:8", "tpu", (8,), Chip(4, 1e12, 1e12, 1e12, 8, 1))
    tried = []

    def at(batch: int) -> Cost | None:
        assert batch % 8 == 0 or batch == size
        tried.append(batch)
        # Not quite a line, as with compilers.
        memory = int(fixed + batch / 8 * an_image * (1.1 if batch % 16 else 1.0))
        cost = Cost(batch, 1.0, 1.0, fixed, 0, memory - fixed, 0, ())
        return cost if memory <= 4 * 2**30 else None

    said = largest_batch(at, topology, size, at(size), unit=8)
    numbers = re.findall(r"([\d,]+)(?: \(| does)", said)
    fits, too_large = (int(number.replace(",", "")) for number in numbers)
    compilations = len(tried) - 1
    assert at(fits) and not at(too_large)
    assert 0 < too_large - fits <= max(8, fits // 20)
    assert compilations <= 8


def test_largest_batch_is_capped() -> None:
    topology = Topology("toy:1", "tpu", (1,), Chip(4, 1e12, 1e12, 1e12, 8, 1))
    said = largest_batch(
        lambda batch: Cost(batch, 1, 1, 0, 0, batch, 0, ()),
        topology,
        4,
        Cost(4, 1, 1, 0, 0, 4, 0, ()),
        unit=4,
    )
    assert "larger ones were not tried" in said


@needs_libtpu
def test_tpu_command() -> None:
    done = main_py(SMOKE, "--topology=v5e:2x2")
    assert (done.returncode, done.stderr) == (0, "")
    table = cells(done.stdout)
    assert table["memory: total"].endswith("of 16 GiB")
    assert float(table["estimate: step"].split()[0]) > 0
    assert "largest batch: 16,384 (4,096 a chip)" in done.stdout


@needs_libtpu
def test_too_large_for_a_tpu() -> None:
    """60,000 images a chip of the smoke GAN at 256 px: libtpu itself refuses."""
    arguments = ("--config.data.size=256,256", "--config.train.batch_size=60000")
    done = main_py(SMOKE, "--topology=v5e:1x1", *arguments)
    says = ["batch_size=60000 does not fit into the memory of v5e:1x1 (16 GiB a chip)"]
    check_error(done.returncode, done.stderr, says)


@needs_libtpu
def test_tpu_gets_plain_convolutions() -> None:
    """What replaces slow convolutions on CPU is not in a TPU's program; theirs are, dilated."""
    compile_only(simulated=8)
    config = smoke_config("dcgan")
    spec = open_data(config.data).spec
    dilated = {}
    for name in ("cpu:4", "v5e:2x2"):
        topology = parse_topology(name)
        training = plan.Training(config, spec, plan.make_parallel_on(topology))
        lowered = training.lower(training.task.phase(0), 8, topology.platform)
        dilated[name] = lowered.as_text().count("lhs_dilate = [2, 2]")
    text = compile_for(topology, lowered).as_text()
    assert dilated["cpu:4"] == 0 < dilated["v5e:2x2"]
    assert " convolution(" in text and "lhs_dilate=2x2" in text


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "says"), [("v5e:3x4", "libtpu refuses it"), ("v6e:1x3", "libtpu refuses it")]
)
def test_libtpu_refuses(name: str, says: str) -> None:
    done = main_py(SMOKE, f"--topology={name}", "--config.train.batch_size=12")
    check_error(done.returncode, done.stderr, [name, says])


@needs_cuda
def test_gpu_command() -> None:
    done = main_py(SMOKE, "--topology=h100:2")
    assert (done.returncode, done.stderr) == (0, "")
    table = cells(done.stdout)
    assert table["memory: total"].endswith("of 79.1 GiB") and int(table["kernels"]) > 50
    assert table["all-reduce"] and table["bytes accessed: copies"]
    assert "estimate: arithmetic, TF32" in table and "estimate: arithmetic, bfloat16" in table
    assert "largest batch: 8,192 (4,096 a chip)" in done.stdout


@needs_cuda
def test_too_large_for_a_gpu() -> None:
    """Twenty million images of the smoke GAN at 32 px, which XLA compiles nevertheless."""
    arguments = ("--config.data.size=32,32", "--config.train.batch_size=20000000")
    done = main_py(SMOKE, "--topology=a100", *arguments)
    says = ["batch_size=20000000 does not fit into the memory of a100 (79.3 GiB a chip, of which"]
    check_error(done.returncode, done.stderr, says)


@needs_cuda
@pytest.mark.parametrize("name", ["a100:2", "h100:2", "h200:2"])
def test_gpu_program_in_closed_form(name: str) -> None:
    """Kernels, bytes and all-reduce of a matrix product whose rows lie on two GPUs."""
    topology = parse_topology(name)
    parallel = plan.make_parallel_on(topology)
    assert parallel.platform == "gpu"
    x = jax.ShapeDtypeStruct((256, 512), jnp.float32, sharding=parallel.split())
    w = jax.ShapeDtypeStruct((512, 128), jnp.float32, sharding=parallel.replicated)

    def local(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.psum(jnp.tanh(x @ w).sum(0), ("data", "fsdp"))

    whole, rows = parallel.replicated.spec, parallel.split().spec
    mapped = jax.shard_map(local, mesh=parallel.mesh, in_specs=(rows, whole), out_specs=whole)
    lowered = jax.jit(mapped).trace(x, w).lower(lowering_platforms=("cuda",))
    cost = read_gpu_cost(compile_for(topology, lowered), 256, 2, "float32", 7.0)
    product = 4 * (128 * 512 + 512 * 128 + 128 * 128)
    rest = 3 * 4 * 128 * 128 + 3 * 4 * 128  # tanh, a kernel of its own or not; sum; all-reduce
    assert (cost.flops, cost.precision) == (7.0, "float32")
    assert product < cost.bytes_accessed <= product + rest
    assert cost.kernels in (3, 4)
    assert [(c.kind, c.operand_bytes) for c in cost.collectives] == [("all-reduce", 4 * 128)]


@needs_cuda
def test_gpu_step_counts_every_pass_of_a_loop() -> None:
    kernels, reduced = {}, {}
    for microbatches in (1, 4):
        _, training = small_dcgan("h100:2", microbatches)
        topology, phase = parse_topology("h100:2"), training.task.phase(0)
        cost = plan.compile_cost(training, topology, phase, 16, flops=0.0)
        kernels[microbatches], reduced[microbatches] = cost.kernels, len(cost.collectives)
    assert 2 < kernels[4] / kernels[1] < 5
    assert reduced[4] > 3 * reduced[1]  # BatchNorm's statistics
