"""A stage on the shared server, as in tests/worker."""

from tests.worker.conftest import brief, stage

__all__ = ["brief", "stage"]
