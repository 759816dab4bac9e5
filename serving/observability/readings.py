"""Metrics that are read off the running service when somebody asks for them; a request pays nothing."""

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline
from serving.scoring.shared_cache import SharedCache

BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256)
LONGEST_LABEL = 64  # what a checkpoint says of its own origin is free text
PACKAGES = ("openvino", "fastapi", "numpy")


class Readings(Collector):
    """What a predictor is and does at this moment."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._build = {"python": python_version(), **{name: _version(name) for name in PACKAGES}}

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are checked when they are exposed, and most need a loaded model."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics of this moment; those of the model once there is one."""
        ready = self._predictor.status == HEALTHY
        yield GaugeMetricFamily("miles_ready", "1 while requests can be scored.", float(ready))
        yield InfoMetricFamily("miles_build", "What the service runs on.", self._build)
        if self._predictor.shared_cache is not None:
            yield from _shared_cache(self._predictor.shared_cache)
        pipeline = self._predictor.pipeline
        if pipeline is not None:
            yield _model_info(pipeline.model)
            yield from _queues(pipeline)
            yield from _drift(pipeline)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _model_info(model: LoadedModel) -> Metric:
    said = {
        "version": model.version,
        "sha256": model.card.sha256[:16],
        "engine": model.engine.name,
        "precision": model.engine.precision,
        "weights": str(model.card.provenance.get("source", "owner"))[:LONGEST_LABEL],
    }
    return InfoMetricFamily("miles_model", "Which model serves.", said)


def _queues(pipeline: Pipeline) -> Iterable[Metric]:
    depth = GaugeMetricFamily("miles_queue_depth", "Videos that wait for a step.", labels=["step"])
    sizes = HistogramMetricFamily("miles_batch_size", "Videos in one forward of a step.", labels=["step"])
    for step, queue in pipeline.queues.items():
        depth.add_metric([step], queue.depth)
        sizes.add_metric([step], _buckets(queue.batches), sum(size * n for size, n in queue.batches.items()))
    return depth, sizes


def _buckets(batches: Mapping[int, int]) -> list[tuple[str, float]]:
    """How many batches were at most as large as each bound."""
    below = [
        (f"{bound:.1f}", sum(n for size, n in batches.items() if size <= bound)) for bound in BATCH_BUCKETS
    ]
    return [*below, ("+Inf", sum(batches.values()))]


def _shared_cache(cache: SharedCache) -> Iterable[Metric]:
    yield GaugeMetricFamily("miles_shared_cache_up", "1 while it is asked.", float(cache.is_up))
    for name, description, counts in (
        ("miles_shared_cache_lookups", "Vectors asked of the shared cache.", cache.lookups),
        ("miles_shared_cache_writes", "Vectors given to the shared cache.", cache.writes),
    ):
        family = CounterMetricFamily(name, description, labels=["outcome"])
        for outcome, count in counts.items():
            family.add_metric([outcome], count)
        yield family


def _drift(pipeline: Pipeline) -> Iterable[Metric]:
    rows = GaugeMetricFamily("miles_drift_rows", "Scored videos that the drift is computed of.")
    rows.add_metric([], pipeline.drift.rows)
    psi = GaugeMetricFamily(
        "miles_drift_psi",
        "Population stability index of the latest scored videos against the training rows.",
        labels=["feature"],
    )
    for feature, index in pipeline.drift.stability().items():
        psi.add_metric([feature], index)
    return rows, psi
