"""Golden answers: a few requests, their tensors, and the reference engine's scores.

A service with the checkpoint must compute the same tensors and, within tolerance, the same scores.
"""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from features import FeatureScaler, Video, compute_features
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from preprocessing.image import ImageReading, ImageSpec
from preprocessing.pixels import decode_image
from training.embeddings.text import tokenizer_for

WIDTH, HEIGHT = 64, 48
OBSERVED = "2018-05-01T06:00:00+00:00"
_LONG = "Everything we know about the finale, explained scene by scene: every hidden clue, every call-back"


Counts = tuple[int | None, int | None, int | None]


def _request(title: str, counts: Counts, published: str | None, **more: Any) -> dict[str, Any]:
    views, likes, comments = counts
    return {
        "title": title,
        "description": "",
        "view_count": views,
        "like_count": likes,
        "comment_count": comments,
        "duration_seconds": 30.0,
        "published_at": published,
        "observed_at": OBSERVED,
        "previous_view_count": None,
        "previous_observed_at": None,
        "image_base64": None,
        **more,
    }


def golden_requests() -> list[dict[str, Any]]:
    """Plain values: young, old, huge and unseen videos; with a past, an image, no counts, long text."""
    return [
        _request(
            "I tried 5 viral pasta hacks!",
            (412_000, 31_000, 2_400),
            "2018-04-30T12:00:00+00:00",
            previous_view_count=305_000,
            previous_observed_at="2018-04-30T21:00:00+00:00",
        ),
        _request("How do planes stay up?", (15_200, None, 44), "2018-04-21T09:30:00+00:00"),
        _request(
            "Official Trailer | In Theaters July 6 (HD)",
            (9_800_000, 402_000, 38_000),
            "2018-04-29T15:00:00+00:00",
            image_base64=generated_png(seed=1),
        ),
        _request("morning routine", (0, 0, 0), None, duration_seconds=12.5),
        _request("wait for the end", (None, None, None), None, duration_seconds=None),
        _request(
            f"{_LONG} and why it matters. " * 4,
            (88_000, 5_100, 930),
            "2018-04-27T20:15:00+00:00",
            description="Chapters below. New video every week.",
            image_base64=generated_png(seed=2),
        ),
        _request("【MV】夏の終わり 🎆 여름의 끝?", (1_250_000, 98_000, 12_500), None, duration_seconds=245.0),
    ]


def generated_png(seed: int) -> str:
    """A small colour gradient with noise, as PNG in base64."""
    noise = np.random.default_rng(seed).integers(0, 48, (HEIGHT, WIDTH, 3))
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    gradient = np.stack([rows * 4, columns * 3, (rows + columns) * (seed % 2 + 1) % 200], axis=-1)
    encoded = io.BytesIO()
    Image.fromarray((gradient + noise).clip(0, 255).astype(np.uint8)).save(encoded, format="PNG")
    return base64.b64encode(encoded.getvalue()).decode()


def golden_answers(engine: Engine, checkpoint: Checkpoint) -> dict[str, Any]:
    """The checkpoint's `golden`: requests, their tensors and their scores, all plain values."""
    card, requests = checkpoint.card, golden_requests()
    videos = [Video.from_plain(request) for request in requests]
    texts = [tokenizer_for(checkpoint).encode(video.title, video.description) for video in videos]
    scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    scalars = scaler.transform(compute_features(videos, card.scalar_features))
    ids, types = [text.input_ids for text in texts], [text.token_type_ids for text in texts]
    images = np.stack([_image(engine, checkpoint, request["image_base64"]) for request in requests])
    scores = engine.score(engine.encode_text(ids, types), images, scalars)
    return {
        "requests": requests,
        "input_ids": [list(row) for row in ids],
        "token_type_ids": [list(row) for row in types],
        "scalars": scalars.tolist(),
        "viral_score": scores.viral.tolist(),
        "predicted_velocity": scores.velocity.tolist(),
    }


def _image(engine: Engine, checkpoint: Checkpoint, encoded: str | None) -> Vectors:
    vision = checkpoint.card.config.vision
    if encoded is None or vision is None:
        return engine.neutral_image
    reading = ImageReading(**checkpoint.card.image.model_dump())
    pixels = decode_image(base64.b64decode(encoded), ImageSpec(vision.height, vision.width, reading))
    vector: Vectors = engine.encode_image(pixels[None])[0]
    return vector
