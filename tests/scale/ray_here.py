"""Whether requirements/scale.txt is installed, and an environment that keeps Ray apart from any other Ray."""

import importlib.util
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

from tests.support.service import environment

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None and os.environ.get("CI") != "true",
    reason="needs Ray, which nothing else does: make scale-setup",
)


@contextmanager
def ray_environment(**settings: object) -> Iterator[dict[str, str]]:
    """Variables for Ray's processes and ours: a separate folder and token, the loopback interface."""
    with TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield {name: value for name, value in environment(**settings).items() if name != "RAY_ADDRESS"} | {
            "PYTHONPATH": ".",  # relative to where a command runs, as in the guide
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's name for: only the loopback interface
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            # A busy machine starts processes slowly; Ray would give up after 5 and 10 s.
            "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
            "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
        }
