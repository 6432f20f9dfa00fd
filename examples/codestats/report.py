"""The report: lines per module, largest modules first."""

from __future__ import annotations

import sqlite3

SUMS = "count(*), sum(code), sum(comments), sum(blanks)"
LARGEST = 10
WIDTH = 20


def text(store: sqlite3.Connection) -> str:
    """Return the report as plain text."""
    files, *sums = store.execute(f"SELECT {SUMS} FROM files").fetchone()
    rows = store.execute(
        f"SELECT module, {SUMS} FROM files GROUP BY module ORDER BY 3 DESC LIMIT {LARGEST}"
    ).fetchall()
    lines = [f"{'module':<14}{'files':>6}{'code':>9}{'comments':>10}{'blanks':>9}"]
    for module, *numbers in rows:
        bar = "█" * max(1, round(WIDTH * numbers[1] / max(1, rows[0][2])))
        lines.append(_row(module, numbers) + f"  {bar}")
    lines.append(_row("all", [files, *sums]))
    return "\n".join([f"{files:,} files, {sum(sums):,} lines. The largest modules:", "", *lines])


def _row(name: str, numbers: list[int]) -> str:
    files, code, comments, blanks = numbers
    return f"{name[:13]:<14}{files:>6,}{code:>9,}{comments:>10,}{blanks:>9,}"
