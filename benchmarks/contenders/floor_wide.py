"""The floor with batches of 512 messages, as large as typedq's for quick tasks, instead of 64."""

from __future__ import annotations

from benchmarks.contenders.floor import aenqueue, enqueue, enqueue_many, run_child, run_worker

__all__ = ["aenqueue", "enqueue", "enqueue_many"]

if __name__ == "__main__":
    run_worker(lambda: run_child(512))
