"""What people see: tables, times, JSON, one clear message for an error.

What came from outside is escaped. Colours only on a terminal and not with NO_COLOR, as rich does;
where no terminal is, a line is as long as it must be, for grep.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from typedq.telemetry import escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]  # one thing that is shown: its keys are those of JSON
Columns = Mapping[str, str | Callable[[Row], object]]  # head -> a key of the row, or what to show


class Loud(str):
    """A cell of a table that is a warning."""

    __slots__ = ()


def console(*, stderr: bool = False) -> Console:
    """A console for stdout or stderr."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(text: str) -> None:
    """One line on stdout."""
    console().print(escape(text), soft_wrap=True)


def complain(message: str) -> None:
    """An error on stderr; its lines are kept."""
    from rich.text import Text

    lines = "\n".join(map(escape, message.splitlines()))
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


def tell_json(value: object, *, one_line: bool = False) -> None:
    """JSON on stdout, in ASCII."""
    sys.stdout.write(f"{json.dumps(value, indent=None if one_line else 2)}\n")
    sys.stdout.flush()


def tell(rows: Sequence[Row], columns: Columns, *, json: bool, none: str = "") -> None:
    """Rows as JSON, else as a table; `none` is said instead of an empty table."""
    if json:
        tell_json(rows)
    elif rows or not none:
        console().print(view(rows, columns))
    else:
        say(none)


def same(*keys: str) -> Columns:
    """Columns whose heads are keys."""
    return {key: key for key in keys}


def view(rows: Iterable[Row], columns: Columns) -> Table:
    """Rows as a table."""
    cells = ([row[c] if isinstance(c, str) else c(row) for c in columns.values()] for row in rows)
    return table(", ".join(columns), cells)


def table(heads: str, rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; `heads` is separated by commas, None is a dash, numbers are on the right."""
    from rich.table import Table
    from rich.text import Text

    rows, made = list(rows), Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads.split(", ")):
        numbers = bool(rows) and all(isinstance(row[place], int) for row in rows)
        made.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        styles = ("yellow" if isinstance(value, Loud) else "" for value in row)
        made.add_row(*map(Text, map(_cell, row), styles))
    return made


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value in (None, "") else escape(str(value))


def age(seconds: float | None) -> str | None:
    """A length of time as one number and its unit."""
    if seconds is None:
        return None
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.{int(abs(seconds) < 10)}f} s"


def instant(ms: int | None) -> str | None:
    """Milliseconds since the epoch as ISO 8601 in UTC; None for what is no time that there is."""
    try:
        return None if ms is None else iso(datetime.fromtimestamp(ms / 1000, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def iso(moment: datetime) -> str:
    """An aware moment as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
