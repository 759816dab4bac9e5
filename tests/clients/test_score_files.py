"""Which files clients/score_csv.py reads, and what it says of those that it does not read."""

import csv
import gzip
import json
from pathlib import Path

import httpx

from tests.clients.command import FAST, ran
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
NOT_READ: dict[str, tuple[str, bytes, str]] = {
    "nothing": ("v.csv", b"", "empty, expected a header"),
    "a mark": ("v.csv", b"\xef\xbb\xbf", "empty, expected a header"),
    "no object": ("v.jsonl", b"\n", "empty, expected an object"),
    "another encoding": ("v.csv", "title\ncaf\u00e9\n".encode("latin-1"), "set --encoding, such as cp1252"),
    "a workbook": ("v.csv", b"PK\x03\x04\x00\x00", "save it as CSV"),
    "not gzip": ("v.csv.gz", WHOLE.encode(), "not a whole gzip file"),
    "half of gzip": ("v.csv.gz", gzip.compress(WHOLE.encode())[:-12], "line 2"),
    "a quote without end": ("v.csv", (HEADER + '"open,5,1\n').encode(), "unexpected end of data"),
    "an array": ("v.json", b'[{"title": "x"}]', "jq -c"),
    "a read column twice": ("v.csv", b"title,view_count,title\na,5,b\n", "title more than once"),
    "capitals": ("v.csv", b"TITLE,View Count\na,5\n", "--map title=TITLE --map 'view_count=View Count'"),
}


def scores_of(path: Path) -> list[float]:
    """The scores in a scored file, whatever its form."""
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


def test_a_file_that_cannot_be_read_is_refused_with_the_next_step(service: Service, tmp_path: Path) -> None:
    """Exit code 2, one line, nothing written."""
    failures = {}
    for name, (file, content, words) in NOT_READ.items():
        (tmp_path / file).write_bytes(content)
        done = ran("score_csv.py", *FAST, file, "--url", service.url, folder=tmp_path)
        if (done.returncode, done.stderr.count("\n")) != (2, 1) or words not in done.stderr:
            failures[name] = done.stderr
        (tmp_path / file).unlink()
    assert failures == {}
    assert list(tmp_path.iterdir()) == []


def test_half_a_surrogate_pair_and_deep_nesting_end_no_run(service: Service, tmp_path: Path) -> None:
    """The first is scored and written as it was; the second is an error in its row."""
    deep = b'{"title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (tmp_path / "v.jsonl").write_bytes(b'{"title": "\\ud800 x"}\n' + deep + b'\n{"title": "last"}\n')
    done = ran("score_csv.py", *FAST, "v.jsonl", "--url", service.url, folder=tmp_path)
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "v.scored.jsonl").read_text().splitlines()]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[0]["title"] == "\ud800 x"


def test_texts_that_are_read_as_unknown_are_counted(service: Service, tmp_path: Path) -> None:
    """With the option that names more of them."""
    (tmp_path / "v.csv").write_text("title,view_count\na,N/A\nb,-\nc,N/A\n")
    done = ran("score_csv.py", *FAST, "v.csv", "--url", service.url, folder=tmp_path)
    assert "3 cells read as unknown: N/A, - (--na names more)" in done.stderr
