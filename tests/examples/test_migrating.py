"""Check that the snippets of docs/migrating.md run all code of its typedq columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.snippets import RUN, snippets

PAGE = (Path(__file__).parents[2] / "docs/migrating.md").read_text("utf-8")
ROWS = re.findall(r"^\| (`.+`.*) \| (.+) \|$", PAGE, re.MULTILINE)
NOT_CODE = {"TYPEDQ_URL", "url="}  # in the text around the code


@pytest.mark.parametrize(("before", "after"), ROWS, ids=[before for before, _ in ROWS])
def test_the_code_of_a_row_is_in_a_snippet(before: str, after: str) -> None:
    run = "\n".join(snippet.text for snippet in snippets(PAGE) if snippet.language in RUN)
    run = re.sub(r"\s+", " ", run)
    code = set(re.findall(r"`([^`]+)`", after)) - NOT_CODE
    assert [each for each in sorted(code) if each not in run] == []


def test_both_tables_are_found() -> None:
    assert len(ROWS) > 45
