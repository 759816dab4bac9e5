"""Other programs' names that look like a field of a request or of a training file; these are never read."""

import re
from collections.abc import Mapping

MAX_LENGTH = 32  # characters of a name that are considered
# Other names for a field: their words in the singular, without those of `FILLERS`.
WORDS: Mapping[str, tuple[str, ...]] = {
    "title": ("title", "headline", "caption", "name"),
    "description": ("description", "desc"),
    "thumbnail_url": ("thumbnail", "thumb", "cover", "cover image", "thumbnail image", "image", "poster"),
    "view_count": ("view", "play"),
    "like_count": ("like", "digg", "heart", "thumb up"),
    "comment_count": ("comment", "reply", "replie"),
    "share_count": ("share", "repost", "retweet", "forward"),
    "save_count": ("save", "bookmark", "collect"),
    "completion_rate": ("completion", "watched share", "retention", "average view percentage"),
    "creator_avg_views": tuple(
        f"{who} {average} view" for who in ("creator", "channel", "author") for average in ("avg", "average")
    ),
    "duration_seconds": ("duration", "length", "duration m", "length m", "duration string", "runtime"),
    "published_at": (
        *("publish", "published", "upload", "uploaded", "posted", "release", "released", "create"),
        *("timestamp", "release timestamp"),
    ),
    "observed_at": (
        *("observed", "scraped", "scrape", "fetched", "crawled", "collected", "retrieved", "snapshot"),
    ),
    "previous_view_count": tuple(
        form.format(word)
        for word in ("previous", "prev", "last", "prior", "old")
        for form in ("{} view", "view {}")
    ),
    "previous_observed_at": tuple(
        f"{word} {look}"
        for word in ("previous", "prev", "last", "prior")
        for look in ("observed", "scraped", "scrape", "fetched", "timestamp", "snapshot", "look")
    ),
    "video_id": ("id", "aweme id", "yt id"),
    "views_per_day": ("view per day", "engagement velocity", "daily view"),
    "next_views": ("next view", "view next", "view later"),
    "is_viral": ("is viral", "viral"),
}
FILLERS = frozenset({"count", "number", "num", "nb", "no", "total", "of", "the", "in", "video"})
_MOMENT = frozenset({"at", "on", "time", "date", "approx"})
# Words that add nothing to one field's name but change another's meaning: share_url is not share_count.
OWN_FILLERS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("published_at", "observed_at", "previous_observed_at"), _MOMENT),
    "duration_seconds": frozenset({"sec", "second"}),
    "thumbnail_url": frozenset({"url", "uri", "link"}),
    "completion_rate": frozenset({"rate"}),
}
_BY_LETTERS = {field.replace("_", ""): field for field in WORDS}
_BY_WORDS = {words: field for field, several in WORDS.items() for words in several}
MIN_MISSPELT = 5  # letters; in a shorter name one wrong letter is too many
_ENDING = re.compile(r"(?:count|number|sec|second|time|date|at|url)?s?$")  # of a name in lower case


def _shortened(letters: str) -> set[str]:
    """The letters, and those with any one removed: names that differ in one letter share one of these."""
    return {letters, *(letters[:place] + letters[place + 1 :] for place in range(len(letters)))}


# One wrong letter leaves one of the two ends unchanged, which rules out most other names at once.
_ENDS = {end for letters in _BY_LETTERS for end in (letters[:2], letters[-2:])}
_BY_SHORTENED = {short: field for letters, field in _BY_LETTERS.items() for short in _shortened(letters)}


def field_like(name: str) -> str | None:
    """The field that a name looks like: `view_count` for `viewCount`, `views` or `view_cuont`."""
    words = words_of(name)
    letters = "".join(words)
    singular = [word if word == "previous" else word.removesuffix("s") for word in words]
    meant = [word for word in singular if word not in FILLERS]
    for own in (frozenset[str](), *dict.fromkeys(OWN_FILLERS.values())):
        field = _BY_WORDS.get(" ".join(word for word in meant if word not in own))
        if field is not None and own in (frozenset(), OWN_FILLERS.get(field)):
            return field
    glued = _ENDING.sub("", letters) if len(words) == 1 else ""
    field = _BY_LETTERS.get(letters) or _BY_WORDS.get(glued)
    if field is None and len(letters) >= MIN_MISSPELT and not _ENDS.isdisjoint((letters[:2], letters[-2:])):
        misspelt = (_BY_SHORTENED[short] for short in _shortened(letters) if short in _BY_SHORTENED)
        return min(misspelt, default=None)
    return field


def words_of(name: str) -> list[str]:
    """The words of a name in camelCase, snake_case or kebab-case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name[:MAX_LENGTH])]
