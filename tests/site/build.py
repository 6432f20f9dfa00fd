"""Lay the pages of the site out from docs/, and let zensical build it strictly.

Zensical takes the Markdown as it is, needs no network, and is the maintained successor of Material
for MkDocs, which ends in May 2027. Its later versions could not be installed when this was written.

Pages also link to files of the repository. Each file that is linked becomes a page of its own, so
that the site needs no other host. .site/pages has the Markdown, .site/html the site.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tests.test_links import ELSEWHERE, FENCE, LINK

ROOT = Path(__file__).parents[2]
CONFIG = Path(__file__).with_name("zensical.toml")
# Pages beside docs/ -> where they are on the site.
OTHERS = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "threats.md",
}
MAX_SHOWN = 60_000  # bytes of a file that is shown
LANGUAGES = {".py": "py", ".yaml": "yaml", ".yml": "yaml", ".service": "ini"}
# Not found by a search: it would find tests before docs.
_FILE = """\
---
search:
  exclude: true
---

# {name}

`{path}`

{text}
"""


def build(directory: Path) -> int:
    """Build the site; return the exit code, which is 1 for any warning."""
    shutil.rmtree(directory, ignore_errors=True)
    lay_out(directory / "pages")
    shutil.copy(CONFIG, directory)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        env={**os.environ, "NO_COLOR": "1"},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        # Its traceback says nothing that its warnings do not.
        sys.stdout.write(done.stdout.partition("Traceback ")[0])
    return min(done.returncode, 1)


def lay_out(pages: Path) -> None:
    """Write all pages as Markdown: docs/, the others, and each file that one of them links to."""
    sources = {f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")} | OTHERS
    shutil.copytree(ROOT / "docs", pages)
    waiting = list(sources)
    for source in waiting:  # grows while it runs

        def place_of(target: str) -> str:
            if target not in sources:
                file = f"{target}/index.md" if (ROOT / target).is_dir() else f"{target}.md"
                # The generator leaves out what begins with a dot.
                sources[target] = f"files/{file}".replace("/.", "/")
                waiting.append(target)
            return sources[target]

        is_page = source.endswith(".md")
        text = (ROOT / source).read_text("utf-8") if is_page else _file_page(source)
        page = pages / sources[source]
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_relink(text, source, sources[source], place_of), "utf-8")


def _relink(text: str, source: str, page: str, place_of: Callable[[str], str]) -> str:
    """Return the text with each link to a file of the repository leading to its page."""
    start = PurePosixPath(source).parent if not (ROOT / source).is_dir() else PurePosixPath(source)

    def changed(found: re.Match[str]) -> str:
        link, _, anchor = found[1].partition("#")
        if not link or ELSEWHERE.match(link):
            return found[0]
        target = os.path.normpath(start / link)
        if not re.search(r"\.(png|svg)$", target):
            where = os.path.relpath(place_of(target), PurePosixPath(page).parent)
            link = where + (f"#{anchor}" if anchor else "")
        return found[0].replace(f"({found[1]}", f"({link}")

    fences = [found.span() for found in FENCE.finditer(text)]
    parts, end = list[str](), 0
    for fence in [*fences, (len(text), len(text))]:
        parts += [LINK.sub(changed, text[end : fence[0]]), text[fence[0] : fence[1]]]
        end = fence[1]
    return "".join(parts)


def _file_page(source: str) -> str:
    """Return a page that shows a file, or lists the files of a directory."""
    path = ROOT / source
    if path.is_dir():
        names = sorted(each.name for each in path.iterdir() if each.name[0] not in "_.")
        items = [f"- [{each}]({each})" for each in names if (path / each).is_file()]
        return _FILE.format(name=path.name, path=f"{source}/", text="\n".join(items))
    text = path.read_text("utf-8").strip("\n")[:MAX_SHOWN]
    fence = "`" * 4
    # Colours cost most of the time of a build, so only what readers copy from has them.
    copied = source.startswith(("deploy/", "examples/"))
    language = LANGUAGES.get(path.suffix, "text") if copied else "text"
    shown = f"{fence}{language}\n{text}\n{fence}"
    return _FILE.format(name=path.name, path=source, text=shown)
