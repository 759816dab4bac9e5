"""The service on an engine that fails on cue: `python -m tests.support.faulty_service` for `python app.py`.

The cue is a text with a certain number of tokens, so a test causes a fault by a request, as a client would.
"""

import sys
import time
from typing import Any

import numpy as np

from app import create_app
from model.compiled.engine import OpenVinoEngine
from serving.process.server import run

SENSIBLE = OpenVinoEngine.encode_text
NOT_A_NUMBER, HANG, RAISE, EXIT, BREAK = 101, 102, 103, 104, 105
broken: list[str] = []


def cue(tokens: int) -> str:
    """A title of `tokens` tokens, including [CLS] and [SEP]."""
    return "a " * (tokens - 2)


def encode_text(engine: OpenVinoEngine, input_ids: Any, token_type_ids: Any) -> Any:
    """The text tower, unless one of the texts is a cue."""
    lengths = [len(ids) for ids in input_ids]
    if HANG in lengths:
        time.sleep(3600)
    if BREAK in lengths:
        broken.append("for good")
    if RAISE in lengths or broken:
        raise MemoryError("on cue")
    if EXIT in lengths:
        raise SystemExit(9)
    vectors = np.array(SENSIBLE(engine, input_ids, token_type_ids))
    vectors[[length == NOT_A_NUMBER for length in lengths]] = np.nan
    return vectors


if __name__ == "__main__":
    OpenVinoEngine.encode_text = encode_text  # type: ignore[method-assign]
    sys.exit(run(create_app))
