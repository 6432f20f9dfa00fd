"""The contenders: typedq, the floors and the rivals, each with its settings for short tasks."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contender import Contender, same_versions

OWN, BEFORE, FLOOR, META = "typedq", "before", "floor", "typedq-meta"
METRICS = "typedq-metrics"
# The last commit with a Redis client of its own, so that one run shows what redis-py costs.
BEFORE_COMMIT = "44e09fd55c2936dc8d67518239346570515f9d91"
_BOTH = ("noop", "anoop")
_COROUTINES = ("anoop",)
_TYPEDQ = ("{bin}/typedq worker {module}:app -c 2",)
_PYTHON = ("{bin}/python -m {module}",)
_TYPEDQ_SETTINGS = "defaults; its worker declares only the task that is measured"
_TASKIQ = (
    "{bin}/taskiq worker {module}:broker -w 2"
    " --log-level ERROR --max-async-tasks 100 --max-prefetch 100"
)
_CELERY = (
    "{bin}/celery -A {module}:app worker -c 2 -l ERROR"
    " --without-gossip --without-mingle --without-heartbeat"
)
DEFAULT = (
    Contender(OWN, "typedq_", _TYPEDQ, 250_000, _TYPEDQ_SETTINGS, tasks=_BOTH),
    Contender(
        BEFORE,
        "typedq_",  # the same module: the public surface has not changed
        _TYPEDQ,
        250_000,
        f"typedq at commit {BEFORE_COMMIT[:7]}, before redis-py; otherwise as typedq",
        same_versions("hiredis", "msgspec", "psutil"),
        commit=BEFORE_COMMIT,
        tasks=_BOTH,
    ),
    Contender(FLOOR, "floor", _PYTHON, 600_000, "redis-py connections, 64 messages a script"),
    Contender("floor-wide", "floor_wide", _PYTHON, 600_000, "the floor, 512 messages a script"),
    Contender(
        "floor-packages",
        "floor_packages",
        _PYTHON,
        600_000,
        "the floor; its worker uses pydantic and typer, as typedq's must",
    ),
    Contender("floor-batch", "floor_batch", _PYTHON, 1_000_000, "pops 100 at a time, no ack"),
    Contender("floor-one", "floor_one", _PYTHON, 20_000, "RPUSH, BLPOP, no ack"),
    Contender(
        "celery",
        "celery_",
        (_CELERY,),
        2_000,
        "prefork, 2 processes, prefetch 128, no results, gossip, mingle or heartbeat",
        ("celery[redis]==5.7.0", "hiredis"),
    ),
    Contender(
        "rq",
        "rq_",
        ("{bin}/rq worker -q -w rq.worker.SimpleWorker -S json -u {url} bench",) * 2,
        1_000,
        "2 SimpleWorkers, JSON, results not kept, quiet",
        ("rq==3.0.0", "hiredis"),
    ),
    Contender(
        "ardiq",
        "ardiq_",
        ("{bin}/ardiq run -q {module}:app -w 2",),
        10_000,
        "concurrency 100, prefetch 1000, results kept 1 ms",
        ("ardiq==1.2.0",),
        python="3.12",
        tasks=_BOTH,
    ),
    Contender(
        "wakaq",
        "wakaq_",
        ("{bin}/wakaq-worker --app {module}.wakaq",),
        5_000,
        "2 processes, logs of errors only",
        ("wakaq==4.0.4", "redis", "hiredis"),
    ),
    Contender(
        "huey",
        "huey_",
        ("{bin}/huey_consumer {module}.huey -k process -w 2 -n -q",),
        5_000,
        "2 processes, no periodic tasks, results off, logs of errors only",
        ("huey==3.5.4", "redis", "hiredis"),
    ),
    Contender(
        "taskiq",
        "taskiq_",
        (_TASKIQ,),
        5_000,
        "list broker, orjson, uvloop, no result backend, 100 at a time, logs of errors only",
        ("taskiq[orjson,uv]==0.13.0", "taskiq-redis==1.2.4", "hiredis"),
        tasks=_BOTH,
    ),
)
MORE = (
    Contender(
        META,
        "typedq_meta",
        _TYPEDQ,
        250_000,
        "as typedq, with a trace context of 55 bytes, unique to each message, in its metadata",
        tasks=_BOTH,
    ),
    Contender(
        METRICS,
        "typedq_",
        tuple(f"{command} --metrics-port 0 --metrics-host 127.0.0.1" for command in _TYPEDQ),
        250_000,
        "as typedq, and its worker counts for /metrics",
        tasks=_BOTH,
    ),
    Contender(
        "dramatiq",
        "dramatiq_",
        ("{bin}/dramatiq {module} -p 2 -t 8",),
        4_000,
        "2 processes of 8 threads",
        ("dramatiq[redis]==2.2.1", "hiredis"),
        tasks=_BOTH,
    ),
    Contender(
        "saq",
        "saq_",
        ("{bin}/saq {module}.settings",) * 2,
        3_000,
        "2 workers, concurrency 100, results not kept",
        ("saq[redis,hiredis]==0.26.4", "typing-extensions"),
        tasks=_COROUTINES,
    ),
    Contender(
        "streaq",
        "streaq_",
        ("{bin}/streaq run {module}:worker --workers 2",),
        2_000,
        "2 workers, concurrency 100, results not kept",
        ("streaq==7.2.0", "hiredis"),
        tasks=_BOTH,
    ),
    Contender(
        "arq",
        "arq_",
        ("{bin}/arq {module}.WorkerSettings",) * 2,
        2_000,
        "2 workers, 100 jobs at a time, polls every 10 ms, results not kept",
        ("arq==0.28.0", "hiredis"),
        tasks=_COROUTINES,
    ),
    Contender(
        "pydocket",
        "pydocket_",
        _PYTHON * 2,
        1_000,
        "2 workers, concurrency 100, 200 connections, fire-and-forget, logs of errors only",
        ("pydocket==0.27.0", "hiredis"),
        tasks=_COROUTINES,
    ),
    Contender(
        "tasktiger",
        "tasktiger_",
        ("{bin}/python -m {module} --executor sync -q bench",) * 2,
        2_000,
        "2 workers, sync executor",
        ("tasktiger==0.26.3", "hiredis"),
    ),
)
QUICK = (OWN, BEFORE, FLOOR)


def is_rival(name: str) -> bool:
    """Return True for another project's queue: neither typedq nor a floor."""
    return name not in (OWN, BEFORE, META, METRICS) and not name.startswith(FLOOR)


def choose(names: Sequence[str]) -> list[Contender]:
    """Return the contenders of these names, in the catalogue's order. Raises ValueError."""
    known = {each.name: each for each in (*DEFAULT, *MORE)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no such contender: {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for each in known.values() if each.name in names]
