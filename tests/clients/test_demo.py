"""`make demo`: service, database, web page and the scraper's step at once."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psycopg
import pytest

from tests.clients.command import read_until
from tests.support.postgres import FOLDERS
from tests.support.process import completed
from tests.support.service import ROOT, environment
from tests.support.system_programs import require_program

LIMIT_S = 240


@pytest.fixture(autouse=True)
def _postgres() -> None:
    require_program("initdb", debian="postgresql", beside=FOLDERS)


def test_make_demo_plays_the_loop_and_ends_when_told_to(tiny_path: Path) -> None:
    """`ARGS=--once` prints 22 scores, then scored, judged and improved figures, and leaves nothing behind."""
    with TemporaryDirectory() as folder:  # short: PostgreSQL's socket lies in it
        Path(folder).chmod(0o755)  # root starts PostgreSQL as another user
        done = completed(
            ["make", "demo", f"PY={sys.executable}", "ARGS=--once --without-page"],
            env=environment(checkpoint=tiny_path) | {"TMPDIR": folder},
        )
        left_behind = [path.name for path in Path(folder).glob("miles-*")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "22 scored, 0 skipped" in done.stdout
    table = done.stdout.partition("views now")[2]
    scores = [float(score) for score in re.findall(r"^  (\d\.\d{4})  ", table, re.MULTILINE)]
    assert len(scores) == 22
    assert scores == sorted(scores, reverse=True)
    assert left_behind == []
    loop = done.stdout.partition("the loop: ")[2]
    assert "scored:   160 scored, 0 skipped" in loop
    assert re.search(r"judged:   320 looks, \d+ viral: auroc 0\.\d+, ece 0\.\d+, mae", loop)
    assert "model_next.pt is better than" in loop
    served, new = re.findall(r"improved: (\S+): (\d+) looks", loop)
    assert (served[1], new[1], served[0] != new[0]) == ("380", "60", True)
    assert f"POST /admin/reload: {new[0]} is in service" in loop


def test_a_bundle_has_no_loop(tiny_bundle: Path) -> None:
    """Nothing can be trained from it: the demo says so and ends as well."""
    done = completed(
        [sys.executable, "-m", "deploy.demo", "--once", "--without-page"],
        env=environment(checkpoint=tiny_bundle),
    )
    assert (done.returncode, "no loop: MILES_CHECKPOINT is a compiled bundle" in done.stdout) == (0, True)


def test_ctrl_c_ends_service_database_and_page(tiny_bundle: Path) -> None:
    """Until then all three answer where it says that they do; after it none of them does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo"],
        cwd=ROOT,
        env=environment(checkpoint=tiny_bundle) | {"PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            said = read_until(process, "Ctrl-C")
            service, page, table = (
                re.search(pattern, said)
                for pattern in (r"service +(http\S+)", r"web page +(http\S+)", r"psql (postgresql:\S+)")
            )
            assert service is not None, said
            assert page is not None, said
            assert table is not None, said
            assert httpx.get(service[1]).json()["status"] == "healthy"
            assert "<html" in httpx.get(page[1].replace("localhost", "127.0.0.1")).text
            with psycopg.connect(table[1]) as connection:
                query = "SELECT count(*) FROM candidates WHERE miles_score IS NOT NULL"
                assert connection.execute(query).fetchone() == (22,)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            if process.poll() is None:
                process.terminate()  # it ends its own parts
    for url in (service[1], page[1].replace("localhost", "127.0.0.1")):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(table[1])


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    """Without PostgreSQL and without root: exit code 1, what is missing and how to get it."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from deploy.demo import __main__ as demo, database\n"
        f"os.environ['PATH'] = {str(tmp_path)!r}\n"
        f"database.DEBIAN_FOLDERS = {str(tmp_path / 'none')[1:]!r}\n"
        "sys.exit(demo.main(['--once']))\n"
    )
    done = completed([sys.executable, "-c", script])
    assert done.returncode == 1
    assert done.stderr == (
        "demo: PostgreSQL is not installed (on Debian and Ubuntu: apt-get install postgresql)\n"
    )
