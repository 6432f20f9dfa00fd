"""Test with a real worker that each recipe does what its docstring says."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from typedq import InvalidArguments
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples/recipes").glob("*.py"))
Recipe = Callable[[str], Any]


@pytest.fixture(scope="module")
def recipe() -> Iterator[Recipe]:
    """Import a recipe by name; all share one server."""
    used = list[Any]()

    def load(name: str) -> Any:
        used.append(importlib.import_module(f"examples.recipes.{name}"))
        return used[-1]

    with OwnServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TYPEDQ_URL", server.url)
        patch.setenv("REDIS_URL", server.url)
        yield load
        for module in used:
            module.store.close()
            module.app.broker.close()


@contextmanager
def worker(name: str, *options: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a worker of a recipe, and check its exit code."""
    command = [sys.executable, "-m", "typedq", "worker", f"examples.recipes.{name}:app"]
    with subprocess.Popen([*command, *options], cwd=ROOT, env=os.environ) as process:
        try:
            yield process
        finally:
            if "--burst" not in options:
                process.terminate()
            assert process.wait(30) == 0


def drain(name: str) -> None:
    with worker(name, "--burst", "-c", "2"):
        pass


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_recipe_is_short_and_says_what_holds(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 40
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert "\nHolds: " in docstring
    assert "\nDoes not hold: " in docstring


def test_every_recipe_is_described() -> None:
    described = (ROOT / "docs/recipes.md").read_text()
    assert [file.name for file in FILES if f"recipes/{file.name})" not in described] == []


def test_rate_limit_gives_no_window_more_than_its_places(
    recipe: Recipe, wait_until: WaitUntil
) -> None:
    limited = recipe("rate_limit")
    limited.app.enqueue_many(limited.notify.call("ada", str(n)) for n in range(25))
    limited.notify.enqueue("bob", "alone")
    begun = time.monotonic()
    with worker("rate_limit", "-c", "2"):
        wait_until(lambda: limited.store.llen("notified:bob") == 1)
        wait_until(lambda: limited.store.llen("notified:ada") >= 10)
        wait_until(lambda: limited.store.llen("notified:ada") == 25)
    assert time.monotonic() - begun > limited.WINDOW  # 25 need three windows: one whole between
    events = limited.store.lrange("notified:ada", 0, -1)
    assert sorted(map(int, events)) == list(range(25))
    assert len(list(limited.store.scan_iter("limit:ada:*"))) >= 3


def test_exclusive_lock_runs_one_at_a_time(recipe: Recipe, wait_until: WaitUntil) -> None:
    locked = recipe("exclusive_lock")
    ids = {receipt.id for receipt in locked.app.enqueue_many([locked.rebuild.call(7)] * 8)}
    with worker("exclusive_lock", "-c", "4"):
        wait_until(lambda: locked.store.llen("rebuild:7") == 16)
    lines = [line.decode() for line in locked.store.lrange("rebuild:7", 0, -1)]
    order = [line.split()[0] for line in lines[::2]]
    assert lines == [f"{id} {what}" for id in order for what in ("begins", "ends")]
    assert set(order) == ids


def test_results_are_read_with_their_type(recipe: Recipe) -> None:
    results = recipe("results")
    receipt = results.summarize.enqueue("to be or not to be indeed")
    assert results.summary_of(receipt) is None
    drain("results")
    assert results.summary_of(receipt) == results.Summary(7, "indeed")
    assert 0 < results.store.ttl(f"result:{receipt.id}") <= results.HOUR


def test_chain_publishes_after_the_last_chapter_and_is_idempotent(recipe: Recipe) -> None:
    chain = recipe("chain")
    chapters = [("word " * n).strip() for n in range(1, 6)]
    chain.split.enqueue("emma", "\n\n".join(chapters))
    drain("chain")
    assert chain.store.get("published:emma") == b"15"
    chain.split.enqueue("emma", "\n\n".join(chapters))  # as after a crash
    chain.count.enqueue("emma", 2, 5, chapters[2])
    drain("chain")
    assert chain.store.get("published:emma") == b"15"


def test_unique_enqueues_one_and_accepts_the_next_request_after_its_start(recipe: Recipe) -> None:
    unique = recipe("unique")
    assert unique.reindex_once(7)
    assert unique.reindex_once(7) is None
    assert unique.reindex_once(8)
    drain("unique")
    assert [unique.store.get(f"reindexed:{n}") for n in (7, 8)] == [b"1", b"1"]
    assert unique.reindex_once(7)
    with pytest.raises(InvalidArguments):
        unique.reindex_once("seven")
    assert unique.store.exists("waits:seven") == 0


def test_progress_is_visible_and_the_next_attempt_continues(
    recipe: Recipe, tmp_path: Path, wait_until: WaitUntil
) -> None:
    progress = recipe("progress")
    first, missing, last = paths = [tmp_path / name for name in ("a", "b", "c")]
    first.write_text("1\n2\n")
    last.write_text("1\n")
    receipt = progress.load.enqueue([str(path) for path in paths])
    with worker("progress", "-c", "1"):
        wait_until(lambda: progress.progress_of(receipt.id) == 1)
        first.unlink()  # what is done is not read again
        missing.write_text("")
        wait_until(lambda: progress.progress_of(receipt.id) == 3)
    lines = progress.store.hgetall("lines")
    assert lines == {str(p).encode(): n for p, n in zip(paths, (b"2", b"0", b"1"), strict=True)}
