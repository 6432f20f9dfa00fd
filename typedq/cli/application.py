"""Load the app of a command from `module:attr`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from typedq import telemetry
from typedq.app import TypedQ
from typedq.errors import AppNotFound, ConfigurationError, TypedQError, escape, meant

_HELP = "The app as module:attr; else TYPEDQ_APP, else app in \\[tool.typedq]."
AppArgument = Annotated[str | None, typer.Argument(metavar="APP", help=_HELP)]
AppOption = Annotated[str | None, typer.Option("-A", "--app", metavar="APP", help=_HELP)]
AppDir = Annotated[
    Path,
    typer.Option(
        "--app-dir",
        envvar="TYPEDQ_APP_DIR",
        file_okay=False,
        exists=True,
        help="Directory to import from.",
    ),
]
LogLevel = Annotated[
    str,
    typer.Option(
        "-l",
        "--log-level",
        envvar="TYPEDQ_LOG_LEVEL",
        help="debug, info, warning, error or critical.",
    ),
]
LogFormat = Annotated[
    str, typer.Option("--log-format", envvar="TYPEDQ_LOG_FORMAT", help="text or json.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HERE = Path()
_SEARCHED = "the current directory or --app-dir"


@dataclass(frozen=True)
class AppOptions:
    """Options of a command that takes its app with -A."""

    app: AppOption = None
    app_dir: AppDir = HERE

    def load(self, *, log: tuple[str, Any] | None = None) -> TypedQ:
        return load(self.app, self.app_dir, log=log)

    @property
    def path(self) -> str:
        """Return the app as module:attr, or "" if nothing names it."""
        return self.app or os.environ.get("TYPEDQ_APP") or _configured() or ""


@dataclass(frozen=True)
class AppOrArgument(AppOptions):
    """Options of a command that takes its app as an argument or with -A."""

    argument: AppArgument = None

    def load(self, *, log: tuple[str, Any] | None = None) -> TypedQ:
        return load(self.app, self.app_dir, self.argument, log=log)

    @property
    def path(self) -> str:
        return self.argument or super().path


def load(
    app: str | None,
    app_dir: Path,
    argument: str | None = None,
    *,
    log: tuple[str, Any] | None = None,
) -> TypedQ:
    """Return the app with its tasks imported. `log` is (level, format).

    Raises AppNotFound (with a cause, if the app's own code raised it), ConfigurationError.
    """
    if argument and app and argument != app:
        raise typer.BadParameter(
            f"{argument!r} and {app!r}: give only one of them", param_hint="APP"
        )
    telemetry.configure(*log or ("info", "text"))
    path = argument or app or os.environ.get("TYPEDQ_APP") or _configured()
    if not path:
        expected = "give module:attr with -A, in TYPEDQ_APP, or as app in [tool.typedq]"
        raise ConfigurationError([f"app: missing; {expected}"])
    sys.path.insert(0, str(app_dir.resolve()))
    found = _find(path)
    try:
        found.load()
    except AppNotFound as error:
        if not _is_absent(error.__cause__, error.path):
            raise
        raise AppNotFound(error.path, "imports= lists it, but there is no such module") from None
    telemetry.restore()  # the modules of the app may have configured logging
    found.declarations.app_path = argument or app or ""
    return found


def no_queue(name: str, known: Sequence[str]) -> str:
    """Return the error for a queue that the app does not have."""
    return f"no queue named {name!r}{meant(name, known)}; this app has: {', '.join(known)}"


def show_trace(error: BaseException) -> None:
    """Print a traceback on stderr, without the frames of typedq above the app's code."""
    trace, ours = error.__traceback__, (str(Path(__file__).parents[1]), "<frozen importlib")
    while trace and trace.tb_frame.f_code.co_filename.startswith((*ours, importlib.__file__)):
        trace = trace.tb_next
    for text in traceback.format_exception(type(error), error, trace):
        sys.stderr.write("".join(f"{escape(line)}\n" for line in text.splitlines()))


def _configured() -> str | None:
    from typedq.configuration import project_table  # with pydantic

    # Problems of pyproject.toml are reported when settings are resolved.
    app = project_table([])[1].get("app")
    return app if isinstance(app, str) else None


def _find(path: str) -> TypedQ:
    module, colon, names = path.partition(":")
    if not (module and colon and names):
        raise AppNotFound(path, "write it as module:attr, such as myapp.tasks:app")
    if module.endswith(".py") or not all(map(str.isidentifier, module.split("."))):
        raise AppNotFound(path, "that is a file, not a module: myapp/tasks.py is myapp.tasks")
    found: object = _import(path, module)
    for name in names.split("."):
        if not hasattr(found, name):
            raise AppNotFound(path, f"{module} has no {name!r}{meant(name, dir(found))}")
        found = getattr(found, name)
    return found if isinstance(found, TypedQ) else _call_factory(found, path)


def _import(path: str, module: str) -> object:
    try:
        return importlib.import_module(module)
    except TypedQError:
        raise
    except Exception as error:
        if _is_absent(error, module):
            raise AppNotFound(
                path, f"{error}; it is neither installed nor in {_SEARCHED}"
            ) from None
        raise AppNotFound(path, f"importing it raised {type(error).__name__}") from error


def _is_absent(error: BaseException | None, module: str) -> bool:
    """Return True if the module itself is missing, and not one that it imports."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    return bool(absent) and f"{module}.".startswith(f"{absent}.")


def _call_factory(found: object, path: str) -> TypedQ:
    """Call a factory function. Other callables, such as a task, are refused."""
    if not inspect.isroutine(found):
        kind = type(found).__name__
        raise AppNotFound(path, f"it is a {kind}, not a TypedQ or a function that returns one")
    try:
        inspect.signature(found).bind()
    except TypeError:
        raise AppNotFound(path, "this function takes arguments; an app factory has none") from None
    try:
        made = found()
    except TypedQError:
        raise
    except Exception as error:
        raise AppNotFound(path, f"calling it raised {type(error).__name__}") from error
    if not isinstance(made, TypedQ):
        raise AppNotFound(path, f"this function returned a {type(made).__name__}, not a TypedQ")
    return made
