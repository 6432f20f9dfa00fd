"""The safe floor with as many messages at once as typedq takes of quick tasks: 128, not 64."""

from __future__ import annotations

from benchmarks.contenders import floor_safe
from benchmarks.contenders.floor_safe import aone, bulk, one

__all__ = ["aone", "bulk", "one"]

if __name__ == "__main__":
    floor_safe.BATCH = 128
    floor_safe.workers(floor_safe.child)
