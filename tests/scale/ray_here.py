"""Whether requirements-scale.txt is installed, and a line that says how to get it."""

import importlib.util

import pytest

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray, which nothing else does: make scale-setup"
)
