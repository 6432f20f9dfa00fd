"""The text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal, NamedTuple, final

from typedq.observe.pages import Page

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metric(NamedTuple):
    """A metric: the names of its labels, and what it says."""

    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


@final
class Exposition:
    """Collects samples of the metrics of a table, and writes them as text."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = metrics
        self._lines: dict[str, list[str]] = {name: [] for name in metrics}

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add a sample; `labels` are the values, in the order of the table."""
        self._lines[name].append(self._sample(name, name, labels, value))

    def add_histogram(
        self,
        name: str,
        bounds: Sequence[float],
        counts: Iterable[float],
        total: float,
        *labels: str,
    ) -> None:
        """Add a histogram; `counts` are those of each bucket alone, the last above all bounds."""
        sums = [*accumulate(counts)]
        for bound, count in zip((*map(_number, bounds), "+Inf"), sums, strict=True):
            line = self._sample(name, f"{name}_bucket", labels, count, f'le="{bound}"')
            self._lines[name].append(line)
        self._lines[name].append(self._sample(name, f"{name}_sum", labels, total))
        self._lines[name].append(self._sample(name, f"{name}_count", labels, sums[-1]))

    def page(self) -> Page:
        """Return the text of all metrics; one without samples is left out."""
        parts = list[str]()
        for name, lines in self._lines.items():
            if lines:
                metric = self._metrics[name]
                parts += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.type}", *lines]
        return Page("\n".join([*parts, ""]), type=CONTENT_TYPE)

    def _sample(
        self, name: str, sample: str, values: Sequence[str], value: float, more: str = ""
    ) -> str:
        pairs = zip(self._metrics[name].labels, values, strict=True)
        labels = [f'{label}="{text.translate(_ESCAPES)}"' for label, text in pairs]
        labels += [more] if more else []
        braced = "{" + ",".join(labels) + "}" if labels else ""
        return f"{sample}{braced} {_number(value)}"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
