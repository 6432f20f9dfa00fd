"""`check-schemas` and `export-schemas`: ten ordinary changes, what is told, whether it helps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from typedq import TypedQ
from typedq.broker import stats
from typedq.broker.operations import renew
from typedq.embedded import OwnServer

if TYPE_CHECKING:
    from tests.cli.conftest import Place, Shop

ORDERS = """
from typing import Literal
import msgspec
from typedq import Call, TypedQ

app = TypedQ("orders")

class Address(msgspec.Struct):
    street: str

class Order(msgspec.Struct, kw_only=True):
    number: int
    address: Address
    size: Literal["s", "m", "l"] = "m"
    note: str = ""
    count: int = 1

@app.task
def ship(order: Order) -> None: ...
"""


class Project:
    """A directory with the app `orders:app`, its history and a git repository."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.directory = shop, shop.directory
        self.shop.env["TYPEDQ_APP"] = "orders:app"
        self.shop.file("pyproject.toml", "")
        self.write(ORDERS)

    def write(self, text: str) -> None:
        self.shop.file("orders.py", text)
        shutil.rmtree(self.directory / "__pycache__", ignore_errors=True)

    def change(self, *edits: tuple[str, str], text: str = ORDERS) -> str:
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        self.write(text)
        return text

    def check(self, *words: str, code: int = 0) -> str:
        out, err = self.shop.here("check-schemas", *words, code=code)
        assert err == "" or err.startswith("note: ") or code == 2, err
        return out + err

    def export(self, *words: str) -> str:
        return self.shop.here("export-schemas", *words, code=0)[0]

    def git(self, *words: str) -> None:
        who = {f"GIT_{a}_{b}": "a@b" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}
        env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | who
        subprocess.run(
            ["git", *words], cwd=self.directory, env=env, check=True, capture_output=True
        )


@pytest.fixture
def project(place: Place) -> Project:
    from tests.cli.conftest import Shop

    return Project(Shop(place, {}))


@pytest.fixture
def deployed(project: Project) -> Project:
    """Version 1 is exported and committed."""
    project.export()
    project.git("init", "-qb", "main")
    project.git("add", "-A")
    project.git("commit", "-qm", "x")
    return project


class Change(NamedTuple):
    edits: list[tuple[str, str]]
    told: list[str]
    order: str
    mended: list[tuple[str, str]] | None = None  # instead, as the hint says; None: it was safe


UPCASTER = """
class OldOrder(msgspec.Struct, kw_only=True):
    number: int
    address: Address
    size: Literal["s", "m", "l"] = "m"
    note: str = ""
    count: int = 1

@ship.upcast
def from_old(old: OldOrder) -> Call:
    return ship.call({call})
"""
FAST = ("def ship(order: Order)", "def ship(order: Order, *, fast: bool = False)")
END = "def ship(order: Order) -> None: ...\n"
TEN = {
    "add a field": Change(
        [("    street: str", "    street: str\n    zip: str")],
        [
            "ship  $.address.zip  FIELD_ADDED_REQUIRED  breaks backward (against version 1)",
            'messages written before this change have no "zip"; the new worker refuses them',
            'example: {"number": 0, "address": {"street": "x"}}',
            "fix: give it a default, or add an upcaster from version 1",
        ],
        "producers first",
        [("    street: str", '    street: str\n    zip: str = ""')],
    ),
    "add a field with a default": Change(
        [("    street: str", '    street: str\n    zip: str = ""')], [], "any"
    ),
    "remove a field": Change(
        [("    number: int\n", "")],
        [
            "$.number  FIELD_REMOVED_REQUIRED  breaks forward, which the mode",
            'messages written after this change have no "number"; an old worker refuses them',
        ],
        "workers first",
    ),
    "rename a field with a default": Change(
        [("note: str", "remark: str")],
        [
            "$.remark  POSSIBLE_RENAME  warning",
            '"note" is gone and "remark" is new: if this is a rename, the value in messages',
            "fix: keep the name in the message (rename=, alias)",
        ],
        "any",
    ),
    "narrow a choice": Change(
        [('"s", "m", "l"', '"s", "m"')],
        [
            "$.size  ENUM_VALUE_REMOVED  breaks backward",
            'messages written before this change may hold "l" here',
        ],
        "producers first",
        [('"s", "m", "l"', '"s", "m", "l"')],
    ),
    "change a type": Change(
        [("number: int", "number: str")],
        [
            "$.number  TYPE_CHANGED  breaks backward and forward",
            "fix: accept both types for a while (a union), or add an upcaster from version 1",
        ],
        "none",
        [("number: int", "number: int | str")],
    ),
    "drop a default": Change(
        [("count: int = 1", "count: int")],
        ["$.count  FIELD_BECAME_REQUIRED  breaks backward", "fix: keep the default, or add an"],
        "producers first",
        [("count: int = 1", "count: int = 2")],
    ),
    "allow null": Change(
        [("number: int", "number: int | None")],
        ["$.number  NULL_ADDED  breaks forward, which the mode backward_transitive allows"],
        "workers first",
    ),
    "add a parameter": Change(
        [FAST],
        [
            "$  PAYLOAD_SHAPE_CHANGED  breaks backward and forward",
            "fix: keep the shape, and add new fields to the one structured type",
        ],
        "none",
        [("    count: int = 1", "    count: int = 1\n    fast: bool = False")],
    ),
    "rename the task": Change(
        [("def ship", "def send")],
        [
            "schemas/ship  $  TASK_REMOVED  breaks backward (against version 1)",
            "fix: name it in aliases= of the task that took over; or keep it until",
        ],
        "none",
        [("@app.task\ndef ship", '@app.task(aliases=["ship"])\ndef send')],
    ),
}


@pytest.mark.parametrize("name", TEN)
def test_a_change_is_told_and_the_hint_helps(name: str, deployed: Project) -> None:
    change = TEN[name]
    deployed.change(*change.edits)
    code = 0 if change.mended is None else 1
    deployed.export()
    told = deployed.check("--against", "git:main", code=code)
    assert [part for part in change.told if part not in told] == [], told
    assert f"\ndeploy order: {change.order}" in told
    assert ("\nsafe: " if code == 0 else "\nNOT safe: ") in told
    if change.mended is not None:
        deployed.git("clean", "-fdq", "schemas")
        deployed.change(*change.mended)
        deployed.export()
        assert "\nsafe: " in deployed.check("--against", "git:main")


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("add a field", "Order(number=1, address=Address('x', ''))"),
        ("change a type", "Order(number=str(old.number), address=old.address)"),
        ("add a parameter", "Order(number=old.number, address=old.address), fast=False"),
    ],
)
def test_an_upcaster_helps_as_the_hint_says(name: str, call: str, deployed: Project) -> None:
    text = deployed.change(*TEN[name].edits)
    if name == "add a field":  # the old payload must not change along
        text = text.replace(
            "class Order", "class OldAddress(msgspec.Struct):\n    street: str\n\nclass Order"
        )
    old = UPCASTER.replace("{call}", call)
    deployed.write(text + (old.replace(": Address", ": OldAddress") if "Old" in text else old))
    deployed.export()
    assert "ship: safe (" in (told := deployed.check("--against", "git:main"))
    assert "upcaster reads version 1" in told


@pytest.mark.parametrize("name", [name for name, change in TEN.items() if change.mended])
def test_a_break_is_accepted_as_the_report_says(name: str, deployed: Project) -> None:
    deployed.change(*TEN[name].edits)
    deployed.export()
    told = deployed.check(code=1)
    (file, text), *others = re.findall(r"accept it, with a reason: write (\S+): (.*)", told)
    assert not others
    (deployed.directory / file).write_text(text.replace("...", "all were drained"))
    told = deployed.check()
    assert "  accepted: all were drained (against version 1)" in told
    deployed.write(ORDERS)
    shutil.rmtree(deployed.directory / "schemas" / "send", ignore_errors=True)
    (deployed.directory / "schemas/ship/2.json").unlink(missing_ok=True)
    if name != "rename the task":
        assert "from version 1 is no longer needed; remove it" in deployed.check()


def test_a_second_break_is_added_to_the_list(deployed: Project) -> None:
    deployed.change(("number: int", "number: str"), ("count: int = 1", "count: int"))
    deployed.export()
    (deployed.directory / "schemas/ship/accepted.json").write_text("[]")
    told = deployed.check(code=1)
    assert "deploy order: none" in told  # exporting deploys nothing
    assert told.count("add to the list in schemas/ship/accepted.json: {") == 2


# --- what is written ----------------------------------------------------------------------------


def test_only_a_changed_contract_is_a_new_version(project: Project) -> None:
    assert "ship: not exported" in project.check(code=1)
    assert project.export() == "ship: wrote schemas/ship/1.json, its first version\n"
    assert project.export() == "ship: unchanged\n"
    project.change(('note: str = ""', 'notes: str = ""'))
    told = project.check(code=1)
    assert "safe, but run typedq export-schemas, and commit the files: 1 not exported" in told
    told = project.export()
    assert told.startswith("ship: wrote schemas/ship/2.json, safe, deploy order: any\n")
    assert "POSSIBLE_RENAME" in told
    project.change(("number: int", "number: str"))
    assert project.export().startswith("ship: wrote schemas/ship/3.json, not safe\n")
    assert [p.name for p in sorted((project.directory / "schemas/ship").iterdir())] == [
        "1.json",
        "2.json",
        "3.json",
    ]


def test_changed_default_is_exported_once_as_a_version_with_the_same_fingerprint(
    deployed: Project,
) -> None:
    deployed.change(('note: str = ""', 'note: str = "none"'))
    assert "DEFAULT_CHANGED" in deployed.check()
    assert deployed.export().startswith("ship: wrote schemas/ship/2.json, safe, deploy order: any")
    assert "DEFAULT_CHANGED" not in deployed.check()
    assert deployed.export() == "ship: unchanged\n"
    first, second = (
        json.loads((deployed.directory / f"schemas/ship/{n}.json").read_text()) for n in (1, 2)
    )
    assert first["x-typedq"]["fingerprint"] == second["x-typedq"]["fingerprint"]
    assert first["x-typedq"]["document"] != second["x-typedq"]["document"]
    deployed.change(('note: str = ""', 'note: str = "none"'), ("count: int = 1", "count: int = 2"))
    assert deployed.export().count("DEFAULT_CHANGED") == 1


def test_two_apps_share_a_directory_without_missing_each_others_tasks(deployed: Project) -> None:
    text = ORDERS.replace('TypedQ("orders")', 'TypedQ("mails")').replace("def ship", "def send")
    deployed.shop.file("mails.py", text)
    told = deployed.shop.here("export-schemas", "mails:app", code=0)[0]
    assert told == "send: wrote schemas/send/1.json, its first version\n"
    assert deployed.shop.here("check-schemas", "mails:app", code=0)[0].startswith("send: unchanged")
    assert "TASK_REMOVED" not in deployed.check()
    deployed.change(("def ship", "def deliver"))
    assert "schemas/ship  $  TASK_REMOVED" in deployed.check(code=1)


def test_app_dir_decides_which_project_the_contracts_belong_to(deployed: Project) -> None:
    service = deployed.directory / "services/a"
    service.mkdir(parents=True)
    (service / "pyproject.toml").write_text("")
    (service / "mails.py").write_text(ORDERS.replace("def ship", "def send"))
    words = ("mails:app", "--app-dir", "services/a")
    told = deployed.shop.here("export-schemas", *words, code=0)[0]
    assert told == "send: wrote services/a/schemas/send/1.json, its first version\n"
    assert deployed.shop.here("check-schemas", *words, code=0)[0].startswith("send: unchanged")


def test_a_tasks_own_mode_is_carried_on(project: Project) -> None:
    project.export()
    file = project.directory / "schemas/ship/1.json"
    file.write_text(file.read_text().replace('"mode": null', '"mode": "forward"'))
    project.change(("count: int = 1", "count: int"))
    (told,) = json.loads(project.export("--json"))
    assert (told["mode"], told["written"]) == ("forward", "schemas/ship/2.json")
    assert json.loads((file.with_name("2.json")).read_text())["x-typedq"]["mode"] == "forward"


def test_the_apps_mode_is_configured(deployed: Project) -> None:
    deployed.change(("number: int", "number: int | None"))
    deployed.export()
    deployed.shop.file("pyproject.toml", '[tool.typedq.schemas]\nmode = "full"\n')
    assert "ship: unsafe (mode full; deploy order: workers first)" in deployed.check(
        "--against", "git:main", code=1
    )
    assert "safe: " in deployed.check("--mode", "backward", "--against", "git:main")
    deployed.shop.run("tasks")  # settings bear the table
    deployed.shop.file("pyproject.toml", '[tool.typedq.schemas]\nmode = "fully"\n')
    told = deployed.check(code=2)
    assert "mode in [tool.typedq.schemas]: 'fully' is not one of backward, backward_tr" in told


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[tool.typedq.schemas]\nmod = 1", "[tool.typedq.schemas] has no 'mod'"),
        ("[tool.typedq]\nschemas = 1", "pyproject.toml cannot be read"),
        ("[tool", "pyproject.toml cannot be read"),
    ],
)
def test_a_table_that_makes_no_sense_is_told(table: str, told: str, project: Project) -> None:
    project.shop.file("pyproject.toml", table)
    assert told in project.check(code=2)


def test_the_directory_is_configured(project: Project) -> None:
    project.shop.file("pyproject.toml", '[tool.typedq.schemas]\ndirectory = "a/b"\n')
    assert project.export() == "ship: wrote a/b/ship/1.json, its first version\n"
    assert "\nsafe: " in project.check()


def test_the_directory_comes_from_the_environment_before_the_table(project: Project) -> None:
    project.shop.file("pyproject.toml", '[tool.typedq.schemas]\ndirectory = "a/b"\n')
    project.shop.env["TYPEDQ_SCHEMAS"] = "c"
    assert project.export() == "ship: wrote c/ship/1.json, its first version\n"
    assert "\nsafe: " in project.check()
    assert "\nsafe: " in project.check("--schemas", "c")
    del project.shop.env["TYPEDQ_SCHEMAS"]
    assert "not exported" in project.check(code=1)


def test_json_says_the_same(deployed: Project) -> None:
    deployed.change(("    street: str", "    street: str\n    zip: str"))
    told = json.loads(deployed.check("--format", "json", code=1))
    (task,) = told.pop("tasks")
    assert told == {"safe": False, "order": "producers first"}
    (finding,) = task.pop("findings")
    assert task == {
        "task": "ship",
        "status": "unsafe",
        "exported": False,
        "mode": "backward_transitive",
        "order": "producers first",
        "read_by_upcaster": [],
        "no_longer_needed": [],
    }
    assert finding == {
        "history": "ship",
        "rule": "FIELD_ADDED_REQUIRED",
        "path": "$.address.zip",
        "breaks": ["backward"],
        "fails": True,
        "accepted": None,
        "versions": [1],
        "message": 'messages written before this change have no "zip"; the new worker refuses them',
        "example": {"number": 0, "address": {"street": "x"}},
        "fix": "give it a default, or add an upcaster from version 1",
        "old": None,
        "new": {"type": "string"},
    }


def test_github_annotates_the_file(deployed: Project) -> None:
    deployed.change(("number: int", "number: str"), ('note: str = ""', 'remark: str = ""'))
    lines = deployed.check("--format", "github", code=1).splitlines()
    assert lines[0] == (
        "::error title=contract not exported::ship: run typedq export-schemas, and commit the files"
    )
    assert lines[1].startswith(
        "::error file=schemas/ship/1.json,title=TYPE_CHANGED breaks backward and forward (against"
        " version 1)::$.number: messages written"
    )
    assert lines[2].startswith("::warning file=schemas/ship/1.json,title=VALUE_DROPPED")
    assert lines[-1] == "NOT safe: 1 unsafe"


# --- against what -------------------------------------------------------------------------------


def test_two_directories_are_compared_without_the_app(deployed: Project) -> None:
    deployed.change(("number: int", "number: str"))
    shutil.copytree(deployed.directory / "schemas", deployed.directory / "old")
    deployed.export()
    deployed.write("raise SystemExit('imported')")
    told = deployed.check("--no-app", "--against", "old", code=1)
    assert "TYPE_CHANGED  breaks backward and forward (against version 1)" in told
    assert "TYPE_CHANGED" in deployed.check("--no-app", code=1)
    (deployed.directory / "empty").mkdir()
    told = deployed.check("--no-app", "--schemas", "old", "--against", "empty")
    assert told.endswith("note: empty has no contracts, so all tasks count as new\n")
    assert "safe: 1 safe\ndeploy order: workers first" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--against", "nowhere"],
            "--against: there is no directory nowhere; for a git ref, git:now",
        ),
        (["--against", "git:nope"], "git does not know 'nope'"),
        (["--format", "yaml"], "'yaml' is not one of text, json, github"),
        (["--mode", "fully"], "--mode: 'fully' is not one of backward"),
        (["--no-app", "--live"], "--live needs the app"),
        (["--no-app", "--against", "redis://x"], "a server needs the app, for its namespace"),
        (["nope:app", "-A", "nope:app"], "No module named 'nope'"),
        (["--against", "redis://127.0.0.1:1"], "redis://127.0.0.1:1"),
    ],
)
def test_what_hinders_the_check_is_told(words: list[str], told: str, deployed: Project) -> None:
    text = deployed.check(*words, code=2)
    assert told in " ".join(text.replace("│", " ").split())


def test_a_broken_history_or_app_cannot_be_checked(deployed: Project) -> None:
    file = deployed.directory / "schemas/ship/1.json"
    kept = file.read_text()
    file.write_text(kept.replace("integer", "string"))
    told = deployed.check(code=2)
    assert told.startswith("error: cannot check the schemas:\n  - schemas/ship/1.json: was edited")
    out, err = deployed.shop.here("export-schemas", code=2)
    assert (out, "was edited; history" in err) == ("", True)
    file.write_text(kept)
    deployed.write("1 / 0")
    assert "ZeroDivisionError" in deployed.check(code=2)


def test_check_without_tasks_and_contracts_fails(project: Project) -> None:
    told = "  - there are no tasks, and no contracts in schemas"
    assert told in project.check("--no-app", code=2)
    project.write("from typedq import TypedQ\napp = TypedQ('orders')\n")
    assert told in project.check(code=2)


def test_two_branches_that_wrote_the_same_number(deployed: Project) -> None:
    deployed.git("switch", "-qc", "other")
    deployed.change(('note: str = ""', 'a: str = ""'))
    deployed.export()
    deployed.git("add", "-A")
    deployed.git("commit", "-qm", "a")
    deployed.git("switch", "-q", "main")
    deployed.change(('note: str = ""', 'b: str = ""'))
    deployed.export()
    told = deployed.check("--against", "git:other", code=2)
    assert "schemas/ship/2.json differs from the one at git:other: keep that one, and run" in told
    deployed.git("checkout", "-q", "other", "--", "schemas")
    assert "wrote schemas/ship/3.json" in deployed.export()
    assert "\nsafe: " in deployed.check("--against", "git:other")


# --- live ---------------------------------------------------------------------------------------


class Old:
    """Messages of the app as it was, on a server."""

    def __init__(self, server: OwnServer, namespace: str) -> None:
        self.app = TypedQ(namespace, url=server.url)

        @self.app.task
        def ship(number: int) -> None: ...

        @self.app.task
        def gone() -> None: ...

        self.ship, self.gone = ship, gone

    def worker(self, *contracts: str, seen_ms: int | None = None) -> None:
        about = {"reads": contracts, "seen_ms": seen_ms or time.time_ns() // 1_000_000}
        keys = self.app.broker.keys
        self.app.broker.call(renew(keys, [], 30_000, f"w{contracts}", json.dumps(about).encode()))


@pytest.fixture
def old(server: OwnServer, namespace: str) -> Iterator[Old]:
    made = Old(server, namespace)
    yield made
    made.app.broker.close()


@pytest.fixture
def live(project: Project, server: OwnServer, namespace: str) -> Project:
    project.shop.env["TYPEDQ_URL"] = server.url
    live_app = f'from typedq import Call, TypedQ\napp = TypedQ("{namespace}")\n'
    project.write(live_app + "@app.task\ndef ship(number: int) -> None: ...\n")
    return project


def _rewrite(project: Project, namespace: str, code: str) -> None:
    project.write(f'from typedq import Call, TypedQ\napp = TypedQ("{namespace}")\n{code}')


def test_an_empty_server_is_safe(live: Project) -> None:
    told = live.check("--live")
    assert told == (
        "safe: this code reads all waiting messages\n"
        "deploy order, for 0 live workers: any: old and new code read each other's messages\n"
    )


READS = [
    ("@app.task\ndef ship(number: int) -> None: ...", "read (equal)", 0),
    ('@app.task\ndef ship(number: int, by: str = "") -> None: ...', "read (compatible)", 0),
    (
        (
            "@app.task\ndef ship(number: str) -> None: ...\n"
            "@ship.upcast\ndef _(number: int) -> Call: return ship.call(str(number))"
        ),
        "read (upcaster)",
        0,
    ),
    (
        '@app.task(aliases=["ship"])\ndef send(number: int) -> None: ...',
        "read (equal)",
        0,
    ),
    (
        "@app.task\ndef ship(number: str) -> None: ...",
        "cannot be read by this code: TYPE_CHANGED at $.number",
        1,
    ),
    (
        "@app.task\ndef other() -> None: ...",
        "cannot be read by this code: it has no task 'ship'",
        1,
    ),
]


@pytest.mark.parametrize(("code", "told", "exit"), READS)
def test_what_waits_is_read_or_not(
    code: str, told: str, exit: int, live: Project, old: Old
) -> None:
    old.app.enqueue_many([old.ship.call(n) for n in range(1_200)])
    _rewrite(live, live.shop.namespace, code)
    out = live.check("--live", code=exit)
    assert f"1,200 messages of {old.ship.contract.id}" in out
    assert told in out


def test_the_last_due_time_is_a_bound(live: Project, old: Old, namespace: str) -> None:
    old.ship.options(delay=86_400).enqueue(1)
    _rewrite(live, namespace, "@app.task\ndef ship(number: str) -> None: ...")
    told = live.check("--live", code=1)
    assert re.search(
        r"^1 message of ship@\w+, due until 2\d{3}-\d\d-\d\d \d\d:\d\d UTC, cannot", told
    )
    data: dict[str, Any] = json.loads(live.check("--live", "--format", "json", code=1))
    assert (data["safe"], data["waiting"][0]["read"], data["workers"]) == (False, None, 0)
    assert data["due_until"] in told


def test_what_is_described_by_no_schema_cannot_be_read(
    live: Project, old: Old, namespace: str
) -> None:
    old.ship.enqueue(1)
    broken = {old.ship.contract.id: b"{", "other@0": b"[]"}
    old.app.broker.call(stats.publish(old.app.broker.keys, broken))
    _rewrite(live, namespace, "@app.task\ndef ship(number: str) -> None: ...")
    told = live.check("--live", code=1)
    assert "this code: the schema published for it is invalid: it is not JSON: " in told


NO_SCHEMAS: list[bytes] = [
    b'{"anyOf": 5}',
    b'{"anyOf": {"type": "integer"}}',
    b'{"properties": [], "type": "object"}',
    b'{"type": "no type"}',
    b'{"items": ' * 500 + b"{}" + b"}" * 500,
    b'{"enum": [' + b"1," * 600_000 + b"1]}",
]


@pytest.mark.parametrize("published", NO_SCHEMAS, ids=range(len(NO_SCHEMAS)))
@pytest.mark.parametrize("against_server", [False, True])
def test_a_published_document_that_is_no_schema_is_named_with_exit_2(
    published: bytes, against_server: bool, live: Project, old: Old, namespace: str
) -> None:
    old.ship.enqueue(1)
    broker = old.app.broker
    broker.call(stats.publish(broker.keys, {old.ship.contract.id: published}))
    _rewrite(live, namespace, "@app.task\ndef ship(number: str) -> None: ...")
    live.export()
    place = ["--against", live.shop.env["TYPEDQ_URL"]] if against_server else ["--live"]
    told = live.check(*place, code=2)
    assert f"the schema published for {old.ship.contract.id} is invalid: " in told
    assert f"HDEL {broker.keys.contracts} {old.ship.contract.id}" in told
    assert "Traceback" not in told


def test_an_invalid_schema_that_nothing_needs_does_not_hinder_the_check(
    live: Project, old: Old, namespace: str
) -> None:
    old.ship.enqueue(1)
    broker = old.app.broker
    broker.call(stats.publish(broker.keys, {"ship@0": b'{"anyOf": 5}', "x@1": b'{"anyOf": 5}'}))
    live.check("--live")


def test_a_schema_outside_the_dialect_is_unsafe_and_says_why(
    live: Project, old: Old, namespace: str
) -> None:
    old.ship.enqueue(1)
    broker = old.app.broker
    strange = {old.ship.contract.id: b'{"type": "object", "if": {}, "then": {}}'}
    broker.call(stats.publish(broker.keys, strange))
    _rewrite(live, namespace, "@app.task\ndef ship(number: str) -> None: ...")
    told = live.check("--live", code=1)
    assert "cannot be read by this code: CANNOT_COMPARE at $" in told
    assert 'the keyword "if" is not in the list' in told


@pytest.mark.parametrize(
    ("code", "order"),
    [
        ("def ship(number: int) -> None: ...\n@app.task\ndef gone() -> None: ...", "any"),
        ("def ship(number: int) -> None: ...", "producers first"),
        (
            "def ship(number: float) -> None: ...\n@app.task\ndef gone() -> None: ...",
            "workers first",
        ),
        ("def ship(number: str) -> None: ...\n@app.task\ndef gone() -> None: ...", "none"),
    ],
)
def test_live_workers_decide_the_order(
    code: str, order: str, live: Project, old: Old, namespace: str
) -> None:
    contracts = [old.ship.contract, old.gone.contract]
    known = {contract.id: contract.schema_json() for contract in contracts}
    old.app.broker.call(stats.publish(old.app.broker.keys, known))
    old.worker(*known)
    old.worker("gone@0000000000000000", seen_ms=1)  # dead for long
    old.worker("of another app@0")
    _rewrite(live, namespace, f"@app.task\n{code}")
    told = live.check("--live")
    assert f"deploy order, for 2 live workers: {order}" in told


def test_the_contracts_of_a_server_are_a_history(live: Project, old: Old, namespace: str) -> None:
    old.app.enqueue_many([old.ship.call(1), old.gone.call()])
    live.export()
    url = live.shop.env["TYPEDQ_URL"]
    assert "ship: unchanged" in live.check("--against", url)
    _rewrite(live, namespace, "@app.task\ndef ship(number: str) -> None: ...")
    assert "TYPE_CHANGED  breaks backward and forward (against version 1)" in live.check(
        "--against", url, code=1
    )
    live.export()
    (live.directory / "schemas/ship/1.json").unlink()
    (live.directory / "schemas/ship/2.json").unlink()
    live.export()
    assert "TYPE_CHANGED" in live.check("--against", url, code=1)  # not in these files
    shutil.rmtree(live.directory / "schemas")
    fingerprint = old.ship.contract.fingerprint
    told = live.check("--against", url, code=1)
    assert f"(against version {fingerprint})" in told
    assert f"add an upcaster from contract {fingerprint}" in told
    assert "accept it" not in told


def test_the_contracts_of_the_examples_are_exported_and_safe() -> None:
    from tests.cli.conftest import COMMAND

    root = Path(__file__).parents[2]
    app = "examples.codestats.tasks:app"
    command = [COMMAND, "check-schemas", app, "--schemas", "schemas"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for file in (root / "schemas").glob("*/[0-9]*.json"):
        Draft202012Validator.check_schema(json.loads(file.read_text()))


def test_help_shows_an_example(project: Project) -> None:
    for command in ("check-schemas", "export-schemas"):
        out, _ = project.shop.here(command, "--help", code=0)
        assert f"Example: typedq {command} myapp.tasks:app" in out
