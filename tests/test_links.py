"""Test that each relative link and anchor of the documentation leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?^ {0,3}\1`*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`+[^`]+`+")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^\s<>()]*)>?(?:\s+\"[^\"]*\")?\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:[ \t]*<?([^\s<>]+)", re.MULTILINE)
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    found = set[str]()
    for heading in HEADING.findall(FENCE.sub("", text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = first = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        number = 0
        while slug in found:
            slug = f"{first}-{(number := number + 1)}"
        found.add(slug)
    return found


def broken_links(page: Path) -> list[str]:
    """Return each link of a page that leads nowhere, with the reason."""
    broken = list[str]()
    text = CODE.sub("", FENCE.sub("", page.read_text("utf-8")))
    for link in LINK.findall(text) + REFERENCE.findall(text):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            broken.append(f"{link}: there is no {path}")
        elif anchor and anchor not in anchors(target.read_text("utf-8")):
            broken.append(f"{link}: {target.name} has no heading #{anchor}")
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    "link",
    [
        *("b.md", "b.md#one-two", "#here", "#here-1", "b.md#with-code-and-a-link", "../a/b.md"),
        *("https://example.org/none#x", "mailto:a@b.c"),
    ],
)
def test_a_good_link_passes(link: str, tmp_path: Path) -> None:
    page = tmp_path / "a" / "a.md"
    page.parent.mkdir()
    page.write_text(f"# Here\n\n[text]({link}) and `[code](none.md)`\n\n# Here\n")
    (page.parent / "b.md").write_text("# One two\n## With `code()` and [a link](a.md)\n")
    assert broken_links(page) == []


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("none.md", "there is no none.md"),
        ("b/none.md#x", "there is no b/none.md"),
        ("b.md#none", "b.md has no heading #none"),
        ("b.md#in-a-snippet", "b.md has no heading #in-a-snippet"),
        ("b.md#One", "b.md has no heading #One"),
        ("#none", "a.md has no heading #none"),
    ],
)
@pytest.mark.parametrize(
    "written", ["[text]({})", "[`code`]({})", "| a [b]({}) | c |", "![]({})", "[a]\n\n[a]: {}"]
)
def test_a_broken_link_is_found(link: str, reason: str, written: str, tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text(f"# Here\n\n{written.format(link)}\n")
    (tmp_path / "b.md").write_text("# One\n\n```sh\n# In a snippet\n```\n")
    assert broken_links(page) == [f"{link}: {reason}"]
