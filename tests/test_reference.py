"""The reference pages say what the code says, and each flag of the worker has a variable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import reference
from typedq.settings import Settings

CHANGE = "python -m tests.reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    written = (reference.DOCS / name).read_text("utf-8")
    assert written == reference.PAGES[name](), f"run `{CHANGE}`"


def test_each_setting_says_what_it_is() -> None:
    assert reference.field_texts().keys() == Settings.model_fields.keys()


def test_each_flag_of_the_worker_has_a_variable_of_its_own() -> None:
    flags = dict(reference.worker_flags())
    assert {"--queues", "--grace", "--no-cron", "--app"} < flags.keys()
    assert all(flags.values()), flags
    assert len(set(flags.values())) == len(flags)
    # The variables of settings are settings; those of flags are not.
    assert "TYPEDQ_QUEUES" not in flags.values()


def test_the_worker_s_help_names_each_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "typedq", "worker", "--help"],
        env={"PATH": os.environ["PATH"], "COLUMNS": "80", "NO_COLOR": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    shown: Any = re.findall(r"TYPEDQ_\w+", done.stdout)
    assert set(shown) >= {variable for _, variable in reference.worker_flags()}
