"""What the simulation knows of the service: CPU seconds by step, as benchmarks.capacity.measure finds it."""

import json
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

MEASURED = Path(__file__).parent / "measured.json"


@dataclass(frozen=True, slots=True)
class Forward:
    """One step of the network by batch size; `cpu_s` and `parallel` hold sizes 1, 2, ... in order."""

    cpu_s: tuple[float, ...]
    parallel: tuple[float, ...]
    """How many cores a forward keeps busy while nothing else runs."""

    @classmethod
    def constant(cls, cpu_s: float, sizes: int = 1) -> Self:
        """A step on one core that costs the same whatever the batch."""
        return cls((cpu_s,) * sizes, (1.0,) * sizes)

    @classmethod
    def of(cls, measured: Mapping[str, Mapping[str, float]], dearer: float = 1.0, *, padded: bool) -> Self:
        """From {size: {cpu_ms, wall_ms}}; each forward is `dearer` by a factor than it was when alone.

        Of a `padded` step, a size that was not measured is run as the next larger one; of another, whose rows
        are packed, it costs what lies between its neighbours.
        """
        sizes = sorted(map(int, measured))
        rows = [measured[str(size)] for size in sizes]
        cpu_s = [dearer * row["cpu_ms"] / 1000 for row in rows]
        # Whatever kept it from a core while it was measured, a forward that is alone has one at least.
        parallel = [max(row["cpu_ms"] / row["wall_ms"], 1.0) for row in rows]
        every = range(1, sizes[-1] + 1)
        ran = [sizes[bisect_left(sizes, size)] for size in every] if padded else every
        return cls(
            tuple(float(np.interp(size, sizes, cpu_s)) for size in ran),
            tuple(float(np.interp(size, sizes, parallel)) for size in ran),
        )

    @property
    def largest(self) -> int:
        """The most videos in one batch."""
        return len(self.cpu_s)

    @property
    def full_batch_s(self) -> float:
        """CPU seconds a video in a full batch."""
        return self.cpu_s[-1] / self.largest


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds of one video by step. What a known video costs is `known_loop_s` and the fusion."""

    text: Forward
    image: Forward
    fusion: Forward
    decode_s: float
    known_loop_s: float
    """On the event loop: HTTP, schema, features, answer."""
    new_loop_s: float
    """The same and the download."""

    @classmethod
    def of(cls, measured: Mapping[str, Any]) -> Self:
        """From the JSON that `benchmarks.capacity.measure` prints."""
        forwards, new, known = measured["forwards"], measured["served"]["new"], measured["served"]["known"]
        dearer = beside_each_other(measured)
        return cls(
            Forward.of(forwards["text"], dearer, padded=False),
            Forward.of(forwards["image"], dearer, padded=True),
            Forward.of(forwards["fusion"], padded=True),
            new["decode_ms"] / 1000,
            known["loop_ms"] / 1000,
            new["loop_ms"] / 1000,
        )

    def cpu_s(self, known_share: float) -> float:
        """CPU seconds of the average video at full batches."""
        return known_share * self.known_loop_s + self.fusion.full_batch_s + (1 - known_share) * self._new_s

    def host_s(self, known_share: float) -> float:
        """What of that no accelerator of the towers takes over: event loop, decoding, fusion."""
        return self.cpu_s(known_share) - (1 - known_share) * (
            self.text.full_batch_s + self.image.full_batch_s
        )

    def loop_s(self, known_share: float) -> float:
        """Seconds on the event loop, which has one core at most."""
        return known_share * self.known_loop_s + (1 - known_share) * self.new_loop_s

    def most_per_s(self, known_share: float, cores: float) -> float:
        """The rate at which the cores, or the event loop alone, have no idle moment left."""
        return min(cores / self.cpu_s(known_share), 1 / self.loop_s(known_share))

    @property
    def _new_s(self) -> float:
        return self.new_loop_s + self.decode_s + self.text.full_batch_s + self.image.full_batch_s


def beside_each_other(measured: Mapping[str, Any]) -> float:
    """How much dearer the towers are under load, at once and beside decoders, than each of them alone."""
    served = measured["served"]["new"]
    alone = sum(_at(measured["forwards"][step], served["mean_batch"][step]) for step in ("text", "image"))
    alone += _at(measured["forwards"]["fusion"], served["mean_batch"]["fusion"])
    return float(served["engine_ms"] / alone)


def _at(measured: Mapping[str, Mapping[str, float]], batch: float) -> float:
    """CPU milliseconds a video at an average batch size, on the straight line between measured ones."""
    sizes = sorted(map(int, measured))
    return float(np.interp(batch, sizes, [measured[str(size)]["cpu_ms"] / size for size in sizes]))


def read_measured(path: Path = MEASURED) -> dict[str, Any]:
    """The committed measurement."""
    return dict(json.loads(path.read_text(encoding="utf-8")))
