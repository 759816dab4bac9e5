"""One video on the page: what is sent, and what is shown of the answer."""

import base64
import json
import re
import subprocess
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import SCREENS, Open, rounded
from tests.support.browser import Visit
from tests.support.service import Service
from tests.support.thumbnail_host import ThumbnailHost, picture

AWKWARD = """It's "easy": $HOME `id` \\ 100 % ünïcode 🎬"""


def percent(share: float) -> str:
    return "<1%" if share < 0.01 else ">99%" if share > 0.99 else f"{share * 100:.1f}%"


def unfold(page: Page) -> None:
    page.get_by_text("Likes, comments, length and more").click()


def scored(page: Page) -> dict[str, Any]:
    """Press the button, wait until the answer is shown, and return it."""
    with page.expect_response("**/predict*") as response:
        page.get_by_role("button", name="Score it").click()
    expect(page.locator("#result .gauge-number")).to_be_visible()
    answer: dict[str, Any] = response.value.json()
    return answer


@SCREENS
def test_an_example_is_scored_at_a_click(open_page: Open, size: tuple[int, int], dark: bool) -> None:
    """Gauge and velocity are the answer's, in view, and nothing is wider than the screen."""
    with open_page(size=size, dark=dark) as visit:
        with visit.page.expect_response("**/predict*") as response:
            visit.page.get_by_role("button", name="Taking off").click()
        answer = response.value.json()
        gauge = visit.page.get_by_role("img", name="likely to go viral")
        expect(gauge).to_be_in_viewport()
        assert gauge.get_attribute("aria-label") == f"{percent(answer['viral_score'])} likely to go viral"
        facts = visit.page.locator(".facts")
        expect(facts).to_contain_text(f"{rounded(answer['predicted_velocity']):,} per day")
        expect(visit.page.get_by_text("Confidence")).to_have_count(0)
        assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 200) is dark


def test_the_form_is_the_request(visit: Visit) -> None:
    """Each field is sent under its name, empty ones are not, and the local time goes out as UTC."""
    page = visit.page
    page.get_by_label("Title").fill("A title")
    page.get_by_label("Views", exact=True).fill("15000")
    unfold(page)
    page.locator("#duration_seconds").fill("12.5")
    page.get_by_label("Published your time").fill("2026-01-02T03:04")
    with page.expect_request("**/predict*") as request:
        page.get_by_role("button", name="Score it").click()
    moment = page.evaluate("new Date('2026-01-02T03:04').toISOString()")
    assert request.value.post_data_json == {
        "title": "A title",
        "view_count": 15000,
        "duration_seconds": 12.5,
        "published_at": moment,
        "explain": True,
    }
    expect(page.locator("#result .gauge-number")).to_be_visible()


def test_missing_inputs_are_named_with_their_reason(visit: Visit) -> None:
    """No thumbnail and no date: both are named, in words rather than in codes."""
    visit.page.get_by_role("button", name="Few details").click()
    states = visit.page.locator(".modalities li")
    expect(states.nth(1)).to_contain_text("missing")
    expect(states.nth(1)).to_contain_text("None was given")
    expect(states.nth(2)).to_contain_text("filled in")
    expect(states.nth(2)).to_contain_text("time of publication")


def test_unknown_words_are_reported(visit: Visit) -> None:
    """For random letters the page says that the encoder does not know them."""
    visit.page.get_by_label("Title").fill("xqzvbn wrtplk jhgf")
    assert scored(visit.page)["modalities"]["text"] == {"state": "used", "reason": "unknown_words"}
    expect(visit.page.locator(".modalities li").first).to_contain_text("knows none of its words")


def test_a_failing_thumbnail_is_reported_and_spares_the_score(visit: Visit, host: ThumbnailHost) -> None:
    """The preview says that the thumbnail is unavailable, the reason is shown, and so is the score."""
    visit.page.get_by_label("Title").fill("No picture")
    visit.page.get_by_label("Thumbnail URL").fill(f"{host.url}/page.html")
    answer = scored(visit.page)
    assert answer["modalities"]["image"]["state"] == "failed"
    expect(visit.page.locator(".modalities .failed")).to_contain_text("Not an image that Miles can read")
    expect(visit.page.locator(".headline .thumbnail")).to_have_text("unavailable")
    expect(visit.page.locator(".warnings")).to_contain_text(answer["warnings"][0])
    expect(visit.page.get_by_label("Thumbnail URL")).to_have_accessible_description(re.compile("^Not used: "))


def test_every_warning_is_shown(visit: Visit) -> None:
    visit.page.get_by_label("Title").fill("A")
    visit.page.get_by_label("Thumbnail URL").fill("not an address")
    answer = scored(visit.page)
    assert len(answer["warnings"]) >= 2
    assert visit.page.locator(".warnings li").all_inner_texts() == answer["warnings"]


def test_what_moved_the_score_is_shown_as_bars(visit: Visit) -> None:
    """Each part that moved the score has a bar, up or down, the largest first; the others are only named."""
    visit.page.get_by_label("Title").fill("What moves it?")
    contributions = scored(visit.page)["explanation"]["contributions"]
    parts = [part for part in contributions if abs(part["viral_score"]) >= 0.001]
    for part in contributions[len(parts) :]:
        expect(visit.page.locator(".rest")).to_contain_text(part["label"])
    rows = visit.page.locator(".bars:not(.one-way) li")
    expect(rows).to_have_count(len(parts))
    for row, part in zip(rows.all(), parts, strict=True):
        expect(row.locator(".bar-label")).to_have_text(part["label"])
        expect(row.locator(".bar")).to_have_class("bar down" if part["viral_score"] < 0 else "bar up")
    widths = [bar.bounding_box()["width"] for bar in rows.locator(".bar").all() if bar.bounding_box()]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0


def test_timings_are_shown(visit: Visit) -> None:
    """A bar for each stage, under its own heading."""
    visit.page.get_by_role("button", name="Steady").click()
    visit.page.get_by_text("Where the time went").click()
    expect(visit.page.locator(".one-way li")).to_have_count(7)
    expect(visit.page.locator(".one-way li").nth(5)).to_contain_text(re.compile(r"Combined\s*[\d.]+ ms"))


@pytest.mark.parametrize("size", [(320, 180), (640, 360)], ids=["small", "beyond a shell's argument"])
def test_the_curl_command_gives_the_same_score(visit: Visit, service: Service, size: tuple[int, int]) -> None:
    """What the button copies runs in a shell unchanged; the text on the page says how much it omits."""
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.url)
    page.get_by_label("Title").fill(AWKWARD)
    url = "data:image/png;base64," + base64.b64encode(picture(3, size, "PNG")).decode()
    page.get_by_label("Thumbnail URL").fill(url)
    answer = scored(page)
    page.get_by_text("The request as curl").click()
    assert "more characters are copied)" in page.locator(".curl pre").inner_text()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    assert url in command
    ran = subprocess.run(["bash"], input=command.encode(), capture_output=True, check=True, timeout=60)
    assert json.loads(ran.stdout)["viral_score"] == pytest.approx(answer["viral_score"], abs=1e-5)
    assert json.loads(ran.stdout)["modalities"]["image"]["state"] == "used"


def test_an_empty_title_is_reported_beside_the_field(visit: Visit) -> None:
    """Nothing is sent; the field is marked, described and focused."""
    visit.page.get_by_role("button", name="Score it").click()
    title = visit.page.get_by_label("Title")
    expect(title).to_be_focused()
    expect(title).to_have_attribute("aria-invalid", "true")
    expect(title).to_have_accessible_description("Enter a title.")
    assert not any("/predict" in url for url in visit.asked)


def test_what_the_service_refuses_is_reported_beside_the_field(visit: Visit) -> None:
    """A 422's errors are shown at their fields, and disappear once the field is valid."""
    page = visit.page
    page.get_by_label("Title").fill("More views than there are people")
    views = page.get_by_label("Views", exact=True)
    views.fill("99999999999999999999")
    page.get_by_role("button", name="Score it").click()
    expect(views).to_have_accessible_description(
        re.compile("^Expected .* in digits from 0 to 9223372036854775807.*leave it blank if it is unknown$")
    )
    expect(page.get_by_role("alert").filter(has_text="No score")).to_be_visible()
    views.fill("15")
    scored(page)
    expect(views).not_to_have_attribute("aria-invalid", "true")


def test_a_lost_network_is_reported_and_the_request_can_be_retried(visit: Visit) -> None:
    """The page says so in words; once the network is back, its button sends the request again."""
    page = visit.page
    page.get_by_label("Title").fill("Tunnel")
    page.context.set_offline(True)
    page.get_by_role("button", name="Score it").click()
    expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#result .gauge-number")).to_be_visible()
    assert [line for line in visit.complaints if "ERR_INTERNET_DISCONNECTED" not in line] == []
    visit.complaints.clear()  # Chromium's own line about the network


def test_a_keyboard_is_enough(visit: Visit) -> None:
    """From the top of the page by Tab, arrows and Enter alone, with a visible ring on each stop."""
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Score a video")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Not published yet")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    for _ in range(2):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    expect(page.get_by_role("textbox", name="Title")).to_be_focused()
    page.keyboard.type("Typed and sent without a mouse")
    page.keyboard.press("Enter")
    expect(page.locator("#result .gauge-number")).to_be_visible()
    expect(page.locator("#status")).to_have_text(
        re.compile(r"^(\S+% likely to go viral|No verdict), scored in .+ ms\.$")
    )


def test_no_other_host_is_asked(visit: Visit, service: Service) -> None:
    page = visit.page
    page.get_by_role("button", name="Quiet").click()
    expect(page.locator("#result .gauge-number")).to_be_visible()
    page.get_by_role("tab", name="Not published yet").click()
    page.get_by_role("button", name="Compare them").click()
    expect(page.locator(".decided")).to_be_visible()
    assert visit.hosts() == {httpx.URL(service.url).netloc.decode()}
