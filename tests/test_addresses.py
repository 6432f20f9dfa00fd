"""URLs: what each scheme means, and that no password survives in anything one can print."""

from __future__ import annotations

from typing import Any

import pytest

from typedq.addresses import Address, parse_url, redact
from typedq.errors import ConfigurationError

RIGHT: dict[str, dict[str, Any]] = {
    "redis://h": {"kind": "single", "hosts": (("h", 6379),), "db": 0, "tls": False},
    "redis://user:p%40ss@h:1/3": {"username": "user", "password": "p@ss", "db": 3},
    "redis://h/2?db=2": {"db": 2},
    "redis://:pw@h?db=2": {"username": None, "password": "pw", "db": 2},
    "redis://h?username=u&password=p%23": {"username": "u", "password": "p#"},
    "valkey://[::1]:7/0": {"hosts": (("::1", 7),), "tls": False},
    "rediss://h": {"tls": True, "options": {}},
    "valkeys://h?ssl_cert_reqs=none&ssl_check_hostname=no": {
        "tls": True,
        "options": {"ssl_cert_reqs": "none", "ssl_check_hostname": False},
    },
    "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c&ssl_keyfile=/k": {
        "options": {"ssl_ca_certs": "/ca.pem", "ssl_certfile": "/c", "ssl_keyfile": "/k"}
    },
    "unix:///run/a%20b.sock?db=4": {"kind": "unix", "path": "/run/a b.sock", "db": 4, "hosts": ()},
    "unix://u:p@/run/s": {"path": "/run/s", "username": "u", "password": "p"},
    "redis+sentinel://h1,h2:7/main/2": {
        "kind": "sentinel",
        "hosts": (("h1", 26379), ("h2", 7)),
        "service": "main",
        "db": 2,
        "tls": False,
    },
    "redis+sentinel://h/main?sentinel_password=s": {"options": {"sentinel_password": "s"}, "db": 0},
    "rediss+cluster://h1:1,h2": {
        "kind": "cluster",
        "hosts": (("h1", 1), ("h2", 6379)),
        "tls": True,
    },
    "embedded://": {"kind": "embedded", "hosts": (), "path": ""},
    " redis://h/2\n": {"db": 2, "url": "redis://h/2"},
    "redis://h?socket_timeout=1.5&socket_connect_timeout=2&socket_read_size=4096": {
        "options": {"socket_timeout": 1.5, "socket_connect_timeout": 2.0, "socket_read_size": 4096}
    },
    "redis://h?socket_keepalive=no&health_check_interval=0&max_connections=7&protocol=2": {
        "options": {
            "socket_keepalive": False,
            "health_check_interval": 0,
            "max_connections": 7,
            "protocol": 2,
        }
    },
    "unix:///s?client_name=shop&lib_name=a&lib_version=1.0": {
        "options": {"client_name": "shop", "lib_name": "a", "lib_version": "1.0"}
    },
    "rediss://h?ssl_min_version=772&ssl_ciphers=HIGH&ssl_exclude_verify_flags=VERIFY_DEFAULT": {
        "options": {
            "ssl_min_version": 772,
            "ssl_ciphers": "HIGH",
            "ssl_exclude_verify_flags": "VERIFY_DEFAULT",
        }
    },
    "redis://h?retry_on_timeout=true&decode_responses=True&encoding=utf-8&timeout=3": {
        "options": {}
    },
}


@pytest.mark.parametrize("url", RIGHT)
def test_every_scheme_is_understood(url: str) -> None:
    address = parse_url(url)
    assert {name: getattr(address, name) for name in RIGHT[url]} == RIGHT[url]


WRONG = {
    "http://h": "looks like one of redis://",
    "localhost:6379": "looks like one of redis://",
    "redis://": "each host must be a name",
    "redis://h:0": "port of 1 to 65535",
    "redis://h:65536": "port of 1 to 65535",
    "redis://h:x": "port of 1 to 65535",
    "redis://h/x": "must be a number; for example redis://user:password@localhost:6379/0",
    "redis://h1,h2": "several hosts need +sentinel:// or +cluster://",
    "unix://run/s": "three slashes",
    "redis+sentinel://h": "names its service",
    "redis+cluster://h/1": "a cluster has database 0 only",
    "embedded://x": "embedded:// takes nothing after it",
    "redis://h?ssl_ca_certs=/c": "ssl_ca_certs needs TLS: rediss://",
    "rediss://h?ssl_ca_cert=/c": "did you mean ssl_ca_certs?",
    "rediss://h?nonsense=1": "an option after ? is unknown (known: db,",
    "rediss://h?ssl_cert_reqs=maybe": "must be one of required, optional, none",
    "rediss://h?ssl_check_hostname=maybe": "must be one of true, yes, 1, false, no, 0",
    "rediss://h?ssl_min_version=1.2": "must be one of 769, 770, 771, 772",
    "rediss://h?ssl_include_verify_flags=VERIFY_ALL": "must be a list of VERIFY_ALLOW_PROXY_CERTS",
    "rediss://h?ssl_validate_ocsp=true": "OCSP is not supported, since redis-py's asyncio",
    "redis://h?protocol=4": "must be one of 2, 3",
    "redis://h?socket_timeout=0": "socket_timeout must be a number of seconds above 0",
    "redis://h?socket_timeout=soon": "socket_timeout must be a number of seconds above 0",
    "redis://h?socket_connect_timeout=nan": "must be a number of seconds above 0",
    "redis://h?health_check_interval=-1": "must be a whole number of seconds from 0 upward",
    "redis://h?max_connections=0": "max_connections must be a whole number from 1 upward",
    "redis://h?client_name=a%20b": "client_name must be printable ASCII text without spaces",
    "redis://h?client_name=caf%C3%A9": "client_name must be printable ASCII text without spaces",
    "redis://h?client_name=": "client_name must be printable ASCII text without spaces",
    "redis://h?soket_timeout=1": "did you mean socket_timeout?",
    "redis://h?db=1&db=2": "db is given twice",
    "redis://h/3?db=4": "db is given twice, before and behind the question mark",
    "redis://h/3?db=x": "db is given twice, before and behind the question mark",
    "redis://ann@h?username=bob": "username is given twice",
    "redis://:hunter2@h?password=other": "password is given twice",
    "redis://h\n/0": "control characters must be percent-encoded",
}


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_explained_with_a_right_one(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    assert WRONG[url] in str(caught.value)
    assert "://" in caught.value.problems[0]


def test_all_problems_of_a_url_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url("redis://h:0/x?nonsense=1")
    assert len(caught.value.problems) == 3


SECRETS = [
    "redis://:hunter2@h/0",
    "redis://hunter2@h/0",
    "redis://u:hunter2@h/0",
    "redis://u:hunter2#@h/0",
    "redis://u:hun#hunter2@h/0",
    "redis://u:hun/hunter2@h/0",
    "redis://u:hun?hunter2@h/0",
    "redis://u:hunter2@hunter2@h/0",
    "redis://u:a://hunter2@h/0",
    "redis://:hunter2",
    "redis://u:hunter2",
    "unix:///s?password=hunter2&db=0",
    "redis+sentinel://h/main?sentinel_password=hunter2",
    "rediss://h?ssl_password=hunter2",
    "u:hunter2@h",
    "redis://u:hunter2@h/0\n",
    "valkeys://u:hunter2@h/0?client_name=x&socket_timeout=y",
    "rediss+cluster://u:hunter2@h1,h2?ssl_password=hunter2&sentinel_password=hunter2&nonsense=1",
    "hunter2",
]


@pytest.mark.parametrize("url", SECRETS)
def test_no_password_survives(url: str) -> None:
    shown = [redact(url)]
    try:
        address = parse_url(url)
        shown += [str(address), repr(address), f"{address}", address.url]
    except ConfigurationError as error:
        shown += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    assert not [text for text in shown if "hunter2" in text]


def test_redaction_keeps_what_helps_to_find_the_server() -> None:
    assert redact("redis://u:p@h:1/0?ssl_ca_certs=/c") == "redis://u:***@h:1/0?ssl_ca_certs=/c"
    assert redact("unix:///run/s?password=p&db=1") == "unix:///run/s?password=***&db=1"
    assert redact("redis+cluster://h1:1,h2") == "redis+cluster://h1:1,h2"


def test_an_address_is_a_value() -> None:
    assert parse_url("redis://h") == parse_url("redis://h")
    assert len({parse_url("redis://h"), parse_url("redis://h")}) == 1
    with pytest.raises(AttributeError):
        parse_url("redis://h").db = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        parse_url("rediss://h").options["ssl_cert_reqs"] = "none"  # type: ignore[index]
    assert repr(Address("embedded://", "embedded")) == "Address('embedded://')"
