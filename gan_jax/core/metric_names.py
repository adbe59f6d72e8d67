"""Names of metrics, made and read: `METRIC[PART]/PROTOCOL`.

`accuracy/test/10000` is of all images of the split, `accuracy[cat]/test/10000` of a part of them,
`posterior_kl[003]/test/10000` of one dimension of several. What comes after the first "/" says how
it was measured; numbers of unlike protocols do not compare.
"""

from __future__ import annotations

import dataclasses
import re

_FORM = re.compile(r"([^/\[]+)(?:\[(.*?)\])?(?:/(.*))?", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class MetricName:
    """A name, taken apart.

    Attributes:
      metric: such as "fid" or "accuracy".
      part: what it is of, such as a class; "" is the whole.
      protocol: such as "cnn:run/test/1000"; "" where none is said.
    """

    metric: str
    part: str = ""
    protocol: str = ""

    def __str__(self) -> str:
        part = f"[{self.part.replace('/', '|')}]" if self.part else ""
        return f"{self.metric}{part}" + (f"/{self.protocol}" if self.protocol else "")


def read_name(name: str) -> MetricName:
    """Take the text of a name apart."""
    found = _FORM.fullmatch(name)
    if found is None:
        return MetricName(name)
    metric, part, protocol = found.groups()
    return MetricName(metric, part or "", protocol or "")
