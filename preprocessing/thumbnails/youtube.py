"""YouTube's addresses: from a video's page to its picture, and from a missing picture to a smaller one.

About a tenth of all videos have no maxresdefault, and some no sddefault; every video has hqdefault.jpg.
"""

import re
from urllib.parse import parse_qs

PAGE_HOST = re.compile(
    r"((www|m|music|gaming|studio)\.)?youtube\.com|youtube\.googleapis\.com|"
    r"(www\.)?(youtube-nocookie\.com|youtubekids\.com|youtu\.be)"
)
PICTURE_HOST = re.compile(r"i[0-9]?\.ytimg\.com|img\.youtube\.com|ytimg\.googleusercontent\.com")
USUAL_FOLDERS = ("vi", "vi_webp")
SIZES = ("maxresdefault", "sddefault", "hqdefault")
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_PATH = re.compile(r"/(?:shorts|embed|live|watch|v|e|video)/([A-Za-z0-9_-]{11})(?:/[\w-]*)*")
_PICTURE = re.compile(
    r"/(vi|vi_webp|vi_lc|an_webp)/([A-Za-z0-9_-]{11})/([A-Za-z0-9_-]+)\.(jpg|webp)(?:\?.*)?"
)


def picture_of_page(host: str, target: str) -> str | None:
    """The URL of the picture of a video's page; None for anything else."""
    if not PAGE_HOST.fullmatch(host):
        return None
    path, _, query = target.partition("?")
    if host.endswith("youtu.be"):
        found = path.strip("/")
    elif path.rstrip("/") == "/watch":
        found = parse_qs(query).get("v", [""])[0]
    else:
        match = _PATH.fullmatch(path)
        found = match[1] if match else ""
    return f"https://i.ytimg.com/vi/{found}/hqdefault.jpg" if _VIDEO_ID.fullmatch(found) else None


def smaller_pictures(host: str, target: str) -> list[str]:
    """The targets to ask for, in order, where YouTube has no picture at this one."""
    match = _PICTURE.fullmatch(target) if PICTURE_HOST.fullmatch(host) else None
    if match is None:
        return []
    folder, video, size, ending = match.groups()
    if folder not in USUAL_FOLDERS:  # a moving preview, or one in another language
        folder, ending = "vi", "jpg"
    # hq720, maxres2 and oardefault, too, exist for some videos only.
    sizes = SIZES[SIZES.index(size) + 1 :] if size in SIZES else SIZES[1:]
    smaller = [f"/{folder}/{video}/{each}.{ending}" for each in sizes]
    return smaller + [f"/vi/{video}/hqdefault.jpg"] * (ending == "webp")
