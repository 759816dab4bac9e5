"""Runs a compiled bundle with OpenVINO, without torch.

OpenVINO prepares kernels for each new input shape, which takes longer than a small forward. So texts are
packed into rows of a few shapes, pictures into batches of a few sizes, and the shapes of a single video
are prepared before the first request.

In a batch padded to its longest title, a third of the tokens are padding. In a packed row (Krell et al. 2021,
arXiv:2107.02027) a token attends only to tokens of its own text, and positions count from the text's start.
Attention is quadratic in a row's length and all else linear in the number of tokens, so a large
batch of texts is split into several rows of moderate length.
"""

import ctypes
import mmap
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from model.compiled.bundle import TOWERS, Bundle, towers_of
from model.compiled.fusion import take_apart
from model.engine import MAX_TOKENS, Pixels, Scores, TokenIds, Vectors

BATCH_SIZES = (1, 2, 4, 8)
TEXT_INPUTS = ("input_ids", "token_type_ids", "positions", "segments", "firsts")
PADDING = -1  # the segment of padding at a row's end
# Row lengths: of the only row of a forward, and of each of several.
SINGLE_ROW = (16, 24, 32, 48, 64, 80, 96, 112, 128, 192, 256)
SEVERAL_ROWS = (64, 128, 256)
MAX_IN_A_ROW = 128  # tokens of several texts
# With 128, OpenVINO takes a fifth less time and loses twice as much of the vectors' variance.
INT8_GROUP = 32  # activations that share a scale where an int8 text tower multiplies
MAPS = Path("/proc/self/maps")
Rows = dict[str, NDArray[np.int64]]


class OpenVinoEngine:
    """The serving engine. Steps may run in different threads, one call at a time per step."""

    name = "openvino"
    device = "cpu"
    scores_inline = True  # 0.15 ms
    picture_batches: Sequence[int] = BATCH_SIZES
    at_once = 1

    def __init__(self, bundle: Bundle, threads: int, steps: Collection[str] = TOWERS) -> None:
        """Compile the graphs of `steps` for this processor; other towers' graphs are not read.

        `threads` is the number of threads that all steps may use together.
        """
        self._bundle = bundle
        self._velocity = bundle.card.velocity
        self._calibration = bundle.card.calibration()
        self.threads = threads
        steps = [step for step in towers_of(bundle.card) if step in steps]
        shares = threads_by_tower(threads, len(os.sched_getaffinity(0)), steps)
        self.concurrent = threads > 1
        self.precision = ", ".join(f"{tower} {name}" for tower, name in bundle.precision.items())
        core = ov.Core()
        with ExitStack() as stack:
            self._graphs = own_copies(bundle, {*steps, "fusion"}, stack)
            if self._graphs is None:
                core.set_property({"ENABLE_MMAP": "NO"})
            folder = self._graphs or bundle.directory

            def compiled(step: str) -> ov.InferRequest:
                return compile_graph(core, folder / f"{step}.xml", bundle.precision[step], shares[step])

            def compiled_parts() -> dict[str, ov.InferRequest]:
                parts = take_apart(core.read_model(folder / "fusion.xml"), bundle.card.config.widths)
                graphs = {**parts.products, "fusion": parts.rest}
                return {name: compile_graph(core, graph, "f32", 1) for name, graph in graphs.items()}

            encoders = [step for step in steps if step != "fusion"]
            with ThreadPoolExecutor() as together:  # OpenVINO compiles a graph with one thread
                fusion = together.submit(compiled_parts)
                self._requests = dict(zip(encoders, together.map(compiled, encoders), strict=True))
            self._products = fusion.result()
        rest = self._products.pop("fusion")
        if "fusion" in steps:
            self._requests["fusion"] = rest
        config = bundle.card.config
        self.text_width = config.hidden[0] if "text" in self._products else config.text_dim
        self.neutral_image = self._multiplied("image", bundle.neutral_image[None])[0]
        mean = bundle.card.titles.mean_vector
        self.mean_text = None if mean is None else self._multiplied("text", np.array([mean], np.float32))[0]

    def warm_up(self) -> None:
        """Run the shapes of one video once, then free the memory of the mapped graph files."""
        warm_ups = {"text": self._warm_text, "image": self._warm_image, "fusion": self._warm_fusion}
        with ThreadPoolExecutor() as together:
            list(together.map(lambda step: warm_ups[step](), self._requests))
        if self._graphs is not None:
            release_mapped_pages(self._graphs)

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, width); a model without a text tower gives (B, 0)."""
        if self._bundle.card.config.text is None:
            return np.zeros((len(input_ids), 0), dtype=np.float32)
        vectors = run_texts(self._requests["text"], input_ids, token_type_ids)  # (B, 768)
        return self._multiplied("text", vectors)

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, width); a model without an image tower gives (B, 0)."""
        if self._bundle.card.config.vision is None:
            return np.zeros((len(pixels), 0), dtype=np.float32)
        vectors = run(self._requests["image"], {"pixels": padded(pixels)})[0][: len(pixels)]  # (B, 2048)
        return self._multiplied("image", vectors)

    def _multiplied(self, tower: str, vectors: Vectors) -> Vectors:
        """A tower's outputs (B, dim) to its part of the fusion's first layer, (B, width)."""
        if tower not in self._products:
            return vectors
        return run(self._products[tower], {tower: padded(vectors)})[0][: len(vectors)]

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
        vectors = {"text": text, "image": image, "scalars": scalars}
        inputs = {name: padded(vectors[name]) for name in (*self._products, "scalars")}
        outputs = run(self._requests["fusion"], inputs)
        viral, target = (output[: len(scalars)].astype(np.float64) for output in outputs)
        if self._calibration is not None:
            viral = self._calibration.apply(viral, scalars)
        return Scores(viral=viral, velocity=self._velocity.invert(target))

    def _warm_text(self) -> None:
        longest = self._bundle.card.max_tokens
        # Preparing larger forwards costs little once the longest row has packed the weights.
        for tokens, texts in (*zip(SINGLE_ROW, (*BATCH_SIZES, 1), strict=False), (MAX_IN_A_ROW, 1)):
            number = max(texts, tokens // longest)
            ids = [[0] * min(longest, tokens // number)] * number
            self.encode_text(ids, ids)

    def _warm_image(self) -> None:
        vision = self._bundle.card.config.vision
        assert vision is not None, "a model without an image tower has no such graph"
        self.encode_image(np.zeros((1, vision.height, vision.width, 3), dtype=np.uint8))

    def _warm_fusion(self) -> None:
        config = self._bundle.card.config
        for size in BATCH_SIZES:
            text = np.zeros((size, self.text_width), dtype=np.float32)
            image = np.repeat(self.neutral_image[None], size, axis=0)
            self.score(text, image, np.zeros((size, config.scalars), dtype=np.float32))


def own_copies(bundle: Bundle, steps: Collection[str], stack: ExitStack) -> Path | None:
    """A folder with copies of the graphs, deleted by `stack`; None if no disk has the space for them.

    OpenVINO maps a graph's file: if a mapped file is truncated in place, reading it ends the process. Deleted
    files can't be truncated, and stay as long as they are mapped. Without disk space the graphs must be read
    into memory, which takes their full size.
    """
    try:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="miles-", ignore_cleanup_errors=True)))
        for name in [f"{step}{suffix}" for step in steps for suffix in (".xml", ".bin")]:
            shutil.copyfile(bundle.directory / name, folder / name)
    except OSError:
        return None
    return folder


def threads_by_tower(threads: int, processors: int, steps: Sequence[str] = TOWERS) -> dict[str, int]:
    """The number of threads of each graph's forward, when `steps` may use `threads` together.

    OpenVINO's pool has a thread per processor. If all of them may be used, graphs that run at once share
    them. Under a CPU quota, threads beyond it would only wait, so each graph gets a part.
    """
    if threads >= processors or threads == 1 or len(steps) == 1:
        return dict.fromkeys(steps, threads)
    text = max(threads // 2, 1)
    shares = {"text": text, "image": threads - text, "fusion": 1}
    return {step: shares[step] for step in steps}


def compile_graph(core: ov.Core, graph: Path | ov.Model, precision: str, threads: int) -> ov.InferRequest:
    """Compile a graph as it is served: one stream of `threads` threads, int8, bf16 or f32."""
    configuration = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # Two pinned towers would share one core, and would not yield to the event loop.
        "ENABLE_CPU_PINNING": False,
        # In an int8 graph, the layers that are not quantised run in float32, as in the fidelity check.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": INT8_GROUP,
    }
    return core.compile_model(graph, "CPU", configuration).create_infer_request()


def run(request: ov.InferRequest, inputs: Mapping[str, NDArray[np.generic]]) -> list[Vectors]:
    """One inference; copies of the outputs, in the graph's order."""
    results = request.infer(inputs, share_inputs=True, share_outputs=False)
    return [results[index] for index in range(len(results))]


def run_texts(request: ov.InferRequest, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
    """B token sequences through a text tower, (B, text_dim), in as few forwards as possible."""
    parts = [
        (texts, run(request, rows)[0][: len(texts)]) for texts, rows in forwards(input_ids, token_type_ids)
    ]
    order = np.argsort([number for texts, _ in parts for number in texts])
    return np.concatenate([vectors for _, vectors in parts])[order]


def forwards(input_ids: TokenIds, token_type_ids: TokenIds) -> Iterator[tuple[list[int], Rows]]:
    """The rows of each forward that the texts need, with the numbers of its texts in order."""
    lengths = [len(ids) for ids in input_ids]
    if sum(lengths) <= MAX_IN_A_ROW:
        several, length = [list(range(len(lengths)))], MAX_IN_A_ROW
    else:
        length = at_least(max(lengths), SEVERAL_ROWS)
        several = _first_fit(lengths, length)
    at_once = max(MAX_TOKENS // length, 1)
    for start in range(0, len(several), at_once):
        rows = several[start : start + at_once]
        numbers = [number for row in rows for number in row]
        if len(rows) == 1:
            length = at_least(sum(lengths[number] for number in numbers), SINGLE_ROW)
        ids, types = ([column[number] for number in numbers] for column in (input_ids, token_type_ids))
        # Rounded up to a power of two, so that the pooler sees few shapes.
        texts = 1 << (len(numbers) - 1).bit_length()
        yield numbers, packed_rows(ids, types, _renumbered(rows), length, texts)


def _first_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """The texts in rows, each in the first that has room for it, the longest first."""
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        fits = next((row for row, free in enumerate(room) if free >= lengths[number]), None)
        if fits is None:
            fits = len(rows)
            rows.append([])
            room.append(capacity)
        rows[fits].append(number)
        room[fits] -= lengths[number]
    return rows


def _renumbered(rows: Sequence[Sequence[int]]) -> list[range]:
    ends = list(accumulate(map(len, rows)))
    return [range(end - len(row), end) for row, end in zip(rows, ends, strict=True)]


def packed_rows(
    input_ids: TokenIds, token_type_ids: TokenIds, rows: Sequence[Sequence[int]], tokens: int, texts: int
) -> Rows:
    """`rows` of texts as (R, `tokens`) arrays, and where the first token of each text is, (`texts`,)."""
    shape = len(rows), tokens
    ids, types, positions = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    segments = np.full(shape, PADDING, dtype=np.int64)
    firsts = np.zeros(texts, dtype=np.int64)
    for row, numbers in enumerate(rows):
        begin = 0
        for number in numbers:
            end = begin + len(input_ids[number])
            ids[row, begin:end], types[row, begin:end] = input_ids[number], token_type_ids[number]
            positions[row, begin:end], segments[row, begin:end] = np.arange(end - begin), number
            firsts[number], begin = row * tokens + begin, end
    return dict(zip(TEXT_INPUTS, (ids, types, positions, segments, firsts), strict=True))


def padded(rows: NDArray[np.generic]) -> NDArray[np.generic]:
    """`rows` with zero rows up to the next batch size."""
    missing = at_least(len(rows), BATCH_SIZES) - len(rows)
    padding = ((0, missing), *((0, 0),) * (rows.ndim - 1))
    return np.pad(rows, padding) if missing else np.ascontiguousarray(rows)


def at_least(number: int, steps: Sequence[int]) -> int:
    """The smallest step of at least `number`; beyond the last one, `number` itself."""
    return next((step for step in steps if step >= number), number)


def release_mapped_pages(directory: Path) -> None:
    """Free the memory of the mapped files in `directory`.

    OpenVINO maps a graph's file and copies its weights into the layout of its kernels, after which the mapped
    pages are hardly used. Linux reads a released page from the file again when it is needed.
    """
    if not MAPS.exists():  # not Linux
        return
    libc, inside = ctypes.CDLL(None), f"{directory.resolve()}/"
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        span, permissions, *rest = line.split(maxsplit=5)
        # Only shared read-only mappings: the pages of others may be the only copy of their values.
        if permissions == "r--s" and rest[-1].startswith(inside):
            start, end = (int(number, 16) for number in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
