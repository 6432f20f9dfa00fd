"""What a producer elsewhere needs of an app, as one file: contracts, queues, limits. No I/O."""

from typedq.bundle.document import (
    FORMAT,
    MAX_BYTES,
    PINS_FILE,
    Bundle,
    BundledTask,
    Kind,
    dump,
    parse,
)
from typedq.bundle.secret_paths import secret_paths, without_secret_values

__all__ = [
    "FORMAT",
    "MAX_BYTES",
    "PINS_FILE",
    "Bundle",
    "BundledTask",
    "Kind",
    "dump",
    "parse",
    "secret_paths",
    "without_secret_values",
]
