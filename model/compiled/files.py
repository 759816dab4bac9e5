"""Where the bundle of a checkpoint is, and when that is known without reading the checkpoint.

A checkpoint's bundle is found by the checkpoint's sha256, and hashing half a gigabyte takes a third of a
start. So a start that has hashed it stores the state of the file with the bundle, in `checked.json`.
As git does with its index, later starts rely on it as long as the state is the same: whatever changes a file
also sets the time of its last change (`ctime`).
"""

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from model.checkpoint.file import FileState

MANIFEST = "bundle.json"
CHECKED = "checked.json"


class Checked(BaseModel):
    """A checkpoint's state and sha256, and the sha256 of the `bundle.json` that has its card."""

    state: FileState
    checkpoint_sha256: str
    bundle_sha256: str


def bundle_directory(checkpoint: Path, sha256: str) -> Path:
    """The directory of the bundle of a checkpoint with this sha256."""
    return checkpoint.parent / "compiled" / sha256[:16]


def is_bundle(path: Path) -> bool:
    """Whether `path` is a bundle's directory."""
    return (path / MANIFEST).is_file()


def remember(bundle: Path, state: FileState | None, checkpoint_sha256: str, bundle_sha256: str) -> None:
    """Record in the bundle's directory what was checked, unless the checkpoint had only just changed."""
    if state is None or not state.is_settled:
        return
    checked = Checked(state=state, checkpoint_sha256=checkpoint_sha256, bundle_sha256=bundle_sha256)
    with suppress(OSError):  # where it can't be written, each start reads the checkpoint
        (bundle / CHECKED).write_text(checked.model_dump_json() + "\n", encoding="utf-8")


def recall(checkpoint: Path, state: FileState | None) -> Checked | None:
    """What an earlier start recorded about `checkpoint`, if the file is still in that state."""
    for path in (checkpoint.parent / "compiled").glob(f"*/{CHECKED}"):
        with suppress(OSError, ValueError):  # a damaged file is ignored, and written again
            checked = Checked.model_validate_json(path.read_bytes())
            if checked.state == state:
                return checked
    return None
