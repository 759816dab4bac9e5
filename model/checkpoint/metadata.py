"""What a checkpoint says besides its weights: each key checked for itself and against the architecture.

The values come from a file, so any of them may be anything. What is not there is None or a default; what
is there and unusable is a `MetadataError`, never a guess.
"""

from collections.abc import Mapping
from typing import Any

from model.config import FusionConfig
from model.values import finite_number, plain, shown, whole_number
from model.velocity import Velocity, velocity_from

FORMAT = 1
TEXT_FIELDS = (("title",), ("title", "description"))
MAX_TOKENS = 128
MIN_TOKENS = 8
# Softmax of logits / temperature is 0, 1 or 0.5 beyond these, and not a number soon after.
TEMPERATURES = (0.01, 100.0)


class MetadataError(Exception):
    """A key of the checkpoint whose value cannot be used: which one, what it is, what it should be."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key


def is_absent(value: Any) -> bool:
    """Whether a key says nothing: it is missing, null or an empty collection."""
    return value is None or (isinstance(value, Mapping | list | tuple | str) and not value)


def check_format(value: Any) -> None:
    """Raise `MetadataError` unless this version reads the format; older files carry none."""
    if not is_absent(value) and whole_number(value) != FORMAT:
        raise MetadataError(
            "format", f"is {shown(value)}, this version reads {FORMAT}; run the release that wrote it"
        )


def scalar_features(value: Any, expected: int) -> tuple[str, ...] | None:
    """The names of the scalar columns, as many as the fusion takes, each once."""
    if is_absent(value):
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise MetadataError("scalar_features", f"is {shown(value)}, expected a list of names")
    if len(value) != expected:
        raise MetadataError(
            "scalar_features", f"names {len(value)} scalar features, its fusion takes {expected}"
        )
    if len(set(value)) != len(value):
        raise MetadataError("scalar_features", f"is {shown(value)}, expected each name once")
    return tuple(value)


def feature_stats(value: Any, names: tuple[str, ...] | None) -> dict[str, dict[str, float | None]] | None:
    """Mean, scale and, where known, low and high of every named feature."""
    if is_absent(value):
        return None
    if not isinstance(value, Mapping):
        raise MetadataError("feature_stats", f"is {shown(value)}, expected mean and scale by feature name")
    missing = [name for name in names or () if name not in value]
    if missing:
        raise MetadataError("feature_stats", f"lacks {shown(missing)}, which scalar_features names")
    return {str(name): _moments(str(name), moments) for name, moments in value.items()}


def _moments(name: str, value: Any) -> dict[str, float | None]:
    key = f"feature_stats.{name}"
    if not isinstance(value, Mapping):
        raise MetadataError(key, f"is {shown(value)}, expected mean and scale")
    moments = {part: finite_number(value.get(part)) for part in ("mean", "scale", "low", "high")}
    for part in ("low", "high"):
        if value.get(part) is not None and moments[part] is None:
            raise MetadataError(key, f"has {part} {shown(value[part])}, expected a finite number or null")
    if moments["mean"] is None or moments["scale"] is None or moments["scale"] <= 0:
        raise MetadataError(
            key,
            f"has mean {shown(value.get('mean'))} and scale {shown(value.get('scale'))}, expected finite "
            "numbers and a scale above 0",
        )
    return moments


def velocity(value: Any) -> Velocity | None:
    """How the regression target was transformed."""
    if is_absent(value):
        return None
    if not isinstance(value, Mapping):
        raise MetadataError("velocity", f"is {shown(value)}, expected a transform and its numbers")
    try:
        return velocity_from(value)
    except ValueError as exc:
        raise MetadataError("velocity", f"cannot be inverted: {exc}") from exc


def temperature(value: Any) -> float | None:
    """The calibration's temperature, None where nothing was calibrated."""
    if is_absent(value):
        return None
    if not isinstance(value, Mapping):
        raise MetadataError("calibration", f"is {shown(value)}, expected a temperature")
    given = value.get("temperature")
    if given is None:
        return None
    number, (low, high) = finite_number(given), TEMPERATURES
    if number is None or not low <= number <= high:
        raise MetadataError(
            "calibration", f"has temperature {shown(given)}, expected a number from {low:g} to {high:g}"
        )
    return number


def text(value: Any, config: FusionConfig) -> tuple[tuple[str, ...], int]:
    """Which fields the text tower was trained to read, and how many tokens of them at most."""
    if is_absent(value):
        value = {}
    if not isinstance(value, Mapping):
        raise MetadataError("text", f"is {shown(value)}, expected fields and max_tokens")
    # A file without the key was trained before there was a choice: titles alone when it reads no image.
    given = value.get("fields", TEXT_FIELDS[1] if config.vision else TEXT_FIELDS[0])
    known = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
    fields = tuple(given) if known else ()
    if fields not in TEXT_FIELDS:
        raise MetadataError("text", f"has fields {shown(given)}, expected title, or title and description")
    limit = config.text.max_positions
    given = value.get("max_tokens", min(MAX_TOKENS, limit))
    tokens = whole_number(given)
    if tokens is None or not MIN_TOKENS <= tokens <= limit:
        raise MetadataError(
            "text", f"has max_tokens {shown(given)}, its encoder takes {MIN_TOKENS} to {limit} tokens"
        )
    return fields, tokens


def titles(value: Any, config: FusionConfig) -> dict[str, Any]:
    """What the training titles were like: their mean vector, and the share of them that each script has."""
    values = mapping("titles", value)
    mean, scripts = values.get("mean_vector"), values.get("scripts")
    numbers = mean if isinstance(mean, list) else []
    if mean is not None and (
        len(numbers) != config.text.output_dim or any(finite_number(number) is None for number in numbers)
    ):
        raise MetadataError(
            "titles", f"has mean_vector {shown(mean)}, expected {config.text.output_dim} numbers"
        )
    shares = list(scripts.values()) if isinstance(scripts, dict) else [None]
    if scripts is not None and not all(_is_share(share) for share in shares):
        raise MetadataError("titles", f"has scripts {shown(scripts)}, expected the share of each")
    return values


def _is_share(value: Any) -> bool:
    number = finite_number(value)
    return number is not None and 0 <= number <= 1


def mapping(key: str, value: Any) -> dict[str, Any]:
    """A key that only describes or records: any dict, its numbers plain."""
    if is_absent(value):
        return {}
    if not isinstance(value, Mapping):
        raise MetadataError(key, f"is {shown(value)}, expected a dict")
    try:
        values: dict[str, Any] = plain(value)
    except RecursionError as exc:
        raise MetadataError(key, "is nested without end, expected a dict of plain values") from exc
    return values
