"""Confusion matrices as JSON, tables and images.

Rows are the true classes and columns the predicted ones, as in scikit-learn.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from gan_jax.core.metric_names import MetricName

CONFUSION = "confusion"  # name of the metric
DIRECTION = "rows are the true class, columns the predicted one"
_CELL, _FONT = 44, 14  # [px]
_LEGIBLE = 40  # images of more classes have no text
_PRINTED = 20  # matrices of more classes are not printed to the terminal


@dataclasses.dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of images by true and predicted class.

    Attributes:
      classes: K class names.
      counts: [K, K], rows are true classes; NaN where an older evaluation did not record it.
    """

    classes: tuple[str, ...]
    counts: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Return the matrix as a dictionary for JSON."""
        return {
            "rows": "true class",
            "columns": "predicted class",
            "classes": list(self.classes),
            "counts": np.asarray(self.counts).astype(int).tolist(),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Confusion:
        """Return the matrix from the result of `to_dict`."""
        return cls(tuple(record["classes"]), np.asarray(record["counts"], np.float64))

    def table(self, title: str) -> Table | None:
        """Return a table for the terminal, or None if there are too many classes."""
        if len(self.classes) > _PRINTED:
            return None
        table = Table("true \\ predicted", *self.classes, title=f"{title}: {DIRECTION}")
        for name, row in zip(self.classes, self.counts, strict=True):
            table.add_row(name, *(f"{count:,.0f}" for count in row))
        return table

    def picture(self) -> np.ndarray:
        """Draw the matrix, uint8 [H, W, 3]; the darker a cell, the larger its share of its row."""
        total = np.nansum(self.counts, 1, keepdims=True)
        shares = np.nan_to_num(self.counts / np.maximum(total, 1))
        legible = len(self.classes) <= _LEGIBLE
        cell = _CELL if legible else max(2, 1600 // len(self.classes))
        # White to blue; the square root keeps small shares distinguishable from 0.
        blue = np.array([8, 48, 107])
        pixels = 255 - np.sqrt(shares)[..., None] * (255 - blue)
        image = Image.fromarray(np.rint(pixels).astype(np.uint8).repeat(cell, 0).repeat(cell, 1))
        if not legible:
            return np.asarray(image)
        font = ImageFont.load_default(_FONT)
        margin = min(240, 16 + math.ceil(max(font.getlength(name) for name in self.classes)))
        side = len(self.classes) * cell
        title = f"{DIRECTION} (images)"
        width = max(margin + side, math.ceil(font.getlength(title))) + 8
        sheet = Image.new("RGB", (width, 2 * _FONT + margin + side + 8), "white")
        draw = ImageDraw.Draw(sheet)
        top = sheet.height - side - 8
        sheet.paste(image, (margin, top))
        draw.text((4, 4), title, "black", font)
        headings = Image.new("RGB", (margin, side), "white")  # rotated at the end
        columns = ImageDraw.Draw(headings)
        for i, name in enumerate(self.classes):
            middle = i * cell + (cell - _FONT) // 2
            draw.text((8, top + middle), name, "black", font)
            columns.text((4, middle), name, "black", font)
            for j, count in enumerate(self.counts[i]):
                if count and not np.isnan(count):
                    at = (margin + (j + 0.5) * cell, top + (i + 0.5) * cell)
                    ink = "white" if shares[i, j] > 0.3 else "black"
                    draw.text(at, f"{count:.0f}", ink, font, anchor="mm")
        sheet.paste(headings.transpose(Image.Transpose.ROTATE_90), (margin, top - margin))
        return np.asarray(sheet)


def markdown(classes: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells [K][K]."""
    lines = [f"| true \\ predicted | {' | '.join(classes)} |", "|---" * (len(classes) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row)} |" for name, row in zip(classes, cells, strict=True)]
    return "\n".join(lines)


def read_older(
    numbers: Mapping[str, float], classes: Sequence[str]
) -> tuple[dict[str, float], dict[str, Confusion]]:
    """Convert results of the old format: `accuracy/CLASS/...`, `confusion/TRUE/PREDICTED/...`.

    That format has no matrices: it lists non-zero mistakes only, and does not count correct
    predictions.

    Args:
      numbers: content of an evaluation file.
      classes: class names of the run's data.

    Returns:
      (values by their current names, confusion matrices by name).
    """
    found: dict[str, float] = {}
    matrices: dict[str, Confusion] = {}
    place = {name: i for i, name in enumerate(classes)}
    for name, value in numbers.items():
        read = MetricName.parse(name)
        metric, rest = read.metric, read.protocol
        parts = 0 if read.part else {CONFUSION: 2, "accuracy": 1}.get(metric, 0)
        if not parts or len(rest) != parts + 2 or any(part not in place for part in rest[:parts]):
            found[name] = value
            continue
        protocol = rest[parts:]
        whole = str(MetricName(CONFUSION, protocol=protocol))
        matrix = matrices.setdefault(whole, _unknown(classes))
        if metric == CONFUSION:
            matrix.counts[place[rest[0]], place[rest[1]]] = value
        else:
            found[str(MetricName(metric, rest[0], protocol))] = value
    return found, matrices


def _unknown(classes: Sequence[str]) -> Confusion:
    """Return a matrix without mistakes, whose diagonal is unknown (NaN)."""
    return Confusion(tuple(classes), np.diag(np.full(len(classes), np.nan)))
