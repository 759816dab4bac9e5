"""What would move a score, files of videos, and what the page tells about the model."""

from playwright.sync_api import expect

from tests.support.browser import Visit

CSVS = {
    "a,b\n1,2\n": (["a", "b"], [["1", "2"]]),
    "\ufeffa;b\r\n1;2,5\r\n": (["a", "b"], [["1", "2,5"]]),
    "a\tb\n1\t2": (["a", "b"], [["1", "2"]]),
    'a,b\n"x, ""y""\nz",2\n\n,\n': (["a", "b"], [['x, "y"\nz', "2"]]),
    'a,b\r"1",2\r3,4\r': (["a", "b"], [["1", "2"], ["3", "4"]]),
    "": ([], []),
}


def test_csv_text_is_read_as_spreadsheets_write_it(visit: Visit) -> None:
    """Commas, semicolons, tabs, quotes, line ends and marks; blank lines are left out."""
    read = "async texts => { const { parse } = await import('/page/file/csv.js'); return texts.map(parse); }"
    found = visit.page.evaluate(read, list(CSVS))
    failures = [
        (text, got)
        for (text, (header, rows)), got in zip(CSVS.items(), found, strict=True)
        if (got["header"], got["rows"]) != (header, rows)
    ]
    assert failures == []


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
