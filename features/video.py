"""One video as the features see it, and what its counts and times may be.

`Count` and `Time` are the pydantic types of a request's fields. A cell of a training file is text and goes
through `parse_count` and `parse_time`, which apply the same limits and the same time zone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

MAX_COUNT = 2**63 - 1  # PostgreSQL's bigint


def none_if_blank(value: Any) -> Any:
    """None for text of only white space, any other value as it is."""
    return None if isinstance(value, str) and not value.strip() else value


def in_utc_without_zone(time: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Time = Annotated[datetime | None, BeforeValidator(none_if_blank), AfterValidator(in_utc_without_zone)]

_COUNT: TypeAdapter[int] = TypeAdapter(Count)


def parse_count(text: str) -> int:
    """A whole number from 0 to `MAX_COUNT`, also written as 12.0 or 1e3. Raises `ValueError`."""
    try:
        return _COUNT.validate_python(int(text))
    except ValueError:
        return _COUNT.validate_python(float(text))


def parse_time(text: str) -> datetime | None:
    """A time in ISO 8601, None for blank text. Raises `ValueError`.

    A request may also give Unix seconds. In a file those are refused: they are most likely another column.
    """
    text = text.strip()
    return in_utc_without_zone(datetime.fromisoformat(text)) if text else None


@dataclass(frozen=True, slots=True)
class Video:
    """The raw columns of one video, already validated: counts are >= 0 and times carry a zone.

    None means unknown, which is not 0; the features that need it take the training mean.
    """

    title: str
    description: str = ""
    view_count: int | None = None
    like_count: int | None = None
    comment_count: int | None = None
    duration_seconds: float | None = None
    published_at: datetime | None = None
    observed_at: datetime | None = None
    published_day: bool = False
    """Whether only the day of `published_at` is known."""
    # The same video's look before `observed_at`.
    previous_view_count: int | None = None
    previous_observed_at: datetime | None = None
    # Only checkpoints trained on the first list of features, `MILES_V0`, read these.
    share_count: int | None = None
    save_count: int | None = None
    completion_rate: float | None = None
    creator_avg_views: float | None = None

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The video that plain values describe, times in ISO 8601 with a zone; other keys are ignored.

        Raises `KeyError` without a title, `ValueError` for a time that is none.
        """
        known = {
            field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None
        }
        for name in ("published_at", "observed_at", "previous_observed_at"):
            if name in known:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**{"title": values["title"], **known})
