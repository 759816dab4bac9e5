"""The same scores for any storage of a dataset, any number of processes, and with another run alongside."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.scale.dataset import finish, scores, start, write_csv
from tests.scale.ray_here import needs_ray, ray_environment
from tests.support.service import ROOT

ROWS = 300
OPTIONS = ("--map", "title=Headline", "--keep", "id", "--observed-at", "2018-03-01T00:00:00+00:00")
OPTIONS += ("--part-rows", "40")

pytestmark = [needs_ray, pytest.mark.scale]


@contextmanager
def three_cores() -> Iterator[tuple[str, dict[str, str]]]:
    """A cluster with room for three processes: its address, and the variables to use it."""
    with ray_environment() as variables:
        cluster = subprocess.Popen(
            [sys.executable, "-m", "tests.scale.local_ray", "3"],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert cluster.stdin is not None and cluster.stdout is not None  # noqa: PT018  both are pipes
        try:
            yield cluster.stdout.readline().strip(), variables
        finally:
            cluster.stdin.close()
            cluster.wait(60)
            cluster.stdout.close()


def by_row(output: Path) -> dict[int, tuple[Any, ...]]:
    """Every result, without the order in which it came."""
    return {row["row"]: tuple(row.values()) for row in scores(output)}


def test_any_number_of_processes_gives_the_same(tmp_path: Path, model: Path) -> None:
    """One, two and three give the same with `--exact`, and without it scores that differ by at most 1e-4."""
    source = write_csv(tmp_path / "in.csv", ROWS)
    exact, batched = [], []
    with three_cores() as (address, variables):
        for workers in (1, 2, 3):
            for found, options in ((exact, ("--exact",)), (batched, ())):
                output = tmp_path / f"{workers}{len(options)}"
                placed = ("--workers", str(workers), "--address", address)
                _, account = finish(start(source, output, model, *OPTIONS, *options, *placed, env=variables))
                assert account["cores"] == workers
                found.append(by_row(output))
    assert exact[0] == exact[1] == exact[2]
    for other in batched:
        assert other.keys() == exact[0].keys()
        assert all(abs(other[row][2] - exact[0][row][2]) < 1e-4 for row in other)


def test_parquet_gives_what_csv_gives(tmp_path: Path, model: Path) -> None:
    """Numbers as numbers and nulls as nulls, to the last digit and in the same order."""
    source = write_csv(tmp_path / "in.csv", ROWS)
    lines = source.read_text(encoding="utf-8").removesuffix("cut,off\n")
    source.write_text(lines, encoding="utf-8")
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    converting = pyarrow.csv.ConvertOptions(
        column_types={"published_at": pa.string(), "thumbnail_url": pa.string()}, strings_can_be_null=True
    )
    table = pyarrow.csv.read_csv(source, parse_options=parsing, convert_options=converting)
    assert table.schema.field("view_count").type == pa.int64()
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=70)
    for name in ("in.csv", "in.parquet"):
        _, account = finish(start(tmp_path / name, tmp_path / f"{name}.out", model, *OPTIONS, "--exact"))
        assert account["rows"] == ROWS
    assert by_row(tmp_path / "in.parquet.out") == by_row(tmp_path / "in.csv.out")


def test_two_runs_beside_each_other_give_the_same(tmp_path: Path, model: Path) -> None:
    """Each with its own cluster, started at the same moment."""
    source = write_csv(tmp_path / "in.csv", ROWS)
    options = (*OPTIONS, "--exact", "--workers", "1")
    runs = [start(source, tmp_path / name, model, *options) for name in ("one", "other")]
    for run in runs:
        finish(run)
    assert by_row(tmp_path / "one") == by_row(tmp_path / "other")
