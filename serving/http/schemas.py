"""Requests and answers of the scoring routes. How a score is computed is not known here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

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

from features.parsing import MAX_COUNT, PARSERS, contradictions, parse_text
from features.video import Video
from serving.http.names import is_blank, near_names, read_names
from serving.http.problems import Problem
from serving.scoring import explanation as scoring
from serving.scoring.encoders import Modality, ModalityReport
from serving.scoring.pipeline import Prediction, ScoringRequest
from serving.scoring.timing import Stopwatch

MAX_BATCH_VIDEOS = 256
MAX_REQUIRED = 8
MAX_REPAIRED = 20_000  # characters
SCORE_DIGITS = 6
VELOCITY_DIGITS = 2
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
    if not isinstance(value, str) or value.isascii():  # a picture's data: URL is, and may be long
        return value
    return parse_text(value[:MAX_REPAIRED])  # longer than any text that is accepted


def refusal(message: str) -> PydanticCustomError:
    """A field's error in our words: the end of a sentence that begins with the field."""
    return PydanticCustomError("refused", "{message}", {"message": message})


def _read_by(parse: Callable[[Any], Any]) -> BeforeValidator:
    def read(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as exc:
            raise refusal(str(exc)) from exc

    return BeforeValidator(read)


def _or(default: Any, wire: Any) -> BeforeValidator:
    """Read null, which databases hold, as `default`. `wire` is the type besides null, for OpenAPI."""
    return BeforeValidator(
        lambda value: default if value is None else value, json_schema_input_type=wire | None
    )


def _is_none(value: Any) -> bool:
    return value is None


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
        None, description=f"When previous_view_count was read, an hour or more before observed_at: {TIME}."
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


class ModalityState(BaseModel):
    """How one modality was used."""

    state: Literal["used", "missing", "failed", "truncated", "imputed"]
    reason: str | None = Field(
        description="One word for what is unusual, such as `http_404`, `timeout`, `truncated` or `blank`; "
        "`unknown_words` for a title without words that the text encoder knows."
    )
    detail: str | None = Field(None, exclude_if=_is_none, description="The reason in a sentence.")

    @classmethod
    def of(cls, report: ModalityReport) -> Self:
        """The report as an answer has it."""
        return cls(state=report.state, reason=report.reason, detail=report.detail)


class ScalarsState(ModalityState):
    """How the numbers and times were used."""

    imputed: list[str] = Field(
        description="The request's fields that are unknown; the training data's average was used instead."
    )

    @classmethod
    def of(cls, report: ModalityReport) -> Self:
        """The report as an answer has it."""
        return cls(state=report.state, reason=report.reason, imputed=list(report.imputed))


class Modalities(BaseModel):
    """How each modality was used."""

    text: ModalityState
    image: ModalityState
    scalars: ScalarsState


class Timings(BaseModel):
    """Milliseconds per stage. Stages overlap; `queue` is the sum of the waits for towers and fusion."""

    queue: float
    download: float
    decode: float
    tokenise: float
    text: float
    image: float
    fusion: float
    explanation: float
    total: float
    cached: list[str] = Field(description="Towers whose output came from the cache.")

    @classmethod
    def of(cls, watch: Stopwatch) -> Self:
        """The stopwatch as an answer has it."""
        return cls(**watch.milliseconds(), cached=watch.cached)


class Baseline(BaseModel):
    """The score of a video about which nothing is known."""

    viral_score: float = Field(ge=0, le=1)
    predicted_velocity: float = Field(ge=0, description="Views per day.")


class Contribution(BaseModel):
    """What one group of inputs added to the score, or subtracted from it."""

    group: str = Field(description="`text`, `image`, or a group of features.")
    label: str = Field(description="A readable name of the group, and what of it is not known.")
    modality: Modality
    features: list[str] = Field(description="The group's features; empty for text and image.")
    viral_score: float = Field(ge=-1, le=1)
    predicted_velocity: float = Field(description="Views per day.")
    unknown: list[str] = Field(
        description="The request's fields of the group that are unknown. If they all are, the group adds "
        "only what not knowing them adds."
    )


class Explanation(BaseModel):
    """Exact Shapley values; the contributions add up to the answer's distance from the baseline."""

    baseline: Baseline
    contributions: list[Contribution] = Field(description="Largest |viral_score| first.")

    @classmethod
    def of(cls, explained: scoring.Explanation, score: scoring.Score) -> Self:
        """The explanation of `score` as an answer has it: its rounded parts add up to the rounded score."""
        parts = explained.contributions
        viral, velocity = explained.baseline
        virals = rounded_parts([part.viral_score for part in parts], viral, score[0], SCORE_DIGITS)
        velocities = rounded_parts([part.velocity for part in parts], velocity, score[1], VELOCITY_DIGITS)
        return cls(
            baseline=Baseline(
                viral_score=round(viral, SCORE_DIGITS), predicted_velocity=round(velocity, VELOCITY_DIGITS)
            ),
            contributions=[
                Contribution(
                    group=part.group,
                    label=part.label,
                    modality=part.modality,
                    features=list(part.features),
                    viral_score=part_viral,
                    predicted_velocity=part_velocity,
                    unknown=list(part.unknown),
                )
                for part, part_viral, part_velocity in zip(parts, virals, velocities, strict=True)
            ],
        )


def rounded_parts(parts: Sequence[float], start: float, end: float, digits: int) -> list[float]:
    """`parts` rounded so that they add up from the rounded `start` to the rounded `end`.

    The rounding error goes to the largest part, where it matters least.
    """
    rounded = [round(part, digits) for part in parts]
    largest = max(range(len(parts)), key=lambda index: abs(parts[index]))
    remainder = round(end, digits) - round(start, digits) - sum(rounded)
    rounded[largest] = round(rounded[largest] + remainder, digits)
    return [part + 0.0 for part in rounded]  # turns -0.0 into 0.0


class VelocityInterval(BaseModel):
    """Views per day that most videos like this one get."""

    low: float = Field(ge=0, description="Views per day.")
    high: float = Field(ge=0, description="Views per day.")
    coverage: float = Field(gt=0, lt=1, description="The share of videos whose velocity is within it.")


class ShadowScore(BaseModel):
    """What another checkpoint says of the same video."""

    model_version: str
    viral_score: float = Field(ge=0, le=1)
    predicted_velocity: float = Field(ge=0, description="Views per day.")
    velocity_interval: VelocityInterval | None

    @classmethod
    def of(cls, prediction: Prediction) -> Self:
        """The shadow's prediction as an answer has it."""
        return cls(
            model_version=prediction.model_version,
            viral_score=round(prediction.viral_score, SCORE_DIGITS),
            predicted_velocity=round(prediction.velocity, VELOCITY_DIGITS),
            velocity_interval=_interval(prediction),
        )


class Options(BaseModel):
    """What an answer has besides the score, chosen in the query."""

    timings: bool = Field(False, description="Adds the time spent per stage.")
    shadow: bool = Field(
        False,
        description="Waits for the score of the checkpoint in MILES_SHADOW_CHECKPOINT and adds it, unless "
        "the service has no such checkpoint or is too busy for it.",
    )


OptionsDep = Annotated[Options, Query()]


class PredictResponse(BaseModel):
    """A score and what it is based on."""

    viral_score: float = Field(ge=0, le=1, description="Calibrated probability that the video goes viral.")
    predicted_velocity: float = Field(
        ge=0, description="Views per day: the median, which half of the videos like this one exceed."
    )
    velocity_interval: VelocityInterval | None = Field(
        description="Where `predicted_velocity` most likely lies, given what is known of the video: split "
        "conformal, on held-out videos with the same inputs known. Null if the checkpoint has no intervals."
    )
    confidence: float | None = Field(
        ge=0.5, le=1, description="Probability of the predicted class; null if the video is not `in_range`."
    )
    in_range: bool = Field(
        description="Whether the training data has videos like this one. If false, `warnings` says why, and "
        "the score is an extrapolation."
    )
    processing_time_ms: int = Field(ge=0, description="Wall time in the service.")
    model_version: str
    modalities: Modalities
    warnings: list[str] = Field(description="Readable warnings; empty if there are none.")
    timings_ms: Timings | None = Field(
        None, exclude_if=_is_none, description="Time per stage; only with `?timings=1`."
    )
    explanation: Explanation | None = Field(
        None, exclude_if=_is_none, description="What moved the score; only if requested."
    )
    shadow: ShadowScore | None = Field(
        None, exclude_if=_is_none, description="Another checkpoint's score; only with `?shadow=1`."
    )

    @classmethod
    def of(cls, prediction: Prediction, timings: bool = False, shadow: Prediction | None = None) -> Self:
        """The prediction as the service answers it."""
        score = round(prediction.viral_score, SCORE_DIGITS)
        explained = prediction.explanation
        return cls(
            viral_score=score,
            predicted_velocity=round(prediction.velocity, VELOCITY_DIGITS),
            velocity_interval=_interval(prediction),
            confidence=max(score, round(1 - score, SCORE_DIGITS)) if prediction.in_range else None,
            in_range=prediction.in_range,
            processing_time_ms=round(prediction.watch.seconds["total"] * 1000),
            model_version=prediction.model_version,
            modalities=Modalities(
                text=ModalityState.of(prediction.modalities["text"]),
                image=ModalityState.of(prediction.modalities["image"]),
                scalars=ScalarsState.of(prediction.modalities["scalars"]),
            ),
            warnings=list(prediction.warnings),
            timings_ms=Timings.of(prediction.watch) if timings else None,
            explanation=explained
            and Explanation.of(explained, (prediction.viral_score, prediction.velocity)),
            shadow=ShadowScore.of(shadow) if shadow else None,
        )


def _interval(prediction: Prediction) -> VelocityInterval | None:
    if prediction.interval is None or prediction.coverage is None:
        return None
    low, high = (round(end, VELOCITY_DIGITS) for end in prediction.interval)
    return VelocityInterval(low=low, high=high, coverage=prediction.coverage)


# Each item is validated separately, so an invalid one does not fail the batch.
UncheckedVideo = Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/PredictRequest"})]


class BatchRequest(BaseModel):
    """Up to 256 videos in one call."""

    videos: list[UncheckedVideo] = Field(min_length=1, max_length=MAX_BATCH_VIDEOS)


class FailedItem(BaseModel):
    """An item that could not be scored."""

    error: Problem


class BatchResponse(BaseModel):
    """One entry per video, in the order of the request."""

    predictions: list[PredictResponse | FailedItem]
    processing_time_ms: int
