"""The documentation as a site: complete, without broken links, searchable, loading nothing from elsewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

from deploy.site.__main__ import with_links
from tests.support.process import completed
from tests.support.service import ROOT

HTML = ROOT / "build" / "site" / "html"


def built() -> subprocess.CompletedProcess[str]:
    return completed([sys.executable, "-m", "deploy.site"], cwd=ROOT)


def test_every_document_is_a_page_that_the_search_finds() -> None:
    """The build has no warnings, and the search finds text of the guide and the settings."""
    done = built()
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    entries = json.loads((HTML / "search" / "search_index.json").read_text("utf-8"))["docs"]
    texts = " ".join(entry["text"] for entry in entries)
    assert "MILES_RATE_LIMIT" in texts
    assert "upload-space" in texts
    loaded = re.compile(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)\"")
    assert loaded.findall((HTML / "index.html").read_text("utf-8")) == []


def test_a_link_to_source_leads_to_the_repository() -> None:
    """A page's link stays relative, a source file's becomes the repository's, a broken one is kept."""
    text = "[a](operations.md) [b](../app.py) [c](gone.md) [d](../serving/) [e](https://example.org/x)"
    assert with_links(text, Path("docs"), {"docs/operations.md"}).split() == [
        "[a](operations.md)",
        "[b](https://github.com/OWNER/miles/blob/main/app.py)",
        "[c](gone.md)",
        "[d](https://github.com/OWNER/miles/tree/main/serving)",
        "[e](https://example.org/x)",
    ]
