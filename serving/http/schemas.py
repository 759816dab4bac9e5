"""Requests and answers of the scoring routes. How a score is computed is not known here."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from features.video import Count, Time, Video, none_if_blank
from serving.http.problems import Problem
from serving.scoring import explanation as scoring
from serving.scoring.pipeline import Prediction, ScoringRequest
from serving.scoring.towers import Modality, ModalityReport, Stopwatch

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
}


def _repair(value: Any) -> Any:
    """Replace lone surrogates: they have no UTF-8 form, so no answer, log or tokenizer could carry them."""
    if isinstance(value, str) and not value.isascii():
        value = value[:MAX_REPAIRED]  # longer than any text that is accepted
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def _or(default: Any, wire: Any) -> BeforeValidator:
    """Read null, which databases hold, as `default`. `wire` is the type besides null, for OpenAPI."""
    return BeforeValidator(
        lambda value: default if value is None else value, json_schema_input_type=wire | None
    )


def _is_none(value: Any) -> bool:
    return value is None


Text = BeforeValidator(_repair)
Description = Annotated[str, Field(max_length=10_000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Required = Annotated[list[Modality], Field(max_length=MAX_REQUIRED)]
KnownCount = Count | None
UNKNOWN = "Null means unknown, not 0."
FIRST_LIST = "Read only by checkpoints trained on the first feature list"


class PredictRequest(BaseModel):
    """One video. Unknown fields are ignored, so a whole database row can be sent."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [EXAMPLE]})

    title: Annotated[str, Field(min_length=1, max_length=500), Text]
    description: Annotated[Description, Text, _or("", Description)] = ""
    thumbnail_url: Annotated[str | None, Text, BeforeValidator(none_if_blank)] = Field(
        None, description="http, https or data:image/...;base64. Null or empty means no thumbnail."
    )
    view_count: KnownCount = Field(None, description=UNKNOWN, examples=[15000])
    like_count: KnownCount = Field(None, description=UNKNOWN, examples=[1200])
    comment_count: KnownCount = Field(None, description=UNKNOWN, examples=[85])
    duration_seconds: Seconds | None = Field(None, description=UNKNOWN, examples=[45])
    published_at: Time = Field(
        None,
        validation_alias=AliasChoices("published_at", "upload_date"),
        description="When the video was published, ISO 8601. Also accepted as upload_date.",
    )
    observed_at: Time = Field(
        None,
        validation_alias=AliasChoices("observed_at", "scraped_at"),
        description="When the counts were read, ISO 8601; defaults to now. Also accepted as scraped_at.",
    )
    share_count: KnownCount = Field(None, description=f"{FIRST_LIST}. {UNKNOWN}", examples=[40])
    save_count: KnownCount = Field(None, description=f"{FIRST_LIST}. {UNKNOWN}", examples=[25])
    completion_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description=f"Average fraction of the video watched, 0 to 1. {FIRST_LIST}.", examples=[0.62]
    )
    creator_avg_views: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description=f"Average views of the creator's videos. {FIRST_LIST}.", examples=[12000]
    )
    require: Annotated[Required, _or([], Required)] = Field(
        [], description="Modalities that must be available; otherwise the request fails with 422."
    )
    explain: Annotated[bool, _or(False, bool)] = Field(
        False, description="Whether to include an explanation of the score."
    )

    def to_domain(self) -> ScoringRequest:
        """The request as the predictor takes it."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(Video)
            if field.name in PredictRequest.model_fields
        }
        video = Video(**{**values, "observed_at": self.observed_at or datetime.now(UTC)})
        return ScoringRequest(video, self.thumbnail_url, frozenset(self.require), self.explain)


class ModalityState(BaseModel):
    """How one modality was used."""

    state: Literal["used", "missing", "failed", "truncated", "imputed"]
    reason: str | None = Field(
        description="A short reason when the state is not `used`; `unknown_words` for a title without words "
        "that the text encoder knows."
    )

    @classmethod
    def of(cls, report: ModalityReport) -> Self:
        """The report as an answer has it."""
        return cls(state=report.state, reason=report.reason)


class Modalities(BaseModel):
    """How each modality was used."""

    text: ModalityState
    image: ModalityState
    scalars: ModalityState


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
    label: str = Field(description="A readable name of the group.")
    modality: Modality
    features: list[str] = Field(description="The group's features; empty for text and image.")
    viral_score: float = Field(ge=-1, le=1)
    predicted_velocity: float = Field(description="Views per day.")


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

    @classmethod
    def of(cls, prediction: Prediction, timings: bool = False) -> Self:
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
                **{name: ModalityState.of(report) for name, report in prediction.modalities.items()}
            ),
            warnings=list(prediction.warnings),
            timings_ms=Timings.of(prediction.watch) if timings else None,
            explanation=explained
            and Explanation.of(explained, (prediction.viral_score, prediction.velocity)),
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
