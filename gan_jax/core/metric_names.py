"""Metric names, `METRIC[PART]/PROTOCOL`: the only place that formats and parses them.

`accuracy/test/10000` is over all images of the split, `accuracy[cat]/test/10000` over one class,
`posterior_kl[003]/test/10000` over one dimension. Everything after the first "/" is the protocol,
its parts separated by slashes; numbers of different protocols must not be compared.

The training log prefixes a group: `eval/fid/cnn:RUN/eval/1000`, `grad_norm/gen`.
"""

from __future__ import annotations

import dataclasses
import re

_FORM = re.compile(r"([^/\[]+)(?:\[([^/]+?)\])?(?:/(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True, order=True)
class MetricName:
    """The name of a number from an evaluation.

    `MetricName.parse(str(name)) == name`, and `str(MetricName.parse(text)) == text` for any text.

    Attributes:
      metric: such as "fid" or "accuracy", without "/" and "[".
      part: the subset it is measured on, such as a class, with "|" in place of "/"; "" is all.
      protocol: such as ("cnn:run", "test", "1000"); () if not given. An element with slashes, such
        as the feature network "inception_v3_tf/clean", is split into several.
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
        """Parse a name; text of another form becomes the metric as a whole."""
        found = _FORM.fullmatch(text)
        if found is None:
            return cls(text)
        metric, part, protocol = found.groups()
        return cls(metric, part or "", () if protocol is None else (protocol,))

    def with_protocol(self, *parts: str | int) -> MetricName:
        """Return the name with its protocol replaced; no arguments remove it."""
        return dataclasses.replace(self, protocol=parts)

    def extended(self, *parts: str | int) -> MetricName:
        """Return the name with parts appended to its protocol."""
        return self.with_protocol(*self.protocol, *parts)

    def __str__(self) -> str:
        part = f"[{self.part}]" if self.part else ""
        return "/".join([self.metric + part, *self.protocol])

    @property
    def file_stem(self) -> str:
        """The name as a file stem, "/" replaced by "_"."""
        return str(self).replace("/", "_")


@dataclasses.dataclass(frozen=True, order=True)
class Protocol:
    """How a number was measured: two numbers are comparable only if their protocols are equal.

    Attributes:
      parts: `MetricName.protocol`.
      weights: digest of the feature network's weights; "" if there is none.
      data: fingerprint of the data.
    """

    parts: tuple[str, ...]
    weights: str
    data: str

    def __str__(self) -> str:
        return "/".join(self.parts)


def log_name(group: str, *names: str | MetricName) -> str:
    """Return a name for the log, such as "eval/accuracy" or "spectral_norm/gen/Dense_0"."""
    return "/".join([group, *map(str, names)])


def split_log_name(text: str) -> tuple[str, str]:
    """Split a name from the log into (group, name); the group of a loss is ""."""
    group, slash, name = text.partition("/")
    return (group, name) if slash else ("", text)
