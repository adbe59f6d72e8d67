"""The command's flags, error reporting and exit codes; its modes are in `modes`.

`python main.py` in a checkout; `gan_jax` or `python -m gan_jax` if the package is installed.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from gan_jax.cli import modes as cli
from gan_jax.core.errors import DISK, UserError, out_of_memory, silence_stderr
from gan_jax.core.outside import trusting
from gan_jax.core.places import place
from gan_jax.platform.compile_cache import keep_compiled_programs
from gan_jax.platform.heap import reuse_host_memory
from gan_jax.platform.host import enough_threads, without_missing_tpu
from gan_jax.platform.logs import set_up_logging

INTERRUPTED = 130  # exit code, as in shells: 128 + SIGINT


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UserError, so that its errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def make_parser() -> Parser:
    """Return the parser of the flags; --config.FIELD and task options are parsed elsewhere."""
    parser = Parser(
        prog=cli.command(),
        description="Train and use GANs, VAEs and CNNs; --config.FIELD=VALUE sets any field.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--mode", default="train", choices=sorted(cli.MODES))
    add("--config", help=f"FILE.py[:PRESET,key=value...]; default: of the run, or {cli.QUICKSTART}")
    add("--workdir", type=place, help="the run's directory; default: runs/NAME; report: RUN,RUN...")
    change = "train: let learning rates, weight decay, batch size or a folder's images differ from"
    add("--change", action="store_true", help=f"{change} here on; eval, sample: such images")
    add("--checkpoint", default="", help="latest, best or a step; default: best where there is one")
    add("--topology", default="", help="plan: the machine, such as h100:8, v5e:2x4 or cpu:8")
    add("--split", default="", help="eval: test, eval or train")
    add("--metrics", default="", help="eval, report: names such as fid,kid,is,prdc; see README")
    seer = "eval: the network that sees, such as cnn:RUN; --weights=FILE (or download): its weights"
    add("--features", default="", help=seer)
    add("--resize", default="clean", help="eval: how it resizes, clean or tf_legacy")
    add("--vgg", type=place, help="eval: file of VGG-16's weights, for lpips and ppl")
    add("--heads", type=place, help="eval: file of LPIPS's heads; default: that of package lpips")
    add("--images", default="", help="eval: samples, or transformed images of the split")
    add("--real", type=place, help="eval, without a run: a folder of images, or statistics .npz")
    add("--fake", type=place, help="eval, without a run: the folder to compare with it")
    add(
        "--name",
        default="",
        help="transform, eval: one of the run's transforms; fit: one of its fits",
    )
    add("--input", type=place, help="transform, predict: a folder of images, or one image")
    where = "sample, transform: a folder (of one image also a file); report: a Markdown file"
    add("--output", type=place, help=f"{where}; predict: a table, RUN/predictions.csv")
    earlier = "sample, transform: delete earlier images there; of one file, predict: replace it"
    add("--overwrite", action="store_true", help=earlier)
    add("--size", default="", help="transform: HEIGHT,WIDTH to resize images to first; their own")
    tiles = "transform: side of the tiles of large images [px], or approximate"
    add("--tile", help=f"{tiles}; 256, or the whole image where tiles would have seams")
    add("--bits", type=int, default=8, choices=(8, 16), help="transform: 16 keeps 16-bit files'")
    add("--mask", type=place, help="transform: white where to fill in; a file, or a folder of them")
    beside = "transform: write input | output (| target) beside each output"
    add("--compare", action="store_true", help=beside)
    add("--target", type=place, help="transform --compare: a folder of targets, same names")
    add("--num", type=int, help="images to generate; sample: 64; eval: as many as real ones")
    add("--labels", help="sample, transform: classes by name or number, such as 0,1,2; repeated")
    add("--interpolate", default="", help="sample: --num paths, along latents, classes or both")
    add("--steps", type=int, help="sample --interpolate: images a path; 8")
    add("--trust-code", action="store_true", help="let a run import outside code that it names")
    add("--coordinator", default="", help="train, eval: HOST:PORT of process 0 of several")
    add("--processes", type=int, default=0, help="train, eval: how many processes there are")
    add("--process", type=int, default=-1, help="train, eval: which of them this one is, from 0")
    add("--seed", type=int, default=0, help="sample, transform, eval: of what is drawn")
    return parser


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code."""
    set_up_logging()
    parser = make_parser()
    try:
        known, others = parser.parse_known_args(arguments)
        cli.check_flags(known, vars(parser.parse_args([])))
        # External code named in a config file or in flags is the caller's own; a run may name a
        # stranger's.
        with trusting(known.trust_code or bool(known.config)):
            code = cli.MODES[known.mode](known, others)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not (reason := out_of_memory(error)):
            raise
        fix = "use a device with more memory, or the host's: JAX_PLATFORMS=cpu"
        print(f"error: out of memory ({reason}): {fix}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(f"error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # not the first one during training: that saves and stops
        print("interrupted by Ctrl-C", file=sys.stderr)
        return INTERRUPTED
    return code or 0


def start() -> NoReturn:
    """Set up the process, run the command in `sys.argv`, and exit: `main.py`, `gan_jax`."""
    without_missing_tpu()
    reuse_host_memory()
    enough_threads()
    keep_compiled_programs()
    code = main(sys.argv[1:])
    if code:
        silence_stderr()
    sys.exit(code)
