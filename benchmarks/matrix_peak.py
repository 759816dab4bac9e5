"""The cores' peak rate: one large matrix product in float32 and in int8, with the engine's own library.

No network can run faster than its operations at this rate. Without int8 instructions both rates are about the
same.
"""

import time
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from benchmarks.harness.workload import MEDIAN_TITLE
from model.config import FusionConfig

SIZE = 2048
RESNET50_OPERATIONS = 2 * 4.09e9  # torchvision's count of multiply-adds for 224 x 224


def operations_per_video(config: FusionConfig, tokens: int = MEDIAN_TITLE) -> float:
    """Multiplications and additions for one video with a title of `tokens` tokens."""
    text = config.text
    assert text is not None, "a benchmark reads texts"
    weights = 4 * text.hidden_size**2 + 2 * text.hidden_size * text.intermediate_size
    attention = 2 * tokens * text.hidden_size  # scores, and their weighted sum
    bert = 2 * text.layers * tokens * (weights + attention)
    wide, narrow = config.hidden
    return bert + RESNET50_OPERATIONS + 2 * (config.fused_dim * wide + wide * narrow + 3 * narrow)


def peak(*, quantised: bool, threads: int, seconds: float = 1.0) -> float:
    """Operations per second of the fastest product within `seconds`."""
    configuration = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(_product(quantised), "CPU", configuration).create_infer_request()
    values = np.random.default_rng(0).uniform(-1, 1, (SIZE, SIZE)).astype(np.float32)
    fastest, ends = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < ends or fastest == float("inf"):
        started = time.perf_counter()
        request.infer([values], share_inputs=True)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * SIZE**3 / fastest


def _product(quantised: bool) -> ov.Model:
    """(SIZE, SIZE) times a constant; quantised as the compiled towers are."""
    draw = np.random.default_rng(1)
    left: Any = ops.parameter([SIZE, SIZE], np.float32)
    if not quantised:
        weights: Any = ops.constant(draw.uniform(-1, 1, (SIZE, SIZE)).astype(np.float32))
        return ov.Model([ops.matmul(left, weights, False, False)], [left])
    steps = ops.constant(draw.integers(-127, 128, (SIZE, SIZE), dtype=np.int8))
    weights = ops.multiply(ops.convert(steps, "f32"), np.float32(1 / 127))
    low, high = np.float32(-1), np.float32(1)
    rounded = ops.fake_quantize(left, low, high, low, high, 256)
    return ov.Model([ops.matmul(rounded, weights, False, False)], [left])
