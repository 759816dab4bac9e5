"""Post-training quantisation of a tower to int8 with NNCF.

The activations of the image tower get fixed ranges, calibrated on images. Those of a text tower differ too
much from token to token: a few are thirty times as large as the rest. So only its weights are int8 in the
graph, and each group of a token's activations is rounded when it runs (ZeroQuant, Yao et al. 2022,
arXiv:2206.01861). Fixed ranges lose 0.006 of the variance of MiniLM's vectors, this loses 0.0008.

NNCF is needed to make an int8 graph, never to run one; the serving environment does without it.
"""

import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset13 as opset

from model.compile.calibration_set import CalibrationInputs
from model.engine import Pixels


class QuantiserMissingError(Exception):
    """NNCF is not installed; the message says how to install it."""


def quantise(tower: str, graph: Path, inputs: CalibrationInputs, target: Path) -> None:
    """Write the int8 graph of `tower` to `target`. Raises `QuantiserMissingError`."""
    with without_telemetry():
        _quantise(tower, graph, inputs, target)


def _quantise(tower: str, graph: Path, inputs: CalibrationInputs, target: Path) -> None:
    try:
        import nncf  # lazily: see the module's docstring
    except ImportError as exc:
        raise QuantiserMissingError(
            "nncf is not installed; install requirements.txt to compile to int8"
        ) from exc
    exact = ov.Core().read_model(graph)
    nncf.set_log_level(logging.ERROR)  # it logs every step; the compiler's table has the results
    with redirect_stdout(io.StringIO()):  # its progress bars
        if tower == "text":
            # Embedding rows are looked up, not multiplied, so int8 would save no time there. The pooler runs
            # once per text, and no later layer averages its error out. Attention gives each token's value to
            # all others: without them in int8, half as much variance is lost for a tenth more time.
            patterns = [".*embeddings.*", ".*pooler.*", ".*attention.self.value.*"]
            floats = nncf.IgnoredScope(patterns=patterns, validate=False)
            mode = nncf.CompressWeightsMode.INT8_ASYM
            quantised = nncf.compress_weights(exact, mode=mode, ignored_scope=floats)
            _halve_tables(quantised)
        else:
            samples = list(_images(inputs.known_images))
            preset = nncf.QuantizationPreset.PERFORMANCE
            data = nncf.Dataset(samples)
            quantised = nncf.quantize(exact, data, preset=preset, subset_size=len(samples))
    ov.save_model(quantised, target, compress_to_fp16=False)


def _halve_tables(graph: ov.Model) -> None:
    """Store every embedding table in float16, which OpenVINO reads in place."""
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Gather" and "embeddings/aten::embedding" in node.get_friendly_name():
            source = node.input_value(0).get_node()
            if source.get_type_name() == "Constant":
                rows = opset.convert(opset.constant(source.get_data().astype(np.float16)), "f32")
                node.input(0).replace_source_output(rows.output(0))
    graph.validate_nodes_and_infer_types()


def _images(pixels: Pixels) -> Iterator[dict[str, Any]]:
    for index in range(len(pixels)):
        yield {"pixels": pixels[index : index + 1]}


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Keeps OpenVINO's converter and NNCF from sending usage events to their maker.

    Both send one per run, unless a user has opted out in a file in their home directory or `CI` is set.
    Running a graph reports nothing.
    """
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
