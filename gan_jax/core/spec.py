"""DataSpec: everything that a model, a checkpoint or a notebook needs to know about a data set.

A run stores its spec as `spec.json`, so that sampling, transforming and exporting never open the
data set again. Imports neither JAX nor the image readers.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Mapping
from typing import Any

from gan_jax.core.errors import UserError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Stream:
    """One named leaf of a batch, described for a single example.

    Attributes:
      shape: without the batch axis: (height, width, channels) of an image, () of a label.
      dtype: "float32" for images in [-1, 1] and for targets, "int32" for labels.
      kind: "image", "label" or "vector".
      domain: streams of the same domain are aligned example by example; each domain has its own
        order. "" if the data have a single domain, such as pairs.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: str
    domain: str = ""


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """A data set as the task sees it.

    Attributes:
      name: for display, such as "mnist" or the folder's name.
      streams: the leaves of a batch by name: "image", "label", "target", ...
      num_classes: 0 if the data have no labels.
      class_names: one per class, in the order of the labels.
      counts: number of examples by split: "train", "eval", "test"; with several domains the size
        of the largest, and each domain's own as "train a".
      preprocess: how stored images became model input (size, channels, resize filter, fit);
        `transform` treats new images the same way.
      fingerprint: SHA-256 of what identifies the examples.
      target_mean, target_std: mean and standard deviation of each entry of a vector stream
        "target", over split "train", in the target's unit; () if there is none, and in older
        specs. A constant entry has a standard deviation of 1.
      notes: lines for display: files that are left out, by reason, and other remarks on the data.
      former: fingerprints that earlier versions computed for the same examples.
      eval_pairs: with several domains, whether the evaluation examples are pairs nevertheless.
    """

    name: str
    streams: Mapping[str, Stream]
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    preprocess: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fingerprint: str = ""
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    eval_pairs: bool = False

    def __str__(self) -> str:
        splits = [split for split in ("train", "eval", "test") if split in self.counts]
        counts = ", ".join(f"{split} {self.counts[split]:,}" for split in splits)
        return f"{self.fingerprint[:12]} ({counts})"

    def same_data(self, other: DataSpec) -> bool:
        """Return whether both specs describe the same examples."""
        mine, theirs = ({spec.fingerprint, *spec.former} for spec in (self, other))
        return bool(mine & theirs)

    def domains(self, *, training: bool) -> list[dict[str, Stream]]:
        """Return the streams of each domain, in training or in evaluation."""
        if self.eval_pairs and not training:
            return [dict(self.streams)]
        found: dict[str, dict[str, Stream]] = {}
        for name, stream in self.streams.items():
            found.setdefault(stream.domain, {})[name] = stream
        return list(found.values())

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the stream "image"."""
        return self.streams["image"].shape  # type: ignore[return-value]

    @property
    def unlabelled(self) -> str:
        """Message for data without labels where labels are needed."""
        return f"{self.name} has none" + (f" ({'; '.join(self.notes)})" if self.notes else "")

    def label(self, text: str) -> int:
        """Return the label of a class given by its name or its number.

        A name takes precedence: for folders 1 to 9, "2" is the class of that name, not the third.

        Raises:
          UserError: neither a name nor a number.
        """
        if (name := unicodedata.normalize("NFC", text)) in self.class_names:
            return self.class_names.index(name)
        try:
            return int(text)
        except ValueError:
            hint, names = did_you_mean(text, self.class_names), ", ".join(self.class_names)
            raise UserError(
                f"--labels={text}{hint}: names of classes ({names or 'none'}), or their numbers,"
                " with commas between, such as 0,1,2"
            ) from None

    def to_json(self) -> str:
        """Return the spec as JSON; `from_json` restores an equal spec."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DataSpec:
        """Return the spec that `to_json` wrote; tuples come back as tuples."""
        fields = json.loads(text)
        fields["streams"] = {
            name: Stream(tuple(s["shape"]), s["dtype"], s["kind"], s.get("domain", ""))
            for name, s in fields["streams"].items()
        }
        for name in ("class_names", "target_mean", "target_std", "notes", "former"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(**fields)
