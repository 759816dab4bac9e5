"""From a checkpoint's location to everything that a score needs, checked: the slow, blocking start."""

from dataclasses import dataclass

from features import FeatureScaler, UnknownFeatureError, compute_features
from model.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from model.engine import Engine
from model.location import locate_checkpoint
from model.torch_engine import TorchEngine
from preprocessing.image import ImageSpec
from preprocessing.text import BertTextTokenizer, TextSpec, VocabularyError
from serving.cpu_quota import usable_cpus
from serving.settings import Settings


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint and what was built from it; nothing in it changes any more."""

    checkpoint: Checkpoint
    engine: Engine
    tokenizer: BertTextTokenizer
    scaler: FeatureScaler
    image_spec: ImageSpec | None
    """The pixels that the image tower takes; None when the network has no image tower."""


def load_model(settings: Settings) -> LoadedModel:
    """Locate, read and check the checkpoint, and build the engine that runs it.

    Call it in the thread that will run the engine. Raises `CheckpointError` or `LocationError`.
    """
    checkpoint = read_checkpoint(locate_checkpoint(settings.checkpoint), settings.checkpoint_sha256)
    checkpoint.require_statistics()
    vision = checkpoint.config.vision
    return LoadedModel(
        checkpoint=checkpoint,
        engine=TorchEngine(checkpoint, settings.device, threads=settings.threads or usable_cpus()),
        tokenizer=_build_tokenizer(checkpoint),
        scaler=_build_scaler(checkpoint),
        image_spec=ImageSpec(vision.height, vision.width) if vision else None,
    )


def _build_scaler(checkpoint: Checkpoint) -> FeatureScaler:
    names = checkpoint.scalar_features or ()
    try:
        compute_features([], names)  # refuses names that the registry does not hold
        return FeatureScaler.from_stats(checkpoint.feature_stats or {}, names)
    except (ValueError, UnknownFeatureError) as exc:
        raise CheckpointError(
            f"{checkpoint.path}: {exc}. Refit the head with `python -m training.fit`, or run the release "
            "that wrote it."
        ) from exc


def _build_tokenizer(checkpoint: Checkpoint) -> BertTextTokenizer:
    """The tokenizer for the checkpoint's text; its ids must all have a row in the word embeddings."""
    try:
        spec = TextSpec(checkpoint.text_fields, checkpoint.max_tokens)
        tokenizer = BertTextTokenizer.from_vocabulary(spec=spec)
    except (ValueError, VocabularyError) as exc:
        raise CheckpointError(f"{checkpoint.path}: {exc}. Correct its `text`, or train it again.") from exc
    text = checkpoint.config.text
    if tokenizer.vocabulary_size > text.vocab_size or spec.max_tokens > text.max_positions:
        raise CheckpointError(
            f"{checkpoint.path}: embeds {text.vocab_size} words at {text.max_positions} positions, the "
            f"tokenizer gives {tokenizer.vocabulary_size} at {spec.max_tokens}. Train it again with the "
            "bert-base-uncased vocabulary."
        )
    return tokenizer
