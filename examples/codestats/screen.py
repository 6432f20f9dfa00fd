"""The output of the demo: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Self

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from examples.codestats.promises import Promise

TITLE = 24


class Screen:
    """Print results with a check mark, and the progress of the counting."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._marks = ("✓", "✗") if "utf" in self.console.encoding else ("ok", "FAILED")
        columns = (TextColumn("counting"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._task = self._bar.add_task("counting", total=None)
        self._quarter = 0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def say(self, title: str, text: str = "", *, mark: str = " ", style: str = "dim") -> None:
        """Print one line."""
        line = Text.assemble((f"{mark} ", style), (f"{title:<{TITLE}}", "bold"), text)
        self.console.print(line, soft_wrap=True)

    def promise(self, promise: Promise) -> None:
        """Print a promise with its check mark."""
        mark, style = self._marks[not promise.kept], "green" if promise.kept else "bold red"
        self.say(promise.title, promise.evidence, mark=mark, style=style)

    def progress(self, done: int, total: int) -> None:
        """Move the progress bar, or print a line at each quarter."""
        self._bar.update(self._task, completed=done, total=total)
        quarter = 4 * done // total
        if quarter > self._quarter and not self.console.is_terminal:
            self.say("counting", f"{done:,} of {total:,} files")
        self._quarter = quarter

    def mail(self, mail: EmailMessage) -> None:
        """Show a mail as it was received."""
        body = mail.get_body()
        text = body.get_content().rstrip() if body else ""
        headers = "\n".join(f"{name}: {mail[name]}" for name in ("From", "To", "Subject"))
        panel = Panel(Text(f"{headers}\n\n{text}"), box=box.ROUNDED, expand=False, title="mail")
        self.console.print(panel)
