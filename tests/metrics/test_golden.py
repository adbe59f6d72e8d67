"""The recorded values still match the reference packages, if these are installed."""

from __future__ import annotations

import pytest
from metrics_golden import golden, packages


def flat(tree, name=""):
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in flat(sub, f"{name}/{key}").items()}
    return {name: tree}


def test_the_packages_say_so():
    names = ("ot", "prdc", "pytorch_fid", "pytorch_msssim", "torch_fidelity", "torchmetrics")
    for name in names:
        pytest.importorskip(name, exc_type=ImportError)
    expected = golden()
    expected.pop("versions")
    found, expected = flat(packages()), flat(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-7), name
