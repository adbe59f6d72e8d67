"""Names of numbers, made and read here and nowhere else: `METRIC[PART]/PROTOCOL`.

`accuracy/test/10000` is of all images of the split, `accuracy[cat]/test/10000` of a part of them,
`posterior_kl[003]/test/10000` of one dimension of several. What comes after the first "/" says how
it was measured, a part between two slashes each; numbers of unlike protocols do not compare.

The log of a training puts a group in front: `eval/fid/cnn:RUN/eval/1000`, `grad_norm/gen`.
"""

from __future__ import annotations

import dataclasses
import re

_FORM = re.compile(r"([^/\[]+)(?:\[([^/]+?)\])?(?:/(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True, order=True)
class MetricName:
    """The name of a number of an evaluation.

    `MetricName.parse(str(name)) == name`, and `str(MetricName.parse(text)) == text` for any text.

    Attributes:
      metric: such as "fid" or "accuracy", without "/" and "[".
      part: what it is of, such as a class, with "|" in place of "/"; "" is the whole.
      protocol: such as ("cnn:run", "test", "1000"); () where none is said. One with slashes,
        such as the feature network "inception_v3_tf/clean", counts as several parts.
    """

    metric: str
    part: str = ""
    protocol: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "part", self.part.replace("/", "|"))
        parts = tuple(piece for part in self.protocol for piece in str(part).split("/"))
        object.__setattr__(self, "protocol", parts)

    @classmethod
    def parse(cls, text: str) -> MetricName:
        """Take the text of a name apart; text of another form is all metric."""
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(text)
        metric, part, protocol = found.groups()
        return cls(metric, part or "", () if protocol is None else (protocol,))

    def with_protocol(self, *parts: str | int) -> MetricName:
        """Return the name with another protocol; without one by no parts."""
        return dataclasses.replace(self, protocol=parts)

    def extended(self, *parts: str | int) -> MetricName:
        """Return the name with more parts at the end of its protocol."""
        return self.with_protocol(*self.protocol, *parts)

    def __str__(self) -> str:
        part = f"[{self.part}]" if self.part else ""
        return "/".join([self.metric + part, *self.protocol])

    @property
    def file_stem(self) -> str:
        """The name as that of a file."""
        return str(self).replace("/", "_")


@dataclasses.dataclass(frozen=True, order=True)
class Protocol:
    """How a number was made: two may stand side by side if these are equal.

    Attributes:
      parts: those of `MetricName.protocol`.
      weights: digest of the feature network; "" where there is none.
      data: fingerprint of the data.
    """

    parts: tuple[str, ...]
    weights: str
    data: str

    def __str__(self) -> str:
        return "/".join(self.parts)


def log_name(group: str, *names: str | MetricName) -> str:
    """Return a name in the log, such as "eval/accuracy" or "spectral_norm/gen/Dense_0"."""
    return "/".join([group, *map(str, names)])


def split_log_name(text: str) -> tuple[str, str]:
    """Return (group, name) of a number in the log; the group of a loss is ""."""
    group, slash, name = text.partition("/")
    return (group, name) if slash else ("", text)
