"""Everyone can use the page: axe finds no violations, in light or dark."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import SCREENS, Open
from tests.support.browser import Visit

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def objections(page: Page) -> list[str]:
    """The violations that axe finds: the rule and the element of each."""
    found = Axe().run(page, options={"runOnly": RULES}).response
    assert len(found["passes"]) > 15, "axe has checked nothing"
    return [f"{rule['id']}: {node['html']}" for rule in found["violations"] for node in rule["nodes"]]


def empty(page: Page) -> None:
    expect(page.get_by_text("Your score appears here.")).to_be_visible()


def answered(page: Page) -> None:
    """With an answer, everything unfolded."""
    page.get_by_role("button", name="Few details").click()
    expect(page.locator("#result .gauge-number")).to_be_visible()
    for summary in page.locator("#result summary, #recent summary, #details summary").all():
        summary.click()
    expect(page.locator(".moves li").first).to_be_visible()


def mistaken(page: Page) -> None:
    """With an error beside a field."""
    page.get_by_role("button", name="Score it").click()
    expect(page.locator("#title-error")).to_be_visible()


def compared(page: Page) -> None:
    """With a verdict on the versions."""
    page.get_by_role("tab", name="Not published yet").click()
    page.get_by_role("button", name="Try an example").click()
    page.get_by_role("button", name="Compare them").click()
    expect(page.locator(".decided")).to_be_visible()


def read_from_a_file(page: Page) -> None:
    page.get_by_role("tab", name="CSV file").click()
    content = {"name": "videos.csv", "mimeType": "text/csv", "buffer": b"title,views\nA title,10\n,20\n"}
    page.locator("#panel-file input[type=file]").set_input_files(content)  # type: ignore[arg-type]
    page.get_by_role("button", name="Score the rows").click()
    expect(page.get_by_role("link", name="Download with all columns")).to_be_visible()


def about_the_model(page: Page) -> None:
    page.get_by_role("button", name="About this model").click()
    expect(page.get_by_role("heading", name="About this model")).to_be_visible()


@SCREENS
def test_axe_has_no_objections(open_page: Open, size: tuple[int, int], dark: bool) -> None:
    """Contrast, names, roles and order hold in every state of the page."""
    with open_page(size=size, dark=dark) as visit:
        for state in (empty, mistaken, answered, compared, read_from_a_file, about_the_model):
            state(visit.page)
            assert objections(visit.page) == [], state.__doc__


def test_axe_would_object(visit: Visit) -> None:
    """The check works: an image without alternative text is found."""
    visit.page.evaluate("document.querySelector('main').append(new Image())")
    assert any(line.startswith("image-alt") for line in objections(visit.page))


def test_reduced_motion_is_respected(open_page: Open) -> None:
    """A visitor who prefers reduced motion sees the gauge at once; others see it fill."""
    for calm, seconds in ((True, "0s"), (False, "0.7s")):
        with open_page(calm=calm) as visit:
            visit.page.get_by_role("button", name="Few details").click()
            arc = visit.page.locator(".gauge-value")
            assert arc.evaluate("arc => getComputedStyle(arc).animationDuration") == seconds
