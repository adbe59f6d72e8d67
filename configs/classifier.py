"""Classification and regression with a CNN or a ResNet-18 (He et al. 2015, arXiv:1512.03385).

    python main.py --config=configs/classifier.py:mnist --config.data.dir=TFDS_DIR
    python main.py --config=configs/classifier.py:mnist,target=angle
    python main.py --config=configs/classifier.py:folder,path=DIR,net=resnet18,size=64

Adam with decoupled weight decay, a cosine schedule, label smoothing, random shifts, scales and
rotations. target=angle turns each image by up to 60 degrees and learns by how much. The
checkpoint is chosen on the images held out of train, never on test; `--mode=eval` reports on
test.

Measured (2026-11-23, two cores of an AMD EPYC), MNIST's 10,000 test images, checkpoint chosen on
5,000 held out of train: `:mnist`, seeds 0, 1, 2: accuracy 99.54, 99.59, 99.55 %, mean 99.56 %,
standard deviation 0.03 %. 349 s for seed 2 on an idle machine (760 and 757 s for the others, beside
the test suite). `:mnist,target=angle,steps=1200`, seed 0: mean error 9.2 degrees of angles in
[-60, 60], where the guess 0 has 30.
Noto emoji, 8 classes (its folders), `:folder,path=NOTO,net=resnet18,size=32,width=16,steps=800`,
1,252 s beside other jobs, seed 0: accuracy 66.0 % on the 344 images held out, on which the
checkpoint (step 500) was chosen as well; all of the 1,292 trained on are right by then.
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
            # learn vectors less their mean over their deviation, and predict in their units
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
