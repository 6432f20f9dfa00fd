"""One TypeScript project for all tests here, compiled once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.contracts.models.app import app as models
from tests.snippets import snippets
from tests.typescript import differential, edges, hostile
from tests.typescript.node import Project
from typedq.admin.bundles import of_app, read_file

ROOT = Path(__file__).parents[2]
CONFORMANCE = ROOT / "conformance"
CASES = differential.cases(Random(1), 60)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("typescript"))
    assert not made.add("shop", read_file(CONFORMANCE / "shop.typedq.json"))
    assert not made.add("fuzz", differential.bundle_of(CASES | edges.CASES))
    made.add("hostile", hostile.BUNDLE)
    bundle = dataclasses.replace(of_app(models).bundle, namespace=made.namespace)
    made.add("models", bundle)
    add_documentation(made)
    made.said = made.compile()
    return made


def add_documentation(project: Project) -> None:
    """Add the program of docs/elsewhere.md beside what is generated for the app of that page."""
    found = list(snippets((ROOT / "docs" / "elsewhere.md").read_text("utf-8"), ("typescript",)))
    code = next(snippets((ROOT / "docs" / "elsewhere.md").read_text("utf-8"), ("python",)))
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code.text, "shop.py", "exec", dont_inherit=True), names)
    (project.root / "docs").mkdir()
    assert not project.add("docs/shop", of_app(names["app"]).bundle)
    (project.root / "docs" / "elsewhere.ts").write_text("".join(one.text for one in found))
