"""The Next.js page in Chromium: a title is typed, and the score of a real service is read."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Response, expect

from tests.clients.door import WAKING_PAGE, Door, open_door
from tests.clients.nextjs_site import build, port_for_pages, started_site
from tests.support.browser import Visit, open_browser, visiting
from tests.support.service import ready_service
from tests.support.web import Reply

TITLE = "How do planes stay up?"


@dataclass(frozen=True)
class Site:
    """The page's address, and the doors in front of the services that its server and its visitors call."""

    url: str
    key: str
    inner: Door
    outer: Door


@pytest.fixture(scope="module")
def site(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page with two services: its server's requires a key, the browsers' allows the page's origin."""
    logs, key, port = tmp_path_factory.mktemp("nextjs"), secrets.token_urlsafe(24), port_for_pages()
    origins = {} if port == 3000 else {"cors_origins": f"http://localhost:{port}"}
    build(logs / "build.log")
    with ExitStack() as stack:
        start = stack.enter_context
        guarded = start(ready_service(logs / "guarded.log", checkpoint=tiny_bundle, api_keys=key))
        public = start(ready_service(logs / "public.log", checkpoint=tiny_bundle, **origins))
        inner, outer = start(open_door(guarded.url)), start(open_door(public.url))
        addresses = {"MILES_URL": inner.url, "MILES_API_KEY": key, "NEXT_PUBLIC_MILES_URL": outer.url}
        yield Site(start(started_site(logs / "site.log", port, **addresses)), key, inner, outer)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for all of these tests."""
    with open_browser() as running:
        yield running


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Visit]:
    """The page, just opened, with a clock that a test can advance; the browser must not complain."""
    with visiting(browser) as opened:
        opened.page.clock.install()
        opened.page.goto(site.url)
        yield opened
        assert opened.complaints == []


def ask(visit: Visit, *, direct: bool = False, **fields: str) -> None:
    """Fill the form as a person would and press the button."""
    for label, value in {"Title": TITLE, **fields}.items():
        visit.page.get_by_label(label, exact=True).fill(value)
    if direct:
        visit.page.get_by_label("straight from this browser").check()
    visit.page.get_by_role("button", name="Score it").click()


def read_score(visit: Visit) -> str:
    """The large figure, once it is there."""
    heading = visit.page.get_by_role("heading", name="likely to go viral")
    return heading.inner_text().split("%")[0].strip()


def percent_of(door: Door) -> str:
    """The score that the service behind a door gives the same video, as the page would write it."""
    answer = httpx.post(f"{door.upstream}/predict", json={"title": TITLE})
    return f"{answer.json()['viral_score'] * 100:.1f}"


def test_a_title_is_scored_through_the_sites_own_server(site: Site, visit: Visit) -> None:
    """The browser contacts only this site, and shows the service's score."""
    ask(visit)
    assert read_score(visit) == percent_of(site.outer)
    assert visit.hosts() == {httpx.URL(site.url).netloc.decode()}


def test_the_key_stays_on_the_server(site: Site, browser: Browser) -> None:
    """The service receives the key, and nothing that reaches the browser contains it."""
    with visiting(browser) as opened:
        responses: list[Response] = []
        opened.page.on("response", lambda response: responses.append(response))
        opened.page.goto(site.url)
        ask(opened)
        read_score(opened)
        texts = [response.text() for response in responses]
    heard = httpx.Headers(site.inner.calls[-1].headers)
    assert heard["authorization"] == f"Bearer {site.key}"
    assert any("viral_score" in text for text in texts)
    assert not any(site.key in text for text in texts)


def test_a_title_is_scored_across_origins(site: Site, visit: Visit) -> None:
    """The browser posts to the service itself, which allows the page's origin."""
    ask(visit, direct=True)
    assert read_score(visit) == percent_of(site.outer)
    assert httpx.URL(site.outer.url).netloc.decode() in visit.hosts()


@pytest.mark.parametrize("direct", [False, True], ids=["server", "direct"])
def test_a_service_that_wakes_is_waited_for(site: Site, visit: Visit, direct: bool) -> None:
    """While the host answers for a sleeping service, the page says so; then it shows the score."""
    door = site.outer if direct else site.inner
    door.plan.append(Reply(503, WAKING_PAGE))
    ask(visit, direct=direct)
    status = visit.page.get_by_role("status")
    expect(status).to_contain_text("waking up")
    expect(status).to_contain_text("Retrying in 5 s")
    visit.page.clock.fast_forward(5_000)
    assert read_score(visit) == percent_of(site.outer)
    # A host that answers in the service's place does not allow other origins, which Chromium reports.
    assert all("CORS" in complaint or "ERR_FAILED" in complaint for complaint in visit.complaints)
    visit.complaints.clear()


def test_waiting_can_be_stopped(site: Site, visit: Visit) -> None:
    """The button leads back to the form, and no more calls are made."""
    site.inner.plan.append(Reply(503, WAKING_PAGE))
    ask(visit)
    visit.page.get_by_role("button", name="Stop").click()
    expect(visit.page.get_by_role("status")).to_be_empty()
    calls = len(site.inner.calls)
    visit.page.clock.fast_forward(60_000)
    assert len(site.inner.calls) == calls


@pytest.mark.parametrize("direct", [False, True], ids=["server", "direct"])
def test_a_problem_is_shown_in_words(visit: Visit, direct: bool) -> None:
    """A refusal is shown with its reason and the request's id, and the request is not repeated."""
    ask(visit, direct=direct, Views="1" + "0" * 20)
    alert = visit.page.get_by_role("alert").filter(has_text="Unprocessable")
    expect(alert).to_contain_text("view_count")
    expect(alert).to_contain_text("Request")


def test_used_and_missing_inputs_are_shown(visit: Visit) -> None:
    """Each part of the video says what became of it, along with velocity and warnings."""
    ask(visit)
    status = visit.page.get_by_role("status")
    expect(status).to_contain_text("Title and description")
    expect(status).to_contain_text("not given")
    expect(status).to_contain_text("training averages are used")
    expect(status).to_contain_text("views a day")


def test_other_sites_may_not_use_the_key(site: Site) -> None:
    """The site's own route refuses requests from any other page."""
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        answer = httpx.post(f"{site.url}/api/miles/predict", json={"title": TITLE}, headers=headers)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_site_fetches_no_picture_for_strangers(site: Site) -> None:
    """There is no image proxy that could be pointed at an arbitrary address."""
    address = {"url": f"{site.inner.url}/picture.png", "w": "640", "q": "75"}
    before = len(site.inner.calls)
    assert httpx.get(f"{site.url}/_next/image", params=address).status_code == 404
    assert len(site.inner.calls) == before


def test_the_policy_allows_only_own_scripts(site: Site) -> None:
    """Scripts need the response's own nonce, and the service is the only other host that may be called."""
    first, second = (httpx.get(site.url).headers["content-security-policy"] for _ in range(2))
    assert first != second
    assert "unsafe" not in first
    assert f"connect-src 'self' {site.outer.url};" in first


def test_the_page_is_accessible_dark_and_light(site: Site, browser: Browser) -> None:
    """The page follows the system's dark or light setting, and axe finds no violation in either."""
    grounds = set()
    for dark in (False, True):
        with visiting(browser, dark=dark) as opened:
            opened.page.goto(site.url)
            ask(opened)
            read_score(opened)
            grounds.add(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert Axe().run(opened.page).response["violations"] == []
    assert len(grounds) == 2
