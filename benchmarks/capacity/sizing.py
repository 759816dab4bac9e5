"""How many requests a second one replica takes while 99 of 100 get their answer within a second.

Found by bisection with one seed, so that rates are compared on the same day. A peak is met by the replicas
that are there: nothing is added while it lasts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.capacity.arrivals import STEADY, Bursts, arrivals
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.simulation import Outcome, Replica, simulate

P99_S = 1.0
REFUSED_SHARE = 0.001
SECONDS = 30.0
SEED = 7
STEPS = 6
# Of the rate at which no core is idle in the peak: below it any replica copes, above it none does.
BRACKET = (0.5, 1.3)
PEAKS = Bursts(factor=3.0, peak_s=3.0, every_s=30.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which share of the videos is known to the replica that is asked, and how the requests come."""

    known_share: float
    bursts: Bursts


SCENARIOS = tuple(Scenario(known, bursts) for bursts in (STEADY, PEAKS) for known in (0.0, 0.5, 0.9))


@dataclass(frozen=True, slots=True)
class Sized:
    """The highest rate of one replica that held, and what its clients saw."""

    scenario: Scenario
    rate: float
    outcome: Outcome
    cores: float

    def replicas(self, rate: float) -> int:
        """How many replicas so many requests a second need."""
        return math.ceil(rate / self.rate)

    @property
    def core_s(self) -> float:
        """Core seconds that are paid for a request, idle ones included."""
        return self.cores / self.rate


def holds(outcome: Outcome) -> bool:
    """Whether 99 of 100 were answered within a second, and at most one of a thousand was refused."""
    return outcome.quantile_s(0.99) < P99_S and outcome.refused_share <= REFUSED_SHARE


def size(costs: Costs, replica: Replica, scenario: Scenario) -> Sized:
    """The highest rate that holds, to an eightieth."""
    saturated = costs.most_per_s(scenario.known_share, replica.cores) / scenario.bursts.highest
    low, high = (edge * saturated for edge in BRACKET)
    best = _try(costs, replica, scenario, low)
    assert holds(best), f"{low:.1f} requests a second, half of what the cores can do, do not hold: {scenario}"
    for _ in range(STEPS):
        rate = (low + high) / 2
        outcome = _try(costs, replica, scenario, rate)
        if holds(outcome):
            low, best = rate, outcome
        else:
            high = rate
    return Sized(scenario, low, best, replica.cores)


def size_all(costs: Costs, replica: Replica, scenarios: Sequence[Scenario] = SCENARIOS) -> list[Sized]:
    """Every scenario, in order."""
    return [size(costs, replica, scenario) for scenario in scenarios]


def _try(costs: Costs, replica: Replica, scenario: Scenario, rate: float) -> Outcome:
    stream = arrivals(rate, SECONDS, scenario.known_share, SEED, scenario.bursts)
    return simulate(costs, replica, stream, SEED, give_up_at=REFUSED_SHARE)
