"""When requests come, and which of them are for known videos: a Poisson stream, with or without peaks."""

from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, `at_s` seconds after the first moment."""

    at_s: float
    known: bool


@dataclass(frozen=True, slots=True)
class Bursts:
    """For the first `peak_s` of every `every_s` seconds, `factor` times the mean rate."""

    factor: float = 1.0
    peak_s: float = 5.0
    every_s: float = 50.0

    def __post_init__(self) -> None:
        assert 0 < self.factor * self.peak_s <= self.every_s, "peaks hold no more than all requests"

    def at(self, moment_s: float) -> float:
        """The rate at a moment, as a multiple of the mean."""
        if moment_s % self.every_s < self.peak_s:
            return self.factor
        return (self.every_s - self.factor * self.peak_s) / (self.every_s - self.peak_s)

    @property
    def highest(self) -> float:
        """The highest rate, as a multiple of the mean."""
        return max(self.factor, self.at(self.peak_s))


STEADY = Bursts()


def arrivals(
    rate: float, seconds: float, known_share: float, seed: int, bursts: Bursts = STEADY
) -> list[Arrival]:
    """A stream of `rate` requests a second on average; the same seed gives the same one."""
    draw, found, moment = Random(seed), list[Arrival](), 0.0  # noqa: S311  a simulation, no secret
    # Drawn at the highest rate and thinned to that of the moment (Lewis and Shedler 1979).
    while (moment := moment + draw.expovariate(rate * bursts.highest)) < seconds:
        is_kept, known = draw.random() * bursts.highest < bursts.at(moment), draw.random() < known_share
        if is_kept:
            found.append(Arrival(moment, known))
    return found
