"""The plan of faults: the scenarios of this package, and the tests of the other faults."""

from __future__ import annotations

from tests.faults import (
    on_disk,
    on_durability,
    on_foreign_code,
    on_memory,
    on_messages,
    on_network,
    on_processes,
    on_server,
    on_topology,
    soak,
)
from tests.faults.scene import SCENARIOS

__all__ = [
    "ELSEWHERE",
    "SCENARIOS",
    "SOAK",
    "on_disk",
    "on_durability",
    "on_foreign_code",
    "on_memory",
    "on_messages",
    "on_network",
    "on_processes",
    "on_server",
    "on_topology",
    "soak",
]

SOAK = 39
# Faults that the normal tests cover: number -> tests.
ELSEWHERE = {
    1: "tests/faults/kill_loop.py, tests/faults/test_kill_loop.py",
    2: "tests/worker/test_leases.py: children_end_with_their_supervisor",
    4: "tests/worker/test_leases.py: stopped_child_keeps_its_lease",
    17: "typedq doctor",
    18: "tests/worker/test_server.py: worker_continues_after_script_flush",
    21: "tests/worker/test_cron.py: every_slot_once_with_five_supervisors_and_kills",
    22: "tests/policy/test_cron.py",
    25: "tests/worker/test_limits.py: a_child_that_leaks; python -m tests.faults.limits leak",
    28: "tests/worker/test_outcomes.py: a_task_that_a_worker_does_not_have_waits",
    29: "tests/faults/test_rolling_deploy.py: in_a_deploy_every_message_runs_once",
    30: "tests/worker/test_limits.py: no_task_that_finished; python -m tests.faults.limits hammer",
    31: "tests/worker/test_limits.py: beyond_its_hard_timeout_nothing_of_a_task_is_left",
    32: "tests/worker/test_stop.py",
    33: "tests/worker/test_stop.py: worker_whose_children_die_at_start; tests/cli/test_worker.py",
    36: "tests/worker/test_leases.py: supervisor_stopped_for_three_leases",
    37: "tests/broker/test_client.py: eight_threads, parent_and_four_forks, many_coroutines",
}
