"""Answers of the scoring routes. How a score is computed is not known here."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, Field
from starlette.types import Scope

from serving.http.problems import Problem
from serving.http.requests import Options
from serving.lifecycle.shadow import score_of
from serving.scoring import explanation as scoring
from serving.scoring.encoders import Modality, ModalityReport
from serving.scoring.pipeline import Prediction
from serving.scoring.towers import Stopwatch

SCORE_DIGITS = 6
VELOCITY_DIGITS = 2
SPARE_S = 1.0  # of a request's time, for the answer itself


def _is_none(value: Any) -> bool:
    return value is None


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
        """The report as an answer shows it."""
        return cls(state=report.state, reason=report.reason, detail=report.detail)


class ScalarsState(ModalityState):
    """How the numbers and times were used."""

    imputed: list[str] = Field(
        description="The request's fields that are unknown; the training data's average was used instead."
    )

    @classmethod
    def of(cls, report: ModalityReport) -> Self:
        """The report as an answer shows it."""
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
        """The stopwatch as an answer shows it."""
        return cls(**watch.milliseconds(), cached=watch.cached)


class Baseline(BaseModel):
    """The score of a video about which nothing is known."""

    viral_score: float = Field(ge=0, le=1)
    predicted_velocity: float = Field(ge=0, description="Views per day.")


class Contribution(BaseModel):
    """What one group of inputs added to the score, or subtracted from it."""

    group: str = Field(description="`text`, `image`, or a group of features.")
    label: str = Field(description="A readable name of the group, and its unknown inputs.")
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
        """The explanation of `score` as an answer shows it: its rounded parts add up to the rounded score."""
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
        """The shadow's prediction as an answer shows it."""
        return cls(
            model_version=prediction.model_version,
            viral_score=round(prediction.viral_score, SCORE_DIGITS),
            predicted_velocity=round(prediction.velocity, VELOCITY_DIGITS),
            velocity_interval=_interval(prediction),
        )


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
        """The prediction as an answer shows it."""
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


class FailedItem(BaseModel):
    """An item that could not be scored."""

    error: Problem


class BatchResponse(BaseModel):
    """One entry per video, in the order of the request."""

    predictions: list[PredictResponse | FailedItem]
    processing_time_ms: int


async def answered(prediction: Prediction, options: Options, scope: Scope) -> PredictResponse:
    """A prediction as an answer, with what was asked for in the query."""
    shadow = await score_of(prediction.shadow, scope["deadline"] - SPARE_S) if options.shadow else None
    return PredictResponse.of(prediction, options.timings, shadow)
