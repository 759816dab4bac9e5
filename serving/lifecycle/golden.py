"""Reproduces a checkpoint's golden answers before the service reports itself ready.

A checkpoint has a few requests with their token ids, scalars and the scores that its trainer computed. If the
tokenizer, features, image decoding and network give the same here, this machine scores as the trainer did.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from features import Video, compute_features
from model.checkpoint.file import CheckpointError
from preprocessing.pixels import decode_image
from serving.scoring.model import LoadedModel

SCALAR_TOLERANCE = 1e-5
# float32 results depend on the order of additions; a wrong feature moves a score far more. Lower precisions
# may deviate as far as the fidelity gate allows.
SCORE_TOLERANCE = {"f32": 1e-3, "lower": 0.02}
VELOCITY_TOLERANCE = {"f32": 1e-2, "lower": 0.05}  # absolute and relative


def check_golden_answers(model: LoadedModel) -> int:
    """Reproduce every golden answer of the checkpoint; returns how many it has.

    Raises `CheckpointError` naming the first request that differs, with both values.
    """
    golden = model.card.golden
    requests: Sequence[Mapping[str, Any]] = golden.get("requests", ())
    for index, request in enumerate(requests):
        try:
            for name, values, absolute, relative in _answers(model, request):
                here = np.asarray(values, dtype=np.float64)
                trained = np.asarray(golden[name][index], dtype=np.float64)
                tolerance = absolute + relative * np.abs(trained)
                if here.shape != trained.shape or not np.all(np.abs(here - trained) <= tolerance):
                    raise CheckpointError(
                        f"{model.card.name}: golden answer {index} differs in {name}: {_short(here)} here, "
                        f"{_short(trained)} in training. This version scores differently from its trainer; "
                        "run the release named in its provenance, or train it again."
                    )
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise CheckpointError(
                f"{model.card.name}: golden answer {index} cannot be read ({exc!r}). Train it again."
            ) from exc
    return len(requests)


def _answers(model: LoadedModel, request: Mapping[str, Any]) -> Iterator[tuple[str, Any, float, float]]:
    """What this machine computes, by name, with absolute and relative tolerance."""
    video, engine = Video.from_plain(request), model.engine
    tokens = model.tokenizer.encode(video.title, video.description)
    scalars = model.scaler.transform(compute_features([video], model.scaler.feature_names_in_))
    image = engine.neutral_image[np.newaxis]
    if request.get("image_base64") is not None and model.image_spec is not None:
        pixels = decode_image(base64.b64decode(request["image_base64"]), model.image_spec)
        image = engine.encode_image(pixels[np.newaxis])
    scores = engine.score(engine.encode_text([tokens.input_ids], [tokens.token_type_ids]), image, scalars)
    is_lower = not {"int8", "bf16"}.isdisjoint(engine.precision.replace(",", "").split())
    exactness = "lower" if is_lower else "f32"
    velocity_tolerance = VELOCITY_TOLERANCE[exactness]
    yield "input_ids", tokens.input_ids, 0, 0
    yield "scalars", scalars[0], SCALAR_TOLERANCE, 0
    yield "viral_score", scores.viral[0], SCORE_TOLERANCE[exactness], 0
    yield "predicted_velocity", scores.velocity[0], velocity_tolerance, velocity_tolerance


def _short(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    flat = values.ravel()
    return ", ".join(f"{value:.6g}" for value in flat[:4]) + (", ..." if flat.size > 4 else "")
