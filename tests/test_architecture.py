"""The rules of the architecture: who may import whom, who may touch what, how big things may be.

Each law is a function from a tree to the sentences that describe its breaches. It is applied to
this tree, where it must find none, and to a small bad tree, where it must find the one planted.
Arrows are computed from the syntax, so imports for types only and inside functions count too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

# A package may import packages of lower layers, and nothing else ...
LAYERS = (
    ("foundation", {"errors", "telemetry", "reasons"}),
    (
        "infrastructure",
        {
            *("broker", "message", "settings", "addresses", "runtime", "embedded"),
            *("contracts", "policy", "process"),
        },
    ),
    ("domain", {"compat", "registry", "task", "escort", "middleware", "failure"}),
    # testing/ is beside the app, because `app.testing()` makes what it offers.
    ("application", {"app", "declarations", "producer", "invoke", "testing"}),
    ("administration", {"admin"}),
    ("worker", {"worker"}),
    ("interfaces", {"cli"}),
    ("entry points", {"__init__", "__main__"}),
)
# ... but these pairs of one layer,
SIDEWAYS = {
    ("telemetry", "errors"),
    ("settings", "policy"),
    ("settings", "addresses"),
    ("embedded", "addresses"),
    ("embedded", "runtime"),
    ("broker", "addresses"),
    ("broker", "message"),
    ("registry", "compat"),
    ("failure", "task"),
    ("middleware", "escort"),
    ("testing", "app"),
    ("testing", "invoke"),
    ("app", "declarations"),
    ("app", "producer"),
    ("app", "testing"),
    ("producer", "declarations"),
}
# ... and these packages may import less than their layer would allow.
ONLY = {
    "errors": set[str](),
    "reasons": set[str](),
    "process": {"telemetry"},
    "telemetry": {"errors"},
    "contracts": {"errors"},
    "policy": {"errors"},
    "message": {"errors"},
    "addresses": {"errors"},
    "runtime": {"errors"},
    "task": {"errors", "contracts", "policy", "message"},
    "compat": {"errors", "contracts"},
}
# Foreign modules that belong to one room.
BORDERS = {
    "redis": ("broker", "embedded"),
    "hiredis": ("broker",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "multiprocessing": ("worker",),
    "croniter": ("policy",),
    "pydantic": ("settings", "contracts"),
}
# Rooms without I/O and without a clock: `now` is an argument.
PURE = {"compat", "contracts", "policy"}
IMPURE = {
    *("asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "select", "shutil"),
    *("signal", "socket", "subprocess", "tempfile", "threading", "time", "urllib"),
}
NOT_A_NAME = {"utils", "util", "common", "base", "types", "helpers", "misc"}
# Lines of each room, comments and all: that a room grows past its number is decided here.
ROOM_LINES = {
    "admin": 900,
    "broker": 4_000,
    "cli": 4_000,
    "compat": 4_000,
    "contracts": 5_000,
    "embedded": 4_000,
    "policy": 590,
    "process": 380,
    "registry": 4_000,
    "testing": 4_000,
    "worker": 4_000,
}
LUA_LINES = 895
FILE_LINES, FUNCTION_LINES, COLUMNS = 300, 50, 100
WAITS = "tests/conftest.py"
KEYS = "typedq/broker/keys.py"
REDIS_PY = "typedq/broker/redis_py.py"
# What opens a connection, or reads what comes in.
OPENS = {
    "socket": {"socket", "create_connection", "socketpair", "fromfd"},
    "asyncio": {"open_connection", "open_unix_connection"},
    "loop": {"create_connection", "create_unix_connection"},
    "hiredis": {"Reader"},
    "_untyped": {"Reader"},
}


class Architecture:
    """A tree of files, read once. Paths are relative to its root, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        found = sorted((self.root / folder).rglob(f"*.{suffix}"))
        return {path.relative_to(self.root).as_posix(): path.read_text("utf-8") for path in found}

    @cached_property
    def python(self) -> dict[str, ast.Module]:
        return {path: ast.parse(text) for path, text in self.files("typedq", "py").items()}

    @cached_property
    def lua(self) -> dict[str, str]:
        return self.files("typedq", "lua")

    @cached_property
    def modules(self) -> dict[str, str]:
        """Dotted name -> path."""
        names = {path: path.removesuffix(".py").replace("/", ".") for path in self.python}
        return {name.removesuffix(".__init__"): path for path, name in names.items()}

    def imports(self, path: str) -> Iterator[str]:
        """Dotted names that a file imports, anywhere in it; a name inside a module counts as it."""
        package = path.split("/")[:-1]
        for node in ast.walk(self.python[path]):
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(module=module, names=names, level=level):
                    above = package[: len(package) - level + 1] if level else []
                    parent = ".".join([*above, *([module] if module else [])])
                    for name in (f"{parent}.{alias.name}" for alias in names):
                        yield name if name in self.modules else parent
                case ast.Call(
                    func=ast.Attribute(attr="import_module")
                    | ast.Name(id="import_module" | "__import__"),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    yield name
                case _:
                    pass

    def arrows(self) -> Iterator[tuple[str, str]]:
        """(importing path, imported path), inside the package."""
        for path in self.python:
            for name in self.imports(path):
                if (target := self.modules.get(name)) is not None:
                    yield path, target


def room(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def is_part(path: str) -> bool:
    return "/lua/parts/" in path


def arrows_go_down(architecture: Architecture) -> Iterator[str]:
    floor = {name: height for height, (_, rooms) in enumerate(LAYERS) for name in rooms}
    for path in architecture.python:
        if room(path) not in floor:
            yield f"{path}: {room(path)} is on no floor"
    for path, target in architecture.arrows():
        here, there = room(path), room(target)
        if here == there or (here, there) in SIDEWAYS:
            continue
        down = floor.get(here, 0) > floor.get(there, 0)
        if not down or there not in ONLY.get(here, {there}):
            yield f"{path} imports {target}"


def no_circle(architecture: Architecture) -> Iterator[str]:
    graph: dict[str, set[str]] = {path: set() for path in architecture.python}
    for path, target in architecture.arrows():
        graph[path].add(target)
    # What cannot be taken away, leaf by leaf, holds a circle.
    while leaves := {path for path, targets in graph.items() if not targets}:
        graph = {path: to - leaves for path, to in graph.items() if path not in leaves}
    for path, targets in graph.items():
        yield f"{path} is in or above a circle, through {', '.join(sorted(targets))}"


def borders_hold(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        for name in architecture.imports(path):
            owners = BORDERS.get(name.split(".")[0])
            if owners is not None and room(path) not in owners:
                yield f"{path} imports {name}; only {' and '.join(owners)} may"


def redis_py_is_the_connection(architecture: Architecture) -> Iterator[str]:
    """Nobody else opens a socket, parses a reply or logs in; one file makes the TLS settings."""
    for path, tree in architecture.python.items():
        if room(path) == "embedded":
            continue  # it asks its own server whether it has started
        if path != REDIS_PY and "ssl" in architecture.imports(path):
            yield f"{path} imports ssl; only {REDIS_PY} may"
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr=name):
                    if name in OPENS.get(module, ()):
                        yield f"{path}:{node.lineno} has a connection of its own: {module}.{name}"
                case ast.Constant(value=str(word) | bytes(word)):
                    text = word.decode("latin-1") if isinstance(word, bytes) else word
                    is_resp = room(path) == "broker" and text.endswith("\r\n")
                    if is_resp or text in {"HELLO", "AUTH"}:
                        yield f"{path}:{node.lineno} speaks to the server by itself: {text!r}"
                case _:
                    pass


def only_the_worker_forks(architecture: Architecture) -> Iterator[str]:
    for path, tree in architecture.python.items():
        if room(path) != "worker":
            for node in ast.walk(tree):
                match node:
                    case ast.Attribute(value=ast.Name(id="os"), attr="fork" | "forkpty"):
                        yield f"{path}:{node.lineno} forks"
                    case ast.ImportFrom(module="os", names=names):
                        if any(alias.name in {"fork", "forkpty"} for alias in names):
                            yield f"{path}:{node.lineno} imports fork"
                    case _:
                        pass


def pure_rooms_are_pure(architecture: Architecture) -> Iterator[str]:
    for path, tree in architecture.python.items():
        if room(path) in PURE:
            for name in architecture.imports(path):
                if name.split(".")[0] in IMPURE:
                    yield f"{path} imports {name}"
            for node in ast.walk(tree):
                match node:
                    case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today")):
                        yield f"{path}:{node.lineno} reads a clock"
                    case ast.Attribute(attr="uuid1" | "uuid4") | ast.alias(name="uuid1" | "uuid4"):
                        yield f"{path}:{node.lineno} throws dice"
                    case ast.Call(func=ast.Name(id="open" | "print" | "input")):
                        yield f"{path}:{node.lineno} does I/O"
                    case _:
                        pass


def each_move_has_one_script(architecture: Architecture) -> Iterator[str]:
    """A move is a function in broker/ that calls `script` with its own name; a part is no move."""
    sent = [
        (path, function.name, str(node.args[0].value))
        for path, tree in architecture.python.items()
        if room(path) == "broker"
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "script"
        if isinstance(node.args[0], ast.Constant)
    ]
    for path, function, name in sent:
        if function != name:
            yield f"{path}: {function} sends the script {name}"
    moves = [name for _, _, name in sent]
    scripts = [Path(path).stem for path in architecture.lua if not is_part(path)]
    for name in sorted({*moves, *scripts}):
        if (moves.count(name), scripts.count(name)) != (1, 1):
            yield f"{name}: {moves.count(name)} moves, {scripts.count(name)} scripts"


def keys_are_spelled_once(architecture: Architecture) -> Iterator[str]:
    """A key begins with its namespace as a hash tag, `{namespace}:`, however it is put together."""
    for path, tree in architecture.python.items():
        if path == KEYS:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.JoinedStr(values=parts):
                    text = "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0"
                        for part in parts
                    )
                case ast.Constant(value=str(text)):
                    pass
                case ast.Constant(value=bytes(raw)):
                    text = raw.decode("latin-1")
                case _:
                    continue
            if re.search(r"\{\0\}|^\}:|^\{{1,3}[^{} ]*\}{1,3}:[a-z%]", text):
                yield f"{path}:{node.lineno} spells a key: {ast.unparse(node)}"


def scripts_declare_their_keys(architecture: Architecture) -> Iterator[str]:
    glued = re.compile(
        r"KEYS\[[^\]]*\]\s*\.\.|\.\.\s*KEYS\[|redis\.p?call\(\s*(['\"])[^'\"]*\1\s*,\s*[^,)]*\.\."
    )
    for path, text in architecture.lua.items():
        for number, line in enumerate(text.splitlines(), 1):
            if glued.search(line.split("--")[0]):
                yield f"{path}:{number} builds a key: {line.strip()}"


def scripts_say_what_they_do(architecture: Architecture) -> Iterator[str]:
    """A script opens with its name and its contract, a part with any comment."""
    for path, text in architecture.lua.items():
        if is_part(path):
            if not text.startswith("-- "):
                yield f"{path}: no header"
            continue
        header = re.match(r"(?:#!lua.*\n)?--\[\[ (\w+): (?s:.*?)\]\]", text)
        if header is None or header[1] != Path(path).stem:
            yield f"{path}: no header that opens with its name"
            continue
        for word in ("KEYS", "ARGV", "returns", "Guarantee:|Changes nothing"):
            if not re.search(rf"\b(?:{word})", header[0]):
                yield f"{path}: its header does not name {word}"


def no_file_is_too_big(architecture: Architecture) -> Iterator[str]:
    for path, text in (architecture.files("typedq", "py") | architecture.lua).items():
        lines = text.splitlines()
        if len(lines) > FILE_LINES:
            yield f"{path} has {len(lines)} lines; {FILE_LINES} are allowed"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                yield f"{path}:{number} has {len(line)} columns; {COLUMNS} are allowed"


def rooms_stay_within_their_budgets(architecture: Architecture) -> Iterator[str]:
    lines: dict[str, int] = {}
    for path, text in architecture.files("typedq", "py").items():
        room = path.split("/")[1]
        lines[room] = lines.get(room, 0) + len(text.splitlines())
    for room, total in lines.items():
        most = FILE_LINES if room.endswith(".py") else ROOM_LINES.get(room, 0)
        if total > most:
            yield f"{room} has {total} lines of Python; {most} are allowed"
    total = sum(len(text.splitlines()) for text in architecture.files("typedq", "lua").values())
    if total > LUA_LINES:
        yield f"{total} lines of Lua; {LUA_LINES} are allowed"


def no_function_is_too_big(architecture: Architecture) -> Iterator[str]:
    for path, tree in architecture.python.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > FUNCTION_LINES:
                    yield f"{path}: {node.name} has {size} lines; {FUNCTION_LINES} are allowed"


def names_say_something(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        for part in path.removesuffix(".py").split("/"):
            if part.strip("_") in NOT_A_NAME:
                yield f"{path}: {part!r} says nothing"


def init_is_a_list_of_names(architecture: Architecture) -> Iterator[str]:
    for path, tree in architecture.python.items():
        if path.endswith("/__init__.py"):
            for node in tree.body:
                match node:
                    case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                        pass
                    case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
                        pass
                    case _:
                        yield f"{path}:{node.lineno} is more than a list of names"


def no_test_sleeps(architecture: Architecture) -> Iterator[str]:
    for path, text in architecture.files("tests", "py").items():
        for node in ast.walk(ast.parse(text)) if path != WAITS else ():
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                    yield f"{path}:{node.lineno} sleeps; wait for an event with wait_until"
                case ast.ImportFrom(module="time", names=names):
                    if any(alias.name == "sleep" for alias in names):
                        yield f"{path}:{node.lineno} imports sleep"
                case _:
                    pass


# law, a tree that breaks it, what it must say; a path may stand several times
BREACHES: list[tuple[Callable[[Architecture], Iterator[str]], dict[str, str], str]] = [
    (arrows_go_down, {"app.py": "import typedq.cli", "cli.py": ""}, "app.py imports typedq/cli.py"),
    (arrows_go_down, {"task.py": "def f():\n from . import app", "app.py": ""}, "task.py imports"),
    (
        arrows_go_down,
        {"errors.py": "if TYPE_CHECKING:\n from .app import A", "app.py": ""},
        "errors.py imports typedq/app.py",
    ),
    (arrows_go_down, {"policy/a.py": "import typedq.message", "message.py": ""}, "policy/a.py"),
    (arrows_go_down, {"task.py": "import typedq.broker.a", "broker/a.py": ""}, "task.py imports"),
    (arrows_go_down, {"task.py": "from typedq import T", "__init__.py": ""}, "typedq/__init__.py"),
    (arrows_go_down, {"task.py": 'import_module("typedq")', "__init__.py": ""}, "task.py imports"),
    (arrows_go_down, {"attic.py": ""}, "attic is on no floor"),
    (
        no_circle,
        {"worker/a.py": "from . import b", "worker/b.py": "def f():\n from .a import x"},
        "circle, through typedq/worker/b.py",
    ),
    (borders_hold, {"task.py": "def f():\n import redis.asyncio"}, "only broker and embedded may"),
    (borders_hold, {"app.py": "from rich.table import Table"}, "only cli may"),
    (borders_hold, {"broker/a.py": "import multiprocessing"}, "only worker may"),
    (redis_py_is_the_connection, {"broker/a.py": "import ssl"}, "broker/a.py imports ssl"),
    (
        redis_py_is_the_connection,
        {"broker/a.py": "socket.socket()"},
        "a.py:1 has a connection of its own",
    ),
    (
        redis_py_is_the_connection,
        {"a.py": "asyncio.open_connection()"},
        "has a connection of its own",
    ),
    (
        redis_py_is_the_connection,
        {"broker/a.py": "hiredis.Reader()"},
        "has a connection of its own: hiredis.R",
    ),
    (
        redis_py_is_the_connection,
        {"broker/a.py": "ask('HELLO', 3)"},
        "speaks to the server by itself",
    ),
    (
        redis_py_is_the_connection,
        {"broker/a.py": "b'PING\\r\\n'"},
        "speaks to the server by itself",
    ),
    (only_the_worker_forks, {"cli/a.py": "import os\nos.fork()"}, "cli/a.py:2 forks"),
    (only_the_worker_forks, {"cli/a.py": "from os import fork"}, "imports fork"),
    (pure_rooms_are_pure, {"policy/a.py": "import time"}, "policy/a.py imports time"),
    (pure_rooms_are_pure, {"contracts/a.py": "datetime.now(UTC)"}, "reads a clock"),
    (pure_rooms_are_pure, {"contracts/a.py": "uuid.uuid4()"}, "throws dice"),
    (pure_rooms_are_pure, {"contracts/a.py": "open('x')"}, "does I/O"),
    (each_move_has_one_script, {"broker/lua/tick.lua": ""}, "tick: 0 moves, 1 scripts"),
    (
        each_move_has_one_script,
        {"broker/a.py": "def tick():\n return Operation(script('tick'))"},
        "tick: 1 moves, 0 scripts",
    ),
    (
        each_move_has_one_script,
        {"broker/a.py": "def tick(): script('tick')\n" * 2, "broker/lua/tick.lua": ""},
        "tick: 2 moves, 1 scripts",
    ),
    (
        each_move_has_one_script,
        {"broker/a.py": "def tock(): script('tick')", "broker/lua/tick.lua": ""},
        "tock sends the script tick",
    ),
    (keys_are_spelled_once, {"app.py": 'f"{{{ns}}}:ready"'}, "app.py:1 spells a key"),
    (keys_are_spelled_once, {"app.py": '"{%s}:ready" % ns'}, "app.py:1 spells a key"),
    (keys_are_spelled_once, {"app.py": '"{{{}}}:dead".format(ns)'}, "app.py:1 spells a key"),
    (keys_are_spelled_once, {"app.py": '"{" + ns + "}:dead"'}, "app.py:1 spells a key"),
    (scripts_declare_their_keys, {"a.lua": "local k = KEYS[1] .. ':x'"}, "a.lua:1 builds a key"),
    (
        scripts_declare_their_keys,
        {"a.lua": "redis.call('GET', tag .. 'x')"},
        "a.lua:1 builds a key",
    ),
    (scripts_say_what_they_do, {"a.lua": "return KEYS"}, "no header that opens with its name"),
    (scripts_say_what_they_do, {"a.lua": "--[[ b: x ]]"}, "no header that opens with its name"),
    (scripts_say_what_they_do, {"a.lua": "--[[ a: KEYS\nARGV\nreturns ]]"}, "name Guarantee"),
    (scripts_say_what_they_do, {"a.lua": "--[[ a: Guarantee: KEYS ARGV ]]"}, "name returns"),
    (scripts_say_what_they_do, {"lua/parts/a.lua": "local x"}, "no header"),
    (no_file_is_too_big, {"a.py": "x = 1\n" * 301}, "a.py has 301 lines; 300"),
    (no_function_is_too_big, {"a.py": "def f():\n" + " x = 1\n" * 50}, "f has 51 lines; 50"),
    (no_file_is_too_big, {"a.lua": "-" * 101}, "a.lua:1 has 101 columns; 100"),
    (rooms_stay_within_their_budgets, {"policy/a.py": "x = 1\n" * 591}, "policy has 591 lines"),
    (rooms_stay_within_their_budgets, {"attic/a.py": "x = 1\n"}, "attic has 1 lines of Python; 0"),
    (rooms_stay_within_their_budgets, {"a.lua": "--\n" * 896}, "896 lines of Lua"),
    (names_say_something, {"cli/utils.py": ""}, "'utils' says nothing"),
    (names_say_something, {"worker/_common/a.py": ""}, "'_common' says nothing"),
    (init_is_a_list_of_names, {"cli/__init__.py": "def main(): ..."}, "more than a list of names"),
    (no_test_sleeps, {"../tests/test_a.py": "time.sleep(1)"}, "test_a.py:1 sleeps"),
    (no_test_sleeps, {"../tests/test_a.py": "from time import sleep"}, "imports sleep"),
]
LAWS = list(dict.fromkeys(law for law, _, _ in BREACHES))


@pytest.fixture(scope="session")
def this_package() -> Architecture:
    return Architecture(Path(__file__).parents[1])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_this_package_keeps(
    law: Callable[[Architecture], Iterator[str]], this_package: Architecture
) -> None:
    findings = list(law(this_package))
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(("law", "tree", "finding"), BREACHES)
def test_a_breach_is_found(
    law: Callable[[Architecture], Iterator[str]], tree: dict[str, str], finding: str, tmp_path: Path
) -> None:
    for name, text in tree.items():
        path = tmp_path / "typedq" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    findings = list(law(Architecture(tmp_path)))
    assert any(finding in line for line in findings), findings


def test_every_sideways_arrow_is_between_rooms_of_one_floor() -> None:
    for pair in SIDEWAYS:
        assert any(rooms.issuperset(pair) for _, rooms in LAYERS), pair
