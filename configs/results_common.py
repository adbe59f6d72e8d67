"""The results of the model zoo: reads configs/results/NAME.json and makes tables of them.

A result file is {"rows": [...]}. A row has

  argument: of the config, after the colon; what: a short label; short: whether the training had
    fewer steps than the config's own; note, reference: text beside the result.
  command, evaluated: the two commands that made it; null where they are not recorded.
  seeds, steps, minutes, machine, date, versions: null where they are not recorded; minutes has one
    entry a seed, steps is a number, or [lowest, highest] where seeds differ.
  parameters: of each network, filled in by `count_parameters`.
  metrics: {NAME: one value a seed}, or {NAME: {"mean": ..., "deviation": ...}} where only these are
    known. Names have their protocol, see `gan_jax.core.metric_names`.
  picture: a file, relative to configs/; "" for none.

and may have `family` or `study`, where it stands in another table than its config's; `classes` of a
folder of images, which `count_parameters` needs; and, until all its seeds are measured, `plan`:
{"seeds": [...], "minutes": expected of a seed, "worth": rows of the highest are run first}, see
benchmarks/campaign.py.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from pathlib import Path
from typing import Any

from gan_jax.core.metric_names import MetricName

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
# {task: [{"method": ..., "metrics": {NAME: value}}]}, by benchmarks/restoration_baselines.py.
BASELINES = FOLDER / "restoration_baselines.json"
Row = dict[str, Any]

# Tables of the page: a heading, and the configs whose results it has.
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gan": (
        "GANs without labels",
        (
            *("dcgan", "gan", "tutorial_gan", "lapgan", "improved_gan", "wgan", "wgan_gp", "lsgan"),
            *("dragan", "relativistic_gan", "sngan", "progan"),
        ),
    ),
    "gan_class": (
        "Class-conditional GANs",
        (
            *("quickstart", "acgan", "cgan_projection", "sagan", "biggan", "biggan_deep"),
            *("contragan", "reacgan"),
        ),
    ),
    "gan_few": ("GANs for few images", ("diffaugment_gan", "ada_gan")),
    "gan_self": (
        "GANs with self-supervision or few labels",
        ("infogan", "ssgan", "semi_supervised_gan"),
    ),
    "vae": ("VAEs", ("vae", "iwae")),
    "translation": ("Image-to-image translation", ("unet", "pix2pix", "cyclegan")),
    "restoration": (
        "Restoration of photographs",
        (
            *("edsr", "srcnn", "srgan", "esrgan", "dncnn", "dejpeg", "deblur", "inpaint"),
            "colorize",
        ),
    ),
    "classifier": ("Classifiers", ("classifier",)),
    "fusion": ("VAEs and GANs combined", ("vae_gan",)),
}
# Comparisons over several rows: a heading and how to read it.
STUDIES: dict[str, tuple[str, str]] = {
    "few_images": (
        "Augmentation with few images",
        "DCGANs on 1,292 Noto emoji of 64 px, compared with their own training images. Augmentation"
        " first costs quality and then helps. All three trainings are short: a recall of 0 means"
        " that no training image lies near a generated one in these features.",
    ),
    "rejection": (
        "Rejection sampling",
        "`--rejection` with one DCGAN and one seed. Images are kept with a probability that"
        " follows from the discriminator's logit (arXiv:1810.06758).",
    ),
    "robustness": (
        "Robustness of discriminators",
        "Balanced accuracy of the discriminator on real and generated images that are changed: by"
        " Gaussian noise, blur, JPEG compression, and PGD (L-infinity, 20 steps, radius in the"
        " [-1, 1] scale). Chance is 0.5. The quality of the generators differs, so compare a row"
        " with its own `robust_clean`. Discriminators with a gradient penalty resist PGD best;"
        " those with neither penalty nor bounded weights, least.",
    ),
    "precision": (
        "Activations in bfloat16",
        "The same training with activations in float32 and in bfloat16. So few seeds do not tell"
        " the two apart.",
    ),
    "controls": (
        "Controls",
        "Trainings that show which part of a method is needed.",
    ),
    "corrected": (
        "Before corrections",
        "Results of earlier versions of this code, with the mistake that was corrected since.",
    ),
}
HEAD = """# The model zoo

Results of every config, the fields that a GAN is made of, and the source of every number that a
config takes from a paper.

**How to read the results.** Numbers are comparable only under the same protocol: metric, feature
network, split and number of images. `cnn:NAME` is a classifier of this project (a run of
`configs/classifier.py:mnist`), which sees digits better than networks trained on photographs do.
Results are means ± standard deviations over seeds. A dash means not recorded. The commands of a row
are in the file that its argument links to; `constraints.txt` has the versions.

**Short** marks a training with fewer steps than the config's own: it shows what a method does with
little time, not what it can do. Most of these took 150 s of processor time on one core, with about
32 channels and one discriminator update a generator update: one or two epochs of MNIST for DCGANs,
a third of one for residual networks. They are repeated, with TFDS_DATA_DIR set, by

```
python benchmarks/ladder.py --output=runs/ladder --classifier=CLASSIFIER --only=dcgan
```

**Not yet measured** rows are trained, evaluated and written here, in the order of their worth, by

```
python benchmarks/campaign.py --root=DIR --set=PHOTOS=FOLDER --dry-run
```
"""


PHOTOGRAPHS = """Results and baselines are means over three whole photographs, rounded to 8 bits:
chelsea, coffee and flower (split "test" of `data.source=photographs`). Networks train on seven
others of scikit-image, scikit-learn and matplotlib; "30 more" are of a folder. `border2`: 2 px
at each border are left out; `y` is luma in [16, 235]; noise is added without clipping. Classical
methods on the same pixels, by `python benchmarks/restoration_baselines.py`:
"""


def read_results() -> dict[str, list[Row]]:
    """Return the rows of every config that has a result file."""
    files = sorted(RESULTS.glob("*.json"))
    return {path.stem: read_rows(path) for path in files}


def write_results(results: dict[str, list[Row]]) -> None:
    """Write the rows of every config to its result file."""
    for name, rows in results.items():
        write_rows(RESULTS / f"{name}.json", rows)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a result file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write a result file; one that is there is replaced as a whole."""
    text = json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n"
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def results_page(results: dict[str, list[Row]], papers: dict[str, str]) -> str:
    """Return the page's part on results.

    Args:
      results: as of `read_results`.
      papers: of every config, with a link; a family's configs that are not in it are left out.
    """
    parts = [HEAD]
    for family, (heading, names) in FAMILIES.items():
        if lines := _family(family, [name for name in names if name in papers], results, papers):
            parts.append("\n".join([f"## {heading}", "", *lines, ""]))
            if family == "restoration":
                baselines = json.loads(BASELINES.read_text(encoding="utf-8"))
                parts.append("\n".join([PHOTOGRAPHS, *_baselines(baselines), ""]))
    parts.append("## Comparisons\n")
    for study, (heading, about) in STUDIES.items():
        rows = [(n, row) for n, rs in results.items() for row in rs if row.get("study") == study]
        if rows:
            parts.append("\n".join([f"### {heading}", "", about, "", *_study(rows)]))
    return "\n".join(parts)


def _family(
    family: str, names: list[str], results: dict[str, list[Row]], papers: dict[str, str]
) -> list[str]:
    """Return the lines of a family's table."""
    rows = [
        (name, row)
        for name in (*names, *(n for n in results if n not in names))
        for row in results.get(name, ())
        if "study" not in row and row.get("family", family if name in names else "") == family
    ]
    if not names:
        return []
    lines = [
        "| config | trained on | paper | parameters | steps | protocol | result | time, machine |"
        " samples |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys([*names, *(name for name, _ in rows)]):
        mine = [row for other, row in rows if other == name]
        if not mine:
            lines.append(f"| {_config(name)} | | {papers[name]} | | | | not yet measured | | |")
        for row in mine:
            cells = [_config(name, row), _trained_on(row), papers[name], _parameters(row)]
            cells += [_steps(row), *_result(row), _time(row), _picture(row)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _baselines(tasks: dict[str, list[Row]]) -> list[str]:
    """Return the lines of a table for each task: a baseline a row, a metric a column."""
    lines = []
    for baselines in tasks.values():
        columns = list(dict.fromkeys(name for line in baselines for name in line["metrics"]))
        lines += [f"| baseline | {' | '.join(f'`{name}`' for name in columns)} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for line in baselines:
            cells = [_number([line["metrics"][c]]) if c in line["metrics"] else "" for c in columns]
            lines.append(f"| {' | '.join([line['method'], *cells])} |")
        lines.append("")
    return lines


def _study(rows: list[tuple[str, Row]]) -> list[str]:
    """Return the lines of a comparison: a table a protocol, a column a metric."""
    lines = []
    protocols: dict[str, list[tuple[str, Row]]] = {}
    for name, row in rows:
        shared = {re.sub(r"/rejection=\w+", "", p) for p in _protocols(row) if "/" in p}
        protocols.setdefault(" ".join(sorted(shared)), []).append((name, row))
    for protocol, members in protocols.items():
        names = [MetricName.parse(metric).metric for _, row in members for metric in row["metrics"]]
        columns = list(dict.fromkeys(names))
        # Beside the numbers: what any of the rows has.
        last = {"samples": _picture, "note": lambda row: row["note"]}
        last = {k: cell for k, cell in last.items() if any(cell(row) for _, row in members)}
        head = ["config", "", "seeds", "steps", *columns, *last]
        lines += [f"Protocol `{protocol}`:", "", f"| {' | '.join(head)} |"]
        lines.append("|---" * len(head) + "|")
        for name, row in members:
            values = {MetricName.parse(k).metric: v for k, v in row["metrics"].items()}
            cells = [_config(name, row), row["what"], _seeds(row), _steps(row)]
            cells += [_number(values[c]) if c in values else "" for c in columns]
            cells += [cell(row) for cell in last.values()]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return lines


def _config(name: str, row: Row | None = None) -> str:
    link = f"[`{name}`]({name}.py)"
    if row is None:
        return link
    shown = f"`:{row['argument']}`" if row["argument"] else "default"
    return f"{link} [{shown}](results/{name}.json)"


def _trained_on(row: Row) -> str:
    return row["what"] + (" **(short)**" if row["short"] else "")


def _parameters(row: Row) -> str:
    counts = row["parameters"] or {}
    return "<br>".join(f"{net} {_count(number)}" for net, number in counts.items()) or "-"


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def _seeds(row: Row) -> str:
    return ", ".join(map(str, row["seeds"] or "-"))


def _steps(row: Row) -> str:
    if row["steps"] is None:
        return "-"
    ends = row["steps"] if isinstance(row["steps"], list) else [row["steps"]]
    return " to ".join(f"{step:,}" for step in ends)


def _protocols(row: Row) -> list[tuple[str | int, ...]]:
    return list(dict.fromkeys(MetricName.parse(name).protocol for name in row["metrics"]))


def _result(row: Row) -> tuple[str, str]:
    """Return the cells of the protocols and of what was measured by each."""
    protocols, lines = _protocols(row), []
    for protocol in protocols:
        found = [(MetricName.parse(k), v) for k, v in row["metrics"].items()]
        lines.append(
            ", ".join(f"{_short(n)} {_number(v)}" for n, v in found if n.protocol == protocol)
        )
    if not lines:
        lines.append("not yet measured" if "plan" in row else "looked at, not measured")
    if row["seeds"]:
        lines[-1] += f" (seed{'s' if len(row['seeds']) > 1 else ''} {_seeds(row)})"
    if row.get("reference"):
        lines.append(f"Reference: {row['reference']}")
    if row["note"]:
        lines.append(row["note"])
    named = ("/".join(map(str, protocol)) for protocol in protocols)
    return "<br>".join(f"`{protocol}`" for protocol in named), "<br>".join(lines)


def _short(name: MetricName) -> str:
    return str(name.with_protocol())


def _number(values: list[float] | dict[str, float]) -> str:
    """Format a mean to the second digit of its deviation; one value to four digits."""
    if isinstance(values, dict):
        mean, deviation = values["mean"], values["deviation"]
    elif len(values) == 1:
        return f"{values[0]:.4g}"
    else:
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        deviation = math.sqrt(squares / (len(values) - 1))
    if deviation == 0:
        return f"{mean:.4g} ± 0"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _time(row: Row) -> str:
    known = [minutes for minutes in row["minutes"] or () if minutes is not None]
    parts = []
    if known:
        ends = sorted({min(known), max(known)})
        parts.append(" to ".join(f"{m * 60:.0f} s" if m < 10 else f"{m:.0f} min" for m in ends))
    parts += [part for part in (row["machine"], row["date"]) if part]
    return ", ".join(parts) or "-"


def _picture(row: Row) -> str:
    return f'<img src="{row["picture"]}" width="160" alt="samples">' if row["picture"] else ""


def config_of(command: str) -> tuple[str, dict[str, str]]:
    """Return the config that a command trains, and the fields that it sets.

    Args:
      command: "python main.py --config=FILE:ARGUMENT --config.FIELD=VALUE ..."; without --config
        it is the quickstart's.
    """
    location, fields = "configs/quickstart.py", {}
    for word in shlex.split(command):
        name, _, value = word.partition("=")
        if name == "--config":
            location = value
        elif name.startswith("--config."):
            fields[name.removeprefix("--config.")] = value
    return location, fields


# Channels and classes of the data sets that results are of; images of a folder are RGB.
_DATA = {"digits": (1, 10), "mnist": (1, 10), "fashion_mnist": (1, 10), "cifar10": (3, 10)}


def count_parameters(command: str, classes: int = 0) -> dict[str, int]:
    """Return how many parameters each network has that a command trains, without training it.

    Args:
      command: as of `config_of`.
      classes: of a folder of images.
    """
    import jax

    from gan_jax.core.spec import DataSpec, Stream
    from gan_jax.core.state import count_parameters as count
    from gan_jax.methods.configs import load_config
    from gan_jax.methods.registry import make_task

    config = load_config(*config_of(command))
    name = config.data.name or config.data.source
    channels, known = _DATA.get(name, (3, classes))
    shape = (*config.data.size, config.data.channels or channels)
    streams = {"image": Stream(shape, "float32", "image")}
    if config.data.source == "folder":  # translators need it, and nothing else looks at it
        streams["target"] = Stream(shape, "float32", "image")
    if known:
        streams["label"] = Stream((), "int32", "label")
    if config.data.labelled and config.data.unlabelled:
        streams |= {f"labelled_{stream}": what for stream, what in streams.items()}
    spec = DataSpec(name, streams, known, counts={"train": 1_000_000})
    task = make_task(config, spec)
    state = jax.eval_shape(task.init, jax.random.key(0))
    counts: dict[str, int] = {}
    for net in task.modules:  # LAPGAN numbers its networks
        kind = net.rstrip("0123456789")
        counts[kind] = counts.get(kind, 0) + count(state.nets[net].params)
    return counts


def fill_in_parameters(results: dict[str, list[Row]]) -> bool:
    """Count the parameters of rows that have none; return whether there were any such rows."""
    counted: dict[tuple[str, int], dict[str, int]] = {}
    changed = False
    for row in (row for rows in results.values() for row in rows):
        if row["parameters"] is None and row["command"]:
            key = (row["command"], row.get("classes", 0))
            counted[key] = counted.get(key) or count_parameters(*key)
            row["parameters"], changed = counted[key], True
    return changed
