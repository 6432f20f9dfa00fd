"""`typedq generate`: code for producers elsewhere, made of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from typedq.cli.console import print_line, print_note

BundleFile = Annotated[
    Path,
    Argument(metavar="BUNDLE", dir_okay=False, help="The file that `typedq bundle` wrote."),
]
Folder = Annotated[
    Path,
    Option("-o", "--output", file_okay=False, metavar="DIR", help="Write to this directory."),
]
AllowUnchecked = Annotated[
    bool,
    Option(
        "--allow-unchecked",
        help="Leave what TypeScript cannot check, such as an e-mail address, to the worker.",
    ),
]


def typescript(
    bundle: BundleFile, *, output: Folder, allow_unchecked: AllowUnchecked = False
) -> None:
    """Write types, checks and a client for a producer in TypeScript.

    The directory needs nothing else: the client uses yours of ioredis or node-redis. Nothing in a
    bundle becomes code.
    """
    from typedq.admin.bundles import read_file
    from typedq.generate.typescript import MARK
    from typedq.generate.typescript import typescript as generated

    made = read_file(bundle)
    files, notes = generated(made, allow_unchecked=allow_unchecked)
    for name in files:
        path = output / name
        if name.endswith(".ts") and path.exists() and not path.read_bytes().startswith(MARK):
            raise BadParameter(
                f"{path} is not a file that this command wrote; give another directory",
                param_hint="--output",
            )
    output.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (output / name).write_bytes(data)
    for note in notes:
        print_note(f"checked by the worker only: {note}")
    count = len(made.tasks)
    print_line(f"{output}: {count} task{'s' * (count > 1)} of {made.namespace}")
