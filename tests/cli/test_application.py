"""Which app: where its path comes from, and what a bad path is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Shop

PATHS = [
    ("shop", "write it as module:attr, such as myapp.tasks:app"),
    (":app", "write it as module:attr"),
    ("shopp:app", "No module named 'shopp'; it is neither installed nor in the current directory"),
    ("shop.x:app", "No module named 'shop.x'"),
    ("./shop:app", "that is a file, not a module: myapp/tasks.py is myapp.tasks"),
    ("shop.py:app", "that is a file, not a module"),
    ("shop:ap", "shop has no 'ap' (did you mean 'app'?)"),
    ("shop:Email", "it is a StructMeta, not a TypedQ or a function that returns one"),
    ("shop:hold", "it is a Task, not a TypedQ"),
    ("shop:needs", "this function takes arguments; an app factory has none"),
    ("shop:wrong", "this function returned a int, not a TypedQ"),
]


@pytest.mark.parametrize(("path", "message"), PATHS)
def test_a_bad_path_is_explained(path: str, message: str, shop: Shop) -> None:
    error = shop.error("tasks", path)
    assert error.startswith(f"error: cannot load the app '{path}': ")
    assert message in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nothing_of_this_name", "importing it raised ModuleNotFoundError"),
        ("def (", "importing it raised SyntaxError"),
    ],
)
def test_an_error_inside_the_module_shows_its_traceback(
    text: str, message: str, shop: Shop
) -> None:
    shop.file("broken.py", text)
    error = shop.error("tasks", "broken:app", code=1)
    assert "broken.py" in error
    assert message in error
    assert "importlib" not in error


def test_a_factory_that_raises_shows_its_traceback(shop: Shop) -> None:
    error = shop.error("tasks", "shop:boom", code=1)
    assert error.startswith("Traceback")
    assert "calling it raised ValueError" in error


def test_a_task_without_a_contract_is_one_clear_line(shop: Shop) -> None:
    shop.file("vague.py", "from shop import app\n@app.task\ndef t(x): ...\n")
    assert shop.error("tasks", "vague:app").startswith("error: task 't' has no contract: param")


def test_imports_that_are_missing_and_imports_that_fail_differ(shop: Shop) -> None:
    shop.env["TYPEDQ_IMPORTS"] = "missing_tasks"
    assert "imports= lists it, but there is no such module" in shop.error("tasks")
    shop.env["TYPEDQ_IMPORTS"] = "broken"
    shop.file("broken.py", "1 / 0")
    assert "ZeroDivisionError" in shop.error("worker", "-b", code=1)


def test_no_app_at_all_names_every_way_to_give_one(shop: Shop) -> None:
    del shop.env["TYPEDQ_APP"]
    error = shop.error("tasks")
    for way in ("-A", "TYPEDQ_APP", "[tool.typedq]"):
        assert way in error


def test_position_beats_environment_beats_pyproject(shop: Shop) -> None:
    shop.file("pyproject.toml", '[tool.typedq]\napp = "from_pyproject:app"\n')
    assert "from_place" in shop.error("tasks", "from_place:app")
    assert "from_option" in shop.error("tasks", "-A", "from_option:app")
    shop.env["TYPEDQ_APP"] = "from_environment:app"
    assert "from_environment" in shop.error("tasks")
    del shop.env["TYPEDQ_APP"]
    assert "from_pyproject" in shop.error("tasks")
    assert "'a:b' and 'c:d': give only one of them" in shop.error("tasks", "a:b", "-A", "c:d")


def test_a_factory_in_another_directory_is_called(shop: Shop) -> None:
    (shop.directory / "src").mkdir()
    (shop.directory / "shop.py").rename(shop.directory / "src" / "shop.py")
    assert "resize" in shop.out("tasks", "shop:make", "--app-dir", "src")
    assert "does not exist" in shop.error("tasks", "--app-dir", "nowhere")
