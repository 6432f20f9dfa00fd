"""Check contracts against their history: in files, at a git ref or on a server."""

from typedq.registry.check import (
    Declared,
    Finding,
    Order,
    Verdict,
    check_histories,
    common_order,
    newest,
    order_of,
)
from typedq.registry.contracts import Contracts
from typedq.registry.history import MODES, Accepted, History, Version, next_version, parse
from typedq.registry.live import (
    LiveCheck,
    Waiting,
    check_server,
    published_histories,
    read_published,
    repair_of,
)
from typedq.registry.readers import (
    PublishedSchemas,
    Reading,
    Schemas,
    Worker,
    WorkersByContract,
    live_workers,
    reported_workers,
)
from typedq.registry.sources import (
    at_git,
    content,
    files_at_git,
    in_directory,
    modified_versions,
    repository,
)

__all__ = [
    "MODES",
    "Accepted",
    "Contracts",
    "Declared",
    "Finding",
    "History",
    "LiveCheck",
    "Order",
    "PublishedSchemas",
    "Reading",
    "Schemas",
    "Verdict",
    "Version",
    "Waiting",
    "Worker",
    "WorkersByContract",
    "at_git",
    "check_histories",
    "check_server",
    "common_order",
    "content",
    "files_at_git",
    "in_directory",
    "live_workers",
    "modified_versions",
    "newest",
    "next_version",
    "order_of",
    "parse",
    "published_histories",
    "read_published",
    "repair_of",
    "reported_workers",
    "repository",
]
