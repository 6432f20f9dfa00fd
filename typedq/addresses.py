"""Parse URLs of servers into a value that cannot show a password by accident."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from typedq.errors import ConfigurationError, nearest

Kind = Literal["single", "unix", "sentinel", "cluster", "embedded"]

_EXAMPLES: Final[Mapping[Kind, str]] = {
    "single": "redis://user:password@localhost:6379/0",
    "unix": "unix:///run/redis/redis.sock?db=0",
    "sentinel": "redis+sentinel://host1:26379,host2:26379/service/0",
    "cluster": "redis+cluster://host1:6379,host2:6379",
    "embedded": "embedded://",
}
_TLS: Final = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
_KINDS: Final[dict[str, Kind]] = {"": "single", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: Final[dict[str, tuple[Kind, bool]]] = {
    "unix": ("unix", False),
    "embedded": ("embedded", False),
    **{name + more: (kind, tls) for more, kind in _KINDS.items() for name, tls in _TLS.items()},
}
_PORTS: Final = {"single": 6379, "cluster": 6379, "sentinel": 26379}
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]+)(?::(\d{1,5}))?")
_YES_NO: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_VERIFY_FLAGS: Final = frozenset(
    "VERIFY_" + name
    for name in (
        "DEFAULT",
        "CRL_CHECK_LEAF",
        "CRL_CHECK_CHAIN",
        "X509_STRICT",
        "X509_TRUSTED_FIRST",
        "X509_PARTIAL_CHAIN",
        "ALLOW_PROXY_CERTS",
    )
)
Value = bool | int | float | str


def _seconds(given: str) -> float:
    seconds = float(given)
    if not 0 < seconds < 1e6:
        raise ValueError(given)
    return seconds


def _whole(given: str, least: int = 0) -> int:
    if not given.isascii() or not given.isdigit() or int(given) < least:
        raise ValueError(given)
    return int(given)


def _verify_flags(given: str) -> str:
    names = [name.strip() for name in given.strip("[]").split(",")]
    if not _VERIFY_FLAGS.issuperset(names):
        raise ValueError(given)
    return ",".join(names)


def _no_spaces(given: str) -> str:
    if not (given.isascii() and given.isprintable()) or not given or " " in given:
        raise ValueError(given)
    return given


def _one_of(**values: Value) -> _Rule:
    return lambda given: values[given.lower()], f"one of {', '.join(values)}"


_Rule = tuple[Callable[[str], Value], str]  # parser of a value, and the expected form
_TEXT: Final[_Rule] = (str, "text")
_FLAGS: Final[_Rule] = (_verify_flags, f"a list of {', '.join(sorted(_VERIFY_FLAGS))}")
_SECONDS: Final[_Rule] = (_seconds, "a number of seconds above 0")
_COUNT: Final[_Rule] = (partial(_whole, least=1), "a whole number from 1 upward")
_SWITCH: Final[_Rule] = _one_of(**_YES_NO)
_NAME: Final[_Rule] = (_no_spaces, "printable ASCII text without spaces")
# The options of redis-py's URLs, under its names, and the login at a Sentinel.
_OPTIONS: Final[dict[str, _Rule]] = {
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "socket_read_size": _COUNT,
    "socket_keepalive": _SWITCH,
    "health_check_interval": (_whole, "a whole number of seconds from 0 upward"),
    "max_connections": _COUNT,
    "protocol": _one_of(**{"2": 2, "3": 3}),
    "client_name": _NAME,
    "lib_name": _NAME,
    "lib_version": _NAME,
    **dict.fromkeys(("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile"), _TEXT),
    **dict.fromkeys(("ssl_keyfile", "ssl_password", "ssl_ciphers"), _TEXT),
    "ssl_check_hostname": _SWITCH,
    "ssl_cert_reqs": _one_of(required="required", optional="optional", none="none"),
    "ssl_min_version": _one_of(**{"769": 769, "770": 770, "771": 771, "772": 772}),
    "ssl_include_verify_flags": _FLAGS,
    "ssl_exclude_verify_flags": _FLAGS,
    "sentinel_username": _TEXT,
    "sentinel_password": _TEXT,
}
# Options of redis-py's client, which typedq does not use: accepted without effect.
_WITHOUT_EFFECT: Final = frozenset(
    ("retry_on_timeout", "retry_on_error", "timeout", "encoding", "encoding_errors")
) | {"decode_responses", "legacy_responses"}
_NO_OCSP: Final = "OCSP is not supported, since redis-py's asyncio connections cannot check it"
_MOVED: Final = ("db", "username", "password")  # options that are fields of the address
_SECRET: Final = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A parsed URL. `str` and `repr` are redacted.

    hosts: (name, port) pairs, empty for unix and embedded; path: of the unix socket, else ""
    service: name of the sentinel service, else ""; options: the rest of the query, under redis-py's
    names, with values of their types. Certificates are verified unless options say otherwise.
    """

    url: str  # redacted
    kind: Kind
    tls: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None
    service: str = ""
    options: Mapping[str, Value] = field(default_factory=dict[str, "Value"], hash=False)

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Address({self.url!r})"


def project(start: Path | None = None) -> Path | None:
    """Find the nearest directory with a pyproject.toml, at or above `start` (default: the cwd).

    Settings are read there, and each such project has one embedded server.
    """
    here = (start or Path.cwd()).resolve()
    places = (here, *here.parents)
    return next((place for place in places if (place / "pyproject.toml").is_file()), None)


def redact(url: str) -> str:
    """Return `url` without its secrets, safe to log even if the URL is malformed."""
    scheme, mark, rest = url.strip().partition("://")
    if not mark:
        return "***"
    secret, at, place = rest.rpartition("@")
    if at:
        user, colon, _ = secret.partition(":")
        rest = f"{user if colon else ''}{colon}***@{place}"
    elif not _wellformed(rest):
        rest = "***"  # without a host, the text in place of the port may be a password
    return scheme + mark + _SECRET.sub(r"\1***", rest)


def _wellformed(rest: str) -> bool:
    hosts = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return not hosts or all(_HOST.fullmatch(host) for host in hosts.split(","))


def parse_url(url: str) -> Address:
    """Parse a URL; ignore surrounding white space, which mounted secret files often have.

    Raises ConfigurationError: what is wrong, a right URL for comparison, never the password.
    """
    url = url.strip()
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in _SCHEMES:
        raise ConfigurationError([f"a URL looks like one of {', '.join(_EXAMPLES.values())}"])
    kind, tls = _SCHEMES[scheme]
    address, problems = _parse(redact(url), kind, tls, rest)
    if problems:
        example = _EXAMPLES[kind].replace(_EXAMPLES[kind].partition("://")[0], scheme, 1)
        raise ConfigurationError([f"{problem}; for example {example}" for problem in problems])
    return address


def _parse(url: str, kind: Kind, tls: bool, rest: str) -> tuple[Address, list[str]]:
    before, _, query = rest.partition("?")
    secret, _, place = before.rpartition("@")
    hosts, slash, path = place.partition("/")
    if not rest.isprintable():
        return Address(url, kind), ["control characters must be percent-encoded, such as %0A"]
    if "@" in query or "@" in path or "#" in rest or "/" in secret:
        reason = "any of / ? # @ in a password must be percent-encoded: %2F %3F %23 %40"
        return Address(url, kind), [reason]
    if kind == "embedded" and rest:
        return Address(url, kind), ["embedded:// takes nothing after it"]
    user, _, password = secret.partition(":")
    options, problems = _query(query, tls)
    moved = {name: str(options.pop(name)) for name in _MOVED if name in options}
    names, service, number = _place(kind, hosts, unquote(path), problems)
    in_place = {"db": number, "username": unquote(user), "password": unquote(password)}
    twice = [name for name in moved if in_place[name] not in ("", moved[name])]
    problems += [f"{name} is given twice, before and behind the question mark" for name in twice]
    number = number or moved.get("db", "0")
    if not number.isascii() or not number.isdigit():
        problems.append("the database after the last / must be a number")
    elif kind == "cluster" and int(number):
        problems.append("a cluster has database 0 only")
    address = Address(
        url=url,
        kind=kind,
        tls=tls,
        hosts=names,
        path=unquote(slash + path) if kind == "unix" else "",
        db=0 if problems else int(number),
        username=in_place["username"] or moved.get("username"),
        password=in_place["password"] or moved.get("password"),
        service=service,
        options=MappingProxyType(options),
    )
    return address, problems


def _place(
    kind: Kind, hosts: str, path: str, problems: list[str]
) -> tuple[tuple[tuple[str, int], ...], str, str]:
    """Return hosts, sentinel service and database number, if this kind of URL has them."""
    if kind in ("unix", "embedded"):
        if kind == "unix" and (hosts or not path):
            problems.append("unix:// takes three slashes and the absolute path of a socket")
        return (), "", ""
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    names = tuple((m[1].strip("[]"), int(m[2] or _PORTS[kind])) for m in found if m)
    if len(names) < len(found) or not all(0 < port < 65536 for _, port in names):
        problems.append("each host must be a name or an address, with a port of 1 to 65535")
    if kind == "single" and len(found) > 1:
        problems.append("several hosts need +sentinel:// or +cluster://")
    if kind != "sentinel":
        return names, "", path
    service, _, number = path.partition("/")
    if not service:
        problems.append("a sentinel URL names its service after the hosts")
    return names, service, number


def _query(query: str, tls: bool) -> tuple[dict[str, Value], list[str]]:
    options: dict[str, Value] = {}
    problems: list[str] = []
    known = (*_MOVED, *_OPTIONS)
    for name, value in parse_qsl(query, keep_blank_values=True):
        read, right = _OPTIONS.get(name, _TEXT)
        if name in _WITHOUT_EFFECT:
            continue
        if "ocsp" in name and name.startswith("ssl_"):
            problems.append(_NO_OCSP)
        elif name not in known:
            # Not quoted, because it may be part of a password.
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"known: {', '.join(known)}"
            problems.append(f"an option after ? is unknown ({hint})")
        elif name.startswith("ssl_") and not tls:
            problems.append(f"{name} needs TLS: rediss:// or valkeys://")
        elif name in options:
            problems.append(f"{name} is given twice")
        else:
            try:
                options[name] = read(value)
            except (ValueError, KeyError):
                problems.append(f"{name} must be {right}")
    return options, problems
