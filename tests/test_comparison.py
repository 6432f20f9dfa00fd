"""What docs/ says of other queues holds for the versions that are installed, if any is.

The environments of `python -m benchmarks` have them: `.bench/celery/bin/python -m pytest ...`.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import version as version_of
from typing import Any

import pytest


def installed(name: str, version: str) -> Any:
    """Return a module; skip the test if another series of it is installed, or none."""
    module: Any = pytest.importorskip(name)
    if not version_of(name).startswith(version):
        pytest.skip(f"docs/comparison.md is about {name} {version}, not {version_of(name)}")
    return module


def test_celery_checks_the_number_of_arguments_and_not_their_types() -> None:
    celery = installed("celery", "5.7")
    app = celery.Celery("shop", broker="memory://")

    def declared(x: int, y: int) -> None: ...

    add: Any = app.task(declared)
    add.apply_async(("one", "two"))
    with pytest.raises(TypeError):
        add.apply_async((1,))
    assert app.conf.task_acks_late is False
    assert app.conf.task_reject_on_worker_lost is None
    assert "pydantic" in inspect.signature(app._task_from_fun).parameters


def test_rq_has_what_the_table_names() -> None:
    rq = installed("rq", "3.0")
    assert {"enqueue", "enqueue_in", "enqueue_at", "enqueue_many", "empty"} <= {*dir(rq.Queue)}
    assert {"max", "interval"} <= {*inspect.signature(rq.Retry).parameters}
    assert "iscoroutine" in inspect.getsource(import_module("rq.job"))
    import_module("rq.cron")


def test_dramatiq_has_what_the_table_names() -> None:
    dramatiq = installed("dramatiq", "2.2")
    middleware: Any = import_module("dramatiq.middleware")
    stub: Any = import_module("dramatiq.brokers.stub")
    dramatiq.set_broker(stub.StubBroker())
    add = dramatiq.actor(lambda x, y: None, actor_name="add", queue_name="high", max_retries=5)
    assert add.send_with_options(args=("no", "check"), delay=10_000).args == ("no", "check")
    assert dramatiq.group([add.message(1, 2)])
    assert dramatiq.errors.Retry("", delay=30_000)
    assert middleware.CurrentMessage
    assert not issubclass(middleware.TimeLimitExceeded, Exception)
    assert {"throws", "max_retries"} <= middleware.Retries(max_retries=20).actor_options
    hooks = {"before_process_message", "after_process_message", "before_enqueue"}
    assert hooks | {"after_worker_boot"} <= {*dir(middleware.Middleware)}


def test_arq_has_what_the_table_names() -> None:
    arq = installed("arq", "0.28")
    worker: Any = import_module("arq.worker")
    options = inspect.signature(arq.ArqRedis.enqueue_job).parameters
    assert {"_defer_by", "_defer_until", "_queue_name", "_expires", "_job_id"} <= {*options}
    assert inspect.iscoroutinefunction(arq.ArqRedis.enqueue_job)
    settings = inspect.signature(worker.Worker).parameters
    hooks = {"on_startup", "on_shutdown", "on_job_start", "on_job_end"}
    assert hooks | {"max_tries", "job_timeout", "cron_jobs", "max_jobs"} <= {*settings}
    assert settings["keep_result"].default == 3600
    assert inspect.signature(arq.cron).parameters["unique"].default is True
