"""A JPEG that takes minutes: a progressive picture may be refined by many scans of a few bytes each."""

import io

from PIL import Image

SCAN, END = b"\xff\xda", b"\xff\xd9"


def slow_jpeg(side: int = 5000, scans: int = 20_000) -> bytes:
    """A grey square whose last scan, some twenty bytes, is repeated; each repetition visits every pixel."""
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    assert content.endswith(END), "nothing follows the last scan"
    last = content[content.rindex(SCAN) : -len(END)]
    return content[: -len(END)] + last * scans + END
