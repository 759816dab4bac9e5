"""One Chromium for all tests of the page, a service on a tiny checkpoint, and the page opened on it."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from model.checkpoint.store import write_checkpoint
from tests.support.browser import DESKTOP, PHONE, Visit, open_browser, profile, visit_in
from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost, picture, thumbnail_host
from tests.support.tiny import tiny_checkpoint, tiny_config
from tests.support.youtube import KEY, YouTubeHost, youtube_host

Open = Callable[..., AbstractContextManager[Visit]]
TRUSTED = {"thumbnail_trusted_networks": "127.0.0.0/8", "thumbnail_timeout_s": 20}
TORCH = {"engine": "torch", "threads": 1}  # starts sooner: nothing has to be compiled

SCREENS = pytest.mark.parametrize(
    ("size", "dark"),
    [
        pytest.param(DESKTOP, False, id="light desktop"),
        pytest.param(PHONE, True, id="dark phone"),
        pytest.param(DESKTOP, True, id="dark desktop", marks=pytest.mark.hostile),
        pytest.param(PHONE, False, id="light phone", marks=pytest.mark.hostile),
    ],
)
HUB = "https://huggingface.co"  # Playwright answers for it
YOUTUBES_PICTURES = "https://i.ytimg.com/**"  # likewise: a form kept from the last visit may show one


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with open_browser() as running:
        yield running


@pytest.fixture(scope="package")
def host() -> Iterator[ThumbnailHost]:
    with thumbnail_host() as running:
        yield running


def rounded(number: float) -> int:
    """Round as browsers do: halves up, where Python rounds to even."""
    return math.floor(number + 0.5)


def write_weightless(path: Path) -> Path:
    """Write the tiny checkpoint to `path` with image columns of zeros, like the demo's, and return `path`."""
    checkpoint, config = tiny_checkpoint(), tiny_config()
    fused = checkpoint.state_dict["fusion.0.weight"].clone()
    fused[:, config.text.output_dim : -config.scalars] = 0.0
    provenance = {**checkpoint.card.provenance, "notes": ["Its image columns are zero."]}
    weights = {**checkpoint.state_dict, "fusion.0.weight": fused}
    card = {"provenance": provenance, "titles": {"min_letters_per_piece": 1.8}}
    write_checkpoint(path, replace(checkpoint, state_dict=weights).with_card(**card))
    return path


@pytest.fixture(scope="package")
def youtube() -> Iterator[YouTubeHost]:
    with youtube_host() as running:
        yield running


@pytest.fixture(scope="package")
def service(
    browser: Browser,  # noqa: ARG001 without a browser no service is needed
    youtube: YouTubeHost,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A ready service whose checkpoint gives images no weight, with a key for YouTube."""
    folder = tmp_path_factory.mktemp("page")
    settings = TORCH | TRUSTED | {"youtube_api_key": KEY, "youtube_api_url": youtube.url}
    checkpoint = write_weightless(folder / "weightless.pt")
    with ready_service(folder / "service.log", checkpoint=checkpoint, **settings) as running:
        yield running


@pytest.fixture(scope="package")
def profiles(browser: Browser, service: Service) -> Iterator[Callable[..., BrowserContext]]:
    """A profile for each way to look at the page; each keeps a page open, so that the next opens sooner."""
    with ExitStack() as stack:

        @cache
        def opened(**looks: Any) -> BrowserContext:
            context = stack.enter_context(profile(browser, **looks))
            context.route(YOUTUBES_PICTURES, lambda route: route.fulfill(body=picture()))
            context.new_page().goto(service.url)
            return context

        yield opened


@pytest.fixture
def open_page(profiles: Callable[..., BrowserContext], service: Service) -> Open:
    """Opens the page; whatever happens on it, its console stays free of complaints."""

    @contextmanager
    def opened(url: str = service.url, **looks: Any) -> Iterator[Visit]:
        with visit_in(profiles(**looks)) as visit:
            visit.page.goto(url)
            try:
                yield visit
                assert visit.complaints == []
            finally:  # tests share a profile, but not what the page keeps in it
                visit.page.evaluate("() => { try { localStorage.clear(); } catch { /* no storage here */ } }")

    return opened


@pytest.fixture
def visit(open_page: Open) -> Iterator[Visit]:
    """The page on a desktop, once it knows its model."""
    with open_page() as opened:
        opened.page.locator("#provenance").filter(has_text="Checkpoint:").wait_for()
        yield opened
