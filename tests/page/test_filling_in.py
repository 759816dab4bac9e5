"""What fills in the form: a YouTube address, a picture, a link, the last visit; what a browser keeps."""

import base64
import json
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from preprocessing.thumbnails.youtube import picture_of_page
from tests.page.conftest import Open
from tests.page.test_comparing import drop
from tests.support.browser import Visit
from tests.support.service import Service
from tests.support.thumbnail_host import ThumbnailHost, picture
from tests.support.youtube import VIDEO_ID

ADDRESSES = {
    f"https://www.youtube.com/watch?v={VIDEO_ID}": VIDEO_ID,
    f"http://m.youtube.com/watch?t=9s&v={VIDEO_ID}&list=PL1": VIDEO_ID,
    f"https://music.youtube.com/watch?v={VIDEO_ID}": VIDEO_ID,
    f"youtube.com/shorts/{VIDEO_ID}": VIDEO_ID,
    f"https://www.youtube.com/shorts/{VIDEO_ID}/": VIDEO_ID,
    f"https://youtube.com/live/{VIDEO_ID}?feature=share": VIDEO_ID,
    f"https://www.youtube-nocookie.com/embed/{VIDEO_ID}": VIDEO_ID,
    f"https://gaming.youtube.com/watch/{VIDEO_ID}": VIDEO_ID,
    f"https://youtube.googleapis.com/v/{VIDEO_ID}": VIDEO_ID,
    f"  https://youtu.be/{VIDEO_ID}?si=abc  ": VIDEO_ID,
    f"https://youtu.be/{VIDEO_ID}#t=1": VIDEO_ID,
    f"HTTPS://YouTu.be/{VIDEO_ID}?t=9": VIDEO_ID,
    f"https://studio.youtube.com/video/{VIDEO_ID}/edit": VIDEO_ID,
    f"https://www.youtubekids.com/watch?v={VIDEO_ID}": VIDEO_ID,
    f"https://www.youtube.com/embed/{VIDEO_ID}?start=9&t=1": VIDEO_ID,
    f"https://youtube.com.evil.example/watch?v={VIDEO_ID}": None,
    f"https://evil.example/?u=https://youtu.be/{VIDEO_ID}": None,
    f"javascript://youtu.be/{VIDEO_ID}": None,
    "https://www.youtube.com/@channel": None,
    "https://www.youtube.com/watch?v=short": None,
    "My first video": None,
    "": None,
}


def test_every_form_of_a_youtube_address_is_read(visit: Visit) -> None:
    """The id of watch, shorts, live, embed and youtu.be; also within the text that an app shares."""
    read = "async texts => texts.map((await import('/page/video/youtube.js')).videoIdOf)"
    found = visit.page.evaluate(read, list(ADDRESSES))
    page = visit.page
    page.get_by_label("YouTube address").fill(f"Look! https://youtu.be/{VIDEO_ID}?si=x on YouTube")
    expect(page.get_by_label("Thumbnail URL")).to_have_value(re.compile(VIDEO_ID))
    failures = [
        (address, got)
        for (address, expected), got in zip(ADDRESSES.items(), found, strict=True)
        if got != expected
    ]
    assert failures == []


def test_the_page_and_the_service_read_the_same_addresses() -> None:
    """What the page reads as a video's address, the service accepts for its thumbnail."""
    failures = []
    for address, expected in ADDRESSES.items():
        if address.strip().startswith("http"):
            parts = urlsplit(address.strip())
            picture_url = picture_of_page(parts.hostname or "", f"{parts.path}?{parts.query}".rstrip("?"))
            if (picture_url is not None) != (expected is not None):
                failures.append((address, picture_url))
    assert failures == []


@pytest.mark.parametrize("field", ["YouTube address", "Title"])
def test_an_address_fills_in_the_video(open_page: Open, field: str) -> None:
    """Thumbnail, title and counts, whichever field it was pasted into; what YouTube hides stays blank."""
    with open_page() as visit:
        page = visit.page
        page.get_by_label(field, exact=field == "Title").fill(f"https://youtube.com/shorts/{VIDEO_ID}")
        expect(
            page.get_by_text("Filled in from YouTube; the counts that it hides are left blank.")
        ).to_be_visible()
        expect(page.get_by_label("Title", exact=True)).to_have_value("How do planes stay up?")
        expect(page.get_by_label("Views", exact=True)).to_have_value("210000")
        expect(page.locator("#comment_count")).to_have_value("")
        expect(page.locator("#duration_seconds")).to_have_value("312")
        expect(page.get_by_label("Thumbnail URL")).to_have_value(
            f"https://i.ytimg.com/vi/{VIDEO_ID}/hqdefault.jpg"
        )
        expect(page.locator("#picture .drop img")).to_be_visible()


def test_a_picture_may_be_dropped_anywhere(visit: Visit) -> None:
    """On the page, not only on its field; it is shown at the size of a phone's list."""
    drop(visit.page.locator("h1"), ("cat.png", "image/png", picture(5, (800, 450), "PNG")))
    expect(visit.page.locator("#picture .note")).to_contain_text("cat.png, sent as 640 × 360")
    expect(visit.page.locator("#picture .drop img")).to_be_visible()


def shared(page: Page) -> str:
    """The link that the page's button copies."""
    page.get_by_role("button", name="Copy a link").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_a_link_carries_the_form_and_is_not_sent(
    open_page: Open, service: Service, host: ThumbnailHost
) -> None:
    """Scripts in its texts do nothing, and neither the service nor the picture's host is asked."""
    title = "<img src=x onerror=\"document.title='run'\"> ünïcode 🎬"
    with open_page() as visit:
        page = visit.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.url)
        page.get_by_label("Title").fill(title)
        page.get_by_label("Thumbnail URL").fill(f"{host.url}/5.jpg")
        page.get_by_label("Published your time").fill("2026-01-02T03:04")
        page.get_by_role("button", name="Score it").click()
        expect(page.locator("#result .headline")).to_be_visible()
        link = shared(page)
    host.asked.clear()
    with open_page(link) as visit:
        page = visit.page
        expect(page.get_by_label("Title")).to_have_value(title)
        expect(page.get_by_label("Published your time")).to_have_value("2026-01-02T03:04")
        expect(page.get_by_label("Thumbnail URL")).to_have_value(f"{host.url}/5.jpg")
        assert page.url == service.url + "/", "a reload keeps the form, not the link"
        assert host.asked == []
        assert not any("/predict" in url for url in visit.asked)
        page.get_by_role("button", name="Score it").click()
        expect(page.locator("#result h2").first).to_have_text(title)
        assert page.title() != "run"


def test_a_link_leaves_out_what_does_not_fit(visit: Visit) -> None:
    """The longest description, at three bytes a letter: the link omits it, keeps the title, and opens."""
    found = visit.page.evaluate(
        """async () => {
          const { linkOf, fromLink } = await import("/page/video/share.js");
          const description = "\u0e01".repeat(10000);
          const { link, without } = linkOf({ title: "T", description, view_count: 5 });
          return [without, fromLink(new URL(link).hash)];
        }"""
    )
    assert found == [["the description"], {"title": "T", "view_count": 5}]


def test_a_made_up_link_does_nothing_else(open_page: Open, service: Service) -> None:
    """Whatever is in it, the page opens: only a video's own fields are taken, and only as text."""
    fields = {
        "title": "T",
        "thumbnail_url": "javascript:alert(1)",
        "__proto__": {"a": 1},
        "submit": "x",
        "view_count": [1],
    }
    made = base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
    for part in (made, "%%%", "bnVsbA", "W10", "A" * 50_000):
        with open_page(f"{service.url}/#video={part}") as visit:
            said = "" if part == made else "The link is damaged: nothing was filled in from it."
            expect(visit.page.locator("#status")).to_have_text(said)
            assert visit.page.url == service.url + "/"
            expect(visit.page.get_by_label("Title")).to_have_value("T" if part == made else "")
            expect(visit.page.locator("#submit")).to_have_text("Score it")
            expect(visit.page.get_by_label("Views", exact=True)).to_have_value("")
            assert visit.page.locator("#picture img").get_attribute("src") is None


def test_the_form_stays_after_a_reload(visit: Visit) -> None:
    page = visit.page
    page.get_by_label("Title").fill("Still here")
    page.get_by_label("Published your time").fill("2026-01-02T03:04")
    drop(page.locator("#picture .picture"), ("cat.jpg", "image/jpeg", picture(5)))
    expect(page.locator("#picture .drop img")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Title")).to_have_value("Still here")
    expect(page.get_by_label("Published your time")).to_have_value("2026-01-02T03:04")
    expect(page.locator("#picture .drop img")).to_be_visible()


def test_the_last_twenty_scores_are_kept_and_can_be_forgotten(visit: Visit) -> None:
    """The newest first, in this browser; each opens as it was, and a button clears them all."""
    page = visit.page
    known = [
        {
            "request": {"title": f"Number {n}"},
            "score": 0.5,
            "velocity": 9,
            "inRange": True,
            "at": "2026-01-02T03:04Z",
        }
        for n in range(20)
    ]
    page.evaluate(
        "known => localStorage.setItem('miles-recent', JSON.stringify(known))", [*known, "not an entry"]
    )
    page.reload()
    page.get_by_label("Title").fill("The newest")
    page.get_by_role("button", name="Score it").click()
    expect(page.locator("#recent summary")).to_have_text("Your last scores (20)")
    page.locator("#recent summary").click()
    titles = page.locator(".recent-title").all_inner_texts()
    assert titles == ["The newest", *[f"Number {n}" for n in range(19)]]
    page.get_by_role("button", name=re.compile("^Number 3")).click()
    expect(page.get_by_label("Title")).to_have_value("Number 3")
    page.get_by_role("button", name="Forget them").click()
    expect(page.locator("#recent")).to_be_hidden()
