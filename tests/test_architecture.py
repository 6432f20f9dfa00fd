"""The rules of the architecture: allowed imports, where I/O may happen, sizes of files.

Each rule is a function that takes a source tree and yields its violations. The tests apply it to
this repository, which must have none, and to small trees with one violation each.
Imports are read from the syntax tree: those for types only and inside functions count too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from pathlib import Path

import pytest

# A package may import packages of lower layers only ...
LAYERS = (
    ("foundation", {"errors", "telemetry", "reasons"}),
    (
        "infrastructure",
        {
            *("broker", "message", "settings", "addresses", "runtime", "health", "embedded"),
            *("contracts", "policy", "process", "cgroup", "configuration"),
        },
    ),
    (
        "domain",
        {
            *("bundle", "compat", "registry", "task", "outgoing", "remote"),
            *("async_steps", "layers", "middleware", "failure"),
        },
    ),
    # testing/ is in the layer of the app, because `app.testing()` makes what it offers.
    (
        "application",
        {
            *("app", "declarations", "encoder", "producer", "invoke", "single", "message_methods"),
            "testing",
        },
    ),
    ("administration", {"admin", "generate"}),
    ("observation", {"observe"}),
    ("worker", {"worker"}),
    ("interfaces", {"cli", "dashboard", "django"}),
    ("entry points", {"__init__", "__main__", "public"}),
)
# ... except these pairs within one layer.
SAME_LAYER = {
    ("telemetry", "errors"),
    ("settings", "policy"),
    ("settings", "addresses"),
    ("settings", "cgroup"),
    ("configuration", "settings"),
    ("configuration", "addresses"),
    ("embedded", "addresses"),
    ("embedded", "runtime"),
    ("broker", "addresses"),
    ("broker", "message"),
    ("registry", "compat"),
    ("failure", "task"),
    ("remote", "task"),
    ("remote", "compat"),
    ("message_methods", "single"),
    ("message_methods", "producer"),
    ("app", "message_methods"),
    ("layers", "async_steps"),
    ("outgoing", "task"),
    ("outgoing", "layers"),
    ("middleware", "async_steps"),
    ("middleware", "layers"),
    ("middleware", "outgoing"),
    ("testing", "app"),
    ("testing", "invoke"),
    ("app", "declarations"),
    ("app", "producer"),
    ("app", "single"),
    ("producer", "single"),
    ("testing", "single"),
    ("app", "testing"),
    ("encoder", "declarations"),
    ("producer", "declarations"),
    ("cli", "dashboard"),
    ("django", "cli"),
    ("__init__", "public"),
    ("producer", "encoder"),
}
# These packages may import less than their layer allows.
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
    "health": set[str](),
    "task": {"errors", "contracts", "policy", "message"},
    "compat": {"errors", "contracts"},
    "bundle": {"errors", "contracts", "policy", "message"},
}
# Third-party modules, and the packages that may import them.
ALLOWED_IN = {
    "redis": ("broker", "embedded"),
    "hiredis": ("broker",),
    "typer": ("cli",),
    "click": ("cli",),
    "rich": ("cli",),
    "uvicorn": ("cli",),
    "starlette": ("dashboard", "cli"),
    "jinja2": ("dashboard",),
    "markupsafe": ("dashboard",),
    "django": ("django",),
    "django_tasks": ("django",),
    "multiprocessing": ("worker",),
    "croniter": ("policy",),
    "opentelemetry": ("observe",),
    "sentry_sdk": ("observe",),
    "pydantic": ("settings", "configuration", "contracts"),
}
# Packages without I/O and without a clock; they take `now` as an argument.
PURE = {"bundle", "compat", "contracts", "policy"}
IMPURE = {
    *("asyncio", "io", "logging", "os", "pathlib", "random", "secrets", "select", "shutil"),
    *("signal", "socket", "subprocess", "tempfile", "threading", "time", "urllib"),
}
VAGUE_NAMES = {"utils", "util", "common", "base", "types", "helpers", "misc"}
# Maximum lines of Python in each package, comments included.
PACKAGE_LINES = {
    "admin": 2_075,
    "broker": 4_000,
    "bundle": 370,
    "cli": 4_000,
    "compat": 4_000,
    "dashboard": 1_850,
    "contracts": 5_310,
    "django": 450,
    "embedded": 4_000,
    "generate": 2_260,
    "observe": 1_500,
    "policy": 840,
    "process": 580,
    "registry": 4_000,
    "testing": 4_000,
    "worker": 4_710,
}
LUA_LINES = 1_100
FILE_LINES, FUNCTION_LINES, COLUMNS = 300, 50, 100
WAIT_HELPERS = "tests/conftest.py"
KEYS = "typedq/broker/keys.py"
REDIS_PY = "typedq/broker/redis_py.py"
NOTIFY = "typedq/worker/notify.py"
# Calls that open a connection or parse replies.
CONNECTION_CALLS = {
    "socket": {"socket", "create_connection", "socketpair", "fromfd"},
    "asyncio": {"open_connection", "open_unix_connection"},
    "loop": {"create_connection", "create_unix_connection"},
    "hiredis": {"Reader"},
    "_untyped": {"Reader"},
}


class Architecture:
    """A source tree, read once. Paths are relative to its root, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, folder: str, suffix: str) -> dict[str, str]:
        found = sorted((self.root / folder).rglob(f"*.{suffix}"))
        return {path.relative_to(self.root).as_posix(): path.read_text("utf-8") for path in found}

    @cached_property
    def python(self) -> dict[str, ast.Module]:
        return {path: ast.parse(text) for path, text in self.files("typedq", "py").items()}

    @cache  # noqa: B019 - one for each tree
    def nodes(self, path: str) -> list[ast.AST]:
        return list(ast.walk(self.python[path]))

    @cached_property
    def lua(self) -> dict[str, str]:
        return self.files("typedq", "lua")

    @cached_property
    def modules(self) -> dict[str, str]:
        """Return the path of each module by its dotted name."""
        names = {path: path.removesuffix(".py").replace("/", ".") for path in self.python}
        return {name.removesuffix(".__init__"): path for path, name in names.items()}

    @cache  # noqa: B019
    def imports(self, path: str) -> list[str]:
        """Return the modules that a file imports; a name inside a module counts as that module."""
        return list(self._imports(path))

    def _imports(self, path: str) -> Iterator[str]:
        package = path.split("/")[:-1]
        for node in self.nodes(path):
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

    def edges(self) -> Iterator[tuple[str, str]]:
        """Yield (importing path, imported path) inside typedq."""
        for path in self.python:
            for name in self.imports(path):
                if (target := self.modules.get(name)) is not None:
                    yield path, target


def package_of(path: str) -> str:
    return path.split("/")[1].removesuffix(".py")


def is_part(path: str) -> bool:
    return "/lua/parts/" in path


def imports_point_to_lower_layers(architecture: Architecture) -> Iterator[str]:
    layer = {name: height for height, (_, packages) in enumerate(LAYERS) for name in packages}
    for path in architecture.python:
        if package_of(path) not in layer:
            yield f"{path}: {package_of(path)} is in no layer"
    for path, target in architecture.edges():
        here, there = package_of(path), package_of(target)
        if here == there or (here, there) in SAME_LAYER:
            continue
        is_higher = layer.get(here, 0) > layer.get(there, 0)
        if not is_higher or there not in ONLY.get(here, {there}):
            yield f"{path} imports {target}"


def no_import_cycles(architecture: Architecture) -> Iterator[str]:
    graph: dict[str, set[str]] = {path: set() for path in architecture.python}
    for path, target in architecture.edges():
        graph[path].add(target)
    # Modules that remain after removing leaves repeatedly are in a cycle or import one.
    while leaves := {path for path, targets in graph.items() if not targets}:
        graph = {path: to - leaves for path, to in graph.items() if path not in leaves}
    for path, targets in graph.items():
        yield f"{path} is in or above an import cycle, through {', '.join(sorted(targets))}"


def third_party_imports_stay_in_their_packages(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        for name in architecture.imports(path):
            owners = ALLOWED_IN.get(name.split(".")[0])
            if owners is not None and package_of(path) not in owners:
                yield f"{path} imports {name}; only {' and '.join(owners)} may"


def only_redis_py_opens_connections(architecture: Architecture) -> Iterator[str]:
    """Only redis-py opens sockets, parses replies and logs in; one file makes TLS settings."""
    for path in architecture.python:
        if package_of(path) == "embedded" or path == NOTIFY:
            continue  # it polls its own server until that has started; it tells systemd
        if path != REDIS_PY and "ssl" in architecture.imports(path):
            yield f"{path} imports ssl; only {REDIS_PY} may"
        for node in architecture.nodes(path):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr=name):
                    if name in CONNECTION_CALLS.get(module, ()):
                        yield f"{path}:{node.lineno} opens a connection: {module}.{name}"
                case ast.Constant(value=str(word) | bytes(word)):
                    text = word.decode("latin-1") if isinstance(word, bytes) else word
                    is_resp = package_of(path) == "broker" and text.endswith("\r\n")
                    if is_resp or text in {"HELLO", "AUTH"}:
                        yield f"{path}:{node.lineno} sends a command by itself: {text!r}"
                case _:
                    pass


def only_the_worker_forks(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        if package_of(path) != "worker":
            for node in architecture.nodes(path):
                match node:
                    case ast.Attribute(value=ast.Name(id="os"), attr="fork" | "forkpty"):
                        yield f"{path}:{node.lineno} forks"
                    case ast.ImportFrom(module="os", names=names):
                        if any(alias.name in {"fork", "forkpty"} for alias in names):
                            yield f"{path}:{node.lineno} imports fork"
                    case _:
                        pass


def pure_packages_stay_pure(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        if package_of(path) in PURE:
            for name in architecture.imports(path):
                if name.split(".")[0] in IMPURE:
                    yield f"{path} imports {name}"
            for node in architecture.nodes(path):
                match node:
                    case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today")):
                        yield f"{path}:{node.lineno} reads a clock"
                    case ast.Attribute(attr="uuid1" | "uuid4") | ast.alias(name="uuid1" | "uuid4"):
                        yield f"{path}:{node.lineno} is random"
                    case ast.Call(func=ast.Name(id="open" | "print" | "input")):
                        yield f"{path}:{node.lineno} does I/O"
                    case _:
                        pass


def each_operation_has_one_script(architecture: Architecture) -> Iterator[str]:
    """An operation is a function in broker/ that calls `script` with its own name."""
    sent = [
        (path, function.name, str(node.args[0].value))
        for path, tree in architecture.python.items()
        if package_of(path) == "broker"
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "script"
        if isinstance(node.args[0], ast.Constant)
    ]
    for path, function, name in sent:
        if function != name:
            yield f"{path}: {function} sends the script {name}"
    operations = [name for _, _, name in sent]
    scripts = [Path(path).stem for path in architecture.lua if not is_part(path)]
    for name in sorted({*operations, *scripts}):
        if (operations.count(name), scripts.count(name)) != (1, 1):
            yield f"{name}: {operations.count(name)} operations, {scripts.count(name)} scripts"


def only_keys_py_builds_keys(architecture: Architecture) -> Iterator[str]:
    """Find strings that begin like a key, with `{namespace}:`, however they are built."""
    for path in architecture.python:
        if path == KEYS:
            continue
        for node in architecture.nodes(path):
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
                yield f"{path}:{node.lineno} builds a key: {ast.unparse(node)}"


def scripts_declare_their_keys(architecture: Architecture) -> Iterator[str]:
    concatenated = re.compile(
        r"KEYS\[[^\]]*\]\s*\.\.|\.\.\s*KEYS\[|redis\.p?call\(\s*(['\"])[^'\"]*\1\s*,\s*[^,)]*\.\."
    )
    for path, text in architecture.lua.items():
        for number, line in enumerate(text.splitlines(), 1):
            if concatenated.search(line.split("--")[0]):
                yield f"{path}:{number} builds a key: {line.strip()}"


def scripts_have_a_header(architecture: Architecture) -> Iterator[str]:
    """Require name, guarantee, KEYS, ARGV and reply in a script; any comment in a part."""
    for path, text in architecture.lua.items():
        if is_part(path):
            if not text.startswith("-- "):
                yield f"{path}: no header"
            continue
        header = re.match(r"(?:#!lua.*\n)?--\[\[ (\w+): (?s:.*?)\]\]", text)
        if header is None or header[1] != Path(path).stem:
            yield f"{path}: no header that begins with its name"
            continue
        for word in ("KEYS", "ARGV", "returns", "Guarantee:|Changes nothing"):
            if not re.search(rf"\b(?:{word})", header[0]):
                yield f"{path}: its header lacks {word}"


def no_file_is_too_long(architecture: Architecture) -> Iterator[str]:
    for path, text in (architecture.files("typedq", "py") | architecture.lua).items():
        lines = text.splitlines()
        if len(lines) > FILE_LINES:
            yield f"{path} has {len(lines)} lines; {FILE_LINES} are allowed"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                yield f"{path}:{number} has {len(line)} columns; {COLUMNS} are allowed"


def packages_stay_within_their_line_limits(architecture: Architecture) -> Iterator[str]:
    lines: dict[str, int] = {}
    for path, text in architecture.files("typedq", "py").items():
        package = path.split("/")[1]
        lines[package] = lines.get(package, 0) + len(text.splitlines())
    for package, total in lines.items():
        limit = FILE_LINES if package.endswith(".py") else PACKAGE_LINES.get(package, 0)
        if total > limit:
            yield f"{package} has {total} lines of Python; {limit} are allowed"
    total = sum(len(text.splitlines()) for text in architecture.files("typedq", "lua").values())
    if total > LUA_LINES:
        yield f"{total} lines of Lua; {LUA_LINES} are allowed"


def no_function_is_too_long(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        for node in architecture.nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                if size > FUNCTION_LINES:
                    yield f"{path}: {node.name} has {size} lines; {FUNCTION_LINES} are allowed"


def module_names_are_specific(architecture: Architecture) -> Iterator[str]:
    for path in architecture.python:
        for part in path.removesuffix(".py").split("/"):
            if part.strip("_") in VAGUE_NAMES:
                yield f"{path}: {part!r} is too vague"


def init_only_lists_names(architecture: Architecture) -> Iterator[str]:
    for path, tree in architecture.python.items():
        # That of the package imports its names from public.py, on first use.
        if path.endswith("/__init__.py") and path != "typedq/__init__.py":
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
        if path == WAIT_HELPERS or "sleep" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="sleep"):
                    yield f"{path}:{node.lineno} sleeps; wait for an event with wait_until"
                case ast.ImportFrom(module="time", names=names):
                    if any(alias.name == "sleep" for alias in names):
                        yield f"{path}:{node.lineno} imports sleep"
                case _:
                    pass


# rule, a tree that violates it, and text of the violation it must report
VIOLATIONS: list[tuple[Callable[[Architecture], Iterator[str]], dict[str, str], str]] = [
    (
        imports_point_to_lower_layers,
        {"app.py": "import typedq.cli", "cli.py": ""},
        "app.py imports typedq/cli.py",
    ),
    (
        imports_point_to_lower_layers,
        {"task.py": "def f():\n from . import app", "app.py": ""},
        "task.py imports",
    ),
    (
        imports_point_to_lower_layers,
        {"errors.py": "if TYPE_CHECKING:\n from .app import A", "app.py": ""},
        "errors.py imports typedq/app.py",
    ),
    (
        imports_point_to_lower_layers,
        {"policy/a.py": "import typedq.message", "message.py": ""},
        "policy/a.py",
    ),
    (
        imports_point_to_lower_layers,
        {"task.py": "import typedq.broker.a", "broker/a.py": ""},
        "task.py imports",
    ),
    (
        imports_point_to_lower_layers,
        {"task.py": "from typedq import T", "__init__.py": ""},
        "typedq/__init__.py",
    ),
    (
        imports_point_to_lower_layers,
        {"task.py": 'import_module("typedq")', "__init__.py": ""},
        "task.py imports",
    ),
    (imports_point_to_lower_layers, {"attic.py": ""}, "attic is in no layer"),
    (
        no_import_cycles,
        {"worker/a.py": "from . import b", "worker/b.py": "def f():\n from .a import x"},
        "cycle, through typedq/worker/b.py",
    ),
    (
        third_party_imports_stay_in_their_packages,
        {"task.py": "def f():\n import redis.asyncio"},
        "only broker and embedded may",
    ),
    (
        third_party_imports_stay_in_their_packages,
        {"app.py": "from rich.table import Table"},
        "only cli may",
    ),
    (
        third_party_imports_stay_in_their_packages,
        {"broker/a.py": "import multiprocessing"},
        "only worker may",
    ),
    (only_redis_py_opens_connections, {"broker/a.py": "import ssl"}, "broker/a.py imports ssl"),
    (
        only_redis_py_opens_connections,
        {"broker/a.py": "socket.socket()"},
        "a.py:1 opens a connection",
    ),
    (
        only_redis_py_opens_connections,
        {"a.py": "asyncio.open_connection()"},
        "opens a connection",
    ),
    (
        only_redis_py_opens_connections,
        {"broker/a.py": "hiredis.Reader()"},
        "opens a connection: hiredis.R",
    ),
    (
        only_redis_py_opens_connections,
        {"broker/a.py": "ask('HELLO', 3)"},
        "sends a command by itself",
    ),
    (
        only_redis_py_opens_connections,
        {"broker/a.py": "b'PING\\r\\n'"},
        "sends a command by itself",
    ),
    (only_the_worker_forks, {"cli/a.py": "import os\nos.fork()"}, "cli/a.py:2 forks"),
    (only_the_worker_forks, {"cli/a.py": "from os import fork"}, "imports fork"),
    (pure_packages_stay_pure, {"policy/a.py": "import time"}, "policy/a.py imports time"),
    (pure_packages_stay_pure, {"contracts/a.py": "datetime.now(UTC)"}, "reads a clock"),
    (pure_packages_stay_pure, {"contracts/a.py": "uuid.uuid4()"}, "is random"),
    (pure_packages_stay_pure, {"contracts/a.py": "open('x')"}, "does I/O"),
    (each_operation_has_one_script, {"broker/lua/tick.lua": ""}, "tick: 0 operations, 1 scripts"),
    (
        each_operation_has_one_script,
        {"broker/a.py": "def tick():\n return Operation(script('tick'))"},
        "tick: 1 operations, 0 scripts",
    ),
    (
        each_operation_has_one_script,
        {"broker/a.py": "def tick(): script('tick')\n" * 2, "broker/lua/tick.lua": ""},
        "tick: 2 operations, 1 scripts",
    ),
    (
        each_operation_has_one_script,
        {"broker/a.py": "def tock(): script('tick')", "broker/lua/tick.lua": ""},
        "tock sends the script tick",
    ),
    (only_keys_py_builds_keys, {"app.py": 'f"{{{ns}}}:ready"'}, "app.py:1 builds a key"),
    (only_keys_py_builds_keys, {"app.py": '"{%s}:ready" % ns'}, "app.py:1 builds a key"),
    (only_keys_py_builds_keys, {"app.py": '"{{{}}}:dead".format(ns)'}, "app.py:1 builds a key"),
    (only_keys_py_builds_keys, {"app.py": '"{" + ns + "}:dead"'}, "app.py:1 builds a key"),
    (scripts_declare_their_keys, {"a.lua": "local k = KEYS[1] .. ':x'"}, "a.lua:1 builds a key"),
    (
        scripts_declare_their_keys,
        {"a.lua": "redis.call('GET', tag .. 'x')"},
        "a.lua:1 builds a key",
    ),
    (scripts_have_a_header, {"a.lua": "return KEYS"}, "no header that begins with its name"),
    (scripts_have_a_header, {"a.lua": "--[[ b: x ]]"}, "no header that begins with its name"),
    (scripts_have_a_header, {"a.lua": "--[[ a: KEYS\nARGV\nreturns ]]"}, "lacks Guarantee"),
    (scripts_have_a_header, {"a.lua": "--[[ a: Guarantee: KEYS ARGV ]]"}, "lacks returns"),
    (scripts_have_a_header, {"lua/parts/a.lua": "local x"}, "no header"),
    (no_file_is_too_long, {"a.py": "x = 1\n" * 301}, "a.py has 301 lines; 300"),
    (no_function_is_too_long, {"a.py": "def f():\n" + " x = 1\n" * 50}, "f has 51 lines; 50"),
    (no_file_is_too_long, {"a.lua": "-" * 101}, "a.lua:1 has 101 columns; 100"),
    (
        packages_stay_within_their_line_limits,
        {"policy/a.py": "x = 1\n" * 841},
        "policy has 841 lines",
    ),
    (
        packages_stay_within_their_line_limits,
        {"attic/a.py": "x = 1\n"},
        "attic has 1 lines of Python; 0",
    ),
    (packages_stay_within_their_line_limits, {"a.lua": "--\n" * 1_101}, "1101 lines of Lua"),
    (module_names_are_specific, {"cli/utils.py": ""}, "'utils' is too vague"),
    (module_names_are_specific, {"worker/_common/a.py": ""}, "'_common' is too vague"),
    (init_only_lists_names, {"cli/__init__.py": "def main(): ..."}, "more than a list of names"),
    (no_test_sleeps, {"../tests/test_a.py": "time.sleep(1)"}, "test_a.py:1 sleeps"),
    (no_test_sleeps, {"../tests/test_a.py": "from time import sleep"}, "imports sleep"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in VIOLATIONS))


@pytest.fixture(scope="session")
def this_package() -> Architecture:
    return Architecture(Path(__file__).parents[1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_package_follows(
    rule: Callable[[Architecture], Iterator[str]], this_package: Architecture
) -> None:
    findings = list(rule(this_package))
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(("rule", "tree", "finding"), VIOLATIONS)
def test_rule_on_a_bad_tree_reports_the_violation(
    rule: Callable[[Architecture], Iterator[str]],
    tree: dict[str, str],
    finding: str,
    tmp_path: Path,
) -> None:
    for name, text in tree.items():
        path = tmp_path / "typedq" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    findings = list(rule(Architecture(tmp_path)))
    assert any(finding in line for line in findings), findings


def test_same_layer_exceptions_name_packages_of_one_layer() -> None:
    for pair in SAME_LAYER:
        assert any(packages.issuperset(pair) for _, packages in LAYERS), pair
