"""A Ray of this machine alone, and waiting for what it does in its own time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for: the loopback interface alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray

STORE_BYTES = 80 * 1024 * 1024
LIMIT_S = 120


@contextmanager
def local_ray(cores: int) -> Iterator[None]:
    """A node that believes in so many cores, for as long as this lasts."""
    ray.init(
        "local",
        include_dashboard=False,
        num_cpus=cores,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


def until(holds: Callable[[], bool], state: Callable[[], object] = lambda: "it never holds") -> None:
    """Return once it holds; fails with the `state` of things when it never does."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, state()
        time.sleep(0.1)
