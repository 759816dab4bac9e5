"""How scenarios are judged: what became of a picture, and which outcomes were not wanted."""

from collections.abc import Sequence
from typing import Any

from preprocessing.image import ImageError
from preprocessing.pixels import decode_image
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.sites import Talk, answering, whole
from tests.support.pictures import encoded, picture

PUBLIC = "9.9.9.9"
JPEG = encoded(picture(), "JPEG")
Ends = dict[str, list[Any]]


async def judged(fetcher: ThumbnailFetcher, url: str) -> str:
    """`used`, or the reason why the picture is not, as the service would report it."""
    try:
        decode_image(await fetcher.fetch(url))
    except ImageError as exc:
        return kind_of(exc)
    return "used"


def kind_of(exc: ImageError) -> str:
    """The word for a whole class of errors; the finer reasons have tests in tests/preprocessing."""
    return type(exc).reason


def wrong(ends: Ends, wanted: dict[str, list[Any]]) -> Ends:
    return {name: end for name, end in ends.items() if end != wanted[name]}


def account(ends: Ends, missed: Ends) -> str:
    return f"{len(ends) - len(missed)} of {len(ends)} as wanted" + (f"; not {missed}" if missed else "")


def site(cases: Sequence[bytes]) -> Talk:
    """/3 is the fourth case, /hop/N a picture after N redirects, /self leads to itself; others a picture."""

    def answer(path: str) -> bytes:
        kind, _, number = path.strip("/").partition("/")
        if kind == "hop" and int(number):
            return whole(302, b"", b"Location: /hop/%d" % (int(number) - 1))
        if kind == "self":
            return whole(302, b"", b"Location: /self")
        return cases[int(kind)] if kind.isdigit() else whole(200, JPEG)

    return answering(answer)
