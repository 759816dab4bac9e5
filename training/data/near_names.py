"""Columns of a training file that look like a field under another name, as options to add to the command."""

import re
import shlex
from collections.abc import Collection, Iterable
from pathlib import Path

# Names in use elsewhere, without case and punctuation; the first of a field that the file has is proposed.
NEAR = {
    "title": ("headline", "videotitle", "caption", "desc"),
    "description": ("desc", "videodescription"),
    "view_count": ("views", "viewcount", "plays", "playcount", "totalviews", "videoviews"),
    "like_count": ("likes", "likecount", "diggcount", "totallikes"),
    "comment_count": ("comments", "commentcount", "totalcomments"),
    "share_count": ("shares", "sharecount", "totalshares", "reposts", "forwardcount"),
    "save_count": ("saves", "savecount", "totalsaves", "bookmarks", "collectcount"),
    "completion_rate": ("completionrate", "completion", "watchedshare"),
    "creator_avg_views": ("creatoravgviews", "creatoraverageviews", "channelavgviews", "authoravgviews"),
    "duration_seconds": (
        "durationsec",
        "durationsecs",
        "durations",
        "lengthseconds",
        "videolength",
        "lengthsec",
    ),
    "published_at": (
        "publishedat",
        "publishdate",
        "publishtime",
        "createtime",
        "publishdateapprox",
        "uploadtime",
        "postdate",
    ),
    "observed_at": ("observedat", "collectedat", "crawledat", "fetchedat", "snapshotat"),
    "video_id": ("videoid", "awemeid", "ytid", "id"),
    "views_per_day": ("viewsperday", "engagementvelocity", "dailyviews"),
    "next_views": ("nextviews", "viewsnext", "viewslater"),
    "is_viral": ("isviral", "viral"),
}


def near_columns(columns: Iterable[str], known: Collection[str], used: Collection[str]) -> list[str]:
    """`FIELD=COLUMN` for each field that is not `known`, if a column that is not `used` has a near name."""
    plain = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in columns if column not in used}
    found = []
    for field, names in NEAR.items():
        column = next((plain[name] for name in names if name in plain), None)
        if field not in known and column is not None:
            found.append(f"{field}={column}")
            plain = {name: each for name, each in plain.items() if each != column}
    return found


def command(path: Path, mapping: Iterable[str]) -> str:
    """The command that reads the columns of a mapping."""
    return " ".join(
        ["./miles train", shlex.quote(str(path)), *(f"--column {shlex.quote(m)}" for m in mapping)]
    )
