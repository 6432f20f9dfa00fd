"""What the page on migrating puts beside WakaQ and Celery is in its snippets, and so is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.snippets import RUN, snippets

PAGE = (Path(__file__).parents[2] / "docs/migrating.md").read_text("utf-8")
ROWS = re.findall(r"^\| (`.+`.*) \| (.+) \|$", PAGE, re.MULTILINE)
NOT_CODE = {"TYPEDQ_URL", "url="}  # in words around the code


@pytest.mark.parametrize(("before", "after"), ROWS, ids=[before for before, _ in ROWS])
def test_the_line_is_run(before: str, after: str) -> None:
    run = "\n".join(snippet.text for snippet in snippets(PAGE) if snippet.language in RUN)
    run = re.sub(r"\s+", " ", run)
    told = set(re.findall(r"`([^`]+)`", after)) - NOT_CODE
    assert [code for code in sorted(told) if code not in run] == []


def test_both_tables_are_read() -> None:
    assert len(ROWS) > 45
