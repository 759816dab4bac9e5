"""The wire: what a request may say, what an answer says. Nothing here knows how a score is made."""

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

from features.video import DEFAULT_DURATION_SECONDS, Count, Time, Video, none_if_blank
from serving.http.explanation_schemas import Explanation
from serving.scoring.pipeline import Prediction, ScoringRequest
from serving.scoring.towers import Modality, ModalityReport, Stopwatch

MODEL_NAME = "Miles v1.0"
ABOUT: dict[str, Any] = {
    "title": MODEL_NAME,
    "version": "1.0.0",
    "description": "Scores short-form videos before they take off.",
}
MAX_BATCH_VIDEOS = 256
EXAMPLE: JsonDict = {
    "title": "10 Tips for Perfect Morning Routine",
    "description": "Start your day right with these habits.",
    "thumbnail_url": "https://i.ytimg.com/vi/dQw4w9WgXcQ/hqdefault.jpg",
    "view_count": 15000,
    "like_count": 1200,
    "comment_count": 85,
}


def _repair(value: Any) -> Any:
    """Lone surrogates have no UTF-8 form, so no answer, log or tokenizer could carry them."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value


def _or(default: Any, wire: Any) -> BeforeValidator:
    """Databases hold nulls: a null is what the default says. `wire` is the type besides null, for OpenAPI."""
    return BeforeValidator(
        lambda value: default if value is None else value, json_schema_input_type=wire | None
    )


def _is_none(value: Any) -> bool:
    return value is None


Text = BeforeValidator(_repair)
CountOrNull = Annotated[Count, _or(0, Count)]
Description = Annotated[str, Field(max_length=10_000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Null is not zero here: what is not known takes the training mean.
KnownCount = Count | None
FIRST_LIST = "Read by checkpoints with the first list of columns only"


class PredictRequest(BaseModel):
    """One video. Unknown fields are ignored, so that a whole database row can be sent."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [EXAMPLE]})

    title: Annotated[str, Field(min_length=1, max_length=500), Text]
    description: Annotated[Description, Text, _or("", Description)] = ""
    thumbnail_url: Annotated[str | None, Text, BeforeValidator(none_if_blank)] = Field(
        None, description="http, https or data:image/...;base64, and null or empty for no thumbnail."
    )
    view_count: CountOrNull = 0
    like_count: CountOrNull = 0
    comment_count: CountOrNull = 0
    duration_seconds: Annotated[Seconds, _or(DEFAULT_DURATION_SECONDS, Seconds)] = DEFAULT_DURATION_SECONDS
    published_at: Time = Field(
        None,
        validation_alias=AliasChoices("published_at", "upload_date"),
        description="When the video went up, ISO 8601. Also accepted as upload_date.",
    )
    observed_at: Time = Field(
        None,
        validation_alias=AliasChoices("observed_at", "scraped_at"),
        description="When the counts were read, ISO 8601; now, when absent. Also accepted as scraped_at.",
    )
    share_count: KnownCount = Field(None, description=f"{FIRST_LIST}; null is unknown, not 0.", examples=[40])
    save_count: KnownCount = Field(None, description=f"{FIRST_LIST}; null is unknown, not 0.", examples=[25])
    completion_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description=f"The share of the video that is watched, 0 to 1. {FIRST_LIST}.", examples=[0.62]
    )
    creator_avg_views: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(
        None, description=f"Views of the creator's average video. {FIRST_LIST}.", examples=[12000]
    )
    require: Annotated[list[Modality], _or([], list[Modality])] = Field(
        [], description="Modalities without which a score is refused with 422."
    )

    explain: Annotated[bool, _or(False, bool)] = Field(
        False, description="Whether the answer is to say what moved the score."
    )

    def to_domain(self) -> ScoringRequest:
        """The same video without its wire."""
        video = Video(
            title=self.title,
            description=self.description,
            view_count=self.view_count,
            like_count=self.like_count,
            comment_count=self.comment_count,
            duration_seconds=self.duration_seconds,
            published_at=self.published_at,
            observed_at=self.observed_at or datetime.now(UTC),
            share_count=self.share_count,
            save_count=self.save_count,
            completion_rate=self.completion_rate,
            creator_avg_views=self.creator_avg_views,
        )
        return ScoringRequest(video, self.thumbnail_url, frozenset(self.require), self.explain)


class ModalityState(BaseModel):
    """What became of one modality."""

    state: Literal["used", "missing", "failed", "truncated", "imputed"]
    reason: str | None = Field(description="Why, in a word or two, where the state is not `used`.")

    @classmethod
    def of(cls, report: ModalityReport) -> Self:
        """The report on the wire."""
        return cls(state=report.state, reason=report.reason)


class Modalities(BaseModel):
    """What became of each modality."""

    text: ModalityState
    image: ModalityState
    scalars: ModalityState


class Timings(BaseModel):
    """Milliseconds by stage. Stages overlap; `queue` is the sum of the waits for towers and fusion."""

    queue: float
    download: float
    decode: float
    tokenise: float
    text: float
    image: float
    fusion: float
    explanation: float
    total: float
    cached: list[str] = Field(description="Towers whose vector was known already.")

    @classmethod
    def of(cls, watch: Stopwatch) -> Self:
        """A stopwatch on the wire."""
        return cls(**watch.milliseconds(), cached=watch.cached)


class PredictResponse(BaseModel):
    """A score, and what it rests on."""

    viral_score: float = Field(ge=0, le=1, description="Calibrated probability that the video goes viral.")
    predicted_velocity: float = Field(ge=0, description="Views per day.")
    confidence: float = Field(ge=0.5, le=1, description="Probability of the predicted class.")
    processing_time_ms: int = Field(ge=0, description="Wall time within the server.")
    model_version: str
    modalities: Modalities
    warnings: list[str] = Field(description="Sentences for a person; empty when all is well.")
    timings_ms: Timings | None = Field(
        None, exclude_if=_is_none, description="Where the time went; only with `?timings=1`."
    )
    explanation: Explanation | None = Field(
        None, exclude_if=_is_none, description="What moved the score; only when asked for."
    )

    @classmethod
    def of(cls, prediction: Prediction, timings: bool = False) -> Self:
        """The prediction on the wire."""
        score = round(prediction.viral_score, 6)
        return cls(
            viral_score=score,
            predicted_velocity=round(prediction.velocity, 2),
            confidence=max(score, round(1 - score, 6)),
            processing_time_ms=round(prediction.watch.seconds["total"] * 1000),
            model_version=prediction.model_version,
            modalities=Modalities(
                **{name: ModalityState.of(report) for name, report in prediction.modalities.items()}
            ),
            warnings=list(prediction.warnings),
            timings_ms=Timings.of(prediction.watch) if timings else None,
            explanation=Explanation.of(prediction.explanation, (prediction.viral_score, prediction.velocity))
            if prediction.explanation
            else None,
        )


# An item is checked on its own, so that one bad item never refuses its neighbours.
UncheckedVideo = Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/PredictRequest"})]


class BatchRequest(BaseModel):
    """Many videos in one call."""

    videos: list[UncheckedVideo] = Field(min_length=1, max_length=MAX_BATCH_VIDEOS)


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, str]] | None = Field(
        None, exclude_if=_is_none, description="Per field, when fields are at fault; else absent."
    )


class FailedItem(BaseModel):
    """An item of a batch that could not be scored."""

    error: Problem


class BatchResponse(BaseModel):
    """One entry per video, in the order of the request."""

    predictions: list[PredictResponse | FailedItem]
    processing_time_ms: int


class Health(BaseModel):
    """Whether the service can answer, and with what."""

    status: str = Field(description="`healthy`, or why not.")
    model: str
    model_loaded: bool
    model_version: str
    device: str
    engine: str
    checkpoint: str
    weights: str | None = Field(description="Where the weights come from: demo, trained or owner.")
