"""The commands that each role needs; `docs/security.md` has the matching ACLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from typedq.broker.keys import Keys
from typedq.broker.script import Argument, Operation, text

Role = Literal["producer", "worker", "admin"]
_SHA = "0" * 40

_PRODUCER = f"""
EVALSHA {_SHA} 8 [sequence] [contracts] [counts] [supervisors] [ready] [delayed] [wake] [unique]
TIME
EVAL return 8 [sequence] [contracts] [counts] [supervisors] [ready] [delayed] [wake] [unique]
GET [unique]; SET [unique] v PX 9
GET [sequence]; SET [sequence] 1 EX 9; HSETNX [contracts] f v; HEXISTS [contracts] f
HINCRBY [counts] f 1; RPUSH [ready] v; LLEN [wake]; RPUSH [wake] v
LLEN [supervisors]; RPUSH [supervisors] v; ZADD [delayed] 1 v; ZRANK [delayed] v"""
_WORKER = """
BLPOP [wake] [supervisors] 1; EXPIRE [wake] 9; XREAD COUNT 1 STREAMS [broadcasts] 0; INFO memory
XRANGE [broadcasts] - +; XREVRANGE [broadcasts] + -; GET [cursor]; SET [cursor] v; EXPIRE [cursor] 9
LPUSH [ready] v; LMPOP 1 [ready] LEFT; LLEN [ready]; LINDEX [ready] 0; LPOP [parked] 1
RPUSH [parked] v; LMPOP 1 [parked] LEFT; EXISTS [ready] [wake]
ZRANGE [delayed] 0 0; ZREM [delayed] v; ZCARD [delayed]; DEL [wake]; UNLINK [ready] [cursor]
ZSCORE [sessions] v; ZADD [sessions] 1 v; ZRANGE [sessions] 0 0; ZREM [sessions] v
HSETNX [session_queues] f v; HSET [session_queues] f v; HGET [session_queues] f
HDEL [session_queues] f; GET [last_tick]; SET [last_tick] 1
SADD [lease_extended] v; SREM [lease_extended] v
HGET [flight] f; HSET [flight] f v; HDEL [flight] f; HGETALL [flight]; HVALS [flight]
HLEN [flight]; EXISTS [flight]; RENAME [flight] [flight]; DEL [flight]; HINCRBY [stats] f 1
ZADD [dead] 1 v; ZCARD [dead]; ZRANGE [dead] 0 0; ZREM [dead] v; HSET [dead_letters] f v
HDEL [dead_letters] f; SMEMBERS [paused]; SISMEMBER [paused] v; HLEN [parked_groups]
HGETALL [parked_groups]; HSET [workers] f v; HGETALL [workers]; HDEL [workers] f
HGET [contracts] f; HSET [contracts] f v; HGET [cron] f; HSET [cron] f v
HGET [cron_paused] f; XRANGE [cancellations] - +; XREVRANGE [cancellations] + -
XREAD COUNT 1 STREAMS [cancellations] 0"""
_ADMIN = """
LRANGE [ready] 0 0; LRANGE [parked] 0 0; HMGET [dead_letters] f; HGETALL [contracts]
HGETALL [cron]; HGETALL [cron_paused]; HSET [cron_paused] f v; SADD [paused] v
SREM [paused] v; XADD [broadcasts] * n 1; HGETALL [stats]
HGETALL [session_queues]; HGET [dead_letters] f; LRANGE [parked] 0 0; LREM [ready] 0 v
LREM [parked] 0 v; XADD [cancellations] * i 1; EXPIRE [cancellations] 9
ZSCORE [dead] v; INFO server; CONFIG GET save; TYPE [ready]; ACL WHOAMI; ACL DRYRUN default PING"""
_NEEDS: Mapping[Role, str] = {
    "producer": _PRODUCER,
    "worker": _PRODUCER + _WORKER,
    "admin": _PRODUCER + _WORKER + _ADMIN,
}


def required_commands(keys: Keys, role: Role, queue: str) -> list[list[str]]:
    """Return the commands that a role sends or its scripts run, with made-up arguments."""
    names: dict[str, str] = vars(keys) | {
        "ready": keys.ready(queue),
        "delayed": keys.delayed(queue),
        "wake": keys.wake(queue),
        "parked": keys.parked(queue, "t@0"),
        "flight": keys.in_flight("0"),
        "cursor": keys.broadcast_cursor("_0"),
        "sequence": keys.sequence("0"),
        "unique": keys.unique("t:0"),
    }
    lines = _NEEDS[role].replace(";", "\n").splitlines()
    return [
        [names[word[1:-1]] if word.startswith("[") else word for word in line.split()]
        for line in lines
        if line
    ]


def whoami() -> Operation[str]:
    """Return the user name of this connection."""
    return Operation("ACL", [], ["WHOAMI"], text)


def is_allowed(user: str, *command: Argument) -> Operation[bool]:
    """Return True if the ACL of a user allows a command; the server does not execute it."""
    return Operation("ACL", [], ["DRYRUN", user, *command], lambda reply: reply == b"OK")
