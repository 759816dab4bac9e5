"""Takes the page's pictures for the documentation: `make screenshots`, ARGS=URL for a service that runs.

They show the real page on the real checkpoint, models/model_full.pt, in the browser of the tests, reduced to
256 colours to keep them small.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.support.browser import PHONE, open_browser, visiting
from tests.support.service import ROOT, ready_service

FOLDER = ROOT / "docs"
LAPTOP = (1366, 768)


def scored(page: Page) -> None:
    """An example with its answer."""
    page.get_by_role("button", name="Taking off").click()
    page.locator("#result .gauge-number").wait_for()


def compared(page: Page) -> None:
    """Three versions of an unpublished video, with their verdict."""
    page.get_by_role("tab", name="Not published yet").click()
    page.get_by_role("button", name="Try an example").click()
    page.get_by_role("button", name="Compare them").click()
    page.locator(".decided").wait_for()


def moving(page: Page) -> None:
    """The changes that would move the score."""
    scored(page)
    page.get_by_text("What would move it").click()
    page.locator(".moves").wait_for()
    page.locator(".bars:not(.one-way)").evaluate("it => it.parentElement.scrollIntoView()")


SHOTS: dict[str, tuple[tuple[int, int], bool, Callable[[Page], None]]] = {
    "page-light.png": (LAPTOP, False, scored),
    "page-dark.png": (LAPTOP, True, moving),
    "page-compare.png": (LAPTOP, False, compared),
    "page-phone.png": (PHONE, True, scored),
}


def main() -> None:
    """Write every picture and print its size; of the service at the given URL, or of a new one."""
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = sys.argv[1] if sys.argv[1:] else stack.enter_context(ready_service(folder / "log")).url
        browser = stack.enter_context(open_browser())
        # The first score of a service takes longer than later ones.
        with visiting(browser) as visit:
            scored(_opened(visit.page, url))
        for name, (size, dark, prepare) in SHOTS.items():
            with visiting(browser, size=size, dark=dark) as visit:
                prepare(_opened(visit.page, url))
                visit.page.mouse.move(0, 0)
                _write(FOLDER / name, visit.page.screenshot())


def _opened(page: Page, url: str) -> Page:
    page.goto(url)
    page.locator("#provenance").filter(has_text="Checkpoint:").wait_for()
    return page


def _write(path: Path, png: bytes) -> None:
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
