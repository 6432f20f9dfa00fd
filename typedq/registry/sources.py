"""Read the files of histories from a directory or a git ref, and compare them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from typedq.errors import ConfigurationError
from typedq.registry.history import History

_SSH = re.compile(r"[\w.-]+@[\w.-]+:")  # git@host:path
_ANCESTOR = re.compile(r"[^~^]+[~^](\d*)")  # HEAD~2 exists on no remote: fetch more history
_IN_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def in_directory(directory: Path) -> dict[str, bytes]:
    """Return files by path such as `send_email/1.json`; none if the directory is missing."""
    return {f"{p.parent.name}/{p.name}": content(p) for p in sorted(directory.glob("*/*.json"))}


def content(path: Path) -> bytes:
    """Return what a file holds. Raises ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be read: {error.strerror}"]) from None


def at_git(ref: str, directory: Path) -> dict[str, bytes]:
    """Do as `in_directory` at a git ref. Raises ConfigurationError."""
    here = directory.resolve()
    while not here.is_dir():
        here = here.parent
    below = directory.resolve().relative_to(here).as_posix()
    _check_ref(ref, here)
    prefix = (_git(here, "rev-parse", "--show-prefix") or b"").decode().strip()
    tree = f"{ref}:{prefix}{'' if below == '.' else below}"
    listed = _list_tree(here, tree)
    names = [name for name in listed if name.count("/") == 1 and name.endswith(".json")]
    requests = "".join(
        f"{tree.rstrip('/')}{'' if tree.endswith(':') else '/'}{name}\n" for name in names
    )
    output = _git(here, "cat-file", "--batch", stdin=os.fsencode(requests)) or b""
    files, at = dict[str, bytes](), 0
    for name in names:
        end = output.index(b"\n", at)
        size = int(output[at:end].rsplit(b" ", 1)[1])
        files[name], at = output[end + 1 : end + 1 + size], end + 2 + size
    return files


def repository(place: str) -> tuple[str, str]:
    """Split `DIRECTORY#REF`; the directory is empty for `REF` alone. Raises ConfigurationError."""
    if "://" in place or _SSH.match(place):
        problem = f"{place} is not on this machine; check that repository out, and give its folder"
        raise ConfigurationError([problem])
    folder, _, ref = place.rpartition("#")
    return (folder, ref) if folder and Path(folder).is_dir() else ("", place)


def files_at_git(place: str, name: str = "") -> dict[str, bytes]:
    """Return the file at `REF:PATH`, or files of a name below it, by where they are.

    PATH is from the root of the repository, which is this one, or that of `DIRECTORY#REF:PATH`.
    Raises ConfigurationError.
    """
    folder, rest = repository(place)
    ref, _, path = rest.partition(":")
    here = Path(folder or ".")
    _check_ref(ref, here)
    prefix = f"{path.strip('/')}/" if path else ""
    wanted = [
        file
        for file in _list_tree(here, ref)
        if file == path or (file.startswith(prefix) and file.rpartition("/")[2] == name)
    ]
    where = f"git:{folder}{'#' if folder else ''}{ref}"
    return {f"{where}:{n}": _git(here, "show", f"{ref}:{n}") or b"" for n in wanted}


def _check_ref(ref: str, here: Path) -> None:
    """Raise ConfigurationError unless git knows a commit by this name."""
    is_name = ref and not ref.startswith("-")  # which would be an option
    if not is_name or _git(here, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}") is None:
        raise ConfigurationError([_no_ref(ref, here)])


def _list_tree(here: Path, tree: str) -> list[str]:
    """Return the paths of all files in a tree of git."""
    listed = _git(here, "ls-tree", "-r", "-z", "--name-only", "--full-tree", tree) or b""
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]


def _git(here: Path, *words: str, stdin: bytes = b"") -> bytes | None:
    """Return the output of git; None if it fails."""
    done = _run(here, *words, stdin=stdin)
    return done.stdout if done.returncode == 0 else None


def _run(here: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    # In a hook, these variables make git ignore the repository of `here`.
    env = {name: value for name, value in os.environ.items() if name not in _IN_HOOKS}
    command = ("git", "-C", str(here), *words)
    try:
        return subprocess.run(command, input=stdin, env=env, capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigurationError(["git is not installed; give --against a directory"]) from None


def _no_ref(ref: str, here: Path) -> str:
    shallow = _run(here, "rev-parse", "--is-shallow-repository")
    if shallow.returncode:
        why = shallow.stderr.decode(errors="replace").strip().partition("\n")[0]
        hint = "run it in a git repository, or give --against a directory"
        return f"git cannot read {ref!r} in {here}: {why}; {hint}"
    folder, has_folder, _ = ref.rpartition("#")
    if has_folder:
        return f"there is no directory {folder}, and git does not know {ref!r}"
    remote, _, branch = ref.partition("/")
    if not branch and shallow.stdout.strip() != b"true":
        return f"git does not know {ref!r}; it takes a branch, a tag or a commit"
    if steps := _ANCESTOR.fullmatch(ref):
        fetch = f"git fetch --deepen={int(steps[1] or 1)}"
    else:
        target = f"+{branch}:refs/remotes/{ref}" if branch else ref
        fetch = f"git fetch --depth=1 {remote if branch else 'origin'} {target}"
    return f"git does not know {ref!r}, which this clone may lack; first `{fetch}`"


def modified_versions(
    local: Mapping[str, History], base: Mapping[str, History], where: str, against: str
) -> list[str]:
    """Return a problem for each version of `base` that `local` lacks or has changed."""
    problems = list[str]()
    for task, history in base.items():
        if task not in local:
            continue  # reported by the check as TASK_REMOVED
        ours = {version.number: version for version in local[task].versions}
        for version in history.versions:
            file = f"{where}/{task}/{version.number}.json"
            mine = ours.get(version.number)
            if mine is None:
                problems.append(f"{file} is missing, {against} has it; merge it first")
            elif mine.schema != version.schema:
                problems.append(
                    f"{file} differs from the one at {against}: keep that one, and run typedq"
                    " export-schemas again"
                )
    return problems
