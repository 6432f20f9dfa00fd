"""The message format: what is sealed is unsealed, and an id is never given twice."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from typedq import message
from typedq.errors import BadMessage
from typedq.message import (
    Envelope,
    decode_message,
    encode_message,
    is_message,
    new_ids,
    with_expiry,
)

CONTRACT = "send_email@0123456789abcdef"
NAMES = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)


def test_the_text_is_as_documented() -> None:
    id = "0195f0a1b2c" + "0123456789abcde"
    message = encode_message(
        id=id, contract=CONTRACT, queue="high", options=b"-", body=b'{"to":"a@b.c"}'
    )
    assert message == (
        b"1 0 00 000 0000000000000 0195f0a1b2c0123456789abcde"
        b' send_email@0123456789abcdef high - {"to":"a@b.c"}'
    )
    assert (message[25:51], message[52:80]) == (id.encode(), CONTRACT.encode() + b" ")


@given(task=NAMES, queue=NAMES, body=st.dictionaries(st.text(), st.text()), soft=st.floats(1, 9))
def test_what_is_sealed_is_unsealed(
    task: str, queue: str, body: dict[str, str], soft: float
) -> None:
    [id] = new_ids(1)
    raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    options = f'{{"soft":{soft}}}'.encode()
    message = encode_message(id=id, contract=f"{task}@00", queue=queue, options=options, body=raw)
    found = decode_message(message)
    assert found[5:10] == (id.encode(), f"{task}@00".encode(), queue.encode(), options, raw)
    assert (found.task, found.attempt, found.due_ms, found.alone) == (task, 0, 0, False)
    assert abs(found.enqueued_ms - time.time_ns() // 1_000_000) < 60_000
    assert b" ".join(found[:10]) == message


def test_a_message_that_expires_has_a_format_of_its_own() -> None:
    [id] = new_ids(1)
    plain = encode_message(id=id, contract=CONTRACT, queue="q", options=b"-", body=b'{"a": " "}')
    message = with_expiry(plain, 1_700_000_000_000)
    assert message == b"2" + plain[1:].replace(b" - ", b" - 1700000000000 ")
    assert with_expiry(message, 1_800_000_000_000) == with_expiry(plain, 1_800_000_000_000)
    assert is_message(message)
    before, found = decode_message(plain), decode_message(message)
    assert found[1:10] == before[1:10]
    assert (before.expires_ms, found.expires_ms) == (None, 1_700_000_000_000)


@pytest.mark.parametrize(
    "payload", [b"{}", b"170000000000 {}", b"1700000000000", b"17000000x0000 1"]
)
def test_that_format_needs_an_expiry(payload: bytes) -> None:
    [id] = new_ids(1)
    plain = encode_message(id=id, contract=CONTRACT, queue="q", options=b"-", body=payload)
    with pytest.raises(BadMessage, match="its format needs 13 digits before the payload"):
        decode_message(b"2" + plain[1:])


def test_what_the_server_counts_is_read() -> None:
    found = decode_message(b"1 2 07 012 1700000000000 " + b"0" * 26 + b" t@00 q - {}")
    assert (found.attempt, found.due_ms, found.alone) == (12, 1_700_000_000_000, True)
    assert (int(found.crashes), int(found.losses)) == (2, 7)


@pytest.mark.parametrize(
    ("crashes", "losses", "alone"),
    [(b"0", b"00", False), (b"1", b"00", True), (b"0", b"01", False), (b"0", b"02", True)],
)
def test_lost_before_means_alone(crashes: bytes, losses: bytes, alone: bool) -> None:
    head = (b"1", crashes, losses, b"000", b"0" * 13, b"0" * 26)
    assert Envelope(*head, b"t@00", b"q", b"-", b"{}").alone is alone


@pytest.mark.parametrize(
    ("raw", "fields"), [(b"", 1), (b"hello", 1), (b"1 0 00 000 0 id t@00 q -", 9)]
)
def test_too_few_fields_are_refused(raw: bytes, fields: int) -> None:
    with pytest.raises(BadMessage, match=f"a message has 10 fields, this one has {fields}$"):
        decode_message(raw)


def test_ids_rise_and_are_their_own() -> None:
    ids = list(chain.from_iterable(new_ids(n % 7) for n in range(2_000)))
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {26}
    assert all(int(id, 16) >= 0 for id in ids)


def test_threads_never_share_an_id() -> None:
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            ids = list(chain.from_iterable(pool.map(lambda _: new_ids(7), range(2_000))))
    finally:
        sys.setswitchinterval(old)
    assert len(set(ids)) == len(ids) == 14_000


def test_a_fork_goes_on_under_another_name() -> None:
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads, from 3.12 on
        pid = os.fork()
    if pid == 0:
        os.write(writer, new_ids(1)[0].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = pipe.read()
    [mine] = new_ids(1)
    assert theirs[11:20] != mine[11:20]


def test_a_process_that_counted_past_its_digits_goes_on_under_another_name() -> None:
    ids = message._Ids()
    before = ids.take(1)[0][11:20]
    last = int(before, 16) << 24 | 0xFFFF00
    ids.series = count(last, 256), last + 256
    assert [id[11:] for id in ids.take(2)] == [f"{before}ffff00", f"{before}ffff01"]
    after = ids.take(3)
    assert [id[20:] for id in after] == ["000000", "000001", "000002"]
    assert {len(id) for id in after} == {26}
    assert after[0][11:20] != before
