"""The demo checkpoint: the committed trained head composed with full-size encoders, and its origin."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.card import ModelCard
from model.checkpoint.file import DEMO_DIRECTORY, ENCODER_FOLDER
from model.checkpoint.store import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from model.config import TextConfig
from model.low_rank import LowRankHead
from model.minilm import NAME, SHA256, grown_minilm
from model.pretrained import EncoderSourceError, fingerprint, random_text_state, random_vision_state
from model.values import problem

HEAD_FILE = "head.safetensors"
METADATA_FILE = "demo.json"
SOURCE = "demo"
FALLBACK = "without-text"  # the folder, within a demo's, of the demo that needs no download
SEEDED, GROWN = "seeded random", "grown"  # kinds of encoders in a checkpoint's provenance


class DemoError(CheckpointError):
    """A demo that cannot be made; names the file, both values and the next step."""


@dataclass(frozen=True)
class Demo:
    """The contents of `models/demo/`; `sha256` is that of its metadata file."""

    directory: Path
    head: LowRankHead
    metadata: dict[str, Any]
    sha256: str


def read_demo(directory: Path = DEMO_DIRECTORY) -> Demo:
    """The committed head and its metadata. Raises `DemoError`."""
    metadata_file, head_file = directory / METADATA_FILE, directory / HEAD_FILE
    try:
        encoded = metadata_file.read_bytes()
        metadata = json.loads(encoded)
        head = LowRankHead.from_tensors(load_file(head_file))
    except (OSError, ValueError, KeyError, SafetensorError) as exc:
        raise DemoError(
            f"{directory}: {METADATA_FILE} or {HEAD_FILE} cannot be read ({exc}). Restore both from the "
            "repository, or make them again with `./miles train DATA --demo-head`."
        ) from exc
    return Demo(directory, head, metadata, hashlib.sha256(encoded).hexdigest())


def write_demo(directory: Path, checkpoint: Checkpoint, head: LowRankHead) -> None:
    """Store `head`, the card of `checkpoint` and the fingerprint of its weights."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(head.tensors(), directory / HEAD_FILE)
    described = {key: value for key, value in checkpoint.card.to_file().items() if key != "config"}
    metadata = {"fingerprint": fingerprint(checkpoint.state_dict), **described}
    text = json.dumps(metadata, indent=1, ensure_ascii=False, allow_nan=False)
    (directory / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def compose(demo: Demo, encoder_folder: Path = ENCODER_FOLDER) -> Checkpoint:
    """The complete checkpoint; MiniLM is read from `encoder_folder`, or downloaded into it.

    Raises `DemoError` if its weights are not the recorded ones, `EncoderSourceError` without MiniLM.
    """
    try:
        checkpoint = _compose(demo, encoder_folder)
        recorded = demo.metadata["fingerprint"]
    except (KeyError, TypeError, ValueError) as exc:
        wrong = problem(exc)[1] if isinstance(exc, ValidationError) else f"{exc} is missing or unusable"
        raise DemoError(
            f"{demo.directory / METADATA_FILE}: {wrong}. Restore it from the repository."
        ) from exc
    found = fingerprint(checkpoint.state_dict)
    if found != recorded:
        raise DemoError(
            f"{demo.directory}: the composed weights have the fingerprint {found}, expected {recorded}. "
            f"Restore {HEAD_FILE} and {METADATA_FILE} from the repository, or make both again with "
            "`./miles train DATA --demo-head`."
        )
    return checkpoint


def _compose(demo: Demo, encoder_folder: Path) -> Checkpoint:
    metadata = demo.metadata
    encoders = metadata["provenance"]["encoders"]
    card = ModelCard.model_validate(
        {
            **metadata,
            "config": {
                "text": encoders["text"]["shape"],
                "vision": encoders["image"]["shape"],
                "scalars": len(metadata["scalar_features"]),
                "hidden": demo.head.hidden_weight.shape[::-1],
            },
            "provenance": {**metadata["provenance"], "demo_sha256": demo.sha256},
        }
    )
    text, vision = card.config.text, card.config.vision
    assert text is not None and vision is not None, "the demo has every modality"  # noqa: PT018
    state_dict = {
        **prefixed("text_encoder.", _text_state(demo, text, encoder_folder)),
        **prefixed("vision_encoder.", random_vision_state(vision, encoders["image"]["seed"])),
        **demo.head.state_dict(card.config.image_dim),
    }
    return Checkpoint(card, state_dict)


def _text_state(demo: Demo, shape: TextConfig, encoder_folder: Path) -> dict[str, Tensor]:
    origin = demo.metadata["provenance"]["encoders"]["text"]
    if origin.get("kind") != GROWN:
        return random_text_state(shape, origin["seed"])
    if origin["sha256"] != SHA256:
        raise DemoError(
            f"{demo.directory / METADATA_FILE}: its head was trained on a text encoder with the sha256 "
            f"{origin['sha256']}, this version has {NAME} with {SHA256}. Restore the folder from the "
            "repository, or train the head again with `./miles train DATA --demo-head`."
        )
    return grown_minilm(encoder_folder)[1]


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under its names in the complete network."""
    return {prefix + name: tensor for name, tensor in state.items()}


def is_demo(path: Path) -> bool:
    """Whether `path` is a readable demo checkpoint."""
    try:
        return read_checkpoint(path).card.provenance.get("source") == SOURCE
    except CheckpointError:
        return False


def is_current(path: Path, demo: Demo) -> bool:
    """Whether `path` is this demo already. Raises `DemoError` if it is a file that is not a demo."""
    if not path.exists():
        return False
    try:
        found = read_checkpoint(path)
    except CheckpointError as exc:
        raise DemoError(
            f"{exc} A file that may not be a demo is not replaced: move it away, or name another --out."
        ) from exc
    source = found.card.provenance.get("source")
    if source != SOURCE:
        raise DemoError(
            f"{path}: is not a demo (source {source!r}, expected {SOURCE!r}) and is not replaced. Move it "
            "away, or name another --out."
        )
    same = found.card.provenance.get("demo_sha256") == demo.sha256
    return same and fingerprint(found.state_dict) == demo.metadata.get("fingerprint")


def make(out: Path, directory: Path, encoder_folder: Path) -> None:
    """Write the demo to `out` unless it is already there, and print what it is. Raises `CheckpointError`."""
    demo = read_demo(directory)
    if is_current(out, demo):
        print(f"{out}: is up to date, fingerprint {demo.metadata['fingerprint'][:16]}")
        return
    try:
        checkpoint = compose(demo, encoder_folder)
    except EncoderSourceError as exc:
        if not (directory / FALLBACK).is_dir():
            raise
        print(f"warning: {exc} Until then the demo does not read titles.", file=sys.stderr)
        make(out, directory / FALLBACK, encoder_folder)
        return
    write_checkpoint(out, checkpoint)
    parameters = checkpoint.card.parameters["total"] / 1e6
    print(f"{out}: {parameters:.1f} M parameters, fingerprint {demo.metadata['fingerprint'][:16]} verified")
    for note in checkpoint.card.provenance.get("notes", []):
        print(f"note: {note}")
