"""The vectors in `conformance/`: `python -m tests.conformance.vectors` writes them again.

The encoder and the operation that every enqueue uses make them; docs/elsewhere.md describes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tests.conformance.shop import app
from typedq.admin.bundles import of_app
from typedq.broker.keys import Keys
from typedq.broker.operations import enqueue
from typedq.bundle import dump
from typedq.encoder import MessageEncoder
from typedq.message import ID, PROTOCOL
from typedq.policy import CallOptions, check_options, encode_meta
from typedq.task import Call

ROOT = Path(__file__).parents[2] / "conformance"
PRODUCER = "00112233445566ff"
BUNDLE = of_app(app).bundle
NOW = datetime(2099, 1, 1, tzinfo=UTC)
ORDER = '{"number":7,"lines":[{"sku":"AB12","count":2}],"payment":{"type":"card","number":"4111"}}'
SCALARS = (
    '{"flag":true,"number":9223372036854775807,"ratio":1.5,"price":"19.90",'
    '"id":"0195f0a1-b2c0-7abc-8def-0123456789ab","raw":"AAH/","day":"2027-01-31",'
    '"clock":"09:30:00","at":"2027-01-31T09:30:00.000001Z","took":"PT90S"}'
)
UNICODE = (
    '{"numbers":[],"by_name":{"naïve \U0001f600":null,"a b":-0.5},"anything":{"{}":["\\"\\\\",'
    '"\\n\\u0001"]}}'
)
FULL = (
    '{"numbers":[-9223372036854775808,0],"pair":[1,"x"],"unique":["b","a"],'
    '"by_number":{"-7":"x"},"anything":[1,1.5,true,null]}'
)
Step = dict[str, Any]


def call(task: str, payload: str, id: int, **options: Any) -> Step:
    return {"task": task, "payload": payload, "id": f"{id:026x}", "options": options}


SHIP = call("ship", ORDER, 1)
# Steps of one client against an empty server, in order: calls of one request, or a resend.
GOOD: list[tuple[str, int, list[Step]]] = [
    ("one call; its contract is not known yet", 1, [SHIP]),
    ("the same again, with the schema", 1, [SHIP]),
    ("a resend: the reply was lost", 1, [SHIP]),
    ("every scalar; to the default queue", 2, [call("scalars", SCALARS, 2)]),
    ("the same again, with the schema", 2, [call("scalars", SCALARS, 2)]),
    ("text beyond ASCII and escapes", 3, [call("collections", UNICODE, 3)]),
    ("the same again, with the schema", 3, [call("collections", UNICODE, 3)]),
    ("64-bit numbers and collections", 4, [call("collections", FULL, 4)]),
    ("no arguments", 5, [call("ping", "{}", 5)]),
    ("the same again, with the schema", 5, [call("ping", "{}", 5)]),
    ("a delay", 6, [call("ping", "{}", 6, delay_ms=3_600_000)]),
    ("an ETA in the future", 7, [call("ping", "{}", 7, eta_ms=4_102_444_800_000)]),
    ("an ETA in the past, and another queue", 8, [call("ping", "{}", 8, eta_ms=1, queue="high")]),
    ("time limits", 9, [call("ping", "{}", 9, soft_timeout=2.5, hard_timeout=60.5)]),
    (
        "metadata: sorted, in ASCII, without spaces and braces",
        10,
        [call("ping", "{}", 10, meta={"tenant": "acme", "note": "é {1}"})],
    ),
    (
        "time limits and metadata",
        11,
        [call("ping", "{}", 11, soft_timeout=2.5, meta={"a": "b"})],
    ),
    (
        "several calls: those of one destination in a row are one group",
        12,
        [call("ping", "{}", 12), call("ping", "{}", 13), SHIP | {"id": f"{14:026x}"}],
    ),
    (
        "unique keys: the first is accepted",
        13,
        [
            call("ping", "{}", 15, unique="k", unique_for_ms=600_000),
            call("ping", "{}", 16, unique="k", unique_for_ms=600_000),
            call("ping", "{}", 17, unique="other", unique_for_ms=600_000),
        ],
    ),
    (
        "a resend with unique keys gives the same answer",
        13,
        [
            call("ping", "{}", 15, unique="k", unique_for_ms=600_000),
            call("ping", "{}", 16, unique="k", unique_for_ms=600_000),
            call("ping", "{}", 17, unique="other", unique_for_ms=600_000),
        ],
    ),
    (
        "messages that expire: after a while, which is an argument, and at a time",
        14,
        [
            call("ping", "{}", 18, expires_ms=60_000),
            call("ping", "{}", 19, expires_at_ms=4_070_912_400_000),
            call("ping", "{}", 20, expires_ms=90_000, delay_ms=60_000),
            call("ping", "{}", 21, expires_ms=60_000, unique="e", unique_for_ms=600_000),
        ],
    ),
]
OVER = "x" * 2_000
DEEP = "[" * 9 + "]" * 9
# name, task, payload, JSON path of what is refused
BAD_ARGUMENTS = [
    ("a text for a number", "ship", ORDER.replace("7", '"7"', 1), "$.number"),
    ("a float for an integer", "ship", ORDER.replace("7", "7.5", 1), "$.number"),
    ("an integer beyond a bound", "ship", ORDER.replace('t":2', 't":100'), "$.lines[0].count"),
    ("a pattern that does not fit", "ship", ORDER.replace("AB12", "ab12"), "$.lines[0].sku"),
    ("a text that is too short", "ship", ORDER.replace("4111", "411"), "$.payment.number"),
    (
        "an array that is too short",
        "ship",
        ORDER.replace('{"sku":"AB12","count":2}', ""),
        "$.lines",
    ),
    ("an unknown tag", "ship", ORDER.replace('"card"', '"cash"'), "$.payment.type"),
    ("a missing tag", "ship", ORDER.replace('"type":"card",', ""), "$.payment"),
    ("null where none may be", "ship", ORDER.replace("7", "null", 1), "$.number"),
    ("a missing member", "ship", "{}", "$"),
    ("no object", "ship", "[]", "$"),
    ("an unknown value of an enum", "ship", ORDER[:-1] + ',"size":"m"}', "$.size"),
    ("a datetime without a zone", "scalars", SCALARS.replace("1Z", "1"), "$.at"),
    ("a date that is none", "scalars", SCALARS.replace('01-31",', '02-30",'), "$.day"),
    ("bytes that are not base64", "scalars", SCALARS.replace("AAH/", "AA*"), "$.raw"),
    ("a UUID that is none", "scalars", SCALARS.replace("0195f", "x195f"), "$.id"),
    ("a decimal that is none", "scalars", SCALARS.replace("19.90", "19,90"), "$.price"),
    ("a duration that is none", "scalars", SCALARS.replace("PT90S", "90s"), "$.took"),
    ("another value of a literal", "scalars", SCALARS[:-1] + ',"mode":2}', "$.mode"),
    ("a tuple that is too long", "collections", '{"pair":[1,"x",2]}', "$.pair"),
    ("a key that is no number", "collections", '{"by_number":{"x":""}}', "$.by_number"),
    ("a payload that is too long", "collections", f'{{"anything":"{OVER}"}}', "$"),
    ("a payload that is too deep", "collections", f'{{"anything":{DEEP}}}', "$"),
    ("NaN", "collections", '{"anything":NaN}', "$.anything"),
    ("half a surrogate pair", "scalars", SCALARS[:-1] + ',"text":"\\ud800"}', "$.text"),
]
# name, options, the one that is refused
BAD_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("delay and ETA", {"delay_ms": 1, "eta_ms": 1}, "eta"),
    ("a negative delay", {"delay_ms": -1}, "delay"),
    ("a delay of more than 10 years", {"delay_ms": 315_360_000_001}, "delay"),
    ("a queue that the app does not have", {"queue": "hi"}, "queue"),
    ("a hard limit below the soft one", {"soft_timeout": 2.5, "hard_timeout": 1.5}, "soft_timeout"),
    ("a key of metadata in capitals", {"meta": {"A": ""}}, "meta"),
    ("metadata that is no text", {"meta": {"a": 1}}, "meta"),
    ("metadata of more than 1,024 bytes", {"meta": {"a": "é" * 512}}, "meta"),
    ("metadata with more than 16 keys", {"meta": {f"k{n}": "" for n in range(17)}}, "meta"),
    ("an expiry before the message is due", {"delay_ms": 60_000, "expires_ms": 60_000}, "expires"),
    ("an expiry after nothing", {"expires_ms": 0}, "expires"),
    ("an expiry in more than 10 years", {"expires_ms": 315_360_000_001}, "expires"),
    ("a unique key without a time", {"unique": "k"}, "unique"),
    ("an empty unique key", {"unique": "", "unique_for_ms": 1}, "unique"),
    ("a unique key of more than 256 bytes", {"unique": "é" * 129, "unique_for_ms": 1}, "unique"),
]


def options_of(task: str, given: dict[str, Any]) -> tuple[CallOptions, bytes]:
    """The options and metadata as `task.options(...)` checks them. Raises InvalidOptions."""
    options: Any = {k: v for k, v in given.items() if not k.endswith("_ms")}
    for name in ("delay_ms", "unique_for_ms", "expires_ms"):
        if name in given:
            options[name.removesuffix("_ms")] = timedelta(milliseconds=given[name])
    for name, option in (("eta_ms", "eta"), ("expires_at_ms", "expires")):
        if name in given:
            options[option] = datetime.fromtimestamp(given[name] / 1000, UTC)
    queues = [queue.name for queue in app.settings.queues]
    checked = check_options(task, options, now=NOW, queues=queues)
    return checked, encode_meta(task, options.get("meta", {}))


def good() -> Iterator[dict[str, Any]]:
    """The steps, with the messages, the script's keys and arguments, and its reply."""
    encoder, known, last = MessageEncoder(app.declarations, app.settings), set[str](), 0
    done: dict[int, list[str]] = {}
    for name, sequence, calls in GOOD:
        contracts = {app.tasks[step["task"]].contract.id for step in calls}
        published = sorted(contracts - known) if sequence == last else []
        made = [
            Call(step["task"], step["payload"].encode(), *options_of(step["task"], step["options"]))
            for step in calls
        ]
        batch = [
            msgspec.structs.replace(out, id=step["id"], message=with_id(out.message, step["id"]))
            for out, step in zip(encoder.encode(made).messages, calls, strict=True)
        ]
        schemas = {c: schema_text(c) for c in published}
        operation = enqueue(Keys("shop"), PRODUCER, sequence, batch, schemas, general=True)
        if sequence in done:
            reply = ["seen", *done[sequence]]
        elif contracts <= known | set(published):
            known |= contracts
            reply = ["accepted", *duplicates(calls)]
            done[sequence] = [text.strip() for text in reply[1:]]
        else:
            reply = ["unknown", *sorted(contracts - known)]
        last = sequence
        yield {
            "name": name,
            "sequence": sequence,
            "calls": calls,
            "schemas": published,
            "messages": [out.message.decode() for out in batch],
            "keys": list(operation.keys),
            "args": [_text(argument) for argument in operation.args],
            "reply": reply,
        }


def schema_text(contract: str) -> bytes:
    return msgspec.json.encode(BUNDLE.tasks[contract.partition("@")[0]].schema)


def duplicates(calls: list[Step]) -> list[str]:
    firsts: dict[str, str] = {}
    pairs = list[str]()
    for step in calls:
        if key := step["options"].get("unique"):
            first = firsts.setdefault(key, step["id"])
            pairs += [] if first == step["id"] else [f" {step['id']} {first}"]
    return ["".join(pairs)] if pairs else []


def with_id(message: bytes, id: str) -> bytes:
    return message[: ID.start] + id.encode() + message[ID.stop :]


def _text(argument: str | bytes | int) -> str:
    return argument.decode() if isinstance(argument, bytes) else str(argument)


def files() -> dict[str, bytes]:
    """The files of `conformance/` by name."""
    about = {"protocol": PROTOCOL, "bundle": "shop.typedq.json"}
    calls: list[tuple[Any, ...]] = [(*case[:3], {}, "arguments", case[3]) for case in BAD_ARGUMENTS]
    calls += [(name, "ping", "{}", given, "options", at) for name, given, at in BAD_OPTIONS]
    calls += [("an unknown task", "sink", "{}", {}, "task", "sink")]
    fields = ("name", "task", "payload", "options", "refused", "at")
    refused = [dict(zip(fields, each, strict=True)) for each in calls]
    return {
        "shop.typedq.json": dump(BUNDLE),
        "enqueue.json": _json(about | {"producer": PRODUCER, "steps": [*good()]}),
        "refused.json": _json(about | {"calls": refused}),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    for name, content in files().items():
        (ROOT / name).write_bytes(content)
