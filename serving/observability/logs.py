"""Logging through structlog, never with a user's text, a full URL or a client's address.

Lines are written by a thread: a pipe that is not read must not stop the service. What does not fit into the
thread's queue is dropped and counted.
"""

import atexit
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

import structlog

MAX_LINES = 4096  # queued; about 1 MB
DRAIN_S = 1.0
STDERR = 2
# Shown on a terminal in place of an event's name and the values in it.
SENTENCES = {
    "listening": "Listening on {url}, loading the model",
    "compiling": "Compiling {checkpoint} for this processor, once; this takes minutes",
    "ready": "Miles is ready: {url} ({model}, {precision})",
    "request": "{method} {route} {status} in {seconds:.3f} s",
}
ONLY_FOR_MACHINES = {"model_loaded"}


class Lines:
    """Writes lines to standard error without making callers wait; `dropped` counts the lost lines."""

    def __init__(self) -> None:
        self.dropped = 0
        self._queue: queue.Queue[str] = queue.Queue(MAX_LINES)
        self._thread: threading.Thread | None = None

    def write(self, line: str) -> None:
        """Queue a line."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.drain)
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def drain(self) -> None:
        """Wait for the queued lines to be written, for `DRAIN_S` at most."""
        with self._queue.all_tasks_done:
            self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, DRAIN_S)

    def _run(self) -> None:
        while True:
            rest = f"{self._queue.get()}\n".encode(errors="backslashreplace")
            try:
                while rest:
                    rest = rest[os.write(STDERR, rest) :]
            except OSError:  # closed, or the disk is full
                self.dropped += 1
            self._queue.task_done()


LINES = Lines()


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            LINES.write(self.format(record))
        except Exception:  # as every handler of the standard library does
            self.handleError(record)


def as_sentence(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event as a sentence if it has one, and its level if it is not `info`.

    Raises `structlog.DropEvent` for events that are only for machines.
    """
    name = event["event"]
    if name in ONLY_FOR_MACHINES:
        raise structlog.DropEvent
    if name in SENTENCES:
        event = {"event": SENTENCES[name].format_map(event), "timestamp": event["timestamp"]}
    return {key: value for key, value in event.items() if (key, value) != ("level", "info")}


def configure_logging(log_format: Literal["auto", "json", "console"], level: str) -> None:
    """Route structlog and the standard library's loggers through one renderer, to standard error.

    `auto` is short coloured lines on a terminal and JSON elsewhere; NO_COLOR turns the colours off.
    """
    is_terminal = sys.stderr.isatty()
    has_colors = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    is_json = log_format == "json" or (log_format == "auto" and not is_terminal)
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso" if is_json else "%H:%M:%S", utc=is_json),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if is_json:
        last += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # ours report the start and the stop
        last += [as_sentence, structlog.dev.ConsoleRenderer(colors=has_colors, pad_event_to=0)]
    handler = _LineHandler()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
