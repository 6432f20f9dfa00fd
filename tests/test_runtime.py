"""Directories that nobody else may enter, whoever makes them first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from typedq import runtime
from typedq.errors import ConfigurationError
from typedq.worker.locks import HostLock, directory


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime directory that does not exist yet."""
    place = tmp_path / "run" / "user"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    return place


def modes(path: Path, below: Path) -> set[int]:
    made = [each for each in (path, *path.parents) if each.is_relative_to(below) and each != below]
    return {each.stat().st_mode & 0o777 for each in made}


@pytest.mark.usefixtures("umask")
def test_every_directory_that_is_made_is_of_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    for _ in range(2):
        assert runtime.private(path, "…") == path
        assert modes(path, tmp_path) == {0o700}


@pytest.mark.usefixtures("umask")
def test_a_worker_that_comes_first_leaves_a_place_for_the_embedded_server(
    base: Path, tmp_path: Path
) -> None:
    lock = HostLock(directory("redis://here", "n"))
    (folder,) = runtime.directory(base).iterdir()
    assert modes(folder, tmp_path) == {0o700}
    runtime.private(runtime.directory(base), "…")
    lock.release()


def test_a_worker_refuses_a_place_that_others_may_enter(base: Path) -> None:
    theirs = runtime.directory(base)
    theirs.mkdir(mode=0o755, parents=True)
    with pytest.raises(ConfigurationError) as caught:
        directory("redis://here", "n")
    (problem,) = caught.value.problems
    assert problem == (
        f"{theirs} must be a directory of this user alone (mode 0700): "
        "remove it, or set XDG_RUNTIME_DIR to a directory of this user"
    )


@pytest.mark.parametrize("prepare", [Path.touch, Path.mkdir], ids=["file", "directory"])
def test_a_lock_is_not_made_where_others_prepared_its_folder(
    base: Path, prepare: Callable[[Path], None]
) -> None:
    folder = directory("redis://here", "n")
    prepare(folder)
    folder.chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"{folder} must be a directory of this user"):
        HostLock(folder)
