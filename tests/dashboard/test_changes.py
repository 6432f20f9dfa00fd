"""Changes: what each does, that it is logged with who, and who may not."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from starlette.testclient import TestClient

from tests.dashboard.conftest import HOSTILE, SAME, Order, Shop
from tests.dashboard.test_pages import shown
from typedq import Secret, TypedQ
from typedq.admin.overview import overview
from typedq.admin.queues import QueueAdmin
from typedq.broker import Keys
from typedq.broker.acl import required_commands
from typedq.dashboard import asgi
from typedq.dashboard.form import NotJson, fields, payload

if TYPE_CHECKING:
    from typedq.embedded import OwnServer

ACTS: list[tuple[str, dict[str, str]]] = [
    ("/queues/low/pause", {}),
    ("/queues/low/resume", {}),
    ("/cron/run", {"name": "thumbs"}),
    ("/cron/pause", {"name": "thumbs"}),
    ("/cron/resume", {"name": "thumbs"}),
    ("/dead/change", {"act": "retry"}),
    ("/dead/change", {"act": "drop"}),
    ("/parked/change", {"act": "retry", "queue": "high", "contract": "x@1"}),
    ("/parked/change", {"act": "drop", "queue": "high", "contract": "x@1"}),
    ("/message/cancel", {"id": "0" * 26}),
    ("/enqueue", {"task": "report", "$.name": "x", "do": "enqueue"}),
]


def counts(shop: Shop) -> tuple[int, int, int]:
    """Ready, parked and dead."""
    seen = overview(shop.app)
    ready = sum(queue["ready"] for queue in seen["queues"])
    return ready, sum(group["messages"] for group in seen["parked"]), seen["dead"]


def send(site: TestClient, page: Any) -> Any:
    """Press the button of a page that asks for confirmation."""
    assert page.status_code == 200, page.text
    action = re.search(r'<form class="bar" method="post" action="([^"]+)"', page.text)
    assert action, page.text
    import html

    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    data = {name: html.unescape(value) for name, value in found}
    return site.post(action[1], data=data, headers=SAME)


@pytest.mark.parametrize(("path", "data"), ACTS)
def test_nothing_changes_without_write(shop: Shop, path: str, data: dict[str, str]) -> None:
    shop.fill()
    before = counts(shop)
    answer = shop.site().post(path, data=data, headers=SAME)
    assert answer.status_code == 403
    assert "Start it with --write" in answer.text
    assert counts(shop) == before
    for page in ("/", "/dead", "/parked"):
        assert "Pause" not in (text := shop.site().get(page).text)
        assert "/confirm" not in text


@pytest.mark.parametrize(("path", "data"), ACTS)
@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://a"}])
def test_nothing_changes_for_another_site(
    shop: Shop, path: str, data: dict[str, str], headers: dict[str, str]
) -> None:
    shop.bury("x")
    before = counts(shop)
    assert shop.site(write=True).post(path, data=data, headers=headers).status_code == 403
    assert (
        shop.site(write=True, token="x" * 16).post(path, data=data, headers=SAME).status_code == 401
    )
    assert counts(shop) == before


def test_pause_and_resume_are_done_and_logged(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    site = shop.site(write=True, user_header="X-User")
    with caplog.at_level(logging.WARNING, "typedq"):
        headers = {**SAME, "X-User": "ada\nforged"}
        answer = site.post("/queues/low/pause", headers={**headers, "X-User": "ada"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?act=pause&done=1&of=low")
    page = shown(site.get("/?act=pause&done=1&of=low"))
    assert "Paused: low" in page
    assert "low paused" in page
    (record,) = caplog.records
    told = vars(record)["typedq"]
    assert record.message == "dashboard: queue paused"
    assert told == {"by": "ada", "address": "testclient", "queue": "low", "changed": "True"}
    site.post("/queues/low/resume", headers=SAME)
    assert "low paused" not in shown(site.get("/"))
    assert site.post("/queues/nope/pause", headers=SAME).status_code == 404


def test_a_cron_entry_is_run_paused_and_resumed(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.worker("web-1")
    site, entry = shop.site(write=True, user_header="X-User"), {"name": "thumbs"}
    headers = {**SAME, "X-User": "ada"}
    assert "Run now" not in shop.site().get("/cron").text
    with caplog.at_level(logging.WARNING, "typedq"):
        sent = site.post("/cron/run", data=entry, headers=headers)
        paused = site.post("/cron/pause", data=entry, headers=headers)
    (raw,) = map(str, shop.client.lrange(shop.app.broker.keys.ready("low"), 0, -1))
    told = [vars(record)["typedq"] for record in caplog.records]
    id = told[0].pop("id")
    assert id in raw
    who = {"by": "ada", "address": "testclient", "cron": "thumbs"}
    assert told == [who | {"queue": "low"}, who | {"changed": "True"}]
    assert [record.message for record in caplog.records] == [
        "dashboard: cron entry run",
        "dashboard: cron entry paused",
    ]
    assert sent.headers["location"] == f"/cron?act=run&done=1&of=thumbs&sent={id}"
    page = site.get(sent.headers["location"])
    assert "Enqueued: thumbs" in shown(page)
    assert f'href="/message?id={id}"' in page.text
    assert paused.headers["location"] == "/cron?act=pause&done=1&of=thumbs"
    # A paused entry has no next slot.
    row = (
        r"thumbs paused since [\d-]+ [\d:]+ UTC resize \S+ \* \* \* \* Europe/Berlin - - - 1 worker"
    )
    assert re.search(row, shown(page))
    assert "thumbs is paused since" in shown(site.get("/"))
    again = site.post("/cron/pause", data=entry, headers=headers).headers["location"]
    assert "Paused already: thumbs" in shown(site.get(again))
    forged = {"act": "pause", "done": "1", "of": "all of them"}
    for path in ("/", "/cron"):
        assert "all of them" not in site.get(path, params=forged).text
    assert site.post("/cron/resume", data=entry, headers=headers).status_code == 303
    assert "thumbs resize" in (text := shown(site.get("/cron")))
    assert "1 worker" in text
    for act in ("run", "pause", "resume"):
        answer = site.post(f"/cron/{act}", data={"name": HOSTILE}, headers=SAME)
        assert answer.status_code == 404
        assert "thumbs" in answer.text
    assert shop.client.hlen(shop.app.broker.keys.cron_paused) == 1


def test_names_that_workers_report_are_only_text(shop: Shop) -> None:
    shop.worker("web-1")
    keys = shop.app.broker.keys
    about = json.loads(str(shop.client.hget(keys.workers, "web-1"), "utf-8"))  # type: ignore[arg-type]
    about["cron"][HOSTILE] = [HOSTILE, HOSTILE, HOSTILE]
    shop.client.hset(keys.workers, "web-1", json.dumps(about))
    site = shop.site(write=True)
    page = site.get("/cron")
    assert "<script>alert" not in page.text
    answer = site.post("/cron/pause", data={"name": HOSTILE}, headers=SAME)
    assert answer.status_code == 303
    assert site.get("/cron").text.count(">paused<") == 1


def test_a_group_of_dead_letters_is_retried_after_a_preview(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.fill()
    shop.worker("web-4", queues=["low"])
    ready, _, dead = counts(shop)
    site = shop.site(write=True)
    query = {"act": "retry", "task": "report", "error": "ConnectionError: no route to host"}
    page = site.get("/dead/confirm", params=query)
    text = shown(page)
    assert "Retry 3 messages?" in text
    assert "✓ 1 of 4 workers" in text
    assert "typedq dead retry --task report" in text
    assert counts(shop) == (ready, 37, dead)
    with caplog.at_level(logging.WARNING, "typedq"):
        answer = send(site, page)
    assert answer.headers["location"] == "/dead?act=retry&done=3"
    assert "Retried: 3" in shown(site.get(answer.headers["location"]))
    assert counts(shop) == (ready + 3, 37, dead - 3)
    assert vars(caplog.records[-1])["typedq"]["count"] == 3


def test_what_died_after_the_preview_is_left(shop: Shop) -> None:
    shop.bury("x")
    site = shop.site(write=True)
    page = site.get("/dead/confirm", params={"act": "drop", "task": "report"})
    assert "deleted for good" in page.text
    shop.bury("y", count=2)
    send(site, page)
    assert counts(shop)[2] == 2


def test_one_and_all_dead_letters(shop: Shop) -> None:
    id, *_ = shop.bury(HOSTILE, HOSTILE, count=3)
    site = shop.site(write=True)
    send(site, site.get("/dead/confirm", params={"act": "drop", "id": id}))
    assert counts(shop)[2] == 2
    page = site.get("/dead/confirm", params={"act": "retry"})
    assert "Retry 2 messages?" in page.text
    send(site, page)
    assert counts(shop) == (2, 0, 0)
    assert site.get("/dead/confirm", params={"act": "drop"}).status_code == 404
    assert site.get("/dead/confirm", params={"act": "explode"}).status_code == 400


def test_parked_messages_are_released_or_dropped(shop: Shop) -> None:
    shop.fill()
    ready, _, _ = counts(shop)
    site = shop.site(write=True)
    query = {"act": "retry", "queue": "high", "contract": shop.old_contract}
    page = site.get("/parked/confirm", params=query)
    assert "Retry 37 messages?" in page.text
    assert "✕ nobody" in page.text
    send(site, page)
    assert counts(shop)[:2] == (ready + 37, 0)
    assert site.get("/parked/confirm", params=query).status_code == 404
    assert site.get("/parked/confirm", params={"act": "drop"}).status_code == 400


@pytest.fixture
def user(server: OwnServer, shop: Shop) -> Iterator[Any]:
    """Make apps whose connection is that of a user with a role."""
    made = list[tuple[TypedQ, str]]()

    def make(role: Any, without: str = "") -> TestClient:
        name = f"u{shop.namespace}{len(made)}"
        words = required_commands(Keys(shop.namespace), role, "low")
        commands = {word[0].lower() for word in words} | {"select", "eval", "client"}
        commands -= {without}
        shop.client.acl_setuser(
            name,
            enabled=True,
            passwords=["+p"],
            commands=[f"+{command}" for command in sorted(commands)],
            keys=[f"{{{shop.namespace}}}:*"],
        )
        app = TypedQ(
            shop.namespace,
            url=server.url,
            queues=["high", "default", "low"],
            credentials=lambda: (name, "p"),
        )

        @app.task(queue="low")
        def report(name: str) -> None: ...

        made.append((app, name))
        return TestClient(asgi(app, write=True), follow_redirects=False)

    yield make
    for app, name in made:
        app.close()
        shop.client.acl_deluser(name)


def test_a_user_that_lacks_one_command_changes_nothing(shop: Shop, user: Any) -> None:
    shop.fill()
    before = counts(shop)
    for (path, data), without in zip(
        ACTS[5:], ("zrem", "hdel", "rpush", "lpop", "lrem", "rpush"), strict=True
    ):
        answer = user("admin", without).post(path, data=data, headers=SAME)
        assert answer.status_code == 403, (path, answer.text)
        assert f"may not run {without.upper()}" in answer.text
    assert counts(shop) == before


def test_a_user_without_hset_pauses_no_cron_entry(shop: Shop, user: Any) -> None:
    answer = user("admin", "hset").post("/cron/pause", data={"name": "thumbs"}, headers=SAME)
    assert answer.status_code == 403
    assert "may not run HSET" in answer.text


def test_a_producer_user_is_refused_by_the_server(shop: Shop, user: Any) -> None:
    shop.bury("x")
    site = user("producer")
    for path, data in ACTS[5:7]:
        answer = site.post(path, data=data, headers=SAME)
        assert answer.status_code == 403
        assert "The server refused this" in answer.text
    assert counts(shop)[2] == 1


def test_an_admin_user_may(shop: Shop, user: Any) -> None:
    shop.bury("x")
    site = user("admin")
    assert site.post("/queues/low/pause", headers=SAME).status_code == 303
    assert site.post("/dead/change", data={"act": "drop"}, headers=SAME).status_code == 303
    assert counts(shop)[2] == 0


def test_one_message_is_found_and_cancelled(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    id = shop.ship.enqueue(Order(number=1, customer="s3cr3t")).id
    shop.worker("web-1")
    site = shop.site(write=True)
    page = shown(site.get("/message", params={"id": f" {id} "}))
    assert "It is ready, and waits for a worker that serves high." in page
    assert "✓ 1 of 1 worker" in page
    assert "s3cr3t" not in page
    whole = shown(site.get("/message", params={"id": id, "payload": "1"}))
    assert '"customer": "s3cr3t"' in whole
    assert '"title": "Order"' in whole
    with caplog.at_level(logging.WARNING, "typedq"):
        answer = site.post("/message/cancel", data={"id": id}, headers=SAME)
    assert answer.headers["location"] == f"/message?id={id}&outcome=dropped"
    page = shown(site.get(answer.headers["location"]))
    assert "Cancelled: it waited, is gone, and will never run." in page
    assert "Not found" in page
    assert counts(shop)[0] == 0
    assert vars(caplog.records[-1])["typedq"]["outcome"] == "dropped"


def test_messages_in_other_states_and_ids_that_are_none(shop: Shop) -> None:
    (id,) = shop.bury(HOSTILE)
    site = shop.site()
    page = site.get("/message", params={"id": id})
    assert "It is dead: it failed for good." in page.text
    assert f'href="/dead/{id}"' in page.text
    wrong = site.get("/message", params={"id": HOSTILE})
    assert wrong.status_code == 400
    assert "a message id has 26 hexadecimal digits" in wrong.text
    assert "looks at more" not in wrong.text
    late = shop.report.options(delay=3600, meta={"tenant": "acme"}).enqueue("weekly")
    told = shown(site.get("/message", params={"id": late.id}))
    assert f"It is delayed until {late.due:%Y-%m-%d}" in told
    assert "meta tenant=acme" in told
    assert "<script>alert" not in wrong.text


def test_a_ready_message_says_why_it_does_not_run(shop: Shop) -> None:
    id, site = shop.report.enqueue("weekly").id, shop.site()
    shop.worker("web-1")
    page = shown(site.get("/message", params={"id": id}))
    unserved = "No live worker can take it: no worker that reads it serves the queue low."
    assert f"It is ready, but will not run now. {unserved}" in page
    QueueAdmin(shop.app, "low").pause()
    page = shown(site.get("/message", params={"id": id}))
    assert f"will not run now. Its queue low is paused. {unserved}" in page
    assert "Do: typedq resume low" in page
    shop.worker("web-2", queues=["low"])
    page = shown(site.get("/message", params={"id": id}))
    assert "will not run now. Its queue low is paused." in page
    assert "No live worker" not in page


# --- enqueue ------------------------------------------------------------------------------------


def test_a_message_is_enqueued_by_its_form(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    site = shop.site(write=True)
    assert 'href="/enqueue?task=ship"' in site.get("/enqueue").text
    page = site.get("/enqueue?task=ship").text
    for label in ("number", "customer", "note", "priority"):
        assert f'for="f-$.{label}"' in page
    data = {"task": "ship", "$.number": "12345678901234567", "$.customer": "a'b", "do": "check"}
    checked = shown(site.post("/enqueue", data=data, headers=SAME))
    assert "These arguments are valid." in checked
    assert "typedq enqueue ship" in checked
    assert counts(shop)[0] == 0
    with caplog.at_level(logging.WARNING, "typedq"):
        more = {"do": "enqueue", "queue": "low"}
        sent = shown(site.post("/enqueue", data=data | more, headers=SAME))
    assert "Enqueued:" in sent
    assert "--queue low" in sent
    assert "dashboard: message enqueued" in caplog.text
    (message,) = map(str, shop.client.lrange(shop.app.broker.keys.ready("low"), 0, -1))
    assert '{"number":12345678901234567,' in message


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({"$.number": "x", "$.customer": "a"}, "$.number", "expected JSON"),
        ({"$.number": "1.5", "$.customer": "a"}, "$.number", "Expected `int`, got `float`"),
        ({"$.customer": "a"}, "$.number", "missing required field"),
        ({"$.number": "1", "$.customer": "a", "delay": "soon"}, "delay", "expected a duration"),
        ({"$.number": "1", "$.customer": "a", "queue": "nope"}, "queue", "nope"),
    ],
)
def test_an_error_is_shown_at_its_field(
    shop: Shop, data: dict[str, str], path: str, reason: str
) -> None:
    site = shop.site(write=True)
    given = {"task": "ship", "do": "enqueue", **data}
    answer = site.post("/enqueue", data=given, headers=SAME)
    assert answer.status_code == 400
    found = re.search(rf'<p class="error" id="e-{re.escape(path)}">(.*?)</p>', answer.text)
    assert found, answer.text
    assert reason in found[1]
    assert f'aria-describedby="e-{path}"' in answer.text
    assert counts(shop)[0] == 0
    wrong = site.post("/enqueue", data={**given, "json": "{"}, headers=SAME)
    assert wrong.status_code == 400
    assert "nothing was sent" in wrong.text


class Part(msgspec.Struct):
    """Of a payload."""

    kind: str
    size: int | None = None


def test_secrets_are_typed_unseen_and_put_into_no_command(shop: Shop) -> None:
    @shop.app.task
    def log_in(user: str, *, password: Annotated[str, Secret], pin: Annotated[int, Secret]) -> None:
        """Has secrets."""

    site = shop.site()
    page = site.get("/enqueue?task=log_in").text
    assert page.count('type="password"') == 2
    data = {"task": "log_in", "$.user": "ada", "$.password": "hunter2", "$.pin": "1234"}
    page = shown(site.post("/enqueue", data=data, headers=SAME))
    assert "These arguments are valid. As a command: typedq enqueue log_in - It reads" in page
    assert "hunter2" not in page


def test_a_form_covers_every_kind_of_schema() -> None:
    def task(
        *,
        text: str,
        many: list[str],
        parts: list[Part],
        part: Part,
        either: int | str | None,
        flag: bool = False,
        ratio: float = 0.5,
    ) -> None: ...

    from typedq import TypedQ as App

    contract = App("forms", queues=["a"]).task(task).contract
    form = fields(contract.schema)
    kinds = {part.label: part.kind for part in form.parts}
    assert kinds == {
        "text": "text",
        "many": "lines",
        "parts": "json",
        "part": "group",
        "either": "union",
        "flag": "choice",
        "ratio": "number",
    }
    given = {
        "$.text": "",
        "$.many": "a\r\n\r\nb",
        "$.parts": '[{"kind": "x"}]',
        "$.part.kind": "y",
        "$.part.size?": "JSON",
        "$.part.size": "3",
        "$.either?": "null",
        "$.flag": "true",
        "$.ratio": "1.10",
    }
    body = msgspec.json.encode(payload(form, given))
    args, kwargs = contract.decode(body, 1 << 20, 64)
    values = [*args, *kwargs.values()]
    assert values == ["", ["a", "", "b"], [Part("x")], Part("y", 3), None, True, 1.1]
    assert b"1.10" in body
    with pytest.raises(NotJson, match="expected JSON"):
        payload(form, given | {"$.ratio": "NaN"})
