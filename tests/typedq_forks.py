"""Run `typedq` commands as forks of one process that has imported typedq, and nothing of the app.

A command that starts Python anew needs half a second of CPU for its imports alone.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import tempfile
from pathlib import Path
from typing import TextIO


class TypedqForks:
    """Starts the process. It ends when this object is closed, or when this process ends."""

    def __init__(self) -> None:
        asked, to_ask = os.pipe()
        answered, to_answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(to_ask)
            os.close(answered)
            _serve(os.fdopen(asked), os.fdopen(to_answer, "w"))
            os._exit(0)
        os.close(asked)
        os.close(to_answer)
        self._requests, self._answers = os.fdopen(to_ask, "w"), os.fdopen(answered)

    def __call__(self, words: list[str], seconds: float) -> tuple[int, str]:
        """Run a command, given without its first word; return its exit code and all its output.

        Raises TimeoutError.
        """
        with tempfile.NamedTemporaryFile() as output:
            request = [words, output.name, str(Path.cwd()), dict(os.environ)]
            print(json.dumps(request), file=self._requests, flush=True)
            pid = int(self._answers.readline())
            if not select.select([self._answers], [], [], seconds)[0]:
                os.kill(pid, signal.SIGTERM)
                raise TimeoutError(f"typedq {' '.join(words)} takes more than {seconds} s")
            code = int(self._answers.readline())
            return code, output.read().decode()

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._answers.close()
        os.waitpid(self._pid, 0)


def import_typedq() -> None:
    """Import what commands import, at the first of them."""
    for module in ("cli.program", "worker.supervisor", "admin.schemas", "admin.overview", "public"):
        importlib.import_module(f"typedq.{module}")
    importlib.import_module("rich.table")


def _serve(requests: TextIO, answers: TextIO) -> None:
    """Fork for each request. Only a fork raises SystemExit."""
    from typedq import cli

    for line in iter(requests.readline, ""):
        import_typedq()
        words, path, cwd, environment = json.loads(line)
        if (pid := os.fork()) == 0:
            requests.close()
            answers.close()
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environment)
            output, nothing = os.open(path, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, 0)
            for source, target in ((nothing, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            sys.argv = ["typedq", *words]
            cli.main()
            sys.exit(0)
        print(pid, file=answers, flush=True)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(code, file=answers, flush=True)
