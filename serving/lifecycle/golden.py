"""Known answers, reproduced before the service calls itself ready.

A checkpoint carries a few requests, the numbers that they became and the scores that its trainer saw. If
tokenizer, features, image decoding and network give the same here, this machine scores as the trainer did.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features import Video, compute_features
from model.checkpoint.file import CheckpointError
from preprocessing.image import decode_image
from serving.scoring.model import LoadedModel

SCALAR_TOLERANCE = 1e-5
# float32 in another order of additions; a wrong feature moves a score far more. The lower precisions are let
# as far as the fidelity gate lets them at most.
SCORE_TOLERANCE = {"f32": 1e-3, "lower": 0.02}
VELOCITY_TOLERANCE = {"f32": 1e-2, "lower": 0.05}  # relative


def check_golden_answers(model: LoadedModel) -> int:
    """Reproduce every golden answer of the checkpoint and return how many there were.

    Raises `CheckpointError` naming the first request that comes out differently, with both values.
    """
    golden = model.card.golden
    requests: Sequence[Mapping[str, Any]] = golden.get("requests", ())
    for index, request in enumerate(requests):
        try:
            _check_one(model, index, request, golden)
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise CheckpointError(
                f"{model.card.name}: golden answer {index} cannot be read ({exc!r}). Train it again."
            ) from exc
    return len(requests)


def _check_one(model: LoadedModel, index: int, request: Mapping[str, Any], golden: Mapping[str, Any]) -> None:
    video = Video.from_plain(request)
    tokens = model.tokenizer.encode(video.title, video.description)
    scalars = model.scaler.transform(compute_features([video], model.scaler.feature_names_in_))
    image = _image_vector(model, request.get("image_base64"))
    text = model.engine.encode_text([tokens.input_ids], [tokens.token_type_ids])
    scores = model.engine.score(text, image, scalars)
    _compare(model, index, "input_ids", list(tokens.input_ids), list(golden["input_ids"][index]), 0)
    _compare(model, index, "scalars", scalars[0], golden["scalars"][index], SCALAR_TOLERANCE)
    exactness = "lower" if {"int8", "bf16"} & set(model.engine.precision.replace(",", "").split()) else "f32"
    score_tolerance, velocity_tolerance = SCORE_TOLERANCE[exactness], VELOCITY_TOLERANCE[exactness]
    _compare(model, index, "viral_score", scores.viral[0], golden["viral_score"][index], score_tolerance)
    seen = golden["predicted_velocity"][index]
    _compare(
        model, index, "predicted_velocity", scores.velocity[0], seen, velocity_tolerance * (1 + abs(seen))
    )


def _compare(model: LoadedModel, index: int, what: str, here: Any, trained: Any, tolerance: float) -> None:
    ours, theirs = np.asarray(here, dtype=np.float64), np.asarray(trained, dtype=np.float64)
    if ours.shape != theirs.shape or not np.all(np.abs(ours - theirs) <= tolerance):
        raise CheckpointError(
            f"{model.card.name}: golden answer {index} differs in {what}: {_short(ours)} here, "
            f"{_short(theirs)} in training. This version does not score as its trainer did; run the release "
            "named in its provenance, or train it again."
        )


def _short(values: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    flat = values.ravel()
    return ", ".join(f"{value:.6g}" for value in flat[:4]) + (", ..." if flat.size > 4 else "")


def _image_vector(model: LoadedModel, encoded: str | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    if encoded is None or model.image_spec is None:
        return model.engine.neutral_image[np.newaxis]
    pixels = decode_image(base64.b64decode(encoded), model.image_spec)
    return model.engine.encode_image(pixels[np.newaxis])
