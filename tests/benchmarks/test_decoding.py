"""The benchmark of decoding: what it compares is the same, and what it prints holds every figure."""

import asyncio

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.decoding import compare, measure
from benchmarks.harness.thumbnail_host import SIZES


async def black(_body: bytes) -> NDArray[np.uint8]:
    """A decoder that sees nothing."""
    return np.zeros((2, 2, 3), dtype=np.uint8)


async def white(_body: bytes) -> NDArray[np.uint8]:
    """One that sees something else."""
    return np.full((2, 2, 3), 255, dtype=np.uint8)


def test_every_way_decodes_every_picture() -> None:
    """One time a picture and way."""
    seconds = asyncio.run(measure({"a": black, "b": black}, [b"", b"", b""]))
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_ways_that_see_different_pixels_are_not_compared() -> None:
    """A fast decoder of another picture is no decoder."""
    with pytest.raises(ValueError, match="a and b decode different pixels"):
        asyncio.run(measure({"a": black, "b": white}, [b""]))


def test_the_result_has_every_size_and_what_a_worker_keeps() -> None:
    """Threads and processes on real pictures; what is added is the difference of the medians."""
    result = asyncio.run(compare(len(SIZES)))
    assert result["worker_mb"] > 1
    for label in ("480x360", "1280x720", "all"):
        row = result[label]
        assert row["added"] == pytest.approx(row["processes"] - row["threads"], abs=0.002)
