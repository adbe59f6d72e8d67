"""Classification and regression with a CNN or a ResNet-18 (He et al. 2015, arXiv:1512.03385).

    python main.py --config=configs/classifier.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/classifier.py:mnist,target=angle
    python main.py --config=configs/classifier.py:folder,path=DIR,net=resnet18,size=64

Adam with decoupled weight decay, a cosine schedule, label smoothing, random shifts, scales and
rotations. target=angle rotates each image by up to 60 degrees and predicts the angle. The
checkpoint is chosen on images held out of train, never on test; `--mode=eval` reports on test.

Deviations from the paper, of net=resnet18: its training was SGD for ImageNet; optimizer, schedule
and augmentation are ours.

Results: configs/README.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.common import base, make_smoke, optimizer, parse_arg, set_data
from gan_jax.core.npz import stored_shape


def get_config(arg: str = "mnist") -> ConfigDict:
    """Return the config; `arg` is "PRESET[,net=resnet18,target=angle,width=32,size=28,...]"."""
    preset, values = parse_arg(arg, net="cnn", target="label", width=0, steps=2600)
    config = base("classifier")
    set_data(config, preset, values)
    stored = stored_shape(values.get("path", "")) if preset == "npz" else None
    mnist = config.data.name in ("mnist", "fashion_mnist") or stored == (28, 28, 1)
    if "size" not in values and mnist:
        config.data.size = (28, 28)
    config.task.update(
        dict(
            target=values["target"],  # label | vector | angle
            # train on (vector - mean) / deviation; predictions are in the vector's own units
            standardise=values["target"] == "vector",
            label_smoothing=0.1
            if values["target"] == "label"
            else 0.0,  # share of the target spread over all classes
            max_rotation=12.0 if values["target"] == "label" else 0.0,  # augmentation [degrees]
            max_scale=0.1,  # augmentation [share]
            max_shift=2.0,  # augmentation [px]
        )
    )
    net = dict(name=values["net"])  # cnn | resnet18
    if values["width"]:
        net["width"] = values["width"]
    if values["net"] == "cnn" and values["target"] == "label":
        net["dropout"] = 0.3
    config.model = ConfigDict(dict(net=net))
    config.optim.net = optimizer(
        3e-3, weight_decay=1e-4, schedule="cosine", warmup_steps=values["steps"] // 20
    )
    config.train.update(dict(steps=values["steps"], batch_size=128, ema_decay=0.99))
    best = {"label": "max:accuracy", "angle": "min:error_degrees"}
    config.eval.update(dict(every=500, best=best.get(values["target"], "min:distance")))
    if preset == "smoke":
        make_smoke(config)
        config.optim.net.warmup_steps = 0
        config.model.net.width = 4
        config.eval.every = 1
    config.lock()
    return config
