"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

pytest_plugins = ["pytester"]
APP = """
from typedq import TypedQ
app = TypedQ("shop", url="redis://127.0.0.1:1/0")

@app.task
def add(a: int, b: int) -> None: ...

def make() -> TypedQ:
    return app
"""
INI = "[pytest]\ntypedq_app = shop:app\npythonpath = .\nfilterwarnings = error\n"


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Runs a file of tests on the app above, and says how that went."""

    def run(test: str, ini: str = INI) -> pytest.RunResult:
        pytester.makepyfile(shop=APP, test_shop="import os, pytest\n" + textwrap.dedent(test))
        pytester.makeini(ini)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider")

    return run


Run = Callable[..., pytest.RunResult]


def test_an_outbox_for_each_test(run: Run) -> None:
    done = run(
        """
        from shop import add

        def test_one(typedq_outbox):
            add.enqueue(1, 2)
            assert typedq_outbox.calls(add) == [add.call(1, 2)]

        def test_another(typedq_outbox):
            assert typedq_outbox.calls() == []
            assert typedq_outbox.run() == 0
        """,
    )
    assert done.ret == 0


def test_a_fixture_of_ones_own_chooses_the_app(run: Run) -> None:
    done = run(
        """
        import shop

        @pytest.fixture
        def typedq_app():
            return shop.make()

        def test_one(typedq_outbox):
            shop.add.enqueue(1, 2)
            assert typedq_outbox.run() == 1
        """,
        ini="[pytest]\npythonpath = .\n",
    )
    assert done.ret == 0


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("", "set typedq_app = module:attr in pytest's configuration, or a fixture of that name"),
        ("shop", "typedq_outbox needs to know the app"),
        ("shop:make", "shop has no TypedQ of that name; where a function makes it"),
        ("shop:nothing", "shop has no TypedQ of that name"),
    ],
)
def test_an_app_that_cannot_be_had_is_told(named: str, told: str, run: Run) -> None:
    test = "def test_one(typedq_outbox): ..."
    done = run(test, INI.replace("shop:app", named))
    assert done.ret == 1
    assert told in done.stdout.str()


def test_a_server_of_its_own_for_the_run(run: Run) -> None:
    done = run(
        """
        from typedq import TypedQ

        before = os.environ.get("TYPEDQ_URL")

        @pytest.fixture(scope="session", autouse=True)
        def outer():
            yield
            assert os.environ.get("TYPEDQ_URL") == before

        def test_it_is_real(outer, typedq_server):
            assert os.environ["TYPEDQ_URL"] == typedq_server.url
            app = TypedQ("n")
            receipt = app.task(name="t")(print_nothing).enqueue()
            assert receipt.queue == "default"
            app.broker.close()

        def print_nothing() -> None: ...
        """,
    )
    assert done.ret == 0


@pytest.mark.usefixtures("unmeasured")
def test_the_plugin_is_there_by_itself_and_stays_light(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("typedq")
    heavy = "{'redis', 'pydantic', 'typer', 'croniter', 'psutil', 'asyncio', 'typedq.broker'}"
    code = f"import sys, typedq.testing.plugin; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
