"""Prove a generated package: import it, and compare its contracts with those of the bundle."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType

from typedq.bundle import Bundle, BundledTask, secret_paths
from typedq.compat import compare
from typedq.contracts import Contract
from typedq.generate.python.module import derived, source
from typedq.generate.python.names import Inexpressible

_NAME = "_typedq_generated"


def checked_source(bundle: Bundle, *, allow_json: bool = False) -> tuple[str, list[Inexpressible]]:
    """Return the source of a package, and the tasks that have no types.

    With `allow_json`, their senders take JSON; else nothing may be written.
    """
    problems = list[Inexpressible]()
    for name, task in bundle.tasks.items():
        alone = replace(bundle, tasks={name: task})
        try:
            prove(source(alone), alone)
        except Inexpressible as error:
            problems.append(error)
    if problems and not allow_json:
        return "", problems
    text = source(bundle, {error.task for error in problems})
    prove(text, bundle)
    return text, problems


def prove(text: str, bundle: Bundle) -> None:
    """Import a package and derive each contract again. Raises Inexpressible."""
    with _imported(text, next(iter(bundle.tasks))) as module:
        contracts = derived(vars(module))
    for name, task in bundle.tasks.items():
        _compare(task, contracts[name])


def _compare(task: BundledTask, made: Contract) -> None:
    if made.id != task.contract:
        changes = compare(task.schema, made.schema).changes
        path, why = next(((c.path, c.message) for c in changes), ("$", "a keyword is lost"))
        raise Inexpressible(task.name, path, f"no Python type says the same: {why}")
    if secret_paths(made.schema) != secret_paths(task.schema):
        raise Inexpressible(task.name, "$", "its secret parts would not be secret")


@contextmanager
def _imported(text: str, task: str) -> Generator[ModuleType]:
    module = sys.modules[_NAME] = ModuleType(_NAME)
    try:
        exec(compile(text, f"<{_NAME}>", "exec"), vars(module))  # noqa: S102 - inert: names.py
        yield module
    except Inexpressible:
        raise
    except Exception as error:
        reason = f"no Python type says the same: {error}"
        raise Inexpressible(getattr(error, "task", task), "$", reason) from error
    finally:
        del sys.modules[_NAME]
