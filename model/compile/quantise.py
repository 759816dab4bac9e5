"""Post-training quantisation of a tower to int8 with NNCF.

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

from model.compile.calibration_set import CalibrationInputs, Texts
from model.compiled.packing import packed_rows
from model.engine import Pixels

# How much of the activations' range moves into the weights, chosen on a trained encoder (MiniLM): of its
# vectors' variance over real titles 0.8 loses 0.006, 0.65 loses 0.009, 0.5 loses 0.02.
SMOOTHING = 0.8


class QuantiserMissingError(Exception):
    """NNCF is not installed; the message says how to install it."""


def quantise(tower: str, graph: Path, inputs: CalibrationInputs, target: Path) -> None:
    """Write the int8 graph of `tower` to `target`. Raises `QuantiserMissingError`."""
    with without_telemetry():
        _quantise(tower, graph, inputs, target)


def _quantise(tower: str, graph: Path, inputs: CalibrationInputs, target: Path) -> None:
    try:
        import nncf  # lazily: see the module's docstring
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as exc:
        raise QuantiserMissingError(
            "nncf is not installed; install requirements.txt to compile to int8"
        ) from exc
    options: dict[str, Any] = {"preset": nncf.QuantizationPreset.PERFORMANCE}
    samples: list[Any] = list(_images(inputs.known_images))
    if tower == "text":
        # Softmax, layer norm and GELU stay in float, and activations are smoothed into the weights.
        # Activations of a trained BERT are off centre, which asymmetric ranges (MIXED) represent better.
        smooth = nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
        # The widest range of any text: NNCF's default is the mean over texts, which clips half of them.
        # Over real titles the seeded random BERT lost 0.018 of its variance with it, 0.0075 with this, and
        # 0.003 with this and random words from the whole vocabulary.
        widest = RangeEstimatorParametersSet.MINMAX
        options = {
            "preset": nncf.QuantizationPreset.MIXED,
            "model_type": nncf.ModelType.TRANSFORMER,
            "advanced_parameters": nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=smooth, activations_range_estimator_params=widest
            ),
            # It runs once per text, so float costs nothing, and no later layer averages its error out.
            "ignored_scope": nncf.IgnoredScope(patterns=[".*pooler.*"], validate=False),
        }
        samples = [*_texts(inputs.known_texts), *_texts(inputs.drawn_texts)]
    exact = ov.Core().read_model(graph)
    nncf.set_log_level(logging.ERROR)  # it logs every step; the compiler's table has the results
    with redirect_stdout(io.StringIO()):  # its progress bars
        quantised = nncf.quantize(exact, nncf.Dataset(samples), subset_size=len(samples), **options)
    _keep_tables(quantised, ov.Core().read_model(graph))
    ov.save_model(quantised, target, compress_to_fp16=False)


def _keep_tables(quantised: ov.Model, exact: ov.Model) -> None:
    """Give every embedding table its exact values back, in float16.

    OpenVINO expands an int8 table to float32 when it is loaded; a float16 table is read in place. Rows are
    looked up, not multiplied, so int8 saves no time here.
    """
    tables = {node.get_friendly_name(): node for node in _lookups(exact)}
    for node in _lookups(quantised):
        source = tables[node.get_friendly_name()].input_value(0).get_node()
        if source.get_type_name() == "Constant":
            rows = opset.convert(opset.constant(source.get_data().astype(np.float16)), "f32")
            node.input(0).replace_source_output(rows.output(0))
    quantised.validate_nodes_and_infer_types()


def _lookups(graph: ov.Model) -> Iterator[ov.Node]:
    """The lookups of BERT's embeddings: by token, token type and position."""
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "Gather" and "embeddings/aten::embedding" in node.get_friendly_name():
            yield node


def _texts(texts: Texts) -> Iterator[dict[str, Any]]:
    """One text at a time, unpadded: activations of padding would only widen the ranges."""
    for ids, types in zip(texts.input_ids, texts.token_type_ids, strict=True):
        yield packed_rows([ids], [types], [[0]], tokens=len(ids), texts=1)


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
