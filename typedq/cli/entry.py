"""Where `typedq` begins. A health check must not wait for typer, which takes 0.1 s of CPU."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Raises SystemExit with the exit code."""
    if sys.argv[1:2] == ["health"] and (given := _parse(sys.argv[2:])):
        ready, as_json, namespace, pid, app = given
        sys.exit(health(ready=ready, as_json=as_json, namespace=namespace, pid=pid, app=app))
    from typedq.cli.program import main

    main()


def health(
    *,
    ready: bool = False,
    as_json: bool = False,
    namespace: str = "",
    pid: int = 0,
    app: str = "",
) -> int:
    """Print one line, or JSON; return 0 if the workers are healthy, else 1."""
    from typedq.health import answers, check

    chosen = {"namespace": namespace or os.environ.get("TYPEDQ_NAMESPACE", ""), "app": app}
    is_healthy, line = check(ready=ready, pid=pid, **chosen)
    if as_json:
        import json

        try:
            workers = [vars(each) for each in answers(pid=pid, **chosen)]
        except OSError:  # the line says it
            workers = []
        line = json.dumps({"ok": is_healthy, "message": line, "workers": workers})
    sys.stdout.write(f"{line}\n")
    return 0 if is_healthy else 1


def _parse(words: list[str]) -> tuple[bool, bool, str, int, str] | None:
    """Return ready, json, namespace, pid and app; None for what typer explains, as --help."""
    values = {"--namespace": "", "--pid": "0", "--app": ""}
    flags, rest, app = set[str](), iter(words), ""
    for word in rest:
        name, equals, value = ("--app" if word == "-A" else word).partition("=")
        if word in ("--ready", "--json"):
            flags.add(word)
        elif name in values:
            values[name] = value if equals else next(rest, "-")
            if not values[name] or values[name].startswith("-") or values[name] == "0":
                return None
        elif word.startswith("-") or not word or app:
            return None
        else:
            app = word
    if not (values["--pid"].isdecimal() and values["--pid"].isascii()):
        return None
    if app and values["--app"]:
        return None
    ready, as_json = "--ready" in flags, "--json" in flags
    return ready, as_json, values["--namespace"], int(values["--pid"]), app or values["--app"]
