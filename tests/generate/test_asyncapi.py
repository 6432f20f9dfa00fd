"""`typedq asyncapi`: valid under the official schema, and complete."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.conformance.vectors import BUNDLE, GOOD
from typedq.generate.asyncapi import asyncapi

DOCUMENT = asyncapi(BUNDLE)
SPECS = "@asyncapi/specs@6.11.1"


def resolved(ref: str) -> Any:
    """What a reference of the document leads to."""
    found: Any = DOCUMENT
    for step in ref.removeprefix("#/").split("/"):
        found = found[step]
    return found


def refs(value: Any) -> list[str]:
    if isinstance(value, list):
        return [ref for item in value for ref in refs(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return [*own, *(ref for item in value.values() for ref in refs(item))]


def test_every_reference_leads_somewhere_in_the_document() -> None:
    found = refs(DOCUMENT)
    assert len(found) > 20
    assert all(resolved(ref) for ref in found)


def test_queues_messages_and_contracts_are_those_of_the_bundle() -> None:
    assert [*DOCUMENT["channels"]] == list(BUNDLE.queues)
    messages = DOCUMENT["components"]["messages"]
    assert messages.keys() == BUNDLE.tasks.keys()
    for name, task in BUNDLE.tasks.items():
        assert DOCUMENT["operations"][name]["channel"] == {"$ref": f"#/channels/{task.queue}"}
        assert messages[name]["x-typedq-contract"] == task.contract
        assert messages[name]["headers"]["properties"]["contract"]["const"] == task.contract
    assert asyncapi(BUNDLE) == DOCUMENT
    assert "redis" not in json.dumps(DOCUMENT)


@pytest.mark.parametrize("call", [step for _, _, calls in GOOD for step in calls[:1]])
def test_the_payload_schemas_accept_what_is_sent(call: Any) -> None:
    payload = DOCUMENT["components"]["messages"][call["task"]]["payload"]["schema"]
    whole = {**DOCUMENT, "$ref": f"#/components/messages/{call['task']}/payload/schema"}
    assert payload["type"] == "object"
    jsonschema.Draft202012Validator(whole).validate(json.loads(call["payload"]))


@pytest.mark.slow
def test_the_document_is_valid_under_the_official_schema(tmp_path: Path) -> None:
    if not (npm := shutil.which("npm")):
        pytest.skip("npm, which has the official schema, is not installed")
    done = subprocess.run(
        [npm, "pack", "--silent", SPECS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"npm cannot fetch the official schema: {done.stderr[-200:]}")
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as packed:
        file = packed.extractfile("package/schemas/3.1.0-without-$id.json")
        assert file is not None
        schema = json.load(file)
    validator = jsonschema.Draft7Validator(schema)
    assert not [error.message for error in validator.iter_errors(DOCUMENT)]
    assert list(validator.iter_errors({**DOCUMENT, "channels": []}))
