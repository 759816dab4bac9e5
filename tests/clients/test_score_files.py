"""Which files clients/score_csv.py reads, and its errors for those that it does not read."""

import bz2
import csv
import gzip
import json
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from miles_client.files.__main__ import arguments, line_of, score_file
from miles_client.files.columns import Columns, mapping, overview, requests_of
from miles_client.files.finished import Finished
from miles_client.files.tables import opened_table
from miles_client.service import Refusal
from miles_client.settings import SettingError
from miles_client.stop import StopSignals
from tests.clients.command import FAST, command, environment, ran, running
from tests.clients.door import Door, Hold
from tests.support.process import LIMIT_S, completed
from tests.support.service import Service

HEADER = "title,view_count,upload_date\n"
WHOLE = HEADER + "first,1234,2026-03-01T12:00:00Z\nsecond,7,2026-03-02 12:00:00+00\n"
READ: dict[str, tuple[str, bytes]] = {
    "semicolons": ("v.csv", WHOLE.replace(",", ";").encode()),
    "tabs": ("v.tsv", WHOLE.replace(",", "\t").encode()),
    "bars": ("v.csv", WHOLE.replace(",", "|").encode()),
    "Excel's first line": ("v.csv", b"sep=;\r\n" + WHOLE.replace(",", ";").encode()),
    "UTF-8 with a mark": ("v.csv", b"\xef\xbb\xbf" + WHOLE.encode()),
    "UTF-16": ("v.csv", WHOLE.encode("utf-16")),
    "big-endian UTF-16": ("v.csv", b"\xfe\xff" + WHOLE.encode("utf-16-be")),
    "old Mac lines": ("v.csv", WHOLE.replace("\n", "\r").encode()),
    "Windows lines": ("v.csv", WHOLE.replace("\n", "\r\n").encode()),
    "gzip": ("v.csv.gz", gzip.compress(WHOLE.encode())),
    "quotes": ("v.csv", WHOLE.replace("first", '"first"').encode()),
    "spaces in the header": ("v.csv", WHOLE.replace("title", " title ").encode()),
    "groups of digits": ("v.csv", WHOLE.replace("1234", '"1,234"').encode()),
    "an unread column twice": ("v.csv", WHOLE.replace("\n", ",x,x\n").encode()),
    "lines of JSON with a mark": (
        "v.jsonl",
        b'\xef\xbb\xbf{"title": "first", "view_count": 1234, "upload_date": "2026-03-01T12:00:00Z"}\n'
        b'{"title": "second", "view_count": "7", "upload_date": "2026-03-02 12:00:00+00"}\n',
    ),
}
ODD: dict[str, tuple[str, bytes, list[str]]] = {
    "empty cells after the last column": ("v.csv", b"title,view_count\na,5,\nb,6,,\n", ["a 5", "b 6"]),
    "nameless columns": ("v.csv", b"title,view_count,,\na,5\nb,6,\n", ["a 5", "b 6"]),
    "ragged": ("v.csv", b"title,view_count\na,5,x\nb\n", ["3 cells", "1 cells"]),
    "blank lines first": ("v.csv", b"\n\ntitle;view_count\na;5\n", ["a 5"]),
    "other delimiters in a name": ("v.csv", b"x (a; b; c),title,view_count\nq,a,5\n", ["a 5"]),
    "dots between thousands": ("v.csv", b"title;view_count\na;120.000\nb;1.5\n", ["dots", "b 1.5"]),
    "line ends of all kinds": ("v.csv", b"title,view_count\r\na,5\nb,6\rc,7", ["a 5", "b 6", "c 7"]),
    "a null byte": ("v.csv", b"title,view_count\na\0b,5\n", ["a\0b 5"]),
    "an ending in capitals": ("V.NDJSON", b'{"title": "a", "view_count": 5}\n', ["a 5"]),
    "no single values": ("v.jsonl", b'{"title": ["a"]}\n{"title": "b", "view_count": {}}\n', ["['a']", "{}"]),
    "other JSON": ("v.jsonl", b'{"title": "a", "view_count": NaN}\nnull\n"x"\n', ["a", "null", "x"]),
}
SOUND = gzip.compress(10_000 * WHOLE.encode())
BROKEN = SOUND[:60] + b"\xff" * 20 + SOUND[80:]
NOT_READ: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("v.csv", b"", "empty, expected a header"),
    "a mark": ("v.csv", b"\xef\xbb\xbf", "empty, expected a header"),
    "no object": ("v.jsonl", b"\n", "empty, expected an object"),
    "another encoding": ("v.csv", "title\ncaf\u00e9\n".encode("latin-1"), "set --encoding, such as cp1252"),
    "UTF-16 without a mark": ("v.csv", WHOLE.encode("utf-16-be"), "--encoding utf-16-be"),
    "bzip2": ("v.csv", bz2.compress(WHOLE.encode()), "compressed, but not with gzip"),
    "zstd": ("v.csv.zst", b"(\xb5/\xfd\x04", "compressed, but not with gzip"),
    "Parquet by another name": ("v.csv", b"PAR1\x15\x00", "must end in .parquet"),
    "a workbook": ("v.csv", b"PK\x03\x04\x00\x00", "save it as CSV"),
    "an old workbook": ("v.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as CSV"),
    "not gzip": ("v.csv.gz", WHOLE.encode(), "not a whole gzip file"),
    "gzip by another name": ("v.csv", gzip.compress(WHOLE.encode()), "must end in .gz"),
    "half of gzip": ("v.csv.gz", gzip.compress(WHOLE.encode())[:-12], "line 2"),
    "broken gzip": ("v.csv.gz", BROKEN, "not a whole gzip file"),
    "a quote without end": ("v.csv", (HEADER + '"open,5,1\n').encode(), "unexpected end of data"),
    "an array": ("v.JSON", b'[{"title": "x"}]', "jq -c"),
    "a read column twice": ("v.csv", b"title,view_count,title\na,5,b\n", "title more than once"),
    "capitals": ("v.csv", b"TITLE,View Count\na,5\n", "--map title=TITLE --map 'view_count=View Count'"),
    "no Parquet": ("v.parquet", b"PAR1 no PAR1", "v.parquet: "),
}
OPTIONS: list[tuple[tuple[str, ...], str]] = [
    (("v.csv", "--limit", "-1"), "argument --limit: invalid positive int value: '-1'"),
    (("v.csv", "--delimiter", ";;"), "expected one character, such as ';'"),
    (("v.csv", "--encoding", "base64"), "expected an encoding such as cp1252"),
    (("v.csv", "./v.csv"), "v.csv is the input: choose another output"),
    (("v.csv", "-"), "- is not a file: name one to write"),
    (("v.csv", "."), ". is not a file: name one to write"),
    (("v.csv", "no/v.csv"), "no/v.csv.part: No such file or directory"),
    (("-",), "-: not a file; it is read twice, so save it first"),
    (("v.csv", "--url", "localhost:7860"), "is not an http or https URL such as http://localhost:7860"),
]


def scores_of(path: Path) -> list[float]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    if path.suffix == ".jsonl":
        return [json.loads(line)["viral_score"] for line in text.splitlines()]
    lines = text.removeprefix("sep=;\r\n").splitlines()
    delimiter = max(",;\t|", key=lines[0].count)
    return [float(row["viral_score"]) for row in csv.DictReader(lines, delimiter=delimiter)]


def test_a_file_is_read_in_every_usual_form(service: Service, tmp_path: Path) -> None:
    """The same two rows get the same two scores, in the input's form."""
    rows = csv.DictReader(WHOLE.splitlines())
    expected = [httpx.post(f"{service.url}/predict", json=row).json()["viral_score"] for row in rows]
    failures = {}
    for name, (file, content) in READ.items():
        (tmp_path / file).write_bytes(content)
        done = ran("score_csv.py", *FAST, file, "--url", service.url, folder=tmp_path)
        target = tmp_path / file.replace("v.", "v.scored.", 1)
        found = scores_of(target) if target.exists() else None
        if found != expected:
            failures[name] = (found, done.stderr)
        target.unlink(missing_ok=True)
    assert failures == {}


def requests_in(path: Path) -> list[str]:
    """The cells of each row's request, or why it has none."""
    table = opened_table(path, None, "utf-8")
    found = requests_of(table.rows(), Columns(mapping(table, [], thumbnails=True)))
    return [
        row.reason if isinstance(row, Refusal) else " ".join(str(cell) for cell in row.values())
        for row in found
    ]


def test_odd_rows_are_read_or_refused_by_themselves(tmp_path: Path) -> None:
    """What is unambiguous is read; anything else is an error of its row."""
    failures = {}
    for name, (file, content, expected) in ODD.items():
        (tmp_path / file).write_bytes(content)
        found = requests_in(tmp_path / file)
        if len(found) != len(expected) or not all(map(str.__contains__, found, expected)):
            failures[name] = found
    assert failures == {}


def test_a_file_that_cannot_be_read_is_refused_with_the_next_step(tmp_path: Path) -> None:
    """One line, which names the file or its columns."""
    failures = {}
    for name, (file, content, words) in NOT_READ.items():
        (tmp_path / file).write_bytes(content)
        with pytest.raises(SettingError) as refused:
            requests_in(tmp_path / file)
        if words not in str(refused.value) or "\n" in str(refused.value):
            failures[name] = str(refused.value)
    assert failures == {}


def test_cells_that_python_cannot_hold_are_read_or_errors_of_their_rows(tmp_path: Path) -> None:
    """Texts and durations of any Parquet type, a year beyond 9999, and bytes that are not text."""
    broken = pa.array([b"q", b"\xff", b"r", b"s"], pa.binary())
    table = pa.table(
        {
            "title": broken,
            "description": broken.view(pa.string()),
            "duration": pa.array([90, 1, 1, 1], pa.duration("s")),
            "upload_date": pa.array([0, 0, 0, 400_000_000_000], pa.timestamp("s", tz="UTC")),
            "observed_at": pa.array([1_000_000_001, 1, 1, 1], pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "v.parquet")
    first, second, _, last = requests_in(tmp_path / "v.parquet")
    assert first == "q q 90.0 1970-01-01T00:00:00+00:00 1970-01-01T00:00:01.000000001"
    assert second == "title: b'\\xff' is not UTF-8 (invalid start byte)"
    assert "14645-06-30" in last


def test_what_yt_dlp_writes_is_read_without_advice(tmp_path: Path) -> None:
    """Fields under their other names are not missing, and nothing is suggested in their place."""
    video = {"title": "a", "view_count": 5, "upload_date": "20260301", "timestamp": 1_772_366_400}
    video |= {"thumbnail": "https://x.test/a.jpg", "thumbnails": [{"url": "x"}], "duration": 30, "length": 1}
    (tmp_path / "v.jsonl").write_text(json.dumps(video))
    table = opened_table(tmp_path / "v.jsonl", None, "utf-8")
    assert overview(table, mapping(table, [], thumbnails=True)) == (
        "reads title, view_count, duration, upload_date, thumbnail; "
        "not in the file: description, like_count, comment_count; not read: timestamp, thumbnails, length"
    )


def test_excels_first_line_is_not_a_header_whatever_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_bytes(b"sep=;\r\ntitle;view_count\r\na;5\r\n")
    assert opened_table(tmp_path / "v.csv", ";", "utf-8").columns == ["title", "view_count"]


def test_a_file_that_changes_while_it_is_scored_gets_no_scores(door: Door, tmp_path: Path) -> None:
    """Its rows may be in another order by now: exit code 2, and what to remove."""
    (tmp_path / "v.csv").write_text("title,view_count\na,1\nb,2\n")
    hold = Hold()
    door.plan.append(hold)
    with running(
        "score_csv.py", *FAST, "v.csv", folder=tmp_path, **{"INFERENCE_API_URL": door.url}
    ) as process:
        assert hold.reached.wait(LIMIT_S)
        (tmp_path / "v.csv").write_text("title,view_count\nb,2\na,1\n")
        hold.release.set()
        said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2, said
    assert "v.csv was changed while it was scored" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.csv", "v.scored.csv.part"]


def test_a_write_that_fails_names_the_file_and_loses_no_row(door: Door, tmp_path: Path) -> None:
    """The output, or the finished rows: one line, exit code 2, and the next run continues."""
    rows = "".join(f"Video {index} {'x' * 500},5\n" for index in range(30))
    (tmp_path / "v.csv").write_text("title,view_count\n" + rows)
    words = command("score_csv.py", *FAST, "v.csv", "--url", door.url)
    limited = ["sh", "-c", 'ulimit -f 20; exec "$@"', "sh", words[0], "-B", *words[1:]]
    done = completed(limited, cwd=tmp_path, env=environment({}))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 2), done.stderr
    assert "score_csv: unfinished-v.scored.csv: File too large; finished rows are kept" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.csv", "v.scored.csv.part"]
    again = ran("score_csv.py", *FAST, "v.csv", "--url", door.url, folder=tmp_path)
    assert "30 of 30 rows were already finished" in again.stderr, again.stderr


def test_an_option_that_cannot_be_used_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read or written; the last line says what is expected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFERENCE_API_URL", "http://localhost:9")
    Path("v.csv").write_text(WHOLE)
    failures = []
    for words, said in OPTIONS:
        try:
            code: object = score_file(arguments().parse_args(words), StopSignals())
        except SystemExit as exc:
            code, last = exc.code, capsys.readouterr().err.splitlines()[-1]
        except (SettingError, OSError) as exc:
            code, last = 2, line_of(exc)
        if code != 2 or said not in last:
            failures.append((words, code, last))
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["v.csv"]


def test_rows_longer_than_the_header_keep_the_results_in_their_columns(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "v.csv").write_text("title,view_count\na,5\nb,6,extra\n")
    done = ran("score_csv.py", *FAST, "v.csv", "--url", service.url, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    first, second = csv.DictReader((tmp_path / "v.scored.csv").read_text().splitlines())
    assert (float(first["viral_score"]) > 0, first["error"]) == (True, "")
    assert (second[""], second["viral_score"], second["error"]) == ("extra", "", "3 cells, the header has 2")


def test_results_that_the_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    """An ellipsis in an error does not end a run that has scored everything."""
    (tmp_path / "v.csv").write_bytes(b"title\ncaf\xe9\n")
    opened_table(tmp_path / "v.csv", None, "latin-1").write(tmp_path / "o.csv", ["error"], iter([["\u2026"]]))
    assert (tmp_path / "o.csv").read_bytes() == b"title,error\ncaf\xe9,\\u2026\n"


def test_two_runs_never_write_the_same_file(tmp_path: Path) -> None:
    with Finished(tmp_path / "v.part", {}), pytest.raises(SettingError, match="another run is writing it"):
        Finished(tmp_path / "v.part", {})
    with Finished(tmp_path / "v.part", {}) as again:
        assert again.count == 0


def test_half_a_surrogate_pair_and_deep_nesting_do_not_end_a_run(service: Service, tmp_path: Path) -> None:
    """The first is scored and written as it was; the second is an error in its row."""
    deep = b'{"title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (tmp_path / "v.jsonl").write_bytes(b'{"title": "\\ud800 x"}\n' + deep + b'\n{"title": "last"}\n')
    done = ran("score_csv.py", *FAST, "v.jsonl", "--url", service.url, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "v.scored.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[0]["title"] == "\ud800 x"


def test_texts_that_are_read_as_unknown_are_counted(service: Service, tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("title,view_count\na,N/A\nb,-\nc,N/A\n")
    done = ran("score_csv.py", *FAST, "v.csv", "--url", service.url, folder=tmp_path)
    assert "3 cells read as unknown: N/A, - (--na names more)" in done.stderr
