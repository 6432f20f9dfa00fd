"""Now, workers and doctor: what `typedq info` and `typedq doctor` show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.responses import Response

from typedq import registry
from typedq.admin.commands import with_app
from typedq.admin.doctor import check_waiting, examine
from typedq.admin.overview import alive
from typedq.admin.readers import LiveReaders
from typedq.broker.server_checks import Finding
from typedq.dashboard.view import View
from typedq.errors import ServerRefused

# Where each finding is looked into.
_PLACES = {
    "cron": ("/cron", "Cron entries"),
    "contracts": ("/matrix", "Which worker reads what"),
    "dead letters": ("/dead", "Dead letters"),
    "oldest": ("/workers", "Workers and their queues"),
    "registry": ("/contracts", "Contracts"),
    "sessions": ("/workers", "Workers"),
    "workers": ("/workers", "Workers"),
}
_ORDER = {"problem": 0, "warning": 1, "ok": 2}


def now(view: View) -> Response:
    """Show the queues, and what is wrong with them."""
    facts = view.facts
    seen = facts.seen
    living = alive(seen)
    found = sorted(findings(view, seen), key=lambda finding: _ORDER[finding.level])
    served = Counter(name for worker in living for name in worker["queues"])
    return view.render(
        "now.html",
        live=True,
        seen=seen,
        rates=facts.rates,
        alive=len(living),
        served=served,
        findings=[finding for finding in found if finding.level != "ok"],
        places=_PLACES,
        changed=view.one_of(queue["name"] for queue in seen["queues"]),
    )


def findings(view: View, seen: Mapping[str, Any]) -> Sequence[Finding]:
    """Return what `typedq doctor` says about workers, queues and contracts."""
    app = view.site.app
    found = check_waiting(seen)
    return [each._replace(fix=with_app(app, each.fix)) for each in found]


def reading(view: View, seen: Mapping[str, Any]) -> LiveReaders:
    """Return what the live workers read."""
    workers = {
        w["name"]: registry.Worker(reads=w["reads"], format=w["format"], queues=w["queues"])
        for w in alive(seen)
    }
    return LiveReaders(workers, view.facts.contracts.readers)


def workers(view: View) -> Response:
    """Show the workers, and how many of them read each contract."""
    seen = view.facts.seen
    living = alive(seen)
    reads = Counter(contract for worker in living for contract in set(worker["reads"]))
    asked = view.query("q")
    rows = [
        {"task": contract.partition("@")[0], "contract": contract, "workers": count}
        for contract, count in sorted(reads.items())
        if asked in contract
    ]
    return view.render(
        "workers.html",
        live=True,
        seen=seen,
        workers=view.page(seen["workers"]) if not asked else view.page(seen["workers"], 1 << 30),
        alive=len(living),
        reads=view.page(rows),
        q=asked,
    )


def doctor(view: View) -> Response:
    """Show the findings of `typedq doctor`, problems first."""
    seen = None
    with suppress(ServerRefused):  # then one of the checks says what is refused, others why
        seen = view.facts.seen
    found = sorted(examine(view.site.app, seen), key=lambda f: _ORDER[f.level])
    return view.render("doctor.html", findings=found, places=_PLACES)
