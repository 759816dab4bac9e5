"""Links between the documents: files that exist, headings that exist."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.service import ROOT

LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
TRACKED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()


def links(document: str) -> list[str]:
    """Every link that leads to a place in the repository; code blocks hold none."""
    text = re.sub(r"```.*?```", "", (ROOT / document).read_text(encoding="utf-8"), flags=re.DOTALL)
    found = [target for match in LINK.findall(text) for target in match if target]
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub and the hub link to them."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(document: str, target: str) -> bool:
    """Whether a link's file or heading does not exist."""
    path, _, anchor = target.partition("#")
    file = ROOT / document if not path else (ROOT / document).parent / path
    return not file.exists() or bool(anchor and anchor not in anchors(file))


@pytest.mark.parametrize("document", TRACKED)
def test_every_link_leads_somewhere(document: str) -> None:
    """No document points to a file that is gone or to a heading that was renamed."""
    assert [target for target in links(document) if leads_nowhere(document, target)] == []


def test_a_broken_link_is_found() -> None:
    """A file and a heading that do not exist are reported; those that exist are not."""
    assert leads_nowhere("README.md", "NO_SUCH_GUIDE.md")
    assert leads_nowhere("README.md", "docs/settings.md#no-such-heading")
    assert not leads_nowhere("README.md", "docs/settings.md#settings")
    assert len(links("README.md")) > 5
