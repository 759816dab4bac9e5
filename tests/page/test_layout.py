"""Where things are: facts about the layout, not pixels."""

import re

from playwright.sync_api import Page, expect

from tests.support.browser import Visit

SIZES = {
    "laptop": (1366, 768),
    "small laptop": (1280, 720),
    "desktop": (1920, 1080),
    "tablet": (820, 1180),
    "phone": (390, 844),
}
IN_VIEW = """element => {
    const { top, bottom, left, right } = element.getBoundingClientRect();
    return top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth && bottom > top;
}"""


def out_of_view(page: Page, *selectors: str) -> list[str]:
    return [selector for selector in selectors if not page.locator(selector).evaluate(IN_VIEW)]


def test_the_result_is_in_view_after_the_button(visit: Visit) -> None:
    """At five sizes, after "Score it": score, verdict and expected views, and no sideways scrolling."""
    page, failures = visit.page, []
    page.get_by_label("Title").fill("How do planes stay up? " * 8)
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Title").fill("How do planes stay up? " * 8)
        page.get_by_text("Likes, comments, length and more").click()
        page.get_by_role("button", name="Score it").click()
        expect(page.locator("#result .headline")).to_be_visible()
        hidden = out_of_view(page, ".gauge-number", ".chance", ".facts strong")
        if hidden or page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            failures.append((name, hidden))
    assert failures == []


def test_an_error_is_in_view_beside_its_field(visit: Visit) -> None:
    """At five sizes: the message of a folded field is in view, and so is the button."""
    page, failures = visit.page, []
    for name, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("button", name="Clear").click()
        page.get_by_label("Title").fill("A title")
        page.locator("#details").evaluate("fold => { fold.open = true; }")
        page.locator("#like_count").fill("-1")
        page.locator("#details").evaluate("fold => { fold.open = false; }")
        page.get_by_role("button", name="Score it").click()
        expect(page.locator("#like_count-error")).to_be_visible()
        expect(page.locator("#like_count")).to_be_focused()
        if hidden := out_of_view(page, "#like_count-error", "#submit", "#status"):
            failures.append((name, hidden))
    assert failures == []


def test_the_button_shows_progress(visit: Visit) -> None:
    """While a request is pending, the button and the line beside it say so; a second press does nothing."""
    page = visit.page
    page.get_by_label("Title").fill("Once")
    held = []
    page.route("**/predict?*", lambda route: held.append(route))  # until the test continues it
    button = page.locator("#submit")
    button.click()
    expect(button).to_have_text("Scoring…")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#status")).to_have_text("Sent; waiting for the score.")
    button.click(force=True)
    assert len(held) == 1
    held[0].continue_()
    expect(button).to_have_text("Score it")
    expect(page.locator("#status")).to_contain_text("scored in")


def test_a_long_title_is_cut_as_on_a_phone(visit: Visit) -> None:
    """Two lines beside a picture of 120 pixels, and the page says how much of the title a phone shows."""
    page = visit.page
    page.get_by_label("Title").fill(
        "How do planes stay up, and why does it take a book to explain it to a child?"
    )
    told = page.get_by_text("A phone shows about").inner_text()
    shown, length = map(int, re.findall(r"\d+", told))
    assert length == 76
    assert 40 <= shown <= 60
    assert page.locator("#picture .drop").bounding_box()["width"] == 120  # type: ignore[index]
    page.get_by_label("Title").fill("How do planes stay up?")
    expect(page.get_by_text("A phone shows about")).to_have_count(0)


def test_text_runs_in_its_own_direction(visit: Visit) -> None:
    """A Hebrew title is right to left in its field, its preview and its result."""
    page = visit.page
    page.get_by_label("Title").fill("איך מטוסים נשארים באוויר?")
    page.get_by_role("button", name="Score it").click()
    expect(page.locator("#result .headline")).to_be_visible()
    for selector in ("#title", "#picture .cut", "#result .what h2"):
        assert page.locator(selector).evaluate("it => getComputedStyle(it).direction") == "rtl", selector
