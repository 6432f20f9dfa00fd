"""What each page answers, over HTTP, on a real server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.dashboard.conftest import HOSTILE, SAME, Order, Shop, history
from typedq import Queue, TypedQ
from typedq.broker import stats
from typedq.dashboard.poll import Poll
from typedq.dashboard.view import PAGES
from typedq.errors import escape

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from typedq.embedded import OwnServer

UNREAD = (
    'FIELD_ADDED_REQUIRED at $.number: these messages have no "number"; the worker refuses them'
)


def shown(answer: Any) -> str:
    """The text of a page, as a person reads it."""
    import html

    assert answer.status_code == 200, answer.text
    text = re.sub(r"<(script|style|head)\b.*?</\1>|<wbr>", "", answer.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_now_names_what_is_wrong_and_where_to_look(shop: Shop) -> None:
    shop.fill()
    site = shop.site()
    page = shown(site.get("/"))
    assert f"37 message(s) of {shop.old_contract}: no live worker can read them" in page
    assert "in low, which no live worker serves" in page
    assert "typedq worker -Q low" in page
    assert "dead letters 5" in page
    assert "high 12" in page
    assert 'href="/matrix"' in site.get("/").text


def test_now_says_that_all_is_well(shop: Shop) -> None:
    shop.worker("web-1")
    page = shown(shop.site().get("/"))
    assert "all well" in page
    assert "problem" not in page


def test_a_page_shows_what_the_server_says_at_this_request(shop: Shop) -> None:
    site = shop.site()
    assert "high 0" in shown(site.get("/"))
    shop.ship.enqueue(Order(number=1, customer="ada"))
    assert "high 1" in shown(site.get("/"))


def test_viewers_share_one_poll_and_nobody_costs_nothing(shop: Shop) -> None:
    calls = "cmdstat_evalsha"
    broker = shop.app.broker

    def surveys() -> int:
        return int(shop.client.info("commandstats")[calls]["calls"])

    poll = Poll(shop.app)
    first = poll.facts()
    before = surveys()
    assert all(poll.facts(refresh=True) is first for _ in range(10))
    assert surveys() == before
    broker.call(stats.pause(broker.keys, "low"))
    assert poll.facts() is not first


@pytest.mark.parametrize("what", ["dead", "parked"])
def test_viewers_that_refresh_share_what_one_page_reads(
    what: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typedq.dashboard.poll.REFRESH_S", 3_600)
    shop.fill()
    contract = {"queue": "high", "contract": shop.old_contract}
    path, query = f"/{what}", contract if what == "parked" else {}
    site, refresh = shop.site(), {"hx-request": "true"}

    def commands() -> int:
        return int(shop.client.info("stats")["total_commands_processed"])

    site.get(path, params=query)
    before = commands()
    pages = [site.get(path, params=query, headers=refresh).text for _ in range(5)]
    assert commands() - before == 1  # that of the test
    assert len(set(pages)) == 1
    site.get(path, params=query)
    assert commands() - before > 5


def test_contracts_show_who_reads_them(shop: Shop) -> None:
    shop.fill()
    site = shop.site()
    page = shown(site.get("/contracts"))
    assert f"ship {shop.old_contract.partition('@')[2]} 37 ✕ nobody no" in page
    assert f"ship {shop.contract.partition('@')[2]} 12 ✓ 2 of 3 workers yes" in page
    unread = shown(site.get("/contracts?only=unread"))
    assert shop.old_contract.partition("@")[2] in unread
    assert shop.contract.partition("@")[2] not in unread
    assert "No contract has zzz in its name" in shown(site.get("/contracts?q=zzz"))


def test_a_contract_shows_versions_and_what_changed(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    old, new = (c.partition("@")[2] for c in (shop.old_contract, shop.contract))
    history(tmp_path / "schemas", shop.old)
    history(tmp_path / "schemas", shop.app)
    site = shop.site(schemas=tmp_path / "schemas")
    page = shown(site.get("/contracts/ship"))
    assert f"2 {new} 12 ✓ 2 of 3 workers files, server, this app" in page
    assert f"1 {old} 37 ✕ nobody files, server" in page
    assert "$.number FIELD_ADDED_REQUIRED" in page
    assert "New workers cannot read old messages. Old workers cannot read new messages." in page
    back = shown(site.get(f"/contracts/ship?old={new}&new={old}"))
    assert "$.carrier FIELD_ADDED_REQUIRED" in back
    assert site.get("/contracts/nothing").status_code == 404


def test_a_contract_that_was_not_exported_may_be_the_newer_one(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    files = history(tmp_path, shop.app)
    page = shown(shop.site(schemas=files).get("/contracts/ship"))
    unknown = "may be older or newer than another: compare it “as old” and “as new”"
    assert unknown in page
    history(files, shop.old)
    assert unknown not in shown(shop.site(schemas=files).get("/contracts/ship"))


def test_the_order_of_keys_is_no_difference(shop: Shop) -> None:
    """The server has schemas in one order, and the code in another."""
    schema: dict[str, Any] = json.loads(shop.ship.contract.schema_json())
    schema["properties"]["zone"] = {"type": "string", "default": "", "title": "Zone"}
    turned = {key: schema[key] for key in reversed(schema)}
    turned["properties"] = {k: schema["properties"][k] for k in reversed(schema["properties"])}
    contract = "ship@0123456789abcdef"
    published = {contract: json.dumps(turned).encode()}
    shop.app.broker.call(stats.publish(shop.app.broker.keys, published))
    page = shop.site().get("/contracts/ship", params={"old": "0123456789abcdef"}).text
    changed = " ".join(re.findall(r'class="diff (?:add|del)">(.*?)<', page))
    assert "zone" in changed
    for same in ("customer", "number", "required", "object"):
        assert same not in changed


NO_NAMES = ["../dead/confirm", "a?new=1", "a#b", "%2e%2e%2f", "//evil.example", "", "x" * 60_000]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_of_a_task_is_no_link(shop: Shop, name: str) -> None:
    shop.client.hset(shop.app.broker.keys.counts, f"{name}@0123456789abcdef", 3)
    site = shop.site()
    for path in ("/", "/contracts", "/matrix", "/doctor"):
        page = site.get(path)
        links = re.findall(r'href="(/contracts/[^"]*)"', page.text)
        assert all("0123456789abcdef" not in link for link in links), path
        assert len(page.content) < 20_000, path


def test_matrix_says_for_each_group_of_workers_why_it_cannot_read(shop: Shop) -> None:
    shop.fill()
    page = shown(shop.site().get("/matrix"))
    assert "2 workers web-1:7, web-2:7" in page
    assert f"37 ✕ cannot {UNREAD}" in page
    assert "✕ cannot it has no task ship" in page
    assert "12 ✓ reads ✕ cannot it has no task ship" in page


def test_matrix_shows_upcasts_and_compatible_readers(shop: Shop) -> None:
    @shop.ship.upcast
    def _(carrier: str, *, customer: str) -> Any: ...

    shop.park(1)
    shop.worker("web-1")
    assert "✓ upcasts" in shown(shop.site().get("/matrix"))


def deploys(shop: Shop, directory: Path, **query: str) -> str:
    return shown(shop.site(schemas=directory).get("/deploy", params={"path": "", **query}))


def test_deploy_says_which_side_goes_first_with_what_waits_now(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1")
    nothing = history(tmp_path / "same", shop.app)
    assert "Safe: deploy producers and workers in any order." in deploys(shop, nothing)

    shop.worker("web-1", shop.old)
    assert f"nobody has published {shop.old_contract}" in deploys(shop, nothing)
    schema = shop.old_ship.contract.schema_json()
    shop.app.broker.call(stats.publish(shop.app.broker.keys, {shop.old_contract: schema}))
    page = deploys(shop, nothing)
    assert "A break: no order is safe" in page
    assert "next workers cannot read: FIELD_ADDED_REQUIRED at $.number" in page
    shop.park(37)
    page = deploys(shop, nothing)
    assert "Not safe: 37 messages that wait now cannot be read by the next version" in page
    assert f"37 of {shop.old_contract.partition('@')[2]} : cannot be read" in page
    assert "unchanged ✕ not yet ! " not in page
    assert "gone removed ! producers first" in page


def test_deploy_does_not_keep_workers_for_what_none_of_them_reads(
    shop: Shop, tmp_path: Path
) -> None:
    shop.worker("web-1")
    shop.park(37)
    files = history(tmp_path, shop.app)
    page = deploys(shop, files)
    assert "Not safe: 37 messages that wait now cannot be read by the next version." in page
    assert "No live worker reads them either" in page
    assert "neither today's workers nor the next version read what waits" in page
    assert "keep today's workers" not in page
    assert "not yet" not in page

    shop.worker("web-2", shop.old, queues=("low",))
    shop.gone.enqueue()
    page = deploys(shop, files)
    assert "Not safe: 38 messages that wait now cannot be read by the next version." in page
    assert "keep today's workers until they have run them:" in page
    assert "No live worker reads" not in page
    shop.worker("web-2", shop.old, without="ship", queues=("low",))
    page = deploys(shop, files)
    assert "keep today's workers until they have run 1 of them" in page
    assert "No live worker reads 37 of them either" in page


def test_deploy_says_what_to_do_about_a_break(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1", shop.old)
    schema = shop.old_ship.contract.schema_json()
    shop.app.broker.call(stats.publish(shop.app.broker.keys, {shop.old_contract: schema}))
    page = deploys(shop, history(tmp_path, shop.app))
    assert "A break: no order is safe" in page
    assert "How to mend each change is on the page of its task" in page
    shop.park(2)
    page = deploys(shop, tmp_path)
    assert "Not safe: 2 messages" in page
    assert "How to mend each change is on the page of its task" in page


def test_deploy_says_that_the_code_was_not_exported(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1")
    files = history(tmp_path, shop.old)
    page = deploys(shop, files)
    assert "This app's code has other contracts than these files: report, resize, ship." in page
    assert "typedq export-schemas" in page
    history(tmp_path, shop.app)
    assert "other contracts than these files" not in deploys(shop, files)


def test_deploy_names_workers_first_and_producers_first(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1")
    following = TypedQ(shop.namespace, url=shop.url, queues=[Queue("high"), Queue("low")])

    @following.task
    def ship(number: int, customer: str, note: str | None = None, *, priority: int = 0) -> None: ...

    @following.task
    def resize(image_id: int | str, *, width: int = 100) -> None: ...

    @following.task
    def report(name: str, owner: str) -> None: ...

    page = deploys(shop, history(tmp_path, following))
    assert "resize changed ! workers first" in page
    assert "report changed ! producers first" in page


def test_what_may_lose_a_value_is_a_warning_on_both_pages(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1")
    following = TypedQ(shop.namespace, url=shop.url)
    history(tmp_path, shop.app)

    @following.task
    def resize(image_id: int, *, breadth: int = 100) -> None: ...

    page = deploys(shop, history(tmp_path, following))
    assert "Any order is safe for messages, but values may be lost or change: 1 task with" in page
    assert 'POSSIBLE_RENAME at $.breadth: "width" is gone and "breadth" is new' in page
    compared = {"old": shop.resize.contract.fingerprint, "new": resize.contract.fingerprint}
    page = shop.site(schemas=tmp_path).get("/contracts/resize", params=compared).text
    assert '<span class="badge warn">POSSIBLE_<wbr>RENAME</span>' in page


def test_deploy_takes_uploaded_files(shop: Shop, tmp_path: Path) -> None:
    shop.worker("web-1")
    files: list[tuple[str, tuple[str, bytes]]] = [
        ("files", (f"schemas/{p.parent.name}/{p.name}", p.read_bytes()))
        for p in history(tmp_path, shop.app).glob("*/*.json")
    ]
    answer = shop.site().post("/deploy", files=files, headers=SAME)
    assert "Safe: deploy producers and workers in any order." in shown(answer)
    wrong = shop.site().post("/deploy", files=[("files", ("a/1.json", b"{"))], headers=SAME)
    assert wrong.status_code == 400
    assert "is not JSON" in wrong.text
    none = shop.site().post("/deploy", files=[("files", ("x.txt", b"{"))], headers=SAME)
    assert "give the directory schemas/ itself" in none.text


def test_dead_letters_are_grouped_by_task_and_error(shop: Shop) -> None:
    shop.fill()
    site = shop.site()
    page = shown(site.get("/dead"))
    assert "report ConnectionError: no route to host 3" in page
    assert "report ValueError: no such report 2" in page
    assert "✕ nobody no worker that reads it serves the queue low" in page
    shop.worker("web-4", queues=["low"])
    assert "✓ 1 of 4 workers" in shown(site.get("/dead"))
    group = site.get("/dead", params={"task": "report", "error": "ValueError: no such report"})
    assert "2 dead letters" in shown(group)
    assert "ConnectionError" not in group.text
    assert "a secret" not in group.text


def test_dead_letters_say_whether_a_retry_can_help(shop: Shop) -> None:
    shop.worker("web-1", queues=["low"])
    shop.bury("x", "ValueError: no", 2)
    shop.bury("x", "never paid", kind="rejected")
    shop.bury("x", "must be positive - at $", 3, kind="invalid_body")
    site = shop.site(write=True)
    page = shown(site.get("/dead"))
    assert "must be positive - at $ invalid body 3" in page
    assert "never paid rejected 1" in page
    assert "ValueError: no 2" in page

    def preview(act: str, **query: str) -> str:
        return shown(site.get("/dead/confirm", params={"act": act, **query}))

    again = "unless that has changed, they die again"
    assert f"Contract or task refused 4 of them: {again}" in preview("retry", task="report")
    assert f"Contract or task refused 1 of them: {again}" in preview("retry", error="never paid")
    assert again not in preview("retry", error="ValueError: no")
    assert again not in preview("drop", error="never paid")


def test_a_dead_letter_is_shown_in_the_words_of_the_other_pages(shop: Shop) -> None:
    (id,) = shop.bury("x", expires=3600)
    page = shop.site().get(f"/dead/{id}")
    assert re.search(r"died \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown(page))
    assert re.search(r"expires \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown(page))
    contract = shop.report.contract
    assert f'href="/contracts/report?new={contract.fingerprint}">{contract.id}<' in page.text
    waiting = shop.report.enqueue("weekly").id
    assert re.search(
        r"enqueued [\d-]+ [\d:]+ UTC", shown(shop.site().get(f"/message?id={waiting}"))
    )


def test_a_reason_with_thousands_of_fields_is_cut(shop: Shop) -> None:
    ids = shop.bury("x")
    key = shop.app.broker.keys.dead_letters
    raw: Any = shop.client.hget(key, ids[0])
    message: bytes = raw.partition(b"\n")[2]
    fields = {f"field{number}": "x" * 50 for number in range(5_000)}
    shop.client.hset(key, ids[0], json.dumps(fields).encode() + b"\n" + message)
    page = shop.site().get(f"/dead/{ids[0]}")
    assert len(page.content) < 50_000
    assert "fields are not shown" in shown(page)


def test_who_reads_a_dead_letter_depends_on_its_message_format(shop: Shop) -> None:
    shop.worker("before", format=1, queues=["low"])
    (id,) = shop.bury("a secret", expires=3600)
    site, query = shop.site(write=True), {"act": "retry"}
    newer = "nobody its message format 2 is newer than the worker"
    assert newer in shown(site.get("/dead"))
    assert newer in shown(site.get(f"/dead/{id}"))
    assert newer in shown(site.get("/dead/confirm", params=query | {"id": id}))
    shop.worker("today", format=2, queues=["low"])
    assert "✓ 1 of 2 workers" in shown(site.get("/dead"))
    assert "1 of 2" in shown(site.get(f"/dead/{id}"))
    assert "1 of 2" in shown(site.get("/dead/confirm", params=query | {"id": id}))


def test_a_dead_letter_hides_its_arguments_until_asked(shop: Shop) -> None:
    (id,) = shop.bury("a secret")
    site = shop.site()
    page = shown(site.get(f"/dead/{id}"))
    assert "Trace ValueError: no" in page
    assert "a secret" not in page
    assert "a secret" in shown(site.get(f"/dead/{id}?payload=1"))
    assert site.get("/dead/nothing").status_code == 404


def test_parked_says_why_nobody_reads(shop: Shop) -> None:
    shop.fill()
    site = shop.site()
    page = shown(site.get("/parked"))
    assert f"ship {shop.old_contract.partition('@')[2]} high 37" in page
    assert f"✕ nobody {UNREAD}" in page
    group = {"queue": "high", "contract": shop.old_contract}
    assert "First messages of" in shown(site.get("/parked", params=group))


def test_parked_messages_that_expire_are_read_by_workers_that_know_their_format(
    shop: Shop,
) -> None:
    shop.worker("old", format=1)
    shop.park(contract=f"{shop.contract}#2")
    assert "nobody its message format 2 is newer than the worker" in shown(
        shop.site().get("/parked")
    )
    shop.worker("new", format=2)
    assert "1 of 2" in shown(shop.site().get("/parked"))


def test_workers_show_who_reads_what(shop: Shop) -> None:
    shop.fill()
    shop.worker("web-9", age_s=3000)
    page = shown(shop.site().get("/workers"))
    assert "web-9:7 ✕ gone" in page
    assert f"ship {shop.contract.partition('@')[2]} 2 of 3" in page


def test_cron_and_doctor(shop: Shop) -> None:
    shop.worker("web-1")
    site = shop.site()
    assert "thumbs resize */10 * * * * Europe/Berlin" in shown(site.get("/cron"))
    assert "every key has the expected type" in shown(site.get("/doctor"))


@pytest.mark.parametrize("path", [*PAGES, "/dead?task=x", "/deploy?path=", "/contracts/ship"])
def test_every_page_is_whole_on_an_empty_server(shop: Shop, path: str, tmp_path: Path) -> None:
    site = shop.site(schemas=history(tmp_path, shop.app))
    answer = site.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.text.count("<h1>") == 1
    assert answer.text.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("path", "name"),
    [*PAGES.items(), ("/deploy?path=", "Deploy"), ("/contracts/ship", "Contracts")],
)
def test_a_page_is_marked_in_the_navigation(
    shop: Shop, path: str, name: str, tmp_path: Path
) -> None:
    page = shop.site(schemas=history(tmp_path, shop.app)).get(path).text
    assert re.findall(r'aria-current="page">([^<]*)<', page) == [name]
    title = re.findall(r"<title>([^<]*)</title>", page)
    assert title == [f"{'ship' if 'ship' in path else name} · {shop.namespace} · typedq"]


def test_hostile_text_is_escaped_and_visible_everywhere(shop: Shop, tmp_path: Path) -> None:
    (id,) = shop.bury(HOSTILE, f"Error: {HOSTILE}")
    broker = shop.app.broker
    schema = {"type": "object", "title": HOSTILE, "properties": {HOSTILE: {"type": "string"}}}
    contract = "ship@0123456789abcdef"
    broker.call(stats.publish(broker.keys, {contract: json.dumps(schema).encode()}))
    shop.client.hset(broker.keys.counts, contract, 3)
    shop.client.hset(broker.keys.counts, f"{HOSTILE}@{HOSTILE}", 2)
    shop.client.hset(broker.keys.workers, "x", json.dumps({"host": HOSTILE, "seen_ms": 1 << 50}))
    site = shop.site(schemas=tmp_path)
    queries = {"q": HOSTILE, "error": HOSTILE, "task": HOSTILE, "path": HOSTILE, "page": HOSTILE}
    pages = [*PAGES, "/contracts/ship?new=0123456789abcdef", f"/dead/{id}?payload=1", "/nothing"]
    asked = [(path, queries) for path in PAGES] + [(path, {}) for path in pages]
    for path, query in asked:
        text = site.get(f"{path}?{urlencode(query)}" if query else path).text
        for bad in ("<script>alert", "<img", "\u202e", "\x1b", "\x00"):
            assert bad not in text, (path, bad)
    assert escape("\u202e") in site.get(f"/dead/{id}?payload=1").text


def test_lone_surrogates_and_bytes_are_shown(shop: Shop) -> None:
    ids = shop.bury("x")
    broken = b'{"kind":"failed","error":"\\ud800 end"}\nnot a message \xff\xfe'
    shop.client.hset(shop.app.broker.keys.dead_letters, ids[0], broken)
    site = shop.site()
    assert "\\ud800 end" in shown(site.get("/dead"))
    malformed = shown(site.get(f"/dead/{ids[0]}?payload=1"))
    assert "Arguments ***" in malformed, "without a contract, all of it may be secret"


@pytest.mark.parametrize("name", ["counts", "workers", "stats", "dead", "sessions"])
def test_doctor_finds_the_key_that_breaks_the_other_pages(shop: Shop, name: str) -> None:
    key = getattr(shop.app.broker.keys, name)
    shop.client.set(key, "written by another program")
    site = shop.site()
    assert site.get("/").status_code == 403
    assert f"{key} is a string; expected a" in shown(site.get("/doctor"))


@pytest.mark.parametrize("length", [0, 1, 20, 45, 70])
@pytest.mark.parametrize("reason", [b'{"kind":"garbage","error":"x"}', b"", b"[" * 9_000, b"7"])
def test_dead_letters_without_a_whole_header_are_shown(
    shop: Shop, reason: bytes, length: int
) -> None:
    (id,) = shop.bury("x")
    key = shop.app.broker.keys.dead_letters
    raw: Any = shop.client.hget(key, id)
    message: bytes = raw.partition(b"\n")[2]
    shop.client.hset(key, id, reason + b"\n" + message[:length])
    site = shop.site(write=True)
    pages = ["/dead", f"/dead/{id}", f"/message?id={id}", f"/dead/confirm?act=retry&id={id}"]
    for path in [*pages, f"/dead/{id}?payload=1", f"/message?id={id}&payload=1"]:
        assert site.get(path).status_code == 200, path
    assert "unreadable header" in site.get("/dead").text


def test_large_arguments_are_cut_with_a_note(shop: Shop) -> None:
    (id,) = shop.bury("x" * 1_000_000)
    page = shop.site().get(f"/dead/{id}?payload=1")
    assert len(page.text) < 80_000
    assert f"typedq dead show {id} --payload" in shown(page)
    assert "characters are shown" in shown(page)


def test_a_server_that_is_gone_is_a_clear_page(namespace: str) -> None:
    app = TypedQ(namespace, url="redis://127.0.0.1:1/0")
    from starlette.testclient import TestClient

    from typedq.dashboard import asgi

    answer = TestClient(asgi(app)).get("/")
    assert answer.status_code == 503
    assert "The server does not answer" in answer.text
    assert "127.0.0.1:1" in answer.text


PER_PAGE_S = 0.3


@pytest.mark.slow
def test_pages_are_quick_with_much_to_show(server: OwnServer, shop: Shop) -> None:
    (id,) = shop.bury("x")
    shop.copy_dead_letter(id, 99_990)
    shop.fill()
    keys, contracts = shop.app.broker.keys, dict[str, bytes]()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    for number in range(1_000):
        schema["title"] = f"T{number}"
        contracts[f"task_{number % 250}@{number:016x}"] = json.dumps(schema).encode()
    shop.app.broker.call(stats.publish(keys, contracts))
    shop.client.hset(keys.counts, mapping=dict.fromkeys(contracts, 3))
    site = shop.site()
    pages = [*PAGES, "/contracts/task_1", "/contracts?page=20", f"/dead/{id}", "/dead?task=report"]
    for path in pages:
        took = list[float]()
        for _ in range(3):
            start = time.process_time()
            assert site.get(path).status_code == 200
            took.append(time.process_time() - start)
        # Of the processor, because other tests run beside this one.
        assert min(took) < PER_PAGE_S, (path, took)


@pytest.mark.slow
def test_a_large_deploy_is_compared_once(shop: Shop, tmp_path: Path, wait_until: WaitUntil) -> None:
    today = TypedQ(shop.namespace, url=shop.url)
    following = TypedQ(shop.namespace, url=shop.url)
    for app, last in ((today, int), (following, str)):
        for number in range(1_000):
            fields = [("number", int), ("customer", str), (f"f{number}", last)]
            struct = msgspec.defstruct(f"Arguments{number}", fields)

            def task(arguments: Any) -> None: ...

            task.__annotations__ = {"arguments": struct, "return": None}
            app.task(name=f"task_{number}")(task)
    schemas = {task.contract.id: task.contract.schema_json() for task in today.tasks.values()}
    shop.app.broker.call(stats.publish(shop.app.broker.keys, schemas))
    shop.worker("web-1", today)
    site = shop.site(schemas=history(tmp_path, following))
    first = site.get("/deploy?path=")
    assert "Comparing contracts" in first.text
    assert first.headers["refresh"] == "1"
    wait_until(lambda: "A break: no order is safe" in site.get("/deploy?path=").text, 60.0)
    took = list[float]()
    for _ in range(3):
        start = time.process_time()
        assert "Order for each task" in site.get("/deploy?path=").text
        took.append(time.process_time() - start)
    assert min(took) < PER_PAGE_S, took


def test_many_first_comparisons_do_not_hold_up_a_page(shop: Shop, wait_until: WaitUntil) -> None:
    count = 999  # enough for more than the 0.1 s that a request waits
    keys, contracts = shop.app.broker.keys, dict[str, bytes]()
    for number in range(count):
        schema = json.loads(json.dumps(shop.ship.contract.schema))
        many = {f"extra{number}_{each}": {"type": "string"} for each in range(100)}
        schema["properties"] |= many  # so that all comparisons take longer than a page waits
        contracts[f"ship@{number:016x}"] = json.dumps(schema).encode()
    shop.app.broker.call(stats.publish(keys, contracts))
    shop.client.hset(keys.counts, mapping=dict.fromkeys(contracts, 1))
    shop.worker("web-1")
    site = shop.site()
    first = site.get("/contracts?only=waiting")
    assert "Comparing contracts" in first.text
    assert first.headers["refresh"] == "1"
    wait_until(lambda: f"With messages ({count})" in site.get("/contracts?only=waiting").text)
