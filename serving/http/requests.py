"""Requests of the scoring routes, from JSON to a video."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Self

from fastapi import Query
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.types import Scope

from features.near_names import MAX_LENGTH, field_like, words_of
from features.parsing import MAX_COUNT, OTHER_NAMES, PARSERS, contradictions, parse_text
from features.video import Video
from serving.scoring.encoders import Modality
from serving.scoring.pipeline import ScoringRequest

MAX_BATCH_VIDEOS = 256
MAX_REQUIRED = 8
MAX_REPAIRED = 20_000  # characters
MAX_NAMED = 6
MAX_LOOKED_AT = 300  # names of one request
NESTED = {
    **dict.fromkeys(
        ("statistics", "stats", "metrics", "public_metrics"),
        ("view_count", "like_count", "comment_count"),
    ),
    "snippet": ("title", "description", "published_at"),
    "content_details": ("duration_seconds",),
}
"""Objects in platforms' APIs, and the fields to send for their contents."""
EXAMPLE: JsonDict = {
    "title": "10 Tips for Perfect Morning Routine",
    "description": "Start your day right with these habits.",
    "thumbnail_url": "https://i.ytimg.com/vi/dQw4w9WgXcQ/hqdefault.jpg",
    "view_count": 15000,
    "like_count": 1200,
    "comment_count": 85,
    "published_at": "2026-03-01T12:00:00Z",
    "observed_at": "2026-03-02T12:00:00Z",
}


def _read_text(value: Any) -> Any:
    """Text as training reads it, any other value as it is."""
    if not isinstance(value, str) or value.isascii():  # like a picture's data: URL, which may be long
        return value
    return parse_text(value[:MAX_REPAIRED])  # longer than any text that is accepted


def refusal(message: str) -> PydanticCustomError:
    """A field's error in our own words, which complete a sentence that begins with the field."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def _read_by(parse: Callable[[Any], Any]) -> BeforeValidator:
    def read(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as exc:
            raise refusal(str(exc)) from exc

    return BeforeValidator(read)


def _or(default: Any, wire: Any) -> BeforeValidator:
    """Read null, which databases hold, as `default`. `wire` is the type other than null, for OpenAPI."""
    return BeforeValidator(
        lambda value: default if value is None else value, json_schema_input_type=wire | None
    )


def _none_if_blank(value: Any) -> Any:
    return None if is_blank(value) else value


Text = BeforeValidator(_read_text)
Description = Annotated[str, Field(max_length=10_000)]
Required = Annotated[list[Modality], Field(max_length=MAX_REQUIRED)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)] | None
Number = Annotated[float, Field(ge=0)] | None
Share = Annotated[float, Field(ge=0, le=1)] | None
Time = datetime | None
UNKNOWN = "Null means unknown, not 0."
COUNT = f'Also accepted as text such as "120,000". {UNKNOWN}'
TIME = "ISO 8601, a day, or Unix seconds or milliseconds; UTC without an offset"
IF_TRAINED = "Read only by checkpoints whose training data had it"


class PredictRequest(BaseModel):
    """One video. Unknown fields are ignored, so a whole database row can be sent."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [EXAMPLE]})

    title: Annotated[str, Field(min_length=1, max_length=10_000), Text]
    description: Annotated[Description, Text, _or("", Description)] = ""
    thumbnail_url: Annotated[str | None, BeforeValidator(_none_if_blank)] = Field(
        None,
        description="http, https or data:image/...;base64, or a YouTube page. Null or empty means no "
        "thumbnail. Also accepted as thumbnail.",
    )
    view_count: Annotated[Count, _read_by(PARSERS["view_count"])] = Field(
        None, description=COUNT, examples=[15000]
    )
    like_count: Annotated[Count, _read_by(PARSERS["like_count"])] = Field(
        None, description=COUNT, examples=[1200]
    )
    comment_count: Annotated[Count, _read_by(PARSERS["comment_count"])] = Field(
        None, description=COUNT, examples=[85]
    )
    duration_seconds: Annotated[Number, _read_by(PARSERS["duration_seconds"])] = Field(
        None,
        description=f'Seconds, or text such as "PT1M30S" or "00:01:30". {UNKNOWN} Also accepted as duration.',
        examples=[45],
    )
    published_at: Annotated[Time, _read_by(PARSERS["published_at"])] = Field(
        None,
        description=f"When the video was published: {TIME}. Exactly midnight counts as a day, and an age "
        "below two days is unknown then. Also accepted as upload_date.",
    )
    observed_at: Annotated[Time, _read_by(PARSERS["observed_at"])] = Field(
        None,
        description=f"When the counts were read: {TIME}; defaults to now. Also accepted as scraped_at.",
    )
    previous_view_count: Annotated[Count, _read_by(PARSERS["previous_view_count"])] = Field(
        None,
        description="The video's view count at previous_observed_at; send both or neither. What happened "
        "between two looks says more than anything else.",
        examples=[9000],
    )
    previous_observed_at: Annotated[Time, _read_by(PARSERS["previous_observed_at"])] = Field(
        None,
        description=f"When previous_view_count was read, an hour or more before observed_at: {TIME}. If only "
        "one of the two times is exactly midnight, a gap below two days is unknown.",
    )
    share_count: Annotated[Count, _read_by(PARSERS["share_count"])] = Field(
        None, description=f"{IF_TRAINED}. {UNKNOWN}", examples=[40]
    )
    save_count: Annotated[Count, _read_by(PARSERS["save_count"])] = Field(
        None, description=f"{IF_TRAINED}. {UNKNOWN}", examples=[25]
    )
    completion_rate: Annotated[Share, _read_by(PARSERS["completion_rate"])] = Field(
        None, description=f"Average fraction of the video watched, 0 to 1. {IF_TRAINED}.", examples=[0.62]
    )
    creator_avg_views: Annotated[Number, _read_by(PARSERS["creator_avg_views"])] = Field(
        None, description=f"Average views of the creator's videos. {IF_TRAINED}.", examples=[12000]
    )
    require: Annotated[Required, _or([], Required)] = Field(
        [], description="Modalities that must be available; otherwise the request fails with 422."
    )
    explain: Annotated[bool, _or(False, bool)] = Field(
        False, description="Whether to include an explanation of the score."
    )

    _near_names: list[str] = PrivateAttr(default_factory=list)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Read fields under any of their names, then check them against each other."""
        if not isinstance(values, Mapping):
            return handler(values)
        named = read_names(values)
        request = handler(named)
        wrong = [
            InitErrorDetails(type=refusal(message), loc=(field,), input=None)
            for field, message in contradictions(request.__dict__, datetime.now(UTC))
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        request._near_names = near_names(named, {name: named.get(name) for name in cls.model_fields})
        return request

    def to_domain(self) -> ScoringRequest:
        """The request as the predictor takes it."""
        values = {field.name: getattr(self, field.name) for field in fields(Video)}
        video = Video(**{**values, "observed_at": self.observed_at or datetime.now(UTC)})
        return ScoringRequest(
            video, self.thumbnail_url, frozenset(self.require), self.explain, tuple(self._near_names)
        )

    def charged(self, scope: Scope) -> ScoringRequest:
        """The request as the predictor takes it; an explanation is charged to the client's allowance.

        Raises `RateLimitedError`.
        """
        request, allowance = self.to_domain(), scope.get("allowance")
        if allowance is not None and request.explain:
            allowance.take_explanation()
        return request


class Options(BaseModel):
    """Optional parts of an answer, chosen in the query."""

    timings: bool = Field(False, description="Adds the time spent per stage.")
    shadow: bool = Field(
        False,
        description="Waits for the score of the checkpoint in MILES_SHADOW_CHECKPOINT and adds it, unless "
        "the service has no such checkpoint or is too busy for it.",
    )


OptionsDep = Annotated[Options, Query()]


# Each item is validated separately, so an invalid one does not fail the batch.
UncheckedVideo = Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/PredictRequest"})]


class BatchRequest(BaseModel):
    """Up to 256 videos in one call."""

    videos: list[UncheckedVideo] = Field(min_length=1, max_length=MAX_BATCH_VIDEOS)


def read_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values by the fields' own names: for each the first of its names that is not null or blank."""
    found = dict(values)
    for field, others in OTHER_NAMES.items():
        for name in others:
            if isinstance(found.get(name), str | int | float | None):
                value = found.pop(name, None)
                found[field] = value if is_blank(found.get(field)) else found[field]
    return found


def is_blank(value: Any) -> bool:
    """Whether a value is null or text of only white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def near_names(values: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """A warning that lists names that are not read and look like fields that are blank in `known`."""
    found = []
    for name, value in islice(values.items(), MAX_LOOKED_AT):
        if name in known or is_blank(value) or isinstance(value, bool):
            continue
        fields = [field for field in _meant(name) if field in known and is_blank(known[field])]
        if fields:
            found.append(f"{parse_text(name[:MAX_LENGTH])} (send {', '.join(fields)})")
    if not found:
        return []
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return [f"Names that are not read: {', '.join(found[:MAX_NAMED])}{more}."]


def names_like(values: Any, field: str) -> list[str]:
    """The first names in a request that look like a field that it lacks."""
    names = islice(values, MAX_LOOKED_AT) if isinstance(values, Mapping) else ()
    return [name[:MAX_LENGTH] for name in names if isinstance(name, str) and field in _meant(name)][
        :MAX_NAMED
    ]


def _meant(name: str) -> tuple[str, ...]:
    """The fields that a name looks like, if any."""
    nested = NESTED.get("_".join(words_of(name)))
    if nested:
        return nested
    field = field_like(name)
    return () if field is None or field == name else (field,)
