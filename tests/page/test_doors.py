"""The page while the service loads, requires a key or limits the rate; and the page in frames."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.sync_api import Page, Route, expect

from app import create_app
from model.compiled.bundle import Bundle
from model.compiled.engine import OpenVinoEngine
from serving.lifecycle.loading import in_process_engine, load_checked
from serving.settings import Settings
from tests.page.conftest import HUB, TRUSTED, Open
from tests.support.process import LIMIT_S, answers, until
from tests.support.service import Service, ready_service

KEY = "a-key-of-sixteen-or-more"
TOLD = re.compile(r"You have reached the rate limit\. Trying again in \d+ seconds?\.")
PER_MINUTE = 30  # a score with its explanation counts as four videos: eight seconds of the limit


@contextmanager
def held_loading(bundle: Path) -> Iterator[tuple[str, threading.Event]]:
    """A service whose model is loaded once the event is set, and its address."""
    may_load = threading.Event()

    def engine(bundle: Bundle, threads: int) -> OpenVinoEngine:
        may_load.wait()
        return in_process_engine(bundle, threads)

    app = create_app(Settings(checkpoint=str(bundle)), load=partial(load_checked, engine_factory=engine))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            until(lambda: answers(f"{url}/health/live"))
            yield url, may_load
        finally:
            may_load.set()
            server.should_exit = True
            thread.join(LIMIT_S)


def test_a_loading_model_is_waited_for(open_page: Open, tiny_bundle: Path) -> None:
    """The message that Miles is waking up goes away by itself, and a video sent meanwhile gets its score."""
    with held_loading(tiny_bundle) as (url, may_load), open_page(url) as visit:
        banner = visit.page.locator("#waking")
        expect(banner).to_contain_text("Miles is waking up.")
        assert httpx.get(f"{url}/health/ready").status_code == 503
        visit.page.get_by_role("button", name="Steady").click()
        expect(visit.page.locator("#result")).to_contain_text("Scoring")
        may_load.set()
        expect(visit.page.locator("#result .gauge-number")).to_be_visible(timeout=120_000)
        expect(banner).to_be_hidden()


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that requires a key and allows each client a few videos a minute."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(
        log, checkpoint=tiny_bundle, api_keys=KEY, rate_limit=PER_MINUTE, **TRUSTED
    ) as running:
        yield running


def test_a_key_is_asked_for_when_the_service_wants_one(open_page: Open, guarded: Service) -> None:
    """Not before; a wrong key is refused in words, the right one scores; curl reads it from a variable."""
    with open_page(guarded.url) as visit:
        page, field = visit.page, visit.page.get_by_label("API key")
        expect(field).to_be_hidden()
        page.get_by_role("button", name="Steady").click()
        expect(field).to_be_focused()
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-error")).to_have_text("Invalid API key.")
        field.fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#result .gauge-number")).to_be_visible()
        expect(field).to_be_hidden()
        page.get_by_text("The request as curl").click()
        assert '"Authorization: Bearer $MILES_API_KEY"' in page.locator(".curl pre").inner_text()
        stored = page.evaluate("JSON.stringify([{...localStorage}, document.cookie, {...sessionStorage}])")
        assert KEY not in stored, "other scripts of the origin could read a stored key"
        page.get_by_label("YouTube address").fill("https://youtu.be/aAbBcCdD-_1")
        expect(page.get_by_text("this service has no key for YouTube")).to_be_visible()
        visit.complaints.clear()  # the picture's host cannot be reached from here


def test_a_visitor_over_the_limit_is_told_how_long(open_page: Open, guarded: Service) -> None:
    """The seconds of Retry-After are counted down, and then the score comes by itself."""
    with open_page(guarded.url) as visit:
        page = visit.page
        page.get_by_role("button", name="Steady").click()
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#result .gauge-number")).to_be_visible()
        # Videos without a title count like others but take no time, so the limit does not recover.
        until(lambda: _posted(guarded, {"videos": [{}]}) == 429)
        page.get_by_role("button", name="Quiet").click()
        expect(page.locator("#result")).to_contain_text(TOLD)
        expect(page.locator("#result .gauge-number")).to_be_visible(timeout=120_000)


def _posted(service: Service, body: dict[str, Any]) -> int:
    """The status of a batch that is sent with the key."""
    bearer = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(f"{service.url}/predict/batch", json=body, headers=bearer, timeout=60).status_code


def framed(page: Page, outer: str, inner: str) -> None:
    """Open a page of the origin `outer` that shows `inner` in a frame."""

    def answer(route: Route) -> None:
        html = f'<!doctype html><title>outer</title><iframe src="{inner}" width="1000" height="800"></iframe>'
        route.fulfill(content_type="text/html", body=html)

    page.route(f"{outer}/**", answer)
    page.goto(f"{outer}/spaces/someone/miles")


def test_the_page_works_in_a_frame_of_another_origin(open_page: Open, service: Service) -> None:
    """On the hub's page for a Space it scores as it does elsewhere."""
    with open_page("about:blank") as visit:
        framed(visit.page, HUB, service.url)
        inside = visit.page.frame_locator("iframe")
        inside.get_by_role("button", name="Quiet").click()
        expect(inside.locator("#result .gauge-number")).to_be_visible()
        # Here the hub has TLS and this service has none; in a Space both have it.
        visit.complaints[:] = [line for line in visit.complaints if not line.startswith("Mixed Content")]


def test_a_strangers_frame_stays_empty(open_page: Open, service: Service) -> None:
    """Pages of other origins cannot embed ours."""
    with open_page("about:blank") as visit:
        with visit.page.expect_console_message(lambda message: "frame-ancestors" in message.text):
            framed(visit.page, "https://stranger.example", service.url)
        expect(visit.page.frame_locator("iframe").get_by_role("heading", name="Miles")).to_have_count(0)
        visit.complaints.clear()  # the refusal is what this test wants


def test_the_api_reference_looks_like_the_page_and_needs_no_cdn(open_page: Open, service: Service) -> None:
    """/docs lists the routes under our heading, in the page's colours, from this service only."""
    with open_page(f"{service.url}/docs", dark=True) as visit:
        expect(visit.page.locator(".opblock").first).to_be_visible()
        expect(visit.page.get_by_role("heading", name="Miles API")).to_be_visible()
        ground = "getComputedStyle(document.querySelector('.swagger-ui')).backgroundColor"
        assert visit.page.evaluate(ground) == visit.page.evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        assert visit.hosts() == {httpx.URL(service.url).netloc.decode()}
