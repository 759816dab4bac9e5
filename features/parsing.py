"""How counts, numbers, durations, times and texts are read, from a request and from a training file alike.

Every parser returns None for an unknown value, and raises `ValueError` with the form that it expects: the
end of a sentence that begins with the field's name.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn

MAX_COUNT = 2**63 - 1  # PostgreSQL's bigint
MAX_TEXT = 64  # characters of a number or a time; no form needs more
MIN_LOOKS_APART = timedelta(hours=1)
MAX_CLOCK_SKEW = timedelta(days=1)
FIRST_YEAR = 2005  # YouTube's
# Cells that programs write into a CSV for a missing value. A request has null instead.
UNKNOWN_CELLS = frozenset({"", "n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n"})

# The fields that have more than one name; the first that is not null counts.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "thumbnail_url": ("thumbnail",),
    "duration_seconds": ("duration",),
    "published_at": ("upload_date",),
    "observed_at": ("scraped_at",),
}
COUNT_FORM: Final = (
    "expected a whole number in digits from 0 to 9223372036854775807, such as 120000 (not 1.2K); "
    "null if it is unknown"
)
NUMBER_FORM: Final = "expected a number from 0 up in digits, such as 12000.5; null if it is unknown"
SHARE_FORM: Final = "expected a number from 0 to 1, such as 0.62 for 62%; null if it is unknown"
DURATION_FORM: Final = (
    'expected seconds from 0 up, such as 90, or "PT1M30S" or "00:01:30"; null if the length is unknown'
)
TIME_FORM: Final = (
    "expected ISO 8601 such as 2026-03-01T12:00:00Z, a day such as 2026-03-01, or Unix seconds from 2005 to "
    "next year; null if it is unknown"
)

_COUNT = re.compile(r"(\d+|[1-9]\d{0,2}(?:[,\u066c]\d{3})+)(?:\.0{1,2}|\.0{4,})?")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d{1,3})?")
_CLOCK = re.compile(r"(?:(\d+):(?=[0-5]?\d:))?(\d{1,2}):([0-5]\d(?:\.\d+)?)")
_ISO_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.IGNORECASE)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}|\d{8}")
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(?:[.,](\d{1,9}))?\s?(Z|UTC|[-+]\d{2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"\d{10}(?:\.\d*)?|\d{13}(?:\.0*)?")


def is_unknown_cell(cell: str) -> bool:
    """Whether a cell of a CSV is empty or one of the words for a missing value."""
    return cell.strip().lower() in UNKNOWN_CELLS


def parse_count(value: Any) -> int | None:
    """A count from 0 to `MAX_COUNT`: 120000, "120000.0", "1.2E+05", "120,000", in any script's digits."""
    if isinstance(value, str):
        text = _text(value, COUNT_FORM)
        if text is None:
            return None
        if _COUNT.fullmatch(text):
            return _whole(re.sub(r"[,\u066c]", "", text))
        return _whole(text) if _NUMBER.fullmatch(text) and "e" in text.lower() else _refuse(COUNT_FORM)
    return None if value is None else _whole(_plain(value, COUNT_FORM))


def parse_number(value: Any) -> float | None:
    """A finite number from 0 up."""
    return _at_least_zero(value, NUMBER_FORM)


def parse_share(value: Any) -> float | None:
    """A number from 0 to 1."""
    share = _at_least_zero(value, SHARE_FORM)
    return share if share is None or share <= 1 else _refuse(SHARE_FORM)


def parse_duration(value: Any) -> float | None:
    """Seconds: 90, "90", "PT1M30S", "00:01:30" or "1:30". The length "P0D" of a live video is unknown."""
    if not isinstance(value, str):
        return _at_least_zero(value, DURATION_FORM)
    text = _text(value, DURATION_FORM)
    if text is None:
        return None
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (float(part or 0) for part in clock.groups())
        return 3600 * hours + 60 * minutes + seconds
    if (iso := _ISO_DURATION.fullmatch(text)) and any(iso.groups()):
        days, hours, minutes, seconds = (float(part or 0) for part in iso.groups())
        return 86400 * days + 3600 * hours + 60 * minutes + seconds or None
    return _at_least_zero(text, DURATION_FORM)


def parse_time(value: Any) -> datetime | None:
    """A moment with a zone: ISO 8601, a day (its midnight), or Unix seconds or milliseconds.

    Without an offset it is UTC. Numbers outside the years 2005 to next year are refused.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if not isinstance(value, str):
        return None if value is None else _from_epoch(_plain(value, TIME_FORM))
    text = _text(value, TIME_FORM)
    if text is None:
        return None
    if _EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    try:
        if _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        if moment := _MOMENT.fullmatch(text):
            day, minute, second, fraction, offset = moment.groups()
            fraction = (fraction or "0")[:6]
            offset = "+00:00" if offset is None or offset.upper() in ("Z", "UTC") else offset
            return datetime.fromisoformat(f"{day}T{minute}{second or ':00'}.{fraction:0<6}{offset}")
    except ValueError:  # a 13th month
        pass
    return _refuse(TIME_FORM)


MAX_MARKS = 30  # as in Unicode's stream-safe text (UAX #15), more than any language has


def parse_text(value: str) -> str:
    """Text in Unicode's normal form C, which titles in training and in requests share.

    Lone surrogates are replaced: they have no UTF-8 form, so no answer, log or tokenizer could carry them.
    """
    if value.isascii():
        return value
    whole = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return unicodedata.normalize("NFC", _with_few_marks(whole))


def _with_few_marks(text: str) -> str:
    """Text without combining marks beyond `MAX_MARKS` in a row: normalising sorts them in quadratic time."""
    kept, marks = [], 0
    for each in text:
        marks = marks + 1 if unicodedata.combining(each) else 0
        if marks <= MAX_MARKS:
            kept.append(each)
    return "".join(kept)


def has_visible_text(text: str) -> bool:
    """Whether text has a character other than white space, control and format characters."""
    return any(unicodedata.category(each)[0] not in "ZC" or each == "\ufffd" for each in text)


PARSERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("view_count", "like_count", "comment_count"), parse_count),
    "duration_seconds": parse_duration,
    **dict.fromkeys(("published_at", "observed_at"), parse_time),
    "previous_view_count": parse_count,
    "previous_observed_at": parse_time,
    **dict.fromkeys(("share_count", "save_count"), parse_count),
    "completion_rate": parse_share,
    "creator_avg_views": parse_number,
}
"""The parser of each optional number and time, by its name in a request."""


def contradictions(values: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    """(field, end of a sentence) for each value that contradicts the others; times carry a zone.

    Without `observed_at` a video is observed `now`.
    """
    observed, published = values.get("observed_at"), values.get("published_at")
    previous = values.get("previous_observed_at")
    is_unpaired = (values.get("previous_view_count") is None) != (previous is None)
    if observed is not None and observed - now > MAX_CLOCK_SKEW:
        yield "observed_at", f"is {_iso(observed)}, more than a day in the future (now: {_iso(now)})"
    elif published is not None and published - (observed or now) > MAX_CLOCK_SKEW:
        yield (
            "published_at",
            (
                f"is {_iso(published)}, more than a day after the video was observed, "
                f"{_iso(observed or now)}; leave it out for a video that is not published yet"
            ),
        )
    if is_unpaired:
        name = "previous_view_count" if previous is not None else "previous_observed_at"
        yield name, "is unknown; send both previous_view_count and previous_observed_at, or neither"
    elif previous is not None and (observed or now) - previous < MIN_LOOKS_APART:
        yield (
            "previous_observed_at",
            (
                f"is {_iso(previous)}; the previous look is expected an hour or more before observed_at "
                f"({_iso(observed or now)})"
            ),
        )
    elif previous is not None and published is not None and published - previous > MAX_CLOCK_SKEW:
        yield (
            "previous_observed_at",
            (
                f"is {_iso(previous)}, more than a day before the video was published, {_iso(published)}; "
                "leave both previous fields out, or correct the times"
            ),
        )


def _text(value: str, form: str) -> str | None:
    """Text without space around it and with ASCII digits, None if blank."""
    text = value.strip()
    if len(text) > MAX_TEXT:
        _refuse(form)
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(each, each)) for each in text)
    return text or None


def _plain(value: Any, form: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        _refuse(form)
    return value


def _whole(number: str | float) -> int:
    try:
        exact = Decimal(number)
    except InvalidOperation:
        _refuse(COUNT_FORM)
    if not 0 <= exact <= MAX_COUNT or exact != exact.to_integral_value():
        _refuse(COUNT_FORM)
    return int(exact)


def _at_least_zero(value: Any, form: str) -> float | None:
    if isinstance(value, str):
        text = _text(value, form)
        if text is None:
            return None
        value = float(text) if _NUMBER.fullmatch(text) else _refuse(form)
    elif value is None:
        return None
    try:
        number = float(_plain(value, form))
    except OverflowError:  # an integer of four hundred digits
        _refuse(form)
    return number if 0 <= number < math.inf else _refuse(form)


def _from_epoch(number: float) -> datetime:
    earliest = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
    latest = datetime(datetime.now(UTC).year + 2, 1, 1, tzinfo=UTC)
    for units in (1, 1000):
        if earliest.timestamp() * units <= number < latest.timestamp() * units:
            return datetime.fromtimestamp(number / units, UTC)
    return _refuse(TIME_FORM)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _refuse(form: str) -> NoReturn:
    raise ValueError(form)
