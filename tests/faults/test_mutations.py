"""The tests find a broken engine: a few here, all by `python -m tests.faults.mutations`."""

from __future__ import annotations

import pytest

from tests.faults.mutations import MUTATIONS, ROOT, Mutation, is_caught


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_each_mutation_applies_to_the_package(mutation: Mutation) -> None:
    assert mutation.applies_to(ROOT / "typedq")
    path, _, _ = mutation.caught_by.partition(" ")
    assert (ROOT / path).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    "name",
    ["no wake token for what is left", "resend without sequence", "recovery without the journal"],
)
def test_a_mutation_is_caught(name: str) -> None:
    caught, told = is_caught(name)
    assert caught, told
