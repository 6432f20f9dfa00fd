"""`typedq bundle` and `typedq asyncapi`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from typedq.cli.application import AppOrArgument
from typedq.cli.console import plural, print_line, print_note
from typedq.errors import ConfigurationError

Output = Annotated[
    Path | None,
    Option("-o", "--output", dir_okay=False, metavar="FILE", help="Write to this file.",
           show_default="stdout"),
]  # fmt: skip
Source = Annotated[
    str | None,
    Option(
        "--from",
        metavar="PLACE",
        help="Take the contracts from a directory such as schemas/, git:REF, or the URL of a"
        " server, instead of the code.",
    ),
]
Namespace = Annotated[
    str | None,
    Option(
        metavar="NAME", help="Namespace of the app, if the place of --from names none or several."
    ),
]
BundleFile = Annotated[
    Path | None,
    Option("--bundle", dir_okay=False, metavar="FILE", help="Take a bundle instead of the code."),
]


def bundle(
    app: AppOrArgument,
    *,
    output: Output = None,
    source: Source = None,
    namespace: Namespace = None,
) -> None:
    """Write contracts, queues and limits of an app, for producers in other repositories.

    The file holds no code, no URL and no password. The same app gives the same bytes, so it can be
    committed, published and compared.
    """
    if source is not None and (app.argument or app.app):
        raise BadParameter("--from takes the place of the app; give only one", param_hint="--from")
    if source is None and namespace is not None:
        raise BadParameter("the app has one; this is for --from", param_hint="--namespace")
    loaded = app.load() if source is None else None
    from typedq.admin.bundles import of_app, of_place
    from typedq.bundle import dump

    made = of_app(loaded) if loaded else of_place(str(source), namespace)
    for note in made.notes:
        print_note(note)
    said = f"{plural(len(made.bundle.tasks), 'task')} of {made.bundle.namespace}"
    _write(dump(made.bundle), output, said)


def asyncapi(app: AppOrArgument, *, output: Output = None, source: BundleFile = None) -> None:
    """Write an AsyncAPI 3.1 document of the queues, messages, payloads and headers of an app."""
    if source is not None and (app.argument or app.app):
        raise BadParameter("--bundle takes the place of the app", param_hint="--bundle")
    loaded = app.load() if source is None else None
    from typedq.admin.bundles import of_app, read_file
    from typedq.generate.asyncapi import asyncapi as document

    made = of_app(loaded).bundle if loaded else read_file(source or Path())
    text = json.dumps(document(made), indent=2, ensure_ascii=False) + "\n"
    _write(text.encode(), output, f"{plural(len(made.tasks), 'message')} of {made.namespace}")


def _write(data: bytes, output: Path | None, said: str) -> None:
    """Write a file and say so, or write to stdout. Raises ConfigurationError."""
    if output is None:
        sys.stdout.buffer.write(data)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(data)
    except OSError as error:
        raise ConfigurationError([f"{output} cannot be written: {error.strerror}"]) from None
    print_line(f"{output}: {said}")
