"""One TypeScript project for all tests here, compiled once."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from random import Random

import pytest

from tests.contracts.models.app import app as models
from tests.typescript import differential, hostile
from tests.typescript.node import Project
from typedq.admin.bundles import of_app, read_file

CONFORMANCE = Path(__file__).parents[2] / "conformance"
CASES = differential.cases(Random(1), 60)


@pytest.fixture(scope="session")
def namespace_of_models() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, namespace_of_models: str) -> Project:
    made = Project(tmp_path_factory.mktemp("typescript"))
    assert not made.add("shop", read_file(CONFORMANCE / "shop.typedq.json"))
    assert not made.add("fuzz", differential.bundle_of(CASES))
    made.add("hostile", hostile.BUNDLE)
    bundle = dataclasses.replace(of_app(models).bundle, namespace=namespace_of_models)
    made.add("models", bundle)
    made.said = made.compile()
    return made
