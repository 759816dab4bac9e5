"""Post-training quantisation of a tower to int8 with NNCF.

Static: activations get fixed ranges, calibrated beforehand; the only kind for images. A text tower's
activations differ widely between tokens: in a trained tower, a few are thirty times as large as the rest. So
a text tower also has dynamic int8, where only weights are int8 in the graph, and each group of a token's
activations is rounded at run time (ZeroQuant, Yao et al. 2022, arXiv:2206.01861). Dynamic int8 takes half as
much time again. Of the variance of MiniLM's vectors, static int8 loses 0.008 and dynamic 0.0007.

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
from model.compiled.engine import packed_rows
from model.engine import Pixels

# How far the range of activations is moved into the weights (Xiao et al. 2022, arXiv:2211.10438).
SMOOTHING = 0.8
# Embedding rows are looked up, not multiplied, so int8 would save no time there. The pooler runs once per
# text, and no later layer averages its error out.
FLOATS = [".*embeddings.*", ".*pooler.*"]


class QuantiserMissingError(Exception):
    """NNCF is not installed; the message says how to install it."""


def quantise(tower: str, graph: Path, inputs: CalibrationInputs, target: Path, *, static: bool) -> None:
    """Write an int8 graph of `tower` to `target`. Raises `QuantiserMissingError`."""
    with without_telemetry():
        try:
            import nncf  # lazily: see the module's docstring
        except ImportError as exc:
            raise QuantiserMissingError(
                "nncf is not installed; install requirements.txt to compile to int8"
            ) from exc
        exact = ov.Core().read_model(graph)
        nncf.set_log_level(logging.ERROR)  # it logs every step; the compiler's table has the results
        with redirect_stdout(io.StringIO()):  # its progress bars
            if tower == "image":
                quantised = _static(exact, list(_images(inputs.known_images)))
            else:
                quantised = _static_text(exact, inputs.drawn_texts) if static else _dynamic_text(exact)
                _halve_tables(quantised)
        ov.save_model(quantised, target, compress_to_fp16=False)


def _static(exact: ov.Model, samples: list[Any], **options: Any) -> ov.Model:
    import nncf

    options = {"preset": nncf.QuantizationPreset.PERFORMANCE} | options
    return nncf.quantize(exact, nncf.Dataset(samples), subset_size=len(samples), **options)


def _static_text(exact: ov.Model, texts: Texts) -> ov.Model:
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    # One text at a time, unpadded: activations of padding would only widen the ranges.
    rows = zip(texts.input_ids, texts.token_type_ids, strict=True)
    samples = [packed_rows([ids], [types], [[0]], tokens=len(ids), texts=1) for ids, types in rows]
    return _static(
        exact,
        samples,
        # Activations of a trained BERT are off centre, which asymmetric ranges (MIXED) represent better.
        preset=nncf.QuantizationPreset.MIXED,
        # Softmax, layer norm and GELU stay in float.
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING),
            # The widest range of any text: NNCF's default is the mean over texts, which clips half of them.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
        ignored_scope=nncf.IgnoredScope(patterns=FLOATS, validate=False),
    )


def _dynamic_text(exact: ov.Model) -> ov.Model:
    import nncf

    # Attention passes each token's value to all others: keeping the values in float halves the lost variance
    # for a tenth more time.
    floats = nncf.IgnoredScope(patterns=[*FLOATS, ".*attention.self.value.*"], validate=False)
    return nncf.compress_weights(exact, mode=nncf.CompressWeightsMode.INT8_ASYM, ignored_scope=floats)


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
