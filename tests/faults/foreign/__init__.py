"""Foreign code: whatever tasks, exceptions and libraries do, the worker bears it."""
