"""Serves the figures of recent outcomes to Prometheus."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from training.data.database import DatabaseError
from training.outcomes.judge import Outcomes

BOUNDS = {"value": "difference", "low": "low", "high": "high"}


class OutcomesCollector(Collector):
    """The last outcomes that could be computed, and whether the last attempt succeeded."""

    def __init__(self) -> None:
        self.outcomes: Outcomes | None = None
        self.is_up = False

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        yield GaugeMetricFamily("miles_outcomes_up", "1 if the last reading worked.", float(self.is_up))
        if self.outcomes is None:
            return
        states = GaugeMetricFamily("miles_outcomes_predictions", "Predictions by state.", labels=["state"])
        for state, count in self.outcomes.states.items():
            states.add_metric([state], count)
        yield states
        yield from _groups(self.outcomes)
        yield _shadows(self.outcomes)


def _groups(outcomes: Outcomes) -> Iterator[Metric]:
    rows = GaugeMetricFamily("miles_outcomes_rows", "Judged predictions by group.", labels=["by", "group"])
    figures = GaugeMetricFamily(
        "miles_outcomes_figure",
        "A figure of judged predictions by group, and the ends of its 95% interval.",
        labels=["figure", "by", "group", "bound"],
    )
    for by, groups in outcomes.groups.items():
        for name, group in groups.items():
            rows.add_metric([by, name], group.rows)
            for figure, interval in group.figures.items():
                for bound, attribute in BOUNDS.items():
                    figures.add_metric([figure, by, name, bound], getattr(interval, attribute))
    yield rows
    yield figures


def _shadows(outcomes: Outcomes) -> Metric:
    family = GaugeMetricFamily(
        "miles_outcomes_shadow_difference",
        "A figure of a shadow minus that of the served version, on the same looks.",
        labels=["shadow", "served", "figure", "bound"],
    )
    for duel in outcomes.duels:
        for figure, interval in duel.differences.items():
            for bound, attribute in BOUNDS.items():
                family.add_metric([duel.new, duel.served, figure, bound], getattr(interval, attribute))
    return family


def watch(compute: Callable[[], Outcomes], every_s: float, host: str, port: int) -> None:
    """Serve /metrics until stopped, and compute again every `every_s`; a failed reading is printed.

    Raises `OSError` for an address that cannot be served on.
    """
    registry, collector = CollectorRegistry(), OutcomesCollector()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as exc:
        raise OSError(f"{host}:{port}: {exc.strerror}; choose another --port") from exc
    print(f"serving http://{host}:{server.server_port}/metrics every {every_s:g} s", flush=True)
    try:
        while True:
            try:
                collector.outcomes = compute()
                collector.is_up = True
            except DatabaseError as exc:
                collector.is_up = False
                print(f"error: {exc}; trying again in {every_s:g} s", flush=True)
            time.sleep(every_s)
    finally:
        server.shutdown()
        thread.join()
