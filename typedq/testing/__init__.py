"""Testing without a server: what `app.testing()` gives; the pytest plugin is in `plugin`."""

from typedq.testing.queue import DeadLetter, TestQueue

__all__ = ["DeadLetter", "TestQueue"]
