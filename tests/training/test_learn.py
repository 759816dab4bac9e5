"""`./miles train --from DATABASE_URL`: rows from snapshots, and the new head against the serving one."""

import csv
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from deploy.demo.database import Database
from model.checkpoint.store import Checkpoint, read_checkpoint, write_checkpoint
from tests.training.outcomes.kept import NOW, Loop
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, texts
from training.commands import main
from training.data.database import reading
from training.data.snapshots import write_pairs
from training.data.table import DatasetError
from training.encoders import encoders_of
from training.head.fit import fit_head, untrained_checkpoint

VIRAL = 30_000.0
QUICK = ("--text-dims", "4", "--epochs", "3", "--seed", str(SEED), "--thumbnails", "none")


@dataclass(frozen=True)
class Look:
    """A look at a video: hours since its first look, and views."""

    hours: float
    views: int | None


@pytest.fixture(scope="module")
def loop(database: Database) -> Loop:
    return Loop.on(database)


def scrape(loop: Loop, videos: dict[str, list[Look]], *, fixed_likes: bool = False) -> None:
    """Insert candidates that were scraped at these looks, each first seen four hours after the one before."""
    loop.run("TRUNCATE candidates, snapshots, predictions")
    insert: LiteralString = (
        "INSERT INTO candidates (view_count, like_count, comment_count, scraped_at, video_id, title, "
        "upload_date) VALUES (%s, %s, %s, %s, %s, %s, %s)"
    )
    update: LiteralString = (
        "UPDATE candidates SET view_count = %s, like_count = %s, comment_count = %s, scraped_at = %s "
        "WHERE video_id = %s"
    )
    with psycopg.connect(loop.url) as connection:
        for number, (title, looks) in enumerate(videos.items()):
            first = NOW - timedelta(days=60) + timedelta(hours=4 * number)
            for look in looks:
                likes = 100_000 if fixed_likes else (look.views or 0) // 20
                values = [look.views, likes, likes // 4, first + timedelta(hours=look.hours), f"v{number}"]
                if look is looks[0]:
                    connection.execute(insert, [*values, title, first - timedelta(hours=30)])
                else:
                    connection.execute(update, values)


def synthetic() -> dict[str, list[Look]]:
    """The synthetic rows as looks: growth follows from views, age and a word of the title."""
    videos: dict[str, list[Look]] = {}
    for row in rows():
        looks = videos.setdefault(f"{row['title']} {row['video_id']}", [])
        hours = 24.0 * (len(looks) // 2)
        looks += [Look(hours, int(row["view_count"])), Look(hours + 24, int(row["next_views"]))]
    return {
        title: sorted({look.hours: look for look in looks}.values(), key=lambda look: look.hours)
        for title, looks in videos.items()
    }


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that was fitted on other targets, and defines what viral is."""
    base = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)
    checkpoint: Checkpoint = fit_head(base, dataset(), texts(), RECIPE, SEED).checkpoint
    path = tmp_path_factory.mktemp("serving") / "serving.pt"
    made = {"encoders": encoders().provenance, "data": {"viral_above_views_per_day": VIRAL}}
    write_checkpoint(path, checkpoint.with_card(provenance=made))
    return path


def test_pairs_are_looks_with_their_next_and_previous_ones(loop: Loop, tmp_path: Path) -> None:
    """The first look 12 to 72 hours later, the newest 6 to 96 hours before; the rest is counted."""
    scrape(
        loop,
        {
            "a": [Look(0, 100), Look(5, 110), Look(24, 200), Look(200, 900)],
            "b": [Look(0, 50), Look(24, 40)],
            "c": [Look(0, 50), Look(11, 60)],
            "d": [Look(0, None), Look(24, 60)],
        },
    )
    with reading(loop.url) as connection:
        found = write_pairs(connection, tmp_path / "rows.csv")
    assert found.startswith("2 looks with")
    assert "left out 1 whose views fell and 0 without" in found
    with (tmp_path / "rows.csv").open() as opened:
        pairs = list(csv.DictReader(opened))
    names = ("title", "view_count", "next_views", "hours_to_next", "previous_view_count", "like_count")
    assert [[row[name] for name in names] for row in pairs] == [
        ["a", "100", "200", "24", "", "5"],
        ["a", "110", "200", "19", "", "5"],
    ]
    assert {row["video_id"] for row in pairs} == {"v0"}


def test_a_database_without_later_looks_says_what_it_needs(loop: Loop, tmp_path: Path) -> None:
    scrape(loop, {"a": [Look(0, 100)]})
    with reading(loop.url) as connection, pytest.raises(DatasetError, match="later days"):
        write_pairs(connection, tmp_path / "rows.csv")


def test_a_head_is_fitted_and_compared_on_the_newest_fifth(
    loop: Loop, serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The serving encoders, definition of viral and file are kept; the results have the differences."""
    scrape(loop, synthetic())
    before = serving.read_bytes()
    out = tmp_path / "next.pt"
    assert main(["train", "--from", loop.url, "--against", str(serving), "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    card = read_checkpoint(out).card
    assert "the last 20%" in card.provenance["data"]["split"]
    assert card.viral_above == VIRAL
    assert card.provenance["encoders"] == encoders().provenance
    results = json.loads((tmp_path / "phase1_results.json").read_text())["against_serving"]
    assert (results["new"], results["served"]) == ("next.pt", "serving.pt")
    test = card.provenance["data"]
    assert (results["rows"], results["videos"]) == (test["rows"]["test"], test["videos"]["test"])
    assert set(results["differences"]) == {"auroc", "pr_auc", "brier", "mae"}
    steps = {"worse": "keep the checkpoint", "better": "MILES_SHADOW_CHECKPOINT"}
    assert steps.get(results["verdict"], "MILES_SHADOW_CHECKPOINT") in said
    assert serving.read_bytes() == before


def test_leaks_and_mistakes_are_refused(
    loop: Loop, serving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counts that were read later, a file and a database at once, an unreachable database."""
    scrape(loop, synthetic(), fixed_likes=True)
    words = ["--against", str(serving), "--out", str(tmp_path / "next.pt"), *QUICK]
    assert main(["train", "--from", loop.url, *words]) == 1
    assert "like_count is the same in all snapshots" in capsys.readouterr().err
    assert main(["train", "--from", "postgresql://127.0.0.1:1/none", *words]) == 1
    assert capsys.readouterr().err.startswith("error: postgresql://127.0.0.1:1/none: ")
    assert main(["train", "--from", loop.url, "--against", "none.pt", *words[2:]]) == 1
    assert "none.pt" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "rows.csv", "--from", loop.url])
    assert "either a file or --from" in capsys.readouterr().err


def test_encoders_without_provenance_are_named_after_the_file(serving: Path) -> None:
    """Their origin is the checkpoint; the weights are its own."""
    checkpoint = read_checkpoint(serving).with_card(provenance={})
    found = encoders_of(checkpoint)
    assert found.text.name == "serving.pt"
    assert set(found.state_dict) == {name for name in checkpoint.state_dict if "encoder." in name}
