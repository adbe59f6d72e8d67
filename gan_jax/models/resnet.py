"""ResNet-18 for classification and regression of images."""

from __future__ import annotations

import flax.linen as nn
import jax

from gan_jax.core.errors import check_choice
from gan_jax.models.blocks.layers import Conv, Dense
from gan_jax.models.blocks.norm import BatchNorm
from gan_jax.parallel.precision import block_output

_STEMS = ("imagenet", "small")
_STAGES = 4
_BLOCKS = 2
# He et al., arXiv:1502.01852, by fan-out as in torchvision.
_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ResNet18(nn.Module):
    """Residual network of 18 layers (He et al. 2016, arXiv:1512.03385, table 1).

    Shortcuts are the paper's option B, a 1x1 convolution where the shape changes. With stem
    "imagenet", 3 channels and 1000 outputs it has torchvision's 11,689,512 parameters. Stem "small"
    replaces the 7x7 stride-2 convolution and the max pooling by one 3x3 stride-1 convolution, as is
    usual for 32 px; it is not the paper's own CIFAR network (its section 4.2), which is narrower.

    Attributes:
      outputs: number of classes or of regressed values.
      width: channels of the first stage; the four have width * (1, 2, 4, 8).
      stem: "imagenet" (divides the size by 32) or "small" (by 8).
    """

    outputs: int
    width: int = 64
    stem: str = "imagenet"

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Map images to outputs and features.

        Args:
          x: images [B, H, W, C] in [-1, 1].
          train: use batch statistics and update the running ones.
          keys: not used, as there is no dropout; the signature is that of every classifier.

        Returns:
          outputs [B, outputs] (logits, no activation) and features [B, 8 * width], the pooled ones.

        Raises:
          UserError: for an unknown stem.
        """
        del keys
        check_choice("model.stem", self.stem, _STEMS)
        if self.stem == "imagenet":
            x = self._conv(x, self.width, 7, 2, "conv_stem")
            x = nn.relu(BatchNorm(name="norm_stem")(x, train=train))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        else:
            x = self._conv(x, self.width, 3, 1, "conv_stem")
            x = nn.relu(BatchNorm(name="norm_stem")(x, train=train))
        for stage in range(_STAGES):
            for i in range(_BLOCKS):
                stride = 2 if stage and not i else 1
                x = self._block(x, self.width << stage, stride, f"{stage}_{i}", train)
        features = x.mean((1, 2))
        return Dense(self.outputs, name="outputs")(features), features

    def _block(self, x: jax.Array, channels: int, stride: int, name: str, train: bool) -> jax.Array:
        shortcut = x
        x = self._conv(x, channels, 3, stride, f"conv{name}_a")
        x = nn.relu(BatchNorm(name=f"norm{name}_a")(x, train=train))
        x = self._conv(x, channels, 3, 1, f"conv{name}_b")
        x = BatchNorm(name=f"norm{name}_b")(x, train=train)
        if shortcut.shape != x.shape:
            shortcut = self._conv(shortcut, channels, 1, stride, f"conv{name}_shortcut")
            shortcut = BatchNorm(name=f"norm{name}_shortcut")(shortcut, train=train)
        return block_output(nn.relu(x + shortcut))

    def _conv(self, x: jax.Array, channels: int, size: int, stride: int, name: str) -> jax.Array:
        return Conv(
            channels,
            (size, size),
            (stride, stride),
            padding=size // 2,
            use_bias=False,
            kernel_init=_KERNEL_INIT,
            name=name,
        )(x)
