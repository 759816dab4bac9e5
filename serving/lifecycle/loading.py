"""From a checkpoint's location to a checked `LoadedModel`: the slow, blocking part of the start.

A compiled bundle is served without torch, so only what needs torch imports it.
"""

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from features import Distribution, FeatureScaler, UnknownFeatureError, compute_features
from model.card import ModelCard
from model.checkpoint.file import CheckpointError, FileState, check_file, locate_checkpoint
from model.compiled.bundle import Bundle, check_card, current_bundle, origin_of, read_bundle
from model.compiled.engine import OpenVinoEngine
from model.compiled.files import bundle_directory, is_bundle, recall, remember
from model.engine import Engine
from preprocessing.image import ImageReading, ImageSpec
from preprocessing.text import BertTextTokenizer, TextSpec, VocabularyError
from serving.errors import LoadFailedError
from serving.lifecycle.golden import check_golden_answers
from serving.resources import free_memory, usable_cpus
from serving.scoring.model import LoadedModel
from serving.scoring.warnings import SCORE
from serving.settings import MEBIBYTE, Settings

# Bytes of memory per byte of graphs: kernels keep weights in layouts of their own, some in two.
MEMORY_PER_GRAPH = 1.5
M_MMAP_THRESHOLD = -3  # malloc.h
EngineFactory = Callable[[Bundle, int], Engine]
"""Makes the engine that runs a bundle, with this number of threads."""


class NotCompiledError(CheckpointError):
    """The checkpoint at `path` has no up-to-date bundle, and this machine can compile it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: is not compiled. Run `./miles compile {path}`.")
        self.path = path


def in_process_engine(bundle: Bundle, threads: int) -> OpenVinoEngine:
    """A warm engine that runs every step in this process."""
    engine = OpenVinoEngine(bundle, threads)
    engine.warm_up()
    return engine


def load_checked(
    settings: Settings, beside_another: bool = False, engine_factory: EngineFactory = in_process_engine
) -> LoadedModel:
    """The model from `load_model`, after reproducing its golden answers; raises what either step raises.

    With `beside_another`, a model that needs more memory than is free is refused with `LoadFailedError`.
    """
    if beside_another:
        engine_factory = partial(_within_memory, engine_factory)
    model = load_model(settings, engine_factory)
    check_golden_answers(model)
    return model


def _within_memory(engine_factory: EngineFactory, bundle: Bundle, threads: int) -> Engine:
    """The engine of `bundle`, if it fits into memory too: otherwise the kernel would kill the process."""
    needed = round(MEMORY_PER_GRAPH * sum(file.stat().st_size for file in bundle.directory.glob("*.bin")))
    free = free_memory()
    if free is not None and needed > free:
        raise LoadFailedError(
            f"{bundle.card.name}: needs about {needed / 1e6:.0f} MB of memory beside the model in service; "
            f"{free / 1e6:.0f} MB are free. Raise the memory limit, or restart the service to load it alone."
        )
    return engine_factory(bundle, threads)


def load_model(settings: Settings, engine_factory: EngineFactory = in_process_engine) -> LoadedModel:
    """Locate and check the model; `engine_factory` makes the engine that runs its bundle.

    For torch, call it in the thread that will run the engine. Raises `LocationError`, or a
    `CheckpointError`: `NotCompiledError` if compiling would help.
    """
    _return_large_blocks()
    card, engine, bundle = _load_engine(settings, engine_factory)
    vision, reading = card.config.vision, ImageReading(**card.image.model_dump())
    return LoadedModel(
        card=card,
        engine=engine,
        tokenizer=_build_tokenizer(card),
        scaler=_build_scaler(card),
        fidelity=bundle.report if bundle else None,
        bundle_sha256=bundle.sha256 if bundle else None,
        image_spec=ImageSpec(vision.height, vision.width, reading) if vision else None,
        distributions=_build_distributions(card),
        scripts=card.titles.scripts or {},
    )


def _return_large_blocks() -> None:
    """Keep blocks of a mebibyte and more, such as weights, in mappings of their own.

    Otherwise glibc raises this limit, up to 32 MB, when it frees one, and keeps parts of each replaced model.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
        if set_option is not None:
            set_option(M_MMAP_THRESHOLD, MEBIBYTE)


MAX_PADDING = 128  # rows of an embedding beyond the vocabulary, which make its height a round number


def _load_engine(
    settings: Settings, engine_factory: EngineFactory
) -> tuple[ModelCard, Engine, Bundle | None]:
    path = locate_checkpoint(settings.checkpoint)
    threads = settings.threads or usable_cpus()
    if settings.engine == "torch":
        return *_load_torch(path, settings, threads), None
    bundle = _given_bundle(path, settings) if is_bundle(path) else _bundle_of(path, settings)
    if settings.bundle_sha256 and settings.bundle_sha256.lower() != bundle.sha256:
        raise CheckpointError(
            f"{bundle.directory}: sha256 of its bundle.json is {bundle.sha256}, expected "
            f"{settings.bundle_sha256}. Use that bundle, or correct MILES_BUNDLE_SHA256."
        )
    return bundle.card, engine_factory(bundle, threads), bundle


def _load_torch(path: Path, settings: Settings, threads: int) -> tuple[ModelCard, Engine]:
    from model.checkpoint.store import read_checkpoint
    from model.torch_engine import TorchEngine

    checkpoint = read_checkpoint(path, settings.checkpoint_sha256)
    # A file from elsewhere has no golden answers that prove it is scored as in training.
    automatic = "bf16" if settings.device == "cuda" else "f32" if checkpoint.card.golden else "exact"
    precision = automatic if settings.precision == "auto" else settings.precision
    return checkpoint.card, TorchEngine(checkpoint, settings.device, threads, precision)


def _given_bundle(path: Path, settings: Settings) -> Bundle:
    bundle = read_bundle(path)
    expected, found = settings.checkpoint_sha256, bundle.card.sha256
    if expected and found != expected.lower():
        raise CheckpointError(
            f"{path}: was compiled from a checkpoint with sha256 {found}, expected {expected}. Use that "
            "checkpoint's bundle, or correct MILES_CHECKPOINT_SHA256."
        )
    if settings.precision not in ("auto", _requested_precision(bundle)):
        raise CheckpointError(
            f"{path}: was compiled with precision {_requested_precision(bundle)}, MILES_PRECISION is "
            f"{settings.precision}. Compile it again, or unset MILES_PRECISION."
        )
    return bundle


def _requested_precision(bundle: Bundle) -> str:
    return str(bundle.report.get("origin", {}).get("precision"))


def _bundle_of(path: Path, settings: Settings) -> Bundle:
    """The up-to-date bundle of a checkpoint; a checkpoint that an earlier start has checked is not read."""
    state, expected = FileState.of(path), settings.checkpoint_sha256
    checked = None if expected else recall(path, state)
    sha256 = checked.checkpoint_sha256 if checked else check_file(path, expected)
    directory, origin = bundle_directory(path, sha256), origin_of(path, sha256, settings.precision)
    bundle = current_bundle(directory, origin, path, checked.bundle_sha256 if checked else None)
    if bundle is not None:
        if checked is None or checked.bundle_sha256 != bundle.sha256:
            remember(directory, state, sha256, bundle.sha256)
        return bundle
    if importlib.util.find_spec("torch") is not None:
        raise NotCompiledError(path)
    if is_bundle(directory):  # compiled for another processor, but valid
        given = _given_bundle(directory, settings)
        check_card(given, path)
        return given
    raise CheckpointError(
        f"{path}: is not compiled, and compiling needs torch, which is not installed. Run "
        "`./miles compile` where requirements.txt is installed, and copy models/compiled here."
    )


def _build_scaler(card: ModelCard) -> FeatureScaler:
    try:
        compute_features([], card.scalar_features)  # raises for features that the registry lacks
        return FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    except (ValueError, UnknownFeatureError) as exc:
        raise CheckpointError(
            f"{card.name}: {exc}. Refit the head with `./miles train`, or run the release that wrote it."
        ) from exc


def _build_distributions(card: ModelCard) -> dict[str, Distribution]:
    unknown = sorted(card.distributions.keys() - {*card.scalar_features, SCORE})
    if unknown:
        raise CheckpointError(
            f"{card.name}: has distributions of {', '.join(unknown)}, expected its features and {SCORE}. "
            "Train it again."
        )
    built = {}
    for name, values in card.distributions.items():
        try:
            built[name] = Distribution.from_plain(values)
        except ValueError as exc:
            raise CheckpointError(f"{card.name}: the distribution of {name} {exc}. Train it again.") from exc
    return built


def _build_tokenizer(card: ModelCard) -> BertTextTokenizer:
    """The tokenizer, checked against the size of the model's embeddings."""
    try:
        spec = TextSpec(card.text_fields, card.max_tokens, card.text_cleaning)
        tokenizer = BertTextTokenizer.from_vocabulary(spec=spec)
    except (ValueError, VocabularyError) as exc:
        raise CheckpointError(f"{card.name}: {exc}. Correct its `text`, or train it again.") from exc
    text = card.config.text
    if text is None:
        return tokenizer
    words = tokenizer.vocabulary_size
    if not words <= text.vocab_size <= words + MAX_PADDING or spec.max_tokens > text.max_positions:
        raise CheckpointError(
            f"{card.name}: embeds {text.vocab_size} words at {text.max_positions} positions, the tokenizer "
            f"gives {words} at {spec.max_tokens}. Train it again with the bert-base-uncased vocabulary."
        )
    return tokenizer
