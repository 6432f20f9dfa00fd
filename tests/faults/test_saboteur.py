"""The tests see a broken engine: a few here, all by `python -m tests.faults.saboteur`."""

from __future__ import annotations

import pytest

from tests.faults.saboteur import ROOT, SABOTAGES, Sabotage, is_caught


@pytest.mark.parametrize("sabotage", SABOTAGES.values(), ids=SABOTAGES)
def test_every_sabotage_still_finds_what_it_breaks(sabotage: Sabotage) -> None:
    assert sabotage.is_possible(ROOT / "typedq")
    path, _, _ = sabotage.caught_by.partition(" ")
    assert (ROOT / path).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no baton", "resend without sequence", "reap without journal"])
def test_a_sabotage_is_caught(name: str) -> None:
    caught, told = is_caught(name)
    assert caught, told
