"""Which texts a head may read: descriptions that are known for a part of the time would tell the time."""

from collections.abc import Mapping, Sequence

from features import Video

TITLE_ALONE = ("title",)
BOTH = ("title", "description")
# Known about as often in every split: the rarest at least this share of the most frequent.
EVENLY = 0.5


def fields_to_read(
    videos: Mapping[str, Sequence[Video]], asked: tuple[str, ...] | None
) -> tuple[tuple[str, ...], str | None]:
    """The fields, and a sentence where there is cause for one; with `asked` None the rows decide."""
    shares = {name: _share(members) for name, members in videos.items()}
    rarest, most = min(shares.values()), max(shares.values())
    known = ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
    if most == 0:
        return asked or TITLE_ALONE, "There are no descriptions." if asked in (None, BOTH) else None
    if rarest >= EVENLY * most or asked == TITLE_ALONE:
        return asked or BOTH, None
    if asked == BOTH:
        return BOTH, f"Descriptions are known for {known}: a head that reads them may learn the time."
    return TITLE_ALONE, (
        f"Descriptions are known for {known}: they are not read, because a head would learn the time from "
        "them. --text title,description reads them all the same."
    )


def _share(videos: Sequence[Video]) -> float:
    return sum(bool(video.description) for video in videos) / len(videos)
