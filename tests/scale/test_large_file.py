"""A file of 100,000 rows on the full-size demo, with new and with known thumbnails; long."""

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.harness.processes import ProcessTree, machine_cpu_seconds, started
from benchmarks.harness.workload import Workload
from tests.scale.dataset import finish, start
from tests.scale.figures import Figure
from tests.scale.processes_seen import Peaks
from tests.scale.ray_here import needs_ray
from tests.support.service import ROOT, free_port

PART_ROWS = 500
KNOWN_PICTURES = 2000
CACHE_BYTES = 32 * 1024 * 1024  # full long before the first tenth is done, so that growth is not the cache's
MORE_MB = 100  # a held row's cells and result are 3 kB and more: half of 100,000 would be 150 MB

FAT_ROWS, FAT_BYTES = 2000, 100_000
MOST_MOVED = 0.02  # the greatest difference allowed between a compiled model and its checkpoint

pytestmark = [needs_ray, pytest.mark.scale]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ProcessTree]]:
    """An endless supply of pictures, no two alike, from a separate process."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)]
    log = tmp_path_factory.mktemp("host") / "log"
    with started(command, os.environ, ROOT, log) as tree:
        yield f"http://127.0.0.1:{port}", tree


def write_videos(path: Path, rows: int, host: str, pictures: int) -> Path:
    """Rows whose titles are as long as real ones and all different, with `pictures` pictures in turn."""
    workload = Workload(host)
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, ["id", *workload.new_videos(1)[0]])
        writer.writeheader()
        for index in range(rows):
            (video,) = workload.new_videos(1)
            writer.writerow(video | {"id": index, "thumbnail_url": f"{host}/{index % pictures}.jpg"})
    return path


@pytest.mark.parametrize("thumbnails", ["new", "known"])
def test_every_row_of_a_large_file(
    tmp_path: Path,
    host: tuple[str, ProcessTree],
    thumbnails: str,
    rows: int,
    figure: Figure,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each has a score, with its picture; no process has more memory at the end than after a tenth."""
    url, tree = host
    pictures = rows if thumbnails == "new" else min(KNOWN_PICTURES, rows // 10)
    source = write_videos(tmp_path / "in.csv", rows, url, pictures)
    output = tmp_path / "out"
    settings: dict[str, Any] = {"thumbnail_trusted_networks": "127.0.0.0/8", "cache_bytes": CACHE_BYTES}
    model = ROOT / "models" / "model_full.pt"
    with capfd.disabled():  # the command shows its progress on the terminal
        print(f"\n{rows} rows, thumbnails {thumbnails}", flush=True)
        process = start(
            source, output, model, "--keep", "id", "--part-rows", str(PART_ROWS), stderr=None, **settings
        )
        everybody, hosting = machine_cpu_seconds(), tree.cpu_seconds()
        peaks = Peaks(process, output, -(-rows // PART_ROWS))
        peaks.watch()
        everybody, hosting = machine_cpu_seconds() - everybody, tree.cpu_seconds() - hosting
    code, account = finish(process)
    name = f"{rows} rows, thumbnails {thumbnails}"
    figure(f"{name}: rows/s/core", account["rows_per_s_per_core"])
    figure(f"{name}: CPU of the thumbnails' host, % of all used", round(100 * hosting / everybody, 1))
    figure(f"{name}: CPU of whatever was not the command, %", round(100 * (1 - peaks.cpu_s / everybody), 1))
    for who in ("scorer", "driver"):
        figure(f"{name}: peak of the {who} after a tenth, MB", round(peaks.early[who]))
        figure(f"{name}: peak of the {who} at the end, MB", round(peaks.late[who]))
    figure(f"{name}: set aside", account["rejected"])
    assert (code, account["scored_now"], account["rejected"]) == (0, rows, 0)
    scored = pq.read_table(output, columns=["row", "id", "image"])
    assert scored["row"].to_pylist() == list(range(rows))
    assert scored["id"].to_pylist() == [str(index) for index in range(rows)]
    assert set(scored["image"].to_pylist()) == {"used"}
    assert peaks.more.keys() == {"scorer", "driver"}
    assert max(peaks.more.values()) < MORE_MB


def test_memory_holds_parts_and_not_rows(tmp_path: Path, model: Path, figure: Figure) -> None:
    """Of rows of 100 kB each, 200 MB in all, no process ever holds a third more than after a tenth."""
    source, output = tmp_path / "in.csv", tmp_path / "out"
    with source.open("w", encoding="utf-8") as opened:
        opened.write("title,note\n")
        opened.writelines(f"title {row},{os.urandom(FAT_BYTES // 2).hex()}\n" for row in range(FAT_ROWS))
    process = start(source, output, model, "--keep", "note", "--part-rows", "50")
    peaks = Peaks(process, output, FAT_ROWS // 50)
    peaks.watch()
    _, account = finish(process)
    assert account["scored_now"] == FAT_ROWS
    figure("200 MB of rows: more in memory than after a tenth, MB", round(max(peaks.more.values())))
    assert peaks.more.keys() == {"scorer", "driver"}
    assert max(peaks.more.values()) < FAT_ROWS * FAT_BYTES / 3e6


def test_what_exact_scores_cost(
    tmp_path: Path, host: tuple[str, ProcessTree], rows: int, figure: Figure
) -> None:
    """One process and two give the same scores to the last digit; batches keep scores within the gate."""
    rows = min(rows // 10, 2000)
    source = write_videos(tmp_path / "in.csv", rows, host[0], rows)
    model = ROOT / "models" / "model_full.pt"
    rates: list[float] = []
    scores: list[list[float]] = []
    for options in ((), ("--exact",), ("--exact", "--workers", "1")):
        output = tmp_path / f"out{len(rates)}"
        options = ("--part-rows", "250", *options)
        process = start(source, output, model, *options, thumbnail_trusted_networks="127.0.0.0/8")
        _, account = finish(process)
        rates.append(account["rows_per_s_per_core"])
        scores.append(pq.read_table(output)["viral_score"].to_pylist())
    batched, exact, by_one = scores
    moved = [abs(one - other) for one, other in zip(batched, exact, strict=True)]
    figure(f"{rows} rows, --exact: share of the rate with batches", round(rates[1] / rates[0], 3))
    figure(f"{rows} rows, with batches and alone: differ by more than 0.0001", sum(by > 1e-4 for by in moved))
    figure(f"{rows} rows, with batches and alone: differ by at most", round(max(moved), 6))
    assert len(exact) == rows
    assert exact == by_one
    assert max(moved) < MOST_MOVED
