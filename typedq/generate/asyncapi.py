"""The AsyncAPI 3.1 document of a bundle: its queues, messages, payload schemas and headers."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from typedq.bundle import Bundle, BundledTask, dump, secret_paths
from typedq.contracts.json_tree import is_array, is_object

VERSION = "3.1.0"
_JSON_SCHEMA = "application/schema+json;version=draft-2020-12"


def asyncapi(bundle: Bundle) -> dict[str, Any]:
    """Return the document; the same for the same bundle. Workers are the application: they receive.

    Its version is made of a hash of the bundle.
    """
    tasks = bundle.tasks.values()
    channels = {
        queue: {
            "address": queue,
            "description": f"Queue {place} of {len(bundle.queues)}; the first is served first.",
            "messages": {t.name: _ref("components", "messages", t.name) for t in tasks},
        }
        for place, queue in enumerate(bundle.queues, 1)
    }
    return {
        "asyncapi": VERSION,
        "id": f"urn:typedq:{bundle.namespace}",
        "info": {
            "title": bundle.namespace,
            "version": sha256(dump(bundle)).hexdigest()[:12],
            "description": f"Tasks of the typedq namespace {bundle.namespace}.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {task.name: _operation(task) for task in tasks},
        "components": {"messages": {task.name: _message(task, bundle) for task in tasks}},
        "x-typedq-protocol": bundle.protocol,
    }


def _operation(task: BundledTask) -> dict[str, Any]:
    return {
        "action": "receive",
        "summary": f"A worker runs {task.name}. Messages go to {task.queue} unless a call says so.",
        "channel": _ref("channels", task.queue),
        "messages": [_ref("channels", task.queue, "messages", task.name)],
    }


def _message(task: BundledTask, bundle: Bundle) -> dict[str, Any]:
    schema = {key: value for key, value in task.schema.items() if key != "$schema"}
    base = f"#/components/messages/{task.name}/payload/schema"
    return {
        "name": task.name,
        "title": task.name,
        "contentType": "application/json",
        "headers": _headers(task, bundle),
        "payload": {"schemaFormat": _JSON_SCHEMA, "schema": _moved(schema, base)},
        "x-typedq-contract": task.contract,
        "x-typedq-secrets": secret_paths(task.schema),
    }


def _headers(task: BundledTask, bundle: Bundle) -> dict[str, Any]:
    """Return the fields of the header of a message: docs/protocol.md."""
    text, limit = {"type": "string"}, {"type": "number", "exclusiveMinimum": 0}
    return {
        "type": "object",
        "required": ["id", "contract", "queue"],
        "properties": {
            "id": {**text, "pattern": "^[0-9a-f]{26}$"},
            "contract": {**text, "const": task.contract},
            "queue": {**text, "enum": list(bundle.queues), "default": task.queue},
            "due": {"type": "integer", "description": "ms since the epoch; 0 for at once"},
            "attempts": {"type": "integer", "minimum": 0},
            "soft": {**limit, "description": "soft timeout in seconds"},
            "hard": {**limit, "description": "hard timeout in seconds"},
            "m": {
                "type": "object",
                "description": "metadata",
                "additionalProperties": text,
                "maxProperties": 16,
            },
        },
    }


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _moved(value: Any, base: str) -> Any:
    """Return a schema whose references lead into the document that it becomes a part of."""
    if is_array(value):
        return [_moved(item, base) for item in value]
    if not is_object(value):
        return value
    return {
        key: base + part[1:]
        if key == "$ref" and isinstance(part, str) and part.startswith("#")
        else _moved(part, base)
        for key, part in value.items()
    }
