"""`manage.py typedq COMMAND`: each command of `typedq`, for the app of this project."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, final

from django.core.management.base import BaseCommand


@final
class Command(BaseCommand):
    """Hands its words to `typedq`."""

    help = "Run a command of typedq, such as: manage.py typedq worker -c 4"
    requires_system_checks = ()  # export-schemas mends what they find

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand every word over, so that `manage.py typedq worker --help` is that of the worker."""
        self.handle(words=argv[2:])

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_: Any, words: Sequence[str], **__: Any) -> None:
        from typedq.cli.entry import main

        os.environ.setdefault("TYPEDQ_APP", "typedq.django:app")
        sys.argv = ["typedq", *words]
        main()
