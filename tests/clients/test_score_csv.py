"""clients/score_csv.py against a real service."""

import csv
import gzip
import io
import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.clients.command import FAST, Trigger, ran, running
from tests.clients.door import WAKING_PAGE, Door, Hold, open_door
from tests.clients.scraped import scraped
from tests.support.faulty_service import RAISE, cue
from tests.support.process import LIMIT_S, free_port
from tests.support.service import Service, started_service, wait_for
from tests.support.web import Reply

SCRIPT = "score_csv.py"
ADDED = (
    *("viral_score", "predicted_velocity", "low", "high", "confidence", "in_range", "image"),
    *("image_reason", "warnings", "model_version", "error"),
)
COLUMNS = ("title", "description", "view_count", "like_count", "upload_date", "scraped_at", "channel_name")


@pytest.fixture
def score(door: Door, tmp_path: Path) -> Trigger:
    """The command in a folder of its own, against a door."""
    return partial(ran, SCRIPT, *FAST, folder=tmp_path, INFERENCE_API_URL=door.url)


def write_csv(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...] = COLUMNS) -> None:
    """Rows as a spreadsheet exports them: null is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def test_each_row_gets_the_services_own_score_in_its_place(
    score: Trigger, service: Service, tmp_path: Path
) -> None:
    rows = scraped(10)
    rows[3]["description"] = 'Quotes ", commas,\nand a line break'
    rows[5] |= {"view_count": None, "description": None}
    write_csv(tmp_path / "videos.csv", rows)
    done = score("videos.csv", "--batch", "4")
    assert done.returncode == 0, done.stderr
    assert "10 rows scored, 0 with an error" in done.stderr
    found, before = read_csv(tmp_path / "videos.scored.csv"), read_csv(tmp_path / "videos.csv")
    assert list(found[0]) == [*COLUMNS, *ADDED]
    for row, old in zip(found, before, strict=True):
        assert {name: row[name] for name in COLUMNS} == old
        sent = {name: value or None for name, value in old.items()}
        answer = httpx.post(f"{service.url}/predict", json=sent).json()
        assert float(row["viral_score"]) == answer["viral_score"]
        assert float(row["predicted_velocity"]) == answer["predicted_velocity"]
        assert (row["error"], row["model_version"]) == ("", answer["model_version"])
        assert row["warnings"] == " | ".join(answer["warnings"])
        assert row["image"] == answer["modalities"]["image"]["state"]
        assert row["in_range"] == str(answer["in_range"]).lower()
        interval = answer["velocity_interval"] or {"low": "", "high": ""}
        assert [row["low"], row["high"]] == [str(interval[end]) for end in ("low", "high")]
    assert not (tmp_path / "videos.scored.csv.part").exists()


def test_a_row_that_cannot_be_scored_says_why(score: Trigger, tmp_path: Path) -> None:
    """No title, a count that is not a number, too few cells: the row gets an error, the others scores."""
    (tmp_path / "v.csv").write_text("title,view_count\ngood,5\n,7\nbad,many\nshort\nalso good,\n")
    done = score("v.csv")
    assert done.returncode == 1
    rows = read_csv(tmp_path / "v.scored.csv")
    assert [bool(row["viral_score"]) for row in rows] == [True, False, False, False, True]
    assert [row["error"][:17] for row in rows] == [
        "",
        "422: title: is re",
        "422: view_count: ",
        "1 cells, the head",
        "",
    ]


PICTURES = """title,thumbnail_url
none,
tiny,"data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
bad,"data:image/png;base64,AAAA"
gone,https://nowhere.invalid/a.jpg
"""


def test_what_became_of_each_thumbnail_is_kept_and_counted(score: Trigger, tmp_path: Path) -> None:
    """The state and the reason of each row, and the number of each reason at the end."""
    (tmp_path / "v.csv").write_text(PICTURES)
    done = score("v.csv")
    assert done.returncode == 0, done.stderr
    found = [(row["image"], row["image_reason"]) for row in read_csv(tmp_path / "v.scored.csv")]
    assert found == [
        ("missing", "no_thumbnail"), ("used", "tiny"), ("failed", "not_an_image"), ("failed", "unreachable"),
    ]  # fmt: skip
    assert "3 of the thumbnails were not usable: 1 tiny, 1 not_an_image, 1 unreachable" in done.stderr


def test_a_required_thumbnail_is_an_error_where_it_is_not_usable(
    score: Trigger, door: Door, tmp_path: Path
) -> None:
    """After rows whose thumbnail may load later were scored again as often as requested."""
    (tmp_path / "v.csv").write_text(PICTURES)
    done = score("v.csv", "--require", "image", "--retry-images", "2")
    assert done.returncode == 1
    errors = [
        row["error"].removeprefix("no usable thumbnail: ") for row in read_csv(tmp_path / "v.scored.csv")
    ]
    assert errors == ["no_thumbnail", "tiny", "not_an_image", "unreachable"]
    assert door.titles() == ["none", "tiny", "bad", "gone", "gone", "gone"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_continues_where_it_stopped(
    score: Trigger, door: Door, tmp_path: Path, number: signal.Signals
) -> None:
    """Finished rows are not requested again, even when the last line of the unfinished file is torn."""
    write_csv(tmp_path / "videos.csv", scraped(20))
    hold = Hold()
    door.plan += [None, None, hold]
    settings = {"INFERENCE_API_URL": door.url}
    with running(SCRIPT, *FAST, "videos.csv", "--batch", "4", folder=tmp_path, **settings) as process:
        assert hold.reached.wait(LIMIT_S)
        process.send_signal(number)
        assert process.wait(LIMIT_S) == (-9 if number == signal.SIGKILL else 143)
    hold.release.set()
    part = tmp_path / "videos.scored.csv.part"
    part.write_bytes(part.read_bytes() + b"0.12,3")
    assert not (tmp_path / "videos.scored.csv").exists()
    door.calls.clear()
    done = score("videos.csv")
    assert "8 of 20 rows were already finished" in done.stderr
    assert door.titles() == [row["title"] for row in scraped(20)[8:]]
    whole = score("videos.csv", "again.csv")
    assert (done.returncode, whole.returncode) == (0, 0)
    assert (tmp_path / "videos.scored.csv").read_bytes() == (tmp_path / "again.csv").read_bytes()


def test_an_unfinished_file_of_another_input_is_not_continued(
    score: Trigger, door: Door, tmp_path: Path
) -> None:
    """Scores of one file are never written to the rows of another: exit code 2, and what to remove."""
    write_csv(tmp_path / "videos.csv", scraped(6))
    door.plan += [None, *[Reply(503, WAKING_PAGE)] * 20]
    assert score("videos.csv", "--batch", "2", "--patience", "0.2").returncode == 3
    write_csv(tmp_path / "videos.csv", scraped(7))
    done = score("videos.csv")
    assert (done.returncode, "remove it to start over" in done.stderr) == (2, True)


def test_a_proxy_that_is_down_is_named(score: Trigger, tmp_path: Path) -> None:
    """Its variable, and why there is no connection: the service itself may be fine."""
    write_csv(tmp_path / "videos.csv", scraped(1))
    proxy = f"http://127.0.0.1:{free_port()}"
    done = score("videos.csv", INFERENCE_API_URL="http://miles.example", HTTP_PROXY=proxy)
    expected = "no connection to miles.example through HTTP_PROXY ([Errno 111] Connection refused); start it"
    assert (done.returncode, expected in done.stderr) == (3, True), done.stderr


def test_columns_may_have_other_names(score: Trigger, door: Door, tmp_path: Path) -> None:
    """`--map` names them, semicolons separate them, and the output is written in the same way."""
    (tmp_path / "v.csv").write_bytes("\ufeffHeadline;Plays;Art\nÉté à Paris;7;http://x.test/1.jpg\n".encode())
    mapped = [f"--map={pair}" for pair in ("title=Headline", "view_count=Plays", "thumbnail_url=Art")]
    assert score("v.csv", *mapped, "--thumbnails", "none").returncode == 0
    assert door.calls[0].body == {"title": "Été à Paris", "view_count": "7"}
    header = (tmp_path / "v.scored.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == ";".join(["\ufeffHeadline;Plays;Art", *ADDED])


def test_thumbnails_are_used_by_default(score: Trigger, door: Door, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text('title,thumbnail_url\na,"data:image/png;base64,AAAA"\n')
    score("v.csv")
    assert door.calls[0].body["thumbnail_url"] == "data:image/png;base64,AAAA"


def test_parquet_keeps_its_types(score: Trigger, service: Service, tmp_path: Path) -> None:
    """Its own columns are as they were, scores are float64, and a row with an error has null scores."""
    rows = scraped(5)
    rows[2]["title"] = None
    table = pa.Table.from_pylist([{name: row[name] for name in COLUMNS} for row in rows])
    table = table.append_column("duration_seconds", pa.array([10.0, float("nan"), 3.5, 4.0, 5.0]))
    pq.write_table(table, tmp_path / "v.parquet")
    assert score("v.parquet", "out.parquet").returncode == 1
    scored = pq.read_table(tmp_path / "out.parquet")
    assert scored.select(table.column_names).schema.equals(table.schema)
    assert scored.schema.field("viral_score").type == pa.float64()
    errors = scored["error"].to_pylist()
    assert [error is None for error in errors] == [True, True, False, True, True]
    sent = {name: rows[1][name] for name in COLUMNS}
    answer = httpx.post(f"{service.url}/predict", json=sent).json()
    assert scored["viral_score"].to_pylist()[1:3] == [answer["viral_score"], None]


def test_a_waking_service_is_waited_for(score: Trigger, door: Door, tmp_path: Path) -> None:
    write_csv(tmp_path / "v.csv", scraped(3))
    door.plan += [Reply(503, WAKING_PAGE), Reply(404, b'{"detail": "Not Found"}')]
    done = score("v.csv")
    assert (done.returncode, done.stderr.count("waiting")) == (0, 1)
    assert door.paths() == ["/predict/batch"] * 2 + ["/predict"] * 3


def test_a_row_that_breaks_the_forward_spares_its_neighbours(tiny_bundle: Path, tmp_path: Path) -> None:
    """The row has an error after three tries; the eleven others have their scores."""
    rows = scraped(12)
    rows[0]["title"], rows[0]["description"] = cue(RAISE), None
    write_csv(tmp_path / "v.csv", rows)
    faulty = started_service(tmp_path / "log", ["-m", "tests.support.faulty_service"], checkpoint=tiny_bundle)
    with faulty as service, open_door(service.url) as door:
        wait_for(service, "/health/ready")
        done = ran(SCRIPT, *FAST, "v.csv", "--url", door.url, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    found = read_csv(tmp_path / "v.scored.csv")
    assert [bool(row["viral_score"]) for row in found] == [False, *[True] * 11]
    assert "no answer in 3 tries" in found[0]["error"]
    assert door.titles().count(cue(RAISE)) == 3


def test_rows_beyond_a_rate_limit_are_retried(tiny_bundle: Path, tmp_path: Path) -> None:
    """Of 124 rows a limit of 120 a minute refuses four; they are retried and get no error."""
    write_csv(tmp_path / "v.csv", scraped(124))
    limited = started_service(tmp_path / "log", checkpoint=tiny_bundle, rate_limit=120)
    with limited as service:
        wait_for(service, "/health/ready")
        done = ran(SCRIPT, *FAST, "v.csv", "--url", service.url, folder=tmp_path)
    assert (done.returncode, "124 rows scored, 0 with" in done.stderr) == (0, True), done.stderr


def test_a_rate_limit_is_never_a_rows_fault(score: Trigger, door: Door, tmp_path: Path) -> None:
    """Rows that get a 429 in five batches are retried and scored."""
    write_csv(tmp_path / "v.csv", scraped(3))
    kind = {"Content-Type": "application/json"}
    good = {"viral_score": 0.5, "predicted_velocity": 1, "confidence": 0.5, "model_version": "miles"}
    limited = {"error": {"status": 429, "detail": "later"}}
    for predictions in ([good, limited, limited], *[[limited, limited]] * 4):
        door.plan.append(Reply(200, json.dumps({"predictions": predictions}).encode(), kind))
    done = score("v.csv")
    assert (done.returncode, "3 rows scored, 0 with" in done.stderr) == (0, True), done.stderr


UNUSABLE: list[tuple[str, list[str], str]] = [
    ("name,views\nx,1\n", [], "--map title=name --map view_count=views"),
    ("title,viewCount,likes\nx,1,2\n", [], "--map view_count=viewCount --map like_count=likes"),
    ("title,views\nx,1\n", ["--map", "view_count=plays"], "--map view_count=plays"),
    ("title,error\nx,1\n", [], "--prefix"),
    ("", [], "header"),
    ("title,title\nx,y\n", [], "title more than once"),
    ("title\ncaf\u00e9\n", ["--encoding", "ascii"], "--encoding"),
    ("title\nx\n", ["v.csv"], "v.csv is the input"),
    ('title,view_count\ngood,1\n"open"x,2\n', [], "line 3"),
    ('title,view_count\n"never closed,1\n', [], "line 2"),
]


def test_a_file_that_cannot_be_scored_is_one_line(score: Trigger, door: Door, tmp_path: Path) -> None:
    failures = []
    for content, words, said in UNUSABLE:
        (tmp_path / "v.csv").write_text(content, encoding="utf-8")
        done = score("v.csv", *words)
        if (done.returncode, len(done.stderr.splitlines())) != (2, 1) or said not in done.stderr:
            failures.append(f"{content!r}: {done.returncode} {done.stderr}")
    assert (failures, door.calls) == ([], [])


def test_the_first_line_says_what_is_read(score: Trigger, door: Door, tmp_path: Path) -> None:
    """Columns read, missing and ignored, with the options for them; without views only on request."""
    (tmp_path / "v.csv").write_text("title;plays;Comments;channel;;\na;5;6;b;;\n")
    assert score("v.csv").returncode == 2
    done = score("v.csv", "--map", "view_count=")
    assert done.stderr.splitlines()[0] == (
        "v.csv: reads title; not in the file: description, thumbnail_url, view_count, like_count, "
        "comment_count; not read: plays, Comments, channel; "
        "to read them: --map view_count=plays --map comment_count=Comments; "
        "the delimiter is ';' (--delimiter sets another)"
    )
    assert door.calls[0].body == {"title": "a"}


MISSING = ("N/A", "NaN", "null", "-", "#N/A", "\\N", " ")
# For the options of a run: cells, and what is sent for each; or what the error of a refused row says.
CELLS: list[tuple[list[str], list[tuple[str, str | int | None, str]]]] = [
    (
        [],
        [
            ("120,000", "120,000", ""),
            ("12,34", None, "expected a whole number in digits"),
            ("1.2K", None, "add --suffixes"),
            *((cell, None, "") for cell in MISSING),
        ],
    ),
    (["--suffixes"], [("1.2K", 1200, ""), ("3 M", 3_000_000, ""), ("2.5M views", 2_500_000, "")]),
    (["--na", "missing,?"], [("missing", None, "")]),
]


def test_cells_are_read_as_numbers_or_refused_with_the_option(
    score: Trigger, door: Door, tmp_path: Path
) -> None:
    """Thousands, rounded counts and marks for missing values; the title keeps its text."""
    failures = []
    for number, (words, cells) in enumerate(CELLS):
        path, scored = tmp_path / f"{number}.csv", tmp_path / f"{number}.scored.csv"
        rows = [
            {"title": "NA", "description": f"row {i}", "view_count": cell[0]} for i, cell in enumerate(cells)
        ]
        write_csv(path, rows, ("title", "description", "view_count"))
        door.calls.clear()
        score(path.name, *words)
        videos = [video for call in door.calls for video in call.body.get("videos", [call.body])]
        sent = {video["description"]: (video["title"], video.get("view_count")) for video in videos}
        for i, ((cell, value, error), row) in enumerate(zip(cells, read_csv(scored), strict=True)):
            found = sent.get(f"row {i}")
            is_right = error in row["error"] if error else (found, row["error"]) == (("NA", value), "")
            if not is_right:
                failures.append(f"{cell} {words}: {found} {row['error']}")
    assert failures == []


def test_compressed_files_and_json_lines_are_read_and_written(score: Trigger, tmp_path: Path) -> None:
    """The output has the input's type; a line that is not an object has an error."""
    lines = [json.dumps(row) for row in scraped(3)]
    (tmp_path / "v.jsonl").write_text("\n".join([*lines, "[1]"]), encoding="utf-8")
    with gzip.open(tmp_path / "v.csv.gz", "wt", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, list(scraped(1)[0]))
        writer.writeheader()
        writer.writerows(scraped(3))
    assert score("v.jsonl").returncode == 1
    assert score("v.csv.gz").returncode == 0
    objects = [json.loads(line) for line in (tmp_path / "v.scored.jsonl").read_text().splitlines()]
    with gzip.open(tmp_path / "v.scored.csv.gz", "rt", encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert [str(row["viral_score"]) for row in objects[:3]] == [row["viral_score"] for row in rows]
    assert [row["tags"] for row in objects[:3]] == [row["tags"] for row in scraped(3)]
    assert (objects[3]["viral_score"], objects[3]["error"]) == (None, "not an object: [1]")


def test_a_part_of_a_file_can_be_tried(score: Trigger, door: Door, tmp_path: Path) -> None:
    """`--dry-run` shows a request and sends nothing, `--limit` scores the first rows."""
    write_csv(tmp_path / "v.csv", scraped(9))
    done = score("v.csv", "--dry-run")
    assert done.stdout.startswith('9 rows; the first one\'s request: {"title": "Video 0: five')
    assert (door.calls, list(tmp_path.glob("v.scored*"))) == ([], [])
    assert "2 rows scored, 0 with" in score("v.csv", "--limit", "2").stderr
    assert [row["title"] for row in read_csv(tmp_path / "v.scored.csv")] == [r["title"] for r in scraped(2)]


def test_the_summary_counts_warnings_and_errors(score: Trigger, tmp_path: Path) -> None:
    """A line for each kind of error, the most frequent first."""
    (tmp_path / "v.csv").write_text("title,view_count\na,\n,1\n,2\nb,many\n")
    last = score("v.csv").stderr.partition("v.scored.csv: ")[2].splitlines()
    assert last[0].startswith("1 rows scored, 3 with an error; 1 with warnings")
    assert last[1] == "  2 rows: 422: title: is required"
    assert last[2].startswith("  1 rows: 422: view_count: ")


def test_progress_moves_no_cursor_where_there_is_no_terminal(score: Trigger, tmp_path: Path) -> None:
    write_csv(tmp_path / "v.csv", scraped(3))
    done = score("v.csv")
    assert len(done.stderr.splitlines()) == 2
    assert "v.scored.csv: 3 rows scored, 0 with an error" in done.stderr
    assert "\x1b" not in done.stderr
