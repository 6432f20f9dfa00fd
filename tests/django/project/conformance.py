"""What Django's own tests ask of a backend, as far as the flags of ours claim it.

Theirs use tasks without contracts, and backends that run a task at once or keep its result.
"""

# ruff: noqa: PT009, PT027 - a test case of Django's, run without pytest
from __future__ import annotations

import asyncio
import pickle
import unittest
from datetime import UTC, datetime, timedelta
from typing import Any

import django

django.setup()

from django.test import SimpleTestCase  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from tests.django.project.framework import (  # noqa: E402
    Task,
    default_task_backend,
    exceptions,
    is_in_django,
    task,
    task_backends,
)
from tests.django.project.tasks import attempts, fail, plain, write  # noqa: E402
from typedq.django.backend import TypedQBackend  # noqa: E402
from typedq.django.tasks_framework import InvalidTask, TaskResultStatus  # noqa: E402
from typedq.errors import InvalidArguments  # noqa: E402

anyhow: Any = plain  # for calls that a type checker refuses
declare: Any = task
LATER = datetime.now(UTC) + timedelta(hours=1)


def uncontexted(text: str) -> None: ...


class Conformance(SimpleTestCase):
    def test_the_backend_is_that_of_the_setting(self) -> None:
        backend: Any = task_backends["default"]
        self.assertIsInstance(backend, TypedQBackend)
        self.assertEqual(backend, default_task_backend)
        self.assertEqual((backend.alias, backend.options), ("default", {}))

    def test_tasks_are_declared_with_and_without_brackets(self) -> None:
        for each, name in ((write, "write"), (plain, "plain"), (attempts, "attempts")):
            self.assertIsInstance(each, Task)
            self.assertEqual(each.name, name)
            self.assertEqual(each.module_path, f"tests.django.project.tasks.{name}")
            self.assertIs(import_string(each.module_path), each)
            self.assertEqual((each.priority, each.run_after, each.backend), (0, None, "default"))

    def check_waiting(self, result: Any, of: object, args: list[Any], kwargs: object) -> None:
        self.assertEqual(result.status, TaskResultStatus.READY)
        self.assertEqual((result.task, result.args, result.kwargs), (of, args, kwargs))
        self.assertIs(result.is_finished, False)
        self.assertIsNotNone(result.enqueued_at)
        times = (result.started_at, result.last_attempted_at, result.finished_at)
        self.assertEqual((times, result.attempts, result.errors), ((None,) * 3, 0, []))
        with self.assertRaises(ValueError):
            _ = result.return_value

    def test_enqueue(self) -> None:
        self.check_waiting(plain.enqueue(1, two=3), plain, [1], {"two": 3})
        self.check_waiting(attempts.enqueue(text="x"), attempts, [], {"text": "x"})
        self.check_waiting(default_task_backend.enqueue(plain, [], {}), plain, [], {})

    def test_aenqueue(self) -> None:
        self.check_waiting(asyncio.run(plain.aenqueue(1, two=3)), plain, [1], {"two": 3})
        self.check_waiting(asyncio.run(attempts.aenqueue("x")), attempts, ["x"], {})

    def test_an_enqueue_is_logged_with_its_id(self) -> None:
        logger = "django.tasks" if is_in_django else "django_tasks"
        with self.assertLogs(logger, level="DEBUG") as logs:
            result = plain.enqueue()
        self.assertEqual(len(logs.output), 1)
        self.assertIn(result.id, logs.output[0])

    def test_arguments_that_the_contract_refuses(self) -> None:
        with self.assertRaisesMessage(InvalidArguments, "$.one"):
            anyhow.enqueue(datetime.now(UTC))
        with self.assertRaisesMessage(InvalidArguments, "$.one"):
            asyncio.run(anyhow.aenqueue(object()))

    def test_using_makes_another_task(self) -> None:
        self.assertEqual(plain.using(), plain)
        self.assertIsNot(plain.using(), plain)
        chained = plain.using(run_after=LATER).using(queue_name="high")
        self.assertEqual((chained.run_after, chained.queue_name), (LATER, "high"))
        self.assertEqual((plain.run_after, plain.queue_name), (None, "default"))
        self.check_waiting(chained.enqueue(), chained, [], {})

    def test_what_using_refuses(self) -> None:
        with self.assertRaisesMessage(InvalidTask, "Queue 'queue-2' is not valid for backend."):
            plain.using(queue_name="queue-2")
        with self.assertRaisesMessage(InvalidTask, "does not support setting priority"):
            plain.using(priority=10)
        with self.assertRaisesMessage(InvalidTask, "run_after must be an aware datetime."):
            plain.using(run_after=datetime.now())  # noqa: DTZ005
        unknown = "InvalidTaskBackend" if is_in_django else "InvalidTaskBackendError"
        with self.assertRaises(getattr(exceptions, unknown)):
            plain.using(backend="unknown").get_backend()

    def test_functions_that_are_no_tasks(self) -> None:
        def inner() -> None: ...

        for function in (any, inner, self.test_functions_that_are_no_tasks):
            with self.assertRaisesMessage(InvalidTask, "defined at a module level"):
                declare()(function)
        with self.assertRaisesMessage(InvalidTask, "does not have a first argument of 'context'"):
            declare(takes_context=True)(uncontexted)

    def test_a_task_is_called_here(self) -> None:
        self.assertEqual(plain.call(40, two=2), 42)
        self.assertEqual(asyncio.run(plain.acall(40, 2)), 42)
        with self.assertRaisesMessage(RuntimeError, "here"):
            fail.call("here")

    def test_results_are_not_kept_and_the_backend_says_so(self) -> None:
        result = plain.enqueue()
        for ask in (lambda: plain.get_result(result.id), result.refresh):
            with self.assertRaises(NotImplementedError):
                ask()
        for aask in (lambda: plain.aget_result(result.id), result.arefresh):
            with self.assertRaises(NotImplementedError):
                asyncio.run(aask())

    @unittest.skipUnless(is_in_django, "tasks of the backport cannot be pickled")
    def test_tasks_and_results_are_pickled(self) -> None:
        result = plain.enqueue(1)
        self.assertEqual(pickle.loads(pickle.dumps(plain)), plain)
        self.assertEqual(pickle.loads(pickle.dumps(result)), result)


if __name__ == "__main__":
    unittest.main()
