"""A first fit on a file with other column names: what is missing, what is found, and which text is read."""

from dataclasses import replace

import numpy as np
import pytest

from tests.training.fit_stats.first_csv import first_rows, write_rows
from tests.training.synthetic import RECIPE, SEED, dataset, encoders, rows, write_csv
from training.commands import main
from training.data.dataset import TITLE_AND_DESCRIPTION, TITLE_ONLY, read_dataset
from training.data.summary import viral_shares
from training.head.candidates import preferred_text


def test_the_command_with_near_names_is_proposed(tmp_path, capsys):
    """For the columns of the owner's file, the error has the command, with which the file is read."""
    table = first_rows(300)
    for row in table:
        row["engagement_velocity"] = row.pop("view_velocity")
    path = write_rows(tmp_path / "training.csv", table)
    out = tmp_path / "model.pt"
    assert main(["train", str(path), "--out", str(out), "--text-encoder", "/nowhere"]) == 1
    error = capsys.readouterr().err
    assert error.count("./miles train") == 1
    options = error.split("./miles train")[1].split()[1:]
    assert "views_per_day=engagement_velocity" in options
    assert "duration_seconds=duration_sec" in options
    main(["train", str(path), *options, "--out", str(out), "--text-encoder", "/nowhere"])
    printed = capsys.readouterr()
    assert "lacks the columns" not in printed.err
    assert "Columns with near names" not in printed.out


def test_near_names_that_were_not_read_are_reported(tmp_path):
    """A file that can be read without them gets a note with the whole command."""
    table = [
        {("likes" if name == "like_count" else name): cell for name, cell in row.items()} for row in rows()
    ]
    notes = read_dataset(write_csv(tmp_path / "rows.csv", table)).notes
    assert any("--column like_count=likes" in note for note in notes)


def test_the_shares_of_viral_rows_are_printed():
    """Each split's share is printed; a difference is explained, equal shares are not."""
    found = dataset()
    viral = found.train.is_viral
    alike = replace(found.train, is_viral=viral)
    even = replace(found, val=alike, test=alike)
    drifted = replace(even, test=replace(alike, is_viral=np.ones_like(viral)))
    assert len(viral_shares(even)) == 1
    share, meaning = viral_shares(drifted)
    assert "100.0% of test" in share
    assert "more of the held-out videos are viral" in meaning


@pytest.mark.parametrize(("telling", "fields"), [(True, TITLE_AND_DESCRIPTION), (False, TITLE_ONLY)])
def test_val_chooses_the_text_fields(telling, fields, tmp_path, capsys):
    """Descriptions that predict the target are read; random descriptions are not."""
    draw = np.random.default_rng(1)
    table = rows()
    gains = [int(row["next_views"]) - int(row["view_count"]) for row in table]
    middle = np.median(gains)
    for row, gain in zip(table, gains, strict=True):
        is_high = gain > middle if telling else draw.random() < 0.5
        row["description"] = "goal goal goal" if is_high else "quiet morning news"
    found = read_dataset(write_csv(tmp_path / "rows.csv", table))
    assert found.text_fields == TITLE_AND_DESCRIPTION
    recipe = replace(RECIPE, description_dropped=0.0, text_noise=0.1)
    assert preferred_text(found, encoders(), recipe, SEED, None, "cpu").text_fields == fields
    assert "loss on val:" in capsys.readouterr().out


def test_a_spreadsheets_semicolons_and_decimal_commas_are_read(tmp_path):
    """A file with semicolons or tabs gives the same rows as the one with commas."""
    table = [{**row, "completion_rate": f"0.{index % 9 + 1}5"} for index, row in enumerate(rows())]
    expected = read_dataset(write_csv(tmp_path / "commas.csv", table)).train.videos
    for name, delimiter, point in (("semicolons.csv", ";", ","), ("tabs.tsv", "\t", ".")):
        lines = [delimiter.join(table[0])]
        for row in table:
            cells = row | {"completion_rate": row["completion_rate"].replace(".", point)}
            lines.append(delimiter.join(cells.values()))
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8-sig")
        assert read_dataset(tmp_path / name).train.videos == expected, name


def test_the_error_for_the_scrapers_table_says_what_it_lacks(tmp_path, capsys):
    """Its columns have no outcome: the error says where to get one."""
    table = [{"title": "x", "view_count": 5, "scraped_at": "2026-01-02", "upload_date": "2026-01-01"}]
    path = write_csv(tmp_path / "candidates.csv", table)
    assert main(["train", str(path), "--out", str(tmp_path / "x.pt")]) == 1
    assert "./miles train --from DATABASE_URL" in capsys.readouterr().err


def test_a_caption_may_be_called_desc(tmp_path, capsys):
    """Without a title, `desc` is proposed for it and not for the description; `id` is the video's."""
    table = [{"id": 1, "desc": "x", "playCount": 5, "velocity": 3}]
    assert main(["train", str(write_csv(tmp_path / "x.csv", table)), "--out", str(tmp_path / "x.pt")]) == 1
    error = capsys.readouterr().err
    assert "--column title=desc --column view_count=playCount --column video_id=id" in error


def test_bad_rows_stop_the_command_with_a_report(tmp_path, capsys):
    """Nothing is trained; the error has the rows by number and the next step, without a traceback."""
    table = rows()
    table[7]["view_count"] = "lots"
    path = write_csv(tmp_path / "rows.csv", table)
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt")]) == 1
    said = capsys.readouterr().err
    assert "row 9: view_count is 'lots'" in said
    assert "--allow-bad-rows" in said
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == [path]


def test_a_leak_stops_the_command_before_anything_is_encoded(tmp_path, capsys):
    """One error that names the column."""
    table = [{**row, "views_per_day": row["view_count"]} for row in rows()]
    path = write_csv(tmp_path / "rows.csv", table)
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt")]) == 1
    assert "view_count determines the target" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("given", ["title", "title=nothing", "headline=title"])
def test_a_mapping_that_cannot_be_used_is_one_error(tmp_path, capsys, given):
    path = write_csv(tmp_path / "rows.csv", rows())
    assert main(["train", str(path), "--out", str(tmp_path / "model.pt"), "--column", given]) == 1
    assert f"--column {given.partition('=')[0]}" in capsys.readouterr().err
