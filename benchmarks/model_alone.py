"""Times each step of the network by itself, without HTTP, on the checkpoint that is served.

    python -m benchmarks.model_alone [--seconds 3]

The cost of a forward depends on shapes and not on values, so token ids are random and the lengths are those
of 5,634 US trending titles (median 13 tokens). BERT's time grows with the number of tokens, which is why
texts are not padded to 128 and why a batch is sorted by length. ResNet-50 costs the same for every image.
Both towers are frozen: a video that was scored before costs only the fusion.

Milliseconds differ between machines and hours; ratios to one video's full forward carry over better. Each row
is the median over at least `--seconds`. The last line of output is JSON.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.harness.workload import MEDIAN_TITLE, TITLE_TOKENS
from model.checkpoint.file import CheckpointError
from model.engine import Engine, TokenIds
from serving.lifecycle.loading import load_model
from serving.scoring.model import LoadedModel
from serving.settings import Settings

SEED = 20


def steps(loaded: LoadedModel, draw: np.random.Generator) -> dict[str, tuple[int, Callable[[], object]]]:
    """By row name: the number of videos in a call, and the call to time."""
    engine, spec = loaded.engine, loaded.image_spec
    vocabulary = loaded.tokenizer.vocabulary_size

    def text(lengths: Sequence[int]) -> Callable[[], object]:
        ids: TokenIds = [draw.integers(1000, vocabulary, length).tolist() for length in lengths]
        types = [[0] * len(row) for row in ids]
        return lambda: engine.encode_text(ids, types)

    longest = loaded.tokenizer.spec.max_tokens
    rows = {
        f"text, {MEDIAN_TITLE} tokens": (1, text([MEDIAN_TITLE])),
        f"text, {longest} tokens": (1, text([longest])),
        f"text, batch of {len(TITLE_TOKENS)} titles": (len(TITLE_TOKENS), text(TITLE_TOKENS)),
        "fusion": (1, fusion(engine, 1, loaded, draw)),
        "fusion, batch of 16": (16, fusion(engine, 16, loaded, draw)),
    }
    if spec is not None:
        one, eight = (draw.integers(0, 256, (n, spec.height, spec.width, 3), dtype=np.uint8) for n in (1, 8))
        rows["image"] = (1, lambda: engine.encode_image(one))
        rows["image, batch of 8"] = (8, lambda: engine.encode_image(eight))
    return rows


def fusion(
    engine: Engine, videos: int, loaded: LoadedModel, draw: np.random.Generator
) -> Callable[[], object]:
    """A call of the fusion on given tower outputs."""
    text = np.repeat(engine.encode_text([[101, 102]], [[0, 0]]), videos, axis=0)
    image = np.repeat(engine.neutral_image[None], videos, axis=0)
    scalars = draw.standard_normal((videos, len(loaded.card.scalar_features))).astype(np.float32)
    return lambda: engine.score(text, image, scalars)


def measure(videos: int, call: Callable[[], object], seconds: float) -> tuple[float, int]:
    """Warm up, then time calls for `seconds`, at least five: the median in ms a video, and the count."""
    for _ in range(3):
        call()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 5:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return 1000 * statistics.median(taken) / videos, len(taken)


def main(arguments: Sequence[str]) -> int:
    """Measure every step, with the MILES_ settings that the service reads."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each row")
    options = parser.parse_args(arguments)
    try:
        loaded = load_model(Settings())
    except CheckpointError as exc:
        print(exc, file=sys.stderr)
        return 1
    engine = loaded.engine
    print(f"{loaded.card.name}: {engine.name} {engine.precision} on {engine.device}, {platform.machine()}\n")
    draw = np.random.default_rng(SEED)
    rows = {name: measure(*step, options.seconds) for name, step in steps(loaded, draw).items()}
    # One new video with a median title: text, image and fusion in sequence.
    total = sum(rows[name][0] for name in (f"text, {MEDIAN_TITLE} tokens", "image", "fusion") if name in rows)
    print(f"{'step':28} {'ms a video':>10} {'of one video':>13} {'calls':>6}")
    for name, (each, calls) in rows.items():
        print(f"{name:28} {each:10.2f} {each / total:13.2f} {calls:6}")
    print(f"{'one new video':28} {total:10.2f} {1:13.2f}")
    figures = {name: round(each, 3) for name, (each, _) in rows.items()}
    found = {"engine": engine.name, "precision": engine.precision, "one_video_ms": round(total, 3)}
    print(json.dumps({"benchmark": "model_alone", **found, "ms_per_video": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
