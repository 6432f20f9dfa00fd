"""What the pages quote exists: messages, commands, flags, variables, settings and metrics."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import typedq.dashboard
from tests.reference import command_of, worker_flags
from tests.test_links import CODE, FENCE
from typedq import Queue, Retry, TypedQ, public
from typedq.broker import acl
from typedq.broker.keys import Keys
from typedq.cli.program import _COMMANDS
from typedq.configuration import variable_of
from typedq.policy.options import Options
from typedq.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path: path.read_text("utf-8")
    for path in [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
}
SOURCES = {path: path.read_text("utf-8") for path in sorted((ROOT / "typedq").rglob("*.py"))}
# Flags of other programs: the server, git, kubectl, and modules of this repository.
FOREIGN_FLAGS = {
    *("--maxmemory", "--unshallow", "--depth", "--help", "--version"),
    *("--rounds", "--quick", "--contenders", "--pairs", "--seed", "--kills"),
}
PROGRAMS = "curl|docker|flask|git|gunicorn|kubectl|make|pip|pytest|systemctl|uvicorn"
OTHERS = re.compile(rf"(?m)(?:^[ $&]*|`)(?:(?:{PROGRAMS}) |python -m (?!typedq))[^\n`]*")
COMMAND = re.compile(r"\btypedq ((?:[a-z][a-z-]*)(?: [a-z]+)?)([^`|\n#&;]*)")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def texts_of_the_code() -> str:
    """Return every constant text of the package, one a line."""
    found = list[str]()
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(" ".join(node.value.split()))
    return "\n".join(found)


def marked(page: str, mark: str) -> Iterator[str]:
    """Yield the parts of a page between `<!-- mark -->` and `<!-- end -->`."""
    text = (DOCS / page).read_text("utf-8")
    yield from re.findall(rf"<!-- {mark} -->\n(.*?)<!-- end -->", text, re.DOTALL)


def test_each_message_of_troubleshooting_is_one_of_the_code() -> None:
    code, errors = texts_of_the_code(), public.__all__
    missing, quoted = list[str](), 0
    for table in marked("troubleshooting.md", "messages"):
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
            for message in re.findall(r"`([^`]+)`", row):
                parts = [part.strip() for part in message.split("...") if len(part.strip()) > 3]
                quoted += bool(parts)
                missing += [part for part in parts if part not in code and part not in errors]
    assert missing == []
    assert quoted > 25


def test_the_commands_asked_of_a_provider_are_those_that_are_used() -> None:
    (table,) = marked("managed-redis.md", "commands")
    listed = set(re.findall(r"`([A-Z]+)`", table))
    keys = Keys("shop")
    used = {
        words[0]
        for role in get_args(acl.Role)
        for words in acl.required_commands(keys, role, "default")
    }
    # Sent at each connect, or only for a durability: no role lists them.
    assert listed == used | {"AUTH", "SELECT", "CLIENT", "WAIT", "WAITAOF"}


def flags_of(words: str) -> set[str]:
    """Return the flags of a command, such as `dead list`."""
    options = command_of(words).params
    return {"--help"} | {
        name for option in options for name in (*option.opts, *option.secondary_opts)
    }


FLAGS = {words: flags_of(words) for words in _COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_flag_of_a_page_exists(page: Path) -> None:
    text = OTHERS.sub("", PAGES[page])
    assert set(FLAG.findall(text)) <= FOREIGN_FLAGS.union(*FLAGS.values())
    for words, rest in COMMAND.findall(text):
        command = words if words in FLAGS else words.split()[0]
        if command in FLAGS:
            assert set(FLAG.findall(rest)) <= FLAGS[command] | {"--help"}, f"typedq {words}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_file_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:typedq|tests|deploy|benchmarks|examples|conformance)/[\w./-]*)`", PAGES[page]
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def code_of(page: Path) -> Iterator[str]:
    """Yield each block and each piece of code of a page."""
    yield from (block[0] for block in FENCE.finditer(PAGES[page]))
    yield from (piece.strip("`") for piece in CODE.findall(FENCE.sub("", PAGES[page])))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_of_a_page_exists(page: Path) -> None:
    known = {words.split()[0] for words in _COMMANDS}
    for code in code_of(page):
        named = re.findall(r"(?m)(?:^|(?<!from|port) |\\$)typedq ([a-z][a-z-]+)\b(?!:)", code)
        assert set(named) <= known, code


CALLS = {
    "TypedQ": {*inspect.signature(TypedQ).parameters},
    "Queue": {*inspect.signature(Queue).parameters},
    "Retry": {*inspect.signature(Retry).parameters},
    "task": {*inspect.signature(TypedQ.task).parameters},
    "cron": {*inspect.signature(TypedQ.cron).parameters},
    "asgi": {*inspect.signature(typedq.dashboard.asgi).parameters},
    "options": {*Options.__annotations__},
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_argument_and_setting_of_a_page_exists(page: Path) -> None:
    """Arguments of calls outside of blocks, keys of [tool.typedq], and tables of settings."""
    text = FENCE.sub("", PAGES[page])
    if page.name == "migrating.md":  # its first column is code of other queues
        text = re.sub(r"(?m)^\|[^|]*\|", "|", text)
    for code in map(str, CODE.findall(text)):
        called = {*re.findall(r"\b(\w+)\(", code)}
        if called and called <= CALLS.keys() | {"call"}:
            known = set[str]().union(*(CALLS[name] for name in called - {"call"}))
            inner = {*re.findall(r"\b(retry|queues)=\w*\W*(?:Retry|Queue)\(", code)}
            assert {*re.findall(r"\b(\w+)=", code)} <= known | inner, code
    for block in re.findall(r"```toml\n(.*?)```", PAGES[page], re.DOTALL):
        keys = tomllib.loads(block).get("tool", {}).get("typedq", {}).keys()
        assert keys <= Settings.model_fields.keys() | {"app", "schemas"}
    for table in re.findall(r"(?m)^\| setting \|.*\n((?:\|.*\n)+)", PAGES[page]):
        names = re.findall(r"`(\w+)`", "".join(re.findall(r"(?m)^\|[^|]*\|", table)))
        assert set(names) <= Settings.model_fields.keys()


def test_each_variable_and_metric_of_the_pages_exists() -> None:
    code = "\n".join(SOURCES.values())
    known = {variable_of(name) for name in Settings.model_fields}
    known |= {variable for _, variable in worker_flags()}
    known |= {f"{name}_FILE" for name in known} | {*re.findall(r"TYPEDQ_[A-Z_]+", code)}
    known |= {"TYPEDQ_", "TYPEDQ_TEST_SERVER"}
    written = "\n".join(PAGES.values())
    assert set(re.findall(r"\bTYPEDQ_[A-Z_]*", written)) - known == set()
    metrics = {*re.findall(r"(?<!/)\btypedq_[a-z_]+", written)}
    assert metrics - {*re.findall(r"\btypedq_[a-z_]+", code)} == set()
