"""A checkpoint file before it is read: is it one, is it whole, which one is it. Knows no tensors."""

import hashlib
from pathlib import Path

LFS_MAGIC = b"version https://git-lfs"


class CheckpointError(Exception):
    """A checkpoint that cannot be used: names the file, what is wrong with both values, the next step.

    Always one line, whatever names and values the file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def check_file(path: Path, expected_sha256: str | None) -> str:
    """The file's sha256, once it is plain that it is a file that `torch.save` could have written.

    Raises `CheckpointError`.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a directory, expected a file; name the .pt file in it")
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Run `make model` for the demo, or bring your own.")
        if not path.is_file():
            raise CheckpointError(f"{path}: is a device or a pipe, expected a file; name the .pt file")
        with path.open("rb") as file:
            head = file.read(len(LFS_MAGIC))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read ({exc.strerror}); check its permissions") from exc
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes). Download or train it again.")
    if head == LFS_MAGIC:
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights. Run `git lfs pull`.")
    if expected_sha256 and digest != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: sha256 is {digest}, expected {expected_sha256}. Download it again, or correct "
            "MILES_CHECKPOINT_SHA256."
        )
    return digest
