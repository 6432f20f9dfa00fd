"""What `app.testing()` gives, servers for tests; the pytest plugin is in `plugin`."""

from typedq.embedded import OwnServer
from typedq.testing.queue import DeadLetter, TestQueue

__all__ = ["DeadLetter", "OwnServer", "TestQueue"]
