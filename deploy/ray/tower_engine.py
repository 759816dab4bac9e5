"""The engine of a service whose towers are elsewhere: it asks them for vectors, and fuses here. Knows no Ray.

Each question carries the fingerprint of this service's model, and a tower of another model refuses it: while
a checkpoint is rolled out no score is made of two models' vectors.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import structlog

from deploy.ray.tower import Step
from model.compiled.bundle import Bundle
from model.compiled.engine import OpenVinoEngine
from model.engine import Pixels, TokenIds, Vectors
from serving.errors import NotReadyError, OverloadedError
from serving.scoring.model import fingerprint_of

# A video costs an ingress a fraction of what it costs the towers: so many questions keep several busy.
AT_ONCE = 8
START_LIMIT_S = 120.0  # for towers that start beside this service, or are being replaced
REFUSED_LIMIT_S = 1.0  # for another replica to be found that serves this model
PAUSE_S = 0.05
RETRY_AFTER_S = 2
log = structlog.get_logger()


class TowerLostError(Exception):
    """The replica that was asked has ended, and took the question with it."""


class TowerFullError(Exception):
    """As many questions wait for the tower as may."""


class Ask(Protocol):
    """How a tower is asked."""

    def __call__(self, fingerprint: str, items: Any, timeout_s: float) -> Vectors | None:
        """What `Tower.encode` answers. Raises the errors above, `TimeoutError`, or what a forward raised."""


class TowersEngine:
    """Towers behind `ask`; fusion, and what is known of the model, here."""

    concurrent = True
    at_once = AT_ONCE

    def __init__(self, bundle: Bundle, threads: int, ask: Mapping[Step, Ask], limit_s: float) -> None:
        """`limit_s` is how long one question may take, a second try included."""
        fusion = OpenVinoEngine(bundle, threads, ("fusion",))
        fusion.warm_up()
        self.name, self.device, self.threads = fusion.name, fusion.device, fusion.threads
        self.precision: str = fusion.precision
        self.neutral_image: Vectors = fusion.neutral_image
        self.score = fusion.score
        self._vision = bundle.card.config.vision
        self._fingerprint = fingerprint_of(bundle.card, fusion, bundle.report)
        self._ask = ask
        self._limit_s = limit_s

    def wait(self, limit_s: float = START_LIMIT_S) -> None:
        """Return once both towers answer for this model; raises `NotReadyError` when they never do."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                self.encode_text([[0]], [[0]])
                if self._vision:
                    self.encode_image(
                        np.zeros((1, self._vision.height, self._vision.width, 3), dtype=np.uint8)
                    )
            except (NotReadyError, OverloadedError) as exc:
                if time.monotonic() > deadline:
                    raise
                log.info("waiting_for_towers", detail=str(exc))
                time.sleep(PAUSE_S)
            else:
                return

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences to (B, text_dim). Raises `MilesError`, or what a forward raised."""
        return self._encode("text", list(zip(input_ids, token_type_ids, strict=True)))

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim); the same."""
        if self._vision is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        return self._encode("image", pixels)

    def _encode(self, step: Step, items: Any) -> Vectors:
        began = time.monotonic()
        lost = 0
        while True:
            left_s = self._limit_s - (time.monotonic() - began)
            try:
                vectors = self._ask[step](self._fingerprint, items, max(left_s, PAUSE_S))
            except TowerLostError as exc:
                lost += 1
                if lost > 1:
                    raise NotReadyError(f"The {step} tower ended twice. Ask again in a few seconds.") from exc
                log.warning("tower_lost", step=step, detail=str(exc))
                continue
            except TowerFullError as exc:
                raise OverloadedError(f"The {step} tower is full.", RETRY_AFTER_S) from exc
            except TimeoutError as exc:
                sentence = f"The {step} tower has not answered within {self._limit_s:g} s."
                raise OverloadedError(sentence, RETRY_AFTER_S) from exc
            if vectors is not None:
                return vectors
            if time.monotonic() - began > REFUSED_LIMIT_S:
                raise NotReadyError(
                    f"The {step} tower serves another checkpoint. Ask again in a few seconds."
                )
            time.sleep(PAUSE_S)
