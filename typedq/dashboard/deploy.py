"""Deploy: is a next version safe for what runs and waits now, and what goes first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath

from starlette.datastructures import UploadFile
from starlette.responses import Response

from typedq import registry
from typedq.admin import deploy as admin
from typedq.admin.schemas import locate
from typedq.dashboard.poll import Comparing
from typedq.dashboard.view import Rejected, View
from typedq.errors import ConfigurationError

_MOST = 200  # tasks that are shown; those that need care come first
_COMPARE_S = 0.1  # for one page, before it says that it is comparing


def deploy(view: View) -> Response:
    """Show a form, or the plan for a directory or for uploaded files."""
    directory, _ = locate(view.site.schemas)
    path, uploaded = view.query("path"), view.request.method == "POST"
    if not uploaded and "path" not in view.request.query_params:
        return view.render("deploy.html", plans=None, chosen="", directory=str(directory))
    files = _uploaded(view) if uploaded else _files(directory, path)
    try:
        histories = _parsed(tuple(files.items()), "the upload" if uploaded else path or "schemas")
    except ConfigurationError as error:
        raise Rejected(400, "These contracts cannot be read", str(error)) from None
    if not histories:
        text = "There are no files such as send_email/1.json: give the directory schemas/ itself."
        raise Rejected(400, "No contracts", text)
    facts, app = view.facts, view.site.app
    try:
        plans = admin.plan(
            admin.next_tasks(app, histories),
            facts.seen,
            admin.known_schemas(app, histories, facts.contracts.schemas),
            memory=view.site.memory,
            within_s=None if uploaded else _COMPARE_S,  # a browser sends no upload again
        )
    except admin.Unfinished as error:
        raise Comparing(error.done) from None
    order = registry.common_order(plan.order for plan in plans)
    unreadable, held = sum(p.unreadable for p in plans), sum(p.held for p in plans)
    return view.render(
        "deploy.html",
        plans=plans[:_MOST],
        left_out=len(plans[_MOST:]),
        unreadable=unreadable,
        held=held,
        breaks=any(plan.order == "none" for plan in plans),
        # An upload, or a directory of other contracts, has a next version that is not this code.
        not_exported=[] if uploaded or path else admin.not_exported(app, histories),
        warned=sum(bool(plan.warnings) for plan in plans),
        order=order,
        chosen=path,
        uploaded=uploaded,
        directory=str(directory),
        time=facts.seen["time"],
    )


@lru_cache(2)  # hundreds of files take longer than the rest of the page
def _parsed(files: tuple[tuple[str, bytes], ...], where: str) -> dict[str, registry.History]:
    return registry.parse(dict(files), where)


def _files(directory: Path, path: str) -> Mapping[str, bytes]:
    """Return the files of a directory below the configured one, which no path may leave."""
    base = directory.resolve()
    chosen = (base / path).resolve() if "\0" not in path else base.parent
    if not chosen.is_relative_to(base):
        text = f"Only directories below {directory} can be read; upload the files of others."
        raise Rejected(403, "Outside of the contracts", text)
    if not chosen.is_dir():
        text = f"There is no directory {Path(directory, path)} where this dashboard runs."
        text += " Write it with typedq export-schemas, or upload yours."
        raise Rejected(404, "No such directory", text)
    found = sorted(chosen.glob("*/*.json"))
    inside = [file for file in found if file.resolve().is_relative_to(base)]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in inside}


def _uploaded(view: View) -> Mapping[str, bytes]:
    """Return uploaded files by task and name, whatever directories are above."""
    files: dict[str, bytes] = {}
    for _, file in view.form.multi_items():
        if isinstance(file, UploadFile) and file.filename:
            place = PurePosixPath(file.filename.replace("\\", "/"))
            if place.suffix == ".json" and place.parent.name:
                files[f"{place.parent.name}/{place.name}"] = file.file.read()
    return files
