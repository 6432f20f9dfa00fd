"""The command line: `typedq` and `python -m typedq`."""

from typedq.cli.entry import main

__all__ = ["main"]
