"""The module of a bundle's types, checks and tasks, and the folder around it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Final

from typedq.broker.script import script
from typedq.bundle import Bundle, BundledTask
from typedq.contracts import fingerprint
from typedq.contracts.dialect import (
    ANNOTATIONS,
    DEFINITIONS,
    ROOT_ANNOTATIONS,
    Document,
    Schema,
    Unsupported,
)
from typedq.contracts.json_tree import is_object
from typedq.errors import CannotGenerate
from typedq.generate.typescript.names import Names, comment, literal, member, pascal
from typedq.generate.typescript.parts import Rendered, about
from typedq.generate.typescript.rendering import Renderer

_MARK: Final = b"// Written by `typedq generate typescript`; make it again instead of editing it."
_RUNTIME = Path(__file__).parent / "runtime"
_CONTRACTS = """\
import * as t from "./typed.js";

"""
INDEX = """\
import { bundle } from "./contracts.js";
import type { Queue, Tasks } from "./contracts.js";
import { Client } from "./client.js";
import type { Server } from "./client.js";

/** Return a client. `deadline`: seconds for which an enqueue is tried; 10 if not given. */
export function connect(server: Server, options: { deadline?: number } = {}): Client<Tasks, Queue> {
  return new Client<Tasks, Queue>(bundle, server, options);
}

export { bundle };
export * from "./contracts.js";
export { ioredis, nodeRedis } from "./client.js";
export type { Call, Client, Receipt, Server } from "./client.js";
export type { Options } from "./requests.js";
export { EnqueueUncertain, InvalidOptions, ServerRefused, ServerUnavailable } from "./errors.js";
export {
  InvalidArguments, awareDateTime, awareTime, bytes, calendarDate, decimal, duration, hexBytes,
  naiveDateTime, naiveTime, urlBytes, uuid,
} from "./values.js";
export type {
  AwareDateTime, AwareTime, Bytes, CalendarDate, DateTime, Decimal, Duration, HexBytes, Int, Json,
  NaiveDateTime, NaiveTime, Time, UrlBytes, Uuid,
} from "./values.js";
export { toJson } from "./checks.js";
"""
Problem = tuple[str, str, str]  # task, path, reason


def typescript(bundle: Bundle) -> tuple[dict[str, bytes], list[Problem]]:
    """Return the files of a folder by name, and what of the contracts only a worker checks.

    Raises CannotGenerate for a schema that is not understood.
    """
    module = _Module(bundle)
    tasks = "".join(module.task(task) for _, task in sorted(bundle.tasks.items()))
    queues = " | ".join(map(literal, bundle.queues))
    facts = (
        f"  namespace: {literal(bundle.namespace)},\n"
        f"  queues: {literal(list(bundle.queues))},\n"
        f"  maxBody: {bundle.max_body},\n"
        f"  maxDepth: {bundle.max_depth},\n"
    )
    contracts = (
        f"{_CONTRACTS}{''.join(module.written)}"
        f"/** The payload of each task. */\nexport interface Tasks {{\n"
        f"{''.join(module.payloads)}}}\n\n"
        f"export type Queue = {queues};\n\n"
        f"export const bundle: t.Bundle = {{\n{facts}  tasks: new Map([\n{tasks}  ]),\n}};\n"
    )
    enqueue = script("enqueue")
    lua = f"export const ENQUEUE_SHA = {literal(enqueue.sha)};\n"
    lua += f"export const ENQUEUE = {literal(enqueue.source)};\n"
    texts = {path.name: path.read_text("utf-8") for path in sorted(_RUNTIME.glob("*.ts"))}
    texts |= {"contracts.ts": contracts, "script.ts": lua, "index.ts": INDEX}
    files = {name: b"%b\n\n%b" % (_MARK, text.encode()) for name, text in sorted(texts.items())}
    return files, module.problems


class _Module:
    """Collects the definitions of all tasks; equal ones of one name are written once."""

    def __init__(self, bundle: Bundle) -> None:
        self.written, self.payloads = list[str](), list[str]()
        self.problems: list[Problem] = []
        self._names = Names(title for task in bundle.tasks.values() for title in _titles(task))
        self._known: dict[tuple[str, str], str] = {}  # wanted name, fingerprint -> name

    def task(self, task: BundledTask) -> str:
        """Write the types of a task; return its entry in the bundle."""
        try:
            document = Document(task.schema)
        except Unsupported as error:
            raise CannotGenerate("TypeScript", [(task.name, "$", str(error))]) from None
        _refuse_endless(task, document)
        names, fresh = dict[str, str](), list[tuple[str, Schema, str]]()
        own = pascal(task.name)

        def define(pointer: str, schema: Schema, path: str, title: str) -> None:
            key = title or f"parameters of {own}", self._digest(task, schema)
            if key not in self._known:
                wanted = (title, f"{own}{title}") if title else (own, f"{own}Parameters")
                self._known[key] = self._names.give(*wanted, is_owners=bool(title))
                fresh.append((self._known[key], schema, path or self._known[key]))
            names.setdefault(pointer, self._known[key])

        for pointer, schema in document.definitions.items():
            if pointer:
                define(pointer, schema, "", _title(schema) or pointer.rpartition("/")[2])
        if only := _only_ref(task.schema):
            names[""] = names[document.pointer(only)]
        else:
            define("", task.schema, "$", _payload_title(task))
        renderer = Renderer(
            lambda ref: names[document.pointer(ref)],
            document.target,
            lambda path, reason: self.problems.append((task.name, path, reason)),
        )
        self.written += [_definition(name, s, renderer.render(s, path)) for name, s, path in fresh]
        self.payloads.append(f"  readonly {member(task.name)}: {names['']};\n")
        schema = {key: value for key, value in task.schema.items() if key != "x-typedq"}
        text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False)
        fields = f"id: {literal(task.contract)}, queue: {literal(task.queue)}, payload: {names['']}"
        return f"    [{literal(task.name)}, {{ {fields}, schema: {literal(text)} }}],\n"

    def _digest(self, task: BundledTask, schema: Schema) -> str:
        try:
            return fingerprint({**schema, "$defs": task.schema.get("$defs", {})})
        except (TypeError, ValueError):  # a boolean, or references to other places
            return f"{task.name} {json.dumps(schema)}"


def _title(schema: Schema) -> str:
    title = schema.get("title") if is_object(schema) else None
    return title if isinstance(title, str) else ""


def _payload_title(task: BundledTask) -> str:
    """Return the name of the class that is the payload; nothing if parameters are."""
    return "" if "x-typedq-payload" in task.schema else _title(task.schema)


def _titles(task: BundledTask) -> list[str]:
    definitions: Any = task.schema.get("$defs", {})
    found = [_title(schema) or name for name, schema in definitions.items()]
    return [*found, title] if (title := _payload_title(task)) else found


def _refuse_endless(task: BundledTask, document: Document) -> None:
    """Refuse a definition that is nothing but itself, which TypeScript cannot declare."""
    leads_to = {
        pointer: {document.pointer(ref) for ref in _alone(schema)}
        for pointer, schema in document.definitions.items()
    }
    try:
        TopologicalSorter(leads_to).prepare()
    except CycleError as error:
        why = "it refers to itself, and not as a member or an element"
        raise CannotGenerate("TypeScript", [(task.name, f"#{error.args[1][0]}", why)]) from None


def _alone(schema: Schema) -> Iterator[str]:
    """Yield the references that a schema is, or is a union of."""
    if is_object(schema):
        yield from [schema["$ref"]] if "$ref" in schema else []
        for part in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
            yield from _alone(part)


def _only_ref(schema: dict[str, Any]) -> str | None:
    beside = schema.keys() - ANNOTATIONS - DEFINITIONS - ROOT_ANNOTATIONS
    return schema["$ref"] if beside == {"$ref"} else None


def _definition(name: str, schema: Schema, made: Rendered) -> str:
    if made.members:
        kind = f"export interface {name} {{\n{made.members}}}\n"
    else:
        kind = f"export type {name} = {made.type};\n"
    check = f"export const {name}: t.Contract<{name}> = t.contract({made.check});\n\n"
    return f"{comment(about(schema))}{kind}{check}"
