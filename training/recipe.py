"""The hyperparameters of the head and of the encoders' training. Imports no torch."""

from dataclasses import dataclass, field
from typing import Any

CLASS_WEIGHTS = ("none", "balanced")


def _option(default: Any, words: str, **more: Any) -> Any:
    """A field that is also a command-line option (`training.options`), with `words` as its help."""
    return field(default=default, metadata={"help": words, **more})


def _dropped(name: str, default: float) -> Any:
    return _option(default, f"share of training rows with {name} hidden", kind="share")


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a fit; the defaults were chosen on val."""

    text_dims: int = _option(24, "number of text components")
    members: int = 4
    epochs: int = _option(20, "maximum epochs")
    patience: int = _option(5, "epochs without improvement before training stops")
    batch_size: int = 768
    learning_rate: float = 6e-3
    weight_decay: float = 0.02
    dropout: float = 0.0
    scalar_noise: float = 0.005
    # As large as the text coordinates' standard deviation: the head hardly reacts to an int8 encoder's
    # rounding, and learns little from the coordinates that rounding changes most.
    text_noise: float = _option(1.0, "standard deviation of the noise on the text components")
    image_dims: int = _option(24, "number of image components")
    image_noise: float = _option(0.3, "standard deviation of the noise on the image components")
    # Requests omit groups together more often than by chance: one share of rows keeps all four groups of
    # `KNOWN`, another hides all four, and the rest hide each group with its own probability.
    complete: float = _option(0.2, "share of training rows that keep all counts and times", kind="share")
    title_only: float = _option(0.15, "share of training rows with all of them hidden", kind="share")
    views_dropped: float = _dropped("the views", 0.15)
    reactions_dropped: float = _dropped("likes and comments", 0.15)
    age_dropped: float = _dropped("the age", 0.3)
    history_dropped: float = _dropped("the previous look", 0.5)
    length_dropped: float = _dropped("the length", 0.15)
    description_dropped: float = _dropped("the description", 0.3)
    shares_dropped: float = _dropped("the shares", 0.3)
    saves_dropped: float = _dropped("the saves", 0.3)
    watching_dropped: float = _dropped("the completion rate", 0.5)
    creator_dropped: float = _dropped("the creator's average views", 0.3)
    image_dropped: float = _dropped("the thumbnail", 0.3)
    class_weights: str = _option("none", "weights of viral and other rows", choices=CLASS_WEIGHTS)
    """`balanced`: viral rows weigh as much as all others together; the calibration corrects the shift."""
    regression_share: float = 1.0
    # In standard deviations of the target: beyond it, the loss grows like the absolute error, whose best
    # prediction is the median.
    huber_delta: float = 0.15
    averaging: float = 0.99
    half_life_days: float = _option(
        0.0, "rows this many days older than the newest weigh half; 0 weighs all equally"
    )

    def dropped(self, name: str) -> float:
        """The share of training rows that hide a group, a description or an image."""
        share: float = getattr(self, f"{name}_dropped")
        return share


@dataclass(frozen=True)
class Tuning:
    """Which encoders are trained, and how."""

    text: bool = True
    image: bool = False
    epochs: int = _option(3, "maximum epochs of the encoders' training", flag="encoder-epochs", kind="count")
    patience: int = _option(
        1,
        "epochs without improvement before the encoders' training stops",
        flag="encoder-patience",
        kind="count",
    )
    batch_size: int = _option(
        16, "rows per batch of the encoders' training", flag="encoder-batch-size", kind="count"
    )
    encoder_rate: float = _option(2e-5, "learning rate of the encoders")
    head_rate: float = _option(
        1e-3, "learning rate of the head that the encoders are trained with", flag="provisional-head-rate"
    )
    weight_decay: float = 0.01
    warm_up: float = 0.1
    """The share of all steps in which the rates rise."""
    max_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the trained encoders read."""
        return ("text",) * self.text + ("image",) * self.image
