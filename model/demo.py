"""Makes the demo checkpoint from seeded random encoders of full size and the committed trained head.

    ./miles demo-checkpoint [--out models/model_full.pt] [--demo models/demo]

It takes seconds, needs no network and gives the same bits every time, which a fingerprint checks. A file at
`--out` that is not a demo is never replaced.
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


def compose(demo: Demo) -> Checkpoint:
    """The complete checkpoint. Raises `DemoError` if its weights are not the recorded ones."""
    try:
        checkpoint = _compose(demo)
        recorded = demo.metadata["fingerprint"]
    except (KeyError, TypeError, ValueError) as exc:
        wrong = problem(exc)[1] if isinstance(exc, ValidationError) else f"{exc} is missing or unusable"
        raise DemoError(
            f"{demo.directory / METADATA_FILE}: {wrong}. Restore it from the repository."
        ) from exc
    found = fingerprint(checkpoint.state_dict)
    if found != recorded:
        raise DemoError(
            f"{demo.directory}: the composed weights have the fingerprint {found}, recorded is {recorded}. "
            f"Restore {HEAD_FILE} and {METADATA_FILE} from the repository, or make both again with "
            "`./miles train DATA --demo-head`."
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


def main(arguments: list[str] | None = None) -> int:
    """Make and write it; exit status 1 after an error, which is one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="./miles demo-checkpoint", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the checkpoint to write")
    parser.add_argument("--demo", type=Path, default=DEMO_DIRECTORY, help="the folder with head and metadata")
    options = parser.parse_args(arguments)
    try:
        _run(options.out, read_demo(options.demo))
    except DemoError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(out: Path, demo: Demo) -> None:
    if is_current(out, demo):
        print(f"{out}: is up to date, fingerprint {demo.metadata['fingerprint'][:16]}")
        return
    print("generating the random encoders and expanding the trained head", flush=True)
    checkpoint = compose(demo)
    write_checkpoint(out, checkpoint)
    parameters = checkpoint.card.parameters["total"] / 1e6
    print(f"{out}: {parameters:.1f} M parameters, fingerprint {demo.metadata['fingerprint'][:16]} verified")
    for note in checkpoint.card.provenance.get("notes", []):
        print(f"note: {note}")


if __name__ == "__main__":
    sys.exit(main())
