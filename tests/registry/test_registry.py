"""The history of contracts: its files, its sources, and what it allows."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest

from typedq import ConfigurationError
from typedq.contracts import document, fingerprint
from typedq.registry import (
    Accepted,
    Declared,
    History,
    Order,
    Verdict,
    Version,
    at_git,
    check_histories,
    common_order,
    in_directory,
    modified_versions,
    next_version,
    parse,
)


def schema(**kinds: Any) -> dict[str, Any]:
    """The contract of a Struct with these fields: a type, or a type and its default."""
    return document(msgspec.defstruct("T", [(n, *_pair(kind)) for n, kind in kinds.items()]))


def _pair(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


A = schema(a=int)
B_OPTIONAL = schema(a=int, b=(str, ""))
B_REQUIRED = schema(a=int, b=str)
STRINGS = schema(a=str)


def task(now: dict[str, Any], name: str = "t", **more: Any) -> Declared:
    return Declared(name, fingerprint(now), now, **more)


def history(
    *schemas: dict[str, Any], task: str = "t", mode: str | None = None, **more: Any
) -> dict[str, History]:
    versions = [Version(n, fingerprint(s), s, mode) for n, s in enumerate(schemas, 1)]
    return {task: History(task, tuple(versions), **more)}


def only(verdicts: list[Verdict]) -> Verdict:
    (verdict,) = verdicts
    return verdict


def file(now: dict[str, Any], number: int, task: str = "t", mode: str | None = None) -> bytes:
    return next_version(task, number, now, mode).encode()


# --- files --------------------------------------------------------------------------------------


def test_a_version_is_stable_readable_and_read_back() -> None:
    text = next_version("t", 1, B_REQUIRED, "full")
    assert text == next_version("t", 1, B_REQUIRED, "full")
    assert text.endswith("\n}\n")
    written = json.loads(text)
    assert list(written)[:2] == ["$schema", "x-typedq"]
    assert sorted(written["x-typedq"]) == ["document", "fingerprint", "mode", "task", "version"]
    assert parse({"t/1.json": text.encode()}, "schemas") == history(B_REQUIRED, mode="full")


def test_versions_are_in_the_order_of_their_numbers() -> None:
    files = {f"t/{n}.json": file(schema(a=int, **{f"b{n}": str}), n) for n in range(1, 12)}
    (found,) = parse(dict(sorted(files.items())), "schemas").values()
    assert [version.number for version in found.versions] == [*range(1, 12)]


def _edited(**block: Any) -> bytes:
    whole = json.loads(file(A, 1))
    whole["x-typedq"].update(block)
    return json.dumps(whole).encode()


BROKEN: dict[str, tuple[Mapping[str, bytes], str]] = {
    "edited": (
        {"t/1.json": file(A, 1).replace(b"integer", b"string")},
        "s/t/1.json: was edited; history is never changed",
    ),
    "other task": (
        {"t/1.json": file(A, 1, "u")},
        "s/t/1.json: says that its task is 'u', not 't'",
    ),
    "other number": ({"t/1.json": file(A, 2)}, "says that it is version 2; the name disagrees"),
    "no number": ({"t/one.json": file(A, 1)}, "s/t/one.json: says that it is version 1"),
    "zero padded": ({"t/01.json": file(A, 1)}, "s/t/01.json: says that it is version 1"),
    "gap": (
        {"t/1.json": file(A, 1), "t/4.json": file(A, 4)},
        "s/t: there is version 4, but not 2, 3",
    ),
    # A gap is named, not counted through: a name may hold any number.
    "wide gap": (
        {"t/1.json": file(A, 1), "t/3.json": file(A, 3), "t/999999999.json": file(A, 999999999)},
        "s/t: there is version 999999999, but not 2, 4 to 999999998; restore it",
    ),
    "high number": (
        {f"t/{10**20}.json": file(A, 10**20)},
        f"s/t/{10**20}.json: has a number above 999999999",
    ),
    "long number": ({f"t/{'9' * 5_000}.json": file(A, 1)}, "has a number above 999999999"),
    "foreign digits": ({"t/\u0661.json": file(A, 1)}, "says that it is version 1; the name"),
    "conflict": (
        {"t/1.json": b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> b\n"},
        "s/t/1.json: holds a merge conflict: two branches wrote it; keep the file of the branch",
    ),
    "not JSON": ({"t/1.json": b"{"}, "s/t/1.json: is not JSON (Expecting property name"),
    "not UTF-8": ({"t/1.json": b'"\xff"'}, "s/t/1.json: is not text in UTF-8; restore the file"),
    "too deep": ({"t/1.json": b"[" * 200_000}, "s/t/1.json: is nested too deeply; restore"),
    "no block": ({"t/1.json": b"{}"}, "so typedq export-schemas did not write it; restore it"),
    "no object": ({"t/1.json": b"[]"}, "has no x-typedq block"),
    "fingerprint": (
        {"t/1.json": _edited(fingerprint="0" * 16)},
        "s/t/1.json: has a wrong fingerprint; history",
    ),
    "mode": ({"t/1.json": _edited(mode="sideways")}, "the mode 'sideways', which is not one of"),
    "accepted": ({"t/accepted.json": b"{}"}, 'is not a list; an entry is {"rule": ..., "path"'),
    "entry": ({"t/accepted.json": b'[{"rule": "X"}]'}, "entry 1 cannot be read; an entry is"),
    "rule": (
        {"t/accepted.json": b'[{"rule": "X", "path": "$", "from": 1, "reason": "r"}]'},
        "entry 1: there is no rule 'X'; copy the entry that typedq check-schemas prints",
    ),
    "reason": (
        {"t/accepted.json": b'[{"rule":"TASK_REMOVED","path":"$","from":1,"reason":"..."}]'},
        "entry 1 has no reason; say why this may break",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_history_is_told(name: str) -> None:
    files, told = BROKEN[name]
    with pytest.raises(ConfigurationError) as refused:
        parse(files, "s")
    assert told in refused.value.problems[0]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse({"t/1.json": b"{", "u/1.json": b"[]", "v/2.json": file(A, 2, "v")}, "s")
    assert len(refused.value.problems) == 3


def test_what_is_no_history_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "t" / "notes.txt").write_text("hello")
    (tmp_path / "t" / "1.json").write_bytes(file(A, 1))
    assert in_directory(tmp_path) == {"t/1.json": file(A, 1)}
    assert in_directory(tmp_path / "absent") == {}


# --- git ----------------------------------------------------------------------------------------


@dataclass
class Repository:
    root: Path
    env: dict[str, str] = field(
        default_factory=lambda: {
            **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
            **{
                f"GIT_{who}_{what}": "a@b"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }
    )

    def git(self, *words: str) -> None:
        subprocess.run(
            ["git", *words], cwd=self.root, env=self.env, check=True, capture_output=True
        )

    def commit(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(content)
        self.git("add", "-A")
        self.git("commit", "-qm", "x")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "project")
    made.root.mkdir()
    made.git("init", "-qb", "main")
    return made


def test_a_ref_is_read_as_it_was(repository: Repository) -> None:
    schemas, first = repository.root / "sub" / "schemas", file(A, 1)
    repository.commit({"sub/schemas/t/1.json": first, "sub/schemas/t/x/2.json": b"", "a.json": b""})
    repository.commit({"sub/schemas/t/2.json": file(STRINGS, 2), "sub/schemas/t/1.json": b"edited"})
    assert at_git("HEAD~1", schemas) == {"t/1.json": first}
    assert set(at_git("main", schemas)) == {"t/1.json", "t/2.json"}
    assert at_git("main", repository.root / "nowhere" / "deeper") == {}


def test_a_hook_of_git_is_no_other_place(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"sub/schemas/t/1.json": file(A, 1)})
    for place in (".git", str(repository.root / ".git")):
        monkeypatch.setenv("GIT_DIR", place)
        assert set(at_git("main", repository.root / "sub" / "schemas")) == {"t/1.json"}


def test_the_root_of_a_repository_may_be_the_history(repository: Repository) -> None:
    repository.commit({"t/1.json": file(A, 1)})
    assert set(at_git("HEAD", repository.root)) == {"t/1.json"}


def test_names_that_are_not_utf8_are_the_same_in_a_directory_and_at_git(
    repository: Repository,
) -> None:
    schemas = repository.root / "schemas"
    repository.commit({"schemas/" + os.fsdecode(b"caf\xe9") + "/1.json": b"{}"})
    found = at_git("HEAD", schemas)
    assert found == in_directory(schemas)
    assert list(found.values()) == [b"{}"]


def test_an_unknown_ref_is_told(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"t/1.json": file(A, 1)})
    for ref, told in [
        ("nope", "git does not know 'nope'; it takes a branch, a tag or a commit"),
        ("--help", "git does not know '--help'"),
        ("origin/main", "first `git fetch --depth=1 origin +main:refs/remotes/origin/main`"),
    ]:
        with pytest.raises(ConfigurationError) as refused:
            at_git(ref, repository.root)
        assert told in refused.value.problems[0]
    with pytest.raises(
        ConfigurationError, match=r"git cannot read 'main' in .*: fatal: not a git.*; run"
    ):
        at_git("main", tmp_path)


def test_a_shallow_clone_is_helped_by_what_the_error_says(repository: Repository) -> None:
    repository.commit({"t/1.json": file(A, 1)})
    repository.git("tag", "v1")
    repository.git("switch", "-qc", "feature")
    repository.commit({"t/2.json": file(STRINGS, 2)})
    clone = Repository(repository.root.with_name("clone"))
    url = f"file://{repository.root}"
    repository.git(
        "clone", "-q", "--depth=1", "--branch=feature", "--no-tags", url, str(clone.root)
    )
    with pytest.raises(ConfigurationError) as refused:
        at_git("origin/main", clone.root)
    clone.git(*refused.value.problems[0].split("`")[1].split()[1:])
    assert set(at_git("origin/main", clone.root)) == {"t/1.json"}
    with pytest.raises(ConfigurationError, match="first `git fetch --depth=1 origin"):
        at_git("v1", clone.root)
    with pytest.raises(ConfigurationError) as refused:
        at_git("HEAD~1", clone.root)
    clone.git(*refused.value.problems[0].split("`")[1].split()[1:])
    assert set(at_git("HEAD~1", clone.root)) == {"t/1.json"}


def test_a_history_that_differs_from_what_is_deployed_is_told() -> None:
    assert not modified_versions(history(A, B_OPTIONAL), history(A), "s", "git:main")
    assert not modified_versions({}, history(A), "s", "git:main")
    assert modified_versions(history(A), history(A, STRINGS), "s", "git:main") == [
        "s/t/2.json is missing, git:main has it; merge it first"
    ]
    (problem,) = modified_versions(history(A, B_OPTIONAL), history(A, STRINGS), "s", "git:main")
    assert problem.startswith("s/t/2.json differs from the one at git:main: keep that one, and run")


# --- the check -----------------------------------------------------------------------------------

MODES: list[tuple[dict[str, Any], list[dict[str, Any]], dict[str, bool]]] = [
    (B_OPTIONAL, [A], {"backward": True, "forward": True, "full": True}),
    (B_REQUIRED, [A], {"backward": False, "forward": True, "full": False}),
    (A, [B_REQUIRED], {"backward": True, "forward": False, "full": False}),
    (STRINGS, [A], {"backward": False, "forward": False, "full": False}),
    # each step is safe, the whole is not
    (
        schema(b=(str, "")),
        [schema(b=(int, 0)), schema(c=(int, 0))],
        {"full": True, "full_transitive": False, "backward_transitive": False, "backward": True},
    ),
    (B_REQUIRED, [A, B_REQUIRED], {"backward": False, "backward_transitive": False}),
]


@pytest.mark.parametrize(("now", "past", "modes"), MODES)
def test_a_mode_says_what_must_hold(
    now: dict[str, Any], past: list[dict[str, Any]], modes: dict[str, bool]
) -> None:
    for mode, safe in modes.items():
        base = history(*past)
        local = history(*past, now)
        for verdict in (
            only(check_histories([task(now)], local, mode=mode)),
            only(check_histories([task(now)], history(*past), mode=mode)),
        ):
            assert any(finding.fails for finding in verdict.findings) != safe, mode
        if past[-1] is not now:
            assert only(check_histories([task(now)], local, base, mode=mode)).fails != safe, mode


def test_check_after_exporting_an_unsafe_version_still_fails() -> None:
    for mode in ("backward", "backward_transitive"):
        verdict = only(check_histories([task(B_REQUIRED)], history(A, B_REQUIRED), mode=mode))
        assert (verdict.status, verdict.exported, verdict.fails) == ("unsafe", True, True)


def test_the_mode_is_given_or_the_tasks_own_or_the_apps() -> None:
    def mode_of(own: str | None, **more: Any) -> str:
        return only(check_histories([task(A)], history(A, mode=own), **more)).mode

    assert mode_of(None) == "backward_transitive"
    assert mode_of(None, default_mode="full") == "full"
    assert mode_of("forward", default_mode="full") == "forward"
    assert mode_of("forward", default_mode="full", mode="backward") == "backward"


@pytest.mark.parametrize(
    ("now", "past", "status", "order"),
    [
        (A, history(A), "unchanged", "any"),
        (A, {}, "not exported", "workers first"),
        (B_OPTIONAL, history(A), "not exported", "any"),
        (B_OPTIONAL, history(A, B_OPTIONAL), "unchanged", "any"),
        (A, history(B_REQUIRED), "not exported", "workers first"),
        (B_REQUIRED, history(A), "unsafe", "producers first"),
        (STRINGS, history(A), "unsafe", "none"),
    ],
)
def test_status_and_order(
    now: dict[str, Any], past: dict[str, History], status: str, order: str
) -> None:
    verdict = only(check_histories([task(now)], past))
    assert (verdict.status, verdict.order) == (status, order)


def test_what_is_deployed_decides_the_order_if_it_is_known() -> None:
    local = history(A, B_OPTIONAL)
    assert only(check_histories([task(B_OPTIONAL)], local, history(A))).status == "safe"
    assert only(check_histories([task(B_OPTIONAL)], local, local)).status == "unchanged"
    assert only(check_histories([task(A)], history(A), {})).order == "workers first"


def test_the_order_that_suits_all() -> None:
    orders: list[Order] = ["any", "workers first"]
    assert common_order([]) == "any"
    assert common_order(orders) == "workers first"
    assert common_order([*orders, "producers first"]) == "none"


def test_an_upcaster_makes_the_change_safe() -> None:
    verdict = only(check_histories([task(STRINGS, upcasters=(A,))], history(A, STRINGS)))
    assert (verdict.status, verdict.findings) == ("unchanged", ())
    assert [version.number for version in verdict.upcast] == [1]
    verdict = only(check_histories([task(STRINGS, upcasters=(A,))], history(A), mode="full"))
    assert [(f.backward, f.forward, f.fails) for f in verdict.findings] == [(False, True, True)]
    other = task(STRINGS, upcasters=(schema(a=bool),))
    assert only(check_histories([other], history(A))).status == "unsafe"


def test_what_an_upcaster_of_another_version_drops_is_told() -> None:
    now = schema(a=str, b=(str, ""))
    verdict = only(check_histories([task(now, upcasters=(A,))], history(A, B_OPTIONAL)))
    assert not verdict.fails or not verdict.exported
    told = {f.change.rule: f.change.message for f in verdict.findings if not f.fails}
    assert told == {
        "TYPE_CHANGED": "an upcaster reads older messages; old workers cannot read newer ones",
        "VALUE_DROPPED": 'messages written before this change may hold "b"; the new worker drops it'
        " silently",
    }


def test_the_history_of_an_alias_is_the_tasks_own() -> None:
    renamed = task(STRINGS, "new", aliases=("t",))
    verdict = only(check_histories([renamed], history(A)))
    assert (verdict.task, verdict.status, verdict.findings[0].history) == ("new", "unsafe", "t")
    renamed = task(A, "new", aliases=("t",))
    local = history(A) | history(A, task="new")
    assert only(check_histories([renamed], local, history(A))).status == "safe"
    assert only(check_histories([renamed], local, history(A))).order == "workers first"
    assert only(check_histories([renamed], local)).status == "unchanged"


def test_a_removed_task_is_found_until_it_is_accepted() -> None:
    verdict = only(check_histories([], history(A)))
    assert (verdict.status, verdict.order, verdict.fails) == ("removed", "producers first", True)
    assert verdict.findings[0].change.rule == "TASK_REMOVED"
    assert not only(check_histories([], history(A), mode="forward")).fails
    done = (Accepted("TASK_REMOVED", "$", 1, "nobody ships"),)
    assert not only(check_histories([], history(A, accepted=done))).fails
    assert only(check_histories([], history(A, accepted=done))).order == "any"
    verdict = only(check_histories([], history(A, accepted=done), history(A)))
    assert (verdict.fails, verdict.order) == (False, "producers first")
    assert not only(check_histories([], {}, history(A, accepted=done))).fails


class Wanted(TypedDict):
    version: int
    fails: bool
    stale_acceptances: bool


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("$.b", Wanted(version=2, fails=False, stale_acceptances=False)),
        ("$.b", Wanted(version=1, fails=True, stale_acceptances=False)),
        ("$.c", Wanted(version=2, fails=True, stale_acceptances=True)),
    ],
)
def test_an_accepted_break_holds_for_its_version_and_before(path: str, wanted: Wanted) -> None:
    accepted = (Accepted("FIELD_ADDED_REQUIRED", path, wanted["version"], "drained"),)
    past = history(A, schema(a=int, x=(int, 0)), accepted=accepted)
    verdict = only(check_histories([task(B_REQUIRED)], past))
    assert any(finding.fails for finding in verdict.findings) == wanted["fails"]
    assert bool(verdict.stale_acceptances) == wanted["stale_acceptances"]
    if not wanted["fails"]:
        told = next(f for f in verdict.findings if f.accepted)
        assert (told.accepted, [v.number for v in told.versions]) == ("drained", [1, 2])


def test_the_same_change_is_told_once_for_all_versions() -> None:
    verdict = only(check_histories([task(B_REQUIRED)], history(A, schema(a=int, x=(int, 0)))))
    (finding,) = [f for f in verdict.findings if f.fails]
    assert [version.number for version in finding.versions] == [1, 2]


def test_another_default_is_a_warning_and_no_change_of_contract() -> None:
    verdict = only(check_histories([task(schema(a=(int, 2)))], history(schema(a=(int, 1)))))
    assert (verdict.status, verdict.fails) == ("unchanged", False)
    assert [f.change.rule for f in verdict.findings] == ["DEFAULT_CHANGED"]


def test_a_long_history_is_judged_soon() -> None:
    past = history(*(schema(a=int, **{f"f{n}": (str, "")}) for n in range(100)))
    assert not only(check_histories([task(past["t"].versions[-1].schema)], past)).fails
