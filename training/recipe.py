"""The hyperparameters of the head and of the text encoder. Imports no torch."""

from dataclasses import dataclass

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a fit; the defaults were chosen on val."""

    text_dims: int = 24
    members: int = 4
    epochs: int = 20
    patience: int = 5
    batch_size: int = 768
    learning_rate: float = 6e-3
    weight_decay: float = 0.02
    dropout: float = 0.0
    scalar_noise: float = 0.005
    # As large as the text coordinates' deviation: the head hardly reacts to an int8 encoder's rounding, and
    # learns little from the coordinates that rounding changes most.
    text_noise: float = 1.0
    image_dims: int = 24
    image_noise: float = 0.3
    # Requests leave groups out together more often than chance would: a share of rows keeps all of the four
    # groups of `KNOWN`, and another none of them; the rest hides each group by its own share.
    complete: float = 0.2
    title_only: float = 0.15
    views_dropped: float = 0.15
    reactions_dropped: float = 0.15
    age_dropped: float = 0.3
    history_dropped: float = 0.5
    length_dropped: float = 0.15
    description_dropped: float = 0.3
    shares_dropped: float = 0.3
    saves_dropped: float = 0.3
    watching_dropped: float = 0.5
    creator_dropped: float = 0.3
    image_dropped: float = 0.3
    class_weights: str = "none"
    """`balanced`: viral rows weigh as much as all others together; the calibration reverts the shift."""
    regression_share: float = 1.0
    # In standard deviations of the target: beyond, the loss grows like the absolute error, whose best
    # prediction is the median.
    huber_delta: float = 0.15
    averaging: float = 0.99
    half_life_days: float = 0.0
    """A row this much older than the newest weighs half as much; 0: all the same."""

    def dropped(self, name: str) -> float:
        """The share of training rows that hide a group, a description or an image."""
        share: float = getattr(self, f"{name}_dropped")
        return share


@dataclass(frozen=True)
class Tuning:
    """Which encoders are trained, and how."""

    text: bool = True
    image: bool = False
    epochs: int = 3
    patience: int = 1
    """Epochs without a lower loss on val after which training ends."""
    batch_size: int = 16
    encoder_rate: float = 2e-5
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    """The share of all steps in which the rates rise."""
    max_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    @property
    def names(self) -> tuple[str, ...]:
        """What the trained encoders read."""
        return ("text",) * self.text + ("image",) * self.image
