"""A real Chromium, driven by Playwright, for tests of what a person sees."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.support.system_programs import require_program

ARGUMENTS = [
    "--no-sandbox",  # the sandbox needs rights that root in a container does not have; the pages are our own
    # To Chromium a page that Playwright answers for is the internet's, which may not frame this machine's. A
    # spare process would start for a page that is never opened.
    "--disable-features=LocalNetworkAccessChecks,SpareRendererForSitePerProcess",
]
DESKTOP, PHONE = (1280, 900), (390, 844)
PATIENCE_MS = 30_000  # the machine may be busy with other tests
expect.set_options(timeout=PATIENCE_MS)
OF_A_STATUS = "Failed to load resource: the server responded with a status of"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a window; the test is skipped where it cannot be had.

    Close it before the next test that runs an event loop: Playwright has one running while it is open.
    """
    # Without the parts that only a window needs: a third less processor time.
    shell = "chromium-headless-shell"
    program = require_program(shell, debian=shell, or_else="chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page, every address that it requested, and every warning and error of its console."""

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        """The hosts that were asked, with ports."""
        return {urlsplit(url).netloc for url in self.asked if not url.startswith(("data:", "blob:"))}

    def note_request(self, request: Request) -> None:
        self.asked.append(request.url)

    def note_console(self, message: ConsoleMessage) -> None:
        """Playwright's event; a status other than 200 is for the page to report, and not its fault."""
        if message.type in ("error", "warning") and not message.text.startswith(OF_A_STATUS):
            self.complaints.append(f"{message.text} {message.location['url']}")


@contextmanager
def profile(
    browser: Browser, *, size: tuple[int, int] = DESKTOP, dark: bool = False, calm: bool = True
) -> Iterator[BrowserContext]:
    """A new profile; `calm` prefers reduced motion."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce" if calm else "no-preference",
        has_touch=size == PHONE,
    )
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield context
    finally:
        context.close()


@contextmanager
def visit_in(context: BrowserContext) -> Iterator[Visit]:
    visit = Visit(context.new_page())
    visit.page.on("request", visit.note_request)
    visit.page.on("console", visit.note_console)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    try:
        yield visit
    finally:
        visit.page.close()


@contextmanager
def visiting(browser: Browser, **looks: Any) -> Iterator[Visit]:
    """A page in a new profile, with the options of `profile`."""
    with profile(browser, **looks) as context, visit_in(context) as visit:
        yield visit
