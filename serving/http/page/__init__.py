"""The page for browsers: static files, no build step and, as its headers enforce, no third party."""

import asyncio
import os
from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

from fastapi import FastAPI
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from serving.http.youtube import youtube_router
from serving.settings import Settings

PAGE = Path(__file__).parent
SELF = "'self'"
ASSETS = {".css", ".js", ".svg"}
HEADERS = {
    "Cache-Control": "no-cache",  # modules of two releases must not mix, and revalidating is cheap
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # a thumbnail's host need not know which page shows it
}
# Pictures may come from anywhere, because visitors enter a thumbnail's address; all else is ours.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: http: https:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    ]
)


# The API reference: its libraries set styles on elements, and ReDoc searches in a worker.
REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install_pages(app: FastAPI, settings: Settings) -> None:
    """Serve the page's files and look-ups, and the API reference at `/docs` and `/redoc` without a CDN."""
    package = find_spec("fastapi_offline")
    assert package is not None, "requirements/serve.txt is installed"
    assert package.origin is not None, "a package has a file"
    app.include_router(youtube_router(settings))
    app.mount("/page", PageFiles())
    app.mount("/docs/assets", StaticFiles(directory=Path(package.origin).parent / "static"))
    # Made by the first request, in a thread: it takes a few tenths of a second. Others wait for it.
    made, making = cache(lambda: JSONResponse(app.openapi()).body), Lock()

    def document() -> bytes | memoryview:
        with making:
            return made()

    async def openapi() -> Response:
        return Response(await asyncio.to_thread(document), media_type="application/json")

    app.add_api_route("/openapi.json", openapi, include_in_schema=False, response_model=None)
    for name in ("docs", "redoc"):
        app.add_api_route(f"/{name}", partial(_reference, name), include_in_schema=False, response_model=None)


async def _reference(name: str) -> FileResponse:
    return FileResponse(
        PAGE / f"{name}.html", headers={**HEADERS, "Content-Security-Policy": REFERENCE_POLICY}
    )


def home_page(frame_ancestors: Sequence[str]) -> FileResponse:
    """The page itself, which pages of these origins may show in a frame."""
    policy = f"{POLICY}; frame-ancestors {' '.join((SELF, *frame_ancestors))}"
    return FileResponse(
        PAGE / "index.html", headers={**HEADERS, "Vary": "Accept", "Content-Security-Policy": policy}
    )


class PageFiles(StaticFiles):
    """What the page loads, and nothing else in this folder; the page itself is at `/`."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file for a path below `/page/`; none for anything but an asset."""
        return super().lookup_path(path) if Path(path).suffix in ASSETS else ("", None)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The asset, with `HEADERS`."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
