"""Every snippet of the README and of docs/ does what the text around it says."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from typedq.embedded import OwnServer

ROOT = Path(__file__).parents[1]
RUNNER = Path(__file__).with_name("snippets.py")
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def run(text: Path, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    plain = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100", "HOME": str(directory)}
    # One of its own, because workers that run beside it may have the names of its apps.
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        plain |= {"PATH": path, "LANG": "C.UTF-8", "XDG_RUNTIME_DIR": runtime}
        return subprocess.run(
            [sys.executable, str(RUNNER), str(text)],
            cwd=directory,
            env=plain | environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_snippets_hold(text: Path, tmp_path: Path) -> None:
    with OwnServer() as server:
        done = run(text, tmp_path, TYPEDQ_URL=server.url)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "markdown",
    [
        "```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n",
        "```python\n# shop.py\nP = 3\n```\n```python\nimport shop\nassert P == shop.P\n```",
        "```python\nimport asyncio\nawait asyncio.sleep(0)\n```",
        "- a list\n\n  ```python\n  if True:\n      x = 1\n  ```\n",
        "```pycon\n>>> x = 1\n>>> [x, object()]\n[1, <object ...>]\n```\n```python\nx\n```",
        "```console\n$ echo one; echo two; echo three\none\n...\nthree\n```",
        "```console\n$ echo took 17 ms\ntook ... ms\n$ true\n```",
        "```console\n$ echo a \\\n  b\na b\n```",
        "```console\n$ false  # exits with 1\n```",
        (
            "```python\nimport os\nos.environ['TYPEDQ_NAMESPACE'] = 'gone'\n```\n"
            "```console\n$ typedq health  # exits with 1\n... for namespace gone; ...\n```"
        ),
        "```sh\nexit 1\n```\n",
        "<!-- not run: needs a mail server -->\n\n```python\n1 / 0\n```\n",
        "````markdown\n```python\n1 / 0\n```\n````\n",
    ],
)
def test_a_right_text_passes(markdown: str, tmp_path: Path) -> None:
    (text := tmp_path / "a.md").write_text(markdown)
    done = run(text, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("markdown", "told"),
    [
        ("# A\n\n```python\nx = 1\n1 / 0\n```\n", 'a.md", line 5, in <module>'),
        ("```python\n1 / 0\n```\n", "a.md:2: Traceback"),
        ("```python\n# shop.py\n1 / 0\n```\n", 'shop.py", line 2'),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected:\n    3\nGot:\n    2"),
        ("```console\n$ echo one\ntwo\n```\n", "shown:\ntwo\n\nwritten:\none"),
        ("```console\n$ echo one; echo two\none\n```\n", "written:\none\ntwo"),
        ("```console\n$ echo no; false\n```\n", "exit code 1, output:\nno"),
        ("```console\n$ true  # exits with 2\n```\n", "exit code 0"),
        ("```console\n$ typedq no\n```\n", "No such command 'no'"),
        ("```console\necho one\n```\n", "begins with `$ command`"),
        ("```python\nx = 1\n", "line 1: this fence is never closed"),
        ("<!-- not run: -->\n```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("<!-- not run: a -->\nText.\n```python\n1 / 0\n```\n", "ZeroDivisionError"),
    ],
)
def test_a_wrong_text_is_found(markdown: str, told: str, tmp_path: Path) -> None:
    (text := tmp_path / "a.md").write_text(markdown)
    done = run(text, tmp_path)
    assert done.returncode == 1, done
    assert told in done.stdout
