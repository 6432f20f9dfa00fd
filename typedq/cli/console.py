"""Print tables, JSON and errors.

Text from outside is escaped. Colours are used only on a terminal, and not with NO_COLOR. Without a
terminal, lines are never wrapped, so that grep finds whole lines.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typedq.errors import escape

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]  # the keys are those of --json
Columns = Mapping[str, str | Callable[[Row], object]]  # head -> key or function


class Warn(str):
    """Text of a table cell that is shown as a warning."""

    __slots__ = ()


def console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_line(text: str) -> None:
    """Print one line on stdout."""
    console().print(escape(text), soft_wrap=True)


def print_error(message: str) -> None:
    """Print an error on stderr; line breaks are kept."""
    from rich.text import Text

    lines = "\n".join(map(escape, message.splitlines()))
    console(stderr=True).print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


def print_note(text: str) -> None:
    """Print a line on stderr that is no error."""
    console(stderr=True).print(f"note: {escape(text)}", soft_wrap=True)


def print_json(value: object, *, one_line: bool = False) -> None:
    """Print JSON on stdout, in ASCII."""
    sys.stdout.write(f"{json.dumps(value, indent=None if one_line else 2)}\n")
    sys.stdout.flush()


def print_rows(rows: Sequence[Row], shown: Columns, *, as_json: bool, none: str = "") -> None:
    """Print rows as JSON or as a table; print `none` instead of an empty table."""
    if as_json:
        print_json(rows)
    elif rows or not none:
        console().print(table_of(rows, shown))
    else:
        print_line(none)


def plural(count: int, noun: str) -> str:
    """Return a count and its noun: "1 worker", "1,200 workers"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def columns(*keys: str) -> Columns:
    """Return columns whose heads are the keys."""
    return {key: key for key in keys}


def table_of(rows: Iterable[Row], shown: Columns) -> Table:
    """Return rows as a table."""
    cells = ([row[c] if isinstance(c, str) else c(row) for c in shown.values()] for row in rows)
    return table(", ".join(shown), cells)


def table(heads: str, rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table; `heads` is separated by commas; numbers are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    rows, made = list(rows), Table(box=None, pad_edge=False, header_style="bold")
    for place, head in enumerate(heads.split(", ")):
        numbers = bool(rows) and all(isinstance(row[place], int) for row in rows)
        made.add_column(head, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        styles = ("yellow" if isinstance(value, Warn) else "" for value in row)
        made.add_row(*map(Text, map(_cell, row), styles))
    return made


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value in (None, "") else escape(str(value))
