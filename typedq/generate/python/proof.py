"""Verify a generated package: import it, and compare its contracts with those of the bundle."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import ModuleType

from typedq.bundle import Bundle, BundledTask, secret_paths
from typedq.compat import compare
from typedq.contracts import Contract
from typedq.contracts.type_tree import NoSchema
from typedq.errors import ConfigurationError
from typedq.generate.python.module import Form, derived, source
from typedq.generate.python.names import Inexpressible

_NAME = "_typedq_generated"


def checked_source(bundle: Bundle, *, allow_json: bool = False) -> tuple[str, list[Inexpressible]]:
    """Return the source of a package, and the tasks that have no types.

    With `allow_json`, their senders take JSON; else nothing may be written.
    """
    with suppress(Inexpressible):  # most bundles need no more
        prove(text := source(bundle), bundle)
        return text, []
    problems, forms = list[Inexpressible](), dict[str, Form]()
    for name, task in bundle.tasks.items():
        form, problem = _form_of(replace(bundle, tasks={name: task}))
        forms[name] = form
        problems += [] if problem is None else [problem]
    if problems and not allow_json:
        return "", problems
    text = source(bundle, forms)
    prove(text, bundle)
    return text, problems


def _form_of(bundle: Bundle) -> tuple[Form, Inexpressible | None]:
    """Return how to type the only task of a bundle, and why it can only take JSON."""
    problem = None
    forms: tuple[Form, ...] = ("exact", "narrower")
    for form in forms:
        try:
            prove(source(bundle, dict.fromkeys(bundle.tasks, form)), bundle)
        except Inexpressible as error:
            # The narrower form names the path that still has no type; else the exact form does.
            problem = error if problem is None or error.path != "$" else problem
        else:
            return form, None
    return "json", problem


def prove(text: str, bundle: Bundle) -> None:
    """Import a package and derive each contract again. Raises Inexpressible.

    The import itself compares types that are narrower than a contract with it.
    """
    with _imported(text, next(iter(bundle.tasks))) as module:
        contracts = derived(vars(module))
    for name, task in bundle.tasks.items():
        _compare(task, contracts[name])


def _compare(task: BundledTask, made: Contract) -> None:
    if made.id != task.contract:
        changes = compare(task.schema, made.schema).changes
        path, why = next(((c.path, c.message) for c in changes), ("$", "a keyword is lost"))
        raise Inexpressible(task.name, path, f"no Python type says the same: {why}")
    if not set(secret_paths(task.schema)) <= set(secret_paths(made.schema)):
        raise Inexpressible(task.name, "$", "its secret parts would not be secret")


@contextmanager
def _imported(text: str, task: str) -> Generator[ModuleType]:
    module = sys.modules[_NAME] = ModuleType(_NAME)
    try:
        exec(compile(text, f"<{_NAME}>", "exec"), vars(module))  # noqa: S102 - inert: names.py
        yield module
    except (Inexpressible, ConfigurationError):
        raise
    except Exception as error:
        cause = error.__cause__
        path, why = (cause.path, cause.reason) if isinstance(cause, NoSchema) else ("$", error)
        reason = f"no Python type says the same: {why}"
        raise Inexpressible(getattr(error, "task", task), path, reason) from error
    finally:
        del sys.modules[_NAME]
