"""`typedq generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from typedq.cli.console import plural, print_line, print_note
from typedq.errors import CannotGenerate

BundleFile = Annotated[Path, Argument(metavar="BUNDLE", help="A file that `typedq bundle` wrote.")]
Directory = Annotated[
    Path,
    Option(
        "-o", "--output", metavar="DIR", file_okay=False, help="Directory of the package to write."
    ),
]
AllowJson = Annotated[
    bool,
    Option(
        "--allow-json",
        help="For a task whose types Python cannot express, make a sender that takes JSON.",
    ),
]
AllowUnchecked = Annotated[
    bool,
    Option(
        "--allow-unchecked",
        help="Leave what TypeScript cannot check, such as an e-mail address, to the worker.",
    ),
]


def python(bundle: BundleFile, *, output: Directory, allow_json: AllowJson = False) -> None:
    """Write a Python package with the types and senders of a bundle.

    The command then imports the package and derives each contract again; one that differs from the
    bundle is an error. typedq.lock.json in the package pins the contracts that it writes.
    """
    from typedq.admin.bundles import read_file
    from typedq.bundle import PINS_FILE
    from typedq.generate.package import check_directory, check_name, pins, write
    from typedq.generate.python.proof import checked_source, prove

    check_name(output)
    known = read_file(bundle)
    check_directory(output, known, "__init__.py")
    text, problems = checked_source(known, allow_json=allow_json)
    if not text:
        print_note("--allow-json makes senders that take JSON for these tasks")
        raise CannotGenerate("Python", [(e.task, e.path, e.reason) for e in problems])
    for error in problems:
        print_note(f"{error}; its sender takes JSON")
    write(output, {"__init__.py": text.encode(), "py.typed": b"", PINS_FILE: pins(known)})
    prove((output / "__init__.py").read_text(encoding="utf-8"), known)
    print_line(f"{output}: {plural(len(known.tasks), 'task')} of {known.namespace}")


def typescript(
    bundle: BundleFile, *, output: Directory, allow_unchecked: AllowUnchecked = False
) -> None:
    """Write types, checks and a client for a producer in TypeScript.

    The package has no dependencies: its client uses your ioredis or node-redis connection.
    typedq.lock.json in the package pins the contracts that it writes.
    """
    from typedq.admin.bundles import read_file
    from typedq.bundle import PINS_FILE
    from typedq.generate.package import check_directory, pins, write
    from typedq.generate.typescript import typescript as generated

    known = read_file(bundle)
    check_directory(output, known, "contracts.ts")
    files, problems = generated(known)
    if problems and not allow_unchecked:
        print_note("--allow-unchecked leaves these checks to the worker")
        raise CannotGenerate("TypeScript", problems)
    for task, path, reason in problems:
        print_note(f"{task}: {path}: {reason}; only the worker checks it")
    write(output, files | {PINS_FILE: pins(known)})
    print_line(f"{output}: {plural(len(known.tasks), 'task')} of {known.namespace}")
