"""An explanation on the wire: parts that add up to the answer as it was rounded."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, Field

from serving.scoring.explanation import Explanation as Explained
from serving.scoring.explanation import Score
from serving.scoring.towers import Modality

SCORE_DIGITS = 6
VELOCITY_DIGITS = 2


class Baseline(BaseModel):
    """The score of a video of which nothing is known."""

    viral_score: float = Field(ge=0, le=1)
    predicted_velocity: float = Field(ge=0, description="Views per day.")


class Contribution(BaseModel):
    """What one block of the input added to the score, or took from it."""

    group: str = Field(description="`text`, `image`, or a group of features.")
    label: str = Field(description="The group in words.")
    modality: Modality
    features: list[str] = Field(description="The group's features; none for text and image.")
    viral_score: float = Field(ge=-1, le=1)
    predicted_velocity: float = Field(description="Views per day.")


class Explanation(BaseModel):
    """Exact Shapley values; the contributions add up to the answer's distance from the baseline."""

    baseline: Baseline
    contributions: list[Contribution] = Field(description="Largest |viral_score| first.")

    @classmethod
    def of(cls, explained: Explained, score: Score) -> Self:
        """The explanation of `score` on the wire."""
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
    """`parts` rounded so that they lead from the rounded `start` to the rounded `end`.

    What rounding leaves over goes to the largest part, where it matters least.
    """
    rounded = [round(part, digits) for part in parts]
    largest = max(range(len(parts)), key=lambda index: abs(parts[index]))
    left_over = round(end, digits) - round(start, digits) - sum(rounded)
    rounded[largest] = round(rounded[largest] + left_over, digits)
    return [part + 0.0 for part in rounded]  # -0.0 would puzzle a person
