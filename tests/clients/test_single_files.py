"""trigger_inference.py and score_csv.py: written from miles_client, and self-contained."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import single_files
from tests.clients.command import CLIENTS, HTTPX, site
from tests.clients.door import Door
from tests.support.house import imported_packages


def alone(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A copy of the file, run by a Python that has what `pip install httpx` installs."""
    shutil.copy(CLIENTS / name, folder)
    return subprocess.run(
        [sys.executable, "-S", name, *words],
        cwd=folder,
        env={"PYTHONPATH": str(site(*HTTPX))},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", single_files.ENTRIES)
def test_the_committed_file_is_what_the_modules_give(name: str) -> None:
    """An edit of a module without `python -m deploy.single_files`, or of the file itself, fails here."""
    written = single_files.single_file(single_files.ENTRIES[name])
    assert (CLIENTS / name).read_text(encoding="utf-8") == written, "run `python -m deploy.single_files`"


def test_a_copied_file_scores_with_httpx_as_its_only_package(door: Door, tmp_path: Path) -> None:
    """score_csv.py in an empty folder."""
    (tmp_path / "v.csv").write_text("title,view_count\nfirst,5\nsecond,7\n")
    done = alone(tmp_path, "score_csv.py", "v.csv", "--url", door.url)
    assert done.returncode == 0, done.stderr
    assert "2 rows scored, 0 with an error" in done.stderr


def test_a_copied_step_names_the_package_that_its_database_needs(tmp_path: Path) -> None:
    """trigger_inference.py needs psycopg only for DATABASE_URL."""
    (tmp_path / ".env").write_text(
        "DATABASE_URL=postgresql://localhost/x\nINFERENCE_API_URL=http://localhost:1\n"
    )
    done = alone(tmp_path, "trigger_inference.py")
    assert done.returncode == 2
    assert 'pip install "psycopg[binary]"' in done.stderr


def test_a_name_that_two_modules_define_is_refused(tmp_path: Path) -> None:
    """In one file the second would replace the first."""
    folder = tmp_path / "miles_client"
    folder.mkdir()
    (folder / "first.py").write_text('"""One."""\n\nLIMIT = 1\n')
    (folder / "second.py").write_text('"""Two."""\n\nfrom miles_client.first import LIMIT\n\nLIMIT = 2\n')
    with pytest.raises(ValueError, match="LIMIT is defined in"):
        single_files.single_file("miles_client.second", tmp_path)


def test_the_files_import_nothing_of_the_package() -> None:
    trees = [ast.parse((CLIENTS / name).read_text(encoding="utf-8")) for name in single_files.ENTRIES]
    names = {name for tree in trees for _, name in imported_packages(tree)}
    assert names - sys.stdlib_module_names == {"httpx", "psycopg", "pyarrow"}
