"""The work that every peer does for a video, on Miles' own engine, so that only the serving differs.

Download, decode, tokenise, features, towers, fusion. `BENCH_BATCH` and `BENCH_WORKERS` are swept. Two
things are left out in the peers' favour: thumbnail hosts are not vetted, and the request's types are not
checked.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import urllib3
from numpy.typing import NDArray

from features import FeatureScaler, Video, compute_features
from model.compiled.bundle import read_bundle
from model.compiled.engine import OpenVinoEngine
from model.engine import Engine
from preprocessing.image import ImageReading, ImageSpec
from preprocessing.pixels import decode_image
from preprocessing.text import BertTextTokenizer, TextSpec, TokenizedText

BUNDLE = "BENCH_BUNDLE"
"""The variable that names the compiled bundle's directory."""
BATCH = int(os.environ.get("BENCH_BATCH", "8"))
"""The maximum number of videos in a batch."""
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
"""Processes with an engine each, which share the cores."""
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Prepared:
    """One video as the engine takes it."""

    text: TokenizedText
    pixels: NDArray[np.uint8]
    scalars: NDArray[np.float32]


class Scorer:
    """Prepares videos, from any thread, and scores them, from one thread at a time."""

    def __init__(
        self, engine: Engine, tokenizer: BertTextTokenizer, scaler: FeatureScaler, image: ImageSpec
    ) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._scaler = scaler
        self._image = image
        self._web = urllib3.PoolManager(maxsize=CONNECTIONS)

    @classmethod
    def from_environment(cls) -> Self:
        """The scorer over the bundle that BENCH_BUNDLE names, warmed up as Miles warms it up."""
        bundle = read_bundle(Path(os.environ[BUNDLE]))
        card = bundle.card
        assert card.config.vision is not None, "the benchmark's videos have thumbnails"
        engine = OpenVinoEngine(bundle, threads=max(len(os.sched_getaffinity(0)) // WORKERS, 1))
        engine.warm_up()
        return cls(
            engine,
            BertTextTokenizer.from_vocabulary(
                spec=TextSpec(card.text_fields, card.max_tokens, card.text_cleaning)
            ),
            FeatureScaler.from_stats(card.feature_stats, card.scalar_features),
            ImageSpec(
                card.config.vision.height, card.config.vision.width, ImageReading(**card.image.model_dump())
            ),
        )

    def fetch_and_prepare(self, request: Mapping[str, Any]) -> Prepared:
        """Everything before the network, the download first."""
        return self.prepare(request, self._web.request("GET", request["thumbnail_url"], timeout=6).data)

    def prepare(self, request: Mapping[str, Any], encoded: bytes) -> Prepared:
        """Decode, tokenise, features."""
        raw = compute_features([Video.from_plain(request)], self._scaler.feature_names_in_)  # (1, 18)
        return Prepared(
            text=self._tokenizer.encode(request["title"], request["description"]),
            pixels=decode_image(encoded, self._image),
            scalars=self._scaler.transform(raw)[0],
        )

    def score(self, videos: Sequence[Prepared]) -> list[dict[str, float]]:
        """The network over a batch."""
        text = self._engine.encode_text(
            [video.text.input_ids for video in videos], [video.text.token_type_ids for video in videos]
        )
        image = self._engine.encode_image(np.stack([video.pixels for video in videos]))
        scores = self._engine.score(text, image, np.stack([video.scalars for video in videos]))
        pairs = zip(scores.viral.tolist(), scores.velocity.tolist(), strict=True)
        return [answer(viral, velocity) for viral, velocity in pairs]


def answer(viral: float, velocity: float) -> dict[str, float]:
    """The three numbers that every server answers with."""
    return {
        "viral_score": round(viral, 6),
        "predicted_velocity": round(velocity, 2),
        "confidence": round(max(viral, 1 - viral), 6),
    }
