"""What a dead letter says of its end, whatever the exception said."""

from __future__ import annotations

import msgspec

from typedq.reasons import reason


def test_half_a_surrogate_pair_is_escaped() -> None:
    told = msgspec.json.decode(reason("failed", "no \udcff", traceback="in \udcff", attempts=1))
    assert told["error"] == "no \\udcff"
    assert told["traceback"] == "in \\udcff"
    assert told["attempts"] == 1
