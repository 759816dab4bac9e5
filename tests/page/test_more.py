"""What would move a score, files of videos, and what the page says about the model."""

import csv
import io
from pathlib import Path

from playwright.sync_api import expect

from tests.page.test_comparing import drop
from tests.support.browser import Visit

CSVS = {
    "a,b\n1,2\n": (["a", "b"], [["1", "2"]]),
    "\ufeffa;b\r\n1;2,5\r\n": (["a", "b"], [["1", "2,5"]]),
    "a\tb\n1\t2": (["a", "b"], [["1", "2"]]),
    'a,b\n"x, ""y""\nz",2\n\n,\n': (["a", "b"], [['x, "y"\nz', "2"]]),
    'a,b\r"1",2\r3,4\r': (["a", "b"], [["1", "2"], ["3", "4"]]),
    "": ([], []),
}


def test_variations_are_described_in_words(visit: Visit) -> None:
    """They are requested once, when the card is opened: without numbers, half as long, one more day."""
    page = visit.page
    page.get_by_label("Title").fill("10 Tips for Perfect Morning Routine")
    page.get_by_label("Published your time").fill("2026-01-02T03:04")
    page.get_by_role("button", name="Score it").click()
    expect(page.locator("#result .headline")).to_be_visible()
    assert not any("/explain" in url for url in visit.asked)
    with page.expect_request("**/explain") as request:
        page.get_by_text("What would move it").click()
    older = page.evaluate("new Date(new Date('2026-01-02T03:04').valueOf() - 864e5).toISOString()")
    assert request.value.post_data_json["what_if"] == [
        {"title": "Tips for Perfect Morning Routine"},
        {"title": "10 Tips for"},
        {"published_at": older},
    ]
    rows = page.locator(".moves li")
    expect(rows.locator("strong")).to_have_text(
        ["The title without numbers", "A title half as long", "The same video after one more day"]
    )
    for sentence in rows.locator(".outcome-words").all_inner_texts():
        assert sentence.startswith(("Up by ", "Down by ", "No difference", "No basis: ")), sentence


def test_csv_text_is_read_as_spreadsheets_write_it(visit: Visit) -> None:
    """Commas, semicolons, tabs, quotes, line ends and byte order marks; blank lines are skipped."""
    read = "async texts => { const { parse } = await import('/page/file/csv.js'); return texts.map(parse); }"
    found = visit.page.evaluate(read, list(CSVS))
    failures = [
        (text, got)
        for (text, (header, rows)), got in zip(CSVS.items(), found, strict=True)
        if (got["header"], got["rows"]) != (header, rows)
    ]
    assert failures == []


def test_a_file_comes_back_with_scores(visit: Visit) -> None:
    """Every row and column is kept, each row has a score or an error, and two requests are sent."""
    page = visit.page
    page.get_by_role("tab", name="CSV file").click()
    lines = [
        "id;Video Title;views;note",
        *[f'{n};"Video; number {n}";{n * 100};x' for n in range(70)],
        "70;;5;no title",
    ]
    content = {"name": "videos.csv", "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}
    page.locator("#panel-file input[type=file]").set_input_files(content)  # type: ignore[arg-type]
    expect(
        page.get_by_text("videos.csv: 71 rows; columns id, Video Title as title, views as view_count, note.")
    ).to_be_visible()
    page.get_by_role("button", name="Score the rows").click()
    expect(page.get_by_text("70 rows scored, 1 refused")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download with all columns").click()
    assert download.value.suggested_filename == "videos-scored.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["id"] for row in rows] == [str(n) for n in range(71)]
    assert rows[5]["Video Title"] == "Video; number 5"
    assert all(0 <= float(row["viral_score"]) <= 1 and not row["error"] for row in rows[:70])
    assert (rows[70]["viral_score"], rows[70]["note"]) == ("", "no title")
    assert "title" in rows[70]["error"]
    assert sum("/predict/batch" in url for url in visit.asked) == 2


REFUSED = {
    "cat.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "cat.png is not a CSV file."),
    "open.csv": (b'title,views\n"a,1\n', "open.csv: A quote is opened and never closed."),
    "names.csv": (b"who,views\na,1\n", "names.csv has no column title; its columns are who, views."),
    "head.csv": (b"title,views\n", "head.csv has no rows below its header."),
}


def test_a_file_that_cannot_be_scored_is_reported(visit: Visit) -> None:
    """By name, and nothing is sent for it; a CSV file dropped anywhere opens its tab."""
    page = visit.page
    page.get_by_role("tab", name="CSV file").click()
    for name, (content, sentence) in REFUSED.items():
        drop(page.locator("#panel-file .file"), (name, "", content))
        expect(page.locator("#panel-file .error")).to_contain_text(sentence)
    page.get_by_role("tab", name="Score a video").click()
    drop(page.locator("h1"), ("v.csv", "text/csv", b"title,views\na,1,\nb,2,x\n"))
    page.get_by_role("button", name="Score the rows").click()
    expect(page.get_by_text("1 row scored, 1 refused")).to_be_visible()
    expect(page.get_by_text("3 cells, the header has 2.")).to_be_visible()


def test_the_model_is_described_in_words(visit: Visit) -> None:
    """A dialog with the checkpoint, its data and its measures; the page links to neither JSON nor metrics."""
    page = visit.page
    assert page.locator("footer a").evaluate_all("links => links.map(link => link.getAttribute('href'))") == [
        "docs"
    ]
    page.get_by_role("button", name="About this model").click()
    dialog = page.get_by_role("dialog", name="About this model")
    for words in (
        "weightless.pt",
        "Its image columns are zero.",
        "Thumbnails are read, but",
        "percentage points",
    ):
        expect(dialog).to_contain_text(words)
    page.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
