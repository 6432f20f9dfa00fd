"""The command line: `typedq` and `python -m typedq`."""

from typedq.cli.program import main

__all__ = ["main"]
