"""What a good engineer writes in an afternoon: FastAPI, ONNX Runtime in int8, a pool of threads, httpx.

    python -m benchmarks.peers.afternoon export FOLDER       with torch; the benchmark's checkpoint
    python -m benchmarks.peers.afternoon quantise FOLDER     in build/bench-venv
    BENCH_ONNX=FOLDER python -m benchmarks.peers.afternoon serve PORT

Titles are not padded, downloads are awaited, and forwards run in threads of their own. The weights are
those of the checkpoint in int8 by ONNX Runtime's own recipe (dynamic for BERT, static for ResNet-50), whose
scores are close to the others' but not equal. Batches, caches and guards are left for another day.
"""

import asyncio
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness.contestants import CHECKPOINT, PEERS_PYTHON
from model.config import IMAGENET_MEAN, IMAGENET_STD

FOLDER = "BENCH_ONNX"
INPUTS = {
    "text": ("input_ids", "token_type_ids", "attention_mask"),
    "image": ("pixel_values",),
    "fusion": ("text", "image", "scalars"),
}
CALIBRATED = 16  # pictures
OPSET = 17


def export(folder: Path, checkpoint: Path = CHECKPOINT) -> None:
    """The three parts of a network as ONNX files."""
    import torch

    # The package onnx, and only what it needs and this environment lacks.
    sys.path += [str(packages) for packages in PEERS_PYTHON.parents[1].glob("lib/*/site-packages")]

    from model.checkpoint.store import read_checkpoint

    class Fusion(torch.nn.Module):
        def forward(self, text: Any, image: Any, scalars: Any) -> tuple[Any, Any]:
            return network.score(text, image, scalars)

    network = read_checkpoint(checkpoint).build_model().requires_grad_(False).eval()
    config = network.config
    assert config.vision is not None, "pictures are scored"
    tokens, mask = torch.ones(1, 8, dtype=torch.long), torch.ones(1, 8, dtype=torch.long)
    mask[:, -1] = 0  # without padding the encoder ignores the mask, and the export would have no input for it
    parts: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "text": (network.text_encoder, (tokens, tokens, mask)),
        "image": (network.vision_encoder, (torch.zeros(1, 3, config.vision.height, config.vision.width),)),
        "fusion": (Fusion(), tuple(torch.zeros(1, width) for width in config.widths.values())),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (part, example) in parts.items():
        axes = {entry: {0: "batch"} | ({1: "tokens"} if name == "text" else {}) for entry in INPUTS[name]}
        torch.onnx.export(
            part, example, str(folder / f"{name}.onnx"), input_names=list(INPUTS[name]), dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip


def quantise(folder: Path) -> None:
    """Both towers in int8, beside the exported ones."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    from benchmarks.harness.thumbnail_host import Pictures

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no type information
        def __init__(self) -> None:
            pictures = Pictures()
            self._rows = iter(
                [{"pixel_values": pixels_of(pictures.body(n))[None]} for n in range(CALIBRATED)]
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._rows, None)

    text, image = folder / "text.onnx", folder / "image.onnx"
    quantize_dynamic(text, folder / "text.int8.onnx", weight_type=QuantType.QInt8)
    quantize_static(
        image, folder / "image.int8.onnx", Reader(), quant_format=QuantFormat.QDQ, per_channel=True
    )


def pixels_of(encoded: bytes) -> NDArray[np.float32]:
    """(3, 224, 224) normalised, as torchvision's transforms do it."""
    with Image.open(io.BytesIO(encoded)) as image:
        resized = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    scaled = np.asarray(resized, dtype=np.float32) / 255
    normalised = (scaled - np.array(IMAGENET_MEAN, np.float32)) / np.array(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def serve(port: int) -> None:
    """Serve on loopback until the process is stopped."""
    import uvicorn

    uvicorn.run(create_app(Path(os.environ[FOLDER])), port=port, log_level="warning")


def create_app(folder: Path) -> Any:
    """The app; both towers of a video run side by side."""
    import httpx
    import onnxruntime
    from fastapi import Body, FastAPI

    from benchmarks.peers.same_engine import BUNDLE, answer
    from features import FeatureScaler, Video, compute_features
    from model.compiled.bundle import read_bundle
    from preprocessing.text import BertTextTokenizer, TextSpec

    card = read_bundle(Path(os.environ[BUNDLE])).card
    scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    tokenizer = BertTextTokenizer.from_vocabulary(spec=TextSpec(card.text_fields, card.max_tokens))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # A pool that spins would take the cores from the event loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    files = {"text": "text.int8.onnx", "image": "image.int8.onnx", "fusion": "fusion.onnx"}
    sessions = {
        name: onnxruntime.InferenceSession(folder / file, options, providers=["CPUExecutionProvider"])
        for name, file in files.items()
    }
    app, threads, web = FastAPI(), ThreadPoolExecutor(4), httpx.AsyncClient(timeout=6)

    def text_vector(title: str, description: str) -> Any:
        tokens = tokenizer.encode(title, description)
        ids, types = np.array([tokens.input_ids]), np.array([tokens.token_type_ids])
        return sessions["text"].run(
            None, dict(zip(INPUTS["text"], (ids, types, np.ones_like(ids)), strict=True))
        )[0]

    def image_vector(encoded: bytes) -> Any:
        return sessions["image"].run(None, {"pixel_values": pixels_of(encoded)[None]})[0]

    async def image_of(url: str) -> Any:
        content = (await web.get(url)).content
        return await asyncio.get_running_loop().run_in_executor(threads, image_vector, content)

    @app.post("/predict")
    async def predict(request: dict[str, Any] = Body()) -> dict[str, float]:  # noqa: B008  FastAPI's own way
        loop = asyncio.get_running_loop()
        text = loop.run_in_executor(threads, text_vector, request["title"], request["description"])
        image = await image_of(request["thumbnail_url"])
        scalars = scaler.transform(compute_features([Video.from_plain(request)], card.scalar_features))
        inputs = dict(zip(INPUTS["fusion"], (await text, image, scalars.astype(np.float32)), strict=True))
        logits, velocity = sessions["fusion"].run(None, inputs)
        viral = 1 / (1 + np.exp(float(logits[0, 0] - logits[0, 1])))
        return answer(viral, float(velocity[0, 0]))

    return app


def main(arguments: list[str]) -> None:
    step, *rest = arguments
    if step == "export":
        export(*map(Path, rest))
    elif step == "quantise":
        quantise(Path(rest[0]))
    else:
        serve(int(rest[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
