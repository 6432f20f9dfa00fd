"""The processes: a supervisor that keeps time and leases, and children that run tasks."""

from typedq.worker.solo import run_solo
from typedq.worker.supervisor import Supervisor, WorkerOptions

__all__ = ["Supervisor", "WorkerOptions", "run_solo"]
