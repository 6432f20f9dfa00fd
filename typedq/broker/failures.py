"""How a command can fail: was it executed or not, and which error the user sees."""

from __future__ import annotations

from typing import Final

import redis
from redis import exceptions

from typedq.errors import ServerError, ServerRefused, ServerUnavailable

# Exceptions that redis-py raises on a connection; a malformed reply may be any of the last three.
REDIS_ERRORS: Final = (redis.RedisError, OSError, ValueError, AttributeError, TypeError)
# Error codes of a server that executed nothing because another one takes the writes, now or soon.
MOVED_ON: Final = frozenset(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN"))
NOT_NOW: Final = frozenset(("LOADING", "MAXCLIENTS", "BUSY"))
# redis-py removes these codes from the text. Subclasses come before their parents.
_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.ExecAbortError, "EXECABORT"),
    (exceptions.AuthenticationError, "WRONGPASS"),
)


class Failure(Exception):
    """A command failed. `code` is the server's error code, "" if the server did not reply."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class NotSent(Failure):
    """The command was certainly not executed: no connection, or the server cannot serve it yet."""


class Lost(Failure):
    """The connection failed after the command was sent: it may or may not have been executed."""


class Refused(Failure):
    """The server replied with an error."""


def code(error: Exception) -> str:
    """Return the code of a server's error reply, or "" if the error is of another kind.

    "max number of clients reached" has none of its own and is MAXCLIENTS here.
    """
    for kind, known in _CODES:
        if isinstance(error, kind):
            return known
    if "max number of clients" in str(error):
        return "MAXCLIENTS"
    if isinstance(error, redis.ResponseError):
        word = str(error).partition(" ")[0]
        return word if word.isupper() else "ERR"
    return ""


def reply_text(error: Exception) -> str:
    """Return an error reply as the server sent it, with its code."""
    known, text = code(error), str(error)
    return text if text.startswith(known) or known == "MAXCLIENTS" else f"{known} {text}"


def reason(error: Exception) -> str:
    """Return why a connection failed, in the words of the operating system if there are any."""
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return "timed out"
    is_plain = type(error) is redis.ConnectionError and isinstance(error.__context__, OSError)
    return str(error.__context__ if is_plain else error)


def after_sending(error: Exception, *, moves: bool) -> Failure:
    """Sort what redis-py raised after a command was sent; `moves`: the server may be elsewhere."""
    known = code(error)
    if not known:
        return Lost(reason(error))
    is_early = known in NOT_NOW or (moves and known in MOVED_ON)
    return (NotSent if is_early else Refused)(reply_text(error), known)


_UNREADABLE = ("No such file", "Permission denied", "PEM lib", "key values mismatch")
_ADVICE = {
    "WRONGPASS": "wrong or missing user name or password in the URL, or from credentials=",
    "NOPERM": "this user may not do that; see the ACLs in the documentation",
    "OOM": "the server is out of memory; raise maxmemory or drain queues",
    "WRONGTYPE": "a key has another type; run typedq doctor",
    "READONLY": "this server is a read-only replica; use the URL of the primary",
    **dict.fromkeys(
        ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"),
        "this server is a node of a Cluster; use redis+cluster://",
    ),
}
_LATER = {
    "MAXCLIENTS": "it has no free connection; raise its maxclients, or run fewer processes",
    "LOADING": "it still reads its data from disk; try again later",
    "BUSY": "a script blocks it; end that one with SCRIPT KILL",
}


def unavailable(url: str, error: Exception) -> ServerUnavailable:
    """Return the error for a server that does not reply, with what to check."""
    ask, text = "is it running, and is the URL right?", str(error)
    if isinstance(error, Failure) and error.code in _LATER:
        ask = _LATER[error.code]
    elif "credentials=" in text:
        ask = "does the provider given as credentials= work?"
    elif "certificate has expired" in text:
        ask = "has its certificate expired, or is the clock of this machine wrong?"
    elif "CERTIFICATE_VERIFY_FAILED" in text:
        ask = "is its authority named by ssl_ca_certs=, and the host as in its certificate?"
    elif "ssl_" in url and any(sign in text for sign in _UNREADABLE):
        ask = "are the files of ssl_*= there, with a key that fits and its ssl_password=?"
    elif url.startswith(("rediss", "valkeys")):
        ask = "does it speak TLS, and want a client's certificate: ssl_certfile=, ssl_keyfile=?"
    elif "reset by peer" in text or "closed by server" in text:
        ask = "is the URL right, and does it want TLS: rediss://?"
    return ServerUnavailable(url, f"no answer from the server ({error}); {ask}")


def server_error(url: str, error: Failure) -> ServerError:
    """Return the error that the user sees if the server refused or did not reply."""
    if isinstance(error, Refused) or error.code == "WRONGPASS":
        advice = _ADVICE.get(error.code)
        return ServerRefused(url, f"{advice} ({error})" if advice else str(error))
    return unavailable(url, error)
