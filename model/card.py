"""The description of a model: everything about it except its weights, in one schema.

A checkpoint, its sidecar `model_full.stats.json`, the demo's `demo.json` and a bundle's `bundle.json` are all
read as a `ModelCard`. Imports no torch.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from model.config import FusionConfig
from model.outputs import Calibration, Pattern, Velocity, complete
from model.values import Number, short_repr, to_plain

TextCleaning = Literal["none", "words"]
TEXT_FIELDS = (("title",), ("title", "description"))
MIN_TOKENS, MAX_TOKENS = 8, 128


def _plain(value: Any) -> Any:
    try:
        return to_plain(value)
    except RecursionError as exc:
        raise ValueError("is nested too deeply, expected plain values") from exc


def _statistic(value: Any) -> Any:
    """A finite number, None, or the codes of a feature's values."""
    if isinstance(value, list):
        return [_statistic(code) for code in value]
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= sys.float_info.max:
        raise ValueError(f"is {short_repr(value)}, expected a finite number")
    return float(value)


def _moments(stats: dict[str, Any]) -> dict[str, Any]:
    mean, scale = stats.get("mean"), stats.get("scale")
    if mean is None or scale is None or scale <= 0:
        raise ValueError(f"has mean {mean} and scale {scale}, expected numbers and a scale above 0")
    return {**stats, **{end: None for end in ("low", "high") if end not in stats}}


Plain = BeforeValidator(_plain)
Record = Annotated[dict[str, Any], Plain]
Moments = Annotated[
    dict[str, Annotated[Any, AfterValidator(_statistic)]],
    AfterValidator(_moments),
]


class Titles(BaseModel):
    """Statistics of the training titles."""

    model_config = ConfigDict(frozen=True)

    mean_vector: list[Number] | None = None
    """Their mean text vector, (text_dim,)."""
    scripts: dict[str, Annotated[Number, Field(ge=0, le=1)]] | None = None
    """The share of each script, such as Latin or Cyrillic."""
    min_letters_per_piece: Annotated[Number, Field(ge=0, le=100)] | None = None
    """A title with fewer letters per word piece has words that the text encoder does not know."""


class MeaningfulDifference(BaseModel):
    """Two texts of one video differ if their scores differ by more than this."""

    model_config = ConfigDict(frozen=True)

    viral_score: Annotated[Number, Field(ge=0, le=1)]
    velocity: Annotated[Number, Field(ge=1)]
    """A factor: the larger velocity over the smaller."""


class TextEncoderInfo(BaseModel):
    """Where the text encoder's weights come from."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["random", "pretrained", "grown"]
    """Seeded random numbers, a trained encoder, or a trained one grown to another shape."""
    name: str
    understands: bool
    """Whether it was trained on language. A random encoder tells words apart but knows no meaning."""


class ImageReading(BaseModel):
    """How the image files of the training rows were read; the defaults are those of older files."""

    model_config = ConfigDict(frozen=True)

    orientation: Literal["stored", "exif"] = "stored"
    background: Literal["ignored", "white"] = "ignored"
    """What is behind transparent pixels."""
    depth: Literal["clipped", "scaled"] = "clipped"
    """What happens to 16-bit grey levels."""
    bars: Literal["kept", "cut"] = "kept"
    """What happens to black bars at both sides."""
    colours: Literal["stored", "srgb"] = "stored"
    """Whether colour profiles are applied."""
    scale: Literal["full", "half"] = "full"
    """Whether large JPEGs are decoded at half their size."""


class ModelCard(BaseModel):
    """One model's description. `sha256` is its checkpoint's, in a bundle too."""

    model_config = ConfigDict(frozen=True)

    name: str = "unsaved checkpoint"
    sha256: str = ""
    config: FusionConfig
    scalar_features: Annotated[tuple[str, ...], Plain]
    feature_stats: Annotated[dict[str, Moments], Plain]
    """Per feature: mean, scale, and the training range low to high, None where nothing is clipped."""
    velocity: Annotated[Velocity, Field(discriminator="transform"), Plain]
    temperature: Annotated[Number, Field(ge=0.01, le=100)] | None = Field(
        None, validation_alias=AliasChoices("temperature", AliasPath("calibration", "temperature"))
    )
    """The classifier's logits are divided by it; None without calibration, or with one per pattern."""
    patterns: Annotated[dict[str, Pattern], AfterValidator(complete), Plain] = Field(default_factory=dict)
    """The calibration of each pattern of known inputs; empty in older files, which have a temperature."""
    interval_coverage: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """The share of velocities within the patterns' intervals; None without patterns."""
    meaningful_difference: MeaningfulDifference | None = None
    """The smallest difference between two texts that means something; None where texts have no effect."""
    text_fields: tuple[str, ...] = Field(
        TEXT_FIELDS[0],  # a file without the key was trained before there was a choice
        validation_alias=AliasChoices("text_fields", AliasPath("text", "fields")),
    )
    max_tokens: Annotated[int, Field(strict=True, ge=MIN_TOKENS), Plain] = Field(
        default_factory=lambda known: min(MAX_TOKENS, _positions(known["config"])),
        validation_alias=AliasChoices("max_tokens", AliasPath("text", "max_tokens")),
    )
    text_encoder: Annotated[TextEncoderInfo | None, Plain] = Field(
        None, validation_alias=AliasChoices("text_encoder", AliasPath("text", "encoder"))
    )
    """None in a file that does not say."""
    text_cleaning: TextCleaning = Field(
        # The first trained file read cleaned titles, and does not say so.
        default_factory=lambda known: "words" if "shares" in known.get("scalar_features", ()) else "none",
        validation_alias=AliasChoices("text_cleaning", AliasPath("text", "cleaning")),
    )
    """What was removed from texts before they were tokenised; see `preprocessing.text.CLEANING`."""
    image: Annotated[ImageReading, Plain] = Field(default_factory=ImageReading)
    parameters: dict[str, int] = Field(default_factory=dict)
    """Number of learned weights: `total`, `trainable` (the head) and `frozen` (the encoders)."""
    zero_weight_modalities: tuple[str, ...] = ()
    """Modalities that the model reads without effect: their columns of the fusion are all zero."""
    test_metrics: Record = Field(default_factory=dict)
    golden: Record = Field(default_factory=dict)
    provenance: Record = Field(default_factory=dict)
    distributions: Record = Field(default_factory=dict)
    """Distributions of the training rows' features and scores; empty in older files."""
    titles: Annotated[Titles, Plain] = Field(default_factory=Titles)

    @model_validator(mode="before")
    @classmethod
    def _groups_are_mappings(cls, values: Any) -> Any:
        """AliasPath would ignore a group that is not a mapping; here it is an error."""
        for key in ("calibration", "text"):
            group = values.get(key) if isinstance(values, Mapping) else None
            if group is not None and not isinstance(group, Mapping):
                raise ValueError(f"{key} is {short_repr(group)}, expected a dict")
        return values

    @field_validator("scalar_features")
    @classmethod
    def _one_name_per_column(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        columns = _config(info).scalars
        if len(names) != columns:
            raise ValueError(f"lists {len(names)} features, the fusion takes {columns}")
        if len(set(names)) != len(names):
            raise ValueError(f"is {short_repr(names)}, expected each name once")
        return names

    @field_validator("feature_stats")
    @classmethod
    def _statistics_of_every_feature(cls, stats: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        missing = [name for name in info.data.get("scalar_features", ()) if name not in stats]
        if missing:
            raise ValueError(f"lacks {short_repr(missing)}, which scalar_features lists")
        return stats

    @field_validator("text_fields")
    @classmethod
    def _known_fields(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if fields not in TEXT_FIELDS:
            raise ValueError(f"is {short_repr(list(fields))}, expected title, or title and description")
        return fields

    @field_validator("max_tokens")
    @classmethod
    def _tokens_with_a_position(cls, tokens: int, info: ValidationInfo) -> int:
        limit = _positions(_config(info))
        if tokens > limit:
            raise ValueError(f"is {tokens}, the text encoder takes {MIN_TOKENS} to {limit} tokens")
        return tokens

    @field_validator("titles")
    @classmethod
    def _mean_as_wide_as_a_text(cls, titles: Titles, info: ValidationInfo) -> Titles:
        width = _config(info).text_dim
        if titles.mean_vector is not None and len(titles.mean_vector) != width:
            raise ValueError(f"has a mean_vector of {len(titles.mean_vector)} numbers, expected {width}")
        return titles

    @property
    def viral_above(self) -> float | None:
        """The views per day above which training called a video viral; None if its data was labelled."""
        data = self.provenance.get("data")
        found = data.get("viral_above_views_per_day") if isinstance(data, dict) else None
        return float(found) if isinstance(found, int | float) and found > 0 else None

    def to_file(self) -> dict[str, Any]:
        """The contents of a checkpoint file other than its weights, as plain values."""
        return {
            "config": asdict(self.config),
            "scalar_features": list(self.scalar_features),
            "test_metrics": self.test_metrics,
            "feature_stats": self.feature_stats,
            "velocity": asdict(self.velocity),
            "calibration": {"temperature": self.temperature} if self.temperature else None,
            "patterns": {name: pattern.model_dump() for name, pattern in self.patterns.items()},
            "interval_coverage": self.interval_coverage,
            "meaningful_difference": self.meaningful_difference and self.meaningful_difference.model_dump(),
            "text": {
                "fields": list(self.text_fields),
                "max_tokens": self.max_tokens,
                "encoder": self.text_encoder and self.text_encoder.model_dump(),
                "cleaning": self.text_cleaning,
            },
            "image": self.image.model_dump(),
            "golden": self.golden,
            "provenance": self.provenance,
            "distributions": self.distributions,
            "titles": self.titles.model_dump(exclude_none=True),
        }

    def calibration(self) -> Calibration | None:
        """Turns logits into probabilities by pattern; None where `temperature` does that."""
        if not self.patterns:
            return None
        return Calibration(self.patterns, self.scalar_features, self.feature_stats)

    def changed(self, **values: Any) -> Self:
        """The same card with other values, validated like those of a file."""
        return type(self).model_validate({**dict(self), **values})


def _positions(config: FusionConfig) -> int:
    """The most tokens that the text encoder takes; a network without one reads none."""
    return config.text.max_positions if config.text else MAX_TOKENS


def _config(info: ValidationInfo) -> FusionConfig:
    config = info.data.get("config")
    if config is None:
        raise ValueError("cannot be checked without a config")
    return config  # type: ignore[no-any-return]
