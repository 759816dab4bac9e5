"""What became of a picture, in a word, in a pool of decoders or in a service."""

import json
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageError
from tests.hostile.judging import kind_of


async def outcome(decoders: DecodePool, file: bytes) -> str | NDArray[np.uint8]:
    """Pixels, or the word that a client sees."""
    try:
        return (await decoders.decode(file)).pixels
    except ImageError as exc:
        return kind_of(exc)


def word_for(entry: dict[str, object]) -> str:
    """`used`, the reason, or the whole entry where it has neither, such as an error."""
    match entry:
        case {"modalities": {"image": {"state": "used"}}}:
            return "used"
        case {"modalities": {"image": {"reason": str(reason)}}}:
            return reason
    return json.dumps(entry)


def told(seen: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in seen.most_common())
