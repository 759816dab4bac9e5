"""An engine whose towers run elsewhere: it asks them for vectors and runs the fusion here. Does not use Ray.

Each call carries the fingerprint of this service's model, and a tower of another model refuses it: during the
rollout of a checkpoint no score mixes the vectors of two models.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import structlog

from model.compiled.bundle import Bundle
from model.compiled.engine import OpenVinoEngine
from model.engine import Pixels, TokenIds, Vectors
from serving.errors import NotReadyError, OverloadedError
from serving.scoring.model import fingerprint_of
from serving.scoring.towers import TowerName

# A video costs an ingress a fraction of what it costs the towers: this many batches keep several towers busy.
BATCHES_AT_ONCE = 8
START_TIMEOUT_S = 120.0  # for towers that are starting or being replaced
# To find a replica that serves this model. Tries are counted, not seconds: the machine may be busy.
MISMATCH_TRIES = 20
RETRY_DELAY_S = 0.05
RETRY_AFTER_S = 2
log = structlog.get_logger()


class TowerLostError(Exception):
    """The replica ended during the call."""


class TowerFullError(Exception):
    """The tower's queue is full."""


class CallTower(Protocol):
    """Calls one tower."""

    def __call__(self, fingerprint: str, items: Any, timeout_s: float) -> Vectors | None:
        """What `TowerServer.encode` returns.

        Raises `TowerLostError`, `TowerFullError`, `TimeoutError`, or what a forward raised.
        """


class TowersEngine:
    """Towers through `towers`; the fusion here."""

    concurrent = True
    scores_inline = OpenVinoEngine.scores_inline
    picture_batches = OpenVinoEngine.picture_batches
    at_once = BATCHES_AT_ONCE

    def __init__(
        self, bundle: Bundle, threads: int, towers: Mapping[TowerName, CallTower], timeout_s: float
    ) -> None:
        """`timeout_s` is for one batch, retries included."""
        fusion = OpenVinoEngine(bundle, threads, ("fusion",))
        fusion.warm_up()
        self.name, self.device, self.threads = fusion.name, fusion.device, fusion.threads
        self.precision: str = fusion.precision
        self.neutral_image: Vectors = fusion.neutral_image
        self.mean_text, self.text_width = fusion.mean_text, fusion.text_width
        self.score = fusion.score
        self._text, self._vision = bundle.card.config.text, bundle.card.config.vision
        self._fingerprint = fingerprint_of(bundle.card, fusion, bundle.report)
        self._towers = towers
        self._timeout_s = timeout_s

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when both towers serve this model; raises the last `NotReadyError` or `OverloadedError`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if self._text:
                    self.encode_text([[0]], [[0]])
                if self._vision:
                    pixels = np.zeros((1, self._vision.height, self._vision.width, 3), dtype=np.uint8)
                    self.encode_image(pixels)
            except (NotReadyError, OverloadedError) as exc:
                if time.monotonic() > deadline:
                    raise
                log.info("waiting_for_towers", detail=str(exc))
                time.sleep(RETRY_DELAY_S)
            else:
                return

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences to (B, width). Raises `MilesError`, or what a forward raised."""
        if self._text is None:
            return np.zeros((len(input_ids), 0), dtype=np.float32)
        return self._encode("text", list(zip(input_ids, token_type_ids, strict=True)))

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, width); raises the same errors."""
        if self._vision is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        return self._encode("image", pixels)

    def _encode(self, name: TowerName, items: Any) -> Vectors:
        started = time.monotonic()
        lost = mismatches = 0
        while True:
            left_s = self._timeout_s - (time.monotonic() - started)
            try:
                vectors = self._towers[name](self._fingerprint, items, max(left_s, RETRY_DELAY_S))
            except TowerLostError as exc:
                lost += 1
                if lost > 1:
                    raise NotReadyError(f"The {name} tower ended twice. Retry in a few seconds.") from exc
                log.warning("tower_lost", step=name, detail=str(exc))
                continue
            except TowerFullError as exc:
                raise _overloaded(f"The {name} tower is at capacity.") from exc
            except TimeoutError as exc:
                raise _overloaded(f"The {name} tower did not respond in {self._timeout_s:g} s.") from exc
            if vectors is not None:
                return vectors
            mismatches += 1
            if mismatches == MISMATCH_TRIES:
                raise NotReadyError(f"The {name} tower serves another checkpoint. Retry in a few seconds.")
            time.sleep(RETRY_DELAY_S)


def _overloaded(line: str) -> OverloadedError:
    return OverloadedError(f"{line} Retry in {RETRY_AFTER_S} s.", RETRY_AFTER_S)
