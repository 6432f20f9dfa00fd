"""The pytest plugin: `app.testing()` as a fixture, and a real server for the run.

Every pytest run where typedq is installed imports this file, so its imports are light.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from typedq.app import TypedQ
from typedq.errors import AppNotFound

if TYPE_CHECKING:
    from typedq.embedded import OwnServer
    from typedq.testing.queue import TestQueue


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option."""
    parser.addini("typedq_app", "the app under test as module:attr, for typedq_outbox", default="")


@pytest.fixture
def typedq_app(pytestconfig: pytest.Config) -> TypedQ:
    """Return the app that the ini option `typedq_app` names, or override this fixture.

    Raises AppNotFound.
    """
    path = str(pytestconfig.getini("typedq_app"))
    module, _, name = path.partition(":")
    if not (module and name):
        ways = "set typedq_app = module:attr in pytest's configuration, or a fixture of that name"
        raise AppNotFound(path, f"typedq_outbox needs to know the app; {ways}")
    found: object = getattr(import_module(module), name, None)
    if not isinstance(found, TypedQ):
        way = "where a function makes it, write a fixture typedq_app that calls it"
        raise AppNotFound(path, f"{module} has no TypedQ of that name; {way}")
    return found


@pytest.fixture
def typedq_outbox(typedq_app: TypedQ) -> Generator[TestQueue]:
    """Turn `app.testing()` on for one test."""
    with typedq_app.testing() as outbox:
        yield outbox


@pytest.fixture(scope="session")
def typedq_server() -> Generator[OwnServer]:
    """Start a real server, private and empty, for the whole run; TYPEDQ_URL has its URL.

    Needs the `embedded` extra, or a binary in TYPEDQ_TEST_SERVER. Raises ConfigurationError.
    """
    from typedq.embedded import OwnServer

    with OwnServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TYPEDQ_URL", server.url)
        patch.delenv("TYPEDQ_URL_FILE", raising=False)
        yield server
