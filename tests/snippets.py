"""Run the snippets of a Markdown file, in order, in the current directory.

    python tests/snippets.py README.md

The conventions are in CONTRIBUTING.md. Exit code 1 and the line in the file for what went wrong.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.typedq_forks import TypedqForks

SECONDS = 30  # that one command may take


class Wrong(Exception):
    """A snippet that does not do what the text says."""


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its text, and the line where the text begins (from 1)."""

    language: str
    text: str
    line: int


def snippets(markdown: str, languages: Collection[str] = ()) -> Iterator[Snippet]:
    """The blocks that are to be run. Raises Wrong for a fence that is never closed.

    languages: others than those that this program runs
    """
    fence: re.Match[str] | None = None
    start, waived = 0, False
    lines = markdown.splitlines()
    for number, line in enumerate(lines, 1):
        if fence is None:
            fence = re.match(r" *(`{3,})(\w*)", line)
            start = number
            if fence is None and line.strip():
                waived = re.match(r" *<!-- not run: .+ -->$", line) is not None
        elif line.strip() == fence[1]:
            if fence[2] in (languages or RUN) and not waived:
                text = "\n".join(lines[start : number - 1])
                yield Snippet(fence[2], textwrap.dedent(text) + "\n", start + 1)
            fence, waived = None, False
    if fence is not None:
        raise Wrong(f"line {start}: this fence is never closed")


def place(snippet: Snippet) -> Path | None:
    """Return the file that a block names in its first line, such as `# shop/models.py`."""
    named = re.match(r"# ((?:\w+/)?\w+\.py)\n", snippet.text)
    return Path(named[1]) if named else None


class Session:
    """One file's snippets share one set of names and one event loop."""

    def __init__(self, path: Path, runner: asyncio.Runner, typedq: TypedqForks) -> None:
        self.path, self.runner, self.typedq = path, runner, typedq
        self.names: dict[str, Any] = {"__name__": "__snippets__"}

    def python(self, snippet: Snippet) -> None:
        if path := place(snippet):
            path.parent.mkdir(exist_ok=True)
            path.write_text(snippet.text, "utf-8")
            importlib.invalidate_caches()
            self.names.update(vars(importlib.import_module(".".join(path.with_suffix("").parts))))
            return
        # Blank lines in front make the traceback show the line in the Markdown file.
        source = "\n" * (snippet.line - 1) + snippet.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(self.path), "exec", flags, dont_inherit=True)
        result = eval(code, self.names)
        if inspect.iscoroutine(result):
            self.runner.run(result)

    def pycon(self, snippet: Snippet) -> None:
        name = str(self.path)
        test = doctest.DocTestParser().get_doctest(
            snippet.text, self.names, name, name, snippet.line - 1
        )
        told: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        runner.run(test, out=told.append, clear_globs=False)
        if told:
            raise Wrong("".join(told))
        self.names.update(test.globs)

    def console(self, snippet: Snippet) -> None:
        if not snippet.text.startswith("$ "):
            raise Wrong("a console snippet begins with `$ command`")
        for part in re.split(r"^\$ ", snippet.text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.replace("\\\n", "").partition("\n")
            self.command(command, shown.rstrip())

    def command(self, command: str, shown: str) -> None:
        """Raises Wrong if the exit code or, where output is shown, the output is another."""
        words = shlex.split(command, comments=True)
        if words[:1] == ["typedq"] and not re.search(r"[|&;<>$`]", command):
            done, written = self.typedq(words[1:], SECONDS)
        else:
            done, written = run(command)
        code = re.search(r"# exits with (\d+)$", command)
        output = "\n".join(line.rstrip() for line in written.splitlines()).strip()
        if done != int(code[1] if code else 0):
            raise Wrong(f"$ {command}\nexit code {done}, output:\n{output}")
        if shown and not matches(shown, output):
            raise Wrong(f"$ {command}\nshown:\n{shown}\n\nwritten:\n{output}")


RUN: dict[str, Callable[[Session, Snippet], None]] = {
    "python": Session.python,
    "pycon": Session.pycon,
    "console": Session.console,
}


def run(command: str) -> tuple[int, str]:
    """Return the exit code and all output of a shell command."""
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def matches(shown: str, output: str) -> bool:
    """`...` alone on a line stands for any lines, none too; inside a line, for any characters."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.rstrip().split("..."))) + r"\n"
    return re.fullmatch(pattern, output + "\n") is not None


def main(path: Path) -> int:
    sys.path.insert(0, "")
    with closing(TypedqForks()) as typedq, asyncio.Runner() as runner:
        session = Session(path, runner, typedq)
        line = 1
        try:
            for snippet in snippets(path.read_text("utf-8")):
                line = snippet.line
                RUN[snippet.language](session, snippet)
        except Exception as error:  # noqa: BLE001 (whatever a snippet raises is what is wrong)
            why = str(error) if isinstance(error, Wrong) else traceback.format_exc()
            print(f"{path}:{line}: {why}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
