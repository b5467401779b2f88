"""Every link of a page leads somewhere: to a file that is there, and to a heading that the file has."""

import re
from pathlib import Path

import pytest

from tests.support.pages import ROOT, names, prose

# A name on any host is not asked for: the suite needs no network.
ELSEWHERE = re.compile(r"[a-z]+:")


def links(page: str) -> list[str]:
    text = re.sub(r"`[^`\n]*`(?!\])", "", prose(page))
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not ELSEWHERE.match(link)]


def anchors(page: Path) -> set[str]:
    """The names that a heading can be reached by, as forges make them."""
    found: set[str] = set()
    for heading in re.findall(r"(?m)^#+ (.*)$", prose(str(page))):
        name = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")
        number = 0
        while (once_more := name if not number else f"{name}-{number}") in found:
            number += 1
        found.add(once_more)
    return found


@pytest.mark.parametrize("page", names())
def test_every_link_leads_somewhere(page: str) -> None:
    wrong = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_links_and_headings_are_found() -> None:
    assert "docs/harness.md" in links("README.md")
    assert "track-record" in anchors(ROOT / "jepsen-like" / "README.md")
