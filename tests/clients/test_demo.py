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

from deploy.demo.invented import videos_of
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
    with TemporaryDirectory() as folder:  # short: PostgreSQL's socket is in it
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


def test_videos_of_a_data_file_have_their_later_looks(tmp_path: Path) -> None:
    """Videos spread over the split by time, each with its looks and the next one; zero likes are unknown."""
    lines = [
        "video_id,title,published_at,observed_at,view_count,like_count,comment_count,duration_seconds,"
        "next_views,hours_to_next,split"
    ]
    for number in range(9):
        for look in range(2):
            times = [f"2026-07-0{number + 1}T00:00:01Z", f"2026-07-0{number + 1}T{10 + look}:00:00Z"]
            counts = [100 + look, 0, 5, 30, 102 + look, 24, "test" if number < 8 else "train"]
            lines.append(",".join(map(str, [f"v{number}", f"Video {number}", *times, *counts])))
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    videos = videos_of(tmp_path / "rows.csv", 4, looks=3)
    assert [video.name for video in videos] == ["v0", "v2", "v4", "v6"]
    assert [look.views for look in videos[1].looks] == [100, 101, 103]
    assert str(videos[1].looks[2].moment) == "2026-07-04 11:00:00+00:00"
    assert [(look.likes, look.comments) for look in videos[1].looks[:1]] == [(None, 5)]
    assert videos_of(tmp_path / "rows.csv", 4, looks=4) == []


def test_ctrl_c_ends_service_database_and_page(tiny_bundle: Path) -> None:
    """Before that, all three answer at the addresses that it prints; afterwards none of them does.

    With a bundle, from which nothing can be trained, it says that there is no loop, and continues.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.demo", "--loop"],
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
            assert "no loop: MILES_CHECKPOINT is a compiled bundle" in said
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
                process.terminate()  # it stops what it started
    for url in (service[1], page[1].replace("localhost", "127.0.0.1")):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(table[1])


def test_a_missing_program_is_reported_in_one_line(tmp_path: Path) -> None:
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
