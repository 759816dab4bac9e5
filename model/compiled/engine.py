"""Runs a compiled bundle with OpenVINO: no torch, milliseconds a video.

OpenVINO prepares kernels for each new input shape, which costs more than a small forward. So rows of texts
have a few lengths and batches a few sizes, and those shapes are prepared before the first request.
"""

import ctypes
import mmap
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from model.compiled.bundle import TOWERS, Bundle, towers_of
from model.compiled.packing import ROW_TOKENS, at_least, packed_rows
from model.engine import Pixels, Scores, TokenIds, Vectors

BATCH_SIZES = (1, 2, 4, 8)
MAPS = Path("/proc/self/maps")


class OpenVinoEngine:
    """The serving engine. Each step may be called by a thread of its own, one call at a time per step."""

    name = "openvino"
    device = "cpu"
    at_once = 1

    def __init__(self, bundle: Bundle, threads: int, steps: Collection[str] = TOWERS) -> None:
        """Compile the graphs for this processor, to use `threads` threads in all.

        `steps` are those that will be called: no other's graph is read.
        """
        self._bundle = bundle
        self._velocity = bundle.card.velocity
        self._core = ov.Core()
        self.threads = threads
        steps = [step for step in towers_of(bundle.card) if step in steps]
        shares = threads_by_tower(threads, len(os.sched_getaffinity(0)), steps)
        self.concurrent = threads > 1
        self.precision = ", ".join(f"{tower} {name}" for tower, name in bundle.precision.items())
        self.neutral_image: Vectors = bundle.neutral_image
        self._requests = {step: self._compile(step, shares[step]) for step in steps}

    def warm_up(self) -> None:
        """Run every shape once; the kernels then have the weights in an order of their own."""
        warm_ups = {"text": self._warm_text, "image": self._warm_image, "fusion": self._warm_fusion}
        for step in self._requests:
            warm_ups[step]()
        release_mapped_pages(self._bundle.directory)

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text_dim)."""
        return run_texts(self._requests["text"], input_ids, token_type_ids)  # (B, 768)

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim); a model without an image tower gives (B, 0)."""
        if self._bundle.card.config.vision is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        return run(self._requests["image"], {"pixels": padded(pixels)})[0][: len(pixels)]  # (B, 2048)

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
        inputs = {"text": padded(text), "image": padded(image), "scalars": padded(scalars)}
        if self._bundle.card.config.vision is None:
            del inputs["image"]
        outputs = run(self._requests["fusion"], inputs)
        viral, target = (output[: len(text)].astype(np.float64) for output in outputs)
        return Scores(viral=viral, velocity=self._velocity.invert(target))

    def _compile(self, step: str, threads: int) -> ov.InferRequest:
        return compile_graph(self._core, self._bundle.graph(step), self._bundle.precision[step], threads)

    def _warm_text(self) -> None:
        longest = self._bundle.card.max_tokens
        for tokens in ROW_TOKENS:
            texts = [[0] * min(longest, tokens - start) for start in range(0, tokens, longest)]
            self.encode_text(texts, texts)
        for size in BATCH_SIZES:
            self.encode_text([[0]] * size, [[0]] * size)

    def _warm_image(self) -> None:
        vision = self._bundle.card.config.vision
        assert vision is not None, "a model without an image tower has no such graph"
        for size in BATCH_SIZES:
            self.encode_image(np.zeros((size, vision.height, vision.width, 3), dtype=np.uint8))

    def _warm_fusion(self) -> None:
        config = self._bundle.card.config
        for size in BATCH_SIZES:
            text = np.zeros((size, config.text.output_dim), dtype=np.float32)
            image = np.repeat(self.neutral_image[None], size, axis=0)
            self.score(text, image, np.zeros((size, config.scalars), dtype=np.float32))


def threads_by_tower(threads: int, processors: int, steps: Sequence[str] = TOWERS) -> dict[str, int]:
    """How many threads each graph's forward may use when those of `steps` together may use `threads`.

    OpenVINO has as many threads as this process sees processors, whatever is compiled. If all of those may be
    used, graphs that run at once share them: a forward that finds the other core taken does with its own.
    Under a quota there are more threads than time for them, so that each graph gets its part.
    """
    if threads >= processors or threads == 1 or len(steps) == 1:
        return dict.fromkeys(steps, threads)
    text = max(threads // 2, 1)
    shares = {"text": text, "image": threads - text, "fusion": 1}
    return {step: shares[step] for step in steps}


def compile_graph(core: ov.Core, graph: Path, precision: str, threads: int) -> ov.InferRequest:
    """Compile a tower as it is served: one stream of `threads` threads, int8, bf16 or f32."""
    configuration = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned, two towers that run at once are pinned to the same core, and neither makes way for the
        # event loop.
        "ENABLE_CPU_PINNING": False,
        # What is not quantised in an int8 graph runs as the fidelity gate saw it.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    return core.compile_model(graph, "CPU", configuration).create_infer_request()


def run(request: ov.InferRequest, inputs: Mapping[str, NDArray[np.generic]]) -> list[Vectors]:
    """One inference; the outputs in the graph's order, owned by the caller."""
    results = request.infer(inputs, share_inputs=True, share_outputs=False)
    return [results[index] for index in range(len(results))]


def run_texts(request: ov.InferRequest, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
    """B token sequences through a text tower, (B, text_dim), in as few rows as hold them."""
    return np.concatenate(
        [run(request, row)[0][:texts] for texts, row in packed_rows(input_ids, token_type_ids)]
    )


def _size(rows: int) -> int:
    """The batch size that is run for so many rows."""
    return at_least(rows, BATCH_SIZES)


def padded(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """`rows` with zero rows up to the batch size that is run."""
    missing = _size(len(rows)) - len(rows)
    return (
        np.pad(rows, ((0, missing), *((0, 0),) * (rows.ndim - 1))) if missing else np.ascontiguousarray(rows)
    )


def release_mapped_pages(directory: Path) -> None:
    """Free the memory in which OpenVINO holds the weights of the graphs in `directory` a second time.

    It maps a graph's file and copies the weights into the order that its kernels read. The mapped pages stay
    in memory, though little is read from them again; Linux reads a page that is needed after all back from
    the file.
    """
    if not MAPS.exists():  # no Linux, no such advice
        return
    libc, inside = ctypes.CDLL(None), f"{directory.resolve()}/"
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        span, permissions, *rest = line.split(maxsplit=5)
        # Of a mapping that is private or may be written, the pages may be all that holds their values.
        if permissions == "r--s" and rest[-1].startswith(inside):
            start, end = (int(number, 16) for number in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
