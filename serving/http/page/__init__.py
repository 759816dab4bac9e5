"""The page for browsers: static files, no build step, no third party; its headers hold it to that."""

import os
from collections.abc import Sequence
from pathlib import Path

from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

PAGE = Path(__file__).parent
SELF = "'self'"
ASSETS = {".css", ".js", ".svg"}
HEADERS = {
    "Cache-Control": "no-cache",  # modules of two releases must not meet, and asking is cheap
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the host of a thumbnail need not know where it is looked at
}
# Pictures may come from anywhere, because a thumbnail's address is the visitor's; all else is ours.
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


def home_page(frame_ancestors: Sequence[str]) -> FileResponse:
    """The page itself, which pages of these origins may show in a frame."""
    policy = f"{POLICY}; frame-ancestors {' '.join((SELF, *frame_ancestors))}"
    return FileResponse(
        PAGE / "index.html", headers={**HEADERS, "Vary": "Accept", "Content-Security-Policy": policy}
    )


class PageFiles(StaticFiles):
    """What the page loads; the page is at `/`, and this module is nobody's business."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file for a path below `/page/`; none for what is no asset."""
        return super().lookup_path(path) if Path(path).suffix in ASSETS else ("", None)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The asset under its headers."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response
