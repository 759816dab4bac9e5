"""Composes the demo checkpoint: seeded random encoders of the full shape, and the committed trained head.

    python -m model.demo [--out models/model_full.pt] [--demo models/demo]

Seconds, no network, and the same bits every time: the fingerprint of all weights is recorded beside the
head and checked. A file at `--out` that is not a demo is never touched.
"""

import argparse
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
from model.checkpoint.store import Checkpoint, CheckpointError, read_checkpoint, write_checkpoint
from model.low_rank import LowRankHead
from model.pretrained import fingerprint, random_text_state, random_vision_state
from model.values import problem

DEMO_DIRECTORY = Path(__file__).parent.parent / "models" / "demo"
DEFAULT_OUT = Path("models/model_full.pt")
HEAD_FILE = "head.safetensors"
METADATA_FILE = "demo.json"
SOURCE = "demo"


class DemoError(Exception):
    """A demo that cannot be composed or written: names the file, both values, the next step."""


@dataclass(frozen=True)
class Demo:
    """What `models/demo/` holds; `sha256` is that of its metadata file."""

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
            "repository, or make them again with `python -m training.fit DATA --demo-head`."
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


def compose(demo: Demo) -> Checkpoint:
    """The whole checkpoint, weights drawn and folded.

    Raises `DemoError` when they are not the recorded ones.
    """
    try:
        checkpoint = _compose(demo)
        recorded = demo.metadata["fingerprint"]
    except (KeyError, TypeError, ValueError) as exc:
        wrong = problem(exc)[1] if isinstance(exc, ValidationError) else f"lacks or garbles {exc}"
        raise DemoError(
            f"{demo.directory / METADATA_FILE}: {wrong}. Restore it from the repository."
        ) from exc
    found = fingerprint(checkpoint.state_dict)
    if found != recorded:
        raise DemoError(
            f"{demo.directory}: the composed weights have the fingerprint {found}, recorded is {recorded}. "
            f"Restore {HEAD_FILE} and {METADATA_FILE} from the repository, or make both again with "
            "`python -m training.fit DATA --demo-head`."
        )
    return checkpoint


def _compose(demo: Demo) -> Checkpoint:
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
    assert vision is not None, "the demo has every modality"
    state_dict = {
        **prefixed("text_encoder.", random_text_state(text, encoders["text"]["seed"])),
        **prefixed("vision_encoder.", random_vision_state(vision, encoders["image"]["seed"])),
        **demo.head.state_dict(card.config.image_dim),
    }
    return Checkpoint(card, state_dict)


def prefixed(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` under the names that it has within the whole network."""
    return {prefix + name: tensor for name, tensor in state.items()}


def is_demo(path: Path) -> bool:
    """Whether the checkpoint at `path` says that it is a demo; False for one that cannot be read."""
    try:
        return read_checkpoint(path).card.provenance.get("source") == SOURCE
    except CheckpointError:
        return False


def is_current(path: Path, demo: Demo) -> bool:
    """Whether `path` is this very demo already; False when there is no file or another demo's.

    Raises `DemoError` when a file is there that is no demo: it is somebody's work.
    """
    if not path.exists():
        return False
    try:
        found = read_checkpoint(path)
    except CheckpointError as exc:
        raise DemoError(
            f"{exc} It is not the demo's to replace: move it away, or name another --out."
        ) from exc
    if found.card.provenance.get("source") != SOURCE:
        raise DemoError(
            f"{path}: is a checkpoint of its own (source {found.card.provenance.get('source')!r}, expected "
            f"{SOURCE!r}). It stays as it is: move it away, or name another --out."
        )
    same = found.card.provenance.get("demo_sha256") == demo.sha256
    return same and fingerprint(found.state_dict) == demo.metadata.get("fingerprint")


def main(arguments: list[str] | None = None) -> int:
    """Compose and write; the exit status is 1 after an error, which goes to stderr in one line."""
    parser = argparse.ArgumentParser(prog="python -m model.demo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the checkpoint to write")
    parser.add_argument("--demo", type=Path, default=DEMO_DIRECTORY, help="where head and metadata lie")
    options = parser.parse_args(arguments)
    try:
        _run(options.out, read_demo(options.demo))
    except DemoError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(out: Path, demo: Demo) -> None:
    if is_current(out, demo):
        print(f"{out}: is the demo checkpoint already, fingerprint {demo.metadata['fingerprint'][:16]}")
        return
    print("drawing the seeded random encoders and unfolding the trained head ...", flush=True)
    checkpoint = compose(demo)
    write_checkpoint(out, checkpoint)
    parameters = sum(tensor.numel() for tensor in checkpoint.state_dict.values())
    print(
        f"{out}: {parameters / 1e6:.1f} M numbers, fingerprint {demo.metadata['fingerprint'][:16]}, checked"
    )
    for note in checkpoint.card.provenance.get("notes", []):
        print(f"note: {note}")


if __name__ == "__main__":
    sys.exit(main())
