"""What else runs out as replicas are added, and what a million videos cost: arithmetic on measurements."""

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from statistics import mean
from typing import Any

from benchmarks.capacity.costs import Costs
from benchmarks.capacity.sizing import Sized
from preprocessing.thumbnails.cache import ThumbnailCache
from preprocessing.thumbnails.fetcher import ThumbnailPolicy
from serving.settings import Settings

MILLION = 1_000_000
SECONDS_PER_HOUR = 3600
URLS = int(signature(ThumbnailCache).parameters["max_entries"].default)
"""How many thumbnails' URLs a replica remembers; a video beyond them is downloaded again."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What leaves and enters at one rate of requests."""

    downloads_per_s: float
    bytes_per_s: float
    replicas: int

    @property
    def host_latency_s(self) -> float:
        """From this mean latency on, the connections that a replica opens to one host are all busy."""
        return ThumbnailPolicy().max_connections_per_host * self.replicas / self.downloads_per_s


def outgoing(measured: Mapping[str, Any], sized: Sized, rate: float) -> Outgoing:
    """Thumbnails at `rate` requests a second; known videos need none within MILES_THUMBNAIL_TTL_S."""
    downloads = rate * (1 - sized.scenario.known_share)
    return Outgoing(downloads, downloads * mean(measured["thumbnail_bytes"]), sized.replicas(rate))


def known_video_bytes(measured: Mapping[str, Any]) -> int:
    """What remembering the vectors of a video takes."""
    return int(sum(measured["entry_bytes"].values()))


def remembered(measured: Mapping[str, Any]) -> int:
    """How many videos' vectors fit into MILES_CACHE_BYTES as it ships."""
    return int(Settings.model_fields["cache_bytes"].default // known_video_bytes(measured))


def cost_per_million(sized: Sized, price_per_core_hour: float) -> float:
    """The price of a million requests on replicas that are as busy as their p99 allows."""
    return MILLION * sized.core_s / SECONDS_PER_HOUR * price_per_core_hour


def break_even_per_s(costs: Costs, sized: Sized, price_ratio: float) -> float:
    """How many new videos a second a GPU must encode to be cheaper, a GPU hour being so many core hours.

    A GPU takes over the towers alone; the cores beside it still serve, decode and fuse. With the same idle
    share of those cores, ratio / rate + cores for that < cores for everything.
    """
    share = sized.scenario.known_share
    idle = sized.core_s / costs.cpu_s(share)
    saved_s = idle * (costs.cpu_s(share) - costs.host_s(share)) / (1 - share)
    return price_ratio / saved_s
