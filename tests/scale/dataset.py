"""A dataset with everything that occurs in one, and the command that scores it, in its own process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.support.service import ROOT, environment
from tests.support.tiny import tiny_videos

LIMIT_S = 300
COLUMNS = ["id", "Headline", "description", "thumbnail_url", "view_count", "like_count", "published_at"]
BAD_VIEWS, NO_TITLE, SHORT = 50, 97, 1


def write_csv(path: Path, rows: int, pictures: tuple[str, ...] = ()) -> Path:
    """`rows` videos and a line that is too short; every 50th has negative views, every 97th no title."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        for index, video in enumerate(tiny_videos(rows)):
            title = f"{video.title} {index}" if index % NO_TITLE else ""
            words = 'a "quoted"\nline, and another' if index % 5 == 0 else video.description
            views = video.view_count if index % BAD_VIEWS else -3
            picture = pictures[index % len(pictures)] if pictures else ""
            moment = video.published_at.isoformat() if video.published_at else ""
            writer.writerow([f"v{index}", title, words, picture, views, video.like_count, moment])
        opened.write("cut,off\n")
    return path


def start(
    source: Path | str,
    output: Path | str,
    model: Path,
    *options: str,
    stderr: int | None = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
    **settings: object,
) -> subprocess.Popen[str]:
    """The command, running in its own session; `env` is for an existing cluster."""
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.score_dataset", str(source), str(output), *options],
        cwd=ROOT,
        env=environment(checkpoint=model, **settings) | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and account; fails with the output when there is no account."""
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode in (0, 1) and out, err  # noqa: PT018  one without the other is the same failure
    account: dict[str, Any] = json.loads(out.splitlines()[-1])
    return process.returncode, account


def kill_when(process: subprocess.Popen[str], output: Path, lines: int) -> int:
    """Kill only the command with SIGKILL once `lines` rows are done; how many were done in the end."""
    deadline = time.monotonic() + LIMIT_S
    while journaled(output) < lines:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no row was done"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)
    _wait_until_still(output)
    return journaled(output)


def journaled(output: Path) -> int:
    """Rows that are done: those of finished parts, and lines of journals."""
    finished = list(output.glob("part-*.parquet"))
    names = {path.stem for path in finished}
    rows = sum(pq.read_metadata(path).num_rows for path in finished)
    rows += sum(
        pq.read_metadata(path).num_rows
        for path in (output / "_rejected").glob("part-*")
        if path.stem in names
    )
    for path in (output / "_journal").glob("*.jsonl"):
        if path.stem not in names:
            rows += path.read_bytes().count(b"\n") if path.exists() else 0
    return rows


def scores(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output).sort_by("row").to_pylist()
    return rows


def rejected(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / "_rejected").sort_by("row").to_pylist()
    return rows


def _wait_until_still(output: Path) -> None:
    """Ray's processes outlive their driver for a moment."""
    before = -1
    while (now := journaled(output)) != before:
        before = now
        time.sleep(1)
