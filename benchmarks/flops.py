"""FLOPs of DCGAN's training step, in closed form from the shapes of its layers.

The three products of a layer (output, input gradient, weight gradient) have the same number of
multiply-adds, each counted as two operations: 2 B Ci Co taps, where `taps` is the number of pairs
of an input and an output pixel that the kernel connects. Padding is not counted. A step with d
discriminator updates computes

    d times   generator: output
              discriminator, for real and for generated images: output, gradient of the weights,
              and of the input but of its first layer
    once      generator: output, gradient of the weights, and of the input but of its first layer
              discriminator: output, gradient of the input

Activations, BatchNorm, losses and Adam are left out; `tests/test_benchmarks.py` compares with XLA's
count of the whole program.
"""

from __future__ import annotations

from benchmarks.problems import Problem
from gan_jax.models.dcgan import stages


def taps(size: int, *, kernel: int = 4, stride: int = 2, pad: int = 1) -> int:
    """Return the number of (window, pixel) pairs along an axis, without padding."""
    out = (size + 2 * pad - kernel) // stride + 1
    starts = (i * stride - pad for i in range(out))
    return sum(min(start + kernel, size) - max(start, 0) for start in starts)


def dcgan_layers(problem: Problem) -> tuple[list[float], list[float]]:
    """Return the operations of one product of each layer per image, (generator, discriminator)."""
    height, width, channels = problem.image
    model = problem.config().model
    count = stages(height, width)
    connected = [taps(height >> i) * taps(width >> i) for i in range(count)]
    pixels = (height >> count) * (width >> count)

    def chain(base: int) -> list[float]:
        ends = [channels, *(base << i for i in range(count))]
        return [2.0 * connected[i] * ends[i] * ends[i + 1] for i in range(count)]

    last = model.gen.width << (count - 1)
    generator = [2.0 * model.latent * pixels * last, *reversed(chain(model.gen.width))]
    last = model.disc.width << (count - 1)
    return generator, [*chain(model.disc.width), 2.0 * pixels * last]


def dcgan_step(problem: Problem) -> float:
    """Return the operations of a training step."""
    config = problem.config()
    generator, discriminator = dcgan_layers(problem)
    gen, disc = sum(generator), sum(discriminator)
    disc_update = gen + 2 * (3 * disc - discriminator[0])
    gen_update = 3 * gen - generator[0] + 2 * disc
    return config.train.batch_size * (config.task.disc_updates * disc_update + gen_update)
