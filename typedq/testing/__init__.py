"""Testing: what `app.testing()` gives, servers for tests, and a pytest plugin in `plugin`."""

from typedq.embedded import OwnServer
from typedq.outbox import DeadLetter, Outbox

__all__ = ["DeadLetter", "Outbox", "OwnServer"]
