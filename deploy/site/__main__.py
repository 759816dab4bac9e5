"""Builds the documentation's site from the tracked documents; a broken link fails the build.

make docs                              build/site/html
python -m deploy.site serve            on port 8000, until Ctrl-C
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from posixpath import normpath

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("mkdocs.yml")
PAGES = ROOT / "build" / "site" / "pages"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
REPOSITORY = re.compile(r"^repo_url: (\S+)", re.MULTILINE)


def copy_documents() -> None:
    """Copy every tracked document and picture; links to other files lead to the repository."""
    listed = ["git", "ls-files", "-z", "--", "*.md", "docs/*.png"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    names = set(done.stdout.split("\0")[:-1])
    shutil.rmtree(PAGES, ignore_errors=True)
    for name in names:
        (PAGES / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".md"):
            text = (ROOT / name).read_text(encoding="utf-8")
            (PAGES / name).write_text(with_links(text, Path(name).parent, names), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / name, PAGES / name)


def with_links(text: str, folder: Path, pages: set[str]) -> str:
    """The text of a document in `folder`, links to files that are not in `pages` made absolute.

    A link to a file that does not exist stays, so that MkDocs reports it.
    """
    found = REPOSITORY.search(SETTINGS.read_text(encoding="utf-8"))
    assert found, "mkdocs.yml has a repo_url"

    def replaced(match: re.Match[str]) -> str:
        path = normpath((folder / match[1]).as_posix())
        if path in pages or not (ROOT / path).exists():
            return match[1]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{found[1]}/{kind}/main/{path}"

    return LINK.sub(replaced, text)


def main(arguments: list[str]) -> int:
    """Copy the documents and run MkDocs; its exit status."""
    copy_documents()
    command = [sys.executable, "-m", "mkdocs", *(arguments or ["build"]), "--strict", "-f", str(SETTINGS)]
    surroundings = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, env=surroundings, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
