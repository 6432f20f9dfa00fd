"""Testing without a server: what `app.testing()` gives, and a pytest plugin in `plugin`."""

from typedq.outbox import DeadLetter, Outbox

__all__ = ["DeadLetter", "Outbox"]
