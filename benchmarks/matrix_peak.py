"""The cores' peak rate: products of int8 matrices, and of float32 ones, with the engine's own library.

    python -m benchmarks.matrix_peak

No network can run faster than its operations at this rate. Several products follow each other with int8 at
both ends of each, so that neither conversions nor memory but the cores set the rate; the best of several
sizes counts, since one fits a core's cache and another keeps both cores busy. `instructions` names what
int8 products run on: AMX is up to eight times as fast as VNNI, so two machines with different ones have
different limits. Where a processor has AMX, VNNI is measured as well.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from benchmarks.harness.workload import MEDIAN_TITLE
from model.compiled.bundle import int8_instructions
from model.config import FusionConfig

SIZES = (384, 768, 1536)
PRODUCTS = 8
RESNET50_OPERATIONS = 2 * 4.09e9  # torchvision's count of multiply-adds for 224 x 224
VNNI_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}


def operations_per_video(config: FusionConfig, tokens: int = MEDIAN_TITLE) -> float:
    """Multiplications and additions for one video with a title of `tokens` tokens."""
    text = config.text
    assert text is not None, "the benchmark's videos have titles"
    weights = 4 * text.hidden_size**2 + 2 * text.hidden_size * text.intermediate_size
    attention = 2 * tokens * text.hidden_size  # scores, and their weighted sum
    bert = 2 * text.layers * tokens * (weights + attention)
    wide, narrow = config.hidden
    return bert + RESNET50_OPERATIONS + 2 * (config.fused_dim * wide + wide * narrow + 3 * narrow)


def peak(*, quantised: bool, threads: int, seconds: float = 1.0) -> float:
    """Operations per second of the fastest products of the best size within `seconds`."""
    return max(_rate(size, quantised, threads, seconds / len(SIZES)) for size in SIZES)


def _rate(size: int, quantised: bool, threads: int, seconds: float) -> float:
    configuration = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(_products(size, quantised), "CPU", configuration).create_infer_request()
    values = np.random.default_rng(0).integers(0, 256, (size, size)).astype(np.uint8)
    fastest, ends = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < ends or fastest == float("inf"):
        started = time.perf_counter()
        request.infer([values], share_inputs=True)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * PRODUCTS * size**3 / fastest


def _products(size: int, quantised: bool) -> ov.Model:
    """(size, size) uint8 times `PRODUCTS` constants in a row, to uint8; quantised as the towers are."""
    draw = np.random.default_rng(1)
    entry: Any = ops.parameter([size, size], np.uint8)
    value: Any = ops.convert(entry, "f32")
    high = np.float32(255)
    for _ in range(PRODUCTS):
        steps = draw.integers(-127, 128, (size, size), dtype=np.int8)
        if quantised:
            value = ops.fake_quantize(value, np.float32(0), high, np.float32(0), high, 256)
            weights: Any = ops.multiply(ops.convert(ops.constant(steps), "f32"), np.float32(1 / size))
        else:
            weights = ops.constant(steps.astype(np.float32) / size)
        value = ops.matmul(value, weights, False, False)
    last = ops.fake_quantize(value, np.float32(0), high, np.float32(0), high, 256)
    return ov.Model([ops.convert(last, "u8")], [entry])


def main() -> int:
    threads, instructions = len(os.sched_getaffinity(0)), int8_instructions()
    rates: dict[str, Any] = {
        "instructions": instructions,
        "f32_gops": peak(quantised=False, threads=threads) / 1e9,
        "int8_gops": peak(quantised=True, threads=threads) / 1e9,
    }
    if instructions == "AMX" and not VNNI_ONLY.items() <= os.environ.items():
        command = [sys.executable, "-m", "benchmarks.matrix_peak"]
        done = subprocess.run(command, env=os.environ | VNNI_ONLY, capture_output=True, check=True)  # noqa: S603  a list
        rates["int8_gops_vnni"] = json.loads(done.stdout)["int8_gops"]
    print(json.dumps(rates))
    return 0


if __name__ == "__main__":
    sys.exit(main())
