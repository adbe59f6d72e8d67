"""Metric names: their text is stable, and only one file formats and parses them."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
from conftest import ROOT

from gan_jax.core.metric_names import MetricName, Protocol, log_name, split_log_name

EFFICIENTNET = "efficientnet_lite0/clean"
# Names in the files of existing runs, and how they are constructed.
NAMES = {
    "loss": MetricName("loss"),
    "accuracy/test/10000": MetricName("accuracy").extended("test", 10_000),
    "accuracy[cat]/test/10000": MetricName("accuracy", "cat").extended("test", 10_000),
    "accuracy[cat|dog]/eval/16": MetricName("accuracy", "cat/dog").extended("eval", 16),
    "accuracy[a [b] c]/eval/16": MetricName("accuracy", "a [b] c").extended("eval", 16),
    "accuracy[[x]]/eval/16": MetricName("accuracy", "[x]").extended("eval", 16),
    "posterior_kl[003]/test/10000": MetricName("posterior_kl", "003").extended("test", 10_000),
    "posterior_kl[003]": MetricName("posterior_kl", "003"),
    f"fid/{EFFICIENTNET}/test/10000": MetricName("fid").extended(EFFICIENTNET, "test", "10000"),
    f"fid/{EFFICIENTNET}/test/1797vs10000/truncation=0.7": MetricName("fid").extended(
        EFFICIENTNET, "test", "1797vs10000", "truncation=0.7"
    ),
    "fid/cnn:run[1]/eval/100": MetricName("fid").extended("cnn:run[1]", "eval", "100"),
    "fid/cnn:run/photos [2]/50/chosen=content": MetricName("fid").extended(
        "cnn:run", "photos [2]", "50", "chosen=content"
    ),
    "kid_standard_error/inception_v3_tf/tf_legacy/test/5000": MetricName(
        "kid_standard_error", protocol=("inception_v3_tf/tf_legacy", "test", "5000")
    ),
    "is/inception_v3_tf@01234567/clean/50000": MetricName("is").extended(
        "inception_v3_tf@01234567/clean", 50_000
    ),
    "precision_k3/cnn:run/test/100": MetricName("precision_k3").extended("cnn:run", "test", 100),
    "swd_16px/test/1000": MetricName("swd_16px").extended("test", "1000"),
    "psnr/test/1000/transformed": MetricName("psnr").extended("test", "1000", "transformed"),
    "psnr/eval/16/unrounded": MetricName("psnr").extended("eval", 16).extended("unrounded"),
    "ms_ssim/scales3/1000": MetricName.parse("ms_ssim/scales3").extended("1000"),
    "lpips/vgg16@01234567/v0.1/test/1000": MetricName.parse("lpips/vgg16@01234567/v0.1").extended(
        "test", "1000"
    ),
    "nll/iw200/bernoulli/test/10000": MetricName("nll", protocol=("iw200", "bernoulli")).extended(
        "test", 10_000
    ),
    "ppl/activations/efficientnet_lite0/100": MetricName(
        "ppl", protocol=("activations/efficientnet_lite0", 100)
    ),
    "robust_noise0.1_real/pgd20/eval/64/truncation=0.7": MetricName(
        "robust_noise0.1_real", protocol=("pgd20", "eval", 64, "truncation=0.7")
    ),
    "gan_train/cnn:digits/test/1438": MetricName(
        "gan_train", protocol=("cnn:digits", "test", 1438)
    ),
    "confusion/eval/16": MetricName("confusion", protocol=("eval", 16)),
}


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_the_text_that_it_was_and_is_read_back(text: str) -> None:
    name = NAMES[text]
    assert str(name) == text
    assert MetricName.parse(text) == name
    assert hash(MetricName.parse(text)) == hash(name)


def test_any_text_is_kept() -> None:
    """Files may hold names that this version does not write."""
    draw = random.Random(0)
    for _ in range(20_000):
        text = "".join(draw.choices("ab/[]|\n=.", k=draw.randint(0, 9)))
        assert str(MetricName.parse(text)) == text


def test_what_a_name_is_made_of() -> None:
    name = MetricName.parse("posterior_kl[003]/test/10000")
    assert (name.metric, name.part, name.protocol) == ("posterior_kl", "003", ("test", "10000"))
    assert name.with_protocol() == MetricName("posterior_kl", "003")
    assert str(name.with_protocol("eval", 5)) == "posterior_kl[003]/eval/5"
    assert name.file_stem == "posterior_kl[003]_test_10000"
    texts = ["fid/b/1", "accuracy/b", "accuracy[b]/a", "accuracy[a]/z", "accuracy/a/b", "fid/a"]
    assert [str(name) for name in sorted(map(MetricName.parse, texts))] == [
        *("accuracy/a/b", "accuracy/b", "accuracy[a]/z", "accuracy[b]/a", "fid/a", "fid/b/1")
    ]


def test_which_numbers_may_stand_side_by_side() -> None:
    def of(text: str, weights: str = "", data: str = "d") -> Protocol:
        return Protocol(MetricName.parse(text).protocol, weights, data)

    assert of("fid/cnn:run/test/100", "w") == of("kid/cnn:run/test/100", "w")
    assert of("accuracy[cat]/test/100") == of("loss/test/100")
    for other in (
        of("fid/cnn:run/test/50", "w"),
        of("fid/cnn:run/eval/100", "w"),
        of("fid/cnn:run/test/100/truncation=0.7", "w"),
        of("fid/cnn:run/test/100", "other"),
        of("fid/cnn:run/test/100", "w", "other"),
        of("fid/test/100", "w"),
    ):
        assert of("fid/cnn:run/test/100", "w") != other
    assert str(of("fid/cnn:run/test/100")) == "cnn:run/test/100"


def test_names_in_the_log() -> None:
    fid = MetricName("fid", protocol=("cnn:run", "eval", 100))
    assert log_name("eval", fid) == "eval/fid/cnn:run/eval/100"
    assert (
        log_name("spectral_norm", "gen", "Block_0", "Dense_0")
        == "spectral_norm/gen/Block_0/Dense_0"
    )
    assert split_log_name("eval/fid/cnn:run/eval/100") == ("eval", "fid/cnn:run/eval/100")
    assert split_log_name("gen") == ("", "gen")


# The packages that use metric names. In others, slashes belong to paths and URLs.
ROOMS = ("evaluation", "experiment", "library", "methods", "metrics", "reporting", "rundir")
ROOMS += ("training",)
OTHERS = {"gan_jax/rundir/checkpoint.py"}  # array names are paths in the state


def _joins(source: str) -> list[int]:
    """Return the lines with code that joins or splits text at "/"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):  # f"{a}/b", but not a sentence with a slash
            pieces = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            text = "".join(pieces)
            if "/" in text and "{}" in pieces and not any(c in text for c in " :<;"):
                found.append(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            for part in (node.func.value, *node.args):  # "/".join(x), x.split("/")
                if isinstance(part, ast.Constant) and part.value == "/":
                    found.append(node.lineno)
    return found


def test_no_other_file_makes_or_reads_them() -> None:
    for source in ('f"fid/{x}"', 'f"{x}/y"', '"/".join(x)', 'x.split("/")', 'x.replace("/", "_")'):
        assert _joins(source) == [1], source
    assert not _joins('f"{x} images/s"; f"{x}: a/b"; a / b; x.split(",")')
    files = [path for room in ROOMS for path in Path(ROOT, "gan_jax", room).rglob("*.py")]
    assert len(files) > 50
    found = {str(path.relative_to(ROOT)): _joins(path.read_text()) for path in files}
    assert {path for path, lines in found.items() if lines} == OTHERS
