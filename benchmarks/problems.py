"""The problems of train_speed.py, one per row: configs of this project on random images.

Does not import JAX, so that a process that measures PyTorch holds PyTorch only. Resolving a config
needs JAX; such a process is given a config resolved by another, see `Problem.resolve`.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gan_jax.core.config import from_dict
from gan_jax.core.spec import DataSpec, Stream
from gan_jax.methods.configs import load_config

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One row.

    Attributes:
      location: file and argument of the config; its data are replaced by random ones.
      twin: module in benchmarks.twins.
      image: (height, width, channels).
      fields: overrides of the config.
      target: channels of the stream "target"; 0 for none.
      scale: side of the stream "target" relative to that of "image".
      classes: number of classes of the stream "label"; 0 for none.
      photo: (height, width) of the photo that a restorer transforms; (0, 0) for none.
      resolved: the resolved config as JSON, see `resolve`; "" if not resolved yet.
    """

    location: str
    twin: str
    image: tuple[int, int, int]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target: int = 0
    scale: int = 1
    classes: int = 0
    photo: tuple[int, int] = (0, 0)
    resolved: str = ""

    def changed(self, image: tuple[int, int, int], **fields: Any) -> Problem:
        """Return the problem at another size, with fields such as `model__gen__width=4`."""
        named = {name.replace("__", "."): value for name, value in fields.items()}
        fields = {**self.fields, **named}
        return dataclasses.replace(self, image=image, fields=fields, resolved="")

    def resolve(self) -> Problem:
        """Return the problem with its config resolved, for a process without JAX."""
        return dataclasses.replace(self, resolved=json.dumps(self.config().to_dict()))

    def config(self) -> ConfigDict:
        """Return the config from which ours and the twin are built."""
        if self.resolved:
            return from_dict(json.loads(self.resolved))
        overrides = {name: str(value) for name, value in self.fields.items()}
        return load_config(str(_CONFIGS / self.location), overrides)

    def spec(self) -> DataSpec:
        """Describe the random data."""
        streams = {"image": Stream(self.image, "float32", "image")}
        if self.target:
            sides = (self.scale * side for side in self.image[:2])
            streams["target"] = Stream((*sides, self.target), "float32", "image")
        if self.classes:
            streams["label"] = Stream((), "int32", "label")
        names = tuple(map(str, range(self.classes)))
        return DataSpec("random", streams, self.classes, names)

    def batch(self) -> dict[str, np.ndarray]:
        """Return a batch [draws, B, ...], the same at every call."""
        config = self.config()
        draws = config.task.get("disc_updates", 1)
        random = np.random.Generator(np.random.Philox(0))
        batch = {}
        for name, stream in self.spec().streams.items():
            shape = (draws, config.train.batch_size, *stream.shape)
            if stream.kind == "label":
                batch[name] = random.integers(0, self.classes, shape).astype(np.int32)
            else:
                batch[name] = random.uniform(-1, 1, shape).astype(np.float32)
        return batch

    def make_photo(self) -> np.ndarray:
        """Return a photo, uint8 [H, W, C], the same at every call."""
        random = np.random.Generator(np.random.Philox(1))
        return random.integers(0, 256, (*self.photo, self.image[2]), np.uint8)

    def make_twin(self, device: str = "cpu") -> Any:
        """Build the PyTorch twin on a PyTorch device, with its own initial weights."""
        import torch

        module = importlib.import_module(f"benchmarks.twins.{self.twin}")
        with torch.device(device):
            return module.Twin(self.config(), self.spec())


_CONSTANT = {"optim.gen.schedule": "constant", "optim.disc.schedule": "constant"}
_ONE_UPDATE = {**_CONSTANT, "task.disc_updates": 1}  # five take five times as long, in both

_SMALL = {
    "model.gen.width": 32,
    "model.disc.width": 32,
    "train.batch_size": 16,
    "task.disc_updates": 1,
    "task.fake_labels": "real",  # as the twins have it, and no other work
    "train.ema_start": 0,
}

_RESTORER = {
    "task.patch": 0,  # patches are cut before the step
    "task.flip": False,
    "task.turn": False,
    "optim.net.schedule": "constant",
}

# Augmentation is off: in PyTorch it is work of the data loader. The classifier's learning rate is
# constant, because the first of its warm-up is 0 and would hide a wrong optimizer; so are those of
# the residual GANs, whose decay is no work. SNGAN's generator is 128 wide (paper: 256).
# SAGAN and BigGAN are 32 wide (64 and 96), with batches of 16 and one discriminator update (BigGAN:
# five), and given one of ten classes. Restorers get patches of 48 px of the clean image. EDSR is
# the paper's baseline with the config's bicubic skip, and gets pairs: to downscale is work of the
# data loader in PyTorch. DnCNN-S gets grey images, to which both add noise in the step.
PROBLEMS = {
    "DCGAN-64": Problem("dcgan.py:celeb_a", "dcgan", (64, 64, 3)),
    "SNGAN-32": Problem(
        "sngan.py:cifar10", "sngan", (32, 32, 3), {**_ONE_UPDATE, "model.gen.width": 128}
    ),
    "WGAN-GP-32": Problem("wgan_gp.py:cifar10", "sngan", (32, 32, 3), _ONE_UPDATE),
    "SAGAN-64": Problem("sagan.py:folder,size=64", "biggan", (64, 64, 3), _SMALL, classes=10),
    "BigGAN-32": Problem("biggan.py:cifar10", "biggan", (32, 32, 3), _SMALL, classes=10),
    "conv VAE-64": Problem("vae.py:celeb_a", "vae", (64, 64, 3)),
    "MLP VAE-28": Problem("vae.py:mnist,net=mlp", "vae", (28, 28, 1)),
    "pix2pix-64": Problem(
        "pix2pix.py:pairs", "pix2pix", (64, 64, 3), {"task.flip": False, "task.jitter": 0}, target=3
    ),
    "ResNet-18-32": Problem(
        "classifier.py:cifar10,net=resnet18",
        "resnet",
        (32, 32, 3),
        {
            "task.max_rotation": 0.0,
            "task.max_scale": 0.0,
            "task.max_shift": 0.0,
            "optim.net.schedule": "constant",
            "optim.net.warmup_steps": 0,
        },
        classes=10,
    ),
    "EDSR-48": Problem(
        "edsr.py:pairs,width=64,blocks=16",
        "restoration",
        (24, 24, 3),
        _RESTORER,
        target=3,
        scale=2,
        photo=(512, 768),
    ),
    "DnCNN-48": Problem(
        "dncnn.py:photos,channels=1", "restoration", (48, 48, 1), _RESTORER, photo=(512, 768)
    ),
}
