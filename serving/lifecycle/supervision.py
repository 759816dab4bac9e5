"""Detects a broken model: a forward that hangs, a queue that has ended, or forwards that fail on any input.

Knows neither HTTP nor the engine. A thread cannot be killed, so a fault is reported for the process to exit,
and every waiting request is answered.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import structlog

from serving.errors import EngineFailedError
from serving.scoring.batching import BatchingQueue

CHECK_INTERVAL_S = 0.25
FAILURES_PER_PROBE = 8
PROBE_ATTEMPTS = 3
PROBE_DELAY_S = 0.25  # a shortage of memory may be temporary
log = structlog.get_logger()


class Supervisor:
    """Watches the queue of each step, and tells a broken model from bad requests by probing it.

    A context, entered while the queues are served. `fault` is the first fault as one line, None until then.
    """

    def __init__(
        self,
        queues: Mapping[str, BatchingQueue[Any, Any]],
        probe: Callable[[], Awaitable[Any]],
        forward_timeout_s: float,
        on_fault: Callable[[str], None] = lambda _: None,
        check_interval_s: float = CHECK_INTERVAL_S,
        probe_delay_s: float = PROBE_DELAY_S,
    ) -> None:
        """`probe` runs every step once and raises what they raise; `on_fault` is called with the fault."""
        self.fault: str | None = None
        self._queues = queues
        self._probe = probe
        self._forward_timeout_s = forward_timeout_s
        self._on_fault = on_fault
        self._check_interval_s = check_interval_s
        self._probe_delay_s = probe_delay_s
        # Checks are counted, not seconds: after a suspension, forwards must not look hung.
        self._max_checks = math.ceil(forward_timeout_s / check_interval_s)
        self._seen: dict[str, tuple[int, int]] = {}
        self._failures = 0
        self._watching: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        self._watching.add_done_callback(self._on_end)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._watching, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def report_failure(self) -> None:
        """Count a failed forward; every eighth starts a probe."""
        self._failures += 1
        is_probing = self._probing is not None and not self._probing.done()
        if self._failures % FAILURES_PER_PROBE == 0 and not is_probing:
            self._probing = asyncio.create_task(self._probe_model())

    def check(self) -> str | None:
        """Look at every queue once; one line about a forward that hangs or a queue that has ended."""
        for step, queue in self._queues.items():
            if not queue.is_served:
                return f"the queue of the {step} step has ended; see the log"
            number = queue.running
            if number is None:
                self._seen.pop(step, None)
                continue
            last, checks = self._seen.get(step, (number, 0))
            checks = checks + 1 if last == number else 0
            self._seen[step] = (number, checks)
            if checks > self._max_checks:
                return (
                    f"a forward of the {step} step did not finish within {self._forward_timeout_s:g} s "
                    "(MILES_FORWARD_TIMEOUT_S)"
                )
        return None

    async def _watch(self) -> None:
        fault = None
        while fault is None:
            await asyncio.sleep(self._check_interval_s)
            fault = self.check()
        self._report(fault)
        for queue in self._queues.values():
            queue.fail(EngineFailedError("The model has stopped responding. Retry in a few seconds."))

    def _on_end(self, watching: "asyncio.Task[None]") -> None:
        """Without supervision a broken model would go unnoticed."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            self._report(f"supervision has ended: {error!r}")

    async def _probe_model(self) -> None:
        last: Exception | None = None
        for _ in range(PROBE_ATTEMPTS):
            try:
                await self._probe()
            except Exception as exc:
                last = exc
                await asyncio.sleep(self._probe_delay_s)
            else:
                log.warning("probe_succeeded", failures=self._failures)
                return
        self._report(f"the model fails on every input: {type(last).__name__}: {last}")

    def _report(self, fault: str) -> None:
        if self.fault is None:
            self.fault = fault
            self._on_fault(fault)
