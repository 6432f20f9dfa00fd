"""`check-schemas --pins` and `--producer`: contracts between repositories, without a server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Shop

OWNER = """
import msgspec
from typedq import TypedQ

app = TypedQ("shop")

class Order(msgspec.Struct, kw_only=True):
    number: int
    {0}

@app.task(name="{1}", aliases={2})
def ship(order: Order) -> None: ...
"""


def owner(shop: Shop, field: str, name: str = "ship", aliases: str = "[]") -> None:
    shop.file("owner.py", OWNER.format(field, name, aliases))


def git(folder: Path, *words: str) -> None:
    ident = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *ident, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def pinned(shop: Shop) -> Shop:
    """An owner with committed contracts, and a consumer in `billing/`."""
    owner(shop, 'note: str = ""')
    shop.out("export-schemas", "owner:app")
    shop.out("bundle", "owner:app", "-o", "shop.typedq.json")
    shop.out("generate", "python", "shop.typedq.json", "-o", "billing/shop_tasks")
    return shop


LOCK = "billing/shop_tasks/typedq.lock.json"
PINS = ("check-schemas", "owner:app", "--pins")


@pytest.mark.parametrize("at", ["billing", "billing/shop_tasks", LOCK])
def test_a_pin_that_is_read_passes(pinned: Shop, at: str) -> None:
    assert f"of {LOCK}: equal" in pinned.out(*PINS, at)
    owner(pinned, 'note: str = ""\n    more: int = 0')
    pinned.out("export-schemas", "owner:app")
    said = pinned.out(*PINS, at)
    assert f"of {LOCK}: compatible" in said
    assert "producers elsewhere are read" in said


def test_a_pin_that_a_change_breaks_is_named_with_its_field(pinned: Shop) -> None:
    owner(pinned, "priority: int")
    said = pinned.out(*PINS, "billing", code=1)
    assert f"of {LOCK}: not read any more" in said
    assert "FIELD_ADDED_REQUIRED at $.priority: messages written before" in said
    assert "NOT safe: a producer elsewhere is not read" in said
    github = pinned.out(*PINS, "billing", "--format", "github", code=1)
    assert f"::error::{LOCK}: FIELD_ADDED_REQUIRED at $.priority" in github
    assert "(ship@" in github
    assert "; fix: give it a default" in github
    text = pinned.out(*PINS, "billing", "--format", "json", code=1)
    assert '"by": "billing/shop_tasks/typedq.lock.json"' in text
    assert '"safe": false' in text


def test_a_pin_of_a_task_that_is_gone_is_named_and_an_alias_reads_it(pinned: Shop) -> None:
    owner(pinned, 'note: str = ""', "send")
    said = pinned.out(*PINS, LOCK, code=1)
    assert "TASK_REMOVED at $: the workers have no task of that name, and park" in said
    owner(pinned, 'note: str = ""', "send", '["ship"]')
    pinned.out("export-schemas", "owner:app")
    assert f"of {LOCK}: equal" in pinned.out(*PINS, LOCK)


def test_pins_are_read_at_git_refs_of_this_and_other_repositories(pinned: Shop) -> None:
    for folder, what in ((pinned.directory / "billing", "."), (pinned.directory, "owner.py")):
        git(folder, "init", "-q", "-b", "main")
        git(folder, "add", what)
        git(folder, "commit", "-qm", "a")
    said = pinned.out(*PINS, "git:billing#main", "--pins", "git:billing#main:shop_tasks")
    assert said.count("of git:billing#main:shop_tasks/typedq.lock.json: equal") == 2
    assert "there is no typedq.lock.json in git:main" in pinned.error(*PINS, "git:main")
    assert "git does not know 'nowhere'" in pinned.error(*PINS, "git:nowhere")
    assert "git does not know '--help'" in pinned.error(*PINS, "git:--help")
    assert "there is no directory gone, and git does not" in pinned.error(*PINS, "git:gone#main")
    assert "give the place of a typedq.lock.json" in pinned.error(*PINS, "")
    for url in ("git:https://git.example/billing#main", "git:git@git.example:billing"):
        assert "is not on this machine; check that repository out" in pinned.error(*PINS, url)


def test_pins_without_the_code_use_the_committed_contracts(pinned: Shop) -> None:
    mail = "from typedq import TypedQ\napp = TypedQ('mail')\n@app.task\ndef send() -> None: ...\n"
    pinned.file("mail.py", mail)
    pinned.out("bundle", "mail:app", "-o", "mail.typedq.json")
    pinned.out("generate", "typescript", "mail.typedq.json", "-o", "billing/mail")
    pinned.file("owner.py", "")
    check = ("check-schemas", "--no-app", "--pins", "billing")
    said = pinned.out(*check)
    assert "equal" in said
    assert "mail" not in said  # whose contracts are elsewhere
    accepted = [{"rule": "TASK_REMOVED", "path": "$", "from": 1, "reason": "drained"}]
    pinned.file("schemas/ship/accepted.json", json.dumps(accepted))
    assert f"of {LOCK}: not read any more\n  TASK_REMOVED" in pinned.out(*check, code=1)


def test_pins_of_another_namespace_and_edited_ones_are_refused(pinned: Shop) -> None:
    owner(pinned, "")
    text = (pinned.directory / "owner.py").read_text().replace('"shop"', '"mail"')
    pinned.file("owner.py", text.replace("    \n", ""))
    assert "billing pins contracts of shop, and not of mail" in pinned.error(*PINS, "billing")
    lock = pinned.directory / LOCK
    lock.write_text(lock.read_text().replace('"note"', '"nota"'))
    assert "it was edited" in pinned.error(*PINS, LOCK)
    assert "there is no typedq.lock.json in nowhere" in pinned.error(*PINS, "nowhere")


def test_a_producer_is_checked_against_what_workers_read(pinned: Shop) -> None:
    check = ("check-schemas", "--producer", "shop_tasks:app", "--app-dir", "billing", "--against")
    for place in ("shop.typedq.json", "schemas"):
        assert "of this code: equal" in pinned.out(*check, place)
    owner(pinned, 'note: str = ""\n    more: int = 0')  # a smaller stub is fine
    pinned.out("bundle", "owner:app", "-o", "new.typedq.json")
    assert "of this code: compatible" in pinned.out(*check, "new.typedq.json")
    owner(pinned, "note: int")
    pinned.out("bundle", "owner:app", "-o", "new.typedq.json")
    said = pinned.out(*check, "new.typedq.json", code=1)
    assert "TYPE_CHANGED at $.note" in said
    assert "has no remote tasks" in pinned.error(
        "check-schemas", "owner:app", "--producer", "--against", "schemas"
    )
    assert "--producer takes --against" in pinned.error(*check[:-1])


def test_a_producer_is_checked_against_another_repository(pinned: Shop) -> None:
    pinned.file("billing/main", "no bundle, although it has the name of the branch")
    git(pinned.directory, "init", "-q", "-b", "main")
    git(pinned.directory, "add", ".")
    git(pinned.directory, "commit", "-qm", "a")
    check = ("check-schemas", "--producer", "shop_tasks:app", "--app-dir", "billing", "--against")
    for place in ("git:main", "git:.#main", "git:.#main:shop.typedq.json"):
        assert "of this code: equal" in pinned.out(*check, place)
    assert "there is no file git:main:gone; of con" in pinned.error(*check, "git:main:gone")
    assert "git:main:billing/main: it is not JSON" in pinned.error(*check, "git:main:billing/main")
    assert "--against: there is no directory nowhere" in pinned.error(*check, "nowhere")
