"""The Next.js page for title ideas in Chromium, with the real Supabase function."""

from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from deploy.demo.database import Database
from tests.clients.nextjs_site import build, port_for_pages, started_site
from tests.clients.recommending import USER, Function, deno, open_miles, open_supabase
from tests.support.browser import open_browser, visiting
from tests.support.postgrest import token


@pytest.fixture(scope="module")
def site(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Function]]:
    """The page's address, and the function behind it."""
    folder, port = tmp_path_factory.mktemp("ideas"), port_for_pages()
    build(folder / "build.log")
    with ExitStack() as stack:
        _, supabase = stack.enter_context(open_supabase(database))
        miles = stack.enter_context(open_miles(folder))
        function = stack.enter_context(deno(supabase, miles.url, folder))
        page = stack.enter_context(started_site(folder / "site.log", port, RECOMMEND_URL=function.url))
        yield f"{page}/ideas", function


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium for these tests."""
    with open_browser() as running:
        yield running


def test_a_draft_gets_clearly_better_titles(site: tuple[str, Function], browser: Browser) -> None:
    """The function's ideas, each with its reasons; the page is accessible and contacts only its own site."""
    ideas = site[1].ask().json()["ideas"]
    with visiting(browser) as opened:
        page = opened.page
        page.goto(site[0])
        page.get_by_label("Topic").fill("pasta")
        page.get_by_label("Draft title").fill("Grandmother cooks pasta")
        page.get_by_label("Access token").fill(token("authenticated", sub=USER))
        page.get_by_role("button", name="Find ideas").click()
        expect(page.get_by_role("heading", name=f"{len(ideas)} clearly better titles")).to_be_visible()
        titles = page.get_by_role("article").get_by_role("heading").all_inner_texts()
        assert titles == [idea["title"] for idea in ideas]
        expect(page.get_by_role("status")).to_contain_text(ideas[0]["reasons"][0])
        assert Axe().run(page).response["violations"] == []
        assert opened.hosts() == {httpx.URL(site[0]).netloc.decode()}
        assert opened.complaints == []


def test_a_refusal_is_shown_in_words(site: tuple[str, Function], browser: Browser) -> None:
    """A token that is not valid."""
    with visiting(browser) as opened:
        page = opened.page
        page.goto(site[0])
        for label, text in (("Topic", "pasta"), ("Draft title", "x"), ("Access token", "no token")):
            page.get_by_label(label).fill(text)
        page.get_by_role("button", name="Find ideas").click()
        expect(page.get_by_role("alert").filter(has_text="Unauthorized")).to_contain_text("sign in again")
        opened.complaints.clear()  # Chromium reports the 401


def test_other_sites_may_not_ask(site: tuple[str, Function]) -> None:
    """The route refuses requests from any other page."""
    url, headers = site[0].replace("/ideas", "/api/ideas"), {"Sec-Fetch-Site": "cross-site"}
    assert httpx.post(url, json={}, headers=headers).status_code == 403
