"""The history of contracts, in files, at a git ref or on a server; and what it allows."""

from typedq.registry.gate import Declared, Finding, Order, Verdict, altogether, judge, newest
from typedq.registry.history import MODES, Accepted, History, Version, next_version, parse
from typedq.registry.live import (
    Live,
    Readers,
    Waiting,
    Worker,
    look,
    mend,
    published,
    read_published,
    worker,
)
from typedq.registry.sources import at_git, in_directory, tampered

__all__ = [
    "MODES",
    "Accepted",
    "Declared",
    "Finding",
    "History",
    "Live",
    "Order",
    "Readers",
    "Verdict",
    "Version",
    "Waiting",
    "Worker",
    "altogether",
    "at_git",
    "in_directory",
    "judge",
    "look",
    "mend",
    "newest",
    "next_version",
    "parse",
    "published",
    "read_published",
    "tampered",
    "worker",
]
