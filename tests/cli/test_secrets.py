"""Commands mask what is declared secret, and show it only with --show-secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from typedq.message import decode_message

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

CANARY = "hunter2-c4n4ry"
APP = """
import os
from typing import Annotated
import msgspec
from pydantic import AfterValidator, BaseModel
from typedq import Call, Queue, Secret, TypedQ

app = TypedQ(os.environ["SHOP"], queues=[Queue("high"), Queue("low")])

class Login(msgspec.Struct):
    user: str
    password: Annotated[str, Secret]
    tokens: list[Annotated[str, Secret]] = []

def refuse(key):
    raise ValueError(f"no such key: {key}")

class Keyed(BaseModel):
    key: Annotated[str, Secret, AfterValidator(refuse)]

class Old(msgspec.Struct):
    user: str
    key: Annotated[str, Secret]

@app.task
def log_in(args: Login) -> None:
    password = args.password
    raise RuntimeError(f"{args.user} cannot log in")

@app.task
def unlock(args: Keyed) -> None: ...

@app.task
def pin(code: Annotated[int, Secret], *, name: str = "x") -> None: ...

@app.task
def upcasted(number: int) -> None: ...

@upcasted.upcast
def _(old: Old) -> Call:
    raise KeyError(old.key)
"""


@pytest.fixture
def vault(shop: Shop) -> Shop:
    shop.file("vault.py", APP)
    shop.env["TYPEDQ_APP"] = "vault:app"
    return shop


LOGIN = json.dumps({"user": "ada", "password": CANARY, "tokens": [CANARY, CANARY]})
MASKED = '{"user":"ada","password":"***","tokens":["***","***"]}'


def test_peek_masks_secrets_unless_asked(vault: Shop) -> None:
    vault.out("enqueue", "log_in", "-", stdin=LOGIN)
    for words in (["peek", "low", "--payload"], ["peek", "low", "--payload", "--json"]):
        text = vault.out(*words)
        assert CANARY not in text
        assert "***" in text
    assert vault.json("peek", "low", "--payload")[0]["payload"] == MASKED
    assert json.loads(vault.json("peek", "low", "--show-secrets")[0]["payload"]) == json.loads(
        LOGIN
    )
    (message,) = vault.json("peek", "low")
    assert "payload" not in message
    assert vault.json("show", message["id"], "--payload")["arguments"] == json.loads(MASKED)
    assert vault.json("show", message["id"], "--show-secrets")["arguments"] == json.loads(LOGIN)


def test_a_dead_letter_hides_them_in_payload_traceback_and_log(vault: Shop) -> None:
    vault.out("enqueue", "log_in", "-", stdin=LOGIN)
    done = vault.run("worker", "-b", "-c", "1", "-l", "debug")
    assert "ada cannot log in" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    (facts,) = vault.json("dead", "list")
    shown = vault.out("dead", "show", facts["id"], "--payload")
    assert MASKED in shown
    assert "ada cannot log in" in shown
    for words in (["dead", "list"], ["dead", "show", facts["id"]], ["info", "--json"]):
        assert CANARY not in vault.out(*words)
    assert CANARY in vault.out("dead", "show", facts["id"], "--show-secrets")


def test_bodies_that_their_contract_refuses_are_hidden_with_the_reason(vault: Shop) -> None:
    for task, body in (
        ("unlock", {"key": CANARY}),
        ("log_in", {"user": {"password": CANARY}, "password": CANARY}),
        ("log_in", {"user": "ada", "passwort": CANARY}),
        ("log_in", [CANARY]),
        ("pin", {"code": CANARY}),
    ):
        send(vault, task, json.dumps(body).encode())
    done = vault.run("worker", "-b", "-c", "1", "-l", "debug", "--log-format", "json")
    dead = vault.json("dead", "list")
    assert [facts["kind"] for facts in dead] == ["invalid_body"] * 5
    assert CANARY not in done.stderr + json.dumps(dead)
    for facts in dead:
        shown = vault.out("dead", "show", facts["id"], "--payload")
        assert CANARY not in shown
        assert "***" in shown
    assert "Expected `int`, got `str` - at $.code" in json.dumps(dead)


def test_an_upcaster_that_fails_quotes_no_secret(vault: Shop) -> None:
    from typing import Annotated, Any

    import msgspec

    from typedq import Secret, TypedQ

    app = TypedQ(vault.namespace, url=vault.env["TYPEDQ_URL"], queues=["high", "low"])
    old: Any = msgspec.defstruct("Old", [("user", str), ("key", Annotated[str, Secret])])

    def upcasted(args: Any) -> None: ...

    upcasted.__annotations__["args"] = old
    task: Any = app.task(upcasted)
    task.enqueue(old("ada", CANARY))
    app.close()
    done = vault.run("worker", "-b", "-c", "1")
    (facts,) = vault.json("dead", "list")
    assert facts["kind"] == "invalid_body"
    assert CANARY not in done.stderr + json.dumps(facts)
    assert vault.json("dead", "show", facts["id"], "--payload")["payload"] == (
        '{"user":"ada","key":"***"}'
    )


def test_an_unknown_contract_is_hidden_whole_and_shown_if_asked(vault: Shop) -> None:
    send(vault, "nobody", b'{"any":"' + CANARY.encode() + b'"}', contract="nobody@0123456789abcdef")
    vault.run("worker", "-b", "-c", "1")
    (facts,) = vault.json("parked", "show", "--payload")
    assert facts["payload"] == "***"
    assert CANARY in vault.out("parked", "show", "--show-secrets")


def test_enqueue_refuses_without_quoting_the_value(vault: Shop) -> None:
    for task, body in (("pin", {"code": CANARY}), ("unlock", {"key": CANARY})):
        message = vault.run("enqueue", task, "-", stdin=json.dumps(body), code=2).stderr
        assert CANARY not in message
        assert f"at $.{next(iter(body))}" in message


def test_marking_a_secret_is_no_change_of_the_contract(vault: Shop) -> None:
    vault.file("vault.py", APP.replace("Annotated[str, Secret]", "str"))
    vault.out("export-schemas")
    before = [task["fingerprint"] for task in vault.json("tasks")]
    vault.file("vault.py", APP)
    checked = json.loads(vault.out("check-schemas", "--format", "json"))
    assert {each["status"] for each in checked["tasks"]} == {"unchanged"}
    assert [task["fingerprint"] for task in vault.json("tasks")] == before


def send(shop: Shop, task: str, body: bytes, *, contract: str = "") -> None:
    """Enqueue bytes past every check."""
    from typedq import TypedQ
    from typedq.broker import Destination, OutgoingMessage
    from typedq.message import encode_message, new_ids

    known = {t["name"]: t["fingerprint"] for t in shop.json("tasks")}
    contract = contract or f"{task}@{known[task]}"
    (id,) = new_ids(1)
    message = encode_message(id=id, contract=contract, queue="low", options=b"-", body=body)
    assert CANARY not in repr(decode_message(message))
    app = TypedQ(shop.namespace, url=shop.env["TYPEDQ_URL"])
    app.broker.enqueue([OutgoingMessage(id, Destination("low", contract), message)], lambda _: b"1")
    app.close()
